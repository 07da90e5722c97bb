"""Stories of models that die, hang, fail and come back, and of bounds on waiting.

Told to the board as facts; what the keeper of lives finds out, and how, is told elsewhere.
"""

from __future__ import annotations

from typing import Any

import pytest

from llmux.core import events as ev
from llmux.core import news as n
from llmux.core.lane import LaneSettings, Phase
from llmux.core.ticket import Ticket
from llmux.policy.base import Skip, SwitchNow
from tests.core.world import World


def awake(model: str, *models: str | LaneSettings, **common: Any) -> World:
    """A world in which the model is awake and at rest."""
    world = World(*models, **common)
    ticket = world.wake(model)
    world.answered(ticket)
    world.leave(ticket)
    world.told()
    return world


# ---- found at the start ------------------------------------------------------------------------


def test_nobody_is_woken_before_the_look_at_the_start_is_over() -> None:
    """A request and an order wait until it is known what is awake."""
    world = World("a", "b", survey=True)
    ticket = world.arrive("a")
    number = world.order("b")
    world.fifo()
    assert world.told() == []
    world.surveyed("a")
    assert ticket in world.inside
    world.fifo()
    assert world.told()[:2] == ["admit a1", "prepare a->b"]
    assert number in world.orders


def test_of_several_found_awake_the_newest_serves_and_the_others_go_to_sleep() -> None:
    """What is unclear sleeps too, one after the other, and nobody is served meanwhile."""
    world = World("a", "b", "c", survey=True)
    world.surveyed("ab", "c")
    assert [lane.name for lane in world.board.awake] == ["b"]
    ticket = world.arrive("b")
    assert ticket in world.inside
    world.hook_ends()
    world.hook_ends()
    assert world.told() == ["sleep c", "sleep a"]
    assert world.hook is None
    assert [lane.phase.value for lane in world.board.lanes.values()] == [
        "asleep",
        "awake",
        "asleep",
    ]


def test_one_that_cannot_be_tidied_away_does_not_make_the_others_serve() -> None:
    """The rest of those that should not be awake still go to sleep; then all wait for the one."""
    world = World("a", "b", "c", survey=True)
    world.surveyed("", "abc")
    world.hook_ends(ok=False, left="unclear")
    world.hook_ends()
    world.hook_ends()
    assert world.told() == ["sleep a", "sleep b", "sleep c"]
    assert world.board.lanes["a"].phase is Phase.QUARANTINED
    ticket = world.arrive("b")
    world.fifo()
    assert world.told() == ["ask b"], "nothing wakes in the place of a"
    world.ring("stuck", "a")
    world.hook_ends()
    world.fifo()
    world.hook_ends()
    assert ticket in world.inside


def test_a_model_that_hangs_while_another_is_tidied_away_is_kept_apart() -> None:
    """One hook at a time: it is put to sleep when its turn comes."""
    world = World("a", "b", survey=True)
    world.surveyed("ab")
    world.dies("b", hung=True)
    assert world.board.lanes["b"].phase is Phase.QUARANTINED
    world.hook_ends()
    assert world.hook is None
    world.ring("stuck", "b")
    world.hook_ends()
    assert world.told() == ["sleep a", "sleep b"]
    assert [type(one) for one in world.heard(n.Quarantined, n.QuarantineEnded)] == [
        n.Quarantined,
        n.QuarantineEnded,
    ]


def test_a_quarantined_model_does_not_serve_beside_another() -> None:
    """Seen alive it could serve, but the place is taken: it is put to sleep instead."""
    world = World("a", "b", survey=True)
    world.surveyed("ab")
    world.hook_ends(ok=False, left="awake")
    world.recovers("a")
    assert [lane.name for lane in world.board.awake] == ["b"]
    world.ring("stuck", "a")
    world.hook_ends()
    assert world.told() == ["sleep a", "sleep a"]


def test_a_second_look_at_the_start_changes_nothing() -> None:
    """Who serves goes on serving, whatever comes late."""
    world = World("a", "b", survey=True)
    world.surveyed("a")
    world.tell(ev.Surveyed(("b",)))
    assert [lane.name for lane in world.board.awake] == ["a"]


# ---- deaths ------------------------------------------------------------------------------------


