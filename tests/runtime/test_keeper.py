"""Stories of models that are kept: real hooks and real backends, and virtual time between them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from llmux.core.news import HookEnded
from llmux.runtime import probes
from llmux.runtime.findings import AliveFailed, Finding, HookLeftOver, WitnessBlind, WitnessUnfit
from llmux.runtime.hooks import HookResult, HookRunner, HookSpec
from llmux.runtime.keeper import LADDER_LOOKS, Keeper
from llmux.runtime.outcome import Outcome
from llmux.runtime.probes import Look
from llmux.runtime.statefile import StateFile
from llmux.runtime.survey import settle, survey
from llmux.runtime.witness import Pulse, Traits
from llmux.testing import run_virtual
from tests.runtime.backends import Engine
from tests.runtime.stage import NO, REFUSES, SILENT, UNASKED, UNFIT, YES, Stage


@dataclass
class House:
    """A keeper of one model called `m`, and all that it told."""

    keeper: Keeper
    told: list[Finding]
    deaths: list[tuple[str, bool]] = field(default_factory=list)
    closed: bool = False
    """Whether the model may not be looked at."""

    def __post_init__(self) -> None:
        self.keeper.on_death(
            lambda model, hung: self.deaths.append((model, hung)), lambda _: not self.closed
        )

    async def wake(self) -> Outcome:
        return await self.keeper.run_wake("m", from_model=None, to_model="m", reason="")

    async def sleep(self) -> Outcome:
        return await self.keeper.run_sleep("m", from_model="m", to_model=None, reason="")

    def hooks_told(self) -> list[tuple[str, bool]]:
        return [(one.hook, one.ok) for one in self.told if isinstance(one, HookEnded)]


def staged(
    stage: Stage,
    *,
    wake: str = "true",
    sleep: str = "true",
    kill: str | None = None,
    wake_timeout: float = 60.0,
    failures: int = 3,
    on_sleep_failure: Literal["stop", "continue"] = "stop",
    state: StateFile | None = None,
) -> House:
    """A house whose hooks are real and whose backend is a table of answers."""
    spec = HookSpec("m", 1, wake, sleep, None, wake_timeout, 60.0, kill=kill)
    told: list[Finding] = []
    keeper = Keeper(
        HookRunner([spec], journal=state),
        {"m": (None if stage.alive is None else stage.ask, stage.knock, "text")},
        state=state,
        failures=failures,
        on_sleep_failure=on_sleep_failure,
        listener=told.append,
    )
    keeper.witnesses["m"].traits = replace(stage.traits)
    return House(keeper, told)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    one = Engine(tmp_path)
    yield one
    one.end()


def housed(
    engine: Engine,
    alive: str | None = None,
    *,
    sleep: str | None = None,
    kill: str | None = None,
    interval: float = 0.1,
    patience: float = 10.0,
    state: StateFile | None = None,
) -> House:
    """A house with a real backend; `alive` is a path, a command, or None for the bare port."""
    command = alive if alive is not None and not alive.startswith("/") else None
    spec = HookSpec(
        "m",
        engine.port,
        engine.wake,
        sleep or engine.sleep,
        command,
        60.0,
        60.0,
        patience,
        kill=kill,
    )
    runner = HookRunner([spec], journal=state)
    ask: probes.Probe | None = None
    if command is not None:
        ask = probes.shell(runner, "m")
    elif alive is not None:
        ask = probes.http(engine.port, alive, patience)
    told: list[Finding] = []
    keeper = Keeper(
        runner,
        {"m": (ask, probes.tcp(engine.port, patience), alive or "")},
        state=state,
        interval=interval,
        listener=told.append,
    )
    return House(keeper, told)


async def until(house: House) -> tuple[str, bool]:
    """Watch until a death is reported, and return it."""
    watch = asyncio.create_task(house.keeper.watch("m"))
    try:
        async with asyncio.timeout(60):
            while not house.deaths:
                await asyncio.sleep(0.01)
    finally:
        watch.cancel()
        await house.keeper.close()
    return house.deaths[0]


# ---- waking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("alive", [None, "/health", "true"])
def test_a_woken_model_is_remembered_as_awake(engine: Engine, alive: str | None) -> None:
    """A wake script that starts a daemon: the port or `alive` decides when it can serve."""
    house = housed(engine, alive)
    outcome = asyncio.run(house.wake())
    assert (outcome.ok, outcome.exit_code, outcome.error, outcome.left) == (True, 0, None, None)
    assert house.keeper.state.awake_order() == ["m"]


def test_only_the_hook_itself_is_in_the_duration() -> None:
    """Costs learn hooks; the half seconds until `alive` agrees are not theirs."""
    stage, results = Stage(NO, YES), list[HookResult]()
    runner = HookRunner([HookSpec("m", 1, "true", "true")], listener=results.append)

    async def ask() -> Look:
        return YES if (await stage.ask(), stage.asked)[1] == 3 else NO

    keeper = Keeper(runner, {"m": (ask, stage.knock, "")})
    outcome = asyncio.run(House(keeper, []).wake())
    assert outcome.ok
    assert stage.asked == 3
    assert [one.duration for one in results] == [outcome.duration]


def test_a_wake_without_a_life_behind_it_is_a_failed_wake() -> None:
    """The hook said 0 and nobody ever listened: a failure within the wake's bound, with why."""
    house = staged(Stage(None, REFUSES), wake_timeout=0.7)
    outcome = asyncio.run(house.wake())
    assert not outcome.ok
    assert outcome.exit_code == 0
    assert outcome.error == "woken, but not alive within 0.7 s: refuses"
    assert house.keeper.state.awake_order() == []


