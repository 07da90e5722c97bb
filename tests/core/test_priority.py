"""Priorities: what a request counts, and what the board makes of it under any policy."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from llmux.core.lane import Lane, LaneSettings
from llmux.core.priority import LEAST, MOST, weight
from llmux.core.ticket import Ticket
from llmux.core.view import snapshot
from llmux.errors import BadRequestError
from llmux.policy.base import Skip, SwitchNow
from tests.core.world import World


@pytest.mark.parametrize(
    ("model", "asked", "key", "counts"),
    [
        (1.0, None, None, 1.0),
        (3.0, None, None, 3.0),
        (1.0, "2", None, 2.0),
        (1.0, " 2\t", None, 2.0),
        (1.0, "0.5", None, 0.5),
        (3.0, "2", None, 6.0),
        (1.0, "1000000", None, MOST),
        (1.0, "0.000001", None, LEAST),
        (1.0, "1.2345", None, 1.2),
        (1.0, None, 5.0, 5.0),
        (1.0, None, 0.2, 0.2),
        (2.0, None, 5.0, 10.0),
        (1.0, "2", 5.0, 2.0),
        (1.0, "9", 5.0, 5.0),
        (1.0, "0.1", 5.0, 0.1),
        (1.0, "2", 1.0, 1.0),
        (1.0, "0.9", 1.0, 0.9),
    ],
)
def test_a_request_counts_its_models_priority_times_its_own_below_its_keys_ceiling(
    model: float, asked: str | None, key: float | None, counts: float
) -> None:
    assert weight(model, asked, key) == counts


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "0",
        "0.0",
        "-1",
        "+1",
        "high",
        "nan",
        "inf",
        "1e3",
        "1,5",
        "2, 3",
        "2 3",
        "1_0",
        "\u0665",
    ],
)
def test_what_is_no_number_above_0_is_refused_with_what_would_do(asked: str) -> None:
    with pytest.raises(BadRequestError, match="x-llmux-priority must be one number above 0"):
        weight(1.0, asked, None)


def test_a_long_value_comes_back_cut_and_escaped() -> None:
    with pytest.raises(BadRequestError) as error:
        weight(1.0, "é" * 500)
    assert len(error.value.message) < 500
    assert error.value.message.isascii()


def test_any_number_of_priorities_makes_few_ranks() -> None:
    """Choosing the next request looks at one request a rank, so ranks have to stay few."""
    dice = Random(1)
    asked = [f"{10 ** dice.uniform(-6, 6):.6f}" for _ in range(5000)]
    assert len({weight(1.0, one) for one in asked if float(one)}) < 400


def test_who_gets_the_free_place_has_the_largest_priority_times_age() -> None:
    """A light request is overtaken by heavier ones only until its age makes up for it."""
    world = World("a", max_in_flight=1)
    inside = world.wake("a")
    started = world.now
    light = world.arrive("a", weight=1.0)
    world.now += 1.0
    first_heavy, second_heavy = world.arrive("a", weight=4.0), world.arrive("a", weight=4.0)
    world.now = started + 10.0  # 10 against 4 x 9
    world.leave(inside)
    assert set(world.inside) == {first_heavy}
    late_heavy = world.arrive("a", weight=4.0)
    world.now = started + 11.0
    world.leave(first_heavy)
    assert set(world.inside) == {second_heavy}, "first come, first served within a priority"
    world.now = started + 13.0  # 13 against 4 x 3
    world.leave(second_heavy)
    assert set(world.inside) == {light}
    world.leave(light)
    assert set(world.inside) == {late_heavy}


def test_an_overdue_request_goes_before_any_priority() -> None:
    """The bound of `max_wait` is the board's promise; a hundredfold priority does not break it."""
    world = World("a", max_in_flight=1, max_wait=5.0)
    inside = world.wake("a")
    light = world.arrive("a", weight=0.01)
    world.now += 1.0
    heavy = world.arrive("a", weight=100.0)
    world.ring("overdue", "a")
    world.leave(inside)
    assert set(world.inside) == {light}
    world.leave(light)
    assert set(world.inside) == {heavy}


