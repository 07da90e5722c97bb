"""The last decisions, with the numbers that they compared: what "why" is answered from.

A ruling is a few references and numbers, written while somebody waits or something fails, never
for a request whose model is awake. It is put into words (`llmux.core.sentences`) when somebody
asks. Saying the same again only counts. Nothing here gates a change: the board writes it and
never reads it.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from llmux.core.lane import Lane
from llmux.policy.base import Reason

KEPT: Final = 256
"""Rulings that are remembered; beside them the last one of each model."""

REPEATED: Final = frozenset(
    {
        "skip",
        "defer",
        "preferred",
        "min_active",
        "stuck",
        "quarantine",
        "max_in_flight",
        "rescue",
        "timeout",
    }
)
"""The rules that are found to hold again and again; what they say is merged and counted."""


HOLDS: Final = frozenset({"min_active", "stuck", "quarantine", "max_in_flight"})
"""The rules that hold a switch back which the policy, or somebody overdue, wants."""


class Waiters(NamedTuple):
    """Who waited for a model; seconds."""

    model: str
    waiting: int
    oldest: float
    together: float
    """Their ages, added."""


def waiters(lane: Lane, now: float) -> Waiters:
    """Count who waits for a model now."""
    return _reckon(lane.name, _look(lane), now)


def _look(lane: Lane) -> tuple[int, float, float]:
    waiting = lane.waiting
    if not waiting:
        return (0, 0.0, 0.0)
    return (len(waiting), next(iter(waiting)).arrived, lane.waiting_sum)


def _reckon(model: str, seen: tuple[int, float, float], now: float) -> Waiters:
    count, came, total = seen
    return Waiters(model, count, now - came if count else 0.0, max(0.0, count * now - total))


class Ruling:
    """One decision about one model. Times are on the board's clock.

    `facts` are the numbers that its rule names in `llmux.core.sentences.RULES`.
    """

    __slots__ = (
        "active",
        "alternatives",
        "count",
        "facts",
        "first",
        "last",
        "model",
        "number",
        "reason",
        "rule",
        "seen",
        "until",
    )

    def __init__(self, number: int, rule: str, model: str, active: str | None) -> None:
        self.number = number
        self.rule = rule
        self.model = model
        self.active = active
        """Who was awake, or was being left."""
        self.first = self.last = 0.0
        self.count = 0
        self.seen: tuple[int, float, float] = (0, 0.0, 0.0)
        """How many waited, when the oldest had come, and the sum of their arrivals."""
        self.facts: tuple[object, ...] = ()
        self.reason: str | Reason | None = None
        """What the policy gave, where it was the policy's doing."""
        self.until: float | None = None
        """When it will be looked at again at the latest."""
        self.alternatives: tuple[Waiters, ...] = ()
        """Who else waited."""

    def look(self, lane: Lane) -> None:
        """Note who waits for the model now."""
        self.seen = _look(lane)

    @property
    def waited(self) -> Waiters:
        """Who waited for the model when it was decided."""
        return _reckon(self.model, self.seen, self.last)


class Rulings:
    """A bounded memory of decisions; `now` is kept by the board, for whoever writes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.last: dict[str, Ruling] = {}
        """The latest ruling about each model."""
        self._kept: deque[Ruling] = deque(maxlen=KEPT)
        self._number = 0

    def note(  # noqa: PLR0917 -- a ruling's fields, given by place because it is called often
        self,
        rule: str,
        lane: Lane,
        active: str | None,
        facts: tuple[object, ...] = (),
        again: float | None = None,
        reason: str | Reason | None = None,
    ) -> Ruling:
        """Remember a decision; `again` is in how many seconds it will be looked at again."""
        now = self.now
        ruling = self.last.get(lane.name)
        if ruling is None or ruling.rule != rule or ruling.active != active or rule not in REPEATED:
            self._number += 1
            ruling = Ruling(self._number, rule, lane.name, active)
            ruling.first = now
            self.last[lane.name] = ruling
            self._kept.append(ruling)
        ruling.last = now
        ruling.count += 1
        ruling.seen = _look(lane)
        ruling.facts = facts
        ruling.reason = reason
        ruling.until = None if again is None else now + again
        return ruling

    def newest(self) -> list[Ruling]:
        """Return all that are remembered, the one that was found to hold last first."""
        known = {ruling.number: ruling for ruling in (*self._kept, *self.last.values())}
        return sorted(known.values(), key=lambda one: (one.last, one.number), reverse=True)