def test_a_dead_model_is_woken_when_somebody_waits_and_not_before() -> None:
    """Nothing is put to sleep, and nothing is woken for nobody."""
    world = awake("a", "a", "b")
    world.dies("a")
    world.fifo()
    assert world.told() == []
    ticket = world.arrive("a")
    world.fifo()
    world.hook_ends()
    assert world.told() == ["ask a", "wake a", "complete None->a", "admit a2"]
    assert ticket in world.inside


def test_a_hung_model_sleeps_under_its_requests_and_is_woken_again() -> None:
    """They will not be answered; who waits is served by the new life."""
    world = awake("a", LaneSettings("a", max_in_flight=1), "b")
    hanging, waiting = world.arrive("a"), world.arrive("a")
    world.dies("a", hung=True)
    assert world.told() == ["lose a2", "sleep a"]
    world.hook_ends()
    world.leave(hanging)
    world.fifo()
    world.hook_ends()
    assert waiting in world.inside


def test_a_model_that_dies_while_it_drains_has_left() -> None:
    """No sleep hook for the dead, and no second word that it is not active any more."""
    world = awake("a", "a", "b")
    inside, ticket = world.arrive("a"), world.arrive("b")
    world.fifo()
    world.dies("a")
    assert world.told() == ["ask b", "prepare a->b", "wake b"]
    world.hook_ends()
    assert ticket in world.inside
    world.leave(inside)
    assert len(world.heard(n.ModelDeactivated)) == 1


def test_a_model_that_died_while_it_drained_does_not_serve_on_when_the_switch_is_given_up() -> None:
    """Who came for it meanwhile waits for its next wake."""
    world = awake("a", "a", "b")
    world.arrive("a")
    gone = world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow())
    late = world.arrive("a")
    world.dies("a")
    world.leave(gone)
    assert world.board.plan is None
    assert late in world.waiting
    world.fifo()
    world.hook_ends()
    assert late in world.inside


def test_the_bound_of_a_drain_holds_also_when_the_model_died_meanwhile() -> None:
    """A policy that prepares for ever does not hold the switch."""
    world = awake("a", "a", "b", drain_timeout=5.0)
    world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow())
    assert world.prepare is not None
    world.dies("a")
    world.ring("drain", "a")
    assert world.told()[-1] == "wake b"


# ---- breakers ----------------------------------------------------------------------------------


def test_only_an_answer_makes_a_model_trusted_again() -> None:
    """A wake that succeeds is not enough: it dies before an answer, and rests longer."""
    world = World("a")
    for seconds in (2.0, 4.0, 8.0):
        ticket = world.wake("a")
        world.leave(ticket)
        world.dies("a")
        assert world.alarms[("rest", "a")] - world.now == seconds
        assert world.ended[world.arrive("a")] == "refused"
        world.ring("rest", "a")
    ticket = world.wake("a")
    world.answered(ticket)
    world.leave(ticket)
    world.dies("a")
    assert ("rest", "a") not in world.alarms, "it has answered: its death is not a failed wake"
    world.arrive("a")
    world.fifo()
    world.hook_ends(ok=False)
    world.hook_ends()
    assert world.alarms[("rest", "a")] - world.now == 2.0, "the count began again"


def test_what_a_model_has_answered_says_nothing_of_its_next_life() -> None:
    """It has answered, died, woken, and died again before an answer: that was a failed wake."""
    world = awake("a", "a")
    world.dies("a")
    world.leave(world.wake("a"))
    world.dies("a")
    assert ("rest", "a") in world.alarms


def test_an_answer_during_the_sleep_hook_proves_nothing_of_the_next_life() -> None:
    """Nobody waited for it to be drained: it answers once more, sleeps, wakes and dies."""
    world = World(LaneSettings("a", drain_before_switch=False), "b", drain_timeout=None)
    ticket = world.wake("a")
    world.arrive("b")
    world.fifo()
    assert world.told()[-1] == "sleep a"
    world.answered(ticket)
    while world.hook is not None:
        world.hook_ends()
    world.leave(ticket)
    world.leave(next(iter(world.inside)))
    world.wake("a")
    world.dies("a")
    assert ("rest", "a") in world.alarms, "this life has answered nobody"


def test_those_held_back_by_a_model_that_died_unproven_are_told() -> None:
    """While its breaker is open nobody waits for it, whoever came first."""
    world = World("a", max_in_flight=1)
    world.wake("a")
    held = world.arrive("a")
    world.dies("a")
    assert world.ended[held] == "rejected 503"


