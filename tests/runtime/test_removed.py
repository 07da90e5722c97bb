"""A model that was taken out of the config takes nobody in while its last answers run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from llmux.core import events as ev
from llmux.core.lane import LaneSettings
from llmux.errors import NotRegisteredError
from llmux.testing import FakeHooks, FakeOutcome, run_virtual
from tests.runtime.house import House

TWO = {"a": (1.0, 3.0), "b": (2.0, 5.0)}


@dataclass(frozen=True)
class Up(FakeOutcome):
    """The end of a sleep hook after which the model is still up."""

    left: str = "awake"


class Stubborn(FakeHooks):
    """Hooks of models that do not go to sleep."""

    async def run_sleep(
        self, model: str, *, from_model: str | None, to_model: str | None, reason: str
    ) -> FakeOutcome:
        """Fail, with the model as it was."""
        del from_model, to_model, reason
        await self._run("sleep", model, self.models[model][0])
        return Up(False, 1, 1.0, "it said no", "exit code 1")


def only(house: House, *models: str) -> None:
    """Let the config have these models alone from now on."""
    settings = tuple(LaneSettings(name) for name in models)
    house.switcher.reconfigure(
        ev.Reconfigured(settings, frozenset(), frozenset(), (), (), None, None)
    )


@pytest.mark.parametrize("by", ["arrive", "enrol", "ticket"])
def test_it_is_unknown_at_once_by_every_way_in_and_known_again_when_it_comes_back(by: str) -> None:
    """The data plane keeps what it knows of a head, so each way in has to ask for itself."""

    async def story() -> None:
        house = House(TWO)
        switcher = house.switcher
        long = house.send("a", 10.0)
        await asyncio.sleep(4)
        ticket = switcher.ticket("a")

        def come_in() -> bool:
            if by == "arrive":
                return switcher.arrive(ticket, "a", 10)
            if by == "enrol":
                switcher.enrol(ticket, "a")
                return switcher.enter(ticket)
            return switcher.enter(switcher.ticket("a"))

        only(house, "b")
        assert switcher.in_flight_count("a") == 1
        with pytest.raises(NotRegisteredError):
            come_in()
        assert switcher.in_flight_count("a") == 1
        assert (await long).end == "served"
        assert (await house.visit("b")).end == "served"
        only(house, "a", "b")
        assert not come_in()
        house.assert_one_at_a_time()
        await switcher.stop()

    run_virtual(story())


def test_one_that_will_not_sleep_stays_awake_and_takes_nobody_in_either() -> None:
    """It is tried again and again; meanwhile its phase alone would let requests in."""

    async def story() -> None:
        house = House(TWO, kind=Stubborn)
        switcher = house.switcher
        assert (await house.visit("a")).end == "served"
        ticket = switcher.ticket("a")
        only(house, "b")
        await asyncio.sleep(1.5)
        assert switcher.active_model() == "a"
        with pytest.raises(NotRegisteredError):
            switcher.arrive(ticket, "a", 10)
        with pytest.raises(NotRegisteredError):
            switcher.ticket("a")
        assert switcher.in_flight_count("a") == 0
        await switcher.stop()

    run_virtual(story())
