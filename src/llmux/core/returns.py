"""Who will be back soon: callers that have said so, and how long such callers stay away.

An agent whose answer calls a tool asks the same model again once the tool has run. How soon is
learned from the model's own callers: each of its next arrivals is taken for the return of whoever
has been away longest. Arrivals are read from the log that is kept anyway. This file refuses to
know how it was said that somebody comes back, and what is made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

KEPT: Final = 8
"""Absences of each model's callers that are remembered, the latest."""
MOST_AWAY: Final = 64
"""Callers of one model who are awaited at once; of more, those who left last."""
FORGOTTEN: Final = 120.0
"""Seconds after which nobody is awaited any more; it counts as an absence of so many."""


class Returns:
    """Whose return one model awaits; times in seconds on the driver's clock."""

    __slots__ = ("absences", "away")

    def __init__(self) -> None:
        self.away: list[tuple[float, float]] = []
        """Since when each caller who comes back is away, and what it counts, as far as the arrivals
        were read."""
        self.absences: tuple[float, ...] = ()
        """The latest, oldest first."""

    def expect(self, now: float, weight: float) -> None:
        """Await somebody whose answer ends just now, and whose request has counted `weight`."""
        self.away.append((now, weight))
        if len(self.away) > MOST_AWAY:
            del self.away[0]

    def read_arrivals(self, arrivals: Sequence[tuple[float, float]]) -> None:
        """Learn who has come, as (when, weight) in that order."""
        ended = []
        away = iter([since for since, _ in self.away])
        since = next(away, None)
        for when, _ in arrivals:
            if since is None:
                break
            if when >= since:
                ended.append(when - since)
                since = next(away, None)
        self._end(ended)

    def forget(self, now: float) -> None:
        """Await those no more who have been away for too long."""
        self._end([FORGOTTEN for since, _ in self.away if now - since > FORGOTTEN])

    def _end(self, absences: Sequence[float]) -> None:
        if absences:
            del self.away[: len(absences)]
            self.absences = (*self.absences, *absences)[-KEPT:]

    def copy(self) -> Returns:
        """Return independent returns that know the same."""
        new = Returns()
        new.away, new.absences = list(self.away), self.absences
        return new
