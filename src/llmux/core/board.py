"""The switchboard: the one owner of who is awake, who waits and who is inside.

It is a table over (state, event): facts go in through `handle`, orders come out as effects, and
what is worth telling is left in `news`. It refuses to know loops, clocks, processes, sockets and
logs; `now` is an argument and informs, only alarms open gates. `enter` and `leave` are the awake
path: plain calls that allocate nothing for a request whose model is awake.
"""

from __future__ import annotations

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core.canonical import BoardForm, canonical, copied
from llmux.core.lane import Change, Lane, Phase
from llmux.core.ledger import removed
from llmux.core.plan import IDLE
from llmux.core.renewal import Renewal
from llmux.core.ticket import NEW, Ticket
from llmux.errors import DrainingError


class Switchboard(Renewal):
    """The rules of switching for a set of models. Not thread-safe, never re-entered."""

    # ---- the table -----------------------------------------------------------------------

    def handle(self, event: ev.Event, now: float) -> list[fx.Effect]:  # noqa: PLR0912, PLR0915 -- the table
        """Take one fact and return what has to be done about it, in order."""
        self.rulings.now = now
        match event:  # what comes most often stands first, and is not taken apart by a pattern
            case ev.PolicyAnswered() if event.for_all or event.model in self.lanes:
                self._take_answer(event)
                if self.asking:  # nothing but wishes has changed, and they are not complete yet
                    return self._take_effects()
            case ev.AlarmRang():
                if self.turn_asked and event.key[0] == "ask":
                    return self._take_effects()  # it will be asked when this turn is over
                self._ring(event.key, now)
            case ev.TurnEnded():
                self._end_turn()
                if self.asking:
                    return self._take_effects()
            case ev.Looked():
                pass
            case ev.RequestArrived(ticket):
                if ticket.stage == NEW and not self.enter(ticket, now):
                    self._queue(ticket, now)
            case ev.RequestWaits(ticket):
                self._queue(ticket, now)
            case ev.RequestLeft(ticket):
                self.leave(ticket, now)
            case ev.DeferEnded(model) if model in self.lanes:
                self._mature(self.lanes[model])
            case ev.PrepareEnded(number):
                if self.plan is not None and self.plan.number == number:
                    self.plan.prepared = True
            case ev.HookEnded():
                self._end_hook(event, now)
            case ev.OrderGiven(number, model, by):
                self._take_order(number, model, by)
            case ev.OrderWithdrawn(number):
                self.orders.pop(number, None)
            case ev.Announced(model) if model in self.lanes:
                self._announce(self.lanes[model])
            case ev.Returning(ticket) if ticket.lane.rate_windows:  # else nobody would look
                ticket.lane.returns.expect(now, ticket.weight)
            case ev.RequestReturned(ticket):
                self._return(ticket, now)
            case ev.Surveyed(awake, unclear):
                self._survey(awake, unclear, now)
            case ev.BackendDied(model) if model in self.lanes:
                self._die(event, now)
            case ev.Recovered(model) if model in self.lanes:
                self._recovered(self.lanes[model], now)
            case ev.Reconfigured() if not self.closed:
                self._reconfigure(event, now)
            case ev.GatewayClosing():
                self._close()
            case _:
                pass  # about a model that is gone
        self._advance(now)
        return self._take_effects()

    def _take_effects(self) -> list[fx.Effect]:
        out, self._effects = self._effects, []
        return out

    # ---- alarms, orders, the end -----------------------------------------------------------

    def _ring(self, key: fx.AlarmKey, now: float) -> None:
        kind, about = key
        if isinstance(about, Ticket):
            self._time_out(about)
            return
        lane = self.lanes.get(about)
        if lane is None:
            return
        match kind:
            case "min_active":
                lane.fresh = False
                self.dirty = True
            case "rest":
                lane.resting = False
                self.dirty = True
            case "stuck":
                self._unstick(lane, now)
            case "overdue":
                self._fall_due(lane, now)
            case "ask":
                self.dirty = True
            case "defer":
                self._mature(lane)
            case "hint":
                self._look_at_hint(lane)
            case "drain":
                self.fold(now)
                self._cut(lane)

    def _take_order(self, number: int, model: str, by: str) -> None:
        lane = self.lanes.get(model)
        if lane is None or lane.change is Change.REMOVE:
            self._effects.append(fx.SettleOrder(number, removed(model)))
        elif self.closed:
            error = DrainingError("the gateway is shutting down")
            self._effects.append(fx.SettleOrder(number, error))
        elif lane.phase is Phase.AWAKE:
            self._effects.append(fx.SettleOrder(number, None))
        else:
            self.orders[number] = lane
            lane.ordered_by = by

    def _close(self) -> None:
        self.closed = True
        for lane in self.lanes.values():
            self._reject_waiting(lane, DrainingError("the gateway is shutting down"))
            self._settle_orders(lane, DrainingError("the gateway is shutting down"))

    # ---- looking at it ----------------------------------------------------------------------

    @property
    def active(self) -> Lane | None:
        """The model that is active in the contract's view: awake and not being left."""
        return self.awake[-1] if self.awake else None

    def canonical(self) -> BoardForm:
        """Return a hashable form, equal for boards that no order of facts can tell apart."""
        return canonical(self)

    def copy(self, renamed: dict[Ticket, Ticket] | None = None) -> Switchboard:
        """Return an independent copy, to be made between two facts; `renamed` takes the twins."""
        return copied(self, {} if renamed is None else renamed)

    def __repr__(self) -> str:
        plan = self.plan
        if plan is not None:
            where = f"{plan.source_name}->{plan.target.name} {plan.stage.value}"
        else:
            where = IDLE if self.active is None else f"{self.active.name} awake"
        lanes = " | ".join(
            f"{lane.name} {len(lane.waiting)} waiting {len(lane.inside)} inside"
            for lane in self.lanes.values()
            if lane.waiting or lane.inside
        )
        return f"<Switchboard {where}{' | ' if lanes else ''}{lanes}>"
