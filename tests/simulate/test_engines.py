"""The heap engine does what the driver does, and both say what they cannot do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmux.errors import PolicyError
from llmux.policy import (
    Decision,
    Defer,
    FifoPolicy,
    PolicyContext,
    PolicySettings,
    ScheduleContext,
    Skip,
    SwitchContext,
    SwitchNow,
    SwitchPolicy,
)
from llmux.policy.balance import BalancePolicy
from llmux.simulate.driver import drive
from llmux.simulate.engine import NeedsLoopError, simulate
from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome
from llmux.simulate.workload import Agents, Job, OpenLoop, Users, Workload, open_loop
from llmux.testing import run_virtual

PEOPLE = Users(
    "people", (("a", 12), ("b", 8), ("c", 4)), think=30.0, requests=400, seed=5, tools=0.5
)


class Whimsical(SwitchPolicy):
    """Answers anything, from a seed that depends on what it sees only."""

    def on_pending_request(self, context: PolicyContext) -> Decision:
        dice = Random(repr((context.snapshot.now, context.target_model)))
        target = dice.choice([None, *context.snapshot.models])
        answers: list[Decision] = [
            SwitchNow(target),
            Defer(dice.uniform(0, 5), target),
            Skip(dice.uniform(0, 5), target),
            SwitchNow(),
        ]
        return dice.choice(answers)


def jobs(seed: int, models: int, count: int, pace: float) -> OpenLoop:
    dice = Random(seed)
    now, made = 0.0, []
    for _ in range(count):
        now += dice.expovariate(1 / pace)
        model, seconds = "abcdefgh"[dice.randrange(models)], dice.expovariate(1 / 4)
        limit = dice.choice([None, int(40 * seconds) + 1])
        then = dice.choice([None, "abcdefgh"[dice.randrange(models)]])
        made.append(Job(now, model, seconds, max_tokens=limit, then=then))
    return open_loop("generated", made)


def same(one: Outcome, other: Outcome) -> None:
    """Both outcomes have the same books, to the microsecond."""
    assert len(one.rows) == len(other.rows)
    for mine, theirs in zip(one.rows, other.rows, strict=True):
        assert mine.model == theirs.model
        assert (mine.start is None) == (theirs.start is None)
        assert mine.start is None or mine.start == pytest.approx(theirs.start, abs=1e-6)
        assert mine.end == pytest.approx(theirs.end, abs=1e-6)
    assert one.switches == other.switches
    assert [model for _, model, _ in one.reasons] == [model for _, model, _ in other.reasons]


def fresh(kind: type[SwitchPolicy], **fixed: float | bool | None) -> SwitchPolicy:
    policy = kind()
    policy.settings = PolicySettings(**fixed)  # type: ignore[arg-type]
    return policy


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    models=st.integers(1, 6),
    pace=st.sampled_from([0.2, 2.0, 20.0]),
    jitter=st.sampled_from([0.0, 0.5]),
    kind=st.sampled_from([FifoPolicy, BalancePolicy, Whimsical]),
    timeout=st.sampled_from([None, 15.0]),
    min_active=st.sampled_from([0.0, 12.0]),
    drain=st.booleans(),
)
def test_the_heap_and_the_driver_agree_on_any_trace(
    seed: int,
    models: int,
    pace: float,
    jitter: float,
    kind: type[SwitchPolicy],
    timeout: float | None,
    min_active: float,
    drain: bool,
) -> None:
    asked = jobs(seed, models, 60, pace)
    hooks = HookTimes(cost=8.0, jitter=jitter, seed=seed)
    fixed = {"request_timeout": timeout, "min_active": min_active, "drain_before_switch": drain}
    heap = simulate(asked, fresh(kind, **fixed), hooks)
    driver = run_virtual(drive(asked, fresh(kind, **fixed), hooks))
    same(heap, driver)


AGENT = Agents("agent", requests=100, seed=5)
HINTS = Agents("agent", requests=100, seed=5, hints=True)


@pytest.mark.parametrize("asked", [PEOPLE, AGENT, HINTS])
@pytest.mark.parametrize("kind", [FifoPolicy, BalancePolicy])
def test_the_engines_agree_on_people_and_agents(asked: Workload, kind: type[SwitchPolicy]) -> None:
    hooks = HookTimes(11.0, jitter=0.5, seed=5)
    heap = simulate(asked, kind(), hooks)
    same(heap, run_virtual(drive(asked, kind(), hooks)))
    assert not heap.complaints


def test_a_seed_tells_the_same_story_again() -> None:
    asked, hooks = jobs(1, 3, 200, 1.0), HookTimes(11.0, jitter=0.5, seed=1)
    first, again = (simulate(asked, BalancePolicy(), hooks) for _ in range(2))
    assert first == again


def test_jitter_keeps_the_mean_of_a_hook() -> None:
    dice = HookTimes(cost=10.0, jitter=0.5, seed=1).start()
    drawn = [dice.seconds("wake", "a") for _ in range(20000)]
    assert sum(drawn) / len(drawn) == pytest.approx(9.0, rel=0.02)
    assert max(drawn) > 20.0


def test_single_models_may_have_hooks_of_their_own() -> None:
    hooks = HookTimes(cost=10.0, sleep={"a": 0.0}, wake={"a": 3.0})
    assert [hooks.mean(*which) for which in (("sleep", "a"), ("wake", "a"), ("wake", "b"))] == [
        0.0,
        3.0,
        9.0,
    ]


def test_who_times_out_is_a_row_without_a_start() -> None:
    asked = open_loop("two", [Job(0.0, "a", 100.0), Job(1.0, "b", 1.0)])
    outcome = simulate(asked, fresh(FifoPolicy, request_timeout=20.0), HookTimes(10.0))
    served, lost = outcome.rows
    assert served.start == 9.0
    assert (lost.start, lost.end, lost.wait) == (None, 21.0, 20.0)


def test_every_switch_carries_the_reason_of_its_policy() -> None:
    asked = open_loop("two", [Job(0.0, "a", 1.0), Job(1.0, "b", 1.0)])
    outcome = simulate(asked, BalancePolicy(), HookTimes(10.0))
    first, second = (reason for _, _, reason in outcome.reasons)
    assert first.startswith("woke a: nobody is awake")
    assert second.startswith("left a for b")


class Async(SwitchPolicy):
    async def on_pending_request(self, context: PolicyContext) -> Decision:
        del context
        await asyncio.sleep(0.5)
        return SwitchNow()


class Awaiting(SwitchPolicy):
    def on_pending_request(self, context: PolicyContext) -> Decision:
        del context
        return Defer(asyncio.sleep(0.5))


class Dawdling(FifoPolicy):
    async def prepare_switch(self, context: SwitchContext) -> None:
        await context.wait_for_in_flight()
        await asyncio.sleep(0.5)


class Scheduling(FifoPolicy):
    def scheduler_interval(self) -> float | None:
        return 1.0

    def schedule_tick(self, context: ScheduleContext) -> str | Awaitable[str | None] | None:
        del context
        return None


@pytest.mark.parametrize("kind", [Async, Awaiting, Dawdling, Scheduling])
@pytest.mark.filterwarnings("ignore:coroutine 'sleep' was never awaited")
def test_what_needs_a_loop_is_refused_by_the_heap_and_served_by_the_driver(
    kind: Callable[[], SwitchPolicy],
) -> None:
    asked = open_loop("two", [Job(0.0, "a", 1.0), Job(1.0, "b", 1.0)])
    with pytest.raises(NeedsLoopError, match="needs a loop"):
        simulate(asked, kind(), HookTimes(10.0))
    outcome = run_virtual(drive(asked, kind(), HookTimes(10.0)))
    assert all(row.start is not None for row in outcome.rows)


class Raising(SwitchPolicy):
    def on_pending_request(self, context: PolicyContext) -> Decision:
        raise RuntimeError(f"no idea about {context.target_model}")

    async def prepare_switch(self, context: SwitchContext) -> None:
        raise ValueError(context.to_model)


def test_a_policy_that_raises_is_read_as_fifo_and_what_it_did_is_told() -> None:
    asked, hooks = jobs(3, 2, 40, 1.0), HookTimes(10.0)
    heap = simulate(asked, Raising(), hooks)
    driver = run_virtual(drive(asked, Raising(), hooks))
    same(heap, driver)
    same(heap, simulate(asked, FifoPolicy(), hooks))
    assert "Raising: on_pending_request raised RuntimeError('no idea about b')" in heap.complaints
    assert "Raising: prepare_switch raised ValueError('b')" in heap.complaints
    assert set(heap.complaints) == set(driver.complaints)


class Stubborn(SwitchPolicy):
    def on_pending_request(self, context: PolicyContext) -> Decision:
        del context
        return Skip(ask_again=10_000.0)


def test_a_policy_that_starves_somebody_for_good_is_named() -> None:
    asked = open_loop("one", [Job(0.0, "a", 1.0)])
    with pytest.raises(PolicyError, match="Stubborn leaves a waiting for ever"):
        simulate(asked, Stubborn(), HookTimes(10.0))
    with pytest.raises(PolicyError, match="Stubborn leaves a waiting for ever"):
        run_virtual(drive(asked, Stubborn(), HookTimes(10.0)))


def test_progress_is_told_and_ends_with_everybody() -> None:
    heard: list[int] = []
    asked = jobs(1, 2, 1200, 1.0)
    simulate(asked, FifoPolicy(), HookTimes(1.0), progress=heard.append)
    assert heard == [500, 1000, 1200]


@pytest.mark.parametrize("kind", [FifoPolicy, BalancePolicy])
def test_an_agent_that_says_what_it_asks_next_does_not_wait_out_its_own_pauses(
    kind: type[SwitchPolicy],
) -> None:
    """The switch runs while it reads the answer, so that as many calls are over sooner."""
    silent, told = (simulate(one, kind(), HookTimes(11.0)) for one in (AGENT, HINTS))
    assert told.switches == silent.switches
    pauses = sum(row.wait for row in silent.rows) - sum(row.wait for row in told.rows)
    assert pauses > 0.5 * len(told.rows)
    assert told.span[1] < silent.span[1]


def test_a_hint_takes_nothing_from_people_who_come_back_sooner_than_a_switch_takes() -> None:
    """`balance` soon knows their lulls, and stays with them, whatever they say; `fifo` believes."""
    chat = [Job(20.0 * number, "a", 8.0, then="b") for number in range(40)]
    asked = open_loop("chat", [*chat, Job(1000.0, "b", 1.0)])
    assert simulate(asked, BalancePolicy(), HookTimes(30.0)).switches <= 4
    assert simulate(asked, FifoPolicy(), HookTimes(30.0)).switches > 10
