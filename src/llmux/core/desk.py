"""The desk of the board: who waits, who is inside, who has left.

It holds the state that the other floors of the board share, and the awake path: `enter` and
`leave` are plain calls that allocate nothing for a request whose model is awake. It refuses to
know when the accelerator changes hands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmux.core import effects as fx
from llmux.core import news as n
from llmux.core.costs import SwitchCostTracker
from llmux.core.lane import Change, Lane, LaneSettings, Phase, Wish
from llmux.core.observations import Services
from llmux.core.places import EXCLUSIVE, Needs
from llmux.core.plan import Plan
from llmux.core.rulings import Ruling, Rulings, waiters
from llmux.core.ticket import BEREFT, GONE, INSIDE, LOST, NEW, WAITING, Ticket
from llmux.core.times import Times
from llmux.errors import (
    DrainingError,
    LlmuxError,
    NotReadyError,
    NotRegisteredError,
    QueueFullError,
    QueueTimeoutError,
)
from llmux.policy.base import Reason

ARRIVALS_KEPT = 64
"""Arrivals, and exits, that are logged before they are worked in: few, so that the log stays in the
processor's nearest cache."""

_AWAKE = Phase.AWAKE


class Desk:
    """The state of the board, and the rules for requests."""

    def __init__(
        self,
        models: Iterable[LaneSettings],
        *,
        rate_windows: tuple[float, ...] = (),
        hint_secs: float | None = None,
        needs: Needs | None = None,
        capacities: Mapping[str, float] = EXCLUSIVE,
        survey: bool = False,
        max_buffered: int | None = None,
    ) -> None:
        self.lanes = {one.name: Lane(one, rate_windows) for one in models}
        self.rate_windows = rate_windows
        self.needs: Needs = needs or {}
        self.capacities = capacities
        self.awake: list[Lane] = []
        """Models that are awake and admit, longest awake first."""
        self.plan: Plan | None = None
        self.orders: dict[int, Lane] = {}
        self.hint_secs = hint_secs
        """How long a hint counts; None: hints are not listened to."""
        self.hints: dict[Lane, int] = {}
        """Models that clients have announced, oldest first, and how often each is looked at yet."""
        self.asking: set[str] = set()
        """Models about which the policy was asked and has not answered yet."""
        self.dirty = False
        """Something has changed since the policy was asked last."""
        self.turn_asked = False
        self.closed = False
        self.stale: set[Lane] = set()
        """Models in which another request is to be watched since this turn of `handle`."""
        self.held = False
        """Somebody is overdue: the active model admits nothing new."""
        self.restore: Lane | None = None
        """The model that a failed wake took the accelerator from."""
        self.waiting_total = 0
        self.buffered = 0
        """Bytes of all requests that wait."""
        self.max_buffered = max_buffered
        self.costs = SwitchCostTracker()
        self.services = Services()
        self.times = Times()
        self.rulings = Rulings()
        self.first_arrival: float | None = None
        self.news: list[n.News] = []
        self._effects: list[fx.Effect] = []
        self._number = 0
        self.changing = False
        """Some model is up that the config has changed or does not have any more."""
        self.surveying = survey
        """The look at every model at the start is not over yet."""
        if survey:
            for lane in self.lanes.values():
                lane.phase = Phase.UNKNOWN

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

    def fold(self, now: float) -> None:
        """Work the exits that were logged into the times and the averages."""
        exits = self.services.log
        self.times.settle(self.lanes.values(), exits, now)
        for lane in {lane for lane, _, _ in exits if lane.rate_windows}:
            inside = min((one.admitted or 0.0 for one in lane.inside), default=None)
            mine = [(admitted, left) for one, admitted, left in exits if one is lane]
            lane.lulls.read_exits(mine, inside)
        self.services.fold()

    def refusal(self, lane: Lane, now: float, size: int = 0) -> LlmuxError | None:
        """Say why a request of so many bytes is not even queued for this model, None if it is."""
        if self.closed:
            return DrainingError("the gateway is shutting down", retry_after=1.0)
        if lane.resting and lane.phase is not _AWAKE and lane.change is not Change.REMOVE:
            left = 0.0 if lane.rest_until is None else max(0.0, lane.rest_until - now)
            return NotReadyError(
                f"{lane.name} failed to wake; it is tried again in {left:.1f} s", retry_after=left
            )
        return self._forbidden(lane) or self._crowded(lane, now, size)

    def _forbidden(self, lane: Lane) -> LlmuxError | None:
        """Say why not even a request that was inside already may wait for this model."""
        if self.closed:
            return DrainingError("the gateway is shutting down", retry_after=1.0)
        if lane.change is Change.REMOVE:
            return removed(lane.name)
        if lane.phase is Phase.QUARANTINED:
            return NotReadyError(
                f"{lane.name} is in quarantine: it is neither alive nor provably asleep",
                retry_after=lane.settings.breaker_max,
            )
        return None

    def _crowded(self, lane: Lane, now: float, size: int) -> LlmuxError | None:
        """Say which bound of those who wait one more request would pass."""
        if self.has_room(lane):
            return None
        bound, most = lane.settings.max_queue, self.max_buffered
        if bound is not None and len(lane.waiting) >= bound:
            return QueueFullError(
                f"{bound} requests wait for {lane.name} already",
                retry_after=self.estimate(lane, now),
            )
        if most is not None and size > most:
            error = QueueFullError(
                f"the request's {size} bytes may not wait: max_buffered_bytes is {most}"
            )
            error.retryable = False
            return error
        if most is not None and self.buffered + size > most:
            return QueueFullError(
                f"the requests that wait hold {self.buffered} bytes already: "
                f"{size} more would pass max_buffered_bytes, which is {most}",
                retry_after=self.estimate(lane, now),
            )
        return None

    def has_room(self, lane: Lane) -> bool:
        """Say whether the model admits one more request now."""
        return lane.phase is _AWAKE and not self.held and not self.closed and lane.has_place

    def estimate(self, lane: Lane, now: float) -> float:
        """Guess in how many seconds the model may serve, from learned costs and the backlog."""
        self.fold(now)
        costs = self.costs
        turns = 0.0 if lane.limit is None else (len(lane.waiting) + 1) / lane.limit
        ahead = turns * (lane.service_mean or 0.0)
        if lane.phase is _AWAKE:
            return max(1.0, ahead)
        seconds = (costs.hook_seconds(lane.name, "wake") or 5.0) + ahead
        for other in self.lanes.values():
            if other is lane:
                continue
            if other.phase in {Phase.AWAKE, Phase.DRAINING}:
                seconds += costs.hook_seconds(other.name, "sleep") or 1.0
                seconds += (other.service_mean or 0.0) * bool(other.inside)
            elif other.waiting:
                seconds += costs.hook_seconds(other.name, "wake") or 5.0
        plan = self.plan
        if plan is not None and plan.target is lane:
            seconds = max(1.0, seconds - (now - plan.started))
        return seconds

    def lane(self, model: str) -> Lane:
        """Return the lane of a model; NotRegisteredError if there is none."""
        lane = self.lanes.get(model)
        if lane is None or lane.change is Change.REMOVE:
            raise NotRegisteredError(f"model not found: {model!r}")
        return lane

    def take_news(self) -> list[n.News]:
        """Hand over what has become worth telling since the last call."""
        out, self.news = self.news, []
        return out

    def _note(
        self,
        rule: str,
        lane: Lane,
        *facts: object,
        again: float | None = None,
        reason: str | Reason | None = None,
    ) -> Ruling:
        """Remember what was decided about a model, and why; it changes nothing."""
        if self.plan is not None:
            active = self.plan.source
        else:
            active = self.awake[-1] if self.awake else None
        rulings, name = self.rulings, None if active is None else active.name
        ruling = rulings.note(rule, lane, name, facts, again, reason)
        if ruling.count == 1 and self.waiting_total > len(lane.waiting):
            ruling.alternatives = tuple(
                waiters(other, rulings.now)
                for other in self.lanes.values()
                if other.waiting and other is not lane
            )
        return ruling

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


def removed(model: str) -> NotRegisteredError:
    """Say to whoever still comes for it that the model was taken out of the config."""
    return NotRegisteredError(f"model not found: {model!r} was taken out of the config")
