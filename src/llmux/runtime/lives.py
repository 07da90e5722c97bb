"""Joins what the keeper sees to what the board rules: survey, deaths, recoveries, costs.

No rule stands here. It refuses to know how life is looked for and what follows from a death.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from llmux.core import events as ev
from llmux.core.lane import Change, Phase
from llmux.core.news import Adopted, CostLearned, News
from llmux.core.plan import IDLE, Stage
from llmux.runtime.keeper import Keeper
from llmux.runtime.retire import Knock, knock, retire
from llmux.runtime.survey import Standing, Waits, left_running, settle, survey
from llmux.runtime.switcher import ModelSwitcher
from llmux.runtime.witness import Pulse

MOST_LOOKS = 32
"""Models that are looked at at the same time at the start: each may run a command."""


class Lives:
    """Keeps a switcher told of how its backends live; `interval` seconds between two looks.

    `knocks` makes probes of ports that are in no config any more.
    """

    def __init__(
        self,
        keeper: Keeper,
        switcher: ModelSwitcher,
        *,
        interval: float,
        knocks: Knock = knock,
    ) -> None:
        self._keeper = keeper
        self._switcher = switcher
        self._interval = interval
        self._knocks = knocks
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._quarantine: asyncio.Task[None] | None = None
        self.waits: list[Waits] = []
        """What has to end before the models can be looked at, while the start waits for it."""
        keeper.on_death(self._died, self._may_probe)
        switcher.listeners.append(self._remember)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What looks, each as long as there is something to look at."""
        watches = [*self._watches.values()]
        return watches if self._quarantine is None else [*watches, self._quarantine]

    async def begin(self) -> None:
        """Settle the last life's hooks, adopt what is awake, then go on looking.

        StateBusyError where another gateway holds the state file.
        """
        keeper, switcher = self._keeper, self._switcher
        self.waits = left_running(keeper)
        await settle(keeper)
        self.waits = []
        await retire(keeper, self._knocks, self._wait_for)
        self.waits = []
        names = switcher.registered_models()
        # The survey writes down what it finds; a model whose hook was interrupted is the latest.
        remembered = [*keeper.state.awake_order(), *keeper.state.unsettled()]
        room = asyncio.Semaphore(MOST_LOOKS)

        async def look(name: str) -> Standing:
            async with room:
                return await survey(keeper, name)

        standings = await asyncio.gather(*(look(name) for name in names))
        found = dict(zip(names, standings, strict=True))
        awake = {name for name, standing in found.items() if standing == "awake"}
        known = [name for name in remembered if name in awake]
        others = [name for name in reversed(names) if name in awake and name not in known]
        unclear = tuple(name for name in names if found[name] == "unclear")
        costs = switcher.board.costs
        pairs = keeper.state.pair_costs()
        costs.restore(pairs, keeper.state.hook_costs())
        for (source, target), seconds in pairs.items():
            if target in names and (source is None or source in names):
                learned = CostLearned(IDLE if source is None else source, target, seconds)
                switcher.board.news.append(learned)
        switcher.tell(ev.Surveyed((*others, *known), unclear))
        self._watch(names)
        self._quarantine = asyncio.create_task(self._watch_quarantine())

    def _wait_for(self, what: Waits) -> None:
        self.waits = [what]

    def _watch(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._watches:
                self._watches[name] = asyncio.create_task(self._keeper.watch(name))

    def follow(self, interval: float) -> None:
        """Look at the models that there are now, every `interval` seconds."""
        names = list(self._switcher.board.lanes)
        gone = [one for one in self._watches if interval != self._interval or one not in names]
        for name in gone:
            self._watches.pop(name).cancel()
        self._interval = interval
        self._watch(names)

    async def end(self) -> None:
        """Stop looking and write the state down for the last time. Harmless twice."""
        tasks = self.tasks
        self._watches.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._keeper.close()
        await self._keeper.state.close()

    async def sleep_all(self) -> None:
        """Put what is awake to sleep, for a shutdown that wants it so."""
        for lane in list(self._switcher.board.awake):
            await self._keeper.run_sleep(
                lane.name, from_model=lane.name, to_model=None, reason="llmux stops"
            )

    async def sleep_leaving(self) -> None:
        """Put to sleep what the next start would not know how to: by its old hooks."""
        for lane in list(self._switcher.board.lanes.values()):
            leaving = lane.change in {Change.RENEW, Change.REMOVE}
            if leaving and lane.phase is not Phase.ASLEEP:
                await self._keeper.run_sleep(
                    lane.name, from_model=lane.name, to_model=None, reason="llmux stops"
                )

    def _may_probe(self, model: str) -> bool:
        """Whether it serves, or its last answers do, and no hook of its place runs."""
        board = self._switcher.board
        lane, plan = board.lanes.get(model), board.plan
        quiet = plan is None or plan.stage is Stage.DRAINING
        return lane is not None and quiet and lane.phase in {Phase.AWAKE, Phase.DRAINING}

    def _died(self, model: str, hung: bool) -> None:
        error = self._keeper.witnesses[model].last_error or ""
        self._switcher.tell(ev.BackendDied(model, hung, error))

    def _remember(self, news: News) -> None:
        if isinstance(news, CostLearned):
            costs = self._switcher.board.costs
            self._keeper.state.set_costs(*costs.known())
        elif isinstance(news, Adopted):
            self._keeper.adopted(news.model)

    async def _watch_quarantine(self) -> None:
        """Look at quarantined models now and then: one that is seen alive serves again."""
        while True:
            await asyncio.sleep(self._interval)
            board = self._switcher.board
            for lane in board.quarantined:
                if board.plan is not None:
                    break
                if await self._keeper.witnesses[lane.name].pulse() is Pulse.ALIVE:
                    self._switcher.tell(ev.Recovered(lane.name))
