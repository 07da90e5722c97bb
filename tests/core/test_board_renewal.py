"""Stories of a config that is read anew under a running board."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmux.core import events as ev
from llmux.core import news as n
from llmux.core.lane import LaneSettings, Phase
from llmux.errors import NotRegisteredError
from llmux.policy.base import Defer, SwitchNow
from tests.core.test_board_life import awake
from tests.core.world import World

A, B, C = (LaneSettings(name) for name in "abc")


# ---- nothing that has not changed notices -------------------------------------------------------


def test_the_same_config_again_changes_nothing() -> None:
    """Who is inside stays inside, who waits keeps place and switch."""
    world = World("a", "b")
    inside = world.wake("a")
    waiting = world.arrive("b")
    world.fifo()
    world.told()
    before = world.form()
    world.reload(A, B)
    world.fifo()
    assert world.told() == []
    assert world.form() == before
    assert inside in world.inside
    assert waiting in world.waiting


# ---- models that come ---------------------------------------------------------------------------


def test_a_new_model_can_be_asked_for_at_once() -> None:
    """It is asleep, and takes its turn like every other."""
    world = awake("a", "a")
    world.reload(A, B)
    ticket = world.wake("b")
    assert ticket in world.inside
    assert list(world.board.lanes) == ["a", "b"]


def test_a_new_model_that_is_awake_where_nothing_else_is_goes_on_serving() -> None:
    """Somebody had started it by hand: it is adopted, as at the start."""
    world = World("a")
    world.reload(A, B, awake="b")
    assert world.heard(n.Adopted) == [n.Adopted("b")]
    assert world.arrive("b") in world.inside


def test_a_new_model_that_is_awake_beside_another_is_put_to_sleep() -> None:
    """The one that serves is not touched."""
    world = World("a")
    ticket = world.wake("a")
    world.told()
    world.reload(A, B, awake="b")
    assert world.told() == ["sleep b"]
    world.hook_ends()
    assert ticket in world.inside
    assert world.board.lanes["b"].phase is Phase.ASLEEP


def test_a_new_model_that_may_be_awake_bars_a_switch_that_runs_until_it_sleeps() -> None:
    """The old one has gone to sleep already: its successor waits, and is not woken beside it."""
    world = World("a", "b")
    world.leave(world.wake("a"))
    ticket = world.arrive("b")
    world.fifo()
    assert world.told()[-1] == "sleep a"
    world.reload(A, B, C, unclear="c")
    world.hook_ends()
    assert world.told() == [], "b is not woken beside c"
    world.ring("stuck", "c")
    assert world.told() == ["sleep c"]
    world.hook_ends()
    world.fifo()
    world.hook_ends()
    assert ticket in world.inside


# ---- models that go -----------------------------------------------------------------------------


def test_a_model_that_sleeps_is_gone_at_once_and_who_waits_for_it_is_told() -> None:
    """The error says why; an order hears the same; a request that comes later finds no model."""
    world = World("a", "b")
    world.wake("a")
    waiting = world.arrive("b")
    number = world.order("b")
    world.reload(A)
    assert world.ended[waiting] == "rejected 404"
    assert isinstance(world.settled[number], NotRegisteredError)
    assert "taken out of the config" in str(world.settled[number])
    assert list(world.board.lanes) == ["a"]
    with pytest.raises(NotRegisteredError):
        world.arrive("b")


def test_an_answer_of_a_model_that_goes_ends_first_then_its_sleep_hook_runs() -> None:
    """Nobody new is admitted meanwhile, and nobody else is woken beside it."""
    world = World("a", "b")
    inside = world.wake("a")
    world.told()
    world.reload(B)
    with pytest.raises(NotRegisteredError):
        world.arrive("a")
    waiting = world.arrive("b")
    world.fifo()
    assert inside in world.inside
    assert world.told() == []
    world.leave(inside)
    assert world.told() == ["sleep a"]
    assert world.hook is not None
    assert world.hook.reason == "it was taken out of the config"
    world.hook_ends()
    assert world.told() == ["forget a"]
    assert world.heard(n.ModelRemoved) == [n.ModelRemoved("a")]
    world.fifo()
    world.hook_ends()
    assert waiting in world.inside


def test_the_drain_of_a_model_that_goes_has_the_bound_of_every_drain() -> None:
    """An answer without an end is cut, and told why."""
    world = World("a", drain_timeout=10.0)
    inside = world.wake("a")
    world.reload(B)
    world.ring("drain", "a")
    assert world.ended[inside] == "cut"
    assert world.told()[-1] == "sleep a"


def test_a_model_that_goes_during_its_wake_is_woken_to_the_end_and_put_to_sleep() -> None:
    """A wake that runs is completed; nobody is admitted after it."""
    world = World("a", "b")
    ticket = world.arrive("a")
    world.fifo()
    assert world.told()[-1] == "wake a"
    world.reload(B)
    assert world.ended[ticket] == "rejected 404"
    world.hook_ends()
    assert world.told()[-1] == "sleep a"
    world.hook_ends()
    assert list(world.board.lanes) == ["b"]


def test_a_model_that_goes_is_not_brought_back_after_a_failed_wake() -> None:
    """It would have been the previous one that is restored."""
    world = World("a", "b")
    world.leave(world.wake("a"))
    world.arrive("b")
    world.fifo()
    world.hook_ends()
    assert world.told()[-1] == "wake b"
    world.reload(B)
    world.hook_ends(ok=False)
    world.hook_ends()
    world.fifo()
    assert world.told()[-2:] == ["sleep b", "forget a"]


def test_a_model_that_goes_and_will_not_sleep_keeps_its_place() -> None:
    """Nothing is woken beside it; it is tried again, and goes when it sleeps."""
    world = World("a", "b")
    world.leave(world.wake("a"))
    world.reload(B)
    world.hook_ends(ok=False, left="unclear")
    world.arrive("b")
    world.fifo()
    assert world.hook is None
    world.recovers("a")
    assert world.board.lanes["a"].phase is Phase.QUARANTINED, "it does not serve again"
    world.ring("stuck", "a")
    world.hook_ends()
    world.fifo()
    assert world.told()[-2:] == ["forget a", "wake b"]


def test_a_model_that_comes_back_before_its_last_answer_ends_serves_on() -> None:
    """Read twice in a row, the config is as it was: nothing is put to sleep."""
    world = World("a", "b")
    inside = world.wake("a")
    world.reload(B)
    world.reload(A, B)
    assert inside in world.inside
    assert world.arrive("a") in world.inside
    assert "sleep a" not in world.told()


# ---- models that change -------------------------------------------------------------------------


def test_new_hooks_of_a_model_that_sleeps_hold_at_once() -> None:
    """Its failures with the old ones are forgiven: it need not wait for its breaker."""
    world = World("a")
    world.arrive("a")
    world.fifo()
    world.hook_ends(ok=False)
    world.hook_ends()
    assert world.board.lanes["a"].resting
    world.told()
    world.reload(A, renewed="a")
    assert world.told() == ["renew a"]
    assert world.heard(n.ModelRenewed) == [n.ModelRenewed("a")]
    assert world.wake("a") in world.inside


def test_new_hooks_of_a_model_that_serves_hold_after_its_old_ones_put_it_to_sleep() -> None:
    """Its answers end first; who comes meanwhile waits for the next wake, by the new hooks."""
    world = World("a", "b")
    inside = world.wake("a")
    world.told()
    world.reload(A, B, renewed="a")
    waiting = world.arrive("a")
    world.fifo()
    assert world.told() == []
    world.leave(inside)
    assert world.told() == ["sleep a"]
    world.hook_ends()
    world.fifo()
    assert world.told() == ["renew a", "ask a", "wake a"]
    world.hook_ends()
    assert waiting in world.inside


def test_new_hooks_that_come_during_a_switch_to_the_model_hold_for_its_wake() -> None:
    """It is still asleep: nothing of the old is up."""
    world = World("a", "b")
    world.leave(world.wake("a"))
    world.arrive("b")
    world.fifo()
    world.reload(A, B, renewed="b")
    assert world.told()[-1] == "renew b"
    world.hook_ends()
    assert world.told() == ["wake b"]


def test_one_that_will_not_sleep_for_its_new_hooks_serves_on_and_is_tried_again() -> None:
    """People notice nothing; after the breaker's time the old hook is tried once more."""
    world = awake("a", "a")
    world.reload(A, renewed="a")
    world.hook_ends(ok=False, left="awake")
    assert world.arrive("a") in world.inside
    world.ring("stuck", "a")
    world.leave(next(iter(world.inside)))
    world.hook_ends()
    assert world.told()[-2:] == ["sleep a", "renew a"]


