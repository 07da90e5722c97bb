"""One life of the gateway in a story: real switcher, keeper, witnesses, lives and state file.

Simulated are what they stand on: processes, ports and the disk. A life ends by being stopped, or
as kill -9 ends it: from then on nothing of it touches the machine or the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from llmux.core import events as ev
from llmux.core.lane import LaneSettings
from llmux.policy.base import SwitchPolicy
from llmux.runtime import probes
from llmux.runtime.hooks import HookJournal, HookResult, HookRunner, HookSpec
from llmux.runtime.keeper import Keeper
from llmux.runtime.lives import Lives
from llmux.runtime.probes import AGREES, Answer, Look, Probe
from llmux.runtime.readiness import Readiness, beat
from llmux.runtime.statefile import StateFile
from llmux.runtime.staterecord import Record, dump, replace
from llmux.runtime.survey import look_at
from proof.chance import Chance
from proof.engines import HOLDING, Engine, Machine, Process, Truth
from proof.watch import Watch
from proof.watched import WatchedSwitcher

REFUSES = Look(Answer.REFUSES, "the port refuses connections")
SILENT = Look(Answer.SILENT, "no answer")
DENIES = Look(Answer.DENIES, "it says no")
UNASKED = Look(Answer.UNASKED, "it could not be asked")
Alive = Literal["none", "http", "shell"]


@dataclass(frozen=True)
class Setting:
    """What the config of a story says."""

    lanes: Mapping[str, LaneSettings]
    specs: tuple[HookSpec, ...]
    alive: Mapping[str, Alive]
    interval: float
    failures: int
    remembers: bool
    on_sleep_failure: Literal["stop", "continue"]
    rescue: bool
    heart: bool
    max_buffered: int | None = None


class Runner(HookRunner):
    """Runs hooks as processes of the machine."""

    def __init__(
        self,
        machine: Machine,
        specs: tuple[HookSpec, ...],
        journal: HookJournal,
        continues: bool,
    ) -> None:
        super().__init__(specs, env={}, journal=journal)
        self._machine = machine
        self._continues = continues
        self._bodies: dict[Process, None] = {}
        self.dead = False

    async def end_all(self) -> None:
        """End every running hook of this life."""
        for process in list(self._bodies):
            self._machine.kill(process)

    def perish(self) -> None:
        """Go as kill -9 lets it go: what stands at its gate reads the end of file there."""
        self.dead = True
        for process in self._bodies:
            if process.began is None:
                self._machine.kill(process)

    async def _attempt(
        self,
        model: str,
        hook: str,
        *,
        command: str,
        timeout: float | None,
        env: Mapping[str, str],
        journal: HookJournal | None = None,
    ) -> HookResult:
        del command
        if hook == "alive":
            return await self._ask(model, timeout)
        machine, loop = self._machine, asyncio.get_running_loop()
        started = loop.time()

        def ended(code: int | None, error: str | None, fate: str = "ended") -> HookResult:
            took = loop.time() - started
            return HookResult(model, hook, error is None, code, took, "", error, fate)  # type: ignore[arg-type]

        run = machine.draw(model, hook)
        # What a clean-up leaves, and what is put to sleep under `continue`, counts as asleep.
        cleaning = env["LLMUX_REASON"].startswith("clean up")
        cleaning = cleaning or (hook == "sleep" and self._continues)
        if not run.spawns:
            if hook != "wake":
                machine.excuse(model, cleaning)
            return ended(None, "could not be started", "unstarted")
        process = machine.spawn(model, hook, env["LLMUX_HOOK_ID"], run, cleaning)
        self._bodies[process] = None
        try:
            if journal is not None:
                await journal.started(env["LLMUX_HOOK_ID"], process.pid)
            machine.begin(process)
            done, _ = await asyncio.wait([process.over], timeout=timeout)
            if not done:
                await asyncio.sleep(machine.chance.one([0.0, 1.0]))
                machine.kill(process)
                return ended(-9, "no end in time, killed", "late")
        except asyncio.CancelledError:
            if not self.dead and not process.over.done():
                machine.kill(process)
            raise
        finally:
            if not self.dead:
                self._bodies.pop(process, None)
        code = process.over.result()
        return ended(code, None if code == 0 else f"exit code {code}")

    async def _ask(self, model: str, timeout: float | None) -> HookResult:
        look = await ask(self._machine, self._machine.engines[model], timeout)
        code = {Answer.AGREES: 0, Answer.DENIES: 1, Answer.REFUSES: 7, Answer.UNFIT: 127}
        late = look.answer is Answer.SILENT
        fate = "late" if late else "unstarted" if look.answer is Answer.UNASKED else "ended"
        said = code.get(look.answer)
        return HookResult(model, "alive", look.agrees, said, 0.0, "", look.error, fate)  # type: ignore[arg-type]


async def ask(machine: Machine, engine: Engine, timeout: float | None) -> Look:
    """Ask an engine whether it lives; it may be slow to answer, or say what is not so."""
    chance = machine.chance
    if chance.sometimes(0.2):
        await asyncio.sleep(chance.one([0.0, 0.25, 0.75]))
    true = _true(engine)
    if chance.strikes("alive: slow or silent", 0.02):
        true = SILENT
    elif chance.strikes("alive: flaps", 0.03):
        if engine.truth in HOLDING:
            engine.excused = True
        true = chance.one([DENIES, SILENT]) if true.agrees else AGREES
    elif chance.strikes("alive: cannot be run", 0.005):
        if engine.truth in HOLDING:
            engine.excused = True
        true = Look(Answer.UNFIT, "command not found")
    elif chance.strikes("alive: spawn error", 0.01):
        true = UNASKED
    if true is SILENT:
        await asyncio.sleep(timeout or 1.0)
    return true


def _true(engine: Engine) -> Look:
    match engine.truth:
        case Truth.UP:
            return AGREES
        case Truth.ASLEEP:
            return AGREES if engine.blind else DENIES
        case Truth.HUNG:
            return AGREES if engine.blind else SILENT
        case _:
            return REFUSES


def knocks(machine: Machine, engine: Engine) -> Probe:
    """Return a probe that looks whether the engine's port accepts."""

    async def look() -> Look:
        if machine.chance.strikes("port: cannot be asked", 0.01):
            return UNASKED
        return AGREES if engine.listens else REFUSES

    return look


