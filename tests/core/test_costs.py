"""The learned costs: moving averages by pair and by hook."""

from __future__ import annotations

import pytest

from llmux.core.costs import WEIGHT, SwitchCostTracker
from llmux.core.lane import Lane, LaneSettings
from llmux.core.observations import Services
from tests.core.world import World


def test_the_first_observation_is_taken_as_it_is() -> None:
    """An unseen pair has no estimate."""
    costs = SwitchCostTracker()
    assert costs.estimate("a", "b") is None
    assert costs.record("a", "b", 10.0) == 10.0
    assert costs.estimate("a", "b") == 10.0


def test_a_new_value_weighs_three_tenths() -> None:
    """Ten, then twenty, is thirteen."""
    costs = SwitchCostTracker()
    costs.record("a", "b", 10.0)
    assert WEIGHT == 0.3
    assert costs.record("a", "b", 20.0) == pytest.approx(13.0)
    assert costs.record("a", "b", 13.0) == pytest.approx(13.0)


def test_the_table_is_directional_and_cold_starts_are_pairs_of_their_own() -> None:
    """From a to b says nothing of b to a, nor of a start from nothing."""
    costs = SwitchCostTracker()
    costs.record("a", "b", 1.0)
    costs.record(None, "b", 2.0)
    costs.record("a", "c", 3.0)
    assert costs.estimate("b", "a") is None
    assert costs.estimate(None, "b") == 2.0
    assert costs.estimates_from("a") == {"b": 1.0, "c": 3.0}
    assert costs.estimates_from(None) == {"b": 2.0}
    assert costs.estimates_from("b") == {}


def test_hooks_are_learned_one_by_one() -> None:
    """From them every pair is known once both hooks were seen."""
    costs = SwitchCostTracker()
    costs.record_hook("a", "sleep", 1.0)
    costs.record_hook("a", "sleep", 2.0)
    assert costs.hook_seconds("a", "sleep") == pytest.approx(1.3)
    assert costs.hook_seconds("a", "wake") is None


def test_a_failed_hook_teaches_nothing() -> None:
    """The time that a failure took is not the time that a switch takes."""
    world = World("a", "b")
    world.arrive("a")
    world.fifo()
    world.hook_ends(ok=False, seconds=1.0)
    world.hook_ends(ok=False, seconds=1.0)
    assert world.board.costs.hook_seconds("a", "wake") is None
    assert world.board.costs.hook_seconds("a", "sleep") is None
    assert world.board.costs.estimate(None, "a") is None


def test_the_sleep_that_cleans_up_after_a_failed_wake_teaches_nothing() -> None:
    """It ends what never came up: that says nothing of how long a model takes to go."""
    world = World("a", "b")
    world.arrive("a")
    world.fifo()
    world.hook_ends(ok=False, seconds=1.0)
    world.hook_ends(seconds=0.1)
    assert world.board.costs.hook_seconds("a", "sleep") is None


def test_a_service_that_began_at_the_beginning_of_time_counts() -> None:
    """Zero is a time like any other: a request admitted at 0 s that ended at 3 s took 3 s."""
    world = World("a")
    ticket = world.arrive("a")
    world.fifo()
    world.hook_ends(seconds=0.0)
    assert ticket.admitted == 0.0
    world.now = 3.0
    world.leave(ticket)
    world.board.services.fold()
    lane = world.board.lanes["a"]
    assert (lane.service_mean, lane.service_samples) == (3.0, 1)


def test_the_mean_service_follows_the_plain_mean_then_a_moving_average() -> None:
    """Early observations weigh 1/n, late ones a twentieth; the prior fades beside them."""
    lane = Lane(LaneSettings("a"))
    services = Services()
    for seconds in (2.0, 4.0, 6.0):
        services.log.append((lane, 0.0, seconds))
    services.fold()
    assert lane.service_mean == pytest.approx(4.0)
    assert services.prior == pytest.approx(1 / 4)
    assert services.mean + services.prior * 0.0 == pytest.approx(3.0), "a prior of 0 is the fourth"
    for _ in range(500):
        services.log.append((lane, 0.0, 10.0))
    services.fold()
    assert lane.service_mean == pytest.approx(10.0, abs=1e-6)
    assert services.prior == pytest.approx(0.0, abs=1e-4)
    assert services.log == []
