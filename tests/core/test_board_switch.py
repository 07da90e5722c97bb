"""Stories of one switch at the bare board: facts in, effects and news out."""

from __future__ import annotations

from llmux.core import events as ev
from llmux.core import news as n
from llmux.core.lane import LaneSettings, Phase
from llmux.core.ticket import GONE, Ticket
from llmux.core.view import Active, Idle, Switching, state
from llmux.errors import DrainingError, DrainTimeoutError
from llmux.policy.base import Defer, SwitchNow
from tests.core.world import World


def test_a_cold_start_asks_the_policy_wakes_and_admits() -> None:
    """The policy is asked at the end of the turn, once for all who came in it."""
    world = World("a", "b")
    world.arrive("a")
    world.arrive("a")
    assert world.told() == []
    world.end_turn()
    assert world.told() == ["ask a"]
    world.answer("a", SwitchNow(reason="because"))
    assert world.told() == ["wake a"]
    assert world.hook is not None
    assert (world.hook.source, world.hook.target, world.hook.reason) == (None, "a", "because")
    assert state(world.board) == Switching(None, "a")
    world.hook_ends(seconds=4.0)
    assert world.told() == ["complete None->a", "admit a1", "admit a2"]
    assert state(world.board) == Active("a")
    assert world.news == [
        n.SwitchStarted("idle", "a"),
        n.HookEnded("a", "wake", True, 0, 4.0, "", ""),
        n.ModelActivated("a", "idle", 4.0),
        n.CostLearned("idle", "a", 4.0),
    ]


def test_a_request_for_the_awake_model_costs_no_effect_and_no_news() -> None:
    """The awake path is bare."""
    world = World("a", "b")
    world.leave(world.wake("a"))
    news = len(world.news)
    world.told()
    ticket = world.arrive("a")
    assert world.board.leave(ticket, world.now) is False
    assert world.told() == []
    assert len(world.news) == news


def test_drain_then_sleep_then_wake() -> None:
    """The sleep hook waits for the last request inside and for the policy's preparation."""
    world = World("a", "b")
    first = world.wake("a")
    second = world.arrive("a")
    world.told()
    world.now = 10.0
    world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow())
    assert world.told() == ["ask b", "prepare a->b"]
    assert state(world.board) == Switching("a", "b")
    world.leave(first)
    world.prepared()
    assert world.told() == []
    world.now = 15.0
    world.leave(second)
    assert world.told() == ["sleep a"]
    world.hook_ends(seconds=2.0)
    assert world.told() == ["wake b"]
    world.hook_ends(seconds=3.0)
    assert world.told() == ["complete a->b", "admit b3"]
    assert n.DrainEnded("a", "b", 5.0) in world.news
    assert n.ModelDeactivated("a", 14.0) in world.news
    assert n.ModelActivated("b", "a", 10.0) in world.news
    assert n.CostLearned("a", "b", 5.0) in world.news, "the hooks alone"


def test_the_preparation_may_outlast_the_drain() -> None:
    """Only when both are over the model is put to sleep."""
    world = World("a", "b")
    ticket = world.wake("a")
    world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow())
    world.leave(ticket)
    assert world.hook is None
    world.prepared()
    assert world.told()[-1] == "sleep a"


def test_arrivals_during_the_drain_wait_and_go_later() -> None:
    """Nobody is admitted to a model that drains (I3)."""
    world = World("a", "b")
    inside = world.wake("a")
    world.arrive("b")
    world.fifo()
    late = world.arrive("a")
    assert late in world.waiting
    world.leave(inside)
    world.hook_ends()
    world.hook_ends()
    assert late in world.waiting
    world.fifo()
    world.leave(next(iter(world.inside)))
    world.hook_ends()
    world.hook_ends()
    assert late in world.inside


def test_an_abandoned_switch_admits_again_who_came_meanwhile() -> None:
    """As long as the sleep hook has not started, the old model goes on as if nothing were."""
    world = World("a", "b", min_active=0.0)
    world.wake("a")
    wanted = world.arrive("b")
    world.fifo()
    held = [world.arrive("a"), world.arrive("a")]
    world.told()
    world.leave(wanted)
    assert world.told() == ["admit a3", "admit a4"]
    assert all(one in world.inside for one in held)
    assert state(world.board) == Active("a")
    assert world.heard(n.SwitchAbandoned) == [n.SwitchAbandoned("a", "b")]
    assert world.heard(n.ModelDeactivated) == []
    assert world.alarms == {}


