"""A fence around a user's policy: it may raise, dawdle or name nonsense, traffic goes on.

Whatever a policy does wrong is reported and read as first come, first served for that decision.
It refuses to know the board; it turns calls into decisions and complaints.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator
from dataclasses import replace
from time import perf_counter
from typing import Any, Final

from llmux.policy.base import (
    Decision,
    Defer,
    PolicyContext,
    PolicyDecision,
    Reason,
    ScheduleContext,
    Skip,
    SwitchContext,
    SwitchNow,
    SwitchPolicy,
)

DEADLINE_SECONDS: Final = 5.0
"""How long an `async` callback may take before it is read as FIFO."""
LONGEST_SECONDS: Final = 1e9
"""Any longer wait that a policy names is a mistake."""
SLOW_SECONDS: Final = 0.05
"""A `def` callback that takes longer stands in everybody's way."""
SLOW_IN_A_ROW: Final = 3
"""After so many slow calls in a row the policy is replaced by FIFO."""


_DECISIONS: Final = (SwitchNow, Defer, Skip)
_NUMBERS: Final = (int, float)
_REASONS: Final = (str, Reason)
# A union that is written where it is asked for is made anew at each decision.

_FAULTS = (Exception, asyncio.CancelledError, SystemExit, KeyboardInterrupt)
"""What user code may raise; awaiting something that was cancelled raises no Exception, and whoever
calls `sys.exit` in a policy, or raises what Ctrl-C raises, shall not end the gateway."""


def cancelled_from_outside(error: BaseException) -> bool:
    """Say whether this is a cancellation of the running task, not one that it stumbled over."""
    task = asyncio.current_task()
    return (
        isinstance(error, asyncio.CancelledError) and task is not None and bool(task.cancelling())
    )


