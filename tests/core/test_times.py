"""Where the accelerator's time went, in stretches that are given by hand."""

from __future__ import annotations

import pytest

from llmux.core.times import Spent, Times
from tests.core.world import World


def test_before_anything_began_nothing_was_spent() -> None:
    assert Times().spent() == Spent(0.0, 0.0, 0.0, {}, {})


def test_answers_that_overlap_are_counted_once_and_gaps_are_idle() -> None:
    """In flight from 0 to 4 and from 6 to 7 s: five seconds, whoever left first."""
    world = World("a")
    first = world.arrive("a")
    world.fifo()
    world.hook_ends(seconds=0.0)
    second, third = world.arrive("a"), world.arrive("a")
    for now, ticket in ((1.0, second), (3.0, third), (4.0, first)):
        world.now = now
        world.leave(ticket)
    world.now = 6.0
    last = world.arrive("a")
    world.now = 7.0
    world.leave(last)
    world.now = 10.0
    world.board.fold(world.now)
    assert world.board.times.spent() == Spent(5.0, 0.0, 5.0, {"a": 5.0}, {})


def test_a_look_in_the_middle_changes_nothing() -> None:
    """Whoever is still inside is counted so far, and goes on being counted."""
    world = World("a")
    ticket = world.arrive("a")
    world.fifo()
    world.hook_ends(seconds=2.0)
    for now in (2.5, 2.5, 3.0):
        world.now = now
        world.board.fold(now)
        assert world.board.times.spent().serving == now - 2.0
    world.now = 4.0
    world.leave(ticket)
    world.now = 5.0
    world.board.fold(world.now)
    assert world.board.times.spent() == Spent(2.0, 2.0, 1.0, {"a": 2.0}, {"a": 2.0})


def test_an_answer_that_runs_beside_a_hook_is_not_counted_twice() -> None:
    """Without a drain the old model answers while it is put to sleep: that is switching."""
    world = World("a", "b", drain_before_switch=False)
    ticket = world.wake("a")
    world.now = 5.0
    wanted = world.arrive("b")
    world.fifo()
    world.hook_ends(seconds=2.0)
    world.hook_ends(seconds=3.0)
    world.now = 12.0
    world.leave(ticket)
    world.leave(wanted)
    world.board.fold(world.now)
    spent = world.board.times.spent()
    assert (spent.serving, spent.switching, spent.idle) == (6.0, 6.0, 0.0)
    assert spent.switching_by_model == {"a": 3.0, "b": 3.0}
    assert spent.serving_by_model == {"a": 4.0, "b": 2.0}, "a dead backend serves nobody"


def test_whoever_is_cut_has_been_served_until_then() -> None:
    world = World("a", "b", drain_timeout=4.0)
    world.wake("a")
    world.now = 3.0
    world.arrive("b")
    world.fifo()
    world.ring("drain", "a")
    world.hook_ends(seconds=1.0)
    world.hook_ends(seconds=1.0)
    world.board.fold(world.now)
    assert world.board.times.spent().serving_by_model["a"] == pytest.approx(world.now - 3.0)