def test_the_waiting_of_a_breaker_ends_at_its_bound() -> None:
    """2 s, doubled each time, and never more than the longest."""
    world = World("a")
    pauses = []
    for _ in range(9):
        world.arrive("a")
        world.fifo()
        world.hook_ends(ok=False)
        world.hook_ends()
        pauses.append(world.alarms[("rest", "a")] - world.now)
        world.ring("rest", "a")
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]


def test_a_broken_model_takes_the_accelerator_away_only_logarithmically_often() -> None:
    """I12: somebody wants it every second for ten minutes; the healthy one is left a few times."""
    world = awake("a", "a", "b")
    evictions = 0
    end = world.now + 600.0
    while world.now < end:
        world.now += 1.0
        for key in [key for key, when in world.alarms.items() if when <= world.now]:
            world.ring(*key)
        for model in ("b", "a"):
            world.arrive(model)
        world.fifo()
        while world.hook is not None:
            evictions += world.hook.hook == "sleep" and world.hook.model == "a"
            world.hook_ends(ok=world.hook.model == "a", seconds=0.1)
            world.fifo()
        assert "a" in world.inside.values()
        for ticket in list(world.inside):
            world.leave(ticket)
        world.fifo()
    assert evictions <= 5 + 600 / 60 + 1
    assert "served" in world.ended.values()


def test_the_model_that_a_failed_wake_took_the_place_of_comes_back() -> None:
    """Nobody waits for it; it was awake before, and is again."""
    world = awake("a", "a", "b")
    world.arrive("b")
    world.fifo()
    world.hook_ends()
    world.hook_ends(ok=False)
    world.hook_ends()
    assert world.told()[-1] == "wake a"
    world.hook_ends()
    assert [lane.name for lane in world.board.awake] == ["a"]
    assert world.board.restore is None


def test_who_waits_goes_before_the_model_that_would_come_back() -> None:
    """Its place is wanted: it is not woken for nobody."""
    world = awake("a", "a", "b", "c")
    world.arrive("b")
    world.fifo()
    ticket = world.arrive("c")
    world.hook_ends()
    world.hook_ends(ok=False)
    world.hook_ends()
    world.fifo()
    assert world.told()[-2:] == ["ask c", "wake c"]
    world.hook_ends()
    assert ticket in world.inside
    assert world.board.restore is None


def test_a_model_whose_breaker_is_open_does_not_come_back_before_it_closes() -> None:
    """It died unproven while it was left, and the one it was left for failed too."""
    world = World("a", "b")
    served = world.wake("a")
    world.arrive("b")
    world.fifo()
    world.dies("a")
    world.hook_ends(ok=False)
    world.hook_ends()
    world.leave(served)
    assert world.told()[-3:] == ["wake b", "reject b2 500", "sleep b"]
    assert world.hook is None
    world.ring("rest", "a")
    assert world.told() == ["wake a"]


# ---- sleeps that fail --------------------------------------------------------------------------


def test_a_model_that_cannot_be_put_to_sleep_serves_on_and_is_left_later() -> None:
    """Its breaker doubles; an order for the other is told; who waits goes on waiting."""
    world = awake("a", "a", "b")
    ticket, number = world.arrive("b"), world.order("b")
    for seconds in (2.0, 4.0):
        world.fifo()
        world.hook_ends(ok=False, left="awake")
        assert world.alarms[("stuck", "a")] - world.now == seconds
        assert world.arrive("a") in world.inside
        world.fifo()
        assert world.hook is None, "nothing wakes in its place"
        for one in list(world.inside):
            world.leave(one)
        world.ring("stuck", "a")
    assert world.settled[number] is not None
    world.fifo()
    world.hook_ends()
    world.hook_ends()
    assert ticket in world.inside
    assert world.board.lanes["a"].stuck_level == 0


def test_how_long_a_model_was_active_is_told_once() -> None:
    """A sleep that failed begins the count anew."""
    world = awake("a", "a", "b")
    world.now += 100.0
    world.arrive("b")
    world.fifo()
    world.hook_ends(ok=False, left="awake", seconds=1.0)
    world.now += 10.0
    world.ring("stuck", "a")
    world.fifo()
    heard = world.heard(n.ModelDeactivated)
    seconds = [one.active_seconds for one in heard if isinstance(one, n.ModelDeactivated)]
    assert seconds == [100.0, 10.0]


