"""Stories of free rides: who is still admitted while the old model drains, and who is not."""

from __future__ import annotations

from llmux.core import events as ev
from llmux.core.lane import LaneSettings
from llmux.core.ride import Pace
from llmux.core.ticket import Ticket
from llmux.policy.base import SwitchNow
from tests.core.world import World


class Sized(Ticket):
    """A request whose client allows so many tokens; each takes a tenth of a second."""

    __slots__ = ("tokens",)

    tokens: int | None

    def most_tokens(self) -> int | None:
        return self.tokens


def sized(world: World, model: str, tokens: int | None) -> Ticket:
    ticket = Sized(world.board.lane(model), world.now)
    ticket.tokens = tokens
    world.numbers += 1
    world.labels[ticket] = f"{model}{world.numbers}"
    if world.board.enter(ticket, world.now):
        world.inside[ticket] = model
    else:
        world.waiting[ticket] = model
        world.tell(ev.RequestWaits(ticket))
    world.check()
    return ticket


def draining(*models: LaneSettings, free_ride: bool = True, tokens: int | None = 100) -> World:
    """a drains for b; the one request inside has been running for 2 s and may take 10 s."""
    world = World(*(models or (LaneSettings("a"), LaneSettings("b"))))
    world.leave(world.wake("a"))
    sized(world, "a", tokens)
    world.board.lanes["a"].pace = Pace(usual=0.1, slowest=0.1)
    world.now += 2.0
    world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow(free_ride=free_ride))
    world.prepared()
    assert world.board.plan is not None
    return world


def test_whoever_is_answered_before_the_drain_ends_rides_free() -> None:
    world = draining()
    assert sized(world, "a", 70) in world.inside
    assert world.hook is None


def test_the_sleep_hook_waits_for_the_rider_also_where_the_guess_was_wrong() -> None:
    world = draining()
    first = next(iter(world.inside))
    rider = sized(world, "a", 70)
    world.leave(first)
    assert world.hook is None
    world.leave(rider)
    assert world.hook is not None


def test_whoever_would_make_the_drain_longer_waits() -> None:
    world = draining()
    assert sized(world, "a", 81) in world.waiting


def test_nobody_overtakes_whoever_waits_already() -> None:
    world = draining()
    assert sized(world, "a", 90) in world.waiting
    assert sized(world, "a", 1) in world.waiting


def test_a_length_that_nobody_knows_is_no_ride() -> None:
    world = draining()
    assert sized(world, "a", None) in world.waiting


def test_those_inside_of_unknown_length_are_reckoned_by_the_models_mean() -> None:
    world = draining(tokens=None)
    world.board.lanes["a"].service_mean = 5.0
    assert sized(world, "a", 29) in world.inside
    assert sized(world, "a", 31) in world.waiting


def test_a_policy_that_does_not_ask_for_rides_gives_none() -> None:
    world = draining(free_ride=False)
    assert sized(world, "a", 1) in world.waiting


def test_a_full_model_takes_no_rider() -> None:
    world = draining(LaneSettings("a", max_in_flight=1), LaneSettings("b"))
    assert sized(world, "a", 1) in world.waiting


def test_nobody_rides_while_somebody_is_overdue() -> None:
    world = draining(LaneSettings("a"), LaneSettings("b", max_wait=5.0))
    world.now += 5.0
    world.ring("overdue", "b")
    assert sized(world, "a", 1) in world.waiting


def test_the_pace_is_learned_from_answers_once_rides_were_asked_for() -> None:
    world = draining()
    (inside,) = world.inside
    world.board.lanes["a"].pace = Pace()
    world.now += 8.0
    world.leave(inside)
    pace = world.board.lanes["a"].pace
    assert pace is not None
    assert (pace.usual, pace.slowest) == (0.1, 0.1)
    assert world.board.copy().lanes["a"].pace is not pace
