"""What a simulation leaves behind, and the figures that are made of it.

An outcome knows who waited how long and when hooks ran, whichever engine made it; it refuses to
know policies and boards. Times are seconds of the simulation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One request; `start` is None if it was never admitted, `end` when it left in any case."""

    model: str
    arrival: float
    start: float | None
    end: float

    @property
    def wait(self) -> float:
        """Arrival to start of service; for one that was refused, to its refusal."""
        return (self.end if self.start is None else self.start) - self.arrival


class Spell(NamedTuple):
    """One run of a hook, `wake` or `sleep`, of a model."""

    begin: float
    end: float
    hook: str
    model: str
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished simulation. Rows stand in the order in which the requests were issued."""

    policy: str
    rows: Sequence[Row]
    hooks: Sequence[Spell]
    """Each run of a hook, in order."""
    switches: int
    """Successful wakes, cold starts included."""
    reasons: Sequence[tuple[float, str, str]] = ()
    """When, to which model, and why each switch was made."""
    complaints: Sequence[str] = ()
    """What the policy did wrong, each once; such a decision was read as FIFO."""
    recorded: str | None = None
    """The policy that really ruled, where this is no simulation but what a journal tells."""

    @property
    def span(self) -> tuple[float, float]:
        """First arrival and last completion."""
        return min(row.arrival for row in self.rows), max(row.end for row in self.rows)

    def shares(self) -> tuple[float, float, float]:
        """Return the shares of the span spent serving, switching (hooks) and idle; sum 1.

        While answers drain the machine serves. Where a hook runs beside answers it switches.
        """
        begin, end = self.span
        if end <= begin:
            return 0.0, 0.0, 1.0
        answers = sorted((row.start, row.end) for row in self.rows if row.start is not None)
        hooks = [(spell.begin, spell.end) for spell in self.hooks]
        switching = _total(union(hooks, begin, end))
        either = _total(union([*answers, *hooks], begin, end))
        span = end - begin
        return (either - switching) / span, switching / span, max(0.0, 1 - either / span)


def union(
    spells: Iterable[tuple[float, float]], begin: float, end: float
) -> list[tuple[float, float]]:
    """Merge spells (begin, end) that touch, cut to the span; sorted."""
    merged: list[tuple[float, float]] = []
    for one_begin, one_end in sorted(spells):
        since, until = max(begin, one_begin), min(end, one_end)
        if until <= since:
            continue
        if merged and since <= merged[-1][1]:
            if until > merged[-1][1]:
                merged[-1] = (merged[-1][0], until)
        else:
            merged.append((since, until))
    return merged


def _total(spells: Iterable[tuple[float, float]]) -> float:
    return sum(end - begin for begin, end in spells)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the percentile of sorted values, linear between neighbours; 0 for none."""
    if not ordered:
        return 0.0
    place = (len(ordered) - 1) * share
    low, high = floor(place), ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def figures(outcome: Outcome, limit: float | None = None) -> dict[str, Any]:
    """Return the figures of one policy under the names that `--json` writes; waits in seconds."""
    waits = [row.wait for row in outcome.rows]
    ordered = sorted(waits)
    serving, switching, idle = outcome.shares()
    within = None
    if limit is not None:
        good = sum(1 for row in outcome.rows if row.start is not None and row.wait <= limit)
        within = good / len(waits)
    by_model: dict[str, list[float]] = {}
    for row in outcome.rows:
        by_model.setdefault(row.model, []).append(row.wait)
    return {
        "policy": outcome.policy,
        "requests": len(waits),
        "mean_wait": sum(waits) / len(waits),
        "p50_wait": percentile(ordered, 0.50),
        "p95_wait": percentile(ordered, 0.95),
        "p99_wait": percentile(ordered, 0.99),
        "max_wait": ordered[-1],
        "switches": outcome.switches,
        "serving_share": serving,
        "switching_share": switching,
        "idle_share": idle,
        "answered_within": within,
        "models": {
            model: {
                "requests": len(some),
                "mean_wait": sum(some) / len(some),
                "p99_wait": percentile(sorted(some), 0.99),
                "max_wait": max(some),
            }
            for model, some in sorted(by_model.items())
        },
    }
