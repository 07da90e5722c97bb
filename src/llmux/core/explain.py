"""Why things stand as they do at this moment: one sentence for each model that somebody asks about.

What was decided is in the rulings; what goes on (a drain, a hook, a breaker) is read off the board.
It looks and never changes anything, so it may be asked at any time.
"""

from __future__ import annotations

from copy import copy

from llmux.core.board import Switchboard
from llmux.core.lane import Change, Lane, Phase
from llmux.core.plan import Plan, Stage
from llmux.core.rulings import REPEATED, Ruling
from llmux.core.sentences import secs, sentence


def explain(board: Switchboard, model: str, now: float) -> str:
    """Say why the model is served, or is not; NotRegisteredError for one that is not there."""
    lane = board.lanes.get(model) or board.lane(model)  # also one that the config has lost
    return _apart(board, lane, now) or _going(board, lane, now) or _asleep(board, lane, now)


def _apart(board: Switchboard, lane: Lane, now: float) -> str | None:
    """Say what keeps the model apart, whoever waits for it; None if nothing does."""
    name = lane.name
    if board.closed:
        return f"the gateway is shutting down, and {name} is {lane.phase.value}"
    if lane.change is Change.REMOVE:
        return f"{name} is in the config no more: it goes once its {len(lane.inside)} answers end"
    if board.surveying:
        return f"nobody knows yet whether {name} is awake: the look at the start is not over"
    if lane.phase is Phase.QUARANTINED:
        return (
            f"{name} is in quarantine, neither alive nor provably asleep; "
            f"will try again in {_left(lane.stuck_until, now)}"
        )
    if lane.resting and lane.phase is Phase.ASLEEP:
        failed = f"{lane.level} failures in a row" if lane.level > 1 else "a failure"
        return (
            f"{name} is left alone after {failed}; will try again in {_left(lane.rest_until, now)}"
        )
    return None


def _going(board: Switchboard, lane: Lane, now: float) -> str | None:
    """Say what goes on: the model serves, or a switch runs; None if neither."""
    if lane.phase is Phase.AWAKE:
        return _serves(board, lane, now)
    return None if board.plan is None else _switching(board.plan, lane, now)


def _asleep(board: Switchboard, lane: Lane, now: float) -> str:
    """Say why an inactive model stays so."""
    active = None if board.active is None else board.active.name
    if not lane.waiting:
        rest = "nothing is awake" if active is None else f"{active} is awake"
        return f"{lane.name} is asleep and nobody waits for it; {rest}"
    ruling = board.rulings.last.get(lane.name)
    if ruling is not None and ruling.rule in REPEATED and ruling.active == active:
        return sentence(_renewed(ruling, lane, now), now)
    return f"{len(lane.waiting)} waiting for {lane.name}: the policy has not answered yet"


def _renewed(ruling: Ruling, lane: Lane, now: float) -> Ruling:
    """Return the ruling with the numbers of this moment, as far as they are the board's own."""
    twin = copy(ruling)
    twin.last = now
    twin.look(lane)
    if ruling.rule == "min_active":
        model, active, bound = ruling.facts
        if isinstance(active, float):
            twin.facts = (model, active + now - ruling.last, bound)
    return twin


def everybody(board: Switchboard, now: float) -> dict[str, str]:
    """Say it for every model about which there is something to say: whoever waits, and the active.

    While nobody waits and nothing goes on, that is the active model alone.
    """
    plan = board.plan
    shown = [
        lane.name
        for lane in board.lanes.values()
        if lane.waiting
        or lane.phase is not Phase.ASLEEP
        or lane.resting
        or (plan is not None and lane is plan.target)
    ]
    return {name: explain(board, name, now) for name in shown}


def _left(until: float | None, now: float) -> str:
    return secs(0.0 if until is None else max(0.0, until - now))


def _serves(board: Switchboard, lane: Lane, now: float) -> str:
    since = secs(now - (lane.activated_at or 0.0))
    text = f"{lane.name} has been active for {since} and is answering {len(lane.inside)}"
    if not lane.waiting:
        return text
    wait = "1 waits" if len(lane.waiting) == 1 else f"{len(lane.waiting)} wait"
    if lane.has_place:
        return f"{text}; {wait}, because somebody overdue goes first"
    return f"{text}; {wait}, because max_in_flight is {lane.limit}"


def _switching(plan: Plan, lane: Lane, now: float) -> str:
    """Say where the switch that runs stands, as it concerns this model."""
    where = _stage(plan, now)
    if plan.stage is Stage.CLEANING and lane is plan.target:
        return where
    if lane is plan.target:
        return f"{lane.name} is on its way: {where}"
    if lane is plan.source or lane in plan.leaving:
        return f"{lane.name} is being left for {plan.target.name}: {where}"
    waiting = f"{len(lane.waiting)} waiting for" if lane.waiting else "nobody waits for"
    return f"{waiting} {lane.name}, and a switch to {plan.target.name} runs first: {where}"


def _stage(plan: Plan, now: float) -> str:
    since = secs(now - plan.started)
    match plan.stage:
        case Stage.DRAINING:
            source = plan.source
            if source is None:
                return f"the switch began {since} ago"
            bound = source.settings.drain_timeout
            until = None if bound is None else plan.started + bound
            ends = "" if until is None else f", for {_left(until, now)} at most"
            count = sum(len(one.inside) for one in plan.leaving)
            answers = "1 answer" if count == 1 else f"{count} answers"
            return f"{source.name} finishes {answers}{ends}"
        case Stage.SLEEPING:
            return f"{plan.leaving[0].name} is being put to sleep, {since} after the switch began"
        case Stage.WAKING:
            return f"its wake hook has run for {secs(now - plan.wake_started)}"
        case Stage.CLEANING:
            return f"the wake of {plan.target.name} failed, and its sleep hook cleans up"
