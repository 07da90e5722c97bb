"""A board that keeps what it is told, and what it orders, until somebody takes it.

It is used in place of `Switchboard` where a journal is wanted, so that a gateway without one has
nothing to pay. Each entry is one tuple at the end of a bounded tape; whoever takes entries, from
another thread if need be, says what becomes of them. It refuses to know files and how facts are
written down.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core.board import Switchboard
from llmux.core.lane import Lane
from llmux.core.ticket import Ticket

ENTERED: Final = 0
LEFT: Final = 1
TOLD: Final = 2
ANSWERED: Final = 3
LEARNED: Final = 4
FOLLOWED: Final = 5

MOST: Final = 50_000
"""Entries that may wait to be taken; the oldest are lost above it, and whoever takes them knows."""

Entry = tuple[float, int, Any, Any]
"""When (on the board's clock), what, about whom, and what came of it:

`ENTERED` ticket, whether it was admitted; `LEFT` ticket; `TOLD` event, effects; `ANSWERED` model;
`LEARNED` what is known of pairs and of hooks; `FOLLOWED` another policy's name and options.
"""


class RecordedBoard(Switchboard):
    """The switchboard with a tape. Its driver enters and leaves by the calls, not by events."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.tape: deque[Entry] = deque(maxlen=MOST)
        self._write = self.tape.append

    def enter(self, ticket: Ticket, now: float) -> bool:
        """Do what a board does, and keep it."""
        inside = Switchboard.enter(self, ticket, now)
        self._write((now, ENTERED, ticket, inside))
        return inside

    def leave(self, ticket: Ticket, now: float) -> bool:
        """Do what a board does, and keep it."""
        self._write((now, LEFT, ticket, None))
        return Switchboard.leave(self, ticket, now)

    def handle(self, event: ev.Event, now: float) -> list[fx.Effect]:
        """Do what a board does, and keep it."""
        if type(event) is ev.Surveyed:
            self._write((now, LEARNED, self.costs.known(), None))
        effects = Switchboard.handle(self, event, now)
        self._write((now, TOLD, event, effects))
        return effects

    def answered(self, lane: Lane) -> None:
        """Do what a board does, and keep it; its time is that of what was told before."""
        if not lane.proven or lane.level:
            self._write((self.rulings.now, ANSWERED, lane.name, None))
        Switchboard.answered(self, lane)
