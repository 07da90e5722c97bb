"""A request is cancelled at every moment of its life, to the step of the loop: nothing is left.

Each story is run once for every point of a grid of times and steps that covers the queue, the
drain, both hooks, the activation's own turn, and the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest

from llmux.policy import FifoPolicy
from llmux.testing import FakeHooks, FakeOutcome, run_virtual
from tests.runtime.house import Asked, House

TWO = {"a": (1.0, 3.0), "b": (2.0, 5.0)}
TIMES = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 9.0, 10.0, 11.0, 12.0]
STEPS = range(8)


async def cancelled_at(
    house: House, work: Callable[[], Awaitable[object]], seconds: float, steps: int
) -> asyncio.Task[None]:
    """Start the work, cancel it after that time and so many steps of the loop, let all settle."""

    async def run() -> None:
        await work()

    task = asyncio.create_task(run())
    if seconds:
        await asyncio.sleep(seconds)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(60)
    assert task.done()
    house.assert_one_at_a_time()
    house.assert_nothing_left()
    return task


@pytest.mark.parametrize("seconds", TIMES)
@pytest.mark.parametrize("thinks", [0.0, 1.0], ids=["def", "async def"])
def test_serving_may_be_cancelled_at_every_step(seconds: float, thinks: float) -> None:
    """With somebody inside the old model, and somebody else waiting for the new one, or not."""

    async def answer(context: object) -> object:
        await asyncio.sleep(thinks)
        return FifoPolicy().on_pending_request(context)  # type: ignore[arg-type]

    async def story(steps: int, company: bool) -> None:
        policy = Asked(answer) if thinks else FifoPolicy()  # type: ignore[arg-type]
        house = House(TWO, policy)
        running = house.send("a", 5.0)
        await asyncio.sleep(5)
        beside = house.send("b") if company else None
        await cancelled_at(house, lambda: house.visit("b"), seconds, steps)
        assert (await running).end == "served"
        if beside is not None:
            assert (await beside).end == "served"
        after = await house.visit("a")
        assert after.end == "served"

    for steps in STEPS:
        for company in (False, True):
            run_virtual(story(steps, company))


@pytest.mark.parametrize("seconds", TIMES)
def test_force_switch_may_be_cancelled_at_every_step(seconds: float) -> None:
    """The order never outlives the operator."""

    async def story(steps: int) -> None:
        house = House(TWO)
        house.send("a", 5.0)
        await asyncio.sleep(5)
        await cancelled_at(house, lambda: house.switcher.force_switch("b"), seconds, steps)
        assert not house.switcher.board.orders
        assert (await house.visit("a")).end == "served"

    for steps in STEPS:
        run_virtual(story(steps))


@pytest.mark.parametrize("seconds", TIMES)
def test_a_lease_may_be_cancelled_at_every_step(seconds: float) -> None:
    """Either the caller holds it, or it is given back."""

    async def story(steps: int) -> None:
        house = House(TWO)

        async def hold() -> None:
            ticket = await house.switcher.acquire_in_flight("b")
            try:
                await asyncio.sleep(1)
            finally:
                house.switcher.leave(ticket)

        house.send("a", 5.0)
        await asyncio.sleep(5)
        await cancelled_at(house, hold, seconds, steps)

    for steps in STEPS:
        run_virtual(story(steps))


@pytest.mark.parametrize("seconds", TIMES)
def test_the_gateway_may_stop_at_every_step(seconds: float) -> None:
    """No task, no timer and no request outlives `stop`."""

    async def story(steps: int) -> None:
        house = House(TWO, FifoPolicy(request_timeout=50.0, min_active_duration=2.0))
        house.send("a", 5.0)
        house.send("b", 1.0)
        if seconds:
            await asyncio.sleep(seconds)
        for _ in range(steps):
            await asyncio.sleep(0)
        await house.switcher.stop()
        assert not house.switcher._tasks
        await asyncio.sleep(20)
        house.assert_nothing_left()

    for steps in STEPS:
        run_virtual(story(steps))


class FallingHooks(FakeHooks):
    """Hooks whose runner falls over twice before it works."""

    errors: ClassVar[list[BaseException]] = []

    async def run_wake(self, model: str, **told: Any) -> FakeOutcome:
        """Raise what is left to be raised, then work."""
        if self.errors:
            raise self.errors.pop()
        return await super().run_wake(model, **told)


def test_a_runner_of_hooks_may_fall_over_or_stumble_over_a_cancellation() -> None:
    """A hook whose runner raises is a hook that failed; the switch goes on."""
    FallingHooks.errors[:] = [asyncio.CancelledError(), OSError("no processes")]

    async def story() -> None:
        house = House(TWO, kind=FallingHooks)
        ends = []
        for _ in range(3):
            ends.append((await house.visit("a")).end)
            await asyncio.sleep(30)
        assert ends == ["500", "500", "served"]
        house.assert_nothing_left()

    run_virtual(story())


class StubbornHooks(FakeHooks):
    """Hooks whose runner turns a cancellation into an outcome, as one that is killed may."""

    async def run_wake(self, model: str, **told: Any) -> FakeOutcome:
        """Say that it was killed, whoever cancels it."""
        try:
            return await super().run_wake(model, **told)
        except asyncio.CancelledError:
            return FakeOutcome(False, None, 1.0, error="killed")


def test_stop_ends_also_what_its_own_end_has_ordered() -> None:
    """The wake that is killed orders a clean-up, and that does not outlive the stop either."""

    async def story() -> None:
        house = House(TWO, kind=StubbornHooks)
        waiting = house.send("a")
        await asyncio.sleep(1)
        await house.switcher.stop()
        assert not house.switcher._tasks
        assert (await waiting).end == "503"
        house.assert_nothing_left()

    run_virtual(story())