def test_a_wake_hook_that_fails_asks_nobody() -> None:
    stage = Stage(YES, YES)
    outcome = asyncio.run(staged(stage, wake="echo no card; exit 3").wake())
    assert (outcome.ok, outcome.error, outcome.tail) == (False, "exit code 3", "no card\n")
    assert stage.asked == 0


def test_a_mistyped_alive_is_told_once_and_costs_nothing(engine: Engine) -> None:
    house = housed(engine, "no-such-command-here")

    async def story() -> None:
        assert (await house.wake()).ok
        assert await house.keeper.suspect("m") is Pulse.ALIVE

    asyncio.run(story())
    (warning,) = house.told
    assert isinstance(warning, WitnessUnfit)
    assert "command not found" in warning.why


# ---- the ladder --------------------------------------------------------------------------------

TWICE = "echo x >> {log}; test $(wc -l < {log}) -ge 2"
"""Fails the first time and works the second."""


@pytest.mark.parametrize(
    ("stage", "sleep", "kill", "left", "hooks"),
    [
        (Stage(REFUSES, REFUSES), "true", None, "asleep", []),
        (Stage(REFUSES, REFUSES), "exit 1", None, "asleep", []),  # nothing was left to stop
        (Stage(YES, YES), TWICE, None, "asleep", [("sleep", False)]),
        (Stage(YES, YES), "exit 1", None, "awake", [("sleep", False)]),
        (Stage(SILENT, YES), "exit 1", None, "unclear", [("sleep", False)]),
        (Stage(SILENT, YES), "exit 1", "exit 1", "unclear", [("sleep", False), ("kill", False)]),
        (Stage(SILENT, YES), "exit 1", "true", "asleep", [("sleep", False), ("kill", True)]),
        (Stage(YES, YES), "exit 1", "exit 1", "awake", [("sleep", False), ("kill", False)]),
        (Stage(YES, YES), "exit 1", "true", "awake", [("sleep", False), ("kill", True)]),
        (Stage(YES, REFUSES), "exit 1", None, "asleep", [("sleep", False)]),
        (Stage(None, REFUSES), "exit 1", None, "asleep", []),
        (Stage(None, YES), "exit 1", None, "awake", [("sleep", False)]),
        (Stage(UNFIT, REFUSES), "exit 1", None, "asleep", []),
        (Stage(UNASKED, UNASKED), "exit 1", None, "unclear", [("sleep", False)]),
    ],
)
def test_how_a_sleep_leaves_its_model(
    tmp_path: Path,
    stage: Stage,
    sleep: str,
    kill: str | None,
    left: str,
    hooks: list[tuple[str, bool]],
) -> None:
    """Ask, retry, kill; what is told beside the outcome are the hooks that are not its own."""
    house = staged(stage, sleep=sleep.format(log=tmp_path / "log"), kill=kill)
    house.keeper.state.set_status("m", "awake")
    outcome = asyncio.run(house.sleep())
    assert outcome.left == left
    assert house.hooks_told() == hooks
    known = house.keeper.state.last_known_awake("m")
    assert known == {"asleep": False, "awake": True, "unclear": None}[left]
    assert outcome.ok == (sleep in ("true", TWICE))
    if not outcome.ok:
        assert outcome.error is not None
        assert outcome.error.startswith("exit code 1")


