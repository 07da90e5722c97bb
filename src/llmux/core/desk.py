"""The desk of the board: who waits, who is inside, who has left.

It holds the awake path: `enter` and `leave` are plain calls that allocate nothing for a request
whose model is awake. It refuses to know when the accelerator changes hands.
"""

from __future__ import annotations

from llmux.core import effects as fx
from llmux.core import news as n
from llmux.core.lane import Lane, Phase, Wish
from llmux.core.ledger import Ledger
from llmux.core.ticket import BEREFT, GONE, INSIDE, LOST, NEW, WAITING, Ticket
from llmux.errors import LlmuxError, QueueTimeoutError

ARRIVALS_KEPT = 64
"""Arrivals, and exits, that are logged before they are worked in: few, so that the log stays in the
processor's nearest cache."""

_AWAKE = Phase.AWAKE


class Desk(Ledger):
    """The rules for requests."""

    # ---- the awake path ------------------------------------------------------------------

    def enter(self, ticket: Ticket, now: float) -> bool:
        """Admit the ticket if its model is awake; False means it has to wait (`RequestWaits`)."""
        lane = ticket.lane
        if self.first_arrival is None:
            self.first_arrival = now
        lane.last_arrival = now
        if lane.rate_windows:
            log = lane.arrival_log
            log.append((now, ticket.weight))
            if len(log) >= ARRIVALS_KEPT:
                self.fold(now)
                lane.fold_arrivals(now)
        if (
            lane.phase is _AWAKE
            and not self.closed
            and not self.held
            and (lane.limit is None or (len(lane.inside) < lane.limit and not lane.waiting))
        ):
            ticket.stage = INSIDE
            ticket.admitted = now
            lane.inside[ticket] = None
            if self.waiting_total:
                self.dirty = True
            return True
        return False

    def leave(self, ticket: Ticket, now: float) -> bool:
        """Count the ticket out, wherever it stands; True means that `Looked` has to follow."""
        stage = ticket.stage
        ticket.stage = GONE
        if stage == INSIDE:
            lane = ticket.lane
            del lane.inside[ticket]
            log = self.services.log
            log.append((lane, ticket.admitted, now))
            if self.plan is None and not self.waiting_total:
                if len(log) >= ARRIVALS_KEPT:
                    self.fold(now)
                return False
            if lane.pace is not None:
                lane.pace.learn(ticket, now)
            self.dirty = True
            return True
        if stage == WAITING:
            self._unqueue(ticket)
            self.dirty = True
            return True
        if stage in {LOST, BEREFT}:
            ticket.lane.lost.discard(ticket)
        return False

    # ---- requests ------------------------------------------------------------------------

    def _queue(self, ticket: Ticket, now: float, *, again: bool = False) -> None:
        if ticket.stage != NEW:
            return
        lane = ticket.lane
        error = self._forbidden(lane) if again else self.refusal(lane, now, ticket.size)
        if error is not None:
            ticket.stage = GONE
            self._effects.append(fx.Reject(ticket, error))
            return
        if not lane.waiting and self.has_room(lane):
            lane.put_inside(ticket, now)
            self._effects.append(fx.Admit(ticket))
            return
        if not lane.waiting and lane.wish is not Wish.NONE:
            self._forget_wish(lane)  # it was said of a hint, when nobody was served
        ticket.stage = WAITING
        lane.queue(ticket)
        if lane.watched is None:
            self._watch(lane, now)
        self.waiting_total += 1
        self.buffered += ticket.size
        self.dirty = True
        timeout = lane.settings.request_timeout
        if timeout is not None:
            left = ticket.arrived + timeout - now
            self._effects.append(fx.SetAlarm(("deadline", ticket), max(0.0, left)))

    def _return(self, ticket: Ticket, now: float) -> None:
        """Let a request that was inside wait again; it keeps its place by its arrival.

        It was admitted once, so neither a full queue nor the breaker sends it away now.
        """
        self.fold(now)
        lane = ticket.lane
        if ticket.stage == INSIDE:
            del lane.inside[ticket]
        elif ticket.stage in {LOST, BEREFT}:
            lane.lost.discard(ticket)
        else:
            return
        ticket.stage = NEW
        ticket.admitted = None
        self._note("rescue", lane)
        self._queue(ticket, now, again=True)
        if ticket.stage == WAITING and len(lane.waiting) > 1:
            lane.sort()
            self.stale.add(lane)

    def _unqueue(self, ticket: Ticket) -> None:
        """Take a ticket out of its queue; what it becomes is the caller's to say."""
        lane = ticket.lane
        lane.unqueue(ticket)
        if ticket is lane.watched:
            lane.watched = None
            self._effects.append(fx.CancelAlarm(("overdue", lane.name)))
            self.stale.add(lane)
        self.waiting_total -= 1
        self.buffered -= ticket.size
        if lane.settings.request_timeout is not None:
            self._effects.append(fx.CancelAlarm(("deadline", ticket)))
        if not lane.waiting:
            lane.reason = None
            self._forget_wish(lane)

    def _watch(self, lane: Lane, now: float) -> None:
        """Set the alarm at which the next of those who wait is overdue.

        Each is noted when its own alarm rings, so that nobody who is overdue is taken for
        somebody who is not, in whatever moment one before it leaves.
        """
        bound = lane.settings.max_wait
        if bound is None:
            return
        lane.watched = next((one for one in lane.waiting if one not in lane.late), None)
        if lane.watched is not None:
            left = lane.watched.arrived + bound - now
            self._effects.append(fx.SetAlarm(("overdue", lane.name), max(0.0, left)))

    def _renew_watches(self, now: float) -> None:
        """Follow the queues in which another request will be overdue next."""
        for lane in self.lanes.values():
            if lane in self.stale:
                self._watch(lane, now)
        self.stale.clear()

    def _admit_waiting(self, lane: Lane, now: float, source: str | None) -> None:
        """Admit those who wait for an awake model, in order, as far as it has room."""
        while lane.has_place and (ticket := self._next(lane, now)):
            self._admit(ticket, now, source)

    def _next(self, lane: Lane, now: float) -> Ticket | None:
        """Return who is admitted next: the largest weight x age.

        While the model is overdue its oldest request goes first, whatever the others weigh: that
        is the promise of `max_wait`. Where all are admitted at once the order does not matter.
        """
        if lane.limit is None or lane.overdue:
            return lane.oldest
        return lane.foremost(now)

    def _admit(self, ticket: Ticket, now: float, source: str | None) -> None:
        lane = ticket.lane
        self._unqueue(ticket)
        lane.put_inside(ticket, now)
        ticket.switched_from = source
        self._effects.append(fx.Admit(ticket))

    def _reject_waiting(self, lane: Lane, error: LlmuxError | None) -> None:
        if error is None:
            return
        for ticket in list(lane.waiting):
            self._unqueue(ticket)
            ticket.stage = GONE
            self._effects.append(fx.Reject(ticket, error))

    def _settle_orders(self, lane: Lane, error: LlmuxError | None) -> None:
        for number in [one for one, wanted in self.orders.items() if wanted is lane]:
            del self.orders[number]
            self._effects.append(fx.SettleOrder(number, error))

    def _forget_wish(self, lane: Lane) -> None:
        """Forget what the policy wanted of the model, and the alarms of it."""
        if lane.wish is Wish.DEFERRED:
            self._effects.append(fx.CancelAlarm(("defer", lane.name)))
        self._effects.append(fx.CancelAlarm(("ask", lane.name)))
        lane.wish = Wish.NONE

    def _time_out(self, ticket: Ticket) -> None:
        if ticket.stage != WAITING:
            return
        lane = ticket.lane
        timeout = lane.settings.request_timeout or 0.0
        self._unqueue(ticket)
        ticket.stage = GONE
        self.dirty = True
        error = QueueTimeoutError(f"{lane.name} did not become ready within {timeout:g} s")
        self._effects.append(fx.Reject(ticket, error))
        self._note("timeout", lane, timeout)
        self.news.append(n.RequestTimedOut(lane.name, timeout))
