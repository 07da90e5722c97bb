"""Keeps the lives of models: wakes them, puts them to sleep for certain, and sees them die.

It is the driver's `Hooks`: beside running a hook it asks the witness what came of it, goes down
the ladder when a sleep has failed, and writes down how each model stands. Between hooks it takes
the pulse of those that are awake. It refuses to know requests, queues and plans: what a death or
a failed sleep means for a switch is the board's to say, and how models stand at the start is for
`survey` to find out.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Literal

from llmux.core.news import HookEnded
from llmux.runtime.findings import AliveFailed, Finding, WitnessBlind, WitnessUnfit
from llmux.runtime.hooks import HookResult, HookRunner, HookSpec
from llmux.runtime.outcome import Left, Outcome, outcome_of
from llmux.runtime.probes import Probe
from llmux.runtime.statefile import StateFile, Woken
from llmux.runtime.staterecord import digest
from llmux.runtime.witness import ASK_EVERY, LAST_LOOKS, Pulse, Witness

INTERVAL = 10.0
"""Seconds between two looks at an awake model."""
MOMENT = 0.2
"""Seconds after which a backend that seems to live is looked at again when somebody has doubts."""
FAILURES = 3
"""Failed looks in a row that make a hang."""
LADDER_LOOKS = LAST_LOOKS + 3
"""Times that `alive` is asked at most until a sleep has failed for good."""

_log = logging.getLogger("llmux.keeper")


class Keeper:
    """Implements `Hooks` over a runner, a witness for each model, and the state file.

    `probes` gives each model's (alive, knock, text of alive). Each finding goes to `listener`.
    `failures` looks in a row, `interval` seconds apart, make a hang. `on_sleep_failure` is `stop`,
    or `continue` as in 2.4.0. Used on one loop.
    """

    def __init__(
        self,
        runner: HookRunner,
        probes: Mapping[str, tuple[Probe | None, Probe, str]],
        *,
        state: StateFile | None = None,
        interval: float = INTERVAL,
        failures: int = FAILURES,
        on_sleep_failure: Literal["stop", "continue"] = "stop",
        listener: Callable[[Finding], None] | None = None,
    ) -> None:
        self.runner = runner
        self._probes = dict(probes)
        self.state = state or StateFile(None, runner.registered_models())
        self._interval = interval
        self._failures = failures
        self._on_sleep_failure = on_sleep_failure
        self._listener = listener
        self.witnesses = {
            model: self._witness(model, alive, knock, text)
            for model, (alive, knock, text) in probes.items()
        }
        self._generation: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._looks: dict[str, asyncio.Task[Pulse]] = {}
        self._may_probe: Callable[[str], bool] = lambda _: True
        self._on_death: Callable[[str, bool], None] = lambda *_: None

    def __repr__(self) -> str:
        return f"<Keeper {len(self.witnesses)} models, {len(self._looks)} looks under way>"

    def listen(self, listener: Callable[[Finding], None]) -> None:
        """Say who hears of findings from now on."""
        self._listener = listener

    def registered_models(self) -> list[str]:
        """Return the names of all models, in the config's order."""
        return self.runner.registered_models()

    def model_port(self, model: str) -> int | None:
        """Return where the model's backend listens; None for an unknown model."""
        return self.runner.model_port(model)

    # ---- what was found at the start ---------------------------------------------------------

    def recall(self) -> None:
        """Take over what the last life has learned of the witnesses, once its file is open."""
        for model, (_, _, text) in self._probes.items():
            self.witnesses[model].traits = self.state.traits(model, text)

    def adopted(self, model: str) -> None:
        """Write down that a model that was found awake goes on serving, by the hooks it has now."""
        if model not in self.state.woken():
            self._note_hooks(model)
        self.state.set_status(model, "awake")

    def _note_hooks(self, model: str) -> None:
        """Write down by which hooks a model is woken: a next life may have another config."""
        spec = self.runner.spec(model)
        if spec is not None:
            self.state.set_woken(model, woken_by(spec))

    # ---- a config that was read anew ---------------------------------------------------------

    def follow(
        self,
        probes: Mapping[str, tuple[Probe | None, Probe, str]],
        *,
        fresh: Collection[str],
        later: Collection[str],
        interval: float,
        failures: int,
        on_sleep_failure: Literal["stop", "continue"],
    ) -> None:
        """Take over how models are asked: `fresh` ones anew, those of them `later` from `renew` on.

        Call the runner's `follow` before.
        """
        self._interval = interval
        self._failures = failures
        self._on_sleep_failure = on_sleep_failure
        self._probes = dict(probes)
        for model in probes:
            if model not in self.witnesses or (model in fresh and model not in later):
                self.witnesses[model] = self._witness(model, *probes[model])
        self.state.follow(probes)

    def renew(self, model: str) -> None:
        """Let new hooks, and a new way of asking, hold from now on."""
        self.runner.renew(model)
        self.witnesses[model] = self._witness(model, *self._probes[model])

    def forget(self, model: str) -> None:
        """Drop a model that is gone; looks at it that are under way end by themselves."""
        self.runner.forget(model)
        self.state.forget(model)
        self.witnesses.pop(model, None)

    async def close(self) -> None:
        """End the looks under way, for the shutdown. Harmless twice."""
        looks = list(self._looks.values())
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    # ---- hooks ---------------------------------------------------------------------------------

    async def run_wake(
        self, model: str, *, from_model: str | None, to_model: str | None, reason: str
    ) -> Outcome:
        """Run the wake hook, then ask the witness until it agrees, within the wake's bound."""
        bound = self.runner.timeout(model, "wake")
        loop = asyncio.get_running_loop()
        until = None if bound is None else loop.time() + bound
        self._note_hooks(model)
        with _Busy(self, model):
            end = await self.runner.run_wake(
                model, from_model=from_model, to_model=to_model, reason=reason
            )
            if not end.ok:
                return outcome_of(end)
            witness = self.witnesses[model]
            if not await witness.agrees(until):
                why = witness.last_error or "it has not answered"
                limit = "" if bound is None else f" within {bound:g} s"
                return outcome_of(end, ok=False, error=f"woken, but not alive{limit}: {why}")
            self.state.set_status(model, "awake")
            return outcome_of(end)

    async def run_sleep(
        self, model: str, *, from_model: str | None, to_model: str | None, reason: str
    ) -> Outcome:
        """Run the sleep hook and, should it fail, the ladder: ask, retry, kill.

        The outcome's `left` says how the model came out of it. Results of hooks that are not the
        outcome's own are told to the listener.
        """

        async def sleep() -> HookResult:
            return await self.runner.run_sleep(
                model, from_model=from_model, to_model=to_model, reason=reason
            )

        async def kill() -> HookResult:
            return await self.runner.run_kill(
                model, from_model=from_model, to_model=to_model, reason=reason
            )

        with _Busy(self, model):
            witness = self.witnesses[model]
            end = await sleep()
            if not end.ok and self._on_sleep_failure == "continue":
                return self._left(end, "asleep")
            gone: bool | None = None
            if not end.ok:
                gone = await witness.gone()
                if not gone:
                    self._ended(end)
                    end = await sleep()
            if end.ok:
                await witness.after_sleep()
                return self._left(end, "asleep")
            return self._left(end, "asleep" if gone else await self._last_resort(model, kill))

    async def _last_resort(self, model: str, kill: Callable[[], Awaitable[HookResult]]) -> Left:
        """Find out how two failed sleeps have left the model, and kill it where that is possible.

        A kill hook's exit code 0 is believed unless the witness clearly says otherwise.
        """
        witness = self.witnesses[model]
        gone = await witness.gone()
        killed = False
        if not gone and self.runner.has(model, "kill"):
            self._ended(end := await kill())
            killed = end.ok
            gone = await witness.gone()
        # A process needs a moment to die, and a moment's silence is not yet a hang.
        for _ in range(LAST_LOOKS - 1):
            if gone or (gone is False and not killed):
                break
            await asyncio.sleep(ASK_EVERY)
            gone = await witness.gone()
        if gone or (gone is None and killed):
            return "asleep"
        if gone is False:
            return "awake"
        if await witness.pulse(refused=True) is Pulse.CLOSED:
            witness.found_blind("it agreed three times while the port refused")
            return "asleep"
        return "unclear"

    def _left(self, end: HookResult, left: Left) -> Outcome:
        self.state.set_status(end.model, "unsettled" if left == "unclear" else left)
        error = end.error
        if error is not None and left == "asleep" and self._on_sleep_failure == "stop":
            error = f"{error}; but nothing of it is left, so it counts as asleep"
        return outcome_of(end, error=error, left=left)

    # ---- the pulse -----------------------------------------------------------------------------

    def on_death(self, told: Callable[[str, bool], None], may_probe: Callable[[str], bool]) -> None:
        """Say who hears of deaths, as (model, hung), and when a model may be looked at.

        `may_probe(model)`: it serves, or its last answers do, and no hook of its place runs.
        """
        self._on_death = told
        self._may_probe = may_probe

    async def watch(self, model: str) -> None:
        """Look at the model every interval while it may be looked at; runs until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            if not self._allowed(model):
                self._failed[model] = 0
                continue
            try:
                await self._shared_look(model)
            except Exception:
                _log.exception("a look at %s failed", model)

    async def suspect(self, model: str) -> Pulse:
        """Look now: a connect was refused, or an answer broke off, after the model had loaded.

        Callers at the same time share one look, but never one that began before they asked.
        `DEAD` says that the backend is gone (the death was told); `UNSURE` that a hook runs.
        """
        if not self._allowed(model):
            return Pulse.UNSURE
        if model in self._looks:
            pulse = await asyncio.shield(self._looks[model])
            if pulse is Pulse.DEAD or not self._allowed(model):
                return pulse
        return await self._shared_look(model, refused=True)

    def _allowed(self, model: str) -> bool:
        return model in self.witnesses and self._running[model] == 0 and self._may_probe(model)

    async def _shared_look(self, model: str, *, refused: bool = False) -> Pulse:
        look = self._looks.get(model)
        if look is None:
            look = asyncio.create_task(self._look(model, refused), name=f"look at {model}")
            self._looks[model] = look
            look.add_done_callback(lambda _: self._looks.pop(model, None))
        return await asyncio.shield(look)

    async def _look(self, model: str, refused: bool) -> Pulse:
        """Take the pulse and report a death, unless a hook has begun meanwhile."""
        witness, generation = self.witnesses[model], self._generation[model]
        pulse = await witness.pulse(refused=refused)
        if refused and pulse in (Pulse.ALIVE, Pulse.HUNG):
            # A process that dies closes its sockets one after another: the client's may go first.
            await asyncio.sleep(MOMENT)
            pulse = await witness.pulse(refused=refused)
        for _ in range(self._failures - 1):
            if pulse is not Pulse.CLOSED:
                break
            await asyncio.sleep(ASK_EVERY)
            pulse = await witness.pulse(refused=refused)
        if generation != self._generation[model] or not self._allowed(model):
            return Pulse.UNSURE
        if pulse is Pulse.CLOSED:
            witness.found_blind("it went on agreeing while the port refused")
            pulse = Pulse.DEAD
        if pulse is Pulse.ALIVE:
            self._failed[model] = 0
        if pulse in (Pulse.DEAD, Pulse.HUNG):
            # Requests may ask many times a second: only looks of the period count for a hang.
            self._failed[model] += not refused
            self.tell(AliveFailed(model, witness.last_error or pulse.value))
            if pulse is Pulse.DEAD or self._failed[model] >= self._failures:
                self._died(model, hung=pulse is Pulse.HUNG)
        return pulse

    def _died(self, model: str, *, hung: bool) -> None:
        self._failed[model] = 0
        self.state.set_status(model, "unsettled" if hung else "asleep")
        try:
            self._on_death(model, hung)
        except Exception:
            _log.exception("who hears of deaths failed at that of %s", model)

    # ---- telling -------------------------------------------------------------------------------

    def _witness(self, model: str, alive: Probe | None, knock: Probe, text: str) -> Witness:
        return Witness(
            alive,
            knock,
            traits=self.state.traits(model, text),
            on_unfit=lambda why: self.tell(WitnessUnfit(model, why)),
            on_blind=lambda _: self.tell(WitnessBlind(model)),
            on_learned=lambda: self.state.set_traits(model, text, self.witnesses[model].traits),
        )

    def _ended(self, end: HookResult) -> None:
        self.tell(
            HookEnded(
                end.model,
                end.hook,
                end.ok,
                end.exit_code,
                end.duration,
                end.tail,
                end.error or "",
            )
        )

    def tell(self, finding: Finding) -> None:
        """Let the listener hear of a finding."""
        if self._listener is None:
            return
        try:
            self._listener(finding)
        except Exception:
            _log.exception("a listener failed at %r", finding)

    def _began(self, model: str) -> None:
        self._generation[model] += 1
        self._running[model] += 1
        self._failed[model] = 0

    def _over(self, model: str) -> None:
        self._running[model] -= 1


def woken_by(spec: HookSpec) -> Woken:
    """Return what is remembered of the hooks by which a model is woken."""
    return Woken(
        spec.port,
        digest(spec.wake),
        spec.sleep,
        spec.kill,
        spec.sleep_timeout,
        spec.kill_timeout,
    )


class _Busy:
    """While it lasts a hook of the model runs: no look begins, and none from before reports."""

    def __init__(self, keeper: Keeper, model: str) -> None:
        self._keeper = keeper
        self._model = model

    def __enter__(self) -> None:
        self._keeper._began(self._model)

    def __exit__(self, *_: object) -> None:
        self._keeper._over(self._model)
