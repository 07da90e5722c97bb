"""What the board has seen of service times: it informs policies and never gates a change."""

from __future__ import annotations

from collections.abc import Mapping

from llmux.core.lane import Lane
from llmux.core.times import Exit

LANE_FLOOR = 0.05
"""Smallest weight of a new observation in a model's own average."""
OVERALL_FLOOR = 0.02
"""Smallest weight of a new observation in the average over all models."""

_LANE_SETTLED = round(1.0 / LANE_FLOOR)
_OVERALL_SETTLED = round(1.0 / OVERALL_FLOOR) - 1


class Services:
    """Moving averages of the time from admission to the last byte, in seconds.

    Observations are logged on the awake path and worked in when somebody looks. The average over
    all models is kept as `mean` (what was observed) and `prior` (the weight that whatever was
    believed before still has), so that each policy may bring its own belief.
    """

    __slots__ = ("log", "mean", "prior", "samples")

    def __init__(self) -> None:
        self.log: list[Exit] = []
        self.mean = 0.0
        self.prior = 1.0
        self.samples = 0

    def fold(self) -> None:
        """Work the logged observations into the averages."""
        mean, prior, samples = self.mean, self.prior, self.samples
        for lane, admitted, left in self.log:
            seconds = 0.0 if admitted is None else left - admitted
            seen = lane.service_samples = lane.service_samples + 1
            old = lane.service_mean
            weight = 1.0 / seen if seen < _LANE_SETTLED else LANE_FLOOR
            lane.service_mean = seconds if old is None else old + weight * (seconds - old)
            samples += 1
            weight = 1.0 / (samples + 1) if samples < _OVERALL_SETTLED else OVERALL_FLOOR
            mean += weight * (seconds - mean)
            prior *= 1.0 - weight
        self.mean, self.prior, self.samples = mean, prior, samples
        self.log.clear()

    def copy(self, lanes: Mapping[str, Lane]) -> Services:
        """Return independent averages that know the same, of these lanes."""
        new = Services()
        new.log = [(lanes.get(one.name, one), admitted, left) for one, admitted, left in self.log]
        new.mean, new.prior, new.samples = self.mean, self.prior, self.samples
        return new
