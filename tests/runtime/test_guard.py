"""The fence around a policy: what it lets through, what it reads as FIFO, what it reports."""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest

from llmux.policy import (
    Decision,
    Defer,
    PolicyContext,
    ScheduleContext,
    Skip,
    SwitchNow,
    SwitchPolicy,
)
from llmux.runtime.guard import SLOW_IN_A_ROW, SLOW_SECONDS, PolicyGuard
from llmux.testing import run_virtual

CONTEXT = PolicyContext("a")


class Says(SwitchPolicy):
    """A policy that says always the same."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def on_pending_request(self, context: PolicyContext) -> Decision | Awaitable[Decision]:
        """Say it."""
        return self.answer  # type: ignore[no-any-return]


class Stopwatch:
    """Shows what it is told to show, one reading after the other."""

    def __init__(self, *took: float) -> None:
        self._readings = self._read(took)

    @staticmethod
    def _read(took: tuple[float, ...]) -> Iterator[float]:
        now = 100.0
        for seconds in took:
            yield now
            now += seconds
            yield now

    def __call__(self) -> float:
        return next(self._readings)


def guard(policy: SwitchPolicy, *took: float) -> tuple[PolicyGuard, list[str]]:
    """A guard over one policy, and what it reported; `took` is what each call takes."""
    complaints: list[str] = []
    watch = Stopwatch(*took or (0.0,) * 10)
    fence = PolicyGuard(
        policy,
        {"a", "b"},
        lambda name, error: complaints.append(f"{name}: {error}"),
        stopwatch=watch,
    )
    return fence, complaints


@pytest.mark.parametrize(
    "answer",
    [
        SwitchNow(),
        SwitchNow("b", "because"),
        Skip(),
        Skip(0),
        Skip(2.5, "b"),
        Defer(0.0),
        Defer(10, "b", "patience"),
    ],
)
def test_a_sound_answer_is_passed_on_as_it_is(answer: Decision) -> None:
    """The very same object, without a word."""
    fence, complaints = guard(Says(answer))
    assert fence.decide(CONTEXT) is answer
    assert complaints == []


def test_what_is_read_as_fifo_says_so_in_its_reason() -> None:
    """The operator reads it where the reason of the switch stands."""
    fence, complaints = guard(Says(42))
    answer = fence.decide(CONTEXT)
    assert isinstance(answer, SwitchNow)
    assert answer.target is None
    assert isinstance(answer.reason, str)
    assert "read as FIFO" in answer.reason
    assert complaints == ["Says: on_pending_request returned 42, which is no decision"]


class Pressed(SwitchPolicy):
    """A policy during which somebody presses Ctrl-C."""

    def on_pending_request(self, context: PolicyContext) -> Decision:
        """Take long enough for that."""
        signal.raise_signal(signal.SIGINT)
        return SwitchNow()

    def on_switch_complete(self, source: str | None, target: str, duration: float) -> None:
        """Here, too."""
        signal.raise_signal(signal.SIGINT)

    def scheduler_interval(self) -> float | None:
        """And here."""
        signal.raise_signal(signal.SIGINT)
        return None


@pytest.fixture
def pythons_own() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, as in a program that has said nothing else."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("pythons_own")
def test_a_real_ctrl_c_passes_the_fence() -> None:
    """Also in a program that uses the library and leaves SIGINT to Python."""
    fence, complaints = guard(Pressed())
    for call in (
        lambda: fence.decide(CONTEXT),
        lambda: fence.completed(None, "a", 1.0),
        fence.interval,
    ):
        with pytest.raises(KeyboardInterrupt):
            call()
    assert complaints == []


def test_the_second_ctrl_c_passes_where_asyncio_takes_the_first() -> None:
    """`asyncio.run` cancels at the first, and the policy may be at work when the second comes."""

    async def story() -> None:
        fence, _ = guard(Pressed())
        with pytest.raises(KeyboardInterrupt):
            fence.decide(CONTEXT)
            fence.decide(CONTEXT)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(story())


def test_a_policy_that_is_slow_three_times_in_a_row_is_replaced() -> None:
    """Each slow call is reported; from then on it is not asked any more."""
    slow = SLOW_SECONDS * 2
    fence, complaints = guard(Says(Skip()), *[slow] * SLOW_IN_A_ROW)
    for call in range(SLOW_IN_A_ROW):
        assert not fence.replaced, f"after {call} slow calls"
        assert fence.decide(CONTEXT) == Skip()
    assert fence.replaced
    assert isinstance(fence.decide(CONTEXT), SwitchNow)
    assert len(complaints) == SLOW_IN_A_ROW + 1
    assert "replaced by FIFO" in complaints[-1]


def test_a_quick_call_in_between_makes_up_for_slow_ones() -> None:
    """Only calls in a row count, and exactly the limit is not too slow."""
    slow = SLOW_SECONDS * 2
    fence, complaints = guard(Says(Skip()), slow, slow, SLOW_SECONDS / 2, slow, slow, 0.0)
    for _ in range(6):
        fence.decide(CONTEXT)
    assert not fence.replaced
    assert len(complaints) == 4


class Ticks(Says):
    """Would like to have `b` awake, and counts how often it is asked and told."""

    def __init__(self) -> None:
        super().__init__(Skip())
        self.calls = 0

    def schedule_tick(self, context: ScheduleContext) -> str | None:
        """Say so."""
        self.calls += 1
        return "b"

    def on_switch_complete(self, from_model: str | None, to_model: str, duration: float) -> None:
        """Count it."""
        self.calls += 1


@pytest.mark.parametrize("callback", ["schedule_tick", "on_switch_complete"])
def test_whatever_is_slow_three_times_in_a_row_stands_in_everybodys_way(callback: str) -> None:
    """Quick answers to another question do not make up for it; then it is left alone."""
    slow = SLOW_SECONDS * 2
    policy = Ticks()
    fence, complaints = guard(policy, *[slow, 0.0] * SLOW_IN_A_ROW)

    def call() -> str | None:
        if callback == "schedule_tick":
            return run_virtual(fence.tick(ScheduleContext()))
        fence.completed("a", "b", 1.0)
        return "b"

    for _ in range(SLOW_IN_A_ROW):
        assert call() == "b"
        fence.decide(CONTEXT)
    assert fence.replaced
    assert complaints[0] == f"Ticks: {callback} took 100 ms of everybody's"
    call()
    assert policy.calls == SLOW_IN_A_ROW


def test_an_async_answer_is_checked_when_it_comes() -> None:
    """Within its deadline, and read as FIFO if it is nonsense."""

    async def think(answer: Any, seconds: float) -> Any:
        await asyncio.sleep(seconds)
        return answer

    async def ask(answer: Any, seconds: float) -> tuple[Decision, list[str]]:
        fence, complaints = guard(Says(think(answer, seconds)))
        coming = fence.decide(CONTEXT)
        assert isinstance(coming, Awaitable)
        return await coming, complaints

    async def story() -> None:
        assert await ask(Skip(1.0), 4.9) == (Skip(1.0), [])
        for answer, seconds in ((Skip(1.0), 5.1), (SwitchNow("nobody"), 0.0)):
            decision, complaints = await ask(answer, seconds)
            assert isinstance(decision, SwitchNow)
            assert decision.target is None
            assert len(complaints) == 1

    run_virtual(story())


def test_a_future_is_as_good_an_answer_as_a_coroutine() -> None:
    """Whatever can be awaited."""

    async def story() -> None:
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        fence, complaints = guard(Says(future))
        coming = fence.decide(CONTEXT)
        assert isinstance(coming, Awaitable)
        asyncio.get_running_loop().call_later(1.0, future.set_result, Skip())
        assert await coming == Skip()
        assert complaints == []

    run_virtual(story())


def test_our_own_cancellation_is_never_read_as_the_policys_fault() -> None:
    """A task that is cancelled while a policy thinks ends as cancelled, silently."""

    async def story() -> None:
        fence, complaints = guard(Says(asyncio.sleep(3.0)))
        coming = fence.decide(CONTEXT)
        task = asyncio.ensure_future(coming)  # type: ignore[arg-type]
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        waiting = asyncio.ensure_future(fence.wait(asyncio.sleep(3.0)))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert complaints == []

    run_virtual(story())


@pytest.mark.filterwarnings("error")
def test_a_coroutine_that_nobody_awaits_is_closed_without_a_warning() -> None:
    """A Defer may come when nobody waits any more; that is nobody's mistake."""

    async def work() -> None:
        raise AssertionError("it ran")

    coroutine = work()
    fence, complaints = guard(Says(Defer(coroutine)))
    answer = fence.decide(CONTEXT)
    assert isinstance(answer, Defer)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
    del answer
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert complaints == []
