"""What the config says for every policy keeps its meaning under each one that is built in.

`request_timeout_secs`, `drain_before_switch`, `min_active_secs` and `max_wait_secs`, each against
`fifo`, `balance` and one that would switch at every moment. A model's own key beats all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from llmux.core.lane import LaneSettings
from llmux.policy import FifoPolicy, PolicySettings, Skip, SwitchNow, SwitchPolicy
from llmux.policy.balance import BalancePolicy
from llmux.runtime.driver import lane_settings
from llmux.testing import FakeHooks, run_virtual
from tests.runtime.house import Asked, House

MODELS = {"a": (1.0, 3.0), "b": (1.0, 5.0)}


def eager() -> SwitchPolicy:
    """Switch to whoever is waited for, at every moment."""
    return Asked(lambda context: SwitchNow())


POLICIES = [
    pytest.param(kind, id=name)
    for name, kind in (("fifo", FifoPolicy), ("balance", BalancePolicy), ("eager", eager))
]
each_policy = pytest.mark.parametrize("kind", POLICIES)


def house(kind: Callable[[], SwitchPolicy], **own: object) -> House:
    """Two models under a policy, with settings of the models' own."""
    lanes = {name: LaneSettings(name, **own) for name in MODELS}  # type: ignore[arg-type]
    return House(MODELS, kind(), settings=lanes)


@each_policy
def test_a_request_waits_at_most_its_timeout(kind: Callable[[], SwitchPolicy]) -> None:
    """Counted from its arrival, whatever it is that it waits for: here a drain."""

    async def story() -> None:
        here = house(kind, request_timeout=20.0)
        running = here.send("a", 100.0)
        await asyncio.sleep(10)
        late = await here.visit("b")
        assert (late.end, late.over) == ("504", 30.0)
        assert (await running).end == "served"
        assert (await here.visit("b")).end == "served"
        here.assert_nothing_left()

    run_virtual(story())


@each_policy
def test_a_model_is_not_put_to_sleep_under_its_answers(kind: Callable[[], SwitchPolicy]) -> None:
    async def story() -> None:
        here = house(kind, max_wait=15.0)
        running = here.send("a", 40.0)
        await asyncio.sleep(10)
        other = here.send("b")
        assert (await running).over == 43.0
        assert (await other).inside == 43.0 + 1.0 + 5.0
        here.assert_nothing_left()

    run_virtual(story())


@each_policy
def test_without_draining_a_switch_waits_for_no_answer(kind: Callable[[], SwitchPolicy]) -> None:
    """`balance` still chooses its moment; here the bound of the waiter is that moment."""

    async def story() -> None:
        here = house(kind, drain_before_switch=False, max_wait=15.0)
        here.send("a", 400.0)
        await asyncio.sleep(10)
        other = await here.visit("b")
        assert other.inside is not None
        assert other.inside <= 10.0 + 15.0 + 1.0 + 5.0

    run_virtual(story())


@each_policy
def test_a_model_is_kept_for_its_time_and_serves_meanwhile(
    kind: Callable[[], SwitchPolicy],
) -> None:
    async def story() -> None:
        here = house(kind, min_active=200.0)
        await here.visit("a")  # active since 3.0
        other = here.send("b")
        for _ in range(10):
            before = here.now
            assert (await here.visit("a", 0.5)).inside == before
            await asyncio.sleep(5)
        assert not other.done()
        inside = (await other).inside
        assert inside == 203.0 + 1.0 + 5.0
        here.assert_one_at_a_time()

    run_virtual(story())


@each_policy
def test_the_time_that_a_model_is_kept_ends_where_somebody_is_overdue(
    kind: Callable[[], SwitchPolicy],
) -> None:
    async def story() -> None:
        here = house(kind, min_active=500.0, max_wait=30.0)
        await here.visit("a")  # over at 4.0
        assert (await here.visit("b")).inside == 4.0 + 30.0 + 1.0 + 5.0

    run_virtual(story())


def test_a_policy_that_never_switches_does_not_lengthen_a_timeout() -> None:
    async def story() -> None:
        here = house(lambda: Asked(lambda context: Skip(1e8)), request_timeout=7.0)
        assert (await here.visit("a")).over == 7.0

    run_virtual(story())


@each_policy
def test_a_policy_says_what_the_config_has_told_it(kind: Callable[[], SwitchPolicy]) -> None:
    """So what stands under `policy` reaches each model that has no key of its own."""
    policy = kind()
    policy.settings = PolicySettings(request_timeout=9.0, drain_before_switch=False, min_active=4.0)
    lane = lane_settings("a", FakeHooks(MODELS), policy)
    assert (lane.request_timeout, lane.drain_before_switch, lane.min_active) == (9.0, False, 4.0)
