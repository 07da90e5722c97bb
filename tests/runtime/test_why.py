"""Why it stayed and when it went, on virtual time: what is said beforehand is what happens."""

from __future__ import annotations

import asyncio

from llmux.core.explain import explain
from llmux.core.lane import LaneSettings
from llmux.core.sentences import decision, sentence
from llmux.policy.balance import BalancePolicy
from llmux.testing import run_virtual
from tests.runtime.house import House


def test_a_day_of_balance_can_be_told() -> None:
    """It stays while the active model is worth more, says so, and goes when it said it would."""

    async def day() -> None:
        house = House({"llama": (1.0, 10.0), "mistral": (1.0, 10.0)}, BalancePolicy())
        visits = [house.send("mistral", 1.0)]
        await asyncio.sleep(20.0)
        for _ in range(60):
            visits.append(house.send("llama", 4.0))
            await asyncio.sleep(1.0)
        visits.append(house.send("mistral", 1.0))
        await asyncio.sleep(0.01)
        board = house.switcher.board
        assert explain(board, "mistral", house.now).startswith(
            "stayed on llama: 1 waiting for mistral has waited 0 s, the trip costs 11 s "
            "and llama is busy; will look again in "
        )
        await asyncio.gather(*visits)
        told = [one for one in board.rulings.newest() if one.model == "mistral"]
        went, stayed = told[0], told[1]
        assert (decision(went), decision(stayed)) == ("switch", "stay")
        assert sentence(went).startswith("left llama for mistral: ")
        assert stayed.first < stayed.last <= went.first
        assert stayed.count > 1
        house.assert_one_at_a_time()

    run_virtual(day())


def test_the_end_of_min_active_comes_when_it_was_said() -> None:
    async def wait() -> None:
        models = {"a": (1.0, 2.0), "b": (1.0, 2.0)}
        bounds = {"a": LaneSettings("a", min_active=30.0), "b": LaneSettings("b")}
        house = House(models, settings=bounds)
        await house.visit("a")
        visit = house.send("b")
        await asyncio.sleep(4.0)
        said = explain(house.switcher.board, "b", house.now)
        assert said.endswith("will look again in 25 s")
        await asyncio.sleep(24.9)
        assert house.switcher.active_model() == "a"
        await asyncio.sleep(0.2)
        assert explain(house.switcher.board, "b", house.now).startswith("b is on its way: ")
        await visit
        newest = next(one for one in house.switcher.board.rulings.newest() if one.model == "b")
        assert "it was held back for 29 s by min_active_secs" in sentence(newest)

    run_virtual(wait())


def test_who_was_not_there_was_not_held_back() -> None:
    """Somebody who left was held back by min_active; whoever comes later hears nothing of it."""

    async def wait() -> None:
        bounds = {"a": LaneSettings("a", min_active=30.0), "b": LaneSettings("b")}
        house = House({"a": (1.0, 2.0), "b": (1.0, 2.0)}, settings=bounds)
        await house.visit("a")
        early = house.send("b")
        await asyncio.sleep(4.0)
        early.cancel()
        await asyncio.sleep(60.0)
        await house.visit("b")
        newest = next(one for one in house.switcher.board.rulings.newest() if one.model == "b")
        assert sentence(newest) == (
            "left a for b: its oldest request has waited 0 s, it is its turn"
        )

    run_virtual(wait())