def test_a_mended_sleep_hook_is_tried_at_once_on_a_model_in_quarantine() -> None:
    """The old one has failed; waiting for it to succeed would be waiting for ever."""
    world = awake("a", "a", "b")
    ticket = world.arrive("b")
    world.fifo()
    world.hook_ends(ok=False, left="unclear")
    assert world.board.lanes["a"].phase is Phase.QUARANTINED
    world.told()
    world.reload(A, B, mended="a")
    assert world.told() == ["renew a", "sleep a"]
    world.hook_ends()
    world.fifo()
    world.hook_ends()
    assert ticket in world.inside


def test_a_gateway_that_stops_changes_nothing_any_more() -> None:
    """A drain for the config's sake is given up, and a later config is not heard."""
    world = World("a", "b")
    inside = world.wake("a")
    world.reload(B)
    world.close()
    world.leave(inside)
    assert "sleep a" not in world.told()
    world.reload(A, B, C)
    assert "c" not in world.board.lanes


# ---- settings -----------------------------------------------------------------------------------


def test_a_new_deadline_counts_from_the_arrival_of_those_who_wait() -> None:
    """It may be set, moved and lifted; one that is over already rings at once."""
    world = World("a", "b")
    world.wake("a")
    ticket = world.arrive("b")
    assert ticket.arrived == 1.0
    world.now = 5.0
    world.reload(A, replace(B, request_timeout=30.0))
    assert world.alarms["deadline", ticket] == 31.0
    world.reload(A, replace(B, request_timeout=2.0))
    assert world.alarms["deadline", ticket] == 5.0
    world.reload(A, B)
    assert ("deadline", ticket) not in world.alarms


