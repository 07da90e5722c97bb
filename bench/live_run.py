"""Plays requests at their moments against one real gateway, and counts the waits from outside.

A wait is what the simulator calls one: from the moment when a request was sent to the moment at
which the backend began to serve it, both on the one clock of the machine. Hooks are shell lines
that sleep for what they cost and leave a line when they are over. This file refuses to know what
the gateway should have done.
"""

from __future__ import annotations

import asyncio
import csv
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from bench.house import Contender
from llmux.policy.balance import BalanceOptions
from llmux.simulate.hooks import HookTimes
from llmux.simulate.journal import lines
from llmux.simulate.outcome import Outcome, Row
from llmux.simulate.workload import Job

RATE: Final = 1000
"""Tokens a second of the trace that the simulator is given: a token is a millisecond."""
_LEAD: Final = 0.5
"""Seconds before the first request."""
_BOUNDS: Final = {
    "drain_timeout_secs": 600.0,
    "wake_timeout_secs": 1800.0,
    "sleep_timeout_secs": 120.0,
}
"""The bounds that a schedule could touch, as they are by default."""
_PATIENCE: Final = 60.0
"""Seconds after which a gateway that has not settled is given up."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests in the scaled time in which they are played; lengths in whole milliseconds."""

    name: str
    jobs: Sequence[Job]

    @property
    def models(self) -> list[str]:
        """Every model that is asked for, sorted."""
        return sorted({job.model for job in self.jobs})

    def write(self, path: Path) -> None:
        """Write them as a trace, to be read with a rate of RATE tokens a second."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("t", "model", "prompt_tokens", "output_tokens"))
            for job in self.jobs:
                writer.writerow((job.arrival, job.model, 0, round(job.service * RATE)))


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one run from outside; seconds as they passed."""

    outcome: Outcome
    late: float
    """By how much the latest request was sent after its moment."""


def scaled_load(name: str, jobs: Sequence[Job], scale: float, secs: float) -> Load:
    """Take the requests of the first `secs` seconds, so many times faster."""
    return Load(
        name,
        [
            Job(round(job.arrival / scale, 6), job.model, round(job.service / scale * RATE) / RATE)
            for job in jobs
            if job.arrival < secs
        ],
    )


def scaled_options(policy: str, scale: float) -> dict[str, Any]:
    """Return every option of a policy, so many times faster; only `balance` has any."""
    if policy != "balance":
        return {}
    options: dict[str, Any] = {}
    for field in fields(BalanceOptions):
        value = field.default
        if isinstance(value, tuple):
            options[field.name] = [one / scale for one in value]
        elif isinstance(value, float):
            options[field.name] = value / scale
    return options


def write_config(
    home: Path,
    policy: str,
    ports: Mapping[str, int],
    hooks: HookTimes,
    scale: float,
) -> Path:
    """Write the config of a gateway, with everything that counts seconds so many times faster."""
    wakes = home / "wakes"
    wakes.touch()
    models = {}
    for model, port in ports.items():
        up = home / f"{port}.up"
        models[model] = {
            "port": port,
            "wake": f"sleep {hooks.mean('wake', model) / scale:.4f}; : >'{up}'; echo >>'{wakes}'",
            "sleep": f"sleep {hooks.mean('sleep', model) / scale:.4f}; rm -f '{up}'",
            "alive": f"test -e '{up}'",
        }
    path = home / "live.json"
    path.write_text(
        json.dumps(
            {
                "journal": str(home / "journal"),
                "models": models,
                "policy": {"name": policy, "options": scaled_options(policy, scale)},
                "bounds": {name: bound / scale for name, bound in _BOUNDS.items()},
            }
        )
    )
    return path


async def settle(home: Path) -> None:
    """Return when the gateway has put everything to sleep that it found at its start.

    The backend always listens, so that a new gateway takes its models for half awake. TimeoutError
    if it comes to no end.
    """
    async with asyncio.timeout(_PATIENCE):
        while not _settled(home / "journal"):
            await asyncio.sleep(0.1)


def _settled(journal: Path) -> bool:
    unclear, ended = None, 0
    for line in lines([journal] if journal.exists() else []):
        if isinstance(line.said, list) and line.said[1] == "told":
            fact = line.said[2]
            if fact[0] == "Surveyed":
                unclear = len(fact[2])
            ended += fact[0] == "HookEnded"
    return unclear is not None and ended >= unclear


async def play(gateway: Contender, home: Path, load: Load) -> Seen:
    """Send every request at its moment, and return what became of it when all are answered."""
    await settle(home)
    loop = asyncio.get_running_loop()
    begin = time.monotonic() + _LEAD
    offset = loop.time() - time.monotonic()
    rows: list[Row] = []
    late = 0.0

    async def one(job: Job) -> None:
        nonlocal late
        sent, began, ended = await _ask(gateway.port, job)
        late = max(late, sent - begin - job.arrival)
        rows.append(Row(job.model, sent - begin, began - begin, ended - begin))

    async with asyncio.TaskGroup() as group:
        for job in load.jobs:
            await asyncio.sleep(begin + offset + job.arrival - loop.time())
            group.create_task(one(job))
    rows.sort(key=lambda row: row.arrival)
    wakes = (home / "wakes").read_text().count("\n")
    return Seen(Outcome("live", rows, (), wakes), late)


async def _ask(port: int, job: Job) -> tuple[float, float, float]:
    """Ask once, over a connection of its own: when it was sent, began to be served, was over."""
    body = json.dumps({"model": job.model, "bench": "serve", "seconds": job.service}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST /v1/completions HTTP/1.1\r\nhost: live\r\ncontent-length: {len(body)}\r\n"
        sent = time.monotonic()
        writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
        answer = await reader.read()
        ended = time.monotonic()
    finally:
        writer.close()
    status, _, rest = answer.partition(b"\r\n")
    if b" 200 " not in status + b" ":
        raise RuntimeError(f"a request for {job.model} was answered {answer[:500]!r}")
    return sent, float(rest.rpartition(b"\r\n\r\n")[2]), ended