def test_the_longest_ladder_asks_as_often_as_its_bound_says() -> None:
    """So that nobody is called stuck who is still on the ladder."""
    stage = Stage(SILENT, SILENT)
    outcome = asyncio.run(staged(stage, sleep="exit 1", kill="exit 1").sleep())
    assert (outcome.left, stage.asked) == ("unclear", LADDER_LOOKS)


def test_an_alive_that_says_yes_to_nothing_is_found_out_by_the_ladder() -> None:
    """`alive: "true"`, a crashed server, a sleep script that finds nothing: not stuck, asleep."""
    house = staged(Stage(YES, REFUSES), sleep="exit 1")
    assert asyncio.run(house.sleep()).left == "asleep"
    assert WitnessBlind("m") in house.told
    assert house.keeper.witnesses["m"].traits.blind


def test_the_way_of_2_4_0_goes_on_after_a_failed_sleep(tmp_path: Path) -> None:
    """`on_sleep_failure: continue`: nobody is asked, nothing is tried again."""
    log = tmp_path / "log"
    stage = Stage(YES, YES)
    house = staged(stage, sleep=f"echo x >> {log}; exit 4", on_sleep_failure="continue")
    outcome = asyncio.run(house.sleep())
    assert (outcome.ok, outcome.left, outcome.error) == (False, "asleep", "exit code 4")
    assert (log.read_text(), stage.asked, house.told) == ("x\n", 0, [])


def test_a_sleep_that_does_not_end_is_ended_and_the_kill_hook_helps(engine: Engine) -> None:
    """The whole ladder on a real backend that hangs: late, late again, killed."""
    spec_sleep = f"echo sleep >> {engine.log}; sleep 300"
    kill = f"echo kill >> {engine.log}; kill -9 $(cat {engine.pid_file})"
    spec = HookSpec("m", engine.port, engine.wake, spec_sleep, None, 60.0, 0.3, kill=kill)
    runner = HookRunner([spec])
    ask = probes.http(engine.port, "/health", 0.5)
    keeper = Keeper(runner, {"m": (ask, probes.tcp(engine.port, 0.5), "/health")})
    house = House(keeper, [])

    async def story() -> Outcome:
        assert (await house.wake()).ok
        engine.signal(signal.SIGSTOP)
        return await house.sleep()

    outcome = asyncio.run(story())
    assert outcome.left == "asleep"
    assert engine.history() == ["wake", "sleep", "sleep", "kill"]


def test_a_witness_that_still_agrees_after_a_sleep_is_remembered_as_blind(tmp_path: Path) -> None:
    """Over a restart too: the second life does not adopt a sleeping model by its word."""
    path = tmp_path / "state.json"

    async def first() -> None:
        state = StateFile(path, ["m"])
        state.open()
        house = staged(Stage(YES, YES), state=state)
        assert (await house.wake()).ok
        assert (await house.sleep()).left == "asleep"
        assert house.told == [WitnessBlind("m")]
        await state.close()

    async def second() -> str:
        state = StateFile(path, ["m"])
        state.open()
        stage = Stage(YES, YES)
        keeper = Keeper(
            HookRunner([HookSpec("m", 1, "true", "true")]),
            {"m": (stage.ask, stage.knock, "text")},
            state=state,
        )
        return await survey(keeper, "m")

    asyncio.run(first())
    assert asyncio.run(second()) == "asleep"