def test_a_higher_limit_lets_more_in_and_a_lower_one_throws_nobody_out() -> None:
    """`max_in_flight` holds for those who come."""
    world = World(replace(A, max_in_flight=1))
    first = world.wake("a")
    second = world.arrive("a")
    world.reload(replace(A, max_in_flight=2))
    assert second in world.inside
    world.reload(replace(A, max_in_flight=1))
    third = world.arrive("a")
    world.leave(first)
    assert third in world.waiting
    world.leave(second)
    assert third in world.inside


def test_whom_a_higher_limit_has_room_for_is_inside_before_the_model_is_left() -> None:
    """The same config removes the model that a switch to another still waited to hear about."""
    world = World(replace(A, max_in_flight=1), B, C)
    world.wake("a")
    second = world.arrive("a")
    world.arrive("b")
    world.arrive("c")
    world.end_turn()
    world.answer("b", SwitchNow())
    assert "c" in world.consults, "nothing begins before the policy has answered for c"
    world.reload(A, B)
    assert world.started == ("a", "b")
    assert second in world.inside


def test_a_drain_that_runs_gets_the_new_bound() -> None:
    """Counted from its begin; a bound that is lifted does not ring."""
    world = World("a", "b", drain_timeout=600.0)
    world.wake("a")
    world.arrive("b")
    world.fifo()
    world.now = 10.0
    world.reload(replace(A, drain_timeout=15.0), B)
    assert world.alarms["drain", "a"] == 16.0, "it began at 1.0"
    world.reload(replace(A, drain_timeout=None), B)
    assert ("drain", "a") not in world.alarms


def test_a_new_bound_on_waiting_holds_for_those_who_wait() -> None:
    """Who is overdue by it goes first."""
    world = World("a", "b")
    world.wake("a")
    ticket = world.arrive("b")
    world.now = 9.0
    world.reload(A, replace(B, max_wait=10.0))
    assert world.alarms["overdue", "b"] == 11.0, "it came at 1.0"
    world.ring("overdue", "b")
    world.reload(A, replace(B, max_wait=20.0))
    assert not world.board.lanes["b"].overdue
    assert ticket in world.waiting


# ---- the policy ---------------------------------------------------------------------------------


def test_a_new_policy_is_asked_about_everybody_who_waits() -> None:
    """What the old one has answered, or answers now, does not count any more."""
    world = World("a", "b", "c")
    world.wake("a")
    world.arrive("b")
    world.arrive("c")
    world.end_turn()
    world.answer("b", Defer(60.0))
    number = world.consults["c"]
    world.told()
    world.reload(A, B, C, policy=True)
    assert ("defer", "b") not in world.alarms
    world.tell(ev.PolicyAnswered("c", number, SwitchNow()))
    assert world.told() == []
    world.end_turn()
    assert world.told() == ["ask b", "ask c"]
    assert world.board.lanes["a"].rate_windows == (1.0, 10.0)
