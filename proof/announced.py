"""Books of hints: which model a client has said it asks for next, and until when that counts.

It refuses to know what a policy makes of it and who waits; only when a hint is over.
"""

from __future__ import annotations


class Announced:
    """The hints of one life; times on the story's clock, in seconds."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        """How long a hint counts; None where the policy listens to none."""
        self._until: dict[str, float] = {}

    def listens(self, seconds: float | None, now: float) -> None:
        """Hear of another policy: what was announced counts at most as long as either says."""
        longer = max(seconds or 0.0, self._seconds or 0.0)
        self._seconds = seconds
        if seconds is None:
            self._until.clear()
        self._until = dict.fromkeys(self._until, now + longer)

    def told(self, model: str, now: float) -> None:
        """Hear that a client has announced a model."""
        if self._seconds is not None:
            self._until[model] = now + self._seconds

    def jumped(self, now: float) -> None:
        """Hear that the clock has just jumped: each hint has its whole time again."""
        self._until = dict.fromkeys(self._until, now + (self._seconds or 0.0))

    def over(self, model: str) -> None:
        """Hear that a wake of the model has ended, or that the config has it no more."""
        self._until.pop(model, None)

    def wrong(self, model: str, now: float) -> str:
        """Say for whom or what the model is wanted where no hint at it counts; empty if one does.

        It is as long as hints count; `now` may be late by what nobody minds.
        """
        until = self._until.get(model)
        if until is None:
            return "nobody"
        return "" if now <= until else f"a hint that is over for {now - until:g} s"