def asks(machine: Machine, engine: Engine, timeout: float | None) -> Probe:
    """Return a probe that asks the engine over HTTP."""

    async def look() -> Look:
        return await ask(machine, engine, timeout)

    return look


class Disk(StateFile):
    """The state file on a disk that is slow or full now and then, written on virtual time."""

    def __init__(self, chance: Chance, path: Path | None, models: list[str]) -> None:
        super().__init__(path, models, warn=lambda _: None)
        self._chance = chance
        self._landed = b""
        self.sick = False
        """Something could not be written in time: a next life may know less."""

    def _kick(self) -> None:
        if self._lock < 0 or self.path is None or self._writing or self._written == self._version:
            return
        self._writing = True
        seconds = 0.0
        if self._chance.strikes("disk: slow", 0.01):
            seconds = self._chance.one([0.5, 5.0])
            self.sick = True
        full = self._chance.strikes("disk: full", 0.01)
        # Only a life that is killed leaves what has landed: spelled out then, kept quickly now.
        kept, version = msgspec.json.encode(self._record), self._version
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, self._land, kept, version, full)

    def _land(self, kept: bytes, version: int, full: bool) -> None:
        if self._lock < 0 or self.path is None:
            return
        if full:
            self.sick = True
            self._wrote(version, OSError(28, "No space left on device"))
            return
        self._landed = kept
        self._wrote(version, None)

    def perish(self) -> None:
        """Go as kill -9 lets it go: what has landed is there, and no more."""
        if self._lock >= 0 and self.path is not None and self._landed:
            replace(self.path, dump(msgspec.json.decode(self._landed, type=Record)), sync=False)
        self._let_go()


class Heart(Readiness):
    """Readiness whose looks are noted, as the heartbeat that a watchdog would see."""

    watch: Watch

    def look(self, now: float) -> None:
        """Note the look and take it."""
        self.watch.beat(now)
        super().look(now)


