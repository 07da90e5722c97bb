"""Stories of policies behind the driver: good, slow, silent, broken. Traffic goes on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmux.core.view import Active, Switching
from llmux.policy import (
    Decision,
    Defer,
    FifoPolicy,
    PolicyContext,
    Skip,
    SwitchContext,
    SwitchNow,
    SwitchPolicy,
)
from llmux.testing import run_virtual
from tests.runtime.house import Asked, House

TWO = {"a": (1.0, 3.0), "b": (2.0, 5.0)}
THREE = {**TWO, "c": (1.0, 1.0)}


def raises(error: BaseException) -> Callable[[PolicyContext], Decision]:
    """A `def` that raises."""

    def answer(context: PolicyContext) -> Decision:
        raise error

    return answer


def later(answer: object, seconds: float = 1.0) -> Callable[[PolicyContext], Any]:
    """An `async def` that takes its time, then answers or raises."""

    async def think(context: PolicyContext) -> Any:
        await asyncio.sleep(seconds)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return think


def at_once(answer: Any) -> Callable[[PolicyContext], Any]:
    """A `def` that says always the same."""
    return lambda context: answer


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (raises(ValueError("bug")), "raised ValueError"),
        (raises(asyncio.CancelledError()), "raised CancelledError"),
        (raises(SystemExit(3)), "raised SystemExit(3)"),
        (later(SystemExit(3)), "raised SystemExit(3)"),
        (lambda context: context.snapshot.models.clear(), "no attribute 'clear'"),
        (later(ValueError("bug")), "raised ValueError"),
        (later(TimeoutError("bug")), "raised TimeoutError"),
        (later(asyncio.CancelledError()), "raised CancelledError"),
        (later(SwitchNow(), 3600.0), "did not answer within 5 s"),
        (later("b"), "no decision"),
        (at_once("b"), "no decision"),
        (at_once(None), "no decision"),
        (at_once(SwitchNow("nobody")), "unknown model"),
        (at_once(SwitchNow(["b"])), "unknown model"),  # type: ignore[arg-type]
        (at_once(SwitchNow(reason=7)), "no text"),  # type: ignore[arg-type]
        (at_once(Skip(-1.0)), "no such time"),
        (at_once(Skip(float("nan"))), "no such time"),
        (at_once(Skip("soon")), "no such time"),  # type: ignore[arg-type]
        (at_once(Defer(float("inf"))), "no such time"),
        (at_once(Defer(None)), "no such time"),  # type: ignore[arg-type]
    ],
)
def test_whatever_a_policy_does_wrong_is_read_as_fifo(
    answer: Callable[[PolicyContext], Any], complaint: str
) -> None:
    """The request is served as first come, first served, and the operator is told why."""

    async def story() -> None:
        house = House(TWO, Asked(answer))
        assert (await house.visit("a")).end == "served"
        assert (await house.visit("b")).end == "served"
        assert len(house.faults()) == 2
        assert all(complaint in fault for fault in house.faults())
        house.assert_nothing_left()

    run_virtual(story())


@pytest.fixture
def heard_by_the_loop() -> Iterator[None]:
    """SIGINT raises nothing, as in a gateway."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_by_the_loop")
@pytest.mark.parametrize("answer", [raises(KeyboardInterrupt()), later(KeyboardInterrupt())])
def test_a_policy_cannot_press_ctrl_c(answer: Callable[[PolicyContext], Any]) -> None:
    """It is no more than a mistake of the policy's, where nobody can have pressed it."""

    async def story() -> None:
        house = House(TWO, Asked(answer))
        assert (await house.visit("a")).end == "served"
        assert all("raised KeyboardInterrupt()" in fault for fault in house.faults())
        assert len(house.faults()) == 1
        house.assert_nothing_left()

    run_virtual(story())


def test_an_async_policy_is_asked_once_and_nothing_starts_before_it_answers() -> None:
    """While it thinks, the active model goes on serving."""

    async def story() -> None:
        policy = Asked(later(SwitchNow(), 2.0))
        house = House(TWO, policy)
        await house.visit("a")
        waiting = house.send("b")
        await asyncio.sleep(1)
        assert house.switcher.state() == Active("a")
        before = house.now
        assert (await house.visit("a", 0.5)).inside == before
        assert (await waiting).end == "served"
        asked = [context.target_model for context in policy.contexts]
        assert asked == ["a", "b"]
        house.assert_nothing_left()

    run_virtual(story())


