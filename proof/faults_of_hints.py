"""The faults about hints planted for the simulation: one for each thing that a hint may not do."""

from __future__ import annotations

from tests.mutants.table import Mutant

_HINTS = "core/hints.py"
_RENEWAL = "core/renewal.py"
_SWITCH = "core/switching.py"
_WISHES = "core/wishes.py"

HINTS = [
    Mutant(
        "a hint goes before somebody who waits",
        _HINTS,
        "        if lane not in self.hints or self.waiting_total:\n",
        "        if lane not in self.hints:\n",
    ),
    Mutant(
        "a hint keeps a drain alive under those who are served",
        _HINTS,
        "        return self.plan is None or not any(one.inside for one in self.plan.leaving)\n",
        "        return True\n",
    ),
    Mutant(
        "a hint takes the accelerator from whoever is served",
        _WISHES,
        "        if any(lane.inside for lane in self.awake):\n            return []\n",
        "",
    ),
    Mutant(
        "a hint at a model that is up, hangs or rests is followed",
        _WISHES,
        "[one for one in self.hints if one.phase is _ASLEEP and not one.resting]",
        "list(self.hints)",
    ),
    Mutant(
        "a hint is never over",
        _HINTS,
        "        left = self.hints.get(lane, 0) - 1\n",
        "        left = self.hints.get(lane, 0)\n",
    ),
    Mutant(
        "a hint outlives the wake that it failed with",
        _SWITCH,
        "        lane.last_failure = now\n        self._drop_hint(lane)\n",
        "        lane.last_failure = now\n",
    ),
    Mutant(
        "a hint outlives the model that it is at",
        _RENEWAL,
        "        self.dirty = True\n        self._drop_hint(lane)\n",
        "        self.dirty = True\n",
    ),
    Mutant(
        "a policy that listens to no hints is asked about an old one",
        _RENEWAL,
        "            if event.hint_secs is None:\n                self._drop_hints()\n",
        "",
    ),
    Mutant(
        "what was said of a hint counts for who comes",
        "core/desk.py",
        "        if not lane.waiting and lane.wish is not Wish.NONE:\n",
        "        if False:\n",
    ),
]
