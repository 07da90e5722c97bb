"""Books of failures: how often each model has failed in a row, and how long it is left alone.

A wake that fails is one, and so is a death before the first answer. It refuses to know what the
board believes of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from llmux.core.health import LADDER
from llmux.core.lane import LaneSettings


class Failures:
    """What I12 is held from; times on the story's clock, in seconds."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}
        self._rest: dict[str, tuple[float, float]] = {}
        """When each model failed last, and for how long it must be left alone then."""
        self._proven: set[str] = set()
        """Models that have answered somebody since their wake, or whose wake nobody saw."""

    def found(self, models: Iterable[str]) -> None:
        """Hear that these serve although nobody saw them wake, or still do after a failed sleep."""
        self._proven.update(models)

    def wakes(self, model: str) -> None:
        """Hear that a life of the model begins, of which nothing is known yet."""
        self._proven.discard(model)

    def fails(self, lane: LaneSettings, now: float) -> None:
        """Hear that the model has failed."""
        self._count[lane.name] = min(self._count.get(lane.name, 0) + 1, LADDER)
        self.rests(lane, now)

    def rests(self, lane: LaneSettings, now: float) -> None:
        """Hear that its rest begins now: a failed wake is cleaned up before."""
        step = max(0, self._count.get(lane.name, 1) - 1)
        self._rest[lane.name] = (now, min(lane.breaker_min * 2**step, lane.breaker_max))

    def dies(self, lane: LaneSettings, now: float) -> None:
        """Hear that it has died: a failure, unless this life had answered somebody."""
        if lane.name not in self._proven:
            self.fails(lane, now)

    def answers(self, model: str) -> None:
        """Hear that it has answered somebody: its failures are forgiven."""
        self._proven.add(model)
        self._count.pop(model, None)
        self._rest.pop(model, None)

    def forgive(self, model: str) -> None:
        """Hear that it has other hooks now, or is gone."""
        self._count.pop(model, None)
        self._rest.pop(model, None)

    def too_early(self, model: str, now: float) -> str:
        """Say why the model must not be woken yet; empty if it may."""
        when, pause = self._rest.get(model, (now, 0.0))
        if not pause or now >= when + pause:
            return ""
        return f"{now - when:.2f} s after failure {self._count.get(model, 1)} in a row"