# ---- dying -------------------------------------------------------------------------------------


def test_a_backend_that_is_still_dying_is_looked_at_once_more() -> None:
    """The client's connection broke a moment before the listening socket went."""

    async def story() -> Pulse:
        dying = {0.0: YES, 0.1: REFUSES}
        return await staged(Stage(dying, dying)).keeper.suspect("m")

    assert run_virtual(story()) is Pulse.DEAD


@pytest.mark.parametrize("alive", [None, "/health", "true", "no-such-command-here"])
def test_a_killed_backend_is_dead_at_the_first_refused_connect(
    engine: Engine, alive: str | None
) -> None:
    """kill -9 of an idle backend, met by a request: dead, whatever kind of witness there is."""
    house = housed(engine, alive)

    async def story() -> Pulse:
        assert (await house.wake()).ok
        async with asyncio.timeout(60):
            while not (await probes.tcp(engine.port, 1.0)()).agrees:
                await asyncio.sleep(0.01)
        engine.end()
        async with asyncio.timeout(60):
            while (await probes.tcp(engine.port, 1.0)()).agrees:
                await asyncio.sleep(0.01)
        return await house.keeper.suspect("m")

    assert asyncio.run(story()) is Pulse.DEAD
    assert house.deaths == [("m", False)]
    assert house.keeper.state.last_known_awake("m") is False
    assert any(isinstance(one, AliveFailed) for one in house.told)


def test_a_killed_backend_is_found_though_nobody_asks(engine: Engine) -> None:
    house = housed(engine, "/health")

    async def story() -> tuple[str, bool]:
        assert (await house.wake()).ok
        engine.end()
        return await until(house)

    assert asyncio.run(story()) == ("m", False)


def test_a_stopped_backend_hangs_after_three_failed_looks(engine: Engine) -> None:
    """SIGSTOP: the port goes on accepting, so it is a hang and no death."""
    house = housed(engine, "/health", patience=0.5)

    async def story() -> tuple[str, bool]:
        assert (await house.wake()).ok
        engine.signal(signal.SIGSTOP)
        return await until(house)

    assert asyncio.run(story()) == ("m", True)
    assert [type(one) for one in house.told] == [AliveFailed] * 3
    assert house.keeper.state.unsettled() == ["m"]


def test_a_backend_that_answers_with_errors_hangs_too(engine: Engine) -> None:
    house = housed(engine, "/health")

    async def story() -> tuple[str, bool]:
        assert (await house.wake()).ok
        engine.says.write_text("500")
        return await until(house)

    assert asyncio.run(story()) == ("m", True)
    assert house.told == [AliveFailed("m", "GET /health: status 500")] * 3


@pytest.mark.parametrize(
    ("answers", "deaths"),
    [
        ({0.0: YES, 5.0: NO, 25.0: YES}, []),  # two failures, then it is well again
        ({0.0: YES, 5.0: NO, 25.0: YES, 35.0: NO, 55.0: YES}, []),
        ({0.0: YES, 5.0: NO, 35.0: YES}, [("m", True)]),
        ({0.0: NO}, [("m", True)] * 3),  # said again as long as nothing is done about it
    ],
)
def test_failures_count_only_in_a_row(
    answers: dict[float, Look], deaths: list[tuple[str, bool]]
) -> None:
    """Looks come every 10 s; the third failure in a row makes a hang."""

    async def story() -> House:
        house = staged(Stage(answers, YES))
        watch = asyncio.create_task(house.keeper.watch("m"))
        await asyncio.sleep(100)
        watch.cancel()
        return house

    assert run_virtual(story()).deaths == deaths


def test_requests_that_ask_often_do_not_make_a_hang() -> None:
    """Ten refused connects in a second while a backend restarts: only the period counts."""

    async def story() -> House:
        house = staged(Stage(NO, YES))
        for _ in range(10):
            assert await house.keeper.suspect("m") is Pulse.HUNG
        return house

    assert run_virtual(story()).deaths == []


