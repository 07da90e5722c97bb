"""The machine under the gateway: engines that hold the accelerator or not, and hooks as processes.

Here is what really happens, whatever the gateway believes. Processes outlive a gateway that was
killed. The machine holds what only it can see: that no two hooks run at once and nothing is woken
beside an engine that holds the accelerator, unless the gateway was lied to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from math import inf

from proof.chance import Chance


class Truth(Enum):
    """What an engine really does; it can be only one of these."""

    DOWN = "down"
    LOADING = "loading"
    UP = "up"
    ASLEEP = "asleep"
    """As a server that stays up while its model sleeps: its port is open."""
    HUNG = "hung"
    HALF = "half"
    """Nobody listens, and the accelerator is held all the same."""


HOLDING = frozenset({Truth.LOADING, Truth.UP, Truth.HUNG, Truth.HALF})
OPEN = frozenset({Truth.UP, Truth.ASLEEP, Truth.HUNG})


@dataclass(eq=False)
class Engine:
    """One model's server as it really is."""

    name: str
    wake_seconds: float
    sleep_seconds: float
    stays: bool
    """Its server stays up while the model sleeps."""
    blind: bool
    """What it is asked (`alive`) is answered also by a sleeping server."""
    truth: Truth = Truth.DOWN
    excused: bool = False
    """The gateway was told something untrue of it while it held the accelerator."""
    forwards: dict[Callable[[], None], None] = field(default_factory=dict)
    """Whom to tell when its connections break."""
    late: asyncio.TimerHandle | None = None
    broken: dict[str, float] = field(default_factory=dict)
    """Hooks that fail whenever they run, until when."""

    @property
    def listens(self) -> bool:
        """Whether its port accepts."""
        return self.truth in OPEN

    @property
    def asleep(self) -> Truth:
        """What it is when it sleeps."""
        return Truth.ASLEEP if self.stays else Truth.DOWN


@dataclass(frozen=True, slots=True)
class Run:
    """How a hook is going to run: seconds until its end, its exit code, what it leaves behind."""

    seconds: float
    code: int
    after: Truth
    kind: str = ""
    spawns: bool = True
    up_later: float = 0.0
    """Seconds after its end until the server it left in the background is up."""


@dataclass(eq=False)
class Process:
    """A hook as the machine sees it."""

    pid: int
    model: str
    hook: str
    run_id: str
    run: Run
    over: asyncio.Future[int]
    cleaning: bool = False
    """Its model counts as asleep afterwards, however it ends."""
    began: float | None = None
    """When its first command ran; None while it stands at the gate."""
    ends: asyncio.TimerHandle | None = None
    orphan: bool = False
    """The next life of the gateway cannot know of it."""


