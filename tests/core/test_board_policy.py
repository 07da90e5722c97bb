"""Contract section 6 at the bare board: what SwitchNow, Defer and Skip mean, each sentence."""

from __future__ import annotations

from math import e
from typing import Any

import pytest

from llmux.core import events as ev
from llmux.core.costs import SwitchCostTracker
from llmux.core.lane import LaneSettings
from llmux.core.ticket import Ticket
from llmux.core.view import Active, policy_context, schedule_context, snapshot, state
from llmux.policy.base import Decision, Defer, ModelView, Skip, SwitchNow
from tests.core.world import World


class Gate:
    """Something to await; the board only passes it on."""

    def __await__(self):  # type: ignore[no-untyped-def]
        raise AssertionError("the board awaited something")


def waiting_for_b(decision: Decision, **settings: Any) -> World:
    """`a` is awake and busy, somebody waits for `b`, and the policy has said this."""
    world = World("a", "b", "c", **settings)
    world.wake("a")
    world.arrive("b")
    world.end_turn()
    world.told()
    world.answer("b", decision)
    return world


def ask_again(world: World, *answers: Decision) -> None:
    """Let the turn end and answer what is asked, in order."""
    world.end_turn()
    for model, decision in zip(list(world.consults), answers, strict=True):
        world.answer(model, decision)


# ---- when it is asked ----------------------------------------------------------------------


def test_it_is_asked_once_a_turn_for_each_inactive_model_with_a_waiter_oldest_first() -> None:
    """However many requests came, and never about the active model."""
    world = World("a", "b", "c", "d")
    world.wake("a")
    world.told()
    for model in ("c", "b", "c", "a", "b"):
        world.now += 1.0
        world.arrive(model)
    world.end_turn()
    assert world.told() == ["ask c", "ask b"]


def test_it_is_asked_again_after_arrivals_ends_alarms_and_activations() -> None:
    """Whenever the world has changed while somebody waits, and only then (8.9)."""
    world = waiting_for_b(Skip())
    for change in (
        lambda: world.arrive("b"),
        lambda: world.arrive("a"),
        lambda: world.leave(next(iter(world.inside))),
        lambda: world.ring("ask", "b"),
    ):
        assert not world.turn
        change()
        ask_again(world, Skip())
    world.tell(ev.Looked())
    assert not world.turn, "nothing has changed"


def test_it_is_not_asked_while_a_switch_runs() -> None:
    """Its answer could change nothing; afterwards it is."""
    world = waiting_for_b(SwitchNow())
    world.told()
    world.arrive("c")
    assert not world.turn
    world.prepared()
    world.leave(next(iter(world.inside)))
    world.hook_ends()
    assert not world.turn
    world.hook_ends()
    world.told()
    world.end_turn()
    assert world.told() == ["ask c"]


def test_it_is_not_asked_when_everybody_left_within_the_turn() -> None:
    """Only while somebody waits."""
    world = World("a")
    world.leave(world.arrive("a"))
    world.end_turn()
    assert world.told() == []


def test_nothing_begins_before_all_questions_are_answered() -> None:
    """The oldest waiter must not lose for thinking longer."""
    world = World("a", "b")
    world.arrive("a")
    world.now = 1.0
    world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow())
    assert world.hook is None
    world.answer("a", SwitchNow())
    assert world.told()[-1] == "wake a"


def test_an_order_does_not_wait_for_answers() -> None:
    """An operator is not held up by a policy that thinks."""
    world = World("a", "b")
    world.arrive("a")
    world.end_turn()
    world.order("b")
    assert world.told()[-1] == "wake b"
    world.answer("a", SwitchNow())
    world.hook_ends()
    world.fifo()
    assert world.told()[-2:] == ["prepare b->a", "sleep b"]