def test_the_model_with_the_largest_priority_times_age_is_next() -> None:
    """Under a policy that says `SwitchNow` for all, as `fifo` does."""
    world = World("a", "b", "c")
    inside = world.wake("a")
    world.arrive("b", weight=1.0)
    world.now += 2.0
    world.arrive("c", weight=3.0)
    world.end_turn()
    world.now += 2.0
    world.answer("b", SwitchNow())  # 4 against 3 x 2
    world.answer("c", SwitchNow())
    assert world.started == ("a", "c")
    world.leave(inside)
    world.prepared()


def test_low_never_means_never_between_models() -> None:
    """However heavy the others: what waits long enough is next."""
    world = World("a", "b", "c")
    world.wake("a")
    world.arrive("b", weight=0.01)
    world.now += 1000.0
    world.arrive("c", weight=5.0)
    world.now += 1.0
    world.end_turn()
    world.answer("b", SwitchNow())
    assert world.started is None, "the policy has not answered for c yet"
    world.answer("c", SwitchNow())
    assert world.started == ("a", "b")  # 0.01 x 1001 against 5 x 1


def test_the_target_is_chosen_when_the_switch_can_start_not_when_it_was_wished() -> None:
    """During the cool-down the heavier request catches up, though nothing else happens."""
    world = World(
        LaneSettings("a", min_active=10.0), LaneSettings("b"), LaneSettings("c", priority=3.0)
    )
    world.wake("a")
    world.arrive("b")
    world.now += 4.0
    world.arrive("c")
    world.fifo()
    assert world.started is None
    world.ring("min_active", "a")  # 10 against 3 x 6
    assert world.started == ("a", "c")


def test_the_snapshot_weighs_those_who_wait() -> None:
    world = World(LaneSettings("a"), LaneSettings("b", priority=2.0))
    world.wake("a")
    start = world.now
    world.arrive("b")
    world.now += 3.0
    world.arrive("b", weight=0.5)
    world.now += 2.0
    view = snapshot(world.board, world.now).models["b"]
    assert (view.priority, view.waiting, view.weighted_waiting) == (2.0, 2, 2.5)
    assert (view.oldest_wait, view.sum_wait) == (world.now - start, 5.0 + 2.0)
    assert view.weighted_sum_wait == pytest.approx(2.0 * 5.0 + 0.5 * 2.0)
    assert view.urgency == pytest.approx(2.0 * 5.0)


def test_the_sums_of_a_snapshot_are_those_of_its_requests_whatever_came_and_went() -> None:
    dice = Random(7)
    lane = Lane(LaneSettings("a"))
    there: list[Ticket] = []
    for step in range(4000):
        if there and dice.random() < 0.5:
            lane.unqueue(there.pop(dice.randrange(len(there))))
        else:
            ticket = Ticket(lane, float(step))
            ticket.weight = weight(1.0, f"{dice.choice([0.01, 0.3, 1.0, 7.0, 100.0])}")
            there.append(ticket)
            lane.queue(ticket)
        now = step + 0.5
        products = [one.weight * (now - one.arrived) for one in there]
        assert lane.weight_sum == pytest.approx(sum(one.weight for one in there))
        assert lane.weight_sum * now - lane.weighted_sum == pytest.approx(sum(products), rel=1e-6)
        assert lane.pull(now)[0] == max(products, default=0.0)


def test_boards_that_differ_in_what_requests_count_do_not_look_alike() -> None:
    world = World("a", "b")
    world.wake("a")
    before = world.copy()
    world.arrive("b", weight=2.0)
    before.arrive("b")
    assert world.board.canonical() != before.board.canonical()


def test_a_copy_keeps_the_ranks() -> None:
    world = World("a", max_in_flight=1)
    inside = world.wake("a")
    world.arrive("a", weight=2.0)
    twin = world.copy()
    twin.check()
    world.leave(inside)
    world.check()
    twin.check()
    assert len(twin.waiting) == 1


def test_a_policy_that_skips_is_not_overruled_by_a_priority() -> None:
    """A priority orders those who may go; whether anybody may is the policy's word."""
    world = World("a", "b")
    world.wake("a")
    world.arrive("b", weight=100.0)
    world.end_turn()
    world.answer("b", Skip())
    world.now += 4.0
    assert world.board.plan is None


def test_a_models_priority_can_be_any_number_above_0() -> None:
    heavy = replace(LaneSettings("a"), priority=1e6)
    assert Ticket(Lane(heavy)).weight == 1e6
