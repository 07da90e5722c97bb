"""How long the hooks take in a simulation: fixed per model, or with jitter from a seed.

Policies never see these figures; they learn them from the hooks that run, as in life. This file
refuses to know when hooks run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

SLEEP_SHARE = 0.1
"""The part of a switch's cost that is the sleep hook; the rest is the wake."""


@dataclass(frozen=True, slots=True)
class HookTimes:
    """Seconds that each model's hooks take; `cost` splits into sleep and wake for the others.

    With `jitter` (sigma) each run is multiplied by a lognormal factor whose mean is 1.
    """

    cost: float = 11.0
    sleep: Mapping[str, float] = field(default_factory=dict)
    wake: Mapping[str, float] = field(default_factory=dict)
    jitter: float = 0.0
    seed: int = 0

    def mean(self, hook: str, model: str) -> float:
        """Return the mean duration of `sleep` or `wake` of a model, in seconds."""
        if hook == "sleep":
            return self.sleep.get(model, self.cost * SLEEP_SHARE)
        return self.wake.get(model, self.cost * (1 - SLEEP_SHARE))

    def start(self) -> HookDice:
        """Return fresh dice, so that each simulation draws its own jitter."""
        return HookDice(self)


class HookDice:
    """Draws durations of hooks, one after the other."""

    def __init__(self, times: HookTimes) -> None:
        self._times = times
        self._dice = Random(f"{times.seed}/hooks")

    def seconds(self, hook: str, model: str) -> float:
        """Return how long this run of the hook takes."""
        mean = self._times.mean(hook, model)
        sigma = self._times.jitter
        if not sigma:
            return mean
        return mean * self._dice.lognormvariate(-sigma * sigma / 2, sigma)