def test_quarantine_holds_everybody_until_the_model_is_seen_alive() -> None:
    """New requests for it are refused, orders wait, and then it serves."""
    world = awake("a", "a", "b")
    waits = world.arrive("b")
    world.fifo()
    world.hook_ends(ok=False, left="unclear")
    assert world.ended[world.arrive("a")] == "refused"
    number = world.order("a")
    world.fifo()
    assert world.hook is None
    world.recovers("a")
    assert world.settled[number] is None
    world.fifo()
    world.hook_ends()
    world.hook_ends()
    assert waits in world.inside


def test_an_order_for_a_quarantined_model_is_carried_out_after_its_sleep() -> None:
    """Its sleep is tried again after its breaker; then it is woken."""
    world = awake("a", "a", "b")
    world.arrive("b")
    world.fifo()
    world.hook_ends(ok=False, left="unclear")
    number = world.order("a")
    world.ring("stuck", "a")
    world.hook_ends(ok=False, left="unclear")
    assert world.alarms[("stuck", "a")] - world.now == 4.0
    world.ring("stuck", "a")
    world.hook_ends()
    world.hook_ends()
    assert world.settled[number] is None


# ---- bounds on waiting -------------------------------------------------------------------------


def test_the_overdue_go_first_whatever_the_policy_says_and_however_fresh_the_model_is() -> None:
    """A policy that skips, a cool-down that runs: the bound is the switchboard's promise."""
    world = World("a", "b", max_wait=5.0, min_active=60.0)
    world.leave(world.wake("a"))
    ticket = world.arrive("b")
    world.end_turn()
    world.answer("b", Skip(100.0))
    world.ring("overdue", "b")
    assert world.prepare is not None
    assert world.arrive("a") in world.waiting
    world.fifo()
    world.hook_ends()
    world.hook_ends()
    assert ticket in world.inside


def test_between_two_that_are_overdue_the_deadline_decides() -> None:
    """Not the arrival: the second has less patience."""
    a, b = LaneSettings("a", max_wait=10.0), LaneSettings("b", max_wait=2.0)
    world = awake("c", a, b, "c")
    world.arrive("c")
    world.arrive("a")
    world.now += 1.0
    world.arrive("b")
    world.order("c")
    world.end_turn()
    world.answer("a", Skip(100.0))
    world.answer("b", Skip(100.0))
    world.ring("overdue", "b")
    assert world.started == ("c", "b")
    world.ring("overdue", "a")
    assert world.started == ("c", "b")


def test_of_those_that_became_overdue_during_a_switch_the_first_deadline_goes_first() -> None:
    """The one that arrived later was promised less patience."""
    a, b = LaneSettings("a", max_wait=10.0), LaneSettings("b", max_wait=2.0)
    world = World(a, b, "c")
    wanted = world.arrive("c")
    world.fifo()
    world.arrive("a")
    world.now += 1.0
    world.arrive("b")
    world.ring("overdue", "a")
    world.ring("overdue", "b")
    world.hook_ends()
    assert wanted in world.inside
    assert world.started == ("c", "b")


def test_who_becomes_overdue_while_another_switch_drains_goes_right_after_it() -> None:
    """The new model's waiters are inside, and it drains at once."""
    world = awake("a", "a", "b", LaneSettings("c", max_wait=5.0))
    busy = world.arrive("a")
    wanted = world.arrive("b")
    world.fifo()
    late = world.arrive("c")
    world.ring("overdue", "c")
    assert world.started == ("a", "b")
    world.leave(busy)
    world.hook_ends()
    world.hook_ends()
    assert wanted in world.inside
    assert world.started == ("b", "c")
    assert world.arrive("b") in world.waiting
    world.leave(wanted)
    world.fifo()
    world.hook_ends()
    world.hook_ends()
    assert late in world.inside


def test_a_given_up_switch_does_not_admit_before_the_next_that_is_overdue() -> None:
    """Who came during the drain waits: somebody else has waited too long already."""
    world = awake("a", "a", LaneSettings("b", max_wait=5.0), LaneSettings("c", max_wait=5.0))
    world.arrive("a")
    gone, late = world.arrive("b"), world.arrive("c")
    world.ring("overdue", "b")
    world.ring("overdue", "c")
    newcomer = world.arrive("a")
    world.leave(gone)
    assert newcomer in world.waiting
    assert world.started == ("a", "c")
    assert late in world.waiting


