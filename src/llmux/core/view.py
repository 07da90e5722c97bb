"""Ways of looking at the board: the policy's snapshot and the contract's three states."""

from __future__ import annotations

from dataclasses import dataclass
from operator import mul
from types import MappingProxyType
from typing import Any

from llmux.core.board import Switchboard
from llmux.core.lane import Lane
from llmux.core.plan import IDLE
from llmux.core.returns import FORGOTTEN
from llmux.policy.base import ModelView, PolicyContext, ScheduleContext, Snapshot
from llmux.policy.drafts import draft


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is awake and nothing is on its way."""


@dataclass(frozen=True, slots=True)
class Active:
    """`model` is awake; a switch that is only planned does not change that."""

    model: str


@dataclass(frozen=True, slots=True)
class Switching:
    """A switch runs, from its drain on; `from_model` is None at a cold start."""

    from_model: str | None
    to_model: str


SwitcherState = Idle | Active | Switching


def state(board: Switchboard) -> SwitcherState:
    """Return the contract's view of the board."""
    if board.plan is not None and not board.plan.recovering:
        source = board.plan.source
        return Switching(None if source is None else source.name, board.plan.target.name)
    if board.active is not None:
        return Active(board.active.name)
    return Idle()


_USUAL_WINDOWS = 2
"""So many sums of arrivals fade without a loop."""
_UNSEEN = (None, None)
_SnapshotDraft = draft(Snapshot)
_ContextDraft = draft(PolicyContext)


def snapshot(board: Switchboard, now: float) -> Snapshot:
    """Return the whole world at `now` for the policy."""
    if board.services.log:
        board.fold(now)
    plan = board.plan
    active = board.active
    phase = plan.stage.value if plan is not None else IDLE if active is None else "active"
    world: Any = _SnapshotDraft(  # in the order of Snapshot's fields: names would cost more
        now,
        phase,
        None if active is None else active.name,
        None if plan is None else plan.target.name,
        None if active is None else active.activated_at,
        board.first_arrival,
        board.services.mean,
        board.services.prior,
        MappingProxyType(_views(board, now)),
    )
    world.__class__ = Snapshot
    frozen: Snapshot = world
    return frozen


def _views(board: Switchboard, now: float) -> dict[str, ModelView]:
    """Work in what was logged of each model, and return what is seen of it.

    Written in one piece: it is a third of the time of a decision, and each call would count.
    """
    new_view, hooks_of = tuple.__new__, board.costs.by_model.get
    views: dict[str, ModelView] = {}
    faded: float | None = None
    short_fade = long_fade = 0.0
    for name, lane in board.lanes.items():
        if lane.arrival_log:
            lane.fold_arrivals(now)
        elif (sums_at := lane.sums_at) != now and (sums := lane.arrival_sums):
            if len(sums) == _USUAL_WINDOWS:
                if sums_at != faded:
                    short_fade, long_fade = lane.fading(now)
                    faded = sums_at
                short, long = sums
                lane.arrival_sums = (short * short_fade, long * long_fade)
            else:
                lane.arrival_sums = tuple(map(mul, sums, lane.fading(now)))
            lane.sums_at = now
        back = lane.returns
        away = back.away
        if away and now - away[0][0] > FORGOTTEN:
            back.forget(now)
        queue, inside, lulls, settings = lane.waiting, lane.inside, lane.lulls, lane.settings
        waiting, weights, begun = len(queue), lane.weight_sum, lulls.begun
        since = sum_wait = weighted_wait = urgency = 0.0
        if waiting:
            oldest = next(iter(queue))
            since = now - oldest.arrived
            sum_wait = waiting * now - lane.waiting_sum
            weighted_wait = weights * now - lane.weighted_sum
            urgency = oldest.weight * since if len(lane.ranks) < 2 else lane.pull(now)[0]
        sleep, wake = hooks_of(name, _UNSEEN)
        # In the order of ModelView's fields: naming them would take as long again as all the rest.
        views[name] = new_view(
            ModelView,
            (
                name,
                lane.phase._value_,
                waiting,
                since,
                sum_wait,
                weights,
                weighted_wait,
                urgency,
                len(inside),
                tuple([now if one.admitted is None else one.admitted for one in inside])
                if inside
                else (),
                lane.service_mean,
                lane.service_samples,
                lane.arrival_sums,
                lane.last_arrival,
                lulls.lengths,
                begun[-1] if begun else None,
                back.absences,
                tuple(away) if away else (),
                sleep,
                wake,
                settings.max_wait,
                settings.priority,
                lane.last_failure,
            ),
        )
    return views


def policy_context(board: Switchboard, world: Snapshot, lane: Lane) -> PolicyContext:
    """Return what the policy is told when it is asked about `lane`."""
    name, active, since = lane.name, board.active, world.active_since
    view = world.models[name]
    context: Any = _ContextDraft(  # in the order of PolicyContext's fields
        name,
        world.active,
        view.waiting,
        view.oldest_wait,
        0 if active is None else len(active.inside),
        0.0 if since is None else world.now - since,
        board.costs.estimate(world.active, name),
        world,
    )
    context.__class__ = PolicyContext
    frozen: PolicyContext = context
    return frozen


def schedule_context(board: Switchboard, world: Snapshot) -> ScheduleContext:
    """Return what the policy's background scheduler is told."""
    active = board.active
    return ScheduleContext(
        active_model=world.active,
        active_duration=0.0 if world.active_since is None else world.now - world.active_since,
        queue_depths={name: len(lane.waiting) for name, lane in board.lanes.items()},
        active_in_flight=0 if active is None else len(active.inside),
        switch_costs=board.costs.estimates_from(world.active),
        snapshot=world,
    )
