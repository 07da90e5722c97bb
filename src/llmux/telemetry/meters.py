"""Counting on the path of every request: plain integers in plain lists.

Both verbs of a `Meter` cost a few hundred nanoseconds. What is counted gets its names and its text
only when somebody scrapes (`metrics`); this file refuses to know either.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

ANSWER_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
"""Seconds to the first byte of an answer: from a small model to a cold start behind a queue."""
WAIT_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Seconds in a queue; the first bucket holds those whose model was awake."""


class Tally:
    """How often something took how long: one count per bucket, and the sum in seconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def count(self) -> int:
        """How many were counted."""
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as the text format has them."""
        sofar = 0
        rows: list[tuple[str, float]] = []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            sofar += count
            rows.append(("+Inf" if bound == float("inf") else repr(bound), sofar))
        return rows


class Meter:
    """Counts the requests of one model; both verbs cost a few hundred nanoseconds."""

    __slots__ = ("answers", "at_once", "waits")

    def __init__(self) -> None:
        self.at_once = 0
        """Requests whose model was awake, which whoever lets them in adds up here."""
        self.waits = Tally(WAIT_BUCKETS)
        self.answers: dict[int, Tally] = {}

    def waited(self, seconds: float) -> None:
        """Count the time in the queue of one request; 0 if its model was awake."""
        waits = self.waits
        waits.counts[bisect_left(WAIT_BUCKETS, seconds)] += 1
        waits.total += seconds

    def all_waits(self) -> Tally:
        """The times in the queue, with those who did not wait."""
        self.waits.counts[0] += self.at_once
        self.at_once = 0
        return self.waits

    def answered(self, status: int, seconds: float) -> None:
        """Count one request with its status and the seconds to its answer's first byte."""
        try:
            tally = self.answers[status]
        except KeyError:
            tally = self.answers[status] = Tally(ANSWER_BUCKETS)
        tally.counts[bisect_left(ANSWER_BUCKETS, seconds)] += 1
        tally.total += seconds
