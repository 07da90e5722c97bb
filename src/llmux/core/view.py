"""Ways of looking at the board: the policy's snapshot and the contract's three states."""

from __future__ import annotations

from dataclasses import dataclass, fields, make_dataclass
from types import MappingProxyType
from typing import Any

from llmux.core.board import Switchboard
from llmux.core.lane import Lane, Phase
from llmux.core.plan import IDLE
from llmux.policy.base import ModelView, PolicyContext, ScheduleContext, Snapshot


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


_PHASES = {phase: phase.value for phase in Phase}

_Draft: Any = make_dataclass("_Draft", [field.name for field in fields(ModelView)], slots=True)
"""The same slots as a `ModelView`, written ten times faster than those of a frozen class."""


def _frozen(draft: Any) -> ModelView:
    """Let nobody write to it from now on."""
    draft.__class__ = ModelView
    view: ModelView = draft
    return view


def snapshot(board: Switchboard, now: float) -> Snapshot:
    """Return the whole world at `now` for the policy."""
    board.fold(now)
    plan = board.plan
    active = board.active
    phase = plan.stage.value if plan is not None else IDLE if active is None else "active"
    return Snapshot(
        now=now,
        phase=phase,
        active=None if active is None else active.name,
        target=None if plan is None else plan.target.name,
        active_since=None if active is None else active.activated_at,
        first_arrival=board.first_arrival,
        overall_service=board.services.mean,
        overall_prior=board.services.prior,
        models=MappingProxyType(
            {name: _view(board, lane, now) for name, lane in board.lanes.items()}
        ),
    )


def _view(board: Switchboard, lane: Lane, now: float) -> ModelView:
    lane.fold_arrivals(now)
    waiting = len(lane.waiting)
    since = sum_wait = weighted_wait = urgency = 0.0
    if waiting:
        since = now - next(iter(lane.waiting)).arrived
        sum_wait = waiting * now - lane.waiting_sum
        weighted_wait = lane.weight_sum * now - lane.weighted_sum
        urgency = lane.pull(now)[0]
    sleep, wake = board.costs.both_hooks(lane.name)
    inside, lulls, settings = lane.inside, lane.lulls, lane.settings
    draft = _Draft(
        name=lane.name,
        phase=_PHASES[lane.phase],
        waiting=waiting,
        oldest_wait=since,
        sum_wait=sum_wait,
        weighted_waiting=lane.weight_sum,
        weighted_sum_wait=weighted_wait,
        urgency=urgency,
        in_flight=len(inside),
        started=tuple([now if one.admitted is None else one.admitted for one in inside])
        if inside
        else (),
        service_seconds=lane.service_mean,
        service_samples=lane.service_samples,
        arrivals=tuple(lane.arrival_sums),
        last_arrival=lane.last_arrival,
        lulls=lulls.lengths,
        lull_since=lulls.begun[-1] if lulls.begun else None,
        sleep_seconds=sleep,
        wake_seconds=wake,
        max_wait=settings.max_wait,
        priority=settings.priority,
        last_failure=lane.last_failure,
    )
    return _frozen(draft)


def policy_context(board: Switchboard, world: Snapshot, lane: Lane) -> PolicyContext:
    """Return what the policy is told when it is asked about `lane`."""
    view = world.models[lane.name]
    active = board.active
    return PolicyContext(
        target_model=lane.name,
        active_model=None if active is None else active.name,
        target_queue_depth=view.waiting,
        oldest_waiting=view.oldest_wait,
        active_in_flight=0 if active is None else len(active.inside),
        active_duration=_active_duration(active, world.now),
        estimated_switch_cost=board.costs.estimate(world.active, lane.name),
        snapshot=world,
    )


def schedule_context(board: Switchboard, world: Snapshot) -> ScheduleContext:
    """Return what the policy's background scheduler is told."""
    active = board.active
    return ScheduleContext(
        active_model=world.active,
        active_duration=_active_duration(active, world.now),
        queue_depths={name: len(lane.waiting) for name, lane in board.lanes.items()},
        active_in_flight=0 if active is None else len(active.inside),
        switch_costs=board.costs.estimates_from(world.active),
        snapshot=world,
    )


def _active_duration(active: Lane | None, now: float) -> float:
    if active is None or active.activated_at is None:
        return 0.0
    return now - active.activated_at
