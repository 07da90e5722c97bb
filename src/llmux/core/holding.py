"""What holds a switch back that somebody wants, and what is remembered when one begins.

It refuses to know how a switch goes on; that is the floor above.
"""

from __future__ import annotations

from math import inf

from llmux.core.health import Health
from llmux.core.lane import Lane, Phase, Wish
from llmux.core.plan import Plan
from llmux.core.rulings import HOLDS


class Holding(Health):
    """The rules that say whether a model may be left yet."""

    def _blocked(self, target: Lane, leaving: list[Lane], now: float) -> bool:
        """Say whether somebody who would have to go may not be left yet, and remember why."""
        for lane in leaving:
            if lane.phase is Phase.QUARANTINED or lane.stuck:
                rule = "quarantine" if lane.phase is Phase.QUARANTINED else "stuck"
                self._note(rule, target, lane.name, again=self._stuck_for(lane))
                return True
        for lane in leaving:
            if lane.fresh and not target.overdue:
                active = now - (lane.activated_at or 0.0)
                bound = lane.settings.min_active
                again = max(0.0, bound - active)
                self._note("min_active", target, lane.name, active, bound, again=again)
                return True
        return False

    def _note_start(self, plan: Plan) -> None:
        """Remember why a switch begins: the same questions as in `_choose`, in the same order."""
        target, source = plan.target, plan.source
        held = self.rulings.last.get(target.name)
        facts: tuple[object, ...] = (0 if source is None else len(source.inside), None, 0.0)
        came = -inf if target.oldest is None else target.oldest.arrived
        if held is not None and held.rule in HOLDS and held.last >= came:  # else it held others
            facts = (facts[0], held.rule, self.rulings.now - max(held.first, came))
        if target.overdue and target.waiting:
            self._note("overdue", target, *facts, target.settings.max_wait)
        elif target in self.orders.values():
            self._note("order", target, *facts, target.ordered_by)
        elif target.waiting:
            matured = target.wish is Wish.MATURED
            self._note("policy", target, *facts, matured, reason=target.reason)
        elif target is self.restore:
            self._note("restore", target, *facts)
        else:
            self._note("announced", target, *facts)