def test_an_abandoned_switch_drops_the_preparation() -> None:
    """Its end, should it come all the same, is a stale number."""
    world = World("a", "b")
    world.wake("a")
    wanted = world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow())
    number = world.prepare
    assert number is not None
    world.leave(wanted)
    assert world.prepare is None
    again = world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow())
    for ticket in list(world.inside):
        world.leave(ticket)
    world.told()
    world.tell(ev.PrepareEnded(number))
    assert world.told() == [], "the second switch waits for its own preparation"
    world.prepared()
    assert world.told() == ["sleep a"]
    assert again in world.waiting


def test_after_the_sleep_the_target_becomes_the_oldest_waiter() -> None:
    """Who was wanted has left while the sleep hook ran."""
    world = World("a", "b", "c", "d")
    world.leave(world.wake("a"))
    wanted = world.arrive("b")
    world.fifo()
    world.now += 1.0
    world.arrive("c")
    world.now += 1.0
    world.arrive("d")
    world.leave(wanted)
    world.told()
    assert world.hook is not None
    assert world.hook.hook == "sleep"
    world.hook_ends()
    assert world.told() == ["wake c"]
    assert world.heard(n.SwitchAbandoned) == [n.SwitchAbandoned("a", "b")]
    assert world.heard(n.SwitchStarted)[-1] == n.SwitchStarted("a", "c")


def test_a_switch_to_somebody_else_after_the_sleep_counts_from_its_own_start() -> None:
    """Its duration is its own; its cost is both hooks, as for anybody who goes from a to c."""
    world = World("a", "b", "c")
    world.leave(world.wake("a"))
    wanted = world.arrive("b")
    world.fifo()
    world.arrive("c")
    world.leave(wanted)
    world.hook_ends(seconds=3.0)
    world.hook_ends(seconds=4.0)
    assert world.heard(n.ModelActivated)[-1] == n.ModelActivated("c", "a", 4.0)
    assert world.heard(n.CostLearned)[-1] == n.CostLearned("a", "c", 7.0)


def test_a_model_that_is_wanted_again_after_its_sleep_comes_back_from_idle() -> None:
    """There is no switch from a to a."""
    world = World("a", "b")
    world.leave(world.wake("a"))
    wanted = world.arrive("b")
    world.fifo()
    world.arrive("a")
    world.leave(wanted)
    world.hook_ends(seconds=3.0)
    world.hook_ends(seconds=4.0)
    assert world.heard(n.SwitchAbandoned) == [n.SwitchAbandoned("a", "b")]
    assert world.heard(n.SwitchStarted)[-1] == n.SwitchStarted("idle", "a")
    assert world.heard(n.ModelActivated)[-1] == n.ModelActivated("a", "idle", 4.0)
    assert world.board.costs.estimate("a", "a") is None
    assert world.board.costs.estimate(None, "a") == 1.0 + 0.3 * (4.0 - 1.0)


def test_after_the_sleep_with_nobody_left_the_gateway_is_idle() -> None:
    """Nothing is woken for nobody (I6)."""
    world = World("a", "b")
    world.leave(world.wake("a"))
    wanted = world.arrive("b")
    world.fifo()
    world.leave(wanted)
    world.told()
    world.hook_ends()
    assert world.told() == []
    assert state(world.board) == Idle()
    assert world.board.active is None


def test_after_the_sleep_an_order_goes_before_the_oldest_waiter() -> None:
    """An operator's word comes first."""
    world = World("a", "b", "c")
    world.leave(world.wake("a"))
    wanted = world.arrive("b")
    world.fifo()
    world.arrive("a")
    world.order("c")
    world.leave(wanted)
    world.told()
    world.hook_ends()
    assert world.told() == ["wake c"]


def test_a_wake_that_runs_is_completed_for_nobody() -> None:
    """The last waiter leaves during the wake; the model is awake and nobody is inside."""
    world = World("a", "b")
    ticket = world.arrive("a")
    world.fifo()
    world.leave(ticket)
    world.hook_ends()
    assert state(world.board) == Active("a")
    assert world.inside == {}


def test_a_failed_sleep_goes_on_as_in_2_4_0() -> None:
    """It is told, and the model counts as asleep."""
    world = World("a", "b")
    world.leave(world.wake("a"))
    world.arrive("b")
    world.fifo()
    world.told()
    world.hook_ends(ok=False)
    assert world.told() == ["wake b"]
    assert world.heard(n.SleepHookFailed) == [n.SleepHookFailed("a", "b", "exit code 1")]
    world.hook_ends()
    assert state(world.board) == Active("b")