def test_a_policy_is_told_what_the_contract_says() -> None:
    """Depth, age of the oldest, the active model, who is inside, and the learned cost."""

    async def story() -> None:
        policy = Asked(at_once(SwitchNow()))
        house = House(TWO, policy)
        await house.visit("b")
        await house.visit("a")
        house.send("a", 10.0)
        await asyncio.sleep(1)
        waiting = [house.send("b"), house.send("b")]
        await asyncio.gather(*waiting)
        cold, _, third = policy.contexts
        assert (cold.active_model, cold.active_in_flight, cold.estimated_switch_cost) == (
            None,
            0,
            None,
        )
        assert (third.target_model, third.active_model) == ("b", "a")
        assert (third.target_queue_depth, third.active_in_flight) == (2, 1)
        assert third.oldest_waiting == 0.0
        assert third.active_duration == 2.0
        assert third.estimated_switch_cost is None, "a to b was never seen"
        assert third.snapshot.models["b"].wake_seconds == 5.0
        house.assert_nothing_left()

    run_virtual(story())


def test_a_policy_is_asked_once_a_turn_oldest_first() -> None:
    """Five requests in one turn are two questions."""

    async def story() -> None:
        policy = Asked(lambda context: Skip(60.0))
        house = House(THREE, policy)
        await house.switcher.force_switch("a")
        tasks = []
        for model in ("c", "b", "c", "b", "c"):
            tasks.append(house.send(model))
            await asyncio.sleep(0.001)
        policy.contexts.clear()
        house.send("a", 0.5)
        await asyncio.sleep(0.1)
        assert [context.target_model for context in policy.contexts] == ["c", "b"]
        for task in tasks:
            task.cancel()
        await asyncio.sleep(1)
        house.assert_nothing_left()

    run_virtual(story())


def test_a_skip_is_reconsidered_when_the_world_changes() -> None:
    """The policy waits for the active model to be idle; the last answer is the event (8.9)."""

    def when_idle(context: PolicyContext) -> Decision:
        return Skip(reason="busy") if context.active_in_flight else SwitchNow()

    async def story() -> None:
        house = House(TWO, Asked(when_idle))
        house.send("a", 100.0)
        await asyncio.sleep(4)
        assert (await house.visit("b")).inside == 103.0 + 1.0 + 5.0
        house.assert_nothing_left()

    run_virtual(story())


@pytest.mark.parametrize(("ask_again", "at"), [(None, 5.0), (0.5, 0.5), (0, 0.001)])
def test_a_skip_that_nothing_disturbs_is_asked_again(ask_again: float | None, at: float) -> None:
    """After the time it names, or after five seconds."""

    async def story() -> None:
        times: list[float] = []

        def second_time(context: PolicyContext) -> Decision:
            times.append(context.oldest_waiting)
            return SwitchNow() if len(times) > 1 else Skip(ask_again)

        house = House(TWO, Asked(second_time))
        await house.visit("a")
        assert times == pytest.approx([0.0, at])

    run_virtual(story())


def test_a_later_skip_replaces_the_time_of_the_earlier() -> None:
    """The latest answer says when to ask again; the earlier alarm does not ring any more."""

    async def story() -> None:
        times: list[float] = []

        def answer(context: PolicyContext) -> Decision:
            times.append(house.now)
            return Skip() if house.now < 10.0 else SwitchNow()

        house = House(TWO, Asked(answer))
        first = house.send("a")
        await asyncio.sleep(1)
        second = house.send("a")
        await asyncio.gather(first, second)
        assert times == [0.0, 1.0, 6.0, 11.0]
        house.assert_nothing_left()

    run_virtual(story())


def test_to_name_the_active_model_means_to_stay_and_to_be_asked_again() -> None:
    """Five seconds after the latest such answer, not after each of them."""

    async def story() -> None:
        times: list[float] = []

        def answer(context: PolicyContext) -> Decision:
            times.append(house.now)
            return SwitchNow("a" if house.now < 13.0 else "b")

        house = House(TWO, Asked(answer))
        await house.switcher.force_switch("a")
        waiting = house.send("b")
        await asyncio.sleep(1)
        house.send("b")
        await waiting
        assert times == [3.0, 4.0, 9.0, 14.0]
        house.assert_nothing_left()

    run_virtual(story())


