"""Failing models: breakers, stuck sleeps and quarantine, as gates that only alarms open.

A ladder of waiting times is finite, so that the board stays walkable. This floor refuses to know
how life and death are found out.
"""

from __future__ import annotations

from llmux.core import effects as fx
from llmux.core import news as n
from llmux.core.hints import Hints
from llmux.core.lane import Lane, Phase

LADDER = 6
"""Steps of every breaker; the waiting time doubles with each."""


def pause(lane: Lane, level: int) -> float:
    """Return how long a model is left alone at a step of the ladder, in seconds."""
    longest: float = min(
        lane.settings.breaker_min * 2 ** max(0, level - 1), lane.settings.breaker_max
    )
    return longest


class Health(Hints):
    """The rules for models that fail."""

    def _trip(self, lane: Lane, now: float) -> None:
        """Open the model's breaker: it is left alone, longer each time in a row."""
        lane.level = min(lane.level + 1, LADDER)
        seconds = pause(lane, lane.level)
        lane.resting = True
        lane.rest_until = now + seconds
        self.news.append(n.BreakerOpened(lane.name, lane.level, seconds))
        self._note("breaker", lane, lane.level, again=seconds)
        self._effects.append(fx.SetAlarm(("rest", lane.name), seconds))

    def answered(self, lane: Lane) -> None:
        """Hear that the model has given an answer since its wake: its failures are forgiven."""
        lane.proven = True
        lane.level = 0

    def _get_stuck(self, lane: Lane) -> None:
        """Its sleep has failed: it is tried again only after its breaker."""
        lane.stuck_level = min(lane.stuck_level + 1, LADDER)
        lane.stuck = True
        seconds = pause(lane, lane.stuck_level)
        lane.stuck_until = self.rulings.now + seconds
        self._effects.append(fx.SetAlarm(("stuck", lane.name), seconds))

    def _stuck_for(self, lane: Lane) -> float:
        """Return in how many seconds what failed is tried again."""
        until = lane.stuck_until
        return 0.0 if until is None else max(0.0, until - self.rulings.now)

    def _come_loose(self, lane: Lane) -> None:
        lane.stuck_level = 0
        if lane.stuck:
            lane.stuck = False
            self._effects.append(fx.CancelAlarm(("stuck", lane.name)))

    def _quarantine(self, lane: Lane, error: str) -> None:
        """Nobody knows whether the model still holds its place: nothing wakes there."""
        lane.phase = Phase.QUARANTINED
        self.news.append(n.Quarantined(lane.name, error))
        self._get_stuck(lane)
        self._note("quarantined", lane, error, again=self._stuck_for(lane))

    def _release(self, lane: Lane) -> None:
        self._come_loose(lane)
        if lane.phase is Phase.QUARANTINED:
            self.news.append(n.QuarantineEnded(lane.name))
            self._note("released", lane)

    @property
    def quarantined(self) -> list[Lane]:
        """Models that hold their place although nobody can say what they do there."""
        return [lane for lane in self.lanes.values() if lane.phase is Phase.QUARANTINED]
