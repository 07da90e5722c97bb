"""Which states of a world are one state: as much is forgotten as opens no gate, and no more.

A key spells a state out in full, as bytes: two states with one key are the same, not only probably.
Times are not in it, only who came before whom: rules compare arrivals, and only alarms open gates.
How often a model has failed in a row sets how long it rests and opens nothing; whether the policy
has to be asked again is looked at only where no switch runs and no turn is awaited, and the end of
each asks anyway. Whoever is inside keeps the place of its arrival, because one whose backend dies
waits there again. Where two models have the same settings, a state and its mirror image are one.
It refuses to know who walks; `tests/proof/test_walk.py` holds that states of one key go on alike,
and that what the board itself tells apart has two keys.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.core.world import World

from llmux.core.board import Switchboard
from llmux.core.lane import Change, Lane, Phase, Wish
from llmux.core.plan import Plan, Stage
from llmux.core.ticket import INSIDE, WAITING, Ticket

Key = bytes
KeyOf = Callable[[World], Key]

_PHASES = {one: nth for nth, one in enumerate(Phase)}
_WISHES = {one: nth for nth, one in enumerate(Wish)}
_CHANGES = {one: nth for nth, one in enumerate(Change)}
_STAGES = {one: nth for nth, one in enumerate(Stage)}
_ENGINES = ["asleep", "waking", "awake", "sleeping", "broken", "hung", "unclear"]
_ENGINE = {one: nth for nth, one in enumerate(_ENGINES)}
_END = 255


def key(world: World) -> Key:
    """Return the key of a state of models that may have different settings."""
    lanes = _lanes(world)
    return bytes([*_shared(world, list(lanes)), *[one for lane in lanes.values() for one in lane]])


def key_of_twins(world: World) -> Key:
    """Return the key of a state and its mirror image: the two models have the same settings."""
    lanes = _lanes(world)
    names = list(lanes)
    (first, one), (second, other) = lanes.items()
    there = bytes([*_shared(world, names), *one, *other])
    mirror = bytes([*_shared(world, [second, first]), *other, *one])
    return there if there < mirror else mirror


def _shared(world: World, names: list[str]) -> list[int]:
    """Spell out what is of no single model; the models go by their places in `names`."""
    board, plan = world.board, world.board.plan
    dirty = board.dirty and plan is None and not board.turn_asked
    said = [
        dirty
        | board.turn_asked << 1
        | board.closed << 2
        | board.held << 3
        | board.surveying << 4
        | (plan is not None) << 5
        | bool(board.hints) << 6
    ]
    if plan is not None:
        said += _plan(plan, names)
    if board.hints:  # the oldest first, and how often each is looked at yet
        said += [names.index(lane.name) << 4 | looks for lane, looks in board.hints.items()]
        said.append(_END)
    if board.restore is not None:
        said.append(names.index(board.restore.name))
    said.append(_END)
    return said


def _plan(plan: Plan, names: list[str]) -> list[int]:
    """Spell out a switch; of one that only puts models to sleep nobody looks at the target."""
    said = [_STAGES[plan.stage] << 4 | plan.recovering << 1 | bool(plan.renewal)]
    if not plan.recovering or plan.renewal:
        said.append(names.index(plan.target.name))
    if plan.stage is not Stage.CLEANING:  # a wake that failed has said already who comes back
        said.append(_END if plan.source is None else names.index(plan.source.name))
    if plan.stage is Stage.DRAINING:  # what ends a drain is nothing after it
        said.append(plan.prepared | plan.cut << 1 | plan.rides << 2)
    said += [names.index(lane.name) for lane in plan.leaving]
    said.append(_END)
    return said


def _lanes(world: World) -> dict[str, list[int]]:
    """Spell out each model, with those who want it in the order of their arrivals."""
    said = {name: _lane(world, lane) for name, lane in world.board.lanes.items()}
    tickets = [*world.waiting, *world.inside]
    if len(tickets) > 1:
        tickets.sort(key=_arrival)
    for rank, ticket in enumerate(tickets):
        said[ticket.lane.name].append(rank << 4 | _place(world, ticket))
    return said


def _lane(world: World, lane: Lane) -> list[int]:
    name, board, alarms, phase = lane.name, world.board, world.alarms, lane.phase
    ordered = name in world.orders.values() if world.orders else False
    return [
        _END,
        _PHASES[phase] << 4 | _engine(world, lane),
        _WISHES[lane.wish]
        | _CHANGES[lane.change] << 2
        | lane.fresh << 4
        | lane.resting << 5
        | lane.stuck << 6
        | (lane.proven and phase not in UNPROVEN) << 7,
        (name in board.asking)
        | (("ask", name) in alarms) << 1
        | (("defer", name) in alarms) << 2
        | (name in world.awaited) << 3
        | (name in world.leftover and _crowded(board)) << 4
        | ordered << 5
        | (lane.rides and lane.wish is Wish.NOW) << 6,
        lane.owed,
    ]


UNPROVEN = {Phase.SLEEPING, Phase.QUARANTINED}
"""Where nobody asks whether the backend has answered: each way out of them says it anew."""


def _engine(world: World, lane: Lane) -> int:
    """Say what an engine does; in what way one is up matters only where it may serve or die."""
    does, plan = world.engines[lane.name], world.board.plan
    serves = lane.phase is Phase.AWAKE
    drains = lane.phase is Phase.DRAINING and plan is not None and plan.stage is Stage.DRAINING
    if does in _MOVING or serves or drains:
        return _ENGINE[does]
    return _ENGINE["unclear"]


_MOVING = {"asleep", "waking", "sleeping"}


def _crowded(board: Switchboard) -> bool:
    """Say whether several models are up, as only those may be that were found so at the start."""
    return sum([lane.phase is not Phase.ASLEEP for lane in board.lanes.values()]) > 1


def _place(world: World, ticket: Ticket) -> int:
    """Spell out where a ticket stands: waiting, inside, or inside a life that is over."""
    if ticket.stage == WAITING:
        lane = ticket.lane
        beyond = lane.settings.max_queue is not None and ticket in world.returned
        return (ticket in lane.late) | beyond << 1
    excused = ticket in world.orphans or ticket in world.undrained
    return (1 if ticket.stage == INSIDE else 2) << 2 | excused


def _arrival(ticket: Ticket) -> float:
    return ticket.arrived