def test_a_defer_in_seconds_switches_when_it_is_over() -> None:
    """If somebody still waits; a new Defer does not prolong it."""

    async def story() -> None:
        house = House(TWO, Asked(at_once(Defer(10.0))))
        assert (await house.visit("a")).inside == 13.0
        began = house.now
        waiting = house.send("b")
        for _ in range(5):
            await house.visit("a", 1.0)  # each end asks again, and each answer is Defer(10)
        assert (await waiting).inside == began + 10.0 + 1.0 + 5.0
        house.assert_nothing_left()

    run_virtual(story())


def test_a_defer_for_an_awaitable_switches_when_it_comes() -> None:
    """The policy waits for whatever it likes."""

    async def story() -> None:
        gate = asyncio.Event()
        house = House(TWO, Asked(lambda context: Defer(gate.wait())))
        waiting = house.send("a")
        await asyncio.sleep(7)
        gate.set()
        assert (await waiting).inside == 7.0 + 3.0
        house.assert_nothing_left()

    run_virtual(story())


def test_a_defer_for_a_future_leaves_the_future_to_the_policy() -> None:
    """That a waiter leaves does not cancel what others wait for."""

    async def story() -> None:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        house = House(TWO, Asked(lambda context: Defer(gate)))
        leaves, stays = house.send("a"), house.send("b")
        await asyncio.sleep(1)
        leaves.cancel()
        await asyncio.sleep(1)
        assert not gate.cancelled()
        gate.set_result(None)
        assert (await stays).inside == 2.0 + 5.0
        house.assert_nothing_left()

    run_virtual(story())


def test_a_defer_whose_awaitable_fails_or_is_cancelled_counts_as_over() -> None:
    """A promise that breaks must not keep anybody waiting for ever."""

    async def story() -> None:
        async def fails() -> None:
            await asyncio.sleep(1)
            raise ValueError("bug")

        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gone.cancel()
        waits: dict[str, Any] = {"a": fails(), "b": gone}
        house = House(TWO, Asked(lambda context: Defer(waits[context.target_model])))
        assert (await house.visit("a")).inside == 4.0
        assert (await house.visit("b")).end == "served"
        assert len(house.faults()) == 2
        house.assert_nothing_left()

    run_virtual(story())


def test_a_time_and_an_awaitable_run_side_by_side_and_the_first_wins() -> None:
    """A later Defer may shorten what runs, and what loses is forgotten."""

    async def story() -> None:
        gate = asyncio.Event()

        def patience(context: PolicyContext) -> Decision:
            return Defer(10.0 if context.target_queue_depth > 1 else gate.wait())

        house = House(TWO, Asked(patience))
        house.send("a")
        await asyncio.sleep(1)
        assert (await house.visit("a")).inside == 1.0 + 10.0 + 3.0
        house.assert_nothing_left()
        began = house.now
        both = house.send("b"), house.send("b")
        await asyncio.sleep(1)
        assert house.switcher.state() == Active("a")
        both[0].cancel()  # asked again: Defer(gate), beside the ten seconds
        await asyncio.sleep(1)
        gate.set()
        assert (await both[1]).inside == began + 2.0 + 1.0 + 5.0
        house.assert_nothing_left()

    run_virtual(story())


def test_skip_takes_a_defer_back() -> None:
    """The latest answer counts: the alarm that ran is forgotten."""

    async def story() -> None:
        answers: list[Decision] = [Defer(3.0), Skip(60.0), SwitchNow()]
        house = House(TWO, Asked(lambda context: answers.pop(0)))
        first = house.send("a")
        await asyncio.sleep(1)
        house.send("a")
        assert (await first).inside == 1.0 + 60.0 + 3.0
        house.assert_nothing_left()

    run_virtual(story())


