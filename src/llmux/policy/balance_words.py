"""What `balance` found, and how it is said to an operator: a verdict, its numbers, a sentence.

Sentences are made when somebody asks for one. This file refuses to know how a verdict comes about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from llmux.policy.base import ModelView, Reason, Snapshot

Rule = Literal["cold", "late", "lull", "busy", "stay", "linger", "switching", "nobody"]
"""The first four switch, the next two stay; the last two say that there is nothing to decide."""
UNASKED: Final[tuple[Rule, ...]] = ("switching", "nobody")
"""A gateway asks no policy then, so no operator reads these."""
_INSTANT = 1e-9
"""Stands in for a divisor of nothing."""


class Weighed(NamedTuple):
    """One waiting model on the scales; times in seconds, `stay` and `leave` in requests x s."""

    model: str
    trip: float
    """Sleep of the awake model and wake of this one."""
    left: float
    """Seconds of patience left; not above 0: late."""
    stay: float
    """What those who wait for it suffer if nothing happens until the next good moment."""
    leave: float
    """What the awake model's callers suffer if it is left now."""
    gate: float
    """What `newcomers` must reach before a busy model is left for this one."""
    value: float
    """By which the target is chosen."""
    view: ModelView
    """The model as it was seen."""


Row = tuple[ModelView, float, float, float, float, float, float]
"""A `Weighed` as the rules leave it: the view, then `trip` to `value`; named when it is told."""
GATE: Final = 5
VALUE: Final = 6
"""Where two of them stand in a row."""


class Verdict(NamedTuple):
    """One evaluation: the rule that fired, where to, when to look again, and what was compared."""

    rule: Rule
    target: str | None
    ask_again: float
    rows: Sequence[Row]

    @property
    def weighed(self) -> Sequence[Weighed]:
        """What was compared, by name; made when somebody asks."""
        return [Weighed(row[0].name, *row[1:], row[0]) for row in self.rows]


class Weighing(Reason):
    """A verdict with the numbers that it needs to be told."""

    __slots__ = ("_active", "_busy", "_verdict", "rule")

    def __init__(self, snapshot: Snapshot, verdict: Verdict) -> None:
        active = snapshot.active
        self.rule = verdict.rule
        self._verdict = verdict
        self._active = active
        self._busy = active is not None and snapshot.models[active].in_flight > 0

    def sentence(self, model: str) -> str:
        """Say the verdict to an operator, with the numbers that decided."""
        rule, target = self._verdict.rule, self._verdict.target
        weighed = self._verdict.weighed
        active = self._active
        if rule == "nobody":
            return "stayed: nobody waits for another model"
        if rule == "switching":
            return "stayed: a switch is running, and its end asks again"
        if target is not None:
            chosen = next(row for row in weighed if row.model == target)
            view = chosen.view
            if rule == "cold":
                return (
                    f"woke {target}: nobody is awake, {_have_waited(view, '')} "
                    f"and its wake takes {chosen.trip:.3g} s"
                )
            if rule == "late":
                return (
                    f"left {active} for {target}: its oldest request has waited "
                    f"{view.oldest_wait:.3g} s, the trip costs {chosen.trip:.3g} s, and before "
                    f"{target} can be awake patience is over by {-chosen.left:.3g} s"
                )
            how = "is busy with newcomers" if rule == "busy" else "is empty"
            return (
                f"left {active} for {target}: {_have_waited(view, '')}, the trip costs "
                f"{chosen.trip:.3g} s and {active} {how}; staying would cost {chosen.stay:.3g} "
                f"request-seconds, leaving {chosen.leave:.3g}"
            )
        asked = next((row for row in weighed if row.model == model), None)
        row = asked or max(weighed, key=lambda one: one.stay / (one.leave or _INSTANT))
        why = "is busy" if self._busy else "expects its next callers soon"
        if rule == "linger":
            why = "is held for callers whose answers call a tool"
        return (
            f"stayed on {active}: {_have_waited(row.view, row.model)}, "
            f"the trip costs {row.trip:.3g} s and {active} {why}"
        )

    def numbers(self, model: str) -> Mapping[str, float]:
        """Return what lay on the scales for one model."""
        return self.alternatives().get(model, {})

    def alternatives(self) -> Mapping[str, Mapping[str, float]]:
        """Return what lay on the scales for each that waits."""
        return {row.model: self._told(row) for row in self._verdict.weighed}

    def _told(self, row: Weighed) -> dict[str, float]:
        return {
            "waiting": row.view.waiting,
            "waited_together_secs": row.view.sum_wait,
            "trip_secs": row.trip,
            "patience_left_secs": row.left,
            "stay_request_secs": row.stay,
            "leave_request_secs": row.leave,
            "value": row.value,
        }


def _have_waited(view: ModelView, model: str) -> str:
    whom = f" for {model}" if model else ""
    if view.waiting == 1:
        return f"1 waiting{whom} has waited {view.sum_wait:.3g} s"
    return f"{view.waiting} waiting{whom} have waited {view.sum_wait:.3g} s together"
