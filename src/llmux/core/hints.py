"""Hints: a client has said which model it asks for next, so that a switch need not wait for it.

A hint counts after the answer that it came with, for as long as the policy says, and only while
nobody waits and nobody is served: it takes the accelerator from nobody. Then the policy is asked
about the model as if somebody waited. This floor refuses to know who may give a hint and how a
switch goes on.
"""

from __future__ import annotations

from llmux.core import effects as fx
from llmux.core.lane import Change, Lane, Phase
from llmux.core.wishes import Wishes

LOOKS = 5
"""Looks at a hint until it has expired: the awake model may become empty meanwhile."""


class Hints(Wishes):
    """The rules for models that are announced."""

    looks = LOOKS

    def _announce(self, lane: Lane) -> None:
        """Expect a request for the model soon, unless it is awake anyway."""
        if self.hint_secs is None or self.closed:
            return
        if lane.phase is Phase.AWAKE or lane.change is Change.REMOVE:
            return
        self.hints[lane] = self.looks
        self.dirty = True
        self._look_later(lane, self.hint_secs)

    def _announced(self, lane: Lane) -> bool:
        """Say whether a hint is enough to go on with: nobody waits, nobody is served."""
        if lane not in self.hints or self.waiting_total:
            return False
        return self.plan is None or not any(one.inside for one in self.plan.leaving)

    def _look_at_hint(self, lane: Lane) -> None:
        """Look again whether the hint can be followed now, or forget it at its end."""
        left = self.hints.get(lane, 0) - 1
        self.dirty = True
        if left > 0 and self.hint_secs is not None:
            self.hints[lane] = left
            self._look_later(lane, self.hint_secs)
        else:
            self._forget_hint(lane)

    def _look_later(self, lane: Lane, seconds: float) -> None:
        self._effects.append(fx.SetAlarm(("hint", lane.name), seconds / self.looks))

    def _drop_hint(self, lane: Lane) -> None:
        """Forget the hint: it was followed, or it cannot be."""
        if lane in self.hints:
            self._effects.append(fx.CancelAlarm(("hint", lane.name)))
            self._forget_hint(lane)

    def _drop_hints(self) -> None:
        """Forget all hints: whoever was to follow them does not listen any more."""
        for lane in list(self.hints):
            self._drop_hint(lane)

    def _forget_hint(self, lane: Lane) -> None:
        if self.hints.pop(lane, None) is not None and not lane.waiting:
            lane.reason = None
            self._forget_wish(lane)