def test_a_stale_answer_counts_for_nothing() -> None:
    """Only the number of the latest question is heard."""
    world = World("a", "b")
    world.arrive("a")
    world.end_turn()
    number = world.consults["a"]
    world.tell(ev.PolicyAnswered("a", number - 1, SwitchNow()))
    assert world.hook is None
    world.answer("a", Skip())
    world.tell(ev.PolicyAnswered("a", number, SwitchNow()))
    assert world.hook is None, "answered twice"


# ---- SwitchNow -----------------------------------------------------------------------------


def test_among_switch_now_the_oldest_waiter_goes_first() -> None:
    """With three busy models the one whose oldest request has waited longest (8.1)."""
    world = World("a", "b", "c", "d")
    world.leave(world.wake("a"))
    for model in ("d", "b", "c", "b", "c", "d"):
        world.now += 1.0
        world.arrive(model)
    woken = []
    for _ in range(3):
        world.fifo()
        world.hook_ends()
        assert world.hook is not None
        woken.append(world.hook.model)
        world.hook_ends()
        for ticket in list(world.inside):
            world.leave(ticket)
    assert woken == ["d", "b", "c"]


def test_the_target_is_chosen_when_the_switch_can_start() -> None:
    """The oldest waiter of the beginning has left during the cool-down."""
    world = World("a", "b", "c", min_active=60.0)
    world.leave(world.wake("a"))
    world.now += 1.0
    oldest = world.arrive("c")
    world.now += 1.0
    world.arrive("b")
    world.fifo()
    world.leave(oldest)
    world.told()
    world.ring("min_active", "a")
    assert world.told() == ["prepare a->b"]


def test_switch_now_is_taken_back_by_the_latest_answer() -> None:
    """Said during a cool-down, it is a wish and no more."""
    world = waiting_for_b(SwitchNow(), min_active=60.0)
    assert state(world.board) == Active("a")
    world.arrive("b")
    ask_again(world, Skip())
    world.ring("min_active", "a")
    world.told()
    ask_again(world, Skip())
    assert world.told() == ["ask b"]
    assert state(world.board) == Active("a")


def test_a_wish_does_not_outlive_the_switch_to_another() -> None:
    """After an activation everybody is asked anew."""
    world = World("a", "b", "c")
    world.arrive("a")
    world.now = 1.0
    world.arrive("b")
    world.fifo()
    assert world.told()[-1] == "wake a"
    world.hook_ends()
    ask_again(world, Skip())
    for ticket in list(world.inside):
        world.leave(ticket)
    assert state(world.board) == Active("a")
    ask_again(world, SwitchNow())
    assert world.told()[-1] == "prepare a->b"


# ---- a target in the answer ------------------------------------------------------------------


def test_an_answer_with_a_target_counts_for_that_target() -> None:
    """Asked about the older, the policy names the younger."""
    world = World("a", "b", "c")
    world.arrive("b")
    world.now = 1.0
    world.arrive("c")
    world.end_turn()
    world.answer("b", SwitchNow("c"))
    world.answer("c", Skip(9.0))
    assert world.hook is None, "the latest answer for c is Skip"
    world.ring("ask", "c")
    world.end_turn()
    world.answer("b", Skip(target="c"))
    world.answer("c", SwitchNow())
    assert world.told()[-1] == "wake c"


def test_a_target_that_nobody_waits_for_starts_nothing_and_forgets_nobody() -> None:
    """Nor does the active model, nor a name that is unknown; the asked one is asked again."""
    for target in ("c", "a"):
        world = waiting_for_b(SwitchNow(target))
        assert state(world.board) == Active("a")
        assert world.alarms == {("ask", "b"): world.now + 5.0}


def test_naming_another_takes_ones_own_wish_back() -> None:
    """Once now, then another: the one asked about does not go on its old wish."""
    world = waiting_for_b(SwitchNow(), min_active=60.0)
    world.arrive("c")
    ask_again(world, SwitchNow("c"), SwitchNow())
    world.told()
    world.ring("min_active", "a")
    assert world.told() == ["prepare a->c"]


