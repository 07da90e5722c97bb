"""Two boards that will behave alike look alike here, and a board can be copied to try both ways.

This is what makes the table walkable: every order of facts on the real code. Costs, ages,
averages and reasons inform and never gate, so they stay outside; tickets go by their rank of
arrival and numbers by what still waits for them. It refuses to know who walks and what is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from llmux.core.lane import Change, Lane, Phase, Wish, ranked
from llmux.core.plan import Plan, Stage
from llmux.core.rulings import Rulings
from llmux.core.ticket import Ticket

if TYPE_CHECKING:
    from llmux.core.board import Switchboard


Slotted = TypeVar("Slotted", Lane, Ticket, Plan)


class LaneForm(NamedTuple):
    """What of a lane decides what happens next."""

    phase: Phase
    waiting: tuple[int, ...]
    """Ranks of arrival among all who wait on the board."""
    weights: tuple[float, ...]
    """What each of them counts. Where they differ, time also decides who goes first."""
    inside: int
    lost: int
    sizes: tuple[int, ...]
    """What those who wait and those inside hold, where that is bounded."""
    wish: Wish
    fresh: bool
    resting: bool
    level: int
    stuck: bool
    stuck_level: int
    late: tuple[bool, ...]
    """Which of those who wait are overdue."""
    owed: int
    proven: bool
    asked: bool
    rides: bool
    change: Change


class PlanForm(NamedTuple):
    """What of the running switch decides what happens next."""

    source: str
    target: str
    leaving: tuple[str, ...]
    prepared: bool
    stage: Stage
    in_hook: bool
    recovering: bool
    renewal: bool
    cut: bool
    rides: bool


class BoardForm(NamedTuple):
    """A board's canonical form: hashable, and equal for boards that will behave alike."""

    lanes: tuple[LaneForm, ...]
    awake: tuple[str, ...]
    plan: PlanForm | None
    orders: tuple[str, ...]
    hints: tuple[tuple[str, int], ...]
    """Who was announced, oldest first, and how often that is looked at yet."""
    dirty: bool
    turn_asked: bool
    closed: bool
    held: bool
    restore: str | None


def canonical(board: Switchboard) -> BoardForm:
    """Return the form in which two boards are equal if no order of facts can tell them apart."""
    arrivals = {ticket.arrived for lane in board.lanes.values() for ticket in lane.waiting}
    rank = {when: index for index, when in enumerate(sorted(arrivals))}
    return BoardForm(
        lanes=tuple(
            LaneForm(
                lane.phase,
                tuple(rank[ticket.arrived] for ticket in lane.waiting),
                tuple(ticket.weight for ticket in lane.waiting),
                len(lane.inside),
                len(lane.lost),
                _sizes(board, lane),
                lane.wish,
                lane.fresh,
                lane.resting,
                lane.level,
                lane.stuck,
                lane.stuck_level,
                tuple(ticket in lane.late for ticket in lane.waiting),
                lane.owed,
                lane.proven,
                lane.name in board.asking,
                lane.rides and lane.wish is Wish.NOW,
                lane.change,
            )
            for lane in board.lanes.values()
        ),
        awake=tuple(lane.name for lane in board.awake),
        plan=None if board.plan is None else _plan_form(board.plan),
        orders=tuple(lane.name for lane in board.orders.values()),
        hints=tuple((lane.name, looks) for lane, looks in board.hints.items()),
        dirty=board.dirty,
        turn_asked=board.turn_asked,
        closed=board.closed,
        held=board.held,
        restore=None if board.restore is None else board.restore.name,
    )


def _sizes(board: Switchboard, lane: Lane) -> tuple[int, ...]:
    if board.max_buffered is None:
        return ()
    return tuple(one.size for group in (lane.waiting, lane.inside, lane.lost) for one in group)


def _plan_form(plan: Plan) -> PlanForm:
    return PlanForm(
        plan.source_name,
        plan.target.name,
        tuple(lane.name for lane in plan.leaving),
        plan.prepared,
        plan.stage,
        plan.hook != 0,
        plan.recovering,
        bool(plan.renewal),
        plan.cut,
        plan.rides,
    )


def copied(board: Switchboard, renamed: dict[Ticket, Ticket]) -> Switchboard:
    """Return an independent copy; `renamed` is filled with each ticket's twin.

    Whoever is told through a ticket's callables is shared by both twins. Effects and news that
    nobody has taken yet are not copied: copy between two facts.
    """
    lanes = {name: _copied_lane(lane, renamed) for name, lane in board.lanes.items()}
    new = object.__new__(type(board))
    vars(new).update(vars(board))
    new.lanes = lanes
    new.awake = [lanes[lane.name] for lane in board.awake]
    new.plan = None if board.plan is None else _copied_plan(board.plan, lanes)
    new.restore = None if board.restore is None else lanes[board.restore.name]
    new.stale = {lanes[lane.name] for lane in board.stale}
    new.orders = {number: lanes[lane.name] for number, lane in board.orders.items()}
    new.hints = {lanes[lane.name]: looks for lane, looks in board.hints.items()}
    new.asking = set(board.asking)
    new.costs = board.costs.copy()
    new.services = board.services.copy(lanes)
    new.times = board.times.copy()
    new.rulings = Rulings()
    new.news = []
    new._effects = []
    return new


def _copied_lane(old: Lane, renamed: dict[Ticket, Ticket]) -> Lane:
    new = _twin(old)
    new.inside = {_copied_ticket(ticket, new, renamed): None for ticket in old.inside}
    new.waiting = {_copied_ticket(ticket, new, renamed): None for ticket in old.waiting}
    new.lost = {_copied_ticket(ticket, new, renamed) for ticket in old.lost}
    new.late = {renamed[ticket] for ticket in old.late}
    new.watched = None if old.watched is None else renamed[old.watched]
    new.ranks = ranked(new.waiting) if new.waiting else {}
    new.arrival_log = list(old.arrival_log)
    new.lulls = old.lulls.copy()
    new.returns = old.returns.copy()
    new.pace = None if old.pace is None else old.pace.copy()
    return new


def _copied_ticket(old: Ticket, lane: Lane, renamed: dict[Ticket, Ticket]) -> Ticket:
    new = renamed[old] = _twin(old)
    new.lane = lane
    return new


def _copied_plan(old: Plan, lanes: dict[str, Lane]) -> Plan:
    new = _twin(old)
    new.target = lanes[old.target.name]
    new.source = None if old.source is None else lanes[old.source.name]
    new.leaving = [lanes[lane.name] for lane in old.leaving]
    new.ends = {}
    return new


def _twin(old: Slotted) -> Slotted:
    """Return a shallow copy; what `copy.copy` does, many times quicker."""
    twin: Slotted = _TWINS[type(old)](old)
    return twin


def _twins_of(kind: type[Lane | Ticket | Plan]) -> Callable[[Any], Any]:
    """Return a function that copies objects of this kind, written out slot by slot."""
    lines = "".join(f"    new.{slot} = old.{slot}\n" for slot in kind.__slots__)
    made: dict[str, Any] = {"new_object": object.__new__, "kind": kind}
    exec(f"def twin(old):\n    new = new_object(kind)\n{lines}    return new", made)
    twin: Callable[[Any], Any] = made["twin"]
    return twin


_TWINS = {kind: _twins_of(kind) for kind in (Lane, Ticket, Plan)}
