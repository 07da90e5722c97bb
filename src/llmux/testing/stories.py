"""Two short stories that show what no single moment shows: who is never served, who asks too much.

Real board, real driver, virtual time, hooks that only pretend. Each story returns what was wrong,
in words. This file refuses to know how a policy was loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llmux.core.lane import LaneSettings
from llmux.core.news import DrainEnded, ModelActivated, News, PolicyFault
from llmux.policy.base import PolicyContext, ScheduleContext, SwitchContext, SwitchPolicy
from llmux.runtime.switcher import ModelSwitcher
from llmux.testing.virtual import FakeHooks

_HOOKS: Final[Mapping[str, tuple[float, float]]] = {
    "llama": (1.0, 10.0),
    "mistral": (1.0, 10.0),
    "qwen": (2.0, 20.0),
}
_LONG: Final = 600.0
"""Seconds that nobody should wait where a switch takes 11 s, whatever else goes on."""
_DRAIN: Final = 60.0
_MOST_ASKED: Final = 10_000


class Watched(SwitchPolicy):
    """The policy itself, with its questions counted."""

    def __init__(self, policy: SwitchPolicy) -> None:
        self.policy = policy
        self.asked = 0
        self.tired = asyncio.Event()
        """It was asked far too often."""
        vars(self)["rate_windows"] = policy.rate_windows

    def on_pending_request(self, context: PolicyContext) -> Any:
        """Count and ask."""
        self.asked += 1
        if self.asked >= _MOST_ASKED:
            self.tired.set()
        return self.policy.on_pending_request(context)

    async def prepare_switch(self, context: SwitchContext) -> None:
        """Let it prepare."""
        await self.policy.prepare_switch(context)

    def on_switch_complete(self, from_model: str | None, to_model: str, duration: float) -> None:
        """Let it know."""
        self.policy.on_switch_complete(from_model, to_model, duration)

    def scheduler_interval(self) -> float | None:
        """Tick as it wants."""
        return self.policy.scheduler_interval()

    def schedule_tick(self, context: ScheduleContext) -> Any:
        """Let it tick."""
        return self.policy.schedule_tick(context)


@dataclass
class _House:
    """A switcher under the policy, and what happened in it."""

    policy: Watched
    wrong: dict[str, None] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    visits: list[asyncio.Task[None]] = field(default_factory=list)
    longest: dict[str, float] = field(default_factory=dict)
    switches: int = 0

    def __post_init__(self) -> None:
        lanes = {name: LaneSettings(name, drain_timeout=_DRAIN) for name in _HOOKS}
        self.switcher = ModelSwitcher(
            FakeHooks(_HOOKS), self.policy, settings=lanes, listeners=[self._hear]
        )
        self.switcher.start()

    def _hear(self, news: News) -> None:
        match news:
            case PolicyFault(_, error):
                self.wrong[error] = None
            case ModelActivated():
                self.switches += 1
            case DrainEnded(_, _, seconds) if seconds >= _DRAIN:
                self.wrong[
                    f"prepare_switch held a switch up for {_DRAIN:g} s, until the drain's bound; "
                    "it runs beside the drain, so return as soon as what it does is done"
                ] = None

    async def visit(self, model: str, seconds: float) -> None:
        """Wait for the model and use it for so long."""
        began = asyncio.get_running_loop().time()
        self.waiting[model] = self.waiting.get(model, 0) + 1
        async with self.switcher.serving(model):
            waited = asyncio.get_running_loop().time() - began
            self.longest[model] = max(waited, self.longest.get(model, 0.0))
            self.waiting[model] -= 1
            await asyncio.sleep(seconds)

    def send(self, model: str, seconds: float) -> None:
        """Let a visitor come."""
        self.visits.append(asyncio.create_task(self.visit(model, seconds)))

    async def pause(self, seconds: float) -> bool:
        """Let time pass; True if the policy is asked so often that it is not worth going on."""
        try:
            async with asyncio.timeout(seconds):
                await self.policy.tired.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> list[str]:
        """End the story and return what was wrong."""
        seconds = asyncio.get_running_loop().time()
        if self.policy.tired.is_set():
            self.wrong[
                f"it was asked {self.policy.asked} times within {seconds:.0f} s, because it wants "
                "to be asked again at once; ask_again=0.25 or more would do"
            ] = None
        if self.switches > 3 * len(self.visits) + 10:
            self.wrong[
                f"it switched {self.switches} times for {len(self.visits)} requests; name a model "
                "in schedule_tick only while somebody waits for it or is about to"
            ] = None
        for visit in self.visits:
            visit.cancel()
        await asyncio.gather(*self.visits, return_exceptions=True)
        await self.switcher.stop()
        return list(self.wrong)

    def left_waiting(self) -> list[str]:
        """Return the models that somebody still waits for."""
        return [model for model, count in self.waiting.items() if count]


async def story_of_a_busy_model(policy: Watched) -> list[str]:
    """Keep llama in use for a quarter of an hour; once, somebody wants mistral."""
    house = _House(policy)
    tired = False
    for second in range(0, 900, 2):
        house.send("llama", 4.0)
        if second == 60:
            house.send("mistral", 4.0)
        tired = await house.pause(2.0)
        if tired:
            break
    starved = house.left_waiting() if not tired else []
    if "mistral" in starved or house.longest.get("mistral", 0.0) > _LONG:
        house.wrong[
            "a request for mistral waited more than 10 minutes, because llama was in use all the "
            "time; switch when oldest_waiting is long enough, or set policy.max_wait_secs"
        ] = None
    if "llama" in starved and house.longest.get("llama", 0.0) > _LONG:
        house.wrong[
            "requests for llama waited more than 10 minutes, because one for mistral was served; "
            "answer for every model that is waited for"
        ] = None
    return await house.close()


async def story_of_a_quiet_house(policy: Watched) -> list[str]:
    """Ask three models a few times, then leave the house alone for an hour."""
    house = _House(policy)
    tired = False
    for number in range(24):
        house.send(("llama", "mistral", "qwen", "llama")[number % 4], 3.0)
        tired = tired or await house.pause(7.0)
    tired = tired or await house.pause(3600.0)
    left = house.left_waiting()
    if left and not tired:
        house.wrong[
            f"it left requests for {' and '.join(left)} waiting for an hour in which nothing else "
            "happened; when nobody is in flight and somebody waits, answer SwitchNow()"
        ] = None
    return await house.close()