@dataclass(eq=False)
class Life:
    """Everything of one life of the gateway."""

    switcher: WatchedSwitcher
    keeper: Keeper
    lives: Lives
    runner: Runner
    disk: Disk
    watch: Watch
    machine: Machine
    stopwatch: Callable[[], float]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    dead: bool = False

    async def stop(self) -> None:
        """Stop as a signal makes it stop."""
        self.dead = True
        self._end_tasks()
        await self.switcher.stop()
        await self.runner.end_all()
        await self.lives.sleep_leaving()
        await self.lives.end()

    async def follow(self, setting: Setting, policy: SwitchPolicy | None) -> bool:
        """Obey a config that was read anew, as a SIGHUP makes it; False while it starts."""
        board, keeper = self.switcher.board, self.keeper
        if board.surveying:
            return False
        stranger = Runner(self.machine, setting.specs, self.disk, continues=False)
        new = [name for name in setting.lanes if name not in board.lanes]
        asked = _asked(self.machine, setting, stranger)
        looks = [look_at(keeper, name, asked[name]) for name in new]
        found = dict(zip(new, await asyncio.gather(*looks), strict=True))
        later = self.runner.follow(setting.specs, {})
        keeper.follow(
            _asked(self.machine, setting, self.runner),
            fresh=(),
            later=later,
            interval=setting.interval,
            failures=setting.failures,
            on_sleep_failure=setting.on_sleep_failure,
        )
        self.switcher.reconfigure(
            ev.Reconfigured(
                tuple(setting.lanes.values()),
                renewed=frozenset(name for name, change in later.items() if change == "renew"),
                mended=frozenset(name for name, change in later.items() if change == "mend"),
                awake=tuple(name for name, standing in found.items() if standing == "awake"),
                unclear=tuple(name for name, standing in found.items() if standing == "unclear"),
                rate_windows=None if policy is None else tuple(policy.rate_windows),
                max_buffered=setting.max_buffered,
                hint_secs=None if policy is None else policy.hint_secs,
            ),
            policy,
        )
        self.switcher.time_by(self.stopwatch)
        self.lives.follow(setting.interval)
        return True

    def kill(self) -> None:
        """End as kill -9 ends it; whatever its tasks still do, nobody sees."""
        self.dead = True
        self.watch.over = True
        self.runner.perish()
        self.disk.perish()
        self.switcher.perish()
        self._end_tasks()
        for task in self.lives.tasks:
            task.cancel()
        for look in self.keeper._looks.values():
            look.cancel()

    def _end_tasks(self) -> None:
        for task in self.tasks:
            task.cancel()

    def failures(self) -> list[BaseException]:
        """Return what has ended a task of this life that should have lived."""
        found = []
        for task in [*self.tasks, *self.lives.tasks]:
            if task.done() and not task.cancelled():
                with suppress(asyncio.InvalidStateError):
                    if (error := task.exception()) is not None:
                        found.append(error)
        return found


def _asked(
    machine: Machine, setting: Setting, runner: Runner
) -> dict[str, tuple[Probe | None, Probe, str]]:
    """Return how each model of the config is asked."""
    asked: dict[str, tuple[Probe | None, Probe, str]] = {}
    for spec in setting.specs:
        engine = machine.engines[spec.model]
        alive: Probe | None = None
        if setting.alive[spec.model] == "http":
            alive = asks(machine, engine, spec.alive_timeout)
        elif setting.alive[spec.model] == "shell":
            alive = probes.shell(runner, spec.model)
        asked[spec.model] = (alive, knocks(machine, engine), setting.alive[spec.model])
    return asked


def begin(
    chance: Chance,
    machine: Machine,
    setting: Setting,
    policy: SwitchPolicy,
    path: Path,
    stopwatch: Callable[[], float],
) -> Life:
    """Start a life: the look at all models is under way when this returns."""
    names = list(setting.lanes)
    lanes = dict(setting.lanes)
    disk = Disk(chance, path if setting.remembers else None, names)
    disk.open()
    runner = Runner(machine, setting.specs, disk, setting.on_sleep_failure == "continue")
    asked = _asked(machine, setting, runner)
    keeper = Keeper(
        runner,
        asked,
        state=disk,
        interval=setting.interval,
        failures=setting.failures,
        on_sleep_failure=setting.on_sleep_failure,
    )
    watch = Watch(chance, lanes, setting.max_buffered, policy.hint_secs)
    switcher = WatchedSwitcher(
        keeper,
        policy,
        settings=lanes,
        listeners=[watch.hear],
        survey=True,
        rescue=setting.rescue,
        max_buffered=setting.max_buffered,
    )
    switcher.look_through(watch, stopwatch)
    lives = Lives(
        keeper,
        switcher,
        interval=setting.interval,
        knocks=lambda model, _: knocks(machine, machine.engines[model]),
    )
    life = Life(switcher, keeper, lives, runner, disk, watch, machine, stopwatch)
    loop = asyncio.get_running_loop()
    switcher.start()
    life.tasks.append(loop.create_task(lives.begin()))
    if setting.heart:
        bounds: dict[str, tuple[float | None, float | None]] = dict.fromkeys(names, (None, None))
        heart = Heart(switcher, bounds)
        heart.watch = watch
        life.tasks.append(loop.create_task(beat(heart)))
    return life
