"""What relaying costs: one request, one streamed chunk, one connection, one open stream.

Contenders take turns within each round, and are compared round by round, so that whatever else
the machine does falls on all of them. This file refuses to know who the contenders are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import uvloop

from bench.house import Contender
from bench.load import Asker, ask_once, body, crowd
from bench.machine import anonymous_bytes, cpu_seconds

CONNECTIONS: Final = 64
STREAMS: Final = 1000
"""Streams that are held open to weigh one."""
Say = Callable[[str], None]


@dataclass(slots=True)
class Series:
    """One number for each round, of one contender."""

    values: list[float] = field(default_factory=list)

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.values)

    def ratio(self, other: Series) -> float:
        """The median of the ratios to another series, paired by round."""
        return median(a / b for a, b in zip(self.values, other.values, strict=True))

    def difference(self, other: Series) -> float:
        """The median of the differences to another series, paired by round."""
        return median(a - b for a, b in zip(self.values, other.values, strict=True))


Table = dict[str, Series]
"""By the contender's name."""


def turns(contenders: Sequence[Contender], rounds: int) -> Iterator[tuple[int, Contender]]:
    """Who is measured when: a warm-up round 0, then rounds that each begin with another one."""
    for turn in range(rounds + 1):
        first = turn % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            yield turn, contender


def requests(
    contenders: Sequence[Contender], asker: Asker, rounds: int, seconds: float, say: Say
) -> tuple[Table, Table]:
    """CPU microseconds for each request, and requests a second, flat out."""
    cost: Table = {one.name: Series() for one in contenders}
    rate: Table = {one.name: Series() for one in contenders}
    content = body("m0")
    for turn, contender in turns(contenders, rounds):
        pids = contender.processes()
        before = cpu_seconds(pids)
        load = asker.ask(contender.port, content, CONNECTIONS, seconds)
        used = cpu_seconds(pids) - before
        if load.failures or not load.answers:
            raise RuntimeError(
                f"{contender.name}: {load.failures} failures, {load.answers} answers"
            )
        if turn:
            cost[contender.name].values.append(used / load.answers * 1e6)
            rate[contender.name].values.append(load.answers / load.seconds)
            say(f"round {turn} {contender.name:12} {used / load.answers * 1e6:6.1f} us/request")
    return cost, rate


def chunks(
    contenders: Sequence[Contender],
    asker: Asker,
    counted: Callable[[], int],
    rounds: int,
    seconds: float,
    say: Say,
    how: str = "paced",
) -> tuple[Table, Table]:
    """CPU microseconds for each streamed chunk, and chunks a second; `how` as in the backend."""
    cost: Table = {one.name: Series() for one in contenders}
    rate: Table = {one.name: Series() for one in contenders}
    content = body("m0", how)
    for turn, contender in turns(contenders, rounds):
        pids = contender.processes()
        before, sent_before, began = cpu_seconds(pids), counted(), time.monotonic()
        asker.ask(contender.port, content, CONNECTIONS, seconds)
        used = cpu_seconds(pids) - before
        sent, took = counted() - sent_before, time.monotonic() - began
        if turn:
            cost[contender.name].values.append(used / sent * 1e6)
            rate[contender.name].values.append(sent / took)
            say(f"round {turn} {contender.name:12} {used / sent * 1e6:6.1f} us/chunk ({how})")
    return cost, rate


def latencies(
    contenders: Sequence[Contender], asker: Asker, rounds: int, seconds: float, say: Say
) -> Table:
    """Median seconds of an answer with one connection, for each round."""
    table: Table = {one.name: Series() for one in contenders}
    content = body("m0")
    for turn, contender in turns(contenders, rounds):
        load = asker.ask(contender.port, content, 1, seconds)
        if turn:
            table[contender.name].values.append(load.latency)
            say(f"round {turn} {contender.name:12} {load.latency * 1e6:6.0f} us at one connection")
    return table


def stream_bytes(contender: Contender, asker: Asker, streams: int = STREAMS) -> float:
    """Bytes of memory for each stream that is open and silent, in a process warmed up before."""
    ask_once(contender.port, body("m0"))
    asker.ask(contender.port, body("m0"), CONNECTIONS, 1)

    async def hold() -> float:
        before = anonymous_bytes(contender.processes())
        content = body("m0", "hold")
        async with crowd(contender.port, streams) as callers:
            for caller in callers:
                caller.start(content)
            async with asyncio.timeout(30):
                for caller in callers:
                    assert caller.began is not None
                    await caller.began
            return (anonymous_bytes(contender.processes()) - before) / streams

    return uvloop.run(hold())
