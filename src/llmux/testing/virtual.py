"""Virtual time, and hooks that only pretend, for whole stories in the time of a breath.

On a `VirtualLoop` an hour passes as fast as its events can be handled; no real process can run
there, so `FakeHooks` stands in for the scripts and fails as scripts fail.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

_STEPS_WITHOUT_PROGRESS = 1000


class _VirtualSelector(selectors.BaseSelector):
    """Waits by moving the clock: nothing but timers can happen on a virtual loop."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 0.0
        self._still = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("a virtual loop waits for ever: no timer is set")
        if timeout > 0:
            self._still = 0
            return self._jump()
        self._still += 1
        if self._still > _STEPS_WITHOUT_PROGRESS:  # livelock by rounding
            self._still = 0
            self.now += 1e-6
        return []

    def _jump(self) -> list[tuple[selectors.SelectorKey, int]]:
        self.now = max(self.now, self.next_timer())
        return []

    next_timer: Callable[[], float]


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps exactly to the next timer. Starts at 0.0 s."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)
        self._virtual.next_timer = self._next_timer

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual.now

    def jump(self, seconds: float) -> None:
        """Move the clock ahead at once, as a machine that was suspended finds it."""
        self._virtual.now += seconds

    def _next_timer(self) -> float:
        when: float = self._scheduled[0].when()  # type: ignore[attr-defined]
        return when


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a fresh `VirtualLoop` and return what it returns."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()


@dataclass(frozen=True, slots=True)
class FakeOutcome:
    """How a pretended hook ended; duration in seconds."""

    ok: bool
    exit_code: int | None
    duration: float
    tail: str = ""
    error: str | None = None


@dataclass(slots=True)
class FakeHooks:
    """Hooks that take their time on the loop's clock and do nothing else.

    `models` maps each name to (sleep, wake) in seconds. `failing` holds ("wake" or "sleep",
    model) pairs that exit with code 1. `history` is what ran: (time, hook, model, "begin" or
    "end").
    """

    models: Mapping[str, tuple[float, float]]
    failing: set[tuple[str, str]] = field(default_factory=set)
    history: list[tuple[float, str, str, str]] = field(default_factory=list)

    def registered_models(self) -> list[str]:
        """Return the names of all models."""
        return list(self.models)

    def model_port(self, model: str) -> int | None:
        """Return a port for a known model; nothing listens there."""
        names = list(self.models)
        return 8001 + names.index(model) if model in names else None

    async def run_wake(
        self, model: str, *, from_model: str | None, to_model: str | None, reason: str
    ) -> FakeOutcome:
        """Pretend to wake the model."""
        del from_model, to_model, reason
        return await self._run("wake", model, self.models[model][1])

    async def run_sleep(
        self, model: str, *, from_model: str | None, to_model: str | None, reason: str
    ) -> FakeOutcome:
        """Pretend to put the model to sleep."""
        del from_model, to_model, reason
        return await self._run("sleep", model, self.models[model][0])

    async def _run(self, hook: str, model: str, seconds: float) -> FakeOutcome:
        now = asyncio.get_running_loop().time
        began = now()
        self.history.append((began, hook, model, "begin"))
        try:
            await asyncio.sleep(seconds)
        finally:
            self.history.append((now(), hook, model, "end"))
        if (hook, model) in self.failing:
            return FakeOutcome(False, 1, now() - began, "it said no", "exit code 1")
        return FakeOutcome(True, 0, now() - began)

    def timeline(self) -> list[tuple[float, str, str]]:
        """Return when each hook began: (time, hook, model)."""
        return [(when, hook, model) for when, hook, model, what in self.history if what == "begin"]
