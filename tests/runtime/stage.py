"""A model as its two probes see it, written down as a table of answers over time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from llmux.runtime.probes import Answer, Look
from llmux.runtime.witness import Traits, Witness
from llmux.testing import run_virtual

T = TypeVar("T")

YES, NO, REFUSES, SILENT, UNFIT, UNASKED = (
    Look(answer, None if answer is Answer.AGREES else answer.value)
    for answer in (
        Answer.AGREES,
        Answer.DENIES,
        Answer.REFUSES,
        Answer.SILENT,
        Answer.UNFIT,
        Answer.UNASKED,
    )
)


@dataclass
class Stage:
    """A model as its two probes see it: each says the latest line that has come, by the clock.

    `asked` counts the questions to `alive`; each takes `seconds`, as silence of the port does.
    """

    alive: dict[float, Look] | Look | None
    port: dict[float, Look] | Look
    traits: Traits = field(default_factory=Traits)
    seconds: float = 0.0
    asked: int = 0
    warnings: list[str] = field(default_factory=list)
    learned: int = 0

    def witness(self) -> Witness:
        return Witness(
            None if self.alive is None else self.ask,
            self.knock,
            traits=self.traits,
            on_unfit=lambda why: self.warnings.append(f"unfit: {why}"),
            on_blind=lambda why: self.warnings.append(f"blind: {why}"),
            on_learned=self._learn,
        )

    def _learn(self) -> None:
        self.learned += 1

    async def ask(self) -> Look:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        assert self.alive is not None
        return _latest(self.alive)

    async def knock(self) -> Look:
        look = _latest(self.port)
        if look is SILENT:
            await asyncio.sleep(self.seconds)
        return look


def _latest(lines: dict[float, Look] | Look) -> Look:
    if isinstance(lines, Look):
        return lines
    now = asyncio.get_running_loop().time()
    return [look for when, look in lines.items() if when <= now][-1]


def timed(story: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """What the story returned, and how long it took."""

    async def clocked() -> tuple[T, float]:
        return await story, asyncio.get_running_loop().time()

    return run_virtual(clocked())
