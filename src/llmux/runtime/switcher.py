"""The driver: it alone knows asyncio, carries out what the board orders and reports back.

`tell` takes a fact, hands it to the board and executes the effects, run to completion: a fact
told from inside waits its turn in a deque. No rule of switching stands here. `enter` and `leave`
are the awake path and touch neither deque nor effects while nothing needs them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core.board import Switchboard
from llmux.core.lane import Change, LaneSettings, Phase
from llmux.core.news import News, PolicyFault
from llmux.core.ticket import INSIDE, LOST, Ticket
from llmux.core.times import Spent
from llmux.core.view import (
    Active,
    SwitcherState,
    policy_context,
    schedule_context,
    snapshot,
    state,
)
from llmux.errors import LlmuxError
from llmux.policy.base import Decision, Snapshot, SwitchPolicy
from llmux.runtime.drain import Drain
from llmux.runtime.guard import PolicyGuard, cancelled_from_outside
from llmux.runtime.hookable import Hooks
from llmux.runtime.witness import Pulse

logger = logging.getLogger("llmux.switcher")

Listener = Callable[[News], None]
_REMOVE = Change.REMOVE  # members of enums are looked up slowly


class ModelSwitcher:
    """Admits requests to models that take turns, and switches when the policy says so.

    `settings` holds what the config fixes per model; a model without them takes what the policy
    says. Listeners hear all news, synchronously, and must not raise. Everything runs on the loop
    on which it is first used.
    """

    def __init__(
        self,
        hooks: Hooks,
        policy: SwitchPolicy,
        *,
        settings: Mapping[str, LaneSettings] | None = None,
        listeners: Iterable[Listener] = (),
        survey: bool = False,
        rescue: bool = True,
        max_buffered: int | None = None,
    ) -> None:
        names = hooks.registered_models()
        given = settings or {}
        lanes = [given.get(name) or lane_settings(name, hooks, policy) for name in names]
        self.hooks = hooks
        self.rescue = rescue
        self.policy = policy
        self.board = Switchboard(
            lanes,
            rate_windows=tuple(policy.rate_windows),
            survey=survey,
            max_buffered=max_buffered,
        )
        self.listeners = list(listeners)
        self._guard = PolicyGuard(policy, self.board.lanes, self._complain)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._facts: deque[ev.Event] = deque()
        self._busy = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarms: dict[fx.AlarmKey, asyncio.TimerHandle] = {}
        self._defers: dict[str, asyncio.Task[None]] = {}
        self._prepares: dict[int, asyncio.Task[None]] = {}
        self._drains: dict[int, Drain] = {}
        self._orders: dict[int, asyncio.Future[None]] = {}
        self._order_number = 0
        self._world: Snapshot | None = None
        self._scheduler: asyncio.Task[None] | None = None
        self._started = False

    # ---- the awake path --------------------------------------------------------------------

    def ticket(self, model: str) -> Ticket:
        """Make a ticket for a request that arrives now; NotRegisteredError for unknown models."""
        return Ticket(self.board.lane(model), self._now())

    def enrol(self, ticket: Ticket, model: str) -> None:
        """Make it a ticket for this model that arrives now, as `ticket` makes a new one."""
        ticket.begin(self.board.lane(model), self._now())

    def arrive(self, ticket: Ticket, model: str, size: int) -> bool:
        """`enrol` and `enter` in one, for a request of so many bytes that says nothing more."""
        board = self.board
        now = self._now()
        lane = board.lanes.get(model)
        if lane is None or lane.change is _REMOVE:
            lane = board.lane(model)
        ticket.begin(lane, now)
        ticket.size = size
        if board.enter(ticket, now) and not board.dirty:
            return True
        return self._look(ticket, now)

    def enter(self, ticket: Ticket) -> bool:
        """Admit the ticket if its model is awake (True), else let it wait (False).

        A waiting ticket hears `on_admitted` or `on_rejected` later, once, unless it leaves
        first. Raises LlmuxError where the request would not even be queued.
        """
        board = self.board
        now = self._now()
        if board.enter(ticket, now) and not board.dirty:
            return True
        return self._look(ticket, now)

    def _look(self, ticket: Ticket, now: float) -> bool:
        """Let the policy look again at an arrival beside others that wait, or let it wait."""
        if ticket.stage == INSIDE:
            self.tell(ev.Looked())
            return True
        error = self.board.refusal(ticket.lane, now, ticket.size)
        if error is not None:
            raise error
        self.tell(ev.RequestWaits(ticket))
        return False

    def leave(self, ticket: Ticket) -> None:
        """Count the ticket out: served, failed, cancelled or timed out; harmless twice."""
        if self.board.leave(ticket, self._now()):
            self.tell(ev.Looked())

    def answered(self, ticket: Ticket) -> None:
        """Hear that the backend has given an answer other than 503: it has finished loading."""
        if ticket.stage == INSIDE:
            self.board.answered(ticket.lane)

    def suspect(self, ticket: Ticket, told: Callable[[bool], None]) -> None:
        """Look whether the backend of this request lives, because it refused or broke.

        `told` hears once, later, whether it is dead and the request may `rejoin`. Nobody is asked
        about a backend that was found dead or hung while the request was inside.
        """
        look = getattr(self.hooks, "suspect", None)
        bereft = self.board.bereft(ticket)
        if look is None or bereft:
            self._get_loop().call_soon(told, self.rescue and bereft)
            return

        async def run() -> None:
            pulse = await look(ticket.model)
            dead = pulse is Pulse.DEAD and ticket.stage in {INSIDE, LOST}
            told(self.rescue and (dead or self.board.bereft(ticket)))

        self._spawn(run())

    def rejoin(self, ticket: Ticket) -> None:
        """Let a request wait again: its backend died before it gave a byte of an answer."""
        self.tell(ev.RequestReturned(ticket))

    def loading(self, ticket: Ticket) -> float:
        """Seconds for which a refused connect or a 503 may still mean that the model loads."""
        lane = ticket.lane
        if lane.proven or ticket.stage != INSIDE:
            return 0.0
        now = self._now()
        ends = [float("inf") if lane.loading_until is None else lane.loading_until]
        if lane.settings.request_timeout is not None:
            ends.append(ticket.arrived + lane.settings.request_timeout)
        return max(0.0, min(ends) - now)

    # ---- verbs of the library --------------------------------------------------------------

    @asynccontextmanager
    async def serving(self, model: str) -> AsyncIterator[int]:
        """Hold the model awake for the block and give the port of its backend.

        Waits for its turn first; raises LlmuxError where the model does not become ready.
        """
        ticket = self.ticket(model)
        try:
            await self.admission(ticket)
            yield self.model_port(model) or 0
        finally:
            self.leave(ticket)

    async def acquire_in_flight(self, model: str) -> Ticket:
        """Wait for the model and return a lease on it, to be given back with `leave`."""
        ticket = self.ticket(model)
        try:
            await self.admission(ticket)
        except BaseException:
            self.leave(ticket)
            raise
        return ticket

    async def admission(self, ticket: Ticket) -> None:
        """Enter with a ticket and return when it is admitted; LlmuxError where it never is.

        Whoever calls it has to `leave` afterwards, whatever happens.
        """
        await self._told(ticket, self.enter)

    async def readmission(self, ticket: Ticket) -> None:
        """As `admission`, for a request whose backend is `dead`: it waits for another wake."""

        def rejoin(again: Ticket) -> bool:
            self.rejoin(again)
            return again.stage == INSIDE

        await self._told(ticket, rejoin)

    async def dead(self, ticket: Ticket) -> bool:
        """Look whether the backend of this request is dead, so that it may be readmitted."""
        verdict: asyncio.Future[bool] = self._get_loop().create_future()
        self.suspect(ticket, lambda dead: None if verdict.done() else verdict.set_result(dead))
        return await verdict

    async def _told(self, ticket: Ticket, begin: Callable[[Ticket], bool]) -> None:
        future: asyncio.Future[None] = self._get_loop().create_future()

        def admitted() -> None:
            if not future.done():
                future.set_result(None)

        def rejected(error: LlmuxError) -> None:
            if not future.done():
                future.set_exception(error)

        ticket.on_admitted, ticket.on_rejected = admitted, rejected
        if not begin(ticket):
            await future

    async def force_switch(self, model: str) -> None:
        """Make the model active without asking the policy; returns when it is.

        NotRegisteredError for an unknown model, HookFailedError if its wake fails. Already active
        is a no-op. A cool-down (`min_active_secs`) still holds.
        """
        self.board.lane(model)
        self._order_number += 1
        number = self._order_number
        future: asyncio.Future[None] = self._get_loop().create_future()
        self._orders[number] = future
        self.tell(ev.OrderGiven(number, model))
        try:
            await future
        finally:
            self._orders.pop(number, None)
            if future.cancelled() or not future.done():
                self.tell(ev.OrderWithdrawn(number))

    def state(self) -> SwitcherState:
        """Return Idle, Active(model) or Switching(from_model, to_model)."""
        return state(self.board)

    def active_model(self) -> str | None:
        """Return the active model, None while idle or switching."""
        now = state(self.board)
        return now.model if isinstance(now, Active) else None

    def registered_models(self) -> list[str]:
        """Return the names of all models, in the order of the config."""
        return [name for name in self.board.lanes if self.is_registered(name)]

    def is_registered(self, model: str) -> bool:
        """Say whether the model is known."""
        lane = self.board.lanes.get(model)
        return lane is not None and lane.change is not Change.REMOVE

    def model_port(self, model: str) -> int | None:
        """Return the port of the model's backend, None for an unknown model."""
        return self.hooks.model_port(model)

    def in_flight_count(self, model: str) -> int:
        """Return how many requests of the model are in flight; 0 for an unknown model."""
        lane = self.board.lanes.get(model)
        return 0 if lane is None else len(lane.inside) + len(lane.lost)

    def queue_depths(self) -> dict[str, int]:
        """Return how many requests wait, per model."""
        return {name: len(lane.waiting) for name, lane in self.board.lanes.items()}

    def estimated_switch_cost(self, from_model: str | None, to_model: str) -> float | None:
        """Return the learned cost of this very switch in seconds, None if never seen."""
        return self.board.costs.estimate(from_model, to_model)

    def snapshot(self) -> Snapshot:
        """Return the world as policies see it."""
        return snapshot(self.board, self._now())

    def spent(self) -> Spent:
        """Return what the time since the start was spent on, exact at this moment."""
        self.board.fold(self._now())
        return self.board.times.spent()

    def model_status(self, model: str) -> str:
        """Return `loaded`, `loading`, `sleeping` (it was awake before) or `unloaded`."""
        lane = self.board.lanes[model]
        if lane.phase in {Phase.AWAKE, Phase.DRAINING}:
            return "loaded"
        if lane.phase is Phase.WAKING:
            return "loading"
        return "unloaded" if lane.activated_at is None else "sleeping"

    # ---- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the policy's background scheduler, if it has one. Call it on the loop."""
        self._started = True
        interval = self._guard.interval()
        if interval is not None:
            self._scheduler = self._spawn(self._schedule(interval))

    def reconfigure(self, new: ev.Reconfigured, policy: SwitchPolicy | None = None) -> None:
        """Take over another set of models and settings, and another policy where one is given.

        What has not changed does not notice. Hooks that have `renew` and `forget` hear when the new
        commands of a model hold, and when nothing is left of one that was removed.
        """
        if policy is not None:
            self.policy = policy
            self._guard = PolicyGuard(policy, self.board.lanes, self._complain)
            if self._scheduler is not None:
                self._scheduler.cancel()
                self._scheduler = None
            if self._started:
                self.start()
        self.tell(new)

    def close(self) -> None:
        """Admit nothing from now on; those who wait are told that the gateway stops."""
        self.tell(ev.GatewayClosing())

    async def stop(self) -> None:
        """Close, end running hooks with their process groups, and forget every timer and task."""
        self.close()
        while tasks := list(self._tasks):  # one that ends may still order another
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for handle in self._alarms.values():
            handle.cancel()
        self._alarms.clear()

    # ---- facts in, effects out ---------------------------------------------------------------

    def tell(self, fact: ev.Event) -> None:
        """Hand a fact to the board and carry out what it orders, run to completion."""
        facts = self._facts
        facts.append(fact)
        if self._busy:
            return
        self._busy = True
        try:
            while facts:
                self._world = None
                for effect in self.board.handle(facts.popleft(), self._now()):
                    self._execute(effect)
                if self.board.news:
                    self._publish(self.board.take_news())
                for drain in self._drains.values():
                    drain.look()
        finally:
            self._busy = False

    def _execute(self, effect: fx.Effect) -> None:  # noqa: PLR0912 -- one branch an effect
        match effect:
            case fx.Admit(ticket):
                if ticket.stage == INSIDE:  # an owner told before it may have made it leave
                    self._call(ticket.on_admitted)
            case fx.Reject(ticket, error):
                self._call(ticket.on_rejected, error)
            case fx.Cut(ticket, error):
                self._call(ticket.on_cut, error)
            case fx.AskTurn():
                self._get_loop().call_soon(self.tell, ev.TurnEnded())
            case fx.Consult(model, number):
                self._consult(model, number)
            case fx.SetAlarm():
                self._set_alarm(effect)
            case fx.CancelAlarm(key):
                self._cancel_alarm(key)
            case fx.AwaitDefer(model, until):
                self._await_defer(model, until)
            case fx.Prepare(number, source, target):
                self._prepare(number, source, target)
            case fx.DropPrepare(number):
                task = self._prepares.pop(number, None)
                if task is not None:
                    task.cancel()
            case fx.RunHook():
                self._spawn(self._run_hook(effect))
            case fx.Renew(model):
                self._tell_hooks("renew", model)
            case fx.Forget(model):
                self._tell_hooks("forget", model)
            case fx.SettleOrder(number, error):
                self._settle(number, error)
            case fx.TellPolicy(source, target, duration):
                self._guard.completed(source, target, duration)

    def _call(self, told: Callable[..., None], *args: object) -> None:
        """Tell a ticket's owner; an owner that raises must not take the switch with it."""
        try:
            told(*args)
        except Exception:
            logger.exception("the owner of a request failed while it was told of its turn")

    def _publish(self, news: list[News]) -> None:
        for item in news:
            for listener in self.listeners:
                try:
                    listener(item)
                except Exception:
                    logger.exception("a listener failed at %r", item)

    def _complain(self, policy: str, error: str) -> None:
        self._publish([PolicyFault(policy, error)])

    # ---- the policy ----------------------------------------------------------------------------

    def _consult(self, model: str, number: int) -> None:
        if self._world is None:
            self._world = snapshot(self.board, self._now())
        context = policy_context(self.board, self._world, self.board.lanes[model])
        answer = self._guard.decide(context)
        if inspect.isawaitable(answer):
            self._spawn(self._consult_later(model, number, answer))
        else:
            self.tell(ev.PolicyAnswered(model, number, answer))

    async def _consult_later(self, model: str, number: int, answer: Awaitable[Decision]) -> None:
        self.tell(ev.PolicyAnswered(model, number, await answer))

    async def _schedule(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            world = snapshot(self.board, self._now())
            target = await self._guard.tick(schedule_context(self.board, world))
            if target is not None and target not in {
                lane.name for lane in self.board.orders.values()
            }:
                self._order_number += 1
                self.tell(ev.OrderGiven(self._order_number, target, "the policy's scheduler"))

    def _prepare(self, number: int, source: str, target: str) -> None:
        drain = Drain(self.board.lanes[source], target, snapshot(self.board, self._now()))
        self._drains[number] = drain

        async def run() -> None:
            await self._guard.prepare(drain)
            self.tell(ev.PrepareEnded(number))

        def over(task: asyncio.Task[None]) -> None:
            # Not in a `finally` of run(): a task that is cancelled before its first step has none.
            del task
            self._drains.pop(number, None)
            self._prepares.pop(number, None)

        self._prepares[number] = task = self._spawn(run())
        task.add_done_callback(over)

    # ---- alarms --------------------------------------------------------------------------------

    def _set_alarm(self, effect: fx.SetAlarm) -> None:
        loop = self._get_loop()
        rings = loop.time() + effect.seconds
        old = self._alarms.get(effect.key)
        if old is not None:
            if effect.keep_earlier and old.when() <= rings:
                return
            old.cancel()
        self._alarms[effect.key] = loop.call_at(rings, self._ring, effect.key)

    def _ring(self, key: fx.AlarmKey) -> None:
        self._alarms.pop(key, None)
        self.tell(ev.AlarmRang(key))

    def _cancel_alarm(self, key: fx.AlarmKey) -> None:
        handle = self._alarms.pop(key, None)
        if handle is not None:
            handle.cancel()
        kind, about = key
        if kind == "defer" and isinstance(about, str):
            task = self._defers.pop(about, None)
            if task is not None:
                task.cancel()

    def _await_defer(self, model: str, until: Awaitable[object]) -> None:
        if model in self._defers:  # a new Defer does not prolong one that runs
            return

        async def run() -> None:
            await self._guard.wait(until)
            if self._defers.get(model) is asyncio.current_task():
                del self._defers[model]
                self.tell(ev.DeferEnded(model))

        self._defers[model] = self._spawn(run())

    # ---- hooks and orders ------------------------------------------------------------------------

    async def _run_hook(self, order: fx.RunHook) -> None:
        run = self.hooks.run_wake if order.hook == "wake" else self.hooks.run_sleep
        began = self._now()
        try:
            end = await run(
                order.model, from_model=order.source, to_model=order.target, reason=order.reason
            )
        except (Exception, asyncio.CancelledError) as error:
            if cancelled_from_outside(error):
                raise
            logger.exception("the runner of the %s hook of %s failed", order.hook, order.model)
            seconds = self._now() - began
            self.tell(ev.HookEnded(order.number, False, seconds, repr(error), left="unclear"))
            return
        self.tell(
            ev.HookEnded(
                order.number,
                end.ok,
                end.duration,
                end.error or "",
                end.exit_code,
                end.tail,
                getattr(end, "left", "asleep"),
            )
        )

    def _tell_hooks(self, verb: str, model: str) -> None:
        """Tell whoever runs hooks, if it wants to know."""
        told = getattr(self.hooks, verb, None)
        if told is not None:
            told(model)

    def _settle(self, number: int, error: LlmuxError | None) -> None:
        future = self._orders.get(number)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    # ---- tasks and time --------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._get_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a task of the switcher failed: %r", error, exc_info=error)

    def _get_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._now = self._loop.time  # type: ignore[method-assign]
            self.board.times.begin(self._loop.time())
        return self._loop

    def _now(self) -> float:
        """Read the loop's clock, the only one; rebound to it at the first use."""
        return self._get_loop().time()


def lane_settings(name: str, hooks: Hooks, policy: SwitchPolicy) -> LaneSettings:
    """Return a model's settings as the policy alone would have them."""
    return LaneSettings(
        name,
        port=hooks.model_port(name) or 0,
        request_timeout=policy.request_timeout(),
        min_active=policy.min_active_duration(),
        drain_before_switch=policy.drain_before_switch(),
    )