# ---- Defer -----------------------------------------------------------------------------------


def test_a_defer_counts_as_switch_now_when_it_is_over() -> None:
    """If somebody still waits."""
    world = waiting_for_b(Defer(10.0))
    assert world.alarms == {("defer", "b"): world.now + 10.0}
    world.told()
    world.ring("defer", "b")
    assert world.told() == ["prepare a->b"]


def test_a_defer_for_nobody_is_forgotten() -> None:
    """With the last waiter its alarm goes."""
    world = waiting_for_b(Defer(10.0))
    world.leave(next(iter(world.waiting)))
    assert world.alarms == {}


def test_a_defer_may_wait_for_an_awaitable() -> None:
    """The driver awaits it and tells."""
    world = waiting_for_b(Defer(Gate()))
    assert world.awaited == {"b"}
    world.told()
    world.defer_ends("b")
    assert world.told() == ["prepare a->b"]


def test_a_new_defer_does_not_prolong_one_that_runs_but_may_shorten_it() -> None:
    """To wait longer the policy has to Skip."""
    world = waiting_for_b(Defer(10.0))
    due = world.now + 10.0
    world.now += 5.0
    world.arrive("b")
    ask_again(world, Defer(10.0))
    assert world.alarms[("defer", "b")] == due
    world.arrive("b")
    ask_again(world, Defer(1.0))
    assert world.alarms[("defer", "b")] == world.now + 1.0


def test_a_time_and_an_awaitable_run_side_by_side() -> None:
    """The first to end ends both."""
    world = waiting_for_b(Defer(10.0))
    world.arrive("b")
    ask_again(world, Defer(Gate()))
    assert world.awaited == {"b"}
    world.ring("defer", "b")
    assert world.awaited == set()
    assert world.told()[-1] == "prepare a->b"


def test_switch_now_and_skip_replace_a_defer() -> None:
    """An earlier event asks again, and the new answer replaces it."""
    world = waiting_for_b(Defer(10.0))
    world.arrive("b")
    ask_again(world, Skip(3.0))
    assert world.alarms == {("ask", "b"): world.now + 3.0}
    world = waiting_for_b(Defer(10.0))
    world.arrive("b")
    ask_again(world, SwitchNow())
    assert ("defer", "b") not in world.alarms
    assert world.told()[-1] == "prepare a->b"


def test_a_defer_that_is_over_waits_for_the_cool_down_and_is_not_deferred_again() -> None:
    """It counts as SwitchNow from then on, and a further Defer does not take that back."""
    world = waiting_for_b(Defer(10.0), min_active=60.0)
    world.ring("defer", "b")
    assert state(world.board) == Active("a")
    world.arrive("b")
    ask_again(world, Defer(10.0))
    assert ("defer", "b") not in world.alarms
    world.told()
    world.ring("min_active", "a")
    assert world.told() == ["prepare a->b"]


def test_a_defer_goes_on_while_others_are_switched_to() -> None:
    """Its time is over during the switch; afterwards it is as good as SwitchNow."""
    world = waiting_for_b(Defer(10.0))
    world.order("c")
    world.prepared()
    world.ring("defer", "b")
    world.leave(next(iter(world.inside)))
    world.hook_ends()
    world.told()
    world.hook_ends()
    assert world.told() == ["complete a->c", "settle ok", "prepare c->b"]


# ---- Skip ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("skip", "seconds"), [(None, 5.0), (0.25, 0.25), (0.0, 0.001)])
def test_a_skip_is_asked_again_after_its_time(skip: float | None, seconds: float) -> None:
    """Five seconds if it names none, and never at once: that would be a busy loop."""
    world = waiting_for_b(Skip(skip))
    assert world.alarms == {("ask", "b"): world.now + seconds}
    world.told()
    world.ring("ask", "b")
    world.end_turn()
    assert world.told() == ["ask b"]


