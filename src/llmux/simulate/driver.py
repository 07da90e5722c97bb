"""The driver engine: the real `ModelSwitcher` on a loop whose clock is virtual.

Slower than the heap engine, and for every policy: also one that answers later or has a background
scheduler. A test holds the two engines equal to the microsecond. It refuses to know which loop it
runs on; `llmux.testing.run_virtual` has one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from llmux.core.lane import LaneSettings
from llmux.core.news import ModelActivated, News, PolicyFault
from llmux.errors import LlmuxError, PolicyError
from llmux.policy.base import SwitchPolicy
from llmux.runtime.switcher import ModelSwitcher
from llmux.simulate.engine import PATIENCE, Progress, lane_settings
from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome, Row, Spell
from llmux.simulate.seat import Seat
from llmux.simulate.workload import Job, Workload


@dataclass(frozen=True, slots=True)
class _Done:
    """A hook that has succeeded."""

    duration: float
    ok: bool = True
    exit_code: int | None = 0
    tail: str = ""
    error: str | None = None


class _DiceHooks:
    """Hooks that last as long as the dice say and do nothing else."""

    def __init__(self, models: Sequence[str], times: HookTimes) -> None:
        self._models = list(models)
        self._dice = times.start()
        self.spells: list[Spell] = []
        self.reasons: list[tuple[float, str, str]] = []

    def registered_models(self) -> list[str]:
        return self._models

    def model_port(self, model: str) -> int | None:
        return 1 if model in self._models else None

    async def run_wake(
        self, model: str, *, from_model: str | None, to_model: str | None, reason: str
    ) -> _Done:
        del from_model, to_model
        self.reasons.append((asyncio.get_running_loop().time(), model, reason))
        return await self._run("wake", model)

    async def run_sleep(
        self, model: str, *, from_model: str | None, to_model: str | None, reason: str
    ) -> _Done:
        del from_model, to_model, reason
        return await self._run("sleep", model)

    async def _run(self, hook: str, model: str) -> _Done:
        seconds = self._dice.seconds(hook, model)
        now = asyncio.get_running_loop().time()
        self.spells.append(Spell(now, now + seconds, hook, model))
        await asyncio.sleep(seconds)
        return _Done(seconds)


async def drive(
    workload: Workload,
    policy: SwitchPolicy,
    hooks: HookTimes,
    *,
    name: str = "",
    settings: Mapping[str, LaneSettings] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Serve the workload through the driver on the running loop, whose clock should be virtual.

    The arguments are those of `simulate`. Raises PolicyError where somebody starves for good.
    """
    given = settings or {model: lane_settings(model, policy) for model in workload.models}
    run = _Run(workload, policy, hooks, given, progress)
    await run.finish()
    return Outcome(
        name or type(policy).__name__,
        [
            Row(seat.job.model, seat.arrived, seat.admitted, run.ends[seat.index])
            for seat in run.seats
        ],
        run.hooks.spells,
        run.switches,
        run.hooks.reasons,
        list(run.complaints),
    )


class _Run:
    def __init__(
        self,
        workload: Workload,
        policy: SwitchPolicy,
        hooks: HookTimes,
        settings: Mapping[str, LaneSettings],
        progress: Progress | None,
    ) -> None:
        self.seats: list[Seat] = []
        self.ends: dict[int, float] = {}
        self.switches = 0
        self.complaints: dict[str, None] = {}
        self.hooks = _DiceHooks(list(settings), hooks)
        self._loop = asyncio.get_running_loop()
        self._source = workload.start()
        self._progress = progress
        self._lively = 0.0
        self._done = asyncio.Event()
        self._switcher = ModelSwitcher(
            self.hooks, policy, settings=settings, listeners=[self._hear]
        )

    async def finish(self) -> None:
        """Return when every request of the source is over."""
        self._switcher.start()
        for job in self._source.first():
            self._issue(job)
        while not self._done.is_set():
            watch = self._loop.call_later(PATIENCE, self._done.set)
            await self._done.wait()
            watch.cancel()
            if len(self.ends) < len(self.seats):
                self._done.clear()
                self._watch()
        await self._switcher.stop()
        if self._progress is not None:
            self._progress(len(self.ends))

    def _watch(self) -> None:
        if self._loop.time() - self._lively >= PATIENCE:
            depths = self._switcher.queue_depths()
            waiting = ", ".join(model for model, depth in depths.items() if depth)
            raise PolicyError(
                f"{type(self._switcher.policy).__name__} leaves {waiting} waiting for ever"
            )

    def _hear(self, news: News) -> None:
        self._lively = self._loop.time()
        if isinstance(news, ModelActivated):
            self.switches += 1
        elif isinstance(news, PolicyFault):
            self.complaints[f"{news.policy}: {news.error}"] = None

    def _issue(self, job: Job) -> None:
        seat = Seat(self._switcher.board.lane(job.model), job, len(self.seats))
        seat.on_admitted = partial(self._admit, seat)
        seat.on_rejected = seat.on_cut = partial(self._refuse, seat)
        self.seats.append(seat)
        self._loop.call_at(job.arrival, self._arrive, seat)

    def _arrive(self, seat: Seat) -> None:
        self._lively = self._loop.time()
        if self._switcher.enter(seat):
            self._admit(seat)

    def _admit(self, seat: Seat) -> None:
        self._loop.call_at(self._loop.time() + seat.job.service, self._answer, seat)

    def _answer(self, seat: Seat) -> None:
        if seat.index not in self.ends:
            self._lively = self._loop.time()
            then = seat.job.then
            if then is not None and then == seat.job.model:
                self._switcher.returning(seat)
                then = None
            self._switcher.leave(seat)
            if then is not None:
                self._switcher.announce(then)
            self._end(seat)

    def _refuse(self, seat: Seat, error: LlmuxError) -> None:
        del error
        self._end(seat)

    def _end(self, seat: Seat) -> None:
        now = self._loop.time()
        self.ends[seat.index] = now
        for job in self._source.after(seat.job, now):
            self._issue(job)
        over = len(self.ends)
        if over == len(self.seats):
            self._done.set()
        if self._progress is not None and over % 500 == 0:
            self._progress(over)
