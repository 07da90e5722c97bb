"""Every fact that can happen to a board in a state, as named moves of a `World`.

The names are what a violation is told in, and what it is replayed from. Fair are those that a world
without faults brings about sooner or later. It refuses to know who walks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

from tests.core.world import World

from llmux.core.plan import Stage
from llmux.core.ticket import INSIDE, Ticket
from llmux.policy.base import Decision, Defer, Skip, SwitchNow
from proof.forms import UNPROVEN

Move = Callable[[World], object]


def fair_moves(world: World) -> Iterator[tuple[str, Move]]:
    """Facts that a fair world brings about sooner or later."""
    if world.turn:
        yield "turn", World.end_turn
    for model in world.consults:
        for name, decision in answers(model, list(world.board.lanes)):
            yield f"{model}? {name}", partial(World.answer, model=model, decision=decision)
    if world.prepare is not None:
        yield "prepared", World.prepared
    if world.hook is not None:
        yield "hook", World.hook_ends
    if world.board.surveying:
        yield "found nothing", World.surveyed
    for nth in range(len(world.inside)):
        yield f"served {nth}", partial(served, nth=nth)
    for kind, about in world.alarms:
        if isinstance(about, str):
            yield f"{kind} {about}", partial(World.ring, kind=kind, about=about)


def answers(model: str, models: list[str]) -> Iterator[tuple[str, Decision]]:
    """Each kind of answer, for the model asked about and for another.

    What the fence makes of a policy that raises, dawdles or names an unknown model is "now"; a
    Defer that awaits ends by the same rule as one that has a time.
    """
    yield "now", SwitchNow()
    yield "defer", Defer(1.0)
    yield "skip", Skip()
    for other in models:
        if other != model:
            yield f"now {other}", SwitchNow(other)
            yield f"skip {other}", Skip(None, other)


def faults(world: World, requests: int) -> Iterator[tuple[str, Move]]:
    """Facts that may happen, but that nobody may count on.

    At most so many want something at a time: requests, and one order at most among them.
    """
    if world.hook is not None:
        for left in ("asleep", "awake", "unclear") if world.hook.hook == "sleep" else ("asleep",):
            yield f"hook fails, {left}", partial(World.hook_ends, ok=False, left=left)
    if world.board.surveying:
        yield from _findings()
    for model in mortal(world):
        yield f"{model} dies", partial(World.dies, model=model)
        yield f"{model} hangs", partial(World.dies, model=model, hung=True)
    for one in world.board.quarantined:
        yield f"{one.name} recovers", partial(World.recovers, model=one.name)
    heard: set[str] = set()
    board = world.board
    if board.hint_secs is not None and not board.hints and not world.closed:
        for nth, model in product(range(len(world.inside)), world.board.lanes):
            yield f"served {nth}, next {model}", partial(announces, nth=nth, model=model)
    for nth, ticket in enumerate(world.inside):
        yield f"returns {nth}", partial(returns, nth=nth)
        lane = ticket.lane
        awaited = not lane.proven or lane.phase in UNPROVEN
        if ticket.stage == INSIDE and awaited and lane.name not in heard:
            heard.add(lane.name)  # whose answer is the first does not matter, nor any after it
            yield f"answers {nth}", partial(answered, nth=nth)
    for nth in range(len(world.waiting)):
        yield f"gives up {nth}", partial(gives_up, nth=nth)
    for nth, ticket in enumerate(world.waiting):
        if ("deadline", ticket) in world.alarms:
            yield f"deadline {nth}", partial(late, nth=nth)
    for number in world.orders:
        yield "withdraw", partial(World.withdraw, number=number)
    if world.closed:
        return
    if len(world.waiting) + len(world.inside) + len(world.orders) < requests:
        for model in world.board.lanes:
            yield f"arrive {model}", partial(World.arrive, model=model)
            if not world.orders:
                yield f"order {model}", partial(World.order, model=model)
    yield "close", World.close


def _findings() -> Iterator[tuple[str, Move]]:
    """Whatever a look at the start, or after a kill and restart, may find of two models."""
    for awake, unclear in (
        ("a", ""),
        ("b", ""),
        ("ab", ""),
        ("ba", ""),
        ("a", "b"),
        ("b", "a"),
        ("", "a"),
        ("", "b"),
        ("", "ab"),
        ("", "ba"),
    ):
        finds = partial(World.surveyed, awake=awake, unclear=unclear)
        yield f"found {awake or 'none'} awake, {unclear or 'none'} unclear", finds


def mortal(world: World) -> list[str]:
    """Models whose backend may be found dead now."""
    plan = world.board.plan
    leaving = plan.leaving if plan is not None and plan.stage is Stage.DRAINING else []
    lanes = [*world.board.awake, *leaving]
    return [lane.name for lane in lanes if world.engines[lane.name] == "awake"]


def served(world: World, nth: int) -> None:
    """A request that is inside ends."""
    world.leave(_nth(world.inside, nth))


def announces(world: World, nth: int, model: str) -> None:
    """A request that is inside ends, and its client says which model it asks for next."""
    served(world, nth)
    world.announce(model)


def returns(world: World, nth: int) -> None:
    """A request that is inside has lost its backend and waits again."""
    world.returns(_nth(world.inside, nth))


def answered(world: World, nth: int) -> None:
    """The backend of a request that is inside has answered."""
    world.answered(_nth(world.inside, nth))


def gives_up(world: World, nth: int) -> None:
    """A request that waits leaves."""
    world.leave(_nth(world.waiting, nth))


def late(world: World, nth: int) -> None:
    """The deadline of a request that waits is over."""
    world.ring("deadline", _nth(world.waiting, nth))


def _nth(tickets: dict[Ticket, str], nth: int) -> Ticket:
    return list(tickets)[nth]


def after(world: World, move: Move) -> World:
    """Make the move in a copy of the world.

    A turn of the loop that finds nothing to ask ends at once: nothing can tell when it ended, and
    without it the board has to see by itself that somebody is to be asked about.
    """
    new = world.copy()
    new.now += 1.0
    move(new)
    if new.turn and (new.board.plan is not None or not new.board.askable()):
        new.end_turn()
    return new


def nobody_waits(world: World) -> bool:
    """Whether everybody was served or told, orders included."""
    return not world.waiting and not world.orders