def test_a_given_up_switch_admits_who_came_meanwhile_before_the_next_begins() -> None:
    """The old model is admitted to again, also where another is wanted at once."""
    world = awake("a", "a", "b", "c")
    world.arrive("a")
    gone = world.arrive("b")
    world.arrive("c")
    world.fifo()
    newcomer = world.arrive("a")
    world.leave(gone)
    assert newcomer in world.inside
    assert world.started == ("a", "c")


def test_a_target_that_lost_its_reason_gives_way_to_who_is_overdue() -> None:
    """Not to whoever has merely waited longest."""
    world = awake("a", "a", "b", "c", LaneSettings("d", max_wait=1.0))
    gone = world.arrive("b")
    world.fifo()
    world.arrive("c")
    world.now += 1.0
    world.arrive("d")
    world.ring("overdue", "d")
    world.leave(gone)
    world.hook_ends()
    assert world.started == ("a", "d")


def test_overdue_requests_held_back_inside_the_limit_go_before_the_model_is_left() -> None:
    """First those whose deadline comes first; who came later waits for the next round."""
    world = awake("a", "a", "b", max_wait=5.0, max_in_flight=1)
    busy, held = world.arrive("a"), world.arrive("a")
    world.now += 1.0
    late = world.arrive("b")
    world.now += 1.0
    newcomer = world.arrive("a")
    world.ring("overdue", "a")
    world.ring("overdue", "b")
    assert world.board.held
    assert world.board.plan is None
    world.leave(busy)
    assert held in world.inside
    assert world.started == ("a", "b"), "nobody else goes before b"
    world.leave(held)
    world.fifo()
    world.hook_ends()
    world.hook_ends()
    assert late in world.inside
    assert newcomer in world.waiting


def test_nobody_is_overdue_any_more_when_the_oldest_has_left() -> None:
    """The watch follows the next, from its own arrival."""
    world = awake("a", "a", LaneSettings("b", max_wait=5.0))
    first = world.arrive("b")
    world.now += 3.0
    world.arrive("b")
    world.leave(first)
    assert world.alarms[("overdue", "b")] - world.now == 5.0


def test_a_limit_lets_in_as_many_and_a_switch_leaves_the_others_waiting() -> None:
    """They keep their place for the next visit."""
    world = awake("a", "a", "b", max_in_flight=2)
    one, two, three = (world.arrive("a") for _ in range(3))
    assert list(world.inside) == [one, two]
    other = world.arrive("b")
    world.fifo()
    world.leave(one)
    world.leave(two)
    world.hook_ends()
    world.hook_ends()
    assert other in world.inside
    world.fifo()
    world.leave(other)
    world.hook_ends()
    world.hook_ends()
    assert three in world.inside


def test_who_comes_in_the_moment_of_a_free_place_does_not_overtake() -> None:
    """The place belongs to whoever was held back, also before the board has looked again."""
    world = awake("a", "a", max_in_flight=1)
    busy, held = world.arrive("a"), world.arrive("a")
    assert world.board.leave(busy, world.now)
    newcomer = Ticket(world.board.lane("a"), world.now)
    assert not world.board.enter(newcomer, world.now)
    del world.inside[busy]
    world.tell(ev.Looked())
    assert held in world.inside


def test_a_full_queue_refuses_only_who_would_have_to_wait() -> None:
    """While there is room inside nobody is refused."""
    world = awake("a", "a", "b", max_queue=1)
    assert world.arrive("b") in world.waiting
    assert world.ended[world.arrive("b")] == "refused"
    assert world.arrive("a") in world.inside


def test_who_is_refused_hears_how_long_those_before_it_will_take() -> None:
    """A model that lets one in at a time: no wake is needed, but a turn for each who waits."""
    world = awake("a", "a", max_in_flight=1, max_queue=3)
    served = world.arrive("a")
    world.now += 8.0
    world.leave(served)  # and one of 0 s before it: 4 s each
    assert world.arrive("a") in world.inside
    for _ in range(3):
        assert world.arrive("a") in world.waiting
    refused = world.board.refusal(world.board.lanes["a"], world.now)
    assert refused is not None
    assert refused.retry_after == 4 * 4.0


