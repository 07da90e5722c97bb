"""How long `balance` holds an empty model for callers who are to come back at once.

An agent whose answer calls a tool asks again when the tool has run; to leave its model meanwhile
costs it an outage, and to hold it costs those who wait elsewhere that moment. How soon such
callers come back is learned from the last few. This file refuses to know who said that somebody
comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SHARE: Final = 0.7
"""What the outage of a caller who comes back counts for, against those who wait elsewhere."""
_YOUNGEST: Final = 4
"""Callers that are reckoned with, those who left last."""
_SOONEST: Final = 1e-6


def hold_for(
    away: Sequence[tuple[float, float]],
    absences: Sequence[float],
    *,
    most: float,
    outage: float,
    crowd: float,
    growing: float,
    service: float,
) -> float:
    """Return for how many seconds more the model is held; 0: it is left now.

    `away` says for how many seconds each caller has been away and what its requests count, longest
    first, `absences` how long the last ones stayed away. While the model is held, and while it
    serves who has come back, a `crowd` waits that grows by `growing` a second. Of the moments when
    somebody may be back the one is taken at which most is gained.
    """
    away = away[-_YOUNGEST:]
    best, found = 0.0, 0.0
    for absence in absences:
        left = absence - away[-1][0]
        if not _SOONEST < left <= most:
            continue
        back = worth = 0.0
        for age, weight in away:
            later = [one for one in absences if one > age + _SOONEST]
            if later:
                soon = sum([one <= age + left + _SOONEST for one in later]) / len(later)
                back += soon
                worth += weight * soon
        busy = left + min(back, 1.0) * service
        gain = SHARE * worth * outage - (crowd + growing * busy) * busy
        if gain > best:
            best, found = gain, left
    return found
