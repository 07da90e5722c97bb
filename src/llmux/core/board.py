"""The switchboard: the one owner of who is awake, who waits and who is inside.

It is a table over (state, event): facts go in through `handle`, orders come out as effects, and
what is worth telling is left in `news`. It refuses to know loops, clocks, processes, sockets and
logs; `now` is an argument and informs, only alarms open gates. `enter` and `leave` are the awake
path: plain calls that allocate nothing for a request whose model is awake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core import news as n
from llmux.core.canonical import BoardForm, canonical, copied
from llmux.core.costs import SwitchCostTracker
from llmux.core.lane import Lane, LaneSettings, Phase, Wish
from llmux.core.observations import Services
from llmux.core.places import EXCLUSIVE, Needs, victims
from llmux.core.plan import IDLE, Plan, Stage
from llmux.core.ticket import GONE, INSIDE, NEW, WAITING, Ticket
from llmux.errors import (
    DrainingError,
    DrainTimeoutError,
    HookFailedError,
    LlmuxError,
    NotRegisteredError,
    QueueTimeoutError,
)
from llmux.policy.base import Decision, Defer, Skip, SwitchNow

REST_SECONDS = 2.0
"""How long a model whose wake failed is left alone."""
ASK_AGAIN_SECONDS = 5.0
"""When a policy is asked again at the latest after a Skip that names no time."""
SHORTEST_ASK = 0.001
ARRIVALS_KEPT = 256
"""Arrivals that are logged before they are folded into the decayed sums."""

_AWAKE = Phase.AWAKE


class Switchboard:
    """The rules of switching for a set of models. Not thread-safe, never re-entered."""

    def __init__(
        self,
        models: Iterable[LaneSettings],
        *,
        rate_windows: tuple[float, ...] = (),
        needs: Needs | None = None,
        capacities: Mapping[str, float] = EXCLUSIVE,
    ) -> None:
        self.lanes = {one.name: Lane(one, rate_windows) for one in models}
        self.needs: Needs = needs or {}
        self.capacities = capacities
        self.awake: list[Lane] = []
        """Models that are awake and admit, longest awake first."""
        self.plan: Plan | None = None
        self.orders: dict[int, Lane] = {}
        self.asking: set[str] = set()
        """Models about which the policy was asked and has not answered yet."""
        self.dirty = False
        """Something has changed since the policy was asked last."""
        self.turn_asked = False
        self.closed = False
        self.waiting_total = 0
        self.costs = SwitchCostTracker()
        self.services = Services()
        self.first_arrival: float | None = None
        self.news: list[n.News] = []
        self._effects: list[fx.Effect] = []
        self._number = 0

    # ---- the awake path ------------------------------------------------------------------

    def enter(self, ticket: Ticket, now: float) -> bool:
        """Admit the ticket if its model is awake; False means it has to wait (`RequestWaits`)."""
        lane = ticket.lane
        if self.first_arrival is None:
            self.first_arrival = now
        lane.last_arrival = now
        log = lane.arrival_log
        log.append((now, ticket.weight))
        if len(log) >= ARRIVALS_KEPT:
            lane.fold_arrivals(now)
        if lane.phase is _AWAKE and not self.closed:
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
            admitted = ticket.admitted
            self.services.log.append((lane, 0.0 if admitted is None else now - admitted))
            if self.plan is None and not self.waiting_total:
                if len(self.services.log) >= ARRIVALS_KEPT:
                    self.services.fold()
                return False
            self.dirty = True
            return True
        if stage == WAITING:
            self._unqueue(ticket)
            self.dirty = True
            return True
        return False

    # ---- the table -----------------------------------------------------------------------

    def handle(self, event: ev.Event, now: float) -> list[fx.Effect]:  # noqa: PLR0912 -- the table
        """Take one fact and return what has to be done about it, in order."""
        match event:
            case ev.RequestArrived(ticket):
                if ticket.stage == NEW and not self.enter(ticket, now):
                    self._queue(ticket, now)
            case ev.RequestWaits(ticket):
                self._queue(ticket, now)
            case ev.RequestLeft(ticket):
                self.leave(ticket, now)
            case ev.Looked():
                pass
            case ev.TurnEnded():
                self._end_turn()
            case ev.PolicyAnswered(model, number, decision):
                self._hear(self.lanes[model], number, decision)
            case ev.DeferEnded(model):
                self._mature(self.lanes[model])
            case ev.PrepareEnded(number):
                if self.plan is not None and self.plan.number == number:
                    self.plan.prepared = True
            case ev.HookEnded():
                self._end_hook(event, now)
            case ev.AlarmRang(key):
                self._ring(key, now)
            case ev.OrderGiven(number, model):
                self._take_order(number, self.lanes[model])
            case ev.OrderWithdrawn(number):
                self.orders.pop(number, None)
            case ev.GatewayClosing():
                self._close()
        self._advance(now)
        out, self._effects = self._effects, []
        return out

    def refusal(self, lane: Lane) -> LlmuxError | None:
        """Say why a request for this model is not even queued, None if it is."""
        del lane
        if self.closed:
            return DrainingError("the gateway is shutting down")
        return None

    def lane(self, model: str) -> Lane:
        """Return the lane of a model; NotRegisteredError if there is none."""
        lane = self.lanes.get(model)
        if lane is None:
            raise NotRegisteredError(f"model not found: {model!r}")
        return lane

    def take_news(self) -> list[n.News]:
        """Hand over what has become worth telling since the last call."""
        out, self.news = self.news, []
        return out

    # ---- requests ------------------------------------------------------------------------

    def _queue(self, ticket: Ticket, now: float) -> None:
        if ticket.stage != NEW:
            return
        lane = ticket.lane
        error = self.refusal(lane)
        if error is not None:
            ticket.stage = GONE
            self._effects.append(fx.Reject(ticket, error))
            return
        if lane.phase is _AWAKE:
            lane.put_inside(ticket, now)
            self._effects.append(fx.Admit(ticket))
            return
        ticket.stage = WAITING
        lane.waiting[ticket] = None
        lane.waiting_sum += ticket.arrived
        self.waiting_total += 1
        self.dirty = True
        timeout = lane.settings.request_timeout
        if timeout is not None:
            left = ticket.arrived + timeout - now
            self._effects.append(fx.SetAlarm(("deadline", ticket), max(0.0, left)))

    def _unqueue(self, ticket: Ticket) -> None:
        """Take a ticket out of its queue; what it becomes is the caller's to say."""
        lane = ticket.lane
        del lane.waiting[ticket]
        lane.waiting_sum -= ticket.arrived
        self.waiting_total -= 1
        if lane.settings.request_timeout is not None:
            self._effects.append(fx.CancelAlarm(("deadline", ticket)))
        if not lane.waiting:
            lane.waiting_sum = 0.0
            lane.reason = None
            self._forget_wish(lane)

    def _admit_waiting(self, lane: Lane, now: float, source: str | None) -> None:
        for ticket in list(lane.waiting):
            self._unqueue(ticket)
            lane.put_inside(ticket, now)
            ticket.switched_from = source
            self._effects.append(fx.Admit(ticket))

    def _reject_waiting(self, lane: Lane, error: LlmuxError) -> None:
        for ticket in list(lane.waiting):
            self._unqueue(ticket)
            ticket.stage = GONE
            self._effects.append(fx.Reject(ticket, error))

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
        self.news.append(n.RequestTimedOut(lane.name, timeout))

    # ---- the policy ----------------------------------------------------------------------

    def askable(self) -> list[Lane]:
        """Return the inactive models that somebody waits for, oldest waiter first."""
        found = [
            (ticket.arrived, lane)
            for lane in self.lanes.values()
            if lane.phase is Phase.ASLEEP and not lane.resting and (ticket := lane.oldest)
        ]
        found.sort(key=lambda pair: pair[0])
        return [lane for _, lane in found]

    def _end_turn(self) -> None:
        self.turn_asked = False
        if self.plan is not None or self.asking:
            return
        self.dirty = False
        for lane in self.askable():
            self._number += 1
            lane.asked = self._number
            self.asking.add(lane.name)
            self._effects.append(fx.Consult(lane.name, self._number))

    def _hear(self, asked: Lane, number: int, decision: Decision) -> None:
        if asked.asked != number or asked.name not in self.asking:
            return
        self.asking.discard(asked.name)
        lane = self.lanes.get(decision.target, asked) if decision.target else asked
        if lane is not asked and asked.waiting:
            if asked.wish is Wish.NOW:
                asked.wish = Wish.NONE
            self._ask_later(asked, ASK_AGAIN_SECONDS)
        if not lane.waiting or lane.phase is not Phase.ASLEEP:
            return
        lane.reason = decision.reason
        match decision:
            case SwitchNow():
                if lane.wish is Wish.DEFERRED:
                    self._effects.append(fx.CancelAlarm(("defer", lane.name)))
                lane.wish = Wish.NOW
            case Defer(wait):
                self._defer(lane, wait)
            case Skip(ask_again):
                self._forget_wish(lane)
                self._ask_later(lane, ASK_AGAIN_SECONDS if ask_again is None else ask_again)

    def _defer(self, lane: Lane, wait: object) -> None:
        if lane.wish is Wish.MATURED:
            return
        running = lane.wish is Wish.DEFERRED
        lane.wish = Wish.DEFERRED
        if isinstance(wait, int | float):
            alarm = fx.SetAlarm(("defer", lane.name), max(0.0, wait), keep_earlier=running)
            self._effects.append(alarm)
        else:
            self._effects.append(fx.AwaitDefer(lane.name, wait))  # type: ignore[arg-type]

    def _mature(self, lane: Lane) -> None:
        if lane.wish is Wish.DEFERRED:
            # A time and an awaitable may run side by side; the first to end ends both.
            self._effects.append(fx.CancelAlarm(("defer", lane.name)))
            lane.wish = Wish.MATURED

    def _ask_later(self, lane: Lane, seconds: float) -> None:
        self._effects.append(fx.SetAlarm(("ask", lane.name), max(SHORTEST_ASK, seconds)))

    def _forget_wish(self, lane: Lane) -> None:
        if lane.wish is Wish.DEFERRED:
            self._effects.append(fx.CancelAlarm(("defer", lane.name)))
        self._effects.append(fx.CancelAlarm(("ask", lane.name)))
        lane.wish = Wish.NONE

    # ---- the switch, in the order in which it happens --------------------------------------

    def _advance(self, now: float) -> None:
        """Go on as far as the facts allow, then ask for a turn if the policy has to be asked."""
        while self._step(now):
            pass
        if self.plan is None and self.dirty and not self.turn_asked and not self.asking:
            if self.askable():
                self.turn_asked = True
                self._effects.append(fx.AskTurn())
            else:
                self.dirty = False

    def _step(self, now: float) -> bool:
        plan = self.plan
        if plan is None:
            return self._begin(now)
        if plan.stage is not Stage.DRAINING:
            return False
        if not self._wanted(plan.target):
            self._abandon(plan, now)
            return True
        if not plan.drained:
            return False
        self._end_drain(plan, now)
        return True

    def _wanted(self, lane: Lane) -> bool:
        return bool(lane.waiting) or lane in self.orders.values()

    def _choose(self) -> Lane | None:
        """Return where to go: the first order, else the oldest waiter whose model may go."""
        for lane in self.orders.values():
            if lane.phase is Phase.ASLEEP and not lane.resting:
                return lane
        if self.asking:
            return None
        for lane in self.askable():
            if lane.wish is Wish.NOW or lane.wish is Wish.MATURED:
                return lane
        return None

    def _begin(self, now: float) -> bool:
        target = None if self.closed else self._choose()
        if target is None:
            return False
        awake = [lane.name for lane in self.awake]
        going = victims(target.name, awake, self.needs, self.capacities)
        leaving = [self.lanes[name] for name in going]
        if any(lane.fresh for lane in leaving):
            return False
        self._number += 1
        source = leaving[0] if leaving else None
        plan = Plan(self._number, target, source, leaving, prepared=source is None, started=now)
        self.plan = plan
        self.news.append(n.SwitchStarted(plan.source_name, target.name))
        for lane in leaving:
            lane.phase = Phase.DRAINING
            self.awake.remove(lane)
        if source is not None:
            self._effects.append(fx.Prepare(plan.number, source.name, target.name))
            bound = source.settings.drain_timeout
            if bound is not None:
                self._effects.append(fx.SetAlarm(("drain", source.name), bound))
        return True

    def _abandon(self, plan: Plan, now: float) -> None:
        self._stop_drain(plan)
        self.plan = None
        self.dirty = True
        self.news.append(n.SwitchAbandoned(plan.source_name, plan.target.name))
        for lane in plan.leaving:
            lane.phase = Phase.AWAKE
            self.awake.append(lane)
            self._admit_waiting(lane, now, None)
            self._settle_orders(lane, None)

    def _stop_drain(self, plan: Plan) -> None:
        if plan.source is None:
            return
        if plan.source.settings.drain_timeout is not None:
            self._effects.append(fx.CancelAlarm(("drain", plan.source.name)))
        if not plan.prepared:
            self._effects.append(fx.DropPrepare(plan.number))
            plan.prepared = True

    def _cut(self, source: Lane) -> None:
        """End the drain at its bound: answers that still run are cut and counted out."""
        plan = self.plan
        if plan is None or plan.stage is not Stage.DRAINING or source not in plan.leaving:
            return
        plan.cut = True
        for lane in plan.leaving:
            if not lane.settings.drain_before_switch:
                continue
            bound = lane.settings.drain_timeout or 0.0
            error = DrainTimeoutError(
                f"{lane.name} was put to sleep for {plan.target.name}: "
                f"the answer still ran after {bound:g} s of draining"
            )
            for ticket in list(lane.inside):
                ticket.stage = GONE
                self._effects.append(fx.Cut(ticket, error))
            if lane.inside:
                self.news.append(n.DrainCut(lane.name, len(lane.inside)))
            lane.inside.clear()

    def _end_drain(self, plan: Plan, now: float) -> None:
        self._stop_drain(plan)
        if plan.source is not None:
            seconds = now - plan.started
            self.news.append(n.DrainEnded(plan.source.name, plan.target.name, seconds))
        for lane in plan.leaving:
            since = lane.activated_at
            self.news.append(n.ModelDeactivated(lane.name, 0.0 if since is None else now - since))
        self._sleep_or_wake(plan, now)

    def _sleep_or_wake(self, plan: Plan, now: float) -> None:
        if plan.leaving:
            lane = plan.leaving[0]
            plan.stage = Stage.SLEEPING
            lane.phase = Phase.SLEEPING
            lane.proven = False
            reason = f"make room for {plan.target.name}"
            self._run(plan, "sleep", lane, reason)
            return
        if self.closed or not self._wanted(plan.target):
            self.news.append(n.SwitchAbandoned(plan.source_name, plan.target.name))
            other = None if self.closed else self._next_best()
            if other is None:
                self.plan = None
                self.dirty = True
                return
            plan.target = other
            self.news.append(n.SwitchStarted(plan.source_name, other.name))
        plan.stage = Stage.WAKING
        plan.target.phase = Phase.WAKING
        plan.wake_started = now
        reason = plan.target.reason or ("requested" if plan.target.waiting else "ordered")
        self._run(plan, "wake", plan.target, reason)

    def _next_best(self) -> Lane | None:
        """Return who is woken when the target lost its reason: an order, else the oldest waiter."""
        for lane in self.orders.values():
            if lane.phase is Phase.ASLEEP and not lane.resting:
                return lane
        waiting = self.askable()
        return waiting[0] if waiting else None

    def _run(self, plan: Plan, hook: str, lane: Lane, reason: str) -> None:
        self._number += 1
        plan.hook = self._number
        source = None if plan.source is None else plan.source.name
        self._effects.append(
            fx.RunHook(plan.hook, hook, lane.name, source, plan.target.name, reason)
        )

    def _end_hook(self, event: ev.HookEnded, now: float) -> None:
        plan = self.plan
        if plan is None or not plan.hook or plan.hook != event.number:
            return
        plan.hook = 0
        lane = plan.leaving[0] if plan.stage is Stage.SLEEPING else plan.target
        hook = "wake" if plan.stage is Stage.WAKING else "sleep"
        self.news.append(
            n.HookEnded(
                lane.name, hook, event.ok, event.exit_code, event.duration, event.tail, event.error
            )
        )
        if event.ok:
            self.costs.record_hook(lane.name, hook, event.duration)
        plan.hook_seconds += event.duration
        match plan.stage:
            case Stage.SLEEPING:
                self._fell_asleep(plan, event, now)
            case Stage.WAKING if event.ok:
                self._activate(plan, now)
            case Stage.WAKING:
                self._fail(plan, event, now)
            case _:
                self._end_cleaning(plan)

    def _fell_asleep(self, plan: Plan, event: ev.HookEnded, now: float) -> None:
        lane = plan.leaving.pop(0)
        lane.phase = Phase.ASLEEP
        if not event.ok:
            self.news.append(n.SleepHookFailed(lane.name, plan.target.name, event.error))
        self.news.append(n.ModelAsleep(lane.name))
        self._sleep_or_wake(plan, now)

    def _activate(self, plan: Plan, now: float) -> None:
        lane = plan.target
        source = None if plan.source is None else plan.source.name
        duration = now - plan.started
        lane.phase = Phase.AWAKE
        lane.activated_at = now
        bound = lane.settings.wake_timeout
        lane.loading_until = None if bound is None else plan.wake_started + bound
        self.awake.append(lane)
        self.plan = None
        average = self.costs.record(source, lane.name, plan.hook_seconds)
        self.news.append(n.ModelActivated(lane.name, plan.source_name, duration))
        self.news.append(n.CostLearned(plan.source_name, lane.name, average))
        self._effects.append(fx.TellPolicy(source, lane.name, duration))
        self._admit_waiting(lane, now, plan.source_name)
        self._settle_orders(lane, None)
        if lane.settings.min_active > 0:
            lane.fresh = True
            self._effects.append(fx.SetAlarm(("min_active", lane.name), lane.settings.min_active))
        for other in self.lanes.values():
            if other.wish is Wish.NOW:
                other.wish = Wish.NONE
        self.dirty = True

    def _fail(self, plan: Plan, event: ev.HookEnded, now: float) -> None:
        lane = plan.target
        lane.last_failure = now
        self.news.append(n.SwitchFailed(lane.name, plan.source_name, event.error))
        error = HookFailedError(f"the wake hook of {lane.name} failed: {event.error}")
        self._reject_waiting(lane, error)
        self._settle_orders(lane, error)
        plan.stage = Stage.CLEANING
        lane.phase = Phase.SLEEPING
        self._run(plan, "sleep", lane, "clean up after a failed wake")

    def _end_cleaning(self, plan: Plan) -> None:
        lane = plan.target
        lane.phase = Phase.ASLEEP
        lane.resting = True
        self.plan = None
        self.dirty = True
        self.news.append(n.ModelAsleep(lane.name))
        self._effects.append(fx.SetAlarm(("rest", lane.name), REST_SECONDS))

    # ---- alarms, orders, the end -----------------------------------------------------------

    def _ring(self, key: fx.AlarmKey, now: float) -> None:
        del now
        kind, about = key
        if isinstance(about, Ticket):
            self._time_out(about)
            return
        lane = self.lanes[about]
        match kind:
            case "min_active":
                lane.fresh = False
                self.dirty = True
            case "rest":
                lane.resting = False
                self.dirty = True
            case "ask":
                self.dirty = True
            case "defer":
                self._mature(lane)
            case "drain":
                self._cut(lane)

    def _take_order(self, number: int, lane: Lane) -> None:
        if self.closed:
            error = DrainingError("the gateway is shutting down")
            self._effects.append(fx.SettleOrder(number, error))
        elif lane.phase is _AWAKE:
            self._effects.append(fx.SettleOrder(number, None))
        else:
            self.orders[number] = lane

    def _settle_orders(self, lane: Lane, error: LlmuxError | None) -> None:
        for number in [one for one, wanted in self.orders.items() if wanted is lane]:
            del self.orders[number]
            self._effects.append(fx.SettleOrder(number, error))

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
