"""A switcher over pretended hooks on virtual time, and what has to be true of it at any moment.

It looks at the switcher from outside: at what the hooks did, at who was served when, and at what
is left over. It refuses to know how the switcher decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmux.core.lane import LaneSettings, Phase
from llmux.core.news import News, PolicyFault
from llmux.errors import LlmuxError
from llmux.policy import Decision, FifoPolicy, PolicyContext, SwitchPolicy
from llmux.runtime.switcher import ModelSwitcher
from llmux.testing import FakeHooks

Answer = Decision | Awaitable[Decision]


class Asked(SwitchPolicy):
    """A policy that answers what a test says, and remembers what it was asked and told."""

    def __init__(self, answer: Callable[[PolicyContext], Answer]) -> None:
        self._answer = answer
        self.contexts: list[PolicyContext] = []
        self.completed: list[tuple[str | None, str, float]] = []

    def on_pending_request(self, context: PolicyContext) -> Answer:
        """Answer as the test says."""
        self.contexts.append(context)
        return self._answer(context)

    def on_switch_complete(self, from_model: str | None, to_model: str, duration: float) -> None:
        """Remember it."""
        self.completed.append((from_model, to_model, duration))


@dataclass
class Visit:
    """One request's story: when it came, when it was inside, how it ended."""

    model: str
    came: float
    inside: float | None = None
    over: float | None = None
    end: str = ""


@dataclass
class House:
    """Hooks of (sleep, wake) seconds, a policy, and a switcher between them."""

    models: Mapping[str, tuple[float, float]]
    policy: SwitchPolicy = field(default_factory=FifoPolicy)
    failing: set[tuple[str, str]] = field(default_factory=set)
    settings: Mapping[str, LaneSettings] | None = None
    kind: type[FakeHooks] = FakeHooks

    def __post_init__(self) -> None:
        self.hooks = self.kind(self.models, self.failing)
        self.news: list[News] = []
        self.switcher = ModelSwitcher(
            self.hooks, self.policy, settings=self.settings, listeners=[self.news.append]
        )
        self.visits: list[Visit] = []

    @property
    def now(self) -> float:
        """The virtual time."""
        return asyncio.get_running_loop().time()

    async def visit(self, model: str, seconds: float = 1.0) -> Visit:
        """Be served for so long, and remember how it went; only a cancellation is raised."""
        visit = Visit(model, self.now)
        self.visits.append(visit)
        try:
            async with self.switcher.serving(model):
                visit.inside = self.now
                phase = self.switcher.board.lanes[model].phase
                assert phase in {Phase.AWAKE, Phase.DRAINING}, f"I2: {model} is {phase}"
                await asyncio.sleep(seconds)
            visit.end = "served"
        except LlmuxError as error:
            visit.end = str(error.status)
        except asyncio.CancelledError:
            visit.end = "cancelled"
            raise
        finally:
            visit.over = self.now
        return visit

    def send(self, model: str, seconds: float = 1.0) -> asyncio.Task[Visit]:
        """Start a visit beside the test."""
        return asyncio.create_task(self.visit(model, seconds))

    def faults(self) -> list[str]:
        """What was said about the policy."""
        return [item.error for item in self.news if isinstance(item, PolicyFault)]

    def heard(self, *kinds: type[News]) -> list[Any]:
        """The news of these kinds."""
        return [item for item in self.news if isinstance(item, kinds)]

    def assert_one_at_a_time(self) -> None:
        """Hooks never overlapped, and nothing was woken beside another (I1, I7)."""
        running: tuple[str, str] | None = None
        up: set[str] = set()
        for _, hook, model, what in self.hooks.history:
            if what == "begin":
                assert running is None, f"{hook} {model} began during {running}"
                running = (hook, model)
                if hook == "wake":
                    assert not up, f"{model} was woken beside {up}"
                    up.add(model)
            else:
                running = None
                if hook == "sleep":
                    up.discard(model)

    def assert_nothing_left(self) -> None:
        """Nobody waits, nobody is inside, and no timer or task is left (I5)."""
        switcher = self.switcher
        for name in switcher.registered_models():
            assert switcher.in_flight_count(name) == 0
        assert not any(switcher.queue_depths().values())
        assert not switcher._tasks
        assert not switcher._alarms
        assert not switcher._defers
        assert not switcher._prepares
        assert not switcher._orders
        assert not switcher._drains
        assert all(visit.end for visit in self.visits), "a request never ended (I4)"
