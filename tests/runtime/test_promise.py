"""The promise of `max_wait`: it holds under every policy, hostile ones included.

A wait is at most `max_wait`, and for each model ahead one drain, one sleep and one wake, and one
answer; where `max_in_flight` holds requests back, the answers of the overdue among them as well.
The bound is reckoned here from what was waiting at the moment at which a request fell due, never
from what the board decided afterwards. Time is virtual, board and driver are the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf, nan
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmux.core.lane import LaneSettings
from llmux.policy import (
    Decision,
    Defer,
    FifoPolicy,
    PolicyContext,
    ScheduleContext,
    Skip,
    SwitchContext,
    SwitchNow,
    SwitchPolicy,
)
from llmux.policy.balance import BalancePolicy
from llmux.runtime.switcher import ModelSwitcher
from llmux.testing import FakeHooks, run_virtual

NAMES = "abcd"
LONGEST_DRAIN = 9.0

Mood = Callable[[Random, PolicyContext], Any]


async def never() -> Decision:
    """Think for ever."""
    await asyncio.Event().wait()
    raise AssertionError("for ever is over")


def raises(dice: Random, context: PolicyContext) -> Decision:
    """Fall over."""
    raise RuntimeError(f"no idea about {context.target_model}")


def tampers(dice: Random, context: PolicyContext) -> Decision:
    """Take the snapshot apart that others are shown too."""
    models: Any = context.snapshot.models
    models.clear()
    return Skip(1e8)


def stays(dice: Random, context: PolicyContext) -> Decision:
    """Name the one model that nobody has to switch to."""
    return SwitchNow(context.active_model or dice.choice(NAMES))


MOODS: dict[str, Mood] = {
    "never switches": lambda dice, context: Skip(1e8),
    "always names another": lambda dice, context: SwitchNow(dice.choice(NAMES)),
    "names the active model": stays,
    "names one that nobody knows": lambda dice, context: SwitchNow("nobody"),
    "raises": raises,
    "never answers": lambda dice, context: never(),
    "waits for what never comes": lambda dice, context: Defer(asyncio.Event().wait()),
    "asks for the past": lambda dice, context: Skip(dice.choice([-1.0, nan, inf])),
    "defers to no time": lambda dice, context: Defer(dice.choice([-1.0, nan, inf, 1e8])),
    "answers nonsense": lambda dice, context: dice.choice([None, 7, "now", SwitchNow]),
    "asks at every moment": lambda dice, context: Skip(0.0 if context.snapshot.now < 3 else 0.25),
    "takes the snapshot apart": tampers,
    "switches at once": lambda dice, context: SwitchNow(),
}


class Hostile(SwitchPolicy):
    """One mood for a whole story, or another at each question; `dawdles` in prepare_switch."""

    def __init__(self, dice: Random, mood: str, dawdles: bool, flips: bool) -> None:
        self._dice = dice
        self._mood = mood
        self._dawdles = dawdles
        self._flips = flips

    def on_pending_request(self, context: PolicyContext) -> Decision | Awaitable[Decision]:
        """Answer as the mood is."""
        mood = self._mood if self._mood in MOODS else self._dice.choice(sorted(MOODS))
        answer: Decision | Awaitable[Decision] = MOODS[mood](self._dice, context)
        return answer

    async def prepare_switch(self, context: SwitchContext) -> None:
        """Return at once, or never."""
        if self._dawdles:
            await asyncio.Event().wait()

    def scheduler_interval(self) -> float | None:
        """Tick as often as it likes."""
        return 1.5 if self._flips else None

    def schedule_tick(self, context: ScheduleContext) -> str | None:
        """Want another model active although nobody may wait for it."""
        return self._dice.choice(NAMES[: len(context.queue_depths)])


@dataclass(eq=False)
class Wait:
    """One request: when it came, what was ahead of it when it fell due, when it was inside."""

    model: str
    came: float
    due: float
    inside: float | None = None
    ahead: set[str] = field(default_factory=set)


class Story:
    """Models, a policy and a crowd of requests, all drawn from one seed."""

    def __init__(self, seed: int) -> None:
        self.dice = dice = Random(seed)
        names = NAMES[: dice.choice([2, 3, 4])]
        self.answer = dice.choice([1.0, 4.0, 7.0])
        self.hooks = FakeHooks(
            {one: (dice.choice([0.0, 1.0, 3.0]), dice.choice([0.0, 2.0, 6.0])) for one in names}
        )
        self.lanes = {
            one: LaneSettings(
                one,
                min_active=dice.choice([0.0, 5.0, 500.0]),
                drain_before_switch=dice.choice([True, True, False]),
                drain_timeout=LONGEST_DRAIN,
                max_wait=dice.choice([0.0, 2.0, 10.0, 30.0]),
                max_in_flight=dice.choice([None, None, 1, 2]),
                priority=dice.choice([1.0, 1.0, 5.0]),
            )
            for one in names
        }
        mood = dice.choice([*MOODS, "all of them", "fifo", "balance"])
        dawdles = dice.choice([False, False, True])
        policy: SwitchPolicy
        if mood == "fifo":
            policy, dawdles = FifoPolicy(), False
        elif mood == "balance":
            policy, dawdles = BalancePolicy(), False
        else:
            policy = Hostile(dice, mood, dawdles, flips=dice.choice([False, False, True]))
        self.told = f"seed {seed}: {mood}{', dawdles' if dawdles else ''}, {self.lanes}"
        self.drain = LONGEST_DRAIN if dawdles else min(self.answer, LONGEST_DRAIN)
        self.switcher = ModelSwitcher(self.hooks, policy, settings=self.lanes)
        self.waits: list[Wait] = []

    async def visit(self, model: str, weight: float, seconds: float) -> None:
        """Come, note at the due moment what is ahead, be served, leave."""
        loop = asyncio.get_running_loop()
        wait = Wait(model, loop.time(), loop.time() + (self.lanes[model].max_wait or 0.0))
        self.waits.append(wait)
        watch = loop.call_at(wait.due, self.look_ahead, wait)
        ticket = self.switcher.ticket(model)
        ticket.weight *= weight
        try:
            await self.switcher.admission(ticket)
            wait.inside = loop.time()
            await asyncio.sleep(seconds)
        finally:
            watch.cancel()
            self.switcher.leave(ticket)

    def look_ahead(self, wait: Wait) -> None:
        """Note whose deadline is not later, and where a switch goes that runs already."""
        rivals = [one for one in self.waits if one.inside is None and one.due <= wait.due]
        wait.ahead = {one.model for one in rivals}
        target = self.switcher.snapshot().target
        if target is not None:
            wait.ahead.add(target)
        wait.ahead.discard(wait.model)

    def bound(self, wait: Wait, end: float) -> float:
        """Return when this request had to be inside at the latest."""
        longest_sleep = max(sleep for sleep, _ in self.hooks.models.values())
        trips = [self.drain + longest_sleep + self.hooks.models[one][1] for one in wait.ahead]
        own = self.drain + longest_sleep + self.hooks.models[wait.model][1]
        answers = 1
        for other in self.waits:
            held_back = self.lanes[other.model].max_in_flight is not None
            if other is wait or not held_back or (other.inside or inf) < wait.due:
                continue
            if other.model == wait.model:
                answers += other.came <= wait.came
            elif other.model in wait.ahead:
                answers += other.due <= end
        return wait.due + sum(trips) + own + answers * self.answer

    async def play(self) -> None:
        """Let the crowd come, and give it the time that was promised."""
        self.switcher.start()
        visits = []
        for _ in range(self.dice.choice([10, 40])):
            model = self.dice.choice(list(self.lanes))
            if self.dice.random() < 0.5:  # one model is in use all the time
                model = next(iter(self.lanes))
            weight = self.dice.choice([1.0, 1.0, 0.01, 100.0])
            seconds = self.dice.choice([0.0, self.answer / 2, self.answer])
            visits.append(asyncio.create_task(self.visit(model, weight, seconds)))
            await asyncio.sleep(self.dice.choice([0.0, 0.0, 0.5, 1.0, 3.0]))
        await asyncio.wait(visits, timeout=3000)
        for wait in self.waits:
            assert wait.inside is not None, f"{wait} waits for ever"
            last = self.bound(wait, wait.inside)
            assert wait.inside <= last + 1e-6, f"{wait} had to be inside at {last}"
        await asyncio.gather(*visits)
        await self.switcher.stop()


def keep(seed: int) -> None:
    """Play a story; a failure tells what it was."""
    story = Story(seed)
    try:
        run_virtual(story.play())
    except AssertionError as error:
        error.add_note(story.told)
        raise


@pytest.mark.parametrize("eighty", range(3))
def test_the_promise_is_kept_in_stories_from_seeds(eighty: int) -> None:
    """The same stories in every run; 24, 26, 162 and 206 are seeds that once failed."""
    for seed in range(eighty * 80, (eighty + 1) * 80):
        keep(seed)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_promise_is_kept_in_stories_that_nobody_has_seen(seed: int) -> None:
    """New seeds in every run; those that once failed are in the other test."""
    keep(seed)