def test_skip_strands_nobody() -> None:
    """A hundred times not now, then now."""
    world = waiting_for_b(Skip())
    for _ in range(100):
        world.ring("ask", "b")
        ask_again(world, Skip())
    world.ring("ask", "b")
    ask_again(world, SwitchNow())
    assert world.told()[-1] == "prepare a->b"


# ---- cool-down and orders --------------------------------------------------------------------


def test_a_cool_down_keeps_serving() -> None:
    """The active model admits until the drain begins (8.2)."""
    world = waiting_for_b(SwitchNow(), min_active=60.0)
    direct = world.arrive("a")
    assert direct in world.inside
    assert world.alarms == {("min_active", "a"): 61.0}
    world.told()
    world.ring("min_active", "a")
    assert world.told() == ["prepare a->b"]
    held = world.arrive("a")
    assert held in world.waiting


def test_a_cool_down_is_each_models_own() -> None:
    """One that has none is left at once."""
    world = World(LaneSettings("a", min_active=60.0), "b")
    world.wake("b")
    world.arrive("a")
    world.fifo()
    assert world.told()[-1] == "prepare b->a"


def test_an_order_switches_although_nobody_waits() -> None:
    """From idle and from another model, without asking (8.4)."""
    world = World("a", "b")
    first = world.order("a")
    assert world.told() == ["wake a"]
    world.hook_ends()
    assert world.told() == ["complete None->a", "settle ok"]
    assert world.settled == {first: None}
    world.order("b")
    assert world.told() == ["prepare a->b"]


def test_an_order_for_the_active_model_is_settled_at_once() -> None:
    """A no-op."""
    world = World("a")
    world.wake("a")
    world.told()
    world.order("a")
    assert world.told() == ["settle ok"]


def test_an_order_for_the_model_that_is_being_left_is_settled_when_it_stays() -> None:
    """The switch away is given up: the model is active again, as ordered."""
    world = World("a", "b")
    world.wake("a")
    wanted = world.arrive("b")
    world.fifo()
    world.order("a")
    world.told()
    world.leave(wanted)
    assert world.told() == ["settle ok"]


def test_an_order_waits_for_cool_down_and_rest() -> None:
    """Bounds hold for operators, too."""
    world = World("a", "b", min_active=60.0)
    world.leave(world.wake("a"))
    world.order("b")
    assert state(world.board) == Active("a")
    world.told()
    world.ring("min_active", "a")
    assert world.told() == ["prepare a->b"]
    world.prepared()
    world.hook_ends()
    world.hook_ends(ok=False)
    assert world.told()[-2:] == ["settle 500", "sleep b"]
    world.hook_ends()
    assert world.told()[-1] == "wake a", "the model that it took the accelerator from comes back"
    world.hook_ends()
    world.order("b")
    world.ring("min_active", "a")
    assert world.hook is None
    assert world.prepare is None
    world.ring("rest", "b")
    assert world.told()[-1] == "prepare a->b"


def test_a_withdrawn_order_is_a_reason_lost() -> None:
    """The drain for it is given up."""
    world = World("a", "b")
    world.wake("a")
    number = world.order("b")
    world.withdraw(number)
    assert state(world.board) == Active("a")
    assert world.settled == {}


# ---- what it is told -------------------------------------------------------------------------


def test_the_contexts_tell_what_the_contract_names() -> None:
    """Depths, ages, the active model and its time, and the cost of this very switch."""
    world = World("a", "b")
    world.leave(world.wake("b"))
    world.leave(world.wake("a"))
    world.wake("b")
    world.now = 20.0
    world.arrive("a")
    world.now = 23.0
    world.arrive("a")
    view = snapshot(world.board, world.now)
    told = policy_context(world.board, view, world.board.lanes["a"])
    assert (told.target_model, told.active_model) == ("a", "b")
    assert (told.target_queue_depth, told.oldest_waiting) == (2, 3.0)
    assert (told.active_in_flight, told.active_duration) == (1, 18.0)
    assert told.estimated_switch_cost == 2.0
    tick = schedule_context(world.board, view)
    assert (tick.active_model, tick.active_duration) == ("b", 18.0)
    assert tick.queue_depths == {"a": 2, "b": 0}
    assert tick.switch_costs == {"a": 2.0}, "only what was observed from the active model"
    assert view.phase == "active"
    assert view.models["a"].sum_wait == 3.0
    assert view.models["b"].started == (5.0,)