class Machine:
    """All engines and processes of one story."""

    def __init__(self, chance: Chance, engines: list[Engine]) -> None:
        self.chance = chance
        self.engines = {one.name: one for one in engines}
        self.running: dict[int, Process] = {}
        self._pids = 100
        self._loop = asyncio.get_running_loop()

    # ---- hooks ---------------------------------------------------------------------------------

    def draw(self, model: str, hook: str) -> Run:
        """Draw how a run of this hook is going to be."""
        chance, engine = self.chance, self.engines[model]
        wake = hook == "wake"
        good = Truth.UP if wake else engine.asleep if hook == "sleep" else Truth.DOWN
        seconds = engine.wake_seconds if wake else engine.sleep_seconds
        now = engine.truth
        if chance.faulty and self._loop.time() < engine.broken.get(hook, 0.0):
            chance.struck[f"{hook}: broken for long", chance.phase()] += 1
            return Run(chance.one([0.0, seconds]), 1, Truth.DOWN if wake else now, "broken")
        if chance.strikes(f"{hook}: spawn error", 0.02):
            return Run(0.0, 127, now, "spawn error", spawns=False)
        if chance.strikes(f"{hook}: hangs", 0.02):
            return Run(inf, 0, now, "hangs")
        if chance.strikes(f"{hook}: exits n", 0.04):
            left = chance.one([Truth.DOWN, now]) if wake else now
            return Run(chance.one([0.0, seconds]), chance.one([1, 2, 126]), left, "exits n")
        if chance.strikes(f"{hook}: is killed", 0.02):
            left = chance.one([Truth.DOWN, Truth.LOADING]) if wake else now
            return Run(chance.one([0.25, seconds]), -9, left, "is killed")
        if chance.strikes(f"{hook}: lies", 0.02):
            left = chance.one([Truth.DOWN, Truth.HUNG]) if wake else now
            return Run(seconds, 0, left, "lies")
        if chance.strikes(f"{hook}: works half", 0.03):
            if wake:
                return Run(seconds, 1, chance.one([Truth.UP, Truth.HUNG, Truth.HALF]), "half")
            return Run(seconds, 1, chance.one([good, Truth.HUNG, Truth.HALF]), "half")
        if chance.strikes(f"{hook}: slow", 0.04):
            return Run(chance.one([7.0, 11.0]), 0, good, "slow")
        later = chance.one([0.0, 0.0, 0.0, 1.5]) if wake else 0.0
        return Run(seconds, 0, good, up_later=later)

    def spawn(self, model: str, hook: str, run_id: str, run: Run, cleaning: bool) -> Process:
        """Start a process; it stands at the gate until `begin`."""
        self._pids += 1
        over: asyncio.Future[int] = self._loop.create_future()
        process = Process(self._pids, model, hook, run_id, run, over, cleaning)
        self.running[process.pid] = process
        return process

    def begin(self, process: Process) -> None:
        """Let the first command run, and hold what must hold then."""
        engine = self.engines[process.model]
        self.chance.note(f"{process.hook} {process.model} begins {process.run.kind}")
        process.began = self._loop.time()
        for other in self.running.values():
            if other is not process and other.began is not None and not other.orphan:
                beside = f"{other.hook} {other.model}"
                self.chance.violated(f"I7: {process.hook} {process.model} beside {beside}")
        if process.hook == "wake":
            for one in self.engines.values():
                if one is not engine and one.truth in HOLDING and not one.excused:
                    beside = f"{one.name}, which is {one.truth.value}"
                    self.chance.violated(f"I1: {engine.name} is woken beside {beside}")
            if engine.truth in {Truth.DOWN, Truth.ASLEEP}:
                self.become(engine, Truth.LOADING)
        if process.run.seconds < inf:
            process.ends = self._loop.call_later(process.run.seconds, self._end, process)

    def _end(self, process: Process) -> None:
        run, engine = process.run, self.engines[process.model]
        self.running.pop(process.pid, None)
        self.chance.note(f"{process.hook} {process.model} ends {run.code} {run.after.value}")
        if run.up_later and run.after is Truth.UP:
            engine.late = self._loop.call_later(run.up_later, self._up, engine)
        else:
            self.become(engine, run.after)
        if process.hook != "wake" or process.orphan:
            self.excuse(process.model, process.cleaning or process.orphan or run.code == 0)
        if not process.over.done():
            process.over.set_result(run.code)

    def _up(self, engine: Engine) -> None:
        if engine.truth is Truth.LOADING:
            self.become(engine, Truth.UP)

    def excuse(self, model: str, told_asleep: bool) -> None:
        """Nobody can know better who was told that it sleeps, or who finds that nobody listens."""
        engine = self.engines[model]
        if engine.truth in HOLDING and (told_asleep or not engine.listens):
            engine.excused = True

    def kill(self, process: Process) -> None:
        """End a process with its group before its time; its work stays undone."""
        self.running.pop(process.pid, None)
        if process.ends is not None:
            process.ends.cancel()
        if process.began is not None:
            self.chance.note(f"{process.hook} {process.model} is ended")
            engine = self.engines[process.model]
            if process.hook == "wake" and engine.truth is Truth.LOADING:
                self.become(engine, self.chance.one([Truth.DOWN, Truth.LOADING]))
            if process.hook != "wake":
                self.excuse(process.model, process.cleaning)
        if not process.over.done():
            process.over.set_result(-9)

    # ---- engines -------------------------------------------------------------------------------

    def become(self, engine: Engine, truth: Truth) -> None:
        """Let an engine change its state; what cannot go on breaks."""
        if engine.late is not None:
            engine.late.cancel()
            engine.late = None
        before, engine.truth = engine.truth, truth
        if truth not in HOLDING:
            engine.excused = False
        if truth is Truth.HALF:
            engine.excused = True
        if before is Truth.UP and truth not in {Truth.UP, Truth.HUNG}:
            told, engine.forwards = list(engine.forwards), {}
            for broken in told:
                broken()

    # ---- what the gateway's next life may ask of the system ------------------------------------

    def boot_id(self) -> str:
        """Name this boot."""
        return "one boot"

    def started_at(self, pid: int) -> int | None:
        """Return the start time of a process that lives."""
        return pid if pid in self.running else None

    def age(self, start: int) -> float:
        """Return how long a process has run."""
        process = self.running.get(start)
        began = None if process is None else process.began
        return 0.0 if began is None else self._loop.time() - began

    def leaders_with(self, variable: bytes) -> list[tuple[int, int]]:
        """Return (pid, start time) of hooks with this LLMUX_HOOK_ID."""
        run_id = variable.partition(b"=")[2].decode()
        return [(one.pid, one.pid) for one in self.running.values() if one.run_id == run_id]

    async def gone(self, pid: int, start: int, seconds: float | None) -> bool:
        """Wait until a process has ended, so many seconds at most."""
        del start
        process = self.running.get(pid)
        if process is None:
            return True
        await asyncio.wait([process.over], timeout=seconds)
        return pid not in self.running

    async def end_group(self, pid: int, start: int) -> bool:
        """End a process and say whether it is gone."""
        del start
        await asyncio.sleep(self.chance.one([0.0, 1.0]))
        process = self.running.get(pid)
        if process is not None:
            self.kill(process)
        return True
