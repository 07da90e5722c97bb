"""The real board and the real driver, and somebody who hears what they are told and order.

Nothing is changed of what they do. It refuses to know what is held against them: that is the
watch's.
"""

from __future__ import annotations

from collections.abc import Callable, Set

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core.board import Switchboard
from llmux.core.plan import Stage
from llmux.core.ticket import GONE, NEW, Ticket
from llmux.runtime.switcher import ModelSwitcher
from proof.watch import Watch


class WatchedBoard(Switchboard):
    """The real board, with somebody who listens to what it is told and what it orders."""

    watch: Watch

    def handle(self, event: ev.Event, now: float) -> list[fx.Effect]:
        """Take one fact as the board does."""
        watch = self.watch
        watch.before(event, now)
        plan = self.plan
        orders = super().handle(event, now)
        watch.after(event, orders, now)
        if self.plan is not plan and self.plan is not None and not self.plan.recovering:
            watch.chosen(self.plan.target.name, now)
            if self.plan.stage is Stage.DRAINING and self.plan.source is not None:
                watch.leaves(self.plan.source.name, now)
        return orders

    def enter(self, ticket: Ticket, now: float) -> bool:
        """Admit or not as the board does."""
        admitted = super().enter(ticket, now)
        self.watch.entered(ticket, now, admitted)
        return admitted

    def leave(self, ticket: Ticket, now: float) -> bool:
        """Count out as the board does."""
        was = ticket.stage
        look = super().leave(ticket, now)
        if was not in {GONE, NEW}:
            self.watch.left(ticket, now)
        return look


class WatchedSwitcher(ModelSwitcher):
    """The real switcher, its board watched, and its fence timed by the virtual clock."""

    board: WatchedBoard
    perished = False

    def tell(self, fact: ev.Event) -> None:
        """Take a fact as the switcher does, as long as it lives."""
        if not self.perished:
            outermost = not self._busy
            super().tell(fact)
            if outermost:
                self.board.watch.settled()

    def look_through(self, watch: Watch, stopwatch: Callable[[], float]) -> None:
        """Begin to watch; to be called before the first fact."""
        self.board.__class__ = WatchedBoard
        self.board.watch = watch
        self.time_by(stopwatch)
        watch.look_at(self, self.board)

    def time_by(self, stopwatch: Callable[[], float]) -> None:
        """Say what the policy's calls are timed by."""
        self._guard._stopwatch = stopwatch

    @property
    def living(self) -> Set[int]:
        """The orders that somebody still waits for."""
        return self._orders.keys()

    def perish(self) -> None:
        """Go as kill -9 lets it go."""
        self.perished = True
        for handle in self._alarms.values():
            handle.cancel()
        for task in self._tasks:
            task.cancel()
