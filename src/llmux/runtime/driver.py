"""The driver: it alone knows asyncio, carries out what the board orders and reports back.

`tell` takes a fact, hands it to the board and executes the effects, run to completion: a fact
told from inside waits its turn in a deque. No rule of switching stands here, and no verb that
anybody outside asks for: `switcher` has those.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core.board import Switchboard
from llmux.core.lane import LaneSettings
from llmux.core.news import News, PolicyFault
from llmux.core.ticket import INSIDE
from llmux.core.view import policy_context, schedule_context, snapshot
from llmux.errors import LlmuxError
from llmux.policy.base import Decision, Defer, Snapshot, SwitchPolicy
from llmux.runtime.drain import Drain
from llmux.runtime.guard import PolicyGuard, cancelled_from_outside
from llmux.runtime.hookable import Hooks

logger = logging.getLogger("llmux.switcher")

Listener = Callable[[News], None]


class Driver:
    """Carries out what the board orders, on the loop on which it is first used.

    `settings` holds what the config fixes per model; a model without them takes what the policy
    says. Listeners hear all news, synchronously, and must not raise.
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
        board: type[Switchboard] = Switchboard,
    ) -> None:
        names = hooks.registered_models()
        given = settings or {}
        lanes = [given.get(name) or lane_settings(name, hooks, policy) for name in names]
        self.hooks = hooks
        self.rescue = rescue
        self.policy = policy
        self.board = board(
            lanes,
            rate_windows=tuple(policy.rate_windows),
            hint_secs=policy.hint_secs,
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
        self._answer: Decision | None = None
        """What the policy has answered for everybody who waits in this world."""
        self._scheduler: asyncio.Task[None] | None = None
        self._started = False

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
                self._world = self._answer = None
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
            case fx.Lose(ticket, error):
                self._call(ticket.on_lost, error)
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
        if self._answer is not None:
            return  # it was told for all
        if self._world is None:
            self._world = snapshot(self.board, self._now())
        context = policy_context(self.board, self._world, self.board.lanes[model])
        answer = self._guard.decide(context)
        if inspect.isawaitable(answer):
            self._spawn(self._consult_later(model, number, answer))
            return
        for_all = self._guard.same_for_all and not isinstance(answer, Defer)
        if for_all:
            self._answer = answer
        self.tell(ev.PolicyAnswered(model, number, answer, for_all))

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