def interrupted(error: BaseException) -> bool:
    """Say whether this may be a real Ctrl-C, not a KeyboardInterrupt that user code has raised.

    A gateway hears SIGINT by its loop, and then none is real. Python's own handler raises one, and
    that of `asyncio.run` at the second time.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    handler = signal.getsignal(signal.SIGINT)
    runner = getattr(getattr(handler, "func", None), "__self__", None)
    return handler is signal.default_int_handler or isinstance(runner, asyncio.Runner)


def _no_time(seconds: object) -> str | None:
    """Say what is wrong with a number of seconds, None if nothing is."""
    if isinstance(seconds, _NUMBERS) and 0 <= seconds < LONGEST_SECONDS:
        return None
    return "no such time"


class _Offered:
    """A coroutine that a Defer brings; closed without a warning if nobody comes to await it."""

    def __init__(self, work: Coroutine[Any, Any, object]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, object]:
        return self._work.__await__()

    def __del__(self) -> None:
        self._work.close()


class PolicyGuard:
    """Asks a policy and never lets it hurt; complaints go to `report(policy, error)`."""

    def __init__(
        self,
        policy: SwitchPolicy,
        models: Collection[str],
        report: Callable[[str, str], None],
        *,
        deadline: float = DEADLINE_SECONDS,
        stopwatch: Callable[[], float] = perf_counter,
    ) -> None:
        self.policy = policy
        self.name = type(policy).__name__
        self.replaced = False
        """The policy was too slow too often and is not asked any more."""
        self._models = models
        self._report = report
        self._deadline = deadline
        self._stopwatch = stopwatch
        self._slow: dict[str, int] = {}
        """Slow calls in a row of each callback."""
        self.same_for_all = bool(getattr(policy, "same_for_all", False))
        """An answer that is not a Defer holds for all who wait at its moment."""

    def decide(self, context: PolicyContext) -> Decision | Awaitable[Decision]:
        """Return the policy's decision, or an awaitable of it that never raises."""
        if self.replaced:
            return SwitchNow(reason=f"{self.name} was replaced by FIFO: it was too slow")
        began = self._stopwatch()
        try:
            answer = self.policy.on_pending_request(context)
        except _FAULTS as error:
            if interrupted(error):
                raise
            return self._fifo(f"on_pending_request raised {error!r}")
        seconds = self._stopwatch() - began
        if self._slow or seconds > SLOW_SECONDS:
            self._time("on_pending_request", seconds)
        if not isinstance(answer, PolicyDecision) and inspect.isawaitable(answer):
            return self._await(answer)
        return self._check(answer)

    async def _await(self, answer: Awaitable[Decision]) -> Decision:
        try:
            async with asyncio.timeout(self._deadline) as deadline:
                return self._check(await answer)
        except _FAULTS as error:
            if deadline.expired():
                return self._fifo(f"on_pending_request did not answer within {self._deadline:g} s")
            if cancelled_from_outside(error) or interrupted(error):
                raise
            return self._fifo(f"on_pending_request raised {error!r}")

    def _check(self, answer: object) -> Decision:
        if not isinstance(answer, _DECISIONS):
            return self._fifo(f"on_pending_request returned {answer!r}, which is no decision")
        fault = self._fault(answer.target, answer.reason)
        if isinstance(answer, Skip) and answer.ask_again is not None:
            fault = fault or _no_time(answer.ask_again)
        elif isinstance(answer, Defer) and not inspect.isawaitable(answer.wait):
            fault = fault or _no_time(answer.wait)
        if fault:
            return self._fifo(f"on_pending_request returned {answer!r}: {fault}")
        if isinstance(answer, Defer) and inspect.iscoroutine(answer.wait):
            return replace(answer, wait=_Offered(answer.wait))
        return answer

    def _fault(self, target: object, reason: object) -> str | None:
        if target is not None and not (isinstance(target, str) and target in self._models):
            return f"it named an unknown model, {target!r}"
        if reason is not None and not isinstance(reason, _REASONS):
            return "the reason is no text and no Reason"
        return None

    def _fifo(self, complaint: str) -> Decision:
        self._report(self.name, complaint)
        return SwitchNow(reason=f"read as FIFO: {complaint}")

    def _time(self, callback: str, seconds: float) -> None:
        if seconds <= SLOW_SECONDS:
            self._slow.pop(callback, None)
            return
        self._slow[callback] = slow = self._slow.get(callback, 0) + 1
        self._report(self.name, f"{callback} took {seconds * 1000:.0f} ms of everybody's")
        if slow >= SLOW_IN_A_ROW:
            self.replaced = True
            self._report(self.name, f"replaced by FIFO after {slow} slow calls in a row")

    async def prepare(self, context: SwitchContext) -> None:
        """Run `prepare_switch`; what it raises is reported and the switch goes on."""
        try:
            await self.policy.prepare_switch(context)
        except _FAULTS as error:
            if cancelled_from_outside(error) or interrupted(error):
                raise
            self._report(self.name, f"prepare_switch raised {error!r}")

    async def wait(self, until: Awaitable[object]) -> None:
        """Await what a Defer waits for; that it fails is reported, and it counts as over.

        A future stays the policy's own: that nobody waits for it here any more does not cancel it.
        """
        try:
            await (asyncio.shield(until) if asyncio.isfuture(until) else until)
        except _FAULTS as error:
            if cancelled_from_outside(error) or interrupted(error):
                raise
            self._report(self.name, f"what a Defer waited for raised {error!r}")

    def completed(self, source: str | None, target: str, duration: float) -> None:
        """Tell the policy of a switch that succeeded."""
        if self.replaced:
            return
        began = self._stopwatch()
        try:
            self.policy.on_switch_complete(source, target, duration)
        except _FAULTS as error:
            if interrupted(error):
                raise
            self._report(self.name, f"on_switch_complete raised {error!r}")
        self._time("on_switch_complete", self._stopwatch() - began)

    def interval(self) -> float | None:
        """Return the scheduler's interval in seconds, None for no scheduler."""
        try:
            seconds = self.policy.scheduler_interval()
            if seconds is None:
                return None
            if 0 < float(seconds) < LONGEST_SECONDS:
                return max(0.001, float(seconds))
            self._report(self.name, f"scheduler_interval returned {seconds!r}: no such time")
        except _FAULTS as error:
            if interrupted(error):
                raise
            self._report(self.name, f"scheduler_interval raised {error!r}")
        return None

    async def tick(self, context: ScheduleContext) -> str | None:
        """Return the model that the scheduler wants active, None for no wish."""
        if self.replaced:
            return None
        began = self._stopwatch()
        try:
            async with asyncio.timeout(self._deadline) as deadline:
                wish = self.policy.schedule_tick(context)
                self._time("schedule_tick", self._stopwatch() - began)
                target = await wish if inspect.isawaitable(wish) else wish
        except _FAULTS as error:
            if deadline.expired():
                self._report(self.name, f"schedule_tick did not answer within {self._deadline:g} s")
                return None
            if cancelled_from_outside(error) or interrupted(error):
                raise
            self._report(self.name, f"schedule_tick raised {error!r}")
            return None
        if target is None or (isinstance(target, str) and target in self._models):
            return target
        self._report(self.name, f"schedule_tick named an unknown model: {target!r}")
        return None
