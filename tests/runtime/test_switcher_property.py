"""Any story on virtual time: the books balance, and everybody ends exactly once.

Requests come, leave, outlive their patience; hooks fail; policies think, defer, skip and err;
operators order and change their minds. In the end a fair hour passes, and nothing may be left.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmux.core.lane import LaneSettings
from llmux.core.news import ModelActivated, SwitchAbandoned, SwitchFailed, SwitchStarted
from llmux.errors import LlmuxError
from llmux.policy import Decision, Defer, PolicyContext, Skip, SwitchContext, SwitchNow
from llmux.testing import run_virtual
from tests.runtime.house import Asked, House


class Moody(Asked):
    """A policy of every mood, good or bad, drawn from a seed; fair once `fair` is set."""

    def __init__(self, dice: Random) -> None:
        super().__init__(self._mood)
        self._dice = dice
        self.fair = False

    def _mood(self, context: PolicyContext) -> Any:
        if self.fair:
            return SwitchNow()
        target = self._dice.choice([None, None, None, "a", "c", "nobody"])
        match self._dice.randrange(9):
            case 0:
                return Skip(self._dice.choice([None, 0.0, 2.0]), target)
            case 1:
                return Defer(self._dice.choice([0.0, 1.0, 4.0]), target)
            case 2:
                return Defer(asyncio.sleep(self._dice.choice([0.0, 3.0])))
            case 3:
                raise ValueError("a bad day")
            case 4:
                return self._think(SwitchNow(target))
            case 5:
                return self._think(Skip())
            case _:
                return SwitchNow(target)

    async def _think(self, answer: Decision) -> Decision:
        await asyncio.sleep(self._dice.choice([0.0, 0.5, 7.0]))
        return answer

    async def prepare_switch(self, context: SwitchContext) -> None:
        """Wait, dawdle, or fall over."""
        match self._dice.randrange(4):
            case 0:
                await context.wait_for_in_flight()
            case 1:
                await asyncio.sleep(2.0)
            case 2:
                raise ValueError("a bad day")


async def story(seed: int, length: int) -> None:
    """Play one story and hold what has to be true at its end."""
    dice = Random(seed)
    policy = Moody(dice)
    models = {name: (dice.choice([0.0, 1.0, 2.0]), dice.choice([0.0, 2.0, 5.0])) for name in "abc"}
    bounds = {
        name: LaneSettings(
            name,
            request_timeout=dice.choice([None, 4.0, 20.0]),
            min_active=dice.choice([0.0, 3.0]),
            drain_timeout=dice.choice([None, 6.0]),
        )
        for name in models
    }
    house = House(models, policy, settings=bounds)
    tasks: list[asyncio.Task[Any]] = []

    async def force(model: str) -> None:
        try:
            await house.switcher.force_switch(model)
        except LlmuxError:
            return

    for _ in range(length):
        match dice.randrange(10):
            case 0:
                house.failing ^= {(dice.choice(["wake", "sleep"]), dice.choice("abc"))}
            case 1:
                tasks.append(asyncio.create_task(force(dice.choice("abc"))))
            case 2 | 3 if tasks:
                dice.choice(tasks).cancel()
            case _:
                tasks.append(house.send(dice.choice("abc"), dice.choice([0.0, 0.5, 3.0, 9.0])))
        await asyncio.sleep(dice.choice([0.0, 0.0, 0.0, 0.5, 1.0, 2.0]))
        in_flight = sum(house.switcher.in_flight_count(name) for name in "abc")
        open_now = [one for one in house.visits if one.inside is not None and not one.end]
        assert in_flight >= 0
        cut = [one for one in open_now if bounds[one.model].drain_timeout is not None]
        assert len(open_now) - len(cut) <= in_flight <= len(house.visits)
    policy.fair = True
    house.failing.clear()
    await asyncio.sleep(3600)
    assert all(task.done() for task in tasks), "somebody waits for ever"
    house.assert_one_at_a_time()
    house.assert_nothing_left()
    assert {one.end for one in house.visits} <= {"served", "cancelled", "500", "503", "504"}
    for one in house.visits:
        patience = bounds[one.model].request_timeout
        if patience is not None and one.over is not None:
            waited = (one.over if one.inside is None else one.inside) - one.came
            assert waited <= patience + 1e-6, "I8: it waited longer than its deadline"
    started = len(house.heard(SwitchStarted))
    assert started == len(house.heard(SwitchAbandoned, SwitchFailed, ModelActivated))
    await house.switcher.stop()
    assert not house.switcher._tasks


@pytest.mark.parametrize("ten", range(5))
def test_stories_from_seeds_balance_the_books(ten: int) -> None:
    """The same stories in every run, many of them."""
    for seed in range(ten * 30, (ten + 1) * 30):
        try:
            run_virtual(story(seed, 40))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 25))
def test_any_story_balances_the_books(seed: int, length: int) -> None:
    """Stories that nobody has seen before; a failure is shortened."""
    run_virtual(story(seed, length))
