"""A client says which model it asks for next: that is followed where it costs nobody anything."""

from __future__ import annotations

import pytest

from llmux.core.hints import LOOKS
from llmux.core.sentences import decision, sentence
from llmux.policy.base import Skip, SwitchNow
from tests.core.world import World


def served(model: str = "a") -> World:
    """A world in which a request for the model was just answered and nobody waits."""
    world = World("a", "b", "c", hint_secs=2.0)
    world.leave(world.wake(model))
    world.told()
    return world


def test_the_announced_model_is_woken_before_anybody_asks_for_it() -> None:
    world = served()
    world.announce("b")
    world.fifo()
    world.hook_ends()
    world.hook_ends()
    assert world.board.active is world.board.lanes["b"]
    ticket = world.arrive("b")
    assert ticket in world.inside
    assert not world.alarms


def test_its_switch_says_why() -> None:
    world = served()
    world.announce("b")
    world.fifo()
    ruling = world.board.rulings.last["b"]
    assert decision(ruling) == "switch"
    assert sentence(ruling).startswith("left a for b: a client has announced")
    world.hook_ends()
    assert world.hook is not None and world.hook.reason == "announced"


def test_whoever_waits_goes_before_it() -> None:
    world = served()
    world.arrive("c")
    world.announce("b")
    world.fifo()
    assert world.started == ("a", "c")


def test_whoever_is_served_is_not_left_for_it_until_the_answer_has_ended() -> None:
    world = served()
    ticket = world.arrive("a")
    world.announce("b")
    world.fifo()
    assert world.started is None
    world.leave(ticket)
    world.ring("hint", "b")
    world.fifo()
    assert world.started == ("a", "b")


@pytest.mark.parametrize("comes", ["a", "c"])
def test_whoever_comes_while_it_is_brought_about_is_served_first(comes: str) -> None:
    """The old model sleeps already: then the one who waits decides who is woken."""
    world = served()
    world.announce("b")
    world.fifo()
    assert world.hook is not None and world.hook.hook == "sleep"
    world.arrive(comes)
    world.hook_ends()
    assert world.hook is not None and (world.hook.hook, world.hook.model) == ("wake", comes)


def test_it_expires() -> None:
    world = served()
    world.announce("b")
    world.end_turn()
    world.answer("b", Skip(9.0))
    for _ in range(LOOKS):
        assert world.board.hints
        world.ring("hint", "b")
    assert not world.board.hints and not world.alarms
    world.end_turn()
    assert world.started is None and not world.consults


def test_the_policy_may_say_no_and_is_asked_again_while_it_lasts() -> None:
    world = served()
    world.announce("b")
    world.end_turn()
    world.answer("b", Skip(9.0))
    assert world.started is None
    world.ring("hint", "b")
    world.end_turn()
    world.answer("b", SwitchNow())
    assert world.started == ("a", "b")


def test_a_policy_without_hints_is_not_asked() -> None:
    world = World("a", "b")
    world.leave(world.wake("a"))
    world.announce("b")
    assert not world.turn and not world.alarms


def test_what_is_awake_already_or_not_there_need_not_be_announced() -> None:
    world = served()
    world.announce("a")
    world.announce("nobody")
    assert not world.turn and not world.alarms


def test_a_wake_that_fails_ends_it() -> None:
    world = served()
    world.announce("b")
    world.fifo()
    world.hook_ends()
    world.hook_ends(ok=False)
    assert not world.board.hints


def test_a_new_policy_that_listens_to_none_is_not_asked_about_an_old_one() -> None:
    """It could not know what to make of a model that nobody waits for."""
    world = served()
    world.announce("b")
    models = [lane.settings for lane in world.board.lanes.values()]
    world.reload(*models, policy=True, hint_secs=None)
    world.end_turn()
    assert not world.consults and not world.alarms


def test_what_was_said_of_a_hint_does_not_count_for_somebody_who_comes() -> None:
    """It was said when nobody was served; now somebody is, and the policy is asked anew."""
    world = World("a", "b", min_active=3.0, hint_secs=2.0)
    world.leave(world.wake("a"))
    world.announce("b")
    world.fifo()
    assert world.started is None, "a is held for its cool-down"
    world.arrive("a")
    world.ring("min_active", "a")
    world.arrive("b")
    assert world.started is None
    world.fifo()
    assert world.started == ("a", "b")


def test_a_switch_that_only_a_hint_wants_does_not_go_on_under_those_who_are_served() -> None:
    """It began for somebody who has left since: then the model that drains serves on."""
    world = World("a", "b", hint_secs=2.0)
    first = world.wake("a")
    second = world.arrive("a")
    waiter = world.arrive("b")
    world.fifo()
    world.leave(first)
    world.announce("b")
    world.leave(waiter)
    assert world.board.active is world.board.lanes["a"]
    assert second in world.inside
    assert world.arrive("a") in world.inside