def test_trouble_on_our_side_is_nobodys_death() -> None:
    async def story() -> House:
        house = staged(Stage(UNASKED, UNASKED))
        watch = asyncio.create_task(house.keeper.watch("m"))
        await asyncio.sleep(1000)
        watch.cancel()
        return house

    house = run_virtual(story())
    assert (house.deaths, house.told) == ([], [])


def test_a_port_that_closes_for_a_moment_while_alive_agrees_is_no_death() -> None:
    """One of them is wrong; half a second later they agree again."""

    async def story() -> tuple[Pulse, House]:
        house = staged(Stage(YES, {0.0: REFUSES, 0.4: YES}))
        return await house.keeper.suspect("m"), house

    pulse, house = run_virtual(story())
    assert (pulse, house.deaths) == (Pulse.ALIVE, [])


def test_those_who_suspect_at_the_same_time_share_one_look() -> None:
    async def story() -> Stage:
        stage = Stage(NO, REFUSES, seconds=1.0)
        house = staged(stage)
        pulses = await asyncio.gather(*(house.keeper.suspect("m") for _ in range(100)))
        assert set(pulses) == {Pulse.DEAD}
        assert house.deaths == [("m", False)]
        return stage

    assert run_virtual(story()).asked == 1


def test_a_suspicion_is_not_answered_by_a_look_that_began_before_it() -> None:
    """The backend dies during a look that still says alive: a second look is taken, by all."""

    async def story() -> Stage:
        stage = Stage({0.0: YES, 11.2: NO}, {0.0: YES, 11.2: REFUSES}, seconds=1.0)
        house = staged(stage)
        watch = asyncio.create_task(house.keeper.watch("m"))
        await asyncio.sleep(10.5)
        pulses = await asyncio.gather(*(house.keeper.suspect("m") for _ in range(3)))
        assert set(pulses) == {Pulse.DEAD}
        assert house.deaths == [("m", False)]
        watch.cancel()
        return stage

    assert run_virtual(story()).asked == 2


def test_nobody_is_looked_at_while_a_hook_of_its_place_may_run() -> None:
    async def story() -> Stage:
        stage = Stage(NO, REFUSES)
        house = staged(stage)
        house.closed = True
        watch = asyncio.create_task(house.keeper.watch("m"))
        await asyncio.sleep(100)
        assert await house.keeper.suspect("m") is Pulse.UNSURE
        watch.cancel()
        return stage

    assert run_virtual(story()).asked == 0


@pytest.mark.parametrize("on_sleep_failure", ["stop", "continue"])  # it runs still, or has ended
def test_a_look_that_began_before_a_hook_does_not_report_after_it(
    on_sleep_failure: Literal["stop", "continue"],
) -> None:
    """The one that woke a second model in another design: its answer is about another time."""
    stage = Stage(NO, REFUSES, seconds=0.5)

    async def story() -> House:
        house = staged(stage, sleep="exit 1", on_sleep_failure=on_sleep_failure)
        looking = asyncio.create_task(house.keeper.suspect("m"))
        await asyncio.sleep(0.05)
        assert stage.asked == 1
        sleeping = asyncio.create_task(house.sleep())
        assert await looking is Pulse.UNSURE
        assert (await sleeping).left == "asleep"
        return house

    house = asyncio.run(story())
    assert (house.deaths, house.told) == ([], [])


def test_who_hears_of_a_death_may_fail_and_the_watch_goes_on() -> None:
    async def story() -> int:
        house = staged(Stage(NO, REFUSES))
        heard = 0

        def fail(model: str, hung: bool) -> None:
            nonlocal heard
            heard += 1
            raise RuntimeError(model, hung)

        house.keeper.on_death(fail, lambda _: True)
        watch = asyncio.create_task(house.keeper.watch("m"))
        await asyncio.sleep(35)
        watch.cancel()
        return heard

    assert run_virtual(story()) == 3


