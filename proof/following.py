"""Books of a config that is read anew: which models must go, and which must not wake by old hooks.

It refuses to know when the board brings a change about; only what must not happen before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llmux.core import events as ev
from proof.chance import Chance

DOWN = frozenset({"asleep", "dead", "unknown"})
"""What was told of a model that is not up."""


class Following:
    """What is left to be done of the configs that were read so far."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.gone: set[str] = set()
        """Models that the config does not have any more, and that are not forgotten yet."""
        self.outdated: set[str] = set()
        """Models that are up by hooks which the config has changed since."""
        self._mended: frozenset[str] = frozenset()
        """Of those, the ones whose new hooks may be tried where the old have failed."""

    def begins(
        self, event: ev.Reconfigured, before: Collection[str], told: Mapping[str, str]
    ) -> None:
        """Hear of another config, of the models before, and of what was told of each."""
        self.gone = set(before) - {one.name for one in event.models}
        self._mended = event.mended
        changed = event.renewed | event.mended
        self.outdated = {name for name in changed if told.get(name, "asleep") not in DOWN}

    def renewed(self, model: str, told: str) -> None:
        """Hear that the new hooks of a model hold, of which this was told last."""
        if told not in DOWN and model not in self._mended:
            self._chance.violated(f"new hooks hold for {model} while it is {told}")
        self.outdated.discard(model)

    def forgotten(self, model: str, told: str) -> None:
        """Hear that a model is forgotten, of which this was told last."""
        if model not in self.gone:
            self._chance.violated(f"{model} is forgotten and was not removed")
        if told not in DOWN:
            self._chance.violated(f"{model} is forgotten while it is {told}")
        self.gone.discard(model)
