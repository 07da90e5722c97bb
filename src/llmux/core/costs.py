"""What switches cost, learned from the hooks alone.

Two tables: one per observed pair (the contract's: directional, cold starts a pair of their own,
an unseen pair has no estimate) and one per hook, from which every pair can be estimated once
both hooks were seen.
"""

from __future__ import annotations

from collections.abc import Mapping

WEIGHT = 0.3
"""Weight of a new observation in every moving average here."""


def _blend(old: float | None, new: float, weight: float) -> float:
    return new if old is None else old + weight * (new - old)


class SwitchCostTracker:
    """Exponential moving averages of switch costs in seconds, per (from, to).

    `from_model` is None for a cold start. The first observation is taken as it is.
    """

    def __init__(self, weight: float = WEIGHT) -> None:
        self._weight = weight
        self._pairs: dict[tuple[str | None, str], float] = {}
        self._hooks: dict[tuple[str, str], float] = {}
        self.by_model: dict[str, tuple[float | None, float | None]] = {}
        """Sleep hook and wake hook of each model of which one was seen, for whoever asks often."""

    def record(self, from_model: str | None, to_model: str, seconds: float) -> float:
        """Learn one observed switch and return the new average."""
        key = (from_model, to_model)
        self._pairs[key] = value = _blend(self._pairs.get(key), seconds, self._weight)
        return value

    def estimate(self, from_model: str | None, to_model: str) -> float | None:
        """Return the average of this very pair, None if it was never seen."""
        return self._pairs.get((from_model, to_model))

    def estimates_from(self, from_model: str | None) -> dict[str, float]:
        """Return every observed target from one origin."""
        return {to: cost for (source, to), cost in self._pairs.items() if source == from_model}

    def record_hook(self, model: str, hook: str, seconds: float) -> None:
        """Learn how long one successful hook took."""
        key = (model, hook)
        self._hooks[key] = _blend(self._hooks.get(key), seconds, self._weight)
        self._join(model)

    def hook_seconds(self, model: str, hook: str) -> float | None:
        """Return the average duration of a hook, None if it never succeeded."""
        return self._hooks.get((model, hook))

    def known(self) -> tuple[dict[tuple[str | None, str], float], dict[tuple[str, str], float]]:
        """Return all that was learned: seconds per (from, to), and per (model, hook)."""
        return dict(self._pairs), dict(self._hooks)

    def restore(
        self,
        pairs: Mapping[tuple[str | None, str], float],
        hooks: Mapping[tuple[str, str], float],
    ) -> None:
        """Take over what an earlier life has learned."""
        self._pairs.update(pairs)
        self._hooks.update(hooks)
        for model, _ in hooks:
            self._join(model)

    def forget(self, model: str) -> None:
        """Drop what was learned of a model that is gone for good."""
        self._pairs = {key: cost for key, cost in self._pairs.items() if model not in key}
        self._hooks = {key: cost for key, cost in self._hooks.items() if key[0] != model}
        self.by_model.pop(model, None)

    def copy(self) -> SwitchCostTracker:
        """Return an independent tracker that knows the same."""
        new = SwitchCostTracker(self._weight)
        new._pairs.update(self._pairs)
        new._hooks.update(self._hooks)
        new.by_model.update(self.by_model)
        return new

    def _join(self, model: str) -> None:
        hooks = self._hooks
        self.by_model[model] = hooks.get((model, "sleep")), hooks.get((model, "wake"))
