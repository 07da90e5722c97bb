"""Stories of switches that nobody's request asked for: an operator's, a scheduler's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from llmux.core.news import ModelActivated, SwitchAbandoned
from llmux.core.view import Active, Idle, Switching
from llmux.errors import HookFailedError
from llmux.policy import FifoPolicy, ScheduleContext, Skip
from llmux.testing import run_virtual
from tests.runtime.house import Asked, House

TWO = {"a": (1.0, 3.0), "b": (2.0, 5.0)}
THREE = {**TWO, "c": (1.0, 1.0)}


class Scheduled(FifoPolicy):
    """FIFO with a background scheduler that does what a test says, every ten seconds."""

    def __init__(self, tick: Callable[[ScheduleContext], Any], interval: Any = 10.0) -> None:
        super().__init__()
        self._tick = tick
        self._interval = interval
        self.contexts: list[ScheduleContext] = []

    def scheduler_interval(self) -> float | None:
        """As the test says."""
        return self._interval  # type: ignore[no-any-return]

    def schedule_tick(self, context: ScheduleContext) -> Any:
        """Remember and answer."""
        self.contexts.append(context)
        return self._tick(context)


def test_force_switch_works_with_empty_queues() -> None:
    """From idle, then from a model that nobody uses (8.4)."""

    async def story() -> None:
        house = House(TWO)
        await house.switcher.force_switch("a")
        assert (house.now, house.switcher.state()) == (3.0, Active("a"))
        await house.switcher.force_switch("b")
        assert (house.now, house.switcher.state()) == (9.0, Active("b"))
        await asyncio.sleep(0)
        house.assert_nothing_left()

    run_virtual(story())


def test_force_switch_to_the_active_model_is_a_no_op() -> None:
    """It returns at once and runs no hook."""

    async def story() -> None:
        house = House(TWO)
        await house.visit("a")
        began = house.now
        await house.switcher.force_switch("a")
        assert house.now == began
        assert len(house.hooks.timeline()) == 1
        house.assert_nothing_left()

    run_virtual(story())


def test_force_switch_bypasses_the_policy_but_not_the_drain() -> None:
    """A policy that always skips is not asked; the request inside is served to its end."""

    async def story() -> None:
        policy = Asked(lambda context: Skip())
        house = House(TWO, policy)
        await house.switcher.force_switch("a")
        running = house.send("a", 10.0)
        await asyncio.sleep(1)
        await house.switcher.force_switch("b")
        assert running.result().over == 13.0
        assert house.now == 13.0 + 1.0 + 5.0
        assert policy.contexts == []
        await asyncio.sleep(0)
        house.assert_nothing_left()

    run_virtual(story())


def test_force_switch_waits_for_the_cool_down() -> None:
    """`min_active_secs` bounds how soon a model may be left, whoever asks."""

    async def story() -> None:
        house = House(TWO, FifoPolicy(min_active_duration=20.0))
        await house.visit("a")
        await house.switcher.force_switch("b")
        assert house.now == 3.0 + 20.0 + 1.0 + 5.0

    run_virtual(story())


def test_force_switch_tells_that_the_wake_failed() -> None:
    """The caller hears it as those who waited do."""

    async def story() -> None:
        house = House(TWO, failing={("wake", "b")})
        with pytest.raises(HookFailedError, match="wake hook of b"):
            await house.switcher.force_switch("b")
        await asyncio.sleep(5)
        assert house.switcher.state() == Idle()
        house.assert_nothing_left()

    run_virtual(story())


def test_orders_given_at_once_are_all_settled_in_turn() -> None:
    """Two want b, one wants c: each returns when its model is active."""

    async def story() -> None:
        house = House(THREE)
        ends: list[tuple[str, float]] = []

        async def force(model: str) -> None:
            await house.switcher.force_switch(model)
            assert house.switcher.board.lanes[model].activated_at == house.now
            ends.append((model, house.now))

        await asyncio.gather(force("b"), force("c"), force("b"))
        assert ends == [("b", 5.0), ("b", 5.0), ("c", 8.0)]
        house.assert_one_at_a_time()
        house.assert_nothing_left()

    run_virtual(story())


@pytest.mark.parametrize("moment", [0.5, 1.5, 4.0, 6.5, 9.0])
def test_a_force_switch_that_is_cancelled_takes_its_order_along(moment: float) -> None:
    """Before the sleep hook the switch is given up; a wake that runs is completed."""

    async def story() -> None:
        house = House(TWO)
        await house.visit("a", 0.0)
        house.send("a", 2.0)
        await asyncio.sleep(0)
        began = house.now
        order = asyncio.create_task(house.switcher.force_switch("b"))
        await asyncio.sleep(moment)
        order.cancel()
        await asyncio.sleep(20)
        assert order.cancelled() == (moment < 8.0)
        if moment < 2.0:
            assert house.switcher.state() == Active("a")
            assert house.heard(SwitchAbandoned) == [SwitchAbandoned("a", "b")]
        else:
            assert house.switcher.state() == Active("b")
            assert house.heard(ModelActivated)[-1] == ModelActivated("b", "a", 8.0)
        assert began == 3.0
        house.assert_nothing_left()

    run_virtual(story())


def test_an_order_withdrawn_during_the_sleep_hook_leaves_the_gateway_idle() -> None:
    """Nobody waits and nobody ordered: nothing is woken (I6)."""

    async def story() -> None:
        house = House(TWO)
        await house.visit("a")
        order = asyncio.create_task(house.switcher.force_switch("b"))
        await asyncio.sleep(0.5)
        assert house.switcher.state() == Switching("a", "b")
        order.cancel()
        await asyncio.sleep(10)
        assert house.switcher.state() == Idle()
        assert [hook for _, hook, _ in house.hooks.timeline()] == ["wake", "sleep"]
        house.assert_nothing_left()

    run_virtual(story())


def test_a_scheduler_tick_warms_a_model_that_nobody_waits_for() -> None:
    """It is told depths and costs, and its wish is an order (8.4)."""

    async def story() -> None:
        policy = Scheduled(lambda context: "b")
        house = House(TWO, policy)
        await house.visit("b")
        await house.visit("a")
        house.switcher.start()
        began = house.now
        await asyncio.sleep(10 + 1 + 5 + 0.1)
        assert house.switcher.state() == Active("b")
        context = policy.contexts[0]
        assert (context.active_model, context.active_in_flight) == ("a", 0)
        assert context.queue_depths == {"a": 0, "b": 0}
        assert context.switch_costs == {}, "a to b was never seen"
        assert context.snapshot.now == began + 10
        hooks = len(house.hooks.timeline())
        await asyncio.sleep(100)
        assert len(house.hooks.timeline()) == hooks, "already active is a no-op"
        await house.switcher.stop()
        house.assert_nothing_left()

    run_virtual(story())


async def in_time(context: ScheduleContext) -> str:
    """An `async` tick that thinks for a second."""
    await asyncio.sleep(1)
    return "b"


async def never(context: ScheduleContext) -> str:
    """An `async` tick that does not come back."""
    await asyncio.sleep(1e6)
    return "b"


async def stumbles(context: ScheduleContext) -> str:
    """An `async` tick that awaits something that was cancelled."""
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("tick", "complaint"),
    [
        (lambda context: "nobody", "unknown model"),
        (lambda context: ["b"], "unknown model"),
        (lambda context: 1 / 0, "ZeroDivisionError"),
        (never, "did not answer within 5 s"),
        (stumbles, "CancelledError"),
    ],
)
def test_a_scheduler_that_errs_is_reported_and_asked_again(tick: Any, complaint: str) -> None:
    """One bad tick is not the end of the scheduler."""

    async def story() -> None:
        policy = Scheduled(tick)
        house = House(TWO, policy)
        house.switcher.start()
        await asyncio.sleep(25)
        assert complaint in house.faults()[0]
        policy._tick = in_time
        await asyncio.sleep(40)
        assert house.switcher.state() == Active("b")
        await house.switcher.stop()
        house.assert_nothing_left()

    run_virtual(story())


@pytest.mark.parametrize("interval", [0, -1.0, float("nan"), float("inf"), "often", [1]])
def test_an_interval_that_is_no_time_means_no_scheduler(interval: object) -> None:
    """It is reported once, at the start."""

    async def story() -> None:
        policy = Scheduled(lambda context: "b", interval)
        house = House(TWO, policy)
        house.switcher.start()
        await asyncio.sleep(100)
        assert policy.contexts == []
        assert len(house.faults()) == 1
        house.assert_nothing_left()

    run_virtual(story())


def test_a_scheduler_that_repeats_itself_orders_once() -> None:
    """Ticks during a long drain do not pile up."""

    async def story() -> None:
        house = House(TWO, Scheduled(lambda context: "b", 1.0))
        house.send("a", 30.0)
        await asyncio.sleep(4)
        house.switcher.start()
        await asyncio.sleep(20)
        assert len(house.switcher.board.orders) == 1
        await asyncio.sleep(20)
        assert house.switcher.state() == Active("b")
        await house.switcher.stop()
        house.assert_nothing_left()

    run_virtual(story())


def test_an_order_whose_coroutine_is_thrown_away_is_withdrawn() -> None:
    """Without a cancellation: closed, as the interpreter does with what nobody holds any more."""

    async def story() -> None:
        house = House(TWO)
        house.send("a", 50.0)
        await asyncio.sleep(5)
        order = house.switcher.force_switch("b")
        order.send(None)
        assert house.switcher.state() == Switching("a", "b")
        order.close()
        assert house.switcher.state() == Active("a")
        await asyncio.sleep(60)
        house.assert_nothing_left()

    run_virtual(story())
