"""Asks a real gateway for long, by clients of every kind, and looks at what grows.

    python -m proof.soak [--minutes M] [--clients N] [--seed S]

The gateway is the real process with real hooks and four real model servers, which change places
every second or so; a tenth of the clients leave early. Prints a line every half minute, and at the
end the failures by kind, the growth of memory and its slope, and the descriptors. The exit code is
1 where an honest client was not answered right, where memory has grown by more than 2 MiB and
2 %, or where descriptors are left over at rest; 130 after Ctrl-C, which prints what there is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.e2e.house import House

from proof.growth import MIB, Sample, growth, kinds, look, more
from proof.visitors import Visitor, Wrong

MODELS: Final = ("a", "b", "c", "d")
WARM_SHARE: Final = 0.2
MOST_WARM: Final = 180.0
"""Seconds that do not count at the begin, a fifth of the run at most."""
REST: Final = 7.0
"""Seconds after which nothing that was done for a request may be left: pools close after 5."""
LEAST: Final = 120.0
"""Seconds under load below which growth says nothing: everything is met for the first time."""
EVERY: Final = 30.0
LOOKS: Final = 2.0
"""Seconds between two lines, and between two samples."""
_SWITCHES: Final = re.compile(
    r'^llmux_switch_total\{[^}]*result="success"[^}]*\} (\S+)$', re.MULTILINE
)


@dataclass(slots=True)
class Tally:
    """What has come of it so far."""

    answered: int = 0
    left: int = 0
    visits: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    """Those that count, taken under load."""
    at_rest: list[tuple[Sample, Counter[str]]] = field(default_factory=list)
    """Before and after the load that counts, with the descriptors by kind."""
    switches: float = 0.0
    seconds: float = 0.0


class Soak:
    """One long visit to one gateway; `stop` ends it early."""

    def __init__(self, house: House, seconds: float, clients: int, seed: int) -> None:
        assert house.process is not None
        self.tally = Tally()
        self.stop = asyncio.Event()
        self._house = house
        self._pid = house.process.pid
        self._seconds = seconds
        self._warm = min(MOST_WARM, WARM_SHARE * seconds)
        self._dice = random.Random(seed)
        self._clients = clients
        self._began = time.monotonic()
        self._said = -EVERY

    async def run(self) -> None:
        """Warm it up, let it rest, ask for as long as is wanted, let it rest again."""
        await self._load(self._warm, count=False)
        await self._rest()
        await self._load(self._seconds - self._warm, count=True)
        await self._rest()
        self.tally.seconds = time.monotonic() - self._began

    async def _load(self, seconds: float, *, count: bool) -> None:
        ends = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(self._client(random.Random(self._dice.getrandbits(64)), ends))
            until = time.monotonic() + seconds
            while not self.stop.is_set() and time.monotonic() < until:
                await self._pause(min(LOOKS, max(0.0, until - time.monotonic())))
                await self._look(count=count)
            ends.set()

    async def _client(self, dice: random.Random, ends: asyncio.Event) -> None:
        one = Visitor(self._house.port, MODELS, dice)
        tally = self.tally
        while not ends.is_set():
            try:
                kind, answered = await one.visit()
            except Wrong as wrong:
                tally.failures[str(wrong)[:160]] += 1
                await asyncio.sleep(0.2)  # a gateway that is gone fails fast
                continue
            tally.visits[kind] += 1
            tally.answered += answered
            tally.left += not answered
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ends.wait(), dice.uniform(0.0, 0.6))
        one.close()

    async def _look(self, *, count: bool) -> None:
        now = time.monotonic() - self._began
        try:
            sample = look(self._pid, now)
        except OSError:
            self.tally.failures["the gateway is gone"] += 1
            self.stop.set()
            return
        if count:
            self.tally.samples.append(sample)
        if now - self._said >= EVERY:
            self._said = now
            await self._count_switches()
            print(line(self.tally, sample, warm=count), flush=True)

    async def _count_switches(self) -> None:
        with contextlib.suppress(OSError):
            text = await asyncio.to_thread(self._house.metrics)
            self.tally.switches = sum(map(float, _SWITCHES.findall(text)))

    async def _rest(self) -> None:
        """Wait until nothing of the load is left, and look: the least of some looks counts."""
        if self.stop.is_set() and not self.tally.at_rest:
            return
        await asyncio.sleep(REST)
        await self._count_switches()
        seen = []
        for _ in range(10):
            await asyncio.sleep(0.2)
            with contextlib.suppress(OSError):
                seen.append((look(self._pid, time.monotonic() - self._began), kinds(self._pid)))
        if seen:
            self.tally.at_rest.append(min(seen, key=lambda one: one[1].total()))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)


def line(tally: Tally, sample: Sample, *, warm: bool) -> str:
    """Say in a line how it stands."""
    return (
        f"{sample.at:6.0f} s  {tally.answered:,} answered, {tally.left:,} left,"
        f" {tally.failures.total():,} failures, {tally.switches:,.0f} switches,"
        f" {sample.memory / MIB:.2f} MiB, {sample.descriptors} descriptors"
        f"{'' if warm else ' (warming up)'}"
    )


def verdict(tally: Tally) -> tuple[list[str], bool]:
    """Say what it came to, and whether every figure is met."""
    told = [
        f"{tally.answered:,} answered right, {tally.left:,} left early, in {tally.seconds:,.0f} s"
        f" with {tally.switches:,.0f} switches",
        "clients: " + ", ".join(f"{kind} {many:,}" for kind, many in tally.visits.most_common()),
        f"failures: {tally.failures.total()}",
        *(f"  {many} x {what}" for what, many in tally.failures.most_common(10)),
    ]
    met = not tally.failures
    if len(tally.samples) >= 2:
        grown = growth(tally.samples)
        fine = grown.grown <= grown.bound
        long = tally.samples[-1].at - tally.samples[0].at >= LEAST
        met = met and (fine or not long)
        told.append(
            f"memory under load: {grown.begin:.2f} -> {grown.end:.2f} MiB, {grown.grown:+.2f} MiB,"
            f" {grown.bound:.2f} allowed, {grown.slope:+.2f} MiB an hour"
            + ("" if fine and long else ": MISSED" if long else " (too short to tell)")
        )
        highest = max(one.descriptors for one in tally.samples)
        told.append(f"descriptors under load: {highest} at most")
    if len(tally.at_rest) == 2:
        (before, held), (after, holds) = tally.at_rest
        extra = more(held, holds)
        met = met and not extra
        told.append(
            f"at rest: {before.memory / MIB:.2f} -> {after.memory / MIB:.2f} MiB,"
            f" {held.total()} -> {holds.total()} descriptors"
            f" ({', '.join(f'{kind} {many}' for kind, many in sorted(holds.items()))})"
            + (f": MISSED, more than before: {extra}" if extra else "")
        )
    return told, met


@contextlib.asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[House]:
    """Run a gateway with four models whose servers are real processes; all end with the block."""
    house = House(folder, *MODELS)
    for name, keys in house.models.items():
        keys["alive"] = f"test -e '{folder}/{house.ports[name]}.pid'"
    house.extra = {"health": {"interval_secs": 2}, "journal": "journal"}
    try:
        await asyncio.to_thread(house.start, start_new_session=True)
        yield house
    finally:
        await asyncio.to_thread(house.close)


async def soak(seconds: float, clients: int, seed: int) -> tuple[Tally, bool]:
    """Soak a gateway; gives what came of it, and whether it was stopped by a signal."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="llmux-soak-") as place:
        async with gateway(Path(place)) as house:
            work = Soak(house, seconds, clients, seed)
            signals = (signal.SIGINT, signal.SIGTERM)
            for number in signals:
                loop.add_signal_handler(number, work.stop.set)
            try:
                await work.run()
                stopped = work.stop.is_set()
            finally:
                for number in signals:
                    loop.remove_signal_handler(number)
            try:
                house.assert_one_awake()
            except AssertionError as error:
                work.tally.failures[str(error)[:160]] += 1
            code = await asyncio.to_thread(house.stop)
            if code:
                work.tally.failures[f"the gateway ended with {code}"] += 1
            for word in ("Traceback", "an exception that nobody"):
                if word in house.words():
                    work.tally.failures[f"the log of the gateway has {word!r}"] += 1
    return work.tally, stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m proof.soak", description=(__doc__ or "").split("\n\n", maxsplit=1)[0]
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=10, help="at a time")
    parser.add_argument("--seed", type=int, default=0, help="of what the clients do")
    args = parser.parse_args(arguments)
    if args.minutes <= 0 or args.clients < 1:
        parser.error("--minutes is above 0, --clients 1 or more")
    tally, stopped = asyncio.run(soak(args.minutes * 60, args.clients, args.seed))
    told, met = verdict(tally)
    print("\n".join(told))
    if not met:
        return 1
    return 130 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
