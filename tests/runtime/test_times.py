"""Serving, switching and idle add up to the time that passed, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from llmux.core.lane import LaneSettings
from llmux.core.times import Spent
from llmux.testing import run_virtual
from tests.runtime.house import House, Visit

MICROSECOND = 1e-6


def reckoned(house: House, now: float) -> Spent:
    """The same from what the hooks and the visitors have seen, moment by moment."""
    hooks: list[tuple[str, float, float]] = []
    for when, _, model, what in house.hooks.history:
        if what == "begin":
            hooks.append((model, when, now))
        else:
            hooks[-1] = (model, hooks[-1][1], when)
    visits = []
    for one in house.visits:
        if one.inside is None:
            continue
        ends = [  # an answer that outlives its backend is in flight no more
            when
            for when, hook, model, what in house.hooks.history
            if (hook, model, what) == ("sleep", one.model, "end") and when > one.inside
        ]
        over = now if one.over is None else one.over
        visits.append((one.model, one.inside, min([over, *ends])))
    edges = {0.0, now, *(edge for _, *spell in (*hooks, *visits) for edge in spell)}
    serving: dict[str, float] = defaultdict(float)
    switching: dict[str, float] = defaultdict(float)
    states: dict[str, float] = defaultdict(float)
    for begin, end in pairwise(sorted(edges)):
        running = [model for model, since, until in hooks if since <= begin and end <= until]
        inside = {model for model, since, until in visits if since <= begin and end <= until}
        for model in running:
            switching[model] += end - begin
        for model in () if running else inside:
            serving[model] += end - begin
        states["switching" if running else "serving" if inside else "idle"] += end - begin
    return Spent(states["serving"], states["switching"], states["idle"], serving, switching)


def assert_alike(told: Spent, seen: Spent, now: float) -> None:
    assert abs(told.serving + told.switching + told.idle - now) < MICROSECOND
    for name in ("serving", "switching", "idle"):
        assert abs(getattr(told, name) - getattr(seen, name)) < MICROSECOND, name
    for name in ("serving_by_model", "switching_by_model"):
        ours, theirs = getattr(told, name), getattr(seen, name)
        for model in {*ours, *theirs}:
            assert abs(ours.get(model, 0.0) - theirs.get(model, 0.0)) < MICROSECOND, (name, model)


async def story(seed: int, length: int) -> None:
    """People come, are served or give up; hooks fail; a scrape comes now and then."""
    dice = Random(seed)
    models = {name: (dice.choice([0.1, 0.3, 2.0]), dice.choice([0.0, 1.7, 5.0])) for name in "abc"}
    bounds = {
        name: LaneSettings(
            name,
            drain_before_switch=dice.random() < 0.7,
            drain_timeout=None,
            min_active=dice.choice([0.0, 3.0]),
            request_timeout=dice.choice([None, 6.0]),
            max_in_flight=dice.choice([None, None, 1]),
        )
        for name in models
    }
    house = House(models, settings=bounds)
    house.switcher.start()
    assert house.switcher.spent() == Spent(0.0, 0.0, 0.0, {}, {})
    visits: list[asyncio.Task[Visit]] = []
    for _ in range(length):
        match dice.randrange(8):
            case 0:
                await asyncio.sleep(dice.choice([0.1, 4.0, 30.0]))
            case 1:
                house.failing ^= {(dice.choice(["wake", "sleep"]), dice.choice("abc"))}
            case 2 if visits:
                dice.choice(visits).cancel()
            case 3:
                assert_alike(house.switcher.spent(), reckoned(house, house.now), house.now)
            case _:
                visits.append(house.send(dice.choice("aab"), dice.choice([0.0, 0.4, 1.3, 9.0])))
                await asyncio.sleep(dice.choice([0.0, 0.01, 0.7]))
    await asyncio.sleep(0.123)
    assert_alike(house.switcher.spent(), reckoned(house, house.now), house.now)
    await house.switcher.stop()
    await asyncio.gather(*visits, return_exceptions=True)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 60))
def test_the_states_add_up_to_the_time_that_passed(seed: int, length: int) -> None:
    """Exact at any moment at which somebody looks, to the microsecond."""
    run_virtual(story(seed, length))


def test_a_busy_hour_is_counted_although_nobody_looks() -> None:
    """Thousands of exits are folded on the way, and nothing of them is lost."""

    async def hour() -> None:
        house = House({"a": (1.0, 2.0)})
        house.switcher.start()
        for _ in range(1500):
            house.send("a", 0.5)
            await asyncio.sleep(1.0)
        assert_alike(house.switcher.spent(), reckoned(house, house.now), house.now)
        assert len(house.switcher.board.services.log) < 256

    run_virtual(hour())
