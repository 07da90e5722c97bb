"""Stories of switchers whose models live and die: the real keeper, on virtual time.

Hooks and servers only pretend. What a death means in each moment stands in the tests of the board;
here is shown that somebody looks at that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from llmux.core.news import BackendDied, News
from llmux.core.ticket import Ticket
from llmux.errors import LlmuxError
from llmux.policy import FifoPolicy
from llmux.runtime.hooks import HookResult, HookRunner, HookSpec
from llmux.runtime.keeper import Keeper
from llmux.runtime.lives import MOST_LOOKS, Lives
from llmux.runtime.probes import Look, Probe
from llmux.runtime.switcher import ModelSwitcher
from llmux.testing import run_virtual
from tests.runtime.stage import REFUSES, SILENT, YES

INTERVAL, FAILURES, PATIENCE = 10.0, 3, 5.0


class Shell(HookRunner):
    """Hooks that take a second on the loop's clock; they bring servers up and end them."""

    def __init__(self, *models: str, sees: Look = REFUSES) -> None:
        super().__init__([HookSpec(name, 1, "wake", "sleep") for name in models], env={})
        self.servers: dict[str, Look] = dict.fromkeys(models, sees)
        self.ran: list[str] = []
        self.running = 0
        self.looks = 0
        self.most_looks = 0

    async def _attempt(
        self, model: str, hook: str, *, env: Mapping[str, str], **rest: Any
    ) -> HookResult:
        del env, rest
        self.ran.append(f"{hook} {model}")
        assert self.running == 0, "two hooks at once"
        self.running += 1
        await asyncio.sleep(1.0)
        self.running -= 1
        self.servers[model] = YES if hook == "wake" else REFUSES
        return HookResult(model, hook, True, 0, 1.0, "", None)

    def alive(self, model: str) -> Probe:
        """A path that a hung server does not answer within its bound."""

        async def look() -> Look:
            if self.servers[model] is SILENT:
                self.looks += 1
                self.most_looks = max(self.most_looks, self.looks)
                await asyncio.sleep(PATIENCE)
                self.looks -= 1
            return self.servers[model]

        return look

    def knock(self, model: str) -> Probe:
        """A port that accepts as long as there is a process, also one that hangs."""

        async def look() -> Look:
            return YES if self.servers[model] is SILENT else self.servers[model]

        return look


@dataclass
class Caller:
    """A request, and all that it was told."""

    ticket: Ticket
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ticket.on_admitted = lambda: self.told.append("admitted")
        self.ticket.on_rejected = self._hear("rejected")
        self.ticket.on_cut = self._hear("cut")
        self.ticket.on_lost = self._hear("lost")

    def _hear(self, what: str) -> Any:
        return lambda error: self.told.append(f"{what} {error.status}")


@dataclass
class House:
    """A switcher with its keeper and what looks at its models."""

    shell: Shell
    switcher: ModelSwitcher
    news: list[News]

    def call(self, model: str) -> Caller:
        """Ask for a model."""
        caller = Caller(self.switcher.ticket(model))
        if self.switcher.enter(caller.ticket):
            caller.told.append("admitted")
        return caller

    async def served(self, model: str) -> None:
        """Have one answer of the model."""
        async with self.switcher.serving(model):
            self.switcher.answered(next(iter(self.switcher.board.lanes[model].inside)))

    def deaths(self) -> list[tuple[str, bool]]:
        """Who was found dead, and whether it hung."""
        return [(one.model, one.hung) for one in self.news if isinstance(one, BackendDied)]


@asynccontextmanager
async def house(*models: str, sees: Look = REFUSES) -> AsyncIterator[House]:
    """Open a house of these models, all asleep or as a look at them `sees` it."""
    shell = Shell(*models, sees=sees)
    keeper = Keeper(
        shell,
        {name: (shell.alive(name), shell.knock(name), "text") for name in models},
        interval=INTERVAL,
        failures=FAILURES,
    )
    news: list[News] = []
    switcher = ModelSwitcher(keeper, FifoPolicy(), survey=True, listeners=[news.append])
    lives = Lives(keeper, switcher, interval=INTERVAL)
    await lives.begin()
    try:
        yield House(shell, switcher, news)
    finally:
        await switcher.stop()
        await lives.end()


async def drained(one: House) -> tuple[Caller, Caller, Caller]:
    """Let b wait until a is done with a request; another comes for a meanwhile."""
    await one.served("a")
    busy, wanted = one.call("a"), one.call("b")
    await asyncio.sleep(1.0)
    late = one.call("a")
    assert (busy.told, wanted.told, late.told) == (["admitted"], [], [])
    return busy, wanted, late


