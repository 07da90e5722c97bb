"""One story: a seed draws a config, a machine, clients and faults; then a fair end has to come.

After the last fault every model has to answer within its bound (I11), and when nobody wants
anything any more, nothing may be left over (I5).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from llmux.policy.base import SwitchPolicy
from llmux.runtime import statefile
from llmux.testing import run_virtual
from proof.chance import Chance, ViolationError
from proof.clients import Visitor, guest, operator
from proof.drawing import LONGEST_REST, Draw
from proof.engines import OPEN, Machine, Truth
from proof.life import Life, begin
from proof.moods import Moody

STEPS = 400
"""Things that happen in a story before its fair end."""
ENDLESS = 30.0
"""Seconds of work after which a story hangs within one fact; it takes a fraction of one."""


@dataclass(frozen=True, slots=True)
class Told:
    """How a story went."""

    seed: int
    events: int
    digest: str
    struck: dict[tuple[str, str], int]
    violation: str | None
    log: str


def tell(seed: int, *, steps: int = STEPS, keep: int = 0) -> Told:
    """Play the story of a seed; `keep` lines of its log are kept to be read."""
    chance = Chance(seed)
    chance.keep = keep
    ears = _Ears(chance)
    logger = logging.getLogger("llmux")
    before = logger.propagate
    logger.addHandler(ears)
    logger.propagate = False
    violation: str | None = None
    try:
        with (
            tempfile.TemporaryDirectory(prefix="llmux-story-", dir=_memory()) as folder,
            _ends(chance),
        ):
            run_virtual(_Story(chance, Path(folder), steps).play())
    except ViolationError as error:
        violation = str(error)
    except Exception as error:
        violation = f"{type(error).__name__}: {error}"
    finally:
        logger.removeHandler(ears)
        logger.propagate = before
    violation = chance.found[0] if chance.found else violation
    return Told(
        seed, chance.events, chance.digest(), dict(chance.struck), violation, chance.latest()
    )


@contextmanager
def _ends(chance: Chance) -> Iterator[None]:
    """I15: interrupt what works without end within one fact, where no clock goes on."""

    def interrupt(*_: object) -> None:
        chance.violated(f"I15: one fact is worked on for more than {ENDLESS:g} s")
        chance.hold()

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, ENDLESS, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def _memory() -> str | None:
    """Return a directory in memory where there is one: no story waits for a disk."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() else None


def _nothing() -> None:
    return None


class _Ears(logging.Handler):
    """Hears what the gateway logs as its own failure: that is one."""

    def __init__(self, chance: Chance) -> None:
        super().__init__(logging.ERROR)
        self._chance = chance

    def emit(self, record: logging.LogRecord) -> None:
        """Write it down."""
        if "stands still" not in record.getMessage():
            error = record.exc_info[1] if record.exc_info else None
            self._chance.violated(f"logged: {record.getMessage()} {error!r}")