# ---- starting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "last", "standing"),
    [
        (Stage(YES, YES), None, "awake"),
        (Stage(YES, YES), "unsettled", "awake"),
        (Stage(REFUSES, REFUSES), None, "asleep"),
        (Stage(REFUSES, REFUSES), "awake", "asleep"),
        (Stage(REFUSES, REFUSES), "unsettled", "unclear"),  # it may still load
        (Stage(SILENT, YES), "awake", "unclear"),  # a hang holds the accelerator
        (Stage(SILENT, YES), None, "unclear"),
        (Stage(NO, YES), "asleep", "asleep"),  # a server that stays up while its model sleeps
        (Stage(NO, YES), "awake", "unclear"),
        (Stage(None, YES), None, "awake"),
        (Stage(YES, YES, Traits(blind=True, port_stays_open=True)), "asleep", "asleep"),
        (Stage(YES, YES, Traits(blind=True, port_stays_open=True)), "awake", "awake"),
        (Stage(YES, YES, Traits(blind=True, port_stays_open=True)), None, "unclear"),
    ],
)
def test_how_a_model_is_found_at_start(
    stage: Stage, last: Literal["awake", "asleep", "unsettled"] | None, standing: str
) -> None:
    house = staged(stage)
    if last is not None:
        house.keeper.state.set_status("m", last)
    assert run_virtual(survey(house.keeper, "m")) == standing
    known = house.keeper.state.last_known_awake("m")
    assert known == {"awake": True, "asleep": False, "unclear": None}[standing]


_LIFE = """
import asyncio, sys
from pathlib import Path
from llmux.runtime.hooks import HookResult, HookRunner, HookSpec
from llmux.runtime.keeper import Keeper
from llmux.runtime.probes import tcp
from llmux.runtime.statefile import StateFile
async def main():
    state = StateFile(Path(sys.argv[1]), ["m"])
    state.open()
    runner = HookRunner([HookSpec("m", int(sys.argv[2]), sys.argv[3], "true")], journal=state)
    keeper = Keeper(runner, {"m": (None, tcp(int(sys.argv[2]), 1.0), "")}, state=state)
    await keeper.run_wake("m", from_model=None, to_model="m", reason="")
    print("awake", flush=True)
    await asyncio.sleep(300)
asyncio.run(main())
"""


def test_what_was_awake_at_a_kill_9_is_adopted_without_a_wake(
    engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    life = subprocess.Popen(
        [sys.executable, "-c", _LIFE, str(path), str(engine.port), engine.wake],
        stdout=subprocess.PIPE,
    )
    assert life.stdout is not None
    with life.stdout:
        assert life.stdout.readline() == b"awake\n"
        life.kill()
        life.wait()

    async def next_life() -> None:
        state = StateFile(path, ["m"], warn=pytest.fail)
        state.open()
        house = housed(engine, state=state)
        assert await settle(house.keeper) == []
        assert await survey(house.keeper, "m") == "awake"
        assert state.awake_order() == ["m"]
        await state.close()

    asyncio.run(next_life())
    assert engine.history() == ["wake"]


def test_a_hook_of_a_model_that_left_the_config_is_ended_at_once(tmp_path: Path) -> None:
    """Nobody knows its bound any more, and it must not run beside ours."""
    path, ready = tmp_path / "state.json", tmp_path / "ready"
    wake = f"echo x > {ready}; sleep 300; true"
    life = subprocess.Popen([sys.executable, "-c", _LIFE, str(path), "9", wake])

    async def story() -> None:
        async with asyncio.timeout(60):
            while not ready.exists():
                await asyncio.sleep(0.01)
        life.kill()
        life.wait()
        state = StateFile(path, ["other"], warn=pytest.fail)
        state.open()
        runner = HookRunner([HookSpec("other", 9, "true", "true")], journal=state)
        told: list[Finding] = []
        keeper = Keeper(
            runner, {"other": (None, probes.tcp(9, 1.0), "")}, state=state, listener=told.append
        )
        await settle(keeper)
        assert told == [HookLeftOver("m", "wake", "killed")]
        assert list(state.woken()) == ["m"], "what it may have left is put to sleep next"

    asyncio.run(story())


def test_a_keeper_knows_its_models() -> None:
    keeper = staged(Stage(YES, YES)).keeper
    assert (keeper.registered_models(), keeper.model_port("m")) == (["m"], 1)
    assert repr(keeper) == "<Keeper 1 models, 0 looks under way>"