def test_a_failed_wake_cleans_up_rejects_its_waiters_only_and_rests() -> None:
    """Others go on at once; the broken model is woken again after two seconds."""
    world = World("a", "b")
    world.arrive("a")
    world.fifo()
    other = world.arrive("b")
    world.told()
    world.hook_ends(ok=False)
    assert world.told() == ["reject a1 500", "sleep a"]
    world.arrive("a")
    world.hook_ends()
    assert world.board.lanes["a"].phase is Phase.ASLEEP
    assert world.alarms == {("rest", "a"): world.now + 2.0}
    world.fifo()
    assert world.told() == ["reject a3 503", "ask b", "wake b"], "nobody asks about a meanwhile"
    world.hook_ends()
    assert other in world.inside
    world.leave(other)
    early = world.arrive("a")
    assert world.ended[early] == "refused"
    world.ring("rest", "a")
    world.wake("a")
    assert n.SwitchFailed("a", "idle", "exit code 1") in world.news


def test_a_cleanup_that_fails_changes_nothing() -> None:
    """Nobody is quarantined for it."""
    world = World("a")
    world.arrive("a")
    world.fifo()
    world.hook_ends(ok=False)
    world.hook_ends(ok=False)
    assert world.board.lanes["a"].phase is Phase.ASLEEP
    assert world.heard(n.SleepHookFailed) == []
    assert world.heard(n.ModelAsleep) == [n.ModelAsleep("a")]


def test_a_timed_out_request_leaves_at_once() -> None:
    """It is told 504, counts no more, and its switch is not started (8.3)."""
    world = World("a", "b", request_timeout=30.0, min_active=60.0)
    world.leave(world.wake("a"))
    late = world.arrive("b")
    world.fifo()
    world.told()
    world.ring("deadline", late)
    assert world.told() == ["reject b2 504"]
    assert world.board.waiting_total == 0
    assert world.heard(n.RequestTimedOut) == [n.RequestTimedOut("b", 30.0)]
    world.ring("min_active", "a")
    assert world.hook is None
    assert state(world.board) == Active("a")


def test_the_deadline_counts_from_the_arrival() -> None:
    """Also where the ticket takes its place in the queue later than it was made."""
    world = World("a", request_timeout=30.0)
    ticket = Ticket(world.board.lane("a"), 5.0)
    world.labels[ticket] = "late"
    world.waiting[ticket] = "a"
    world.now = 12.0
    world.tell(ev.RequestWaits(ticket))
    assert world.alarms == {("deadline", ticket): 35.0}


def test_a_deadline_is_forgotten_with_the_admission() -> None:
    """No alarm rings for somebody who is inside."""
    world = World("a", request_timeout=30.0)
    world.wake("a")
    assert world.alarms == {}


def test_leaving_twice_counts_once() -> None:
    """One exit, harmless when said again, whatever the first one was."""
    world = World("a", "b", request_timeout=30.0)
    inside, other = world.wake("a"), world.arrive("a")
    world.leave(inside)
    world.leave(inside)
    assert set(world.board.lanes["a"].inside) == {other}
    waiting = world.arrive("b")
    world.leave(waiting)
    world.leave(waiting)
    assert world.board.waiting_total == 0
    late = world.arrive("b")
    world.ring("deadline", late)
    world.leave(late)
    assert late.stage == GONE
    never = Ticket(world.board.lane("a"), 0.0)
    world.leave(never)
    assert len(world.board.lanes["a"].inside) == 1


def test_a_drain_that_reaches_its_bound_is_cut() -> None:
    """Those inside are counted out and told; the sleep hook runs."""
    world = World("a", "b", drain_timeout=20.0)
    inside = world.wake("a")
    world.arrive("b")
    world.fifo()
    world.told()
    world.ring("drain", "a")
    assert world.told() == ["cut a1", "sleep a"]
    assert world.heard(n.DrainCut) == [n.DrainCut("a", 1)]
    world.leave(inside)
    world.hook_ends()
    world.hook_ends()
    assert state(world.board) == Active("b")


def test_the_bound_of_a_drain_bounds_the_preparation_too() -> None:
    """A `prepare_switch` that hangs is dropped at the same moment."""
    world = World("a", "b", drain_timeout=20.0)
    world.leave(world.wake("a"))
    world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow())
    world.ring("drain", "a")
    assert world.told()[-2:] == ["prepare a->b", "sleep a"]
    assert world.prepare is None
    assert world.heard(n.DrainCut) == []


