"""How long a model is left in peace: from its last answer to its next request.

People pause for minutes, an agent comes back from its tool in a second; the last few lulls of a
model tell which it is. Nothing is counted when a request comes or goes: it is read from the two
logs that are kept anyway. This file refuses to know who is awake and what a lull is good for.
"""

from __future__ import annotations

from collections.abc import Sequence

KEPT = 8
"""Lulls of each model that are remembered, the latest."""


class Lulls:
    """The lulls of one model; times in seconds on the driver's clock."""

    __slots__ = ("begun", "lengths")

    def __init__(self) -> None:
        self.begun: list[float] = []
        """When lulls began that no request has ended, as far as the arrivals were read."""
        self.lengths: tuple[float, ...] = ()
        """The latest, oldest first."""

    def read_exits(self, exits: Sequence[tuple[float | None, float]], inside: float | None) -> None:
        """Learn who has left, as (admitted, left) in the order of leaving.

        `inside` is since when somebody is inside who has not left. Read from the end, a lull
        began where everybody who left later was admitted later.
        """
        begun = []
        for admitted, left in reversed(exits):
            if admitted is None:
                continue
            if inside is None or left < inside:
                begun.append(left)
                inside = admitted
            elif admitted < inside:
                inside = admitted
        self.begun += reversed(begun)

    def read_arrivals(self, arrivals: Sequence[tuple[float, float]]) -> None:
        """Learn who has come, as (when, weight) in that order: the first after it ends a lull."""
        ended = []
        at = 0
        for number, begun in enumerate(self.begun):
            while at < len(arrivals) and arrivals[at][0] < begun:
                at += 1
            if at == len(arrivals):
                self.begun = self.begun[number:]
                break
            ended.append(arrivals[at][0] - begun)
        else:
            self.begun = []
        if ended:
            self.lengths = (*self.lengths, *ended)[-KEPT:]

    def copy(self) -> Lulls:
        """Return independent lulls that know the same."""
        new = Lulls()
        new.begun, new.lengths = list(self.begun), self.lengths
        return new