def test_a_model_that_hangs_while_it_drains_is_ended_as_soon_as_it_is_seen() -> None:
    """Not at the bound of the drain: its request may come back, and the switch goes on."""

    async def story() -> None:
        async with house("a", "b") as one:
            busy, wanted, late = await drained(one)
            one.shell.servers["a"] = SILENT
            hung = asyncio.get_running_loop().time()
            while wanted.told != ["admitted"]:
                await asyncio.sleep(1.0)
                assert asyncio.get_running_loop().time() < hung + 60.0
            assert one.deaths() == [("a", True)]
            assert busy.told == ["admitted", "lost 502"]
            assert one.shell.ran == ["wake a", "sleep a", "wake b"]
            assert one.switcher.board.bereft(busy.ticket)
            one.switcher.rejoin(busy.ticket)
            one.switcher.leave(wanted.ticket)
            await asyncio.sleep(5.0)
            assert busy.told[2:] == late.told == ["admitted"]

    run_virtual(story())


def test_a_model_that_dies_while_it_drains_is_found_by_who_is_cut_off() -> None:
    """Its request comes back, and no sleep hook runs for the dead."""

    async def story() -> None:
        async with house("a", "b") as one:
            busy, wanted, _ = await drained(one)
            one.shell.servers["a"] = REFUSES
            assert await one.switcher.dead(busy.ticket)
            one.switcher.rejoin(busy.ticket)
            await asyncio.sleep(5.0)
            assert one.deaths() == [("a", False)]
            assert wanted.told == ["admitted"]
            assert one.shell.ran == ["wake a", "wake b"]

    run_virtual(story())


def test_a_model_that_dies_while_it_drains_is_found_though_nobody_asks() -> None:
    async def story() -> None:
        async with house("a", "b") as one:
            _, wanted, _ = await drained(one)
            one.shell.servers["a"] = REFUSES
            await asyncio.sleep(INTERVAL + 5.0)
            assert wanted.told == ["admitted"]

    run_virtual(story())


def test_a_long_drain_of_a_model_that_lives_is_left_in_peace() -> None:
    """It is looked at many times, and its request ends when it ends."""

    async def story() -> None:
        async with house("a", "b") as one:
            busy, wanted, _ = await drained(one)
            await asyncio.sleep(20 * INTERVAL)
            assert (one.deaths(), busy.told, wanted.told) == ([], ["admitted"], [])
            one.switcher.leave(busy.ticket)
            await asyncio.sleep(5.0)
            assert wanted.told == ["admitted"]

    run_virtual(story())


def test_looks_of_before_and_in_a_drain_count_together() -> None:
    """A hang that began while the model served is found no later because somebody else waits."""

    async def story() -> None:
        async with house("a", "b") as one:
            await one.served("a")
            busy = one.call("a")
            one.shell.servers["a"] = SILENT
            await asyncio.sleep(2 * (INTERVAL + PATIENCE) + 1.0)
            wanted = one.call("b")
            await asyncio.sleep(INTERVAL + PATIENCE + 5.0)
            assert (busy.told[-1], wanted.told) == ("lost 502", ["admitted"])

    run_virtual(story())


def test_an_error_that_ends_a_hung_answer_says_what_was_seen() -> None:
    """It is the client's last word, so it tells more than that something broke."""

    async def story() -> LlmuxError:
        async with house("a", "b") as one:
            busy, _, _ = await drained(one)
            heard: asyncio.Future[LlmuxError] = asyncio.get_running_loop().create_future()
            busy.ticket.on_lost = heard.set_result
            one.shell.servers["a"] = SILENT
            return await heard

    error = run_virtual(story())
    assert (error.code, error.status) == ("backend_unreachable", 502)
    assert "hangs" in error.message


# ---- the start ---------------------------------------------------------------------------------


def test_many_models_are_looked_at_together_and_put_to_sleep_one_by_one() -> None:
    """A hundred that listen and do not answer: in four rounds, and never more hooks than one."""

    async def story() -> None:
        models = [f"m{number}" for number in range(100)]
        now = asyncio.get_running_loop().time
        async with house(*models, sees=SILENT) as one:
            assert now() <= 4 * 2 * PATIENCE
            assert one.shell.most_looks == MOST_LOOKS
            caller = one.call("m7")
            await asyncio.sleep(100 * 1.0 + 5.0)
            assert caller.told == ["admitted"]
            slept = [f"sleep {model}" for model in models]
            assert one.shell.ran == [*slept, "wake m7"]

    run_virtual(story())