def test_an_answer_with_a_target_counts_for_that_target() -> None:
    """Asked about the oldest, the policy prefers another that waits."""

    async def story() -> None:
        house = House(THREE, Asked(at_once(SwitchNow("c"))))
        older = house.send("b")
        await asyncio.sleep(0)
        newer = house.send("c")
        assert (await newer).inside == 1.0
        older.cancel()
        await asyncio.sleep(1)
        house.assert_nothing_left()

    run_virtual(story())


class Waits(SwitchPolicy):
    """FIFO whose `prepare_switch` does what a test says."""

    def __init__(self, prepare: Callable[[SwitchContext], Any]) -> None:
        self._prepare = prepare

    def on_pending_request(self, context: PolicyContext) -> Decision:
        """Always."""
        return SwitchNow()

    async def prepare_switch(self, context: SwitchContext) -> None:
        """Do what the test says."""
        await self._prepare(context)


def test_prepare_switch_starts_with_the_drain_and_sees_it_end() -> None:
    """It counts those inside, waits for them, and the sleep hook waits for both."""
    seen: list[object] = []

    async def prepare(context: SwitchContext) -> None:
        seen.extend((context.from_model, context.to_model, context.in_flight_count()))
        await context.wait_for_in_flight()
        seen.append((context.in_flight_count(), asyncio.get_running_loop().time()))
        await context.wait_for_in_flight()
        await asyncio.sleep(4)

    async def story() -> None:
        house = House(TWO, Waits(prepare))
        house.send("a", 10.0)
        await asyncio.sleep(5)
        visit = await house.visit("b")
        assert seen == ["a", "b", 1, (0, 13.0)]
        assert visit.inside == 13.0 + 4.0 + 1.0 + 5.0
        house.assert_nothing_left()

    run_virtual(story())


@pytest.mark.parametrize("error", [ValueError("bug"), asyncio.CancelledError()])
def test_prepare_switch_that_raises_is_reported_and_the_switch_goes_on(
    error: BaseException,
) -> None:
    """Also one that stumbles over something that was cancelled."""

    async def prepare(context: SwitchContext) -> None:
        raise error

    async def story() -> None:
        house = House(TWO, Waits(prepare))
        await house.visit("a")
        assert (await house.visit("b")).end == "served"
        assert len(house.faults()) == 1
        house.assert_nothing_left()

    run_virtual(story())


def test_prepare_switch_that_never_ends_is_bounded_like_the_drain() -> None:
    """After ten minutes the sleep hook runs all the same."""

    async def prepare(context: SwitchContext) -> None:
        await asyncio.sleep(1e6)

    async def story() -> None:
        house = House(TWO, Waits(prepare))
        await house.visit("a")
        assert (await house.visit("b")).inside == 4.0 + 600.0 + 1.0 + 5.0
        house.assert_nothing_left()

    run_virtual(story())


def test_prepare_switch_of_a_switch_given_up_is_cancelled() -> None:
    """It hears of it, and its end does not count for the next switch."""
    ends: list[str] = []

    async def prepare(context: SwitchContext) -> None:
        try:
            await context.wait_for_in_flight()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        ends.append("drained")

    async def story() -> None:
        house = House(TWO, Waits(prepare))
        running = house.send("a", 20.0)
        await asyncio.sleep(5)
        gone = house.send("b")
        await asyncio.sleep(1)
        assert house.switcher.state() == Switching("a", "b")
        gone.cancel()
        await asyncio.sleep(1)
        assert ends == ["cancelled"]
        assert house.switcher.state() == Active("a")
        await house.visit("b")
        assert ends == ["cancelled", "drained"]
        assert (await running).end == "served"
        house.assert_nothing_left()

    run_virtual(story())


def test_on_switch_complete_hears_none_for_a_cold_start_and_may_raise() -> None:
    """2.4.0 said an empty text there; what it raises is reported."""

    class Loud(FifoPolicy):
        def on_switch_complete(
            self, from_model: str | None, to_model: str, duration: float
        ) -> None:
            heard.append((from_model, to_model, duration))
            raise ValueError("bug")

    heard: list[tuple[str | None, str, float]] = []

    async def story() -> None:
        house = House(TWO, Loud())
        await house.visit("a")
        await house.visit("b")
        assert heard == [(None, "a", 3.0), ("a", "b", 6.0)]
        assert len(house.faults()) == 2
        house.assert_nothing_left()

    run_virtual(story())
