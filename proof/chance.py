"""What a seed decides: which fault strikes when, and the log whose hash names the whole story.

Each fault that strikes is counted by its kind and by the phase of the switch that it met. Times are
multiples of a quarter of a second, so that things that must not matter to each other meet in one
tick. It refuses to know what a fault does.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class ViolationError(AssertionError):
    """An invariant does not hold."""


class Chance:
    """The dice of one story; `now` gives the virtual time, `phase` where the switch stands."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.faulty = True
        """Whether faults strike at all; false once the fair end of the story has begun."""
        self.rate = 1.0
        self.struck: Counter[tuple[str, str]] = Counter()
        self.events = 0
        self.found: list[str] = []
        """Invariants that did not hold, the first one first."""
        self.now: Callable[[], float] = lambda: 0.0
        self.phase: Callable[[], str] = lambda: "restart"
        self._hash = hashlib.blake2b(digest_size=16)
        self._lines: list[str] = []
        self._at = -1.0
        self._stamp = ""
        """The time of the latest line, written out: many lines are of one moment."""
        self.tail: list[str] = []
        self.keep = 0
        """How many of the latest lines of the log are kept in `tail`, to be read."""

    def strikes(self, kind: str, chance: float) -> bool:
        """Say whether a fault of this kind strikes now, and count it."""
        if not self.faulty or self.dice.random() >= chance * self.rate:
            return False
        self.struck[kind, self.phase()] += 1
        self.note(f"! {kind}")
        return True

    def violated(self, what: str) -> None:
        """Write down that an invariant does not hold; the story ends as soon as it looks."""
        self.note(f"VIOLATION {what}")
        self.found.append(what)

    def hold(self) -> None:
        """Raise what was found; ViolationError."""
        if self.found:
            raise ViolationError(self.found[0])

    def one(self, things: Sequence[T]) -> T:
        """Choose one of these."""
        return things[int(self.dice.random() * len(things))]

    def sometimes(self, chance: float) -> bool:
        """Say yes that often."""
        return self.dice.random() < chance

    def note(self, line: str) -> None:
        """Write a line of the log."""
        now = self.now()
        if now != self._at:
            self._at, self._stamp = now, f"{now:.6f} "
        self._lines.append(self._stamp + line)
        if len(self._lines) >= 256:
            self._flush()

    def digest(self) -> str:
        """Return what names everything that has happened so far."""
        self._flush()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        if self._lines:
            self._hash.update("\n".join([*self._lines, ""]).encode())
            if self.keep:
                self.tail = [*self.tail, *self._lines][-self.keep :]
            self._lines.clear()

    def latest(self) -> str:
        """Return the last lines of the log."""
        self._flush()
        return "".join([f"{line}\n" for line in self.tail])
