"""A world around a board: it carries effects out as a driver would and keeps books of its own.

Every test of the board looks through it. It holds the invariants after every fact, from what the
board *ordered*, never from what the board believes; it refuses to know why the board decided.
"""

from __future__ import annotations

from typing import Any

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core import news as n
from llmux.core.board import Switchboard
from llmux.core.lane import Lane, LaneSettings, Phase, Wish, ranked
from llmux.core.plan import Stage
from llmux.core.ticket import BEREFT, GONE, INSIDE, LOST, WAITING, Ticket
from llmux.errors import LlmuxError
from llmux.policy.base import Decision, SwitchNow

Engine = str
"""What a model's engine really does: asleep (or dead), waking, awake, sleeping, broken (a failed
wake), hung, or unclear (a failed sleep after which nobody can say)."""


class World:
    """One board, its pretended engines, and everything that it waits for."""

    def __init__(
        self,
        *models: str | LaneSettings,
        survey: bool = False,
        max_buffered: int | None = None,
        hint_secs: float | None = None,
        **common: Any,
    ) -> None:
        lanes = [LaneSettings(m, **common) if isinstance(m, str) else m for m in models]
        self.board = Switchboard(
            lanes, survey=survey, max_buffered=max_buffered, hint_secs=hint_secs
        )
        self.now = 0.0
        self.leftover: set[str] = set()
        """Models found beside each other at the start that have not been asleep since."""
        self.engines: dict[str, Engine] = dict.fromkeys(self.board.lanes, "asleep")
        self.waiting: dict[Ticket, str] = {}
        self.inside: dict[Ticket, str] = {}
        self.ended: dict[Ticket, str] = {}
        self.returned: set[Ticket] = set()
        self.outdated: set[str] = set()
        """Models that the config has changed and that have not been put to sleep since."""
        self.mended: set[str] = set()
        """Of the last reload, those whose new hooks may be tried where the old have failed."""
        self.removed: set[str] = set()
        self.strays: list[Ticket] = []
        """Requests that were inside when their model was forgotten: they have yet to leave."""
        self.crowds: dict[str, int] = {}
        """How many were inside when a smaller limit came."""
        self.undrained: set[Ticket] = set()
        """Requests that an earlier sleep hook of their model did not wait for."""
        self.orphans: set[Ticket] = set()
        """Requests that were inside when their backend died or hung."""
        self.labels: dict[Ticket, str] = {}
        self.alarms: dict[fx.AlarmKey, float] = {}
        self.awaited: set[str] = set()
        self.consults: dict[str, int] = {}
        self.hinted: dict[str, int] = {}
        """Models that clients have announced, and how often the alarm of each may ring yet."""
        self.prepare: int | None = None
        self.hook: fx.RunHook | None = None
        self.orders: dict[int, str] = {}
        self.settled: dict[int, LlmuxError | None] = {}
        self.turn = False
        self.closed = False
        self.started: tuple[str, str] | None = None
        self.numbers = 0
        self.weights: tuple[float, ...] = (1.0,)
        """What requests count, one after the other, over and over."""
        self.log: list[str] = []
        self.news: list[n.News] = []

    # ---- facts ---------------------------------------------------------------------------

    def arrive(self, model: str, size: int = 0, weight: float | None = None) -> Ticket:
        """Bring a request as the driver does: `enter` first, then a place in the queue."""
        ticket = self._ticket(model)
        ticket.size = size
        if weight is not None:
            ticket.weight = weight
        if self.board.enter(ticket, self.now):
            self._admitted(ticket)
            if self.board.dirty:
                self.tell(ev.Looked())
            else:
                self.check()
        elif self.board.refusal(ticket.lane, self.now, size) is not None:
            self.ended[ticket] = "refused"
            self.board.leave(ticket, self.now)
            self.check()
        else:
            self.waiting[ticket] = model
            self.tell(ev.RequestWaits(ticket))
        return ticket

    def arrive_by_event(self, model: str) -> Ticket:
        """Bring a request as the single event that a journal would hold."""
        ticket = self._ticket(model)
        self.waiting[ticket] = model
        for effect in self.board.handle(ev.RequestArrived(ticket), self.now):
            self._carry_out(effect)
        if ticket.stage == INSIDE and ticket in self.waiting:
            del self.waiting[ticket]
            self._admitted(ticket)
        self._take_news()
        self.check()
        return ticket

    def _ticket(self, model: str) -> Ticket:
        ticket = Ticket(self.board.lane(model), self.now)
        ticket.weight *= self.weights[self.numbers % len(self.weights)]
        self.numbers += 1
        self.labels[ticket] = f"{model}{self.numbers}"
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """End a request, wherever it stands: served, cancelled, disconnected."""
        was_waiting = self.waiting.pop(ticket, None) is not None
        was_inside = self.inside.pop(ticket, None) is not None
        if was_waiting or was_inside:
            self.ended[ticket] = "left" if was_waiting else "served"
        if self.board.leave(ticket, self.now):
            self.tell(ev.Looked())
        else:
            self.check()

    def end_turn(self) -> None:
        """The turn of the loop is over."""
        assert self.turn, "no turn was asked for"
        self.turn = False
        self.tell(ev.TurnEnded())

    def answer(self, model: str, decision: Decision) -> None:
        """The policy answers what it was asked about `model`."""
        self.tell(ev.PolicyAnswered(model, self.consults.pop(model), decision))

    def prepared(self) -> None:
        """`prepare_switch` has returned."""
        number, self.prepare = self.prepare, None
        assert number is not None, "nothing was to be prepared"
        self.tell(ev.PrepareEnded(number))

    def surveyed(self, awake: str = "", unclear: str = "") -> None:
        """The look at the start has found these models (one letter each), the newest last."""
        self.engines.update(dict.fromkeys(awake, "awake"), **dict.fromkeys(unclear, "unclear"))
        self.leftover = {*awake, *unclear}
        self.tell(ev.Surveyed(tuple(awake), tuple(unclear)))

    def dies(self, model: str, hung: bool = False) -> None:
        """The backend of a model is found dead, or hung."""
        self.engines[model] = "hung" if hung else "asleep"
        self.leftover -= set() if hung else {model}
        self.orphans |= {ticket for ticket, name in self.inside.items() if name == model}
        self.tell(ev.BackendDied(model, hung, "no answer"))

    def recovers(self, model: str) -> None:
        """A quarantined model is seen alive."""
        self.engines[model] = "awake"
        self.tell(ev.Recovered(model))

    def returns(self, ticket: Ticket) -> None:
        """A request that was inside waits again, in the place of its arrival."""
        self.waiting[ticket] = self.inside.pop(ticket)
        self.orphans.discard(ticket)
        self.undrained.discard(ticket)
        self.returned.add(ticket)
        self.waiting = dict(sorted(self.waiting.items(), key=lambda pair: pair[0].arrived))
        self.tell(ev.RequestReturned(ticket))

    def answered(self, ticket: Ticket) -> None:
        """The backend of a request that is inside has answered."""
        assert ticket in self.inside
        if ticket.stage == INSIDE:  # the driver asks the same: another life is not proven by it
            self.board.answered(ticket.lane)

    def hook_ends(self, ok: bool = True, seconds: float = 1.0, left: str = "asleep") -> None:
        """The hook that runs ends after `seconds`; `left` is what a failed sleep leaves behind."""
        hook, self.hook = self.hook, None
        assert hook is not None, "no hook runs"
        self.now += seconds
        cleaning = hook.hook == "sleep" and hook.reason.startswith("clean up")
        if hook.hook == "sleep":
            self.engines[hook.model] = "asleep" if ok or cleaning else left
            self.leftover -= {hook.model} if ok or left == "asleep" else set()
        else:
            self.engines[hook.model] = "awake" if ok else "broken"
            self.hinted.pop(hook.model, None)
        error = "" if ok else "exit code 1"
        end = ev.HookEnded(hook.number, ok, seconds, error, 0 if ok else 1, left=left)
        self.tell(end)

    def ring(self, kind: str, about: str | Ticket) -> None:
        """An alarm rings."""
        key: fx.AlarmKey = (kind, about)  # type: ignore[assignment]
        self.now = max(self.now, self.alarms.pop(key))
        if isinstance(about, Ticket):
            assert about in self.waiting, "a deadline rang for somebody who does not wait"
        elif kind == "hint":
            left = self.hinted.pop(about) - 1
            self.hinted |= {about: left} if left else {}
        self.tell(ev.AlarmRang(key))

    def defer_ends(self, model: str) -> None:
        """What a Defer waited for has come."""
        self.awaited.discard(model)
        self.tell(ev.DeferEnded(model))

    def order(self, model: str) -> int:
        """An operator wants the model active."""
        self.numbers += 1
        self.orders[self.numbers] = model
        self.tell(ev.OrderGiven(self.numbers, model))
        return self.numbers

    def announce(self, model: str) -> None:
        """A client that was answered says that it asks for the model next."""
        lane = None if model in self.removed else self.board.lanes.get(model)
        listens = self.board.hint_secs is not None and not self.closed
        if listens and lane is not None and lane.phase is not Phase.AWAKE:
            self.hinted[model] = self.board.looks
        self.tell(ev.Announced(model))

    def withdraw(self, number: int) -> None:
        """The operator does not wait any more."""
        self.orders.pop(number, None)
        self.tell(ev.OrderWithdrawn(number))

    def reload(
        self,
        *models: LaneSettings,
        renewed: str = "",
        mended: str = "",
        awake: str = "",
        unclear: str = "",
        policy: bool = False,
        hint_secs: float | None = 2.0,
    ) -> None:
        """The config was read anew; new models were found so (one letter each).

        With another `policy`, its `hint_secs` hold from now on.
        """
        board = self.board
        names = {one.name for one in models}
        self.engines |= dict.fromkeys(names - self.engines.keys(), "asleep")
        self.engines |= {**dict.fromkeys(awake, "awake"), **dict.fromkeys(unclear, "unclear")}
        self.leftover |= {*awake, *unclear}
        self.removed = set(board.lanes) - names
        self.mended = set(mended)
        up = {name for name, lane in board.lanes.items() if lane.phase is not Phase.ASLEEP}
        self.outdated = {*renewed, *mended} & up
        self.returned |= self.waiting.keys()  # they came while other bounds held
        self.crowds = {name: len(lane.inside) for name, lane in board.lanes.items()}
        if policy:
            self.consults.clear()
            self.hinted = {} if hint_secs is None else self.hinted
        for name in self.removed:
            self.hinted.pop(name, None)
        self.tell(
            ev.Reconfigured(
                models,
                frozenset(renewed),
                frozenset(mended),
                tuple(awake),
                tuple(unclear),
                (1.0, 10.0) if policy else None,
                board.max_buffered,
                hint_secs if policy else None,
            )
        )

    def close(self) -> None:
        """The gateway stops."""
        self.closed = True
        self.tell(ev.GatewayClosing())

    def fifo(self) -> None:
        """Let turns pass, answer SwitchNow and prepare at once until only the world is awaited."""
        while True:
            if self.turn:
                self.end_turn()
            elif self.consults:
                self.answer(next(iter(self.consults)), SwitchNow())
            elif self.prepare is not None:
                self.prepared()
            else:
                return

    def wake(self, model: str) -> Ticket:
        """Bring a model up for one request, the old one drained; returns who is inside."""
        ticket = self.arrive(model)
        self.fifo()
        while self.hook is not None:
            self.hook_ends()
        assert ticket in self.inside
        return ticket

    # ---- what the board wants done ---------------------------------------------------------

    def tell(self, event: ev.Event) -> None:
        """Hand over a fact, carry out the effects, check the books."""
        for effect in self.board.handle(event, self.now):
            self._carry_out(effect)
        self._take_news()
        self.check()

    def _carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Admit(ticket):
                model = self.waiting.pop(ticket)
                older = [one for one, wanted in self.waiting.items() if wanted == model]
                older = [one for one in older if one.arrived < ticket.arrived]
                assert all(one.weight < ticket.weight for one in older), "I9: not in order"
                self._admitted(ticket)
                self.log.append(f"admit {self.labels[ticket]}")
            case fx.Reject(ticket, error):
                del self.waiting[ticket]
                self.ended[ticket] = f"rejected {error.status}"
                self.log.append(f"reject {self.labels[ticket]} {error.status}")
            case fx.Cut(ticket, _):
                del self.inside[ticket]
                self.ended[ticket] = "cut"
                self.log.append(f"cut {self.labels[ticket]}")
            case fx.Lose(ticket, _):
                assert ticket in self.inside and ticket in self.orphans, "lost what was not there"
                self.log.append(f"lose {self.labels[ticket]}")
            case fx.AskTurn():
                assert not self.turn, "a turn was asked for twice"
                self.turn = True
            case fx.Consult(model, number):
                assert model not in self.consults, "asked again before it answered"
                if model not in self.waiting.values():
                    self._check_hint(model)
                self.consults[model] = number
                self.log.append(f"ask {model}")
            case fx.AwaitDefer(model, _):
                self.awaited.add(model)
            case fx.Prepare(number, source, target):
                assert self.prepare is None, "two preparations"
                self.prepare = number
                self.log.append(f"prepare {source}->{target}")
            case fx.DropPrepare(number):
                assert self.prepare == number, "dropped what nobody prepares"
                self.prepare = None
            case fx.RunHook():
                self._run_hook(effect)
            case fx.Renew(model):
                asleep = self.engines[model] == "asleep" or model in self.mended
                assert asleep, f"{model} is renewed while up"
                assert self.hook is None or self.hook.model != model, "renewed under its hook"
                self.outdated.discard(model)
                self.log.append(f"renew {model}")
            case fx.Forget(model):
                self._forget(model)
            case fx.SetAlarm(key, seconds, keep_earlier):
                rings = self.now + seconds
                if not (keep_earlier and self.alarms.get(key, rings + 1) <= rings):
                    self.alarms[key] = rings
            case fx.CancelAlarm(key):
                self.alarms.pop(key, None)
                if key[0] == "defer" and isinstance(key[1], str):
                    self.awaited.discard(key[1])
            case fx.SettleOrder(number, error):
                assert number not in self.settled, "an order was settled twice"
                self.orders.pop(number, None)
                self.settled[number] = error
                self.log.append(f"settle {'ok' if error is None else error.status}")
            case fx.TellPolicy(source, target, _):
                self.log.append(f"complete {source}->{target}")

    def _admitted(self, ticket: Ticket) -> None:
        model = ticket.lane.name
        assert self.engines[model] == "awake", f"I2: forwarded to {model}, {self.engines[model]}"
        assert ticket not in self.ended, "I4: admitted after its end"
        assert not self.closed, "admitted after the gateway closed"
        assert model not in self.removed, "admitted to a model that was removed"
        self.inside[ticket] = model

    def _forget(self, model: str) -> None:
        assert model in self.removed, f"{model} is forgotten and was not removed"
        assert self.engines.pop(model) == "asleep", f"{model} is forgotten while up"
        self.removed.discard(model)
        self.consults.pop(model, None)
        self.strays += [ticket for ticket, name in self.inside.items() if name == model]
        for ticket in self.strays:
            self.inside.pop(ticket, None)
        self.log.append(f"forget {model}")

    def _run_hook(self, order: fx.RunHook) -> None:
        assert self.hook is None, "I7: two hooks at once"
        model = order.model
        if order.hook == "wake":
            others = {one: does for one, does in self.engines.items() if does != "asleep"}
            assert not others, f"I1: {model} is woken beside {others}"
            if not self._wanted(model):
                self._check_hint(model)
            assert model not in self.outdated | self.removed, f"{model} is woken by old hooks"
            assert not self.closed, "a wake after the gateway closed"
            assert ("rest", model) not in self.alarms, f"I12: {model} is woken while it rests"
            self.engines[model] = "waking"
        else:
            assert self.engines[model] not in {"asleep", "waking", "sleeping"}, f"{model} twice"
            for_room = order.target != model and order.reason != "recover"
            if for_room and not self._wanted(order.target):
                self._check_hint(order.target, model)
            if self.board.lanes[model].settings.drain_before_switch and order.reason != "recover":
                living = {one for one in self.inside if one.lane.name == model} - self.orphans
                living -= self.undrained
                assert not living, f"I3: {model} sleeps under its requests"
            self.engines[model] = "sleeping"
            self.undrained |= {one for one in self.inside if one.lane.name == model}
        self.hook = order
        self.log.append(f"{order.hook} {model}")

    def _take_news(self) -> None:
        for item in self.board.take_news():
            self.news.append(item)
            match item:
                case n.SwitchStarted(source, target):
                    assert self.started is None, "a switch began inside another"
                    self.started = (source, target)
                    self._check_overtaking(self.board.lanes[target])
                    if not self._wanted(target):
                        self._check_hint(target, source)
                case n.SwitchAbandoned(source, target):
                    self._switch_over(source, target)
                case n.ModelActivated(model, source, _) | n.SwitchFailed(model, source, _):
                    self._switch_over(source, model)

    def _switch_over(self, source: str, target: str) -> None:
        assert self.started == (source, target), "a switch ended that had not begun"
        self.started = None

    # ---- the invariants ----------------------------------------------------------------------

    def check(self) -> None:
        """Hold the board's books against what really happened."""
        board = self.board
        lanes = board.lanes
        up = {name for name, lane in lanes.items() if lane.phase is not Phase.ASLEEP}
        assert board.surveying or len(up - self.leftover) <= 1, f"I1: not asleep are {up}"
        admitting = [lane for lane in lanes.values() if lane.phase is Phase.AWAKE]
        assert len(admitting) <= 1, f"I1: {admitting} admit"
        assert admitting == board.awake
        here = {*self.inside.values(), *self.waiting.values()}
        for name, lane in lanes.items():
            if name in here:
                self._check_tickets(lane)
            else:
                assert not lane.inside, f"I5: the count of {name} is wrong"
                assert not lane.lost, f"I5: the count of {name} is wrong"
                assert not lane.waiting, f"the queue of {name} is wrong"
                assert not lane.ranks, "somebody is in no rank"
            self._check_bounds(lane)
        for ticket in self.ended:
            assert ticket.stage == GONE, "I4: it has ended"
        assert board.waiting_total == len(self.waiting)
        if board.buffered or board.max_buffered is not None or self.waiting:
            held = sum([one.size for one in self.waiting])
            assert board.buffered == held, "the bytes of those who wait are wrong"
            fresh = held - sum([one.size for one in self.returned if one in self.waiting])
            assert board.max_buffered is None or fresh <= board.max_buffered, "I14: too many bytes"
        assert {number: lane.name for number, lane in board.orders.items()} == self.orders
        assert board.asking == self.consults.keys()
        assert board.turn_asked == self.turn
        self._check_alarms()
        self._check_nobody_is_forgotten()

    def _check_tickets(self, lane: Lane) -> None:
        """Each stands where the books have it, and what is counted of those who wait is right."""
        name = lane.name
        inside = {ticket for ticket, model in self.inside.items() if model == name}
        waiting = [ticket for ticket, model in self.waiting.items() if model == name]
        assert lane.inside.keys() | lane.lost == inside, f"I5: the count of {name} is wrong"
        assert list(lane.waiting) == waiting, f"the queue of {name} is wrong"
        for ticket in lane.inside:
            assert ticket.stage == INSIDE
        for ticket in lane.lost:
            assert ticket.stage in {LOST, BEREFT}
        for ticket in waiting:
            assert ticket.stage == WAITING
        assert abs(lane.waiting_sum - sum([one.arrived for one in waiting])) < 1e-6
        assert abs(lane.weight_sum - sum([one.weight for one in waiting])) < 1e-6
        heavy = sum([one.weight * one.arrived for one in waiting])
        assert abs(lane.weighted_sum - heavy) < 1e-6
        assert lane.ranks == ranked(waiting)
        ranks = [ticket for rank in lane.ranks.values() for ticket in rank]
        assert sorted(ranks, key=waiting.index) == waiting, "somebody is in no rank"

    def _check_bounds(self, lane: Lane) -> None:
        """Who is inside and who waits stay within their limits, and none waits for nothing."""
        board, limit, inside = self.board, lane.limit, len(lane.inside)
        crowd = self.crowds.get(lane.name)
        if crowd:
            crowd = self.crowds[lane.name] = min(crowd, inside)
        assert limit is None or inside <= max(limit, crowd or 0), "I14: too many inside"
        if lane.waiting:
            bound = lane.settings.max_queue
            newcomers = len(lane.waiting.keys() - self.returned)
            assert bound is None or newcomers <= bound, "I14: too many wait"
            if lane.phase is Phase.AWAKE:
                full = limit is not None and inside >= limit
                assert full or board.held, f"{lane.name} has room and lets them wait"
        if board.held:
            owed = [one for one in board.awake if one.waiting and one.limit is not None]
            assert owed, "the active model admits nothing, for nothing"

    def _check_overtaking(self, target: Lane) -> None:
        """I10: whoever is overdue goes first, by deadline, whatever the policy wants."""
        oldest = target.oldest
        for other in self.board.lanes.values():
            late = other.overdue and other.phase is Phase.ASLEEP and not other.resting
            if not late or other is target or other.oldest is None:
                continue
            assert oldest is not None and target.overdue, f"I10: {other.name} is overtaken"
            bounds = target.settings.max_wait or 0.0, other.settings.max_wait or 0.0
            assert oldest.arrived + bounds[0] <= other.oldest.arrived + bounds[1], (
                "I10: by deadline"
            )

    def _wanted(self, model: str) -> bool:
        restore = self.board.restore
        ordered = model in self.waiting.values() or model in self.orders.values()
        return ordered or (restore is not None and restore.name == model)

    def _check_hint(self, model: str, source: str = "") -> None:
        """A hint takes the accelerator from nobody: neither from who waits nor who is served."""
        assert model in self.hinted, f"I6: {model} is wanted by nobody"
        assert not self.waiting, f"a hint at {model} goes before somebody who waits"
        served = {one.lane.name for one in self.inside.keys() - self.orphans - self.undrained}
        here = {source, *(lane.name for lane in self.board.awake)}
        assert not served & here, f"a hint at {model} goes before somebody who is served"
        assert self.engines[model] in {"asleep", "waking"}, f"a hint at {model}, which is up"

    def _check_alarms(self) -> None:
        """Every alarm that is set has its reason, and every reason its alarm."""
        due: set[tuple[str, object]] = set()
        deferred, asked = set(), set()
        for name, lane in self.board.lanes.items():
            if lane.fresh:
                due.add(("min_active", name))
            if lane.resting:
                due.add(("rest", name))
            if lane.stuck:
                due.add(("stuck", name))
            if lane.wish is Wish.DEFERRED:
                deferred.add(name)
            if lane in self.board.hints:
                assert self.board.hints[lane] == self.hinted.get(name), "a hint that is over"
                due.add(("hint", name))
                asked.add(name)
            if lane.waiting:
                asked.add(name)
                if lane.settings.max_wait is not None and len(lane.late) < len(lane.waiting):
                    due.add(("overdue", name))
            if lane.late:
                watched = lane.waiting and lane.settings.max_wait is not None
                assert watched, "overdue are none"
                assert lane.late <= lane.waiting.keys(), "who left is overdue"
            assert 0 <= lane.owed <= len(lane.late), "more are owed than overdue"
        for one in self.waiting:
            if one.lane.settings.request_timeout:
                due.add(("deadline", one))
        plan = self.board.plan
        draining = plan is not None and plan.stage is Stage.DRAINING and plan.source is not None
        source = plan.source if draining and plan is not None else None
        if source is not None and source.settings.drain_timeout is not None:
            due.add(("drain", source.name))
        timed = {about for kind, about in self.alarms if kind == "defer"}
        assert timed | self.awaited == deferred, "a Defer without its end, or an end without it"
        asked_later = {about for kind, about in self.alarms if kind == "ask"}
        assert asked_later <= asked, "asked for nobody"
        rest = {key for key in self.alarms if key[0] not in {"defer", "ask"}}
        assert rest == due, f"alarms set {rest}, due {due}"
        assert (self.prepare is not None) == (draining and plan is not None and not plan.prepared)

    def _check_nobody_is_forgotten(self) -> None:
        """Whoever waits, something that is bound to happen will look at it again."""
        if not self.waiting and not self.orders:
            return
        plan = self.board.plan
        if plan is not None:
            draining = plan.stage is Stage.DRAINING and (self.prepare is not None or self.inside)
            assert draining or self.hook is not None, "a switch that nothing moves"
            return
        soon = {kind for kind, _ in self.alarms} - {"deadline"}
        soon |= {"survey"} if self.board.surveying else set()
        soon |= {"end"} if any(lane.waiting and lane.inside for lane in self.board.awake) else set()
        assert self.turn or self.consults or self.awaited or soon, "somebody is forgotten"

    # ---- for those who walk --------------------------------------------------------------------

    def copy(self) -> World:
        """Return an independent copy, board and books."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        twins: dict[Ticket, Ticket] = {}
        new.board = self.board.copy(twins)
        new.alarms = self.alarms.copy()
        new.labels, new.ended, new.settled = {}, {}, {}
        new.log, new.news, new.strays = [], [], []
        if twins:
            self._copy_tickets(new, twins)
        else:
            new.waiting, new.inside, new.returned = {}, {}, set()
            new.undrained, new.orphans = set(), set()
        new.engines, new.awaited = self.engines.copy(), self.awaited.copy()
        new.leftover, new.crowds = self.leftover.copy(), self.crowds.copy()
        new.outdated, new.removed = self.outdated.copy(), self.removed.copy()
        new.consults, new.orders = self.consults.copy(), self.orders.copy()
        new.hinted = self.hinted.copy()
        return new

    def _copy_tickets(self, new: World, twins: dict[Ticket, Ticket]) -> None:
        new.waiting = {twins[one]: model for one, model in self.waiting.items()}
        new.inside = {twins[one]: model for one, model in self.inside.items()}
        new.labels = {twin: self.labels[one] for one, twin in twins.items()}
        for kind, about in self.alarms:
            if isinstance(about, Ticket):
                new.alarms[kind, twins[about]] = new.alarms.pop((kind, about))
        new.returned = {twins[one] for one in self.returned if one in twins}
        new.undrained = {twins[one] for one in self.undrained if one in twins}
        new.orphans = {twins[one] for one in self.orphans if one in twins}

    def form(self) -> tuple[object, ...]:
        """Return a hashable form of board and world."""
        later = frozenset(key for key in self.alarms if key[0] in {"ask", "defer"})
        engines = tuple(self.engines.values())
        left = frozenset(self.leftover), len(self.orphans & self.inside.keys())
        return (self.board.canonical(), later, frozenset(self.awaited), engines, left)

    def told(self) -> list[str]:
        """Return what the board ordered since the last look, hooks and answers, in order."""
        out, self.log = self.log, []
        return out

    def heard(self, *kinds: type[n.News]) -> list[n.News]:
        """Return the news of these kinds so far."""
        return [item for item in self.news if isinstance(item, kinds)]
