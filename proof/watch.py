"""What must hold of one life of the gateway, held against its books after every fact.

After every fact the invariants are checked: not from what the board believes, but from what it
ordered, what hooks and looks have told, and what the clients saw. It refuses to know why the board
decided, and what is true of engines: that is the machine's to hold.
"""

from __future__ import annotations

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core import news as n
from llmux.core.desk import ARRIVALS_KEPT
from llmux.core.lane import Phase
from llmux.core.plan import IDLE
from llmux.core.ticket import WAITING, Ticket
from proof.books import Books
from proof.following import DOWN

TICK = 0.001
"""Seconds by which a bound may be missed: one turn of the loop."""
THOROUGH = 64
"""Every so many facts the books are compared ticket by ticket, not only by their sums."""
LIVELOCK = 20_000
"""Facts at one moment that are no work any more."""
HEARTBEAT = 5.0
_ASLEEP = Phase.ASLEEP
_COMES = (ev.RequestWaits, ev.RequestArrived, ev.RequestReturned)
_FOR_THE_DRIVER = frozenset(
    {fx.SetAlarm, fx.CancelAlarm, fx.AskTurn, fx.AwaitDefer, fx.Prepare, fx.DropPrepare}
)
"""Orders that say nothing of models and requests: the most frequent ones."""