def test_bytes_of_all_who_wait_are_bounded_together_and_given_back() -> None:
    """Whoever is served, gives up or is inside holds none of them."""
    world = awake("a", "a", "b", "c", max_buffered=100)
    inside = world.arrive("a", size=90)
    first = world.arrive("b", size=60)
    assert world.ended[world.arrive("c", size=41)] == "refused"
    second = world.arrive("c", size=40)
    assert (inside in world.inside, world.board.buffered) == (True, 100)
    world.leave(second)
    assert world.arrive("c", size=40) in world.waiting
    world.fifo()
    world.leave(inside)
    world.hook_ends()
    world.hook_ends()
    assert first in world.inside
    assert world.board.buffered == 40


def test_a_body_that_could_never_wait_is_told_not_to_come_again() -> None:
    """Another one may; and where its model is awake it need not wait at all."""
    world = awake("a", "a", "b", max_buffered=100)
    lanes = world.board.lanes
    never = world.board.refusal(lanes["b"], world.now, 101)
    assert never is not None
    assert (never.retryable, never.retry_after) == (False, None)
    world.arrive("b", size=100)
    later = world.board.refusal(lanes["b"], world.now, 1)
    assert later is not None
    assert later.retryable is None
    assert later.retry_after is not None
    assert world.board.refusal(lanes["a"], world.now, 101) is None


# ---- rescue ------------------------------------------------------------------------------------


def test_a_rescued_request_keeps_its_place_and_its_one_deadline() -> None:
    """It came first, so it goes first; its time runs from its arrival."""
    world = awake("a", "a", request_timeout=30.0)
    first = world.arrive("a")
    world.now += 10.0
    world.dies("a")
    second = world.arrive("a")
    world.now += 1.0
    world.returns(first)
    assert list(world.waiting) == [first, second]
    assert world.alarms[("deadline", first)] == first.arrived + 30.0
    world.fifo()
    world.hook_ends()
    assert [one for one in world.told() if "admit" in one] == ["admit a2", "admit a3"]


def test_a_rescued_request_is_overdue_by_its_arrival() -> None:
    """The watch goes over to it from whoever waited first meanwhile."""
    world = awake("a", "a", max_wait=20.0)
    first = world.arrive("a")
    world.now += 10.0
    world.dies("a")
    world.arrive("a")
    world.returns(first)
    assert world.alarms[("overdue", "a")] == first.arrived + 20.0


def test_a_rescued_request_waits_until_the_breaker_lets_its_model_wake_again() -> None:
    """Newcomers are told to come later; it was admitted once and is sent once more."""
    world = World("a")
    ticket = world.wake("a")
    world.dies("a")
    world.returns(ticket)
    assert ticket in world.waiting
    assert world.ended[world.arrive("a")] == "refused"
    world.ring("rest", "a")
    world.fifo()
    world.hook_ends()
    assert ticket in world.inside


def test_a_rescued_request_finds_its_place_in_a_full_queue() -> None:
    """The bounds of the queue are for newcomers: neither number nor bytes send it away."""
    world = awake("a", "a", "b", max_queue=1, max_buffered=100)
    first = world.arrive("a", size=60)
    world.dies("a")
    world.now += 1.0
    second = world.arrive("a", size=90)
    world.returns(first)
    assert list(world.waiting) == [first, second]
    assert world.board.buffered == 150
    assert world.ended[world.arrive("b", size=1)] == "refused"


def test_a_rescued_request_is_told_when_its_model_is_in_quarantine() -> None:
    """Nobody knows when that ends."""
    world = awake("a", "a", "b")
    ticket = world.arrive("a")
    world.arrive("b")
    world.fifo()
    world.leave(ticket)
    world.hook_ends(ok=False, left="awake")
    ticket = world.arrive("a")
    world.close()
    world.dies("a", hung=True)
    world.returns(ticket)
    assert world.ended[ticket].startswith("rejected 503")


def test_a_model_that_hangs_while_it_drains_is_put_to_sleep_at_once() -> None:
    """Nobody waits for its answers, nor for what the policy still prepares; who lost it is told."""
    world = awake("a", "a", "b")
    inside, ticket = world.arrive("a"), world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow())
    assert world.prepare is not None
    world.told()
    world.dies("a", hung=True)
    assert world.told() == ["lose a2", "sleep a"]
    world.returns(inside)
    world.hook_ends()
    world.hook_ends()
    assert ticket in world.inside
    world.leave(ticket)
    world.fifo()
    world.hook_ends()
    world.hook_ends()
    assert inside in world.inside
    assert len(world.heard(n.ModelDeactivated)) == 2, "each was left once"