def test_a_drain_that_ends_in_time_forgets_its_bound() -> None:
    """The alarm would cut the next drain otherwise."""
    world = World("a", "b", drain_timeout=20.0)
    world.leave(world.wake("a"))
    world.arrive("b")
    world.fifo()
    assert ("drain", "a") not in world.alarms


def test_without_the_drain_the_sleep_hook_does_not_wait() -> None:
    """Nor does the bound cut anybody who was not waited for."""
    world = World(LaneSettings("a", drain_before_switch=False, drain_timeout=20.0), "b")
    inside = world.wake("a")
    world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow())
    world.ring("drain", "a")
    assert world.told()[-1] == "sleep a"
    assert inside in world.inside
    world.hook_ends()
    world.hook_ends()
    world.leave(inside)
    assert world.board.lanes["a"].inside == {}


def test_closing_refuses_the_waiting_and_the_coming_and_keeps_the_inside() -> None:
    """A drain is given up; whoever is served is served to the end."""
    world = World("a", "b")
    inside = world.wake("a")
    world.arrive("b")
    number = world.order("b")
    world.fifo()
    world.told()
    world.close()
    assert world.told() == ["reject b2 503", "settle 503"]
    assert isinstance(world.settled[number], DrainingError)
    assert inside in world.inside
    late = world.arrive("a")
    assert world.ended[late] == "refused"
    later = world.arrive_by_event("b")
    assert world.ended[later] == "rejected 503"
    refused = world.order("b")
    assert isinstance(world.settled[refused], DrainingError)
    world.leave(inside)
    assert world.hook is None


def test_closing_during_the_sleep_hook_wakes_nobody() -> None:
    """The hook that runs is let run, and then it is quiet."""
    world = World("a", "b")
    world.leave(world.wake("a"))
    world.arrive("b")
    world.fifo()
    world.close()
    world.told()
    world.hook_ends()
    assert world.told() == []
    assert state(world.board) == Idle()


def test_the_ticket_knows_from_whom_the_gateway_switched() -> None:
    """For the headers of those who waited; who came to an awake model knows nothing."""
    world = World("a", "b")
    cold = world.wake("a")
    assert cold.switched_from == "idle"
    direct = world.arrive("a")
    assert direct.switched_from is None
    world.leave(cold)
    world.leave(direct)
    assert world.wake("b").switched_from == "a"


def test_a_reason_is_not_told_for_a_later_switch() -> None:
    """An order is an order, whatever the policy once said of that model."""
    world = World("a", "b")
    world.leave(world.wake("b"))
    world.leave(world.wake("a"))
    ticket = world.arrive("b")
    world.end_turn()
    world.answer("b", Defer(60.0, reason="the policy's word"))
    world.leave(ticket)
    world.order("b")
    world.prepared()
    world.hook_ends()
    assert world.hook is not None
    assert world.hook.reason == "ordered"


def test_cut_names_the_bound() -> None:
    """What the client of a cut answer is told names model and seconds."""
    world = World("a", "b", drain_timeout=7.5)
    ticket = world.wake("a")
    errors: list[object] = []
    ticket.on_cut = errors.append
    world.arrive("b")
    world.fifo()
    effects = world.board.handle(ev.AlarmRang(("drain", "a")), world.now)
    error = getattr(effects[0], "error", None)
    assert isinstance(error, DrainTimeoutError)
    assert "7.5 s" in error.message
    assert "b" in error.message


def test_the_board_says_what_it_does() -> None:
    """A `repr` that reads like a line of a log."""
    world = World("a", "b")
    assert repr(world.board) == "<Switchboard idle>"
    world.wake("a")
    world.arrive("b")
    assert repr(world.board) == (
        "<Switchboard a awake | a 0 waiting 1 inside | b 1 waiting 0 inside>"
    )
    world.fifo()
    assert "a->b draining" in repr(world.board)
    assert repr(world.board.lanes["a"]) == "<Lane a draining | 0 waiting | 1 inside>"


def test_a_stale_hook_counts_for_nothing() -> None:
    """Only the hook that the board waits for can end a stage, with the number that it was given."""
    world = World("a", "b")
    world.leave(world.wake("a"))
    world.arrive("b")
    world.fifo()
    assert world.hook is not None
    sleep = world.hook.number
    world.told()
    for number in (0, sleep - 1, sleep + 1):
        world.tell(ev.HookEnded(number, True, 1.0))
    assert world.told() == []
    world.hook_ends()
    world.told()
    world.tell(ev.HookEnded(sleep, True, 1.0))
    assert world.told() == []
    assert state(world.board) == Switching("a", "b")
