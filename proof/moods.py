"""A policy of every mood: sound, thoughtful, hesitant, raising, silent for ever, naming nobody.

Its moods are drawn from the story's dice; once the fair end begins it says SwitchNow at once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from llmux.policy import Decision, Defer, PolicyContext, Skip, SwitchContext, SwitchNow
from llmux.policy.base import ScheduleContext, SwitchPolicy
from proof.chance import Chance


class Moody(SwitchPolicy):
    """Answers as the dice fall; `clock` is what its calls seem to take, in seconds.

    It listens to hints for so many seconds each, or to none.
    """

    def __init__(
        self, chance: Chance, models: list[str], ticks: float | None, hint_secs: float | None
    ) -> None:
        self._chance = chance
        self._models = models
        self._ticks = ticks
        vars(self)["hint_secs"] = hint_secs
        self.clock = 0.0

    def on_pending_request(self, context: PolicyContext) -> Any:
        """Answer well or badly."""
        chance = self._chance
        if not chance.faulty:
            return SwitchNow()
        if chance.strikes("policy: raises", 0.03):
            raise ValueError("a bad day")
        if chance.strikes("policy: never answers", 0.02):
            return self._think(None, 1e6)
        if chance.strikes("policy: names an unknown model", 0.03):
            return SwitchNow("nobody")
        if chance.strikes("policy: answers nonsense", 0.02):
            return chance.one([None, "now", Skip(-1.0), Defer(float("nan"))])
        if chance.strikes("policy: slow", 0.01):
            self.clock += 0.06
        target = chance.one([None, None, None, *self._models])
        match int(chance.dice.random() * 12):
            case 0:
                return Skip(chance.one([None, 0.0, 2.0]), target)
            case 1:
                return Defer(chance.one([0.0, 1.0, 4.0]), target)
            case 2:
                return Defer(asyncio.sleep(chance.one([0.0, 3.0])))
            case 3:
                return self._think(SwitchNow(target), chance.one([0.0, 0.5]))
            case 4:
                return self._think(Skip(), chance.one([0.0, 0.5]))
            case _:
                return SwitchNow(target)

    async def _think(self, answer: Decision | None, seconds: float) -> Any:
        await asyncio.sleep(seconds)
        return answer

    async def prepare_switch(self, context: SwitchContext) -> None:
        """Wait, dawdle, or fall over."""
        chance = self._chance
        if chance.strikes("policy: prepare raises", 0.05):
            raise ValueError("a bad day")
        if chance.strikes("policy: prepare dawdles", 0.05):
            await asyncio.sleep(8.0)
        if chance.sometimes(0.5):
            await context.wait_for_in_flight()

    def on_switch_complete(self, from_model: str | None, to_model: str, duration: float) -> None:
        """Fall over now and then."""
        if self._chance.strikes("policy: complete raises", 0.03):
            raise ValueError("a bad day")

    def scheduler_interval(self) -> float | None:
        """Return the story's interval."""
        return self._ticks

    async def schedule_tick(self, context: ScheduleContext) -> str | None:
        """Wish for a model that nobody asked for, now and then."""
        chance = self._chance
        if not chance.faulty:
            return None
        if chance.strikes("policy: tick raises", 0.05):
            raise ValueError("a bad day")
        if chance.strikes("policy: tick names an unknown model", 0.05):
            return "nobody"
        return chance.one([None, None, None, *self._models])