class Watch(Books):
    """What must be true of one life, whatever happens to it."""

    def beat(self, now: float) -> None:
        """I15: hear the heartbeat."""
        last, self._beaten = self._beaten, now
        if last is not None and now - last > HEARTBEAT and not self.over:
            self._wrong(f"I15: the heartbeat is {now - last:.1f} s old")

    def phase(self) -> str:
        """Return where the switch stands, for the table of faults."""
        board = self._board
        if board.surveying:
            return "start"
        plan = board.plan
        if plan is not None:
            return "recovering" if plan.recovering else plan.stage.value
        if board.quarantined:
            return "quarantine"
        return "awake" if board.awake else "idle"

    # ---- the awake path ------------------------------------------------------------------------

    def entered(self, ticket: Ticket, now: float, admitted: bool) -> None:
        """Hear what `enter` has said."""
        if admitted:
            model = ticket.lane.name
            if self.waiting[model] and self._lanes[model].max_in_flight is not None:
                older = next(iter(self.waiting[model]))
                if older.weight >= ticket.weight:
                    self._wrong(f"I9: who came overtakes {older}")
            self._admitted(ticket)
        self._chance.note(f"enter {ticket.lane.name} {admitted}")
        self._check(now)

    def left(self, ticket: Ticket, now: float) -> None:
        """Hear that a ticket was counted out."""
        model = ticket.lane.name
        waited = ticket in self.waiting[model]
        self.waiting[model].pop(ticket, None)
        self.inside[model].pop(ticket, None)
        self._lost.discard(ticket)
        self._chance.note(f"leave {model} {waited}")
        self._check(now)

    def _admitted(self, ticket: Ticket) -> None:
        model = ticket.lane.name
        if self._told[model] != "awake":
            self._wrong(f"I2: admitted to {model}, which is {self._told[model]}")
        if self._closed:
            self._wrong(f"I4: admitted to {model} after the gateway closed")
        if model in self._config.gone:
            self._wrong(f"I2: admitted to {model}, which the config does not have any more")
        self.inside[model][ticket] = None

    # ---- orders ------------------------------------------------------------------------

    def after(self, event: ev.Event, orders: list[fx.Effect], now: float) -> None:
        """Hear what the board orders upon a fact, and hold the books against it."""
        board = self._board
        if isinstance(event, _COMES):
            ticket = event.ticket
            if ticket.stage == WAITING or fx.Admit(ticket) in orders:
                self._queue(ticket, now)
        told = [type(event).__name__]
        for order in orders:
            if type(order) in _FOR_THE_DRIVER:
                continue
            match order:
                case fx.Admit(ticket):
                    self._admit(ticket, now)
                case fx.Reject(ticket, _):
                    self.waiting[ticket.lane.name].pop(ticket, None)
                case fx.Cut(ticket, _):
                    if self.inside[ticket.lane.name].pop(ticket, 0) == 0:
                        self._wrong(f"I4: cut {ticket}, which was not inside")
                case fx.Lose(ticket, _):
                    if ticket not in self._orphans:
                        self._wrong(f"{ticket} has lost a backend that does not hang")
                    self._lose(ticket.lane.name)
                case fx.RunHook():
                    self._run_hook(order, now)
                    told.append(f"{order.hook} {order.model}")
                case fx.Consult(model, _):
                    if not self.waiting[model] and (why := self._no_hint(model, now)):
                        self._wrong(f"the policy is asked about {model} for {why}")
                case fx.SettleOrder(number, _):
                    self._orders.pop(number, None)
                case fx.Renew(model):
                    self._config.renewed(model, self._told[model])
                    self._failures.forgive(model)
                case fx.Forget(model):
                    self._config.forgotten(model, self._told[model])
                    self._failures.forgive(model)
                    self._lose(model)
                case _:
                    continue
        phases = " ".join(
            [
                f"{lane.phase._value_}/{len(lane.waiting)}/{len(lane.inside)}"
                for lane in board.lanes.values()
            ]
        )
        self._chance.note(f"{' '.join(told)} -> {len(orders)} | {phases}")
        self._check(now)

    def _queue(self, ticket: Ticket, now: float) -> None:
        queue = self.waiting[ticket.lane.name]
        if not queue:
            self._heard.discard(ticket.lane.name)
        queue[ticket] = now
        if ticket in self._returned and len(queue) > 1:
            ordered = sorted(queue.items(), key=lambda pair: pair[0].arrived)
            self.waiting[ticket.lane.name] = dict(ordered)

    def _admit(self, ticket: Ticket, now: float) -> None:
        model = ticket.lane.name
        queue = self.waiting[model]
        since = queue.get(ticket)
        if since is None:
            self._wrong(f"I4: {ticket} is admitted and does not wait")
            return
        for one in queue:
            if one is ticket:
                break
            if one.weight >= ticket.weight:
                self._wrong(f"I9: {ticket} overtakes {one}")
                break
        del queue[ticket]
        if since < now:
            self._in_time(ticket, since, now)
        self._admitted(ticket)

    def _in_time(self, ticket: Ticket, since: float, now: float) -> None:
        """I8: nobody waits longer than the deadline, counted from the arrival over all retries."""
        bound = self._lanes[ticket.lane.name].request_timeout
        if bound is None or now == self._late_at:
            return
        if now > max(ticket.arrived + bound, since) + TICK:
            waited = now - ticket.arrived
            self._wrong(f"I8: somebody waits {waited:g} s for {ticket.lane.name}, not {bound:g} s")

    def _run_hook(self, order: fx.RunHook, now: float) -> None:
        model = order.model
        if self._hook is not None:
            self._wrong(f"I7: {order.hook} {model} is ordered during another hook")
        if order.hook == "wake":
            beside = [one for one, told in self._told.items() if one != model and told not in DOWN]
            if beside:
                self._wrong(f"I1: {model} is woken beside {beside}")
            if not self._wanted(model) and (why := self._no_hint(model, now)):
                self._wrong(f"I6: {model} is woken for {why}")
            if self._closed:
                self._wrong(f"I6: {model} is woken after the gateway closed")
            if model in self._config.gone | self._config.outdated:
                self._wrong(f"{model} is woken by hooks that do not hold any more")
            if early := self._failures.too_early(model, now + TICK):
                self._wrong(f"I12: {model} is woken {early}")
            self._told[model] = "waking"
        else:
            lane, target = self._lanes[model], order.target
            for_room = target != model and order.reason != "recover"
            if for_room and not self._wanted(target) and (why := self._no_hint(target, now)):
                self._wrong(f"{model} is put to sleep for {target}, for {why}")
            if lane.drain_before_switch and order.reason != "recover":
                living = [one for one in self.inside[model] if one not in self._orphans]
                if living and (lane.cut_drain or lane.drain_timeout is None):
                    self._wrong(f"I3: {model} is put to sleep under {len(living)} requests")
            self._told[model] = "sleeping"
        self._hook = order

    def _wanted(self, model: str) -> bool:
        """Say whether the model is wanted by anybody but a client who has announced it."""
        ordered = self.waiting[model] or model in self._orders.values()
        return bool(ordered) or model == self._restore

    def _no_hint(self, model: str, now: float) -> str:
        """Say for what else than a hint at the model it would be; empty if there is one to follow.

        A hint takes the accelerator from nobody: neither from who waits nor from who is served.
        """
        if waiting := sum([len(queue) for queue in self.waiting.values()]):
            return f"a hint while {waiting} wait"
        if self._told[model] not in DOWN:
            return f"a hint while it is {self._told[model]}"
        for name, told in self._told.items():
            if told == "awake" and self.inside[name]:
                return f"a hint while {len(self.inside[name])} are inside {name}"
        return self._hints.wrong(model, now - TICK)

    def hear(self, news: n.News) -> None:
        """Listen to the news: I10, and that switches begin and end in pairs."""
        match news:
            case n.SwitchStarted(source, target):
                if self._started is not None:
                    self._wrong(f"a switch to {target} began inside another")
                self._started = (source, target)
                if source != IDLE and (self._hook is None or self._hook.hook == "sleep"):
                    self._drain = (source, self._chance.now())
            case n.DrainEnded():
                self._drain = None
            case n.SwitchAbandoned(source, target):
                self._switch_over(source, target)
            case n.ModelActivated(target, source, _) | n.SwitchFailed(target, source, _):
                self._switch_over(source, target)

    def _switch_over(self, source: str, target: str) -> None:
        if self._started is None or self._started[1] != target:
            self._wrong(f"a switch {source}->{target} ended that had not begun")
        self._started = self._drain = None

    def chosen(self, target: str, now: float) -> None:
        """I10: whoever is overdue goes first, by deadline, whatever the policy wants.

        And whoever is only announced goes where nobody waits and nobody is served.
        """
        if not self._wanted(target) and self._hook is None and (why := self._no_hint(target, now)):
            self._wrong(f"a switch to {target} begins for {why}")
        ours = self._due(target)
        if now == self._late_at:
            return
        unasked = self.waiting[target] and target not in self._heard
        if unasked and target not in self._orders.values() and (ours is None or ours > now + TICK):
            self._wrong(f"a switch to {target} begins that the policy was not asked about")
        for name, lane in self._board.lanes.items():
            if name == target or lane.phase is not Phase.ASLEEP or lane.resting:
                continue
            due = self._due(name)
            if due is None or self._heads[name][1] == now:  # its alarm has not had a turn yet
                continue
            if due < now - TICK and (ours is None or due < ours - TICK):
                self._wrong(f"I10: {name} is overdue since {now - due:g} s and {target} goes first")

    def _due(self, model: str) -> float | None:
        bound = self._lanes[model].max_wait
        if bound is None or not self.waiting[model]:
            return None
        return min(one.arrived for one in self.waiting[model]) + bound

    # ---- the invariants ------------------------------------------------------------------------

    def _check(self, now: float) -> None:
        """Hold sums after every fact, and now and then everything."""
        chance, board = self._chance, self._board
        chance.events += 1
        up = 0
        if len(board.awake) > 1:
            self._wrong("I1: several models serve")
        all_inside, all_waiting, heads = self.inside, self.waiting, self._heads
        for name, lane in board.lanes.items():
            inside, waiting = all_inside[name], all_waiting[name]
            if len(lane.inside) != len(inside):
                self._wrong(f"I5: {len(inside)} inside {name}, not {len(lane.inside)}")
            if len(lane.waiting) != len(waiting):
                self._wrong(f"{len(waiting)} wait for {name}, not {len(lane.waiting)}")
            head = next(iter(waiting)) if waiting else None
            if head is not heads[name][0]:
                heads[name] = (head, now)
            if lane.phase is not _ASLEEP and name not in self._adopted:
                up += 1
        if up > 1 and not board.surveying:
            self._wrong("I1: several models are not asleep")
        when, facts = self._moment
        self._moment = (now, facts + 1 if when == now else 0)
        if facts > LIVELOCK:
            self._wrong("I15: the switch path works without end at one moment")
        if chance.events % THOROUGH == 0:
            self._check_thoroughly(now)

    def leaves(self, model: str, now: float) -> None:
        """Whoever came while the model served, or was to be left and is not, is inside by now.

        To be told with the fact: who is admitted by it may be out again when the news is heard.
        """
        limit = self._lanes[model].max_in_flight
        room = limit is None or len(self.inside[model]) < limit
        if room and self.waiting[model] and not self._overdue_elsewhere(model, now):
            self._wrong(f"{model} is left although it has room for somebody who waits")

    def _overdue_elsewhere(self, model: str, now: float) -> bool:
        dues = [self._due(name) for name in self.waiting if name != model]
        return any(due is not None and due <= now for due in dues)

    def _hold_drain(self, model: str, since: float, now: float) -> None:
        """I14: no drain outlasts its bound, but where answers may, and some still run."""
        lane = self._lanes[model]
        bound = lane.drain_timeout
        if bound is None or now <= since + bound + TICK or now == self._late_at:
            return
        if lane.cut_drain or not self.inside[model]:
            self._wrong(f"I14: {model} is drained for {now - since:g} s, {bound:g} may")

    def _check_thoroughly(self, now: float) -> None:
        board = self._board
        total = 0
        for name, lane in board.lanes.items():
            waiting = self.waiting[name]
            total += len(waiting)
            if lane.inside.keys() != self.inside[name].keys():
                self._wrong(f"I5: others are inside {name} than the books say")
            if list(lane.waiting) != list(waiting):
                self._wrong(f"I9: the queue of {name} is in another order than they came")
            for ticket, since in waiting.items():
                self._in_time(ticket, since, now)
            bound = self._lanes[name].max_queue
            if bound is not None and len(waiting.keys() - self._returned) > bound:
                self._wrong(f"I14: {len(waiting)} wait for {name}, {bound} may")
            limit = self._lanes[name].max_in_flight
            if name in self._crowds:
                self._crowds[name] = min(self._crowds[name], len(lane.inside))
            if limit is not None and len(lane.inside) > max(limit, self._crowds.get(name, 0)):
                self._wrong(f"I14: {len(lane.inside)} are inside {name}, {limit} may")
            if len(lane.arrival_log) > ARRIVALS_KEPT:
                self._wrong(f"I14: {len(lane.arrival_log)} arrivals of {name} are logged")
        if board.waiting_total != total:
            self._wrong(f"{total} wait, the board says {board.waiting_total}")
        queued = [one for queue in self.waiting.values() for one in queue]
        held = sum([one.size for one in queued])
        fresh = held - sum([one.size for one in queued if one in self._returned])
        if board.buffered != held:
            self._wrong(f"those who wait hold {held} bytes, the board says {board.buffered}")
        if self._max_buffered is not None and fresh > self._max_buffered:
            self._wrong(f"I14: those who wait hold {fresh} bytes, {self._max_buffered} may")
        self._returned &= {one for queue in self.waiting.values() for one in queue}
        self._orphans &= {one for there in self.inside.values() for one in there}

    def settled(self) -> None:
        """Hear that all orders were carried out: who has room admits, alarms have their cause."""
        for lane in self._board.awake:
            if self.waiting[lane.name] and not self._board.held:
                limit = self._lanes[lane.name].max_in_flight
                if limit is None or len(self.inside[lane.name]) < limit:
                    self._wrong(f"{lane.name} serves, has room, and lets somebody wait")
        if self._drain is not None:
            self._hold_drain(*self._drain, self._chance.now())
        for lane in self._board.hints:
            if ("hint", lane.name) not in self._switcher._alarms and not self._closed:
                self._wrong(f"a hint at {lane.name} is never over")
        orders = self._board.orders
        if orders and not (orders.keys() & self._operators) <= self._switcher.living:
            self._wrong("the order of an operator who is gone still stands")
        alarms, most = len(self._switcher._alarms), 8 * len(self._lanes)
        if alarms > most:
            total = sum([len(queue) for queue in self.waiting.values()])
            if alarms > most + total:
                self._wrong(f"I14: {alarms} alarms are set for {total} who wait")

    def at_rest(self) -> list[str]:
        """I5: say what is left over when nobody wants anything any more."""
        switcher = self._switcher
        left = [f"{len(one)} inside {name}" for name, one in self.inside.items() if one]
        left += [f"{len(one)} wait for {name}" for name, one in self.waiting.items() if one]
        left += [f"the order of {name}" for name in self._orders.values()]
        left += [f"an alarm of {kind}" for kind, _ in switcher._alarms]
        left += [f"a hint at {lane.name}" for lane in self._board.hints]
        left += [f"a Defer of {name}" for name in switcher._defers]
        left += [f"a preparation of {number}" for number in switcher._prepares]
        left += [f"a drain of {number}" for number in switcher._drains]
        left += [f"a change of {name}" for name in self._config.gone | self._config.outdated]
        left += [] if self._started is None else [f"a switch to {self._started[1]}"]
        return left

    def _wrong(self, what: str) -> None:
        if not self.over:
            self._chance.violated(what)