class _Story:
    """The telling of one story."""

    def __init__(self, chance: Chance, folder: Path, steps: int) -> None:
        self._chance = chance
        self._path = folder / "state.json"
        self._steps = steps
        self._draw = Draw(chance)
        self._setting = self._draw.setting()
        chance.rate = chance.one([0.0, 0.3, 1.0, 1.0, 2.0])
        self._visitors: dict[Visitor, None] = {}
        self._guests: list[asyncio.Task[None]] = []
        self._life: Life
        self._machine: Machine
        self._policy: SwitchPolicy

    # ---- the story -------------------------------------------------------------------------------

    async def play(self) -> None:
        """Let it all happen; ViolationError as soon as something does not hold."""
        chance = self._chance
        chance.now = asyncio.get_running_loop().time
        machine = self._machine = Machine(
            chance, [self._draw.engine(one) for one in self._draw.names]
        )
        with patch.object(statefile, "processes", machine):
            self._begin()
            for _ in range(self._steps):
                await self._step()
                self._hold()
            chance.faulty = False
            await self._fair_end()
            self._hold()
            await self._life.stop()
            self._hold()

    def _begin(self) -> None:
        self._policy = policy = self._draw.policy()
        clock = self._stopwatch(policy)
        self._life = begin(self._chance, self._machine, self._setting, policy, self._path, clock)
        self._chance.phase = self._life.watch.phase

    def _stopwatch(self, policy: SwitchPolicy) -> Callable[[], float]:
        return (lambda: policy.clock) if isinstance(policy, Moody) else (lambda: 0.0)

    def _hold(self) -> None:
        for error in self._life.failures():
            self._chance.violated(f"a task has ended: {error!r}")
        self._chance.hold()

    async def _step(self) -> None:
        chance = self._chance
        match int(chance.dice.random() * 20):
            case 0:
                self._strike_an_engine()
            case 1:
                self._somebody_leaves()
            case 2:
                self._somebody_is_cancelled()
            case 3 if chance.sometimes(0.3):
                self._order()
            case 4:
                self._guest()
            case 5 if chance.strikes("clock: jumps", 0.2):
                self._jump()
            case 6 if chance.strikes("gateway: killed", 0.25):
                await self._kill()
            case 7 if chance.strikes("gateway: restarted", 0.1):
                await self._restart()
            case 7 if chance.strikes("config: read anew", 0.3):
                await self._reload()
            case 8 if chance.sometimes(0.2):
                await asyncio.sleep(chance.one([4.0, 10.0, 30.0]))
            case 9 if chance.sometimes(0.4):
                await self._agent()
            case _:
                self._visit(chance.one(self._draw.names))
        await asyncio.sleep(chance.one([0.0, 0.0, 0.0, 0.25, 0.5, 1.0]))

    def _visit(
        self, model: str, over: Callable[[], None] = _nothing, then: str | None = None
    ) -> Visitor:
        chance, life = self._chance, self._life
        service = chance.one([0.0, 0.5, 1.0, 3.0, 8.0])
        engine = self._machine.engines[model]
        weight, size = chance.one([1.0, 1.0, 1.0, 4.0]), chance.one([0, 0, 20, 60])
        if then is None and chance.sometimes(0.2):
            then = chance.one(self._draw.names)
        visitor = Visitor(chance, engine, life.switcher, life.watch, service, weight, size, then)
        self._visitors[visitor] = None
        if chance.sometimes(0.25):
            seconds = chance.one([0.0, 0.25, 1.0, 4.0])
            asyncio.get_running_loop().call_later(seconds, self._leaves, visitor)

        def gone() -> None:
            self._visitors.pop(visitor, None)
            over()
            if chance.faulty and chance.sometimes(0.1):  # who was told asks again at once
                self._visit(model)
            elif chance.faulty and then and visitor.end == "served" and over is _nothing:
                soon = chance.one([0.0, 0.5, 1.0, 2.5, 4.0, 9.0])
                asyncio.get_running_loop().call_later(soon, self._visit_living, then)

        visitor.then = gone
        visitor.come()
        return visitor

    async def _agent(self) -> None:
        """Let one client ask one model after the other, and say which, while nobody else comes."""
        chance = self._chance
        await asyncio.sleep(chance.one([0.0, 4.0, 10.0]))
        model = chance.one(self._draw.names)
        for _ in range(chance.one([1, 2, 4])):
            over, then = asyncio.Event(), chance.one(self._draw.names)
            self._visit(model, over.set, then)
            with suppress(TimeoutError):
                async with asyncio.timeout(15.0):
                    await over.wait()
            if chance.sometimes(0.2):
                await self._reload(another_policy=0.8)
            await asyncio.sleep(chance.one([0.25, 1.0, 3.0]))
            model = then

    def _visit_living(self, model: str) -> None:
        if not self._life.dead:
            self._visit(model)

    def _leaves(self, visitor: Visitor) -> None:
        if not visitor.end:
            self._chance.strikes("client: leaves", 1.0)
            visitor.go()

    def _somebody_leaves(self) -> None:
        if self._visitors:
            self._leaves(self._chance.one(list(self._visitors)))

    def _guest(self) -> None:
        chance = self._chance
        kind = chance.one(["block", "lease", "again"])
        model, seconds = chance.one(self._draw.names), chance.one([0.0, 0.5, 3.0])
        work = guest(self._life.switcher, model, seconds, kind)
        self._guests.append(asyncio.get_running_loop().create_task(work))

    def _order(self) -> None:
        work = operator(self._life.switcher, self._chance.one(self._draw.names))
        self._guests.append(asyncio.get_running_loop().create_task(work))

    def _somebody_is_cancelled(self) -> None:
        self._guests = [one for one in self._guests if not one.done()]
        if self._guests:
            self._chance.strikes("client: cancelled", 1.0)
            self._chance.one(self._guests).cancel()

    def _strike_an_engine(self) -> None:
        chance = self._chance
        engine = self._machine.engines[chance.one(self._draw.names)]
        if chance.faulty and chance.sometimes(0.15 * chance.rate):
            until = asyncio.get_running_loop().time() + chance.one([5.0, 20.0, 60.0])
            for hook in chance.one([("wake",), ("sleep",), ("sleep", "kill"), ("wake", "sleep")]):
                engine.broken[hook] = until
        if engine.truth is Truth.UP:
            if chance.strikes("backend: dies", 0.5):
                self._machine.become(engine, Truth.DOWN)
            elif chance.strikes("backend: hangs", 0.4):
                self._machine.become(engine, Truth.HUNG)
        elif engine.truth is Truth.HUNG and chance.strikes("backend: comes back", 0.4):
            self._machine.become(engine, Truth.UP)
        elif engine.truth in {Truth.ASLEEP, Truth.HUNG} and chance.strikes("backend: dies", 0.5):
            self._machine.become(engine, Truth.DOWN)

    def _jump(self) -> None:
        loop: Any = asyncio.get_running_loop()
        loop.jump(self._chance.one([1.0, 7.0, 60.0]))
        self._life.watch.jumped(loop.time())

    async def _reload(self, another_policy: float = 0.25) -> None:
        another = self._draw.another(self._setting)
        policy = self._draw.policy() if self._chance.sometimes(another_policy) else None
        stopwatch = self._stopwatch(policy or self._policy)
        if policy is not None:
            self._life.stopwatch = stopwatch
        if await self._life.follow(another, policy):
            self._setting, self._policy = another, policy or self._policy

    # ---- the end of a life -----------------------------------------------------------------------

    async def _kill(self) -> None:
        life, machine = self._life, self._machine
        lost = life.disk.sick or not self._setting.remembers
        life.kill()
        for process in machine.running.values():
            process.orphan = process.orphan or lost
        for engine in machine.engines.values():
            engine.excused = engine.excused or lost
        self._chance.phase = lambda: "restart"
        await self._bury()
        await asyncio.sleep(self._chance.one([0.0, 0.25, 2.0]))
        self._begin()

    async def _restart(self) -> None:
        self._chance.phase = lambda: "stopping"
        await self._life.stop()
        self._hold()
        if self._life.disk.sick or not self._setting.remembers:
            for engine in self._machine.engines.values():
                engine.excused = True
        await self._bury()
        self._begin()

    async def _bury(self) -> None:
        for visitor in list(self._visitors):
            visitor.lost()
        self._visitors.clear()
        for one in self._guests:
            one.cancel()
        await asyncio.gather(*self._guests, return_exceptions=True)
        self._guests.clear()

    # ---- the fair end ----------------------------------------------------------------------------

    async def _fair_end(self) -> None:
        """No fault strikes any more: each model has to answer within its bound."""
        for engine in self._machine.engines.values():
            if engine.name not in self._setting.lanes:
                continue
            seen = self._setting.alive[engine.name] != "none" and not engine.blind
            witness = self._life.keeper.witnesses[engine.name]
            seen = seen and not witness.traits.blind and not witness.traits.unfit
            if engine.truth in OPEN and not seen:  # what nobody can see, somebody has to mend
                self._machine.become(engine, Truth.DOWN)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience()
        if self._chance.sometimes(0.7):  # in the others those who wait already wait on
            await self._all_leave()
        else:
            until += 8.0 * (len(self._visitors) + len(self._guests))
        await asyncio.gather(*(self._answered(name, until) for name in self._setting.lanes))
        await self._all_leave()
        until = loop.time() + self._patience()
        while (left := self._life.watch.at_rest()) and loop.time() < until:
            await asyncio.sleep(2.0)
        for one in left:
            self._chance.violated(f"I5: left over at rest: {one}")

    async def _all_leave(self) -> None:
        for task in self._guests:
            task.cancel()
        await asyncio.gather(*self._guests, return_exceptions=True)
        for visitor in list(self._visitors):
            visitor.go()

    def _patience(self) -> float:
        """I11: what may pass after the last fault until a model answers, in seconds."""
        setting = self._setting
        rest = LONGEST_REST + setting.failures * (setting.interval + 1.0) + setting.interval
        wake, ladder = 6.0, 2 * (4.0 + 2.0) + (3.0 + 2.0) + 6.0
        under_way = 11.0 + ladder + wake + 30.0
        turn = 8.0 + 3.0 + ladder + wake + 5.0
        return under_way + rest + 2 * len(self._draw.names) * turn

    async def _answered(self, model: str, until: float) -> None:
        """Ask a model until it answers."""
        loop = asyncio.get_running_loop()
        ends: list[str] = []
        while loop.time() < until:
            over = asyncio.Event()
            visitor = self._visit(model, over.set)
            try:
                async with asyncio.timeout_at(until):
                    await over.wait()
            except TimeoutError:
                pass
            if visitor.end == "served" or self._chance.found:
                return
            ends.append(visitor.end)
            visitor.go()
            await asyncio.sleep(max(0.25, visitor.retry_after or 0.0))
        self._chance.violated(f"I11: {model} has not answered after the last fault: {ends[-5:]}")