def test_a_view_has_each_number_in_its_own_field() -> None:
    """Each is different here, so that no two could change places unseen."""
    world = World(LaneSettings("a", priority=2.0, max_wait=500.0), "b")
    lane = world.board.lanes["a"]
    lane.rate_windows, lane.arrival_sums, lane.sums_at = (30.0,), (7.0,), 30.0
    lane.service_mean, lane.service_samples, lane.last_failure = 8.5, 9, 10.0
    lane.lulls.lengths, lane.lulls.begun = (11.0,), [12.0]
    world.board.costs.record_hook("a", "sleep", 13.0)
    world.board.costs.record_hook("a", "wake", 14.0)
    for world.now in (20.0, 22.0, 24.0):
        lane.queue(Ticket(lane, world.now))
    lane.last_arrival = 24.5
    lane.put_inside(Ticket(lane, 16.0), 17.0)
    told = snapshot(world.board, 30.0).models["a"]
    assert told == ModelView(
        name="a",
        phase="asleep",
        waiting=3,
        oldest_wait=10.0,
        sum_wait=24.0,
        weighted_waiting=6.0,
        weighted_sum_wait=48.0,
        urgency=20.0,
        in_flight=1,
        started=(17.0,),
        service_seconds=8.5,
        service_samples=9,
        arrivals=(7.0,),
        last_arrival=24.5,
        lulls=(11.0,),
        lull_since=12.0,
        sleep_seconds=13.0,
        wake_seconds=14.0,
        max_wait=500.0,
        priority=2.0,
        last_failure=10.0,
    )
    assert snapshot(world.board, 60.0).models["a"].arrivals[0] == pytest.approx(7.0 / e)
    assert snapshot(world.board, 90.0).models["a"].arrivals[0] == pytest.approx(7.0 / e**2)
    assert told.arrivals == (7.0,), "what was shown once stays as it was"
    with pytest.raises(AttributeError):
        told.waiting = 0  # type: ignore[misc]


def test_what_hooks_take_is_known_anew_as_soon_as_it_was_learned() -> None:
    costs = SwitchCostTracker()
    assert "a" not in costs.by_model
    costs.record_hook("a", "wake", 4.0)
    assert costs.by_model == {"a": (None, 4.0)}
    costs.restore({}, {("a", "sleep"): 2.0})
    assert costs.by_model == {"a": (2.0, 4.0)}
    assert costs.copy().by_model == costs.by_model
    costs.forget("a")
    assert not costs.by_model


def test_the_snapshot_follows_the_switch() -> None:
    """idle, waking, active, draining, sleeping, cleaning: whoever asks sees where it stands."""
    world = World("a", "b")
    phases = [snapshot(world.board, 0.0).phase]
    world.arrive("a")
    world.fifo()
    phases.append(snapshot(world.board, 0.0).phase)
    world.hook_ends()
    phases.append(snapshot(world.board, 0.0).phase)
    world.arrive("b")
    world.fifo()
    phases.append(snapshot(world.board, 0.0).phase)
    assert snapshot(world.board, 0.0).active is None
    assert snapshot(world.board, 0.0).target == "b"
    world.leave(next(iter(world.inside)))
    phases.append(snapshot(world.board, 0.0).phase)
    world.hook_ends()
    world.hook_ends(ok=False)
    phases.append(snapshot(world.board, 0.0).phase)
    assert phases == ["idle", "waking", "active", "draining", "sleeping", "cleaning"]
    assert snapshot(world.board, 9.0).models["b"].last_failure == world.now