def test_a_model_that_hangs_while_it_drains_and_will_not_sleep_is_in_quarantine() -> None:
    """As any other of which nobody can say whether it holds the accelerator."""
    world = awake("a", "a", "b")
    inside = world.arrive("a")
    world.arrive("b")
    world.fifo()
    world.dies("a", hung=True)
    world.returns(inside)
    world.hook_ends(ok=False, left="unclear")
    assert world.board.lanes["a"].phase is Phase.QUARANTINED
    world.recovers("a")
    assert inside in world.inside


# ---- a life that is over -----------------------------------------------------------------------


def test_requests_of_a_dead_backend_take_no_place_in_its_next_life() -> None:
    """They are still open, so they are known; the new life has its whole limit."""
    world = awake("a", "a", max_in_flight=1)
    old = world.arrive("a")
    world.dies("a")
    new, held = world.arrive("a"), world.arrive("a")
    world.fifo()
    world.hook_ends()
    assert new in world.inside
    assert held in world.waiting
    world.leave(old)
    assert held in world.waiting
    world.leave(new)
    assert held in world.inside


def test_a_lost_request_may_come_back_after_the_next_wake() -> None:
    """The look at its backend took longer than the wake."""
    world = awake("a", "a", max_in_flight=1)
    old = world.arrive("a")
    world.dies("a")
    new = world.arrive("a")
    world.fifo()
    world.hook_ends()
    world.returns(old)
    assert old in world.waiting
    world.leave(new)
    assert old in world.inside


def test_requests_that_a_sleep_does_not_wait_for_are_lost_with_it() -> None:
    """Without a drain they end when their backend does, and count nowhere meanwhile."""
    world = awake("a", "a", "b", drain_before_switch=False, max_in_flight=1)
    old = world.arrive("a")
    world.arrive("b")
    world.fifo()
    world.hook_ends()
    assert not world.board.lanes["a"].inside
    assert world.board.lanes["a"].lost == {old}
    world.leave(old)
    assert not world.board.lanes["a"].lost


def test_requests_of_a_backend_that_hangs_may_come_back_and_those_of_a_sleep_may_not() -> None:
    """Nobody had ordered the end of the one; the other was put to sleep with them on purpose."""
    world = awake("a", "a")
    early, late = world.arrive("a"), world.arrive("a")
    assert not world.board.bereft(early)
    world.dies("a", hung=True)
    assert world.board.bereft(early), "its sleep hook may end it at any moment"
    world.returns(early)
    world.hook_ends()
    assert world.board.bereft(late)
    assert early in world.waiting
    world = awake("a", "a", "b", drain_before_switch=False)
    old = world.arrive("a")
    world.arrive("b")
    world.fifo()
    assert not world.board.bereft(old)
    world.hook_ends()
    assert not world.board.bereft(old)


# ---- the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["draining", "sleeping", "waking", "cleaning", "quarantined"])
def test_closing_in_any_phase_wakes_nothing_and_leaves_nobody(phase: str) -> None:
    """Those who wait are told; what runs may end; nothing new begins, alarms or not."""
    world = awake("a", "a", "b")
    busy = world.arrive("a")
    waits, number = world.arrive("b"), world.order("b")
    world.fifo()
    if phase != "draining":
        world.leave(busy)
    if phase in {"waking", "cleaning"}:
        world.hook_ends()
    if phase == "cleaning":
        world.hook_ends(ok=False)
    if phase == "quarantined":
        world.hook_ends(ok=False, left="unclear")
    world.close()
    assert waits in world.ended
    assert world.settled[number] is not None
    while world.hook is not None:
        world.hook_ends()
    world.told()
    for key in list(world.alarms):
        world.ring(*key)
    world.recovers("a") if phase == "quarantined" else world.tell(ev.Looked())
    assert world.told() == []
    assert world.ended[world.arrive("a")] == "refused"


def test_a_model_that_hangs_while_the_gateway_stops_is_left_alone() -> None:
    """No hook begins any more."""
    world = awake("a", "a")
    world.close()
    world.dies("a", hung=True)
    world.ring("stuck", "a")
    assert world.hook is None
