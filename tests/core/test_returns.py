"""Stories of callers who come back: how long they stay away, and what a policy sees of it."""

from __future__ import annotations

from llmux.core import events as ev
from llmux.core.returns import FORGOTTEN, KEPT, MOST_AWAY, Returns
from llmux.core.view import snapshot
from llmux.policy.base import ModelView
from tests.core.world import World


def arrivals(*times: float) -> list[tuple[float, float]]:
    return [(when, 1.0) for when in times]


def test_each_arrival_is_the_return_of_whoever_has_been_away_longest() -> None:
    back = Returns()
    back.expect(10.0, 1.0)
    back.expect(11.0, 1.0)
    back.expect(12.0, 1.0)
    back.read_arrivals(arrivals(9.0, 10.5, 13.0))  # the first came before anybody had left
    assert back.absences == (0.5, 2.0)
    assert back.away == [(12.0, 1.0)]


def test_a_return_is_read_once() -> None:
    back = Returns()
    back.expect(12.0, 1.0)
    back.read_arrivals(arrivals(12.25, 20.0))
    assert back.absences == (0.25,)
    assert not back.away


def test_an_arrival_ends_no_absence_that_begins_after_it() -> None:
    back = Returns()
    back.expect(10.0, 1.0)
    back.expect(15.0, 1.0)
    back.read_arrivals(arrivals(11.0, 12.0))
    assert (back.absences, back.away) == ((1.0,), [(15.0, 1.0)])


def test_only_the_latest_are_kept_and_awaited() -> None:
    back = Returns()
    for number in range(MOST_AWAY + 3):
        back.expect(float(number), 1.0)
    assert back.away == [(float(number), 1.0) for number in range(3, MOST_AWAY + 3)]
    back.read_arrivals(arrivals(*(100.0 + number for number in range(MOST_AWAY))))
    assert len(back.absences) == KEPT


def test_who_never_comes_back_is_forgotten_and_counts_as_away_for_long() -> None:
    back = Returns()
    back.expect(0.0, 1.0)
    back.expect(50.0, 1.0)
    back.forget(FORGOTTEN + 1.0)
    assert (back.absences, back.away) == ((FORGOTTEN,), [(50.0, 1.0)])


def test_a_copy_learns_by_itself() -> None:
    back = Returns()
    back.expect(1.0, 1.0)
    twin = back.copy()
    twin.read_arrivals(arrivals(2.0))
    assert (back.away, back.absences) == ([(1.0, 1.0)], ())
    assert (twin.away, twin.absences) == ([], (1.0,))


def seen(world: World, model: str = "a") -> ModelView:
    return snapshot(world.board, world.now).models[model]


def learning() -> World:
    world = World("a", "b")
    for lane in world.board.lanes.values():
        lane.rate_windows, lane.arrival_sums = (30.0,), (0.0,)
    return world


def test_a_policy_sees_who_is_away_and_how_long_others_were() -> None:
    world = learning()
    ticket = world.wake("a")
    world.tell(ev.Returning(ticket))
    left = world.now
    world.leave(ticket)
    assert seen(world).away == ((left, 1.0),)
    world.now = left + 1.5
    other = world.arrive("a")
    absences = (world.now - left,)
    assert (seen(world).away, seen(world).absences) == ((), absences)
    other.weight = 3.0  # its client has a priority of its own
    world.tell(ev.Returning(other))
    world.leave(other)
    assert [weight for _, weight in seen(world).away] == [3.0]
    world.now += FORGOTTEN + 1.0
    assert (seen(world).away, seen(world).absences) == ((), (*absences, FORGOTTEN))


def test_a_board_that_learns_no_arrivals_awaits_nobody() -> None:
    world = World("a", "b")
    ticket = world.wake("a")
    world.tell(ev.Returning(ticket))
    world.leave(ticket)
    assert seen(world).away == ()
