"""Who goes next: whom somebody wants, who is overdue, and what is owed to those who are held back.

The questions are asked anew at each fact and change nothing but `held`. It refuses to know how a
switch to the one who was chosen goes on; that is the floor above.
"""

from __future__ import annotations

from llmux.core.holding import Holding
from llmux.core.lane import Lane, Phase
from llmux.core.places import victims

# An enum's member costs several times what a name does, and this is asked for at each fact.
_ASLEEP = Phase.ASLEEP


class Choosing(Holding):
    """The rules that say which model comes next."""

    def _choose(self, now: float) -> Lane | None:
        """Return where to go: who is overdue, an order, else the weightiest waiter (or a hint)."""
        first = self._foremost()
        if first is not None:
            return first
        if self.asking:
            return None
        wished = self._wished()
        if wished:
            return _weightiest(wished, now)
        back = self.restore
        if back is None or self.awake or back.phase is not _ASLEEP or back.resting:
            return None
        return None if self._anybody_askable() else back

    def _next_best(self, now: float) -> Lane | None:
        """Return who is woken when the target lost its reason: in the order of `_choose`."""
        first = self._foremost()
        if first is not None:
            return first
        waiting = self.askable()
        return _weightiest(waiting, now) if waiting else None

    def _foremost(self) -> Lane | None:
        """Return who goes before every wish: who is overdue, else an order that can be met."""
        late = self._late()
        if late is not None:
            return late
        for lane in self.orders.values():
            if lane.phase is _ASLEEP and not lane.resting:
                return lane
        return None

    def _late(self) -> Lane | None:
        """Return the overdue model whose bound was reached first, if one may go."""
        if not self.bounded or not self.waiting_total:
            return None
        first: Lane | None = None
        for lane in self.lanes.values():
            may_go = lane.late and lane.waiting and lane.phase is _ASLEEP and not lane.resting
            if may_go and (first is None or _due(lane) < _due(first)):
                first = lane
        return first

    def _wanted(self, lane: Lane) -> bool:
        wanted = bool(lane.waiting) or lane in self.orders.values() or lane is self.restore
        wanted = wanted or self._announced(lane)
        return wanted or (self.plan is not None and bool(self.plan.renewal))

    def _barred(self, target: Lane) -> bool:
        """Say whether a quarantined model is in the way, which came while others fell asleep."""
        there = [lane.name for lane in self.quarantined]
        return bool(there and victims(target.name, there, self.needs, self.capacities))

    def _hold(self) -> None:
        """Hold new requests for the active model back while somebody overdue can be served."""
        self.held = (
            self.plan is None
            and self._late() is not None
            and not self.quarantined
            and not any(lane.stuck for lane in self.awake)
        )

    def _owes(self, lane: Lane, target: Lane) -> bool:
        """Say whether the model holds somebody back who is overdue and goes before the target.

        Between two that are overdue the deadlines decide, so that nobody is overtaken for ever.
        But who was overdue already when the model was woken is admitted on the same trip: two
        models of one place each would otherwise pay a switch for every request.
        """
        if not lane.waiting or lane.settings.max_wait is None:
            return False
        if not target.overdue:
            return lane.overdue
        return lane.owed > 0 or _due(lane) <= _due(target)


def _weightiest(lanes: list[Lane], now: float) -> Lane:
    """Return the model with the largest weight x age; of equals the one whose oldest came first.

    Where nobody has said a priority that is the one with the oldest request.
    """
    return lanes[0] if len(lanes) == 1 else max(lanes, key=lambda lane: lane.pull(now))


def _due(lane: Lane) -> float:
    oldest = lane.oldest
    return (0.0 if oldest is None else oldest.arrived) + (lane.settings.max_wait or 0.0)
