"""What grows: the price of a switch, of more models, of more requests that wait.

Each size is a gateway of its own that runs on a config written here. This file refuses to know
what an awake model's relaying costs beside others: `bench.relay` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from bench.house import Contender, free_port, ours, write_config
from bench.load import Asker, ask_once, body, crowd
from bench.machine import anonymous_bytes, cpu_seconds
from bench.relay import CONNECTIONS, Say, Series, Table, requests

NO_BOUNDS: Final = {
    "max_connections": None,
    "max_queue": None,
    "max_buffered_bytes": None,
}
"""Bounds that would refuse a crowd on purpose."""
_ANSWER_SECONDS: Final = 60.0


def switches(pairs: Sequence[tuple[Contender, Path]], rounds: int, say: Say) -> Table:
    """Seconds from the end of the last hook or probe to the request's arrival at its backend.

    `pairs` are gateways with the file that their hooks write. The hook's own exit, after it has
    taken the time, counts as ours.
    """
    table: Table = {one.name: Series() for one, _ in pairs}

    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            callers = [(await stack.enter_async_context(crowd(one.port, 1)))[0] for one, _ in pairs]
            for turn in range(rounds + 2):
                content = body(f"m{turn % 2}", "when")
                for (contender, ended), caller in zip(pairs, callers, strict=True):
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        status = await caller.ask(content)
                    if status != 200:
                        raise RuntimeError(f"{contender.name}: a switch was answered {status}")
                    if turn >= 2:
                        late = float(caller.body) - float(ended.read_text())
                        table[contender.name].values.append(late)

    uvloop.run(run())
    for contender, _ in pairs:
        say(f"switch {contender.name:12} {table[contender.name].middle * 1e3:5.2f} ms")
    return table


def models(
    folder: Path, ports: Sequence[int], sizes: Sequence[int], asker: Asker, rounds: int, say: Say
) -> tuple[Table, Table]:
    """CPU microseconds for a request, and seconds of a switch, by the number of models."""
    with contextlib.ExitStack() as stack:
        pairs = []
        for size in sizes:
            config = folder / f"models-{size}.yaml"
            served = [*ports, *(free_port() for _ in range(size))]  # nobody answers for the rest
            named = {f"m{at}": {"port": served[at]} for at in range(size)}
            ended = write_config(config, named)
            gateway = stack.enter_context(ours(folder, config, f"{size} models"))
            ask_once(gateway.port, body("m0"))
            pairs.append((gateway, ended))
        cost, _ = requests([one for one, _ in pairs], asker, rounds, 1, say)
        return cost, switches(pairs, rounds * 3, say)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What requests cost that wait for a sleeping model; CPU in seconds."""

    size: int
    bytes_each: float
    queue_cpu: float
    """To take in one of them."""
    release_cpu: float
    """To admit, relay and answer one of them after the wake."""
    idle_cpu: float
    """In one second in which nothing happens."""
    beside_cpu: float
    """For one request to the model that is awake meanwhile."""


def waiting(
    folder: Path, ports: Sequence[int], size: int, asker: Asker, seconds: float, say: Say
) -> Waiting:
    """Let `size` requests wait for a model that wakes, and for one that has to wait its turn."""
    config = folder / f"waiting-{size}.yaml"
    gate, up = config.with_suffix(".open"), config.with_suffix(".cold.up")
    wake = f"until [ -e {gate} ]; do sleep 0.02; done; : >{up}"
    write_config(
        config,
        {
            "m0": {"port": ports[0]},
            "m1": {"port": ports[1]},
            "cold": {"port": ports[1], "wake": wake},
        },
        bounds=NO_BOUNDS,
        policy={"min_active_secs": 100_000},
    )
    with ours(folder, config) as gateway:
        bytes_each, queue_cpu, release_cpu = uvloop.run(_released(gateway, size, gate))
    with ours(folder, config) as gateway:
        ask_once(gateway.port, body("m0"))
        asker.ask(gateway.port, body("m0"), CONNECTIONS, 1)
        idle_cpu, beside_cpu = uvloop.run(_beside(gateway, size, asker, seconds))
    say(
        f"{size:6} waiting: {bytes_each:.0f} B, {queue_cpu * 1e6:.0f} us to queue, "
        f"{release_cpu * 1e6:.0f} us to release, {beside_cpu * 1e6:.0f} us beside them"
    )
    return Waiting(size, bytes_each, queue_cpu, release_cpu, idle_cpu, beside_cpu)


async def _released(gateway: Contender, size: int, gate: Path) -> tuple[float, float, float]:
    """Queue them all, then open the gate: bytes each, CPU to queue one, CPU to answer one."""
    pids = gateway.processes()
    memory = anonymous_bytes(pids)
    async with crowd(gateway.port, size) as callers:
        before = cpu_seconds(pids)
        content = body("cold")
        answers = [caller.start(content) for caller in callers]
        await _quiet(pids)
        queued = cpu_seconds(pids) - before
        memory = anonymous_bytes(pids) - memory
        await _check_depth(gateway, size)
        before = cpu_seconds(pids)
        gate.touch()
        async with asyncio.timeout(_ANSWER_SECONDS):
            statuses = await asyncio.gather(*answers)
        used = cpu_seconds(pids) - before
    if wrong := [status for status in statuses if status != 200]:
        raise RuntimeError(f"{len(wrong)} of {size} were answered {sorted(set(wrong))}")
    return memory / size, queued / size, used / size


async def _beside(
    gateway: Contender, size: int, asker: Asker, seconds: float
) -> tuple[float, float]:
    """CPU of a quiet second, and for a request to the awake model, while `size` wait."""
    async with crowd(gateway.port, size) as callers:
        content = body("m1")
        for caller in callers:
            caller.start(content)
        pids = gateway.processes()
        await _quiet(pids)
        await _check_depth(gateway, size)
        before = cpu_seconds(pids)
        await asyncio.sleep(1)
        idle = cpu_seconds(pids) - before
        before = cpu_seconds(pids)
        load = await asyncio.to_thread(asker.ask, gateway.port, body("m0"), CONNECTIONS, seconds)
        return idle, (cpu_seconds(pids) - before) / load.answers


async def _quiet(pids: list[int]) -> None:
    """Return once these processes do next to nothing; asking costs them nothing."""
    used = cpu_seconds(pids)
    async with asyncio.timeout(_ANSWER_SECONDS):
        while True:
            await asyncio.sleep(0.3)
            before, used = used, cpu_seconds(pids)
            if used - before < 0.003:
                return


async def _check_depth(gateway: Contender, size: int) -> None:
    """Make sure that all wait, by the gateway's own metrics."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    lines = [line for line in text.splitlines() if line.startswith("llmux_request_queue_depth{")]
    depth = sum(float(line.split()[1]) for line in lines)
    if depth != size:
        raise RuntimeError(f"{depth:.0f} of {size} requests wait")
