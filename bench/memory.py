"""What the hard cases cost in memory: each against a real gateway of its own, beside its bound.

`python -m bench.memory` (or `make bench-memory`) measures, prints, and writes the table of
`docs/hardening.md`. The bounds are promises of the project; a case above its bound is told and
ends the command with 1. This file refuses to know how the gateway keeps them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import uvloop

from bench import report
from bench.house import ROOT, Contender, backend, ours, write_config
from bench.machine import anonymous_bytes, describe, load_average

PAGE: Final = ROOT / "docs" / "hardening.md"
BEGIN: Final = "<!-- memory: begin (written by `make bench-memory`, do not edit) -->"
END: Final = "<!-- memory: end -->"
_LOOK_SECONDS: Final = 0.005
_ANSWER_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large each case is; the defaults are those for which the bounds were promised."""

    body: int = 32_000_000
    hook_output: int = 300_000_000
    connections: int = 2000
    names: int = 3000
    stall_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside its bound, in the same unit."""

    case: str
    measured: float
    bound: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the figure is within its bound."""
        return self.measured <= self.bound


def table(rows: Iterable[Row]) -> list[str]:
    """The lines of a table: each figure beside its bound, and whether it was met."""
    return [
        "| case | measured | bound |  |",
        "| --- | --- | --- | --- |",
        *(
            f"| {row.case} | {row.measured:.2f} {row.unit} | <= {row.bound:g} {row.unit} | "
            f"{'met' if row.met else '**missed**'} |"
            for row in rows
        ),
    ]


Case = Callable[[Contender, Sizes], Coroutine[None, None, list[Row]]]


def post(content: bytes) -> bytes:
    """Write a request to a model."""
    return b"POST /v1/x HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n%b" % (
        len(content),
        content,
    )


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer whose length is told."""
    async with asyncio.timeout(_ANSWER_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(length)


async def ask(gateway: Contender, request: bytes) -> tuple[int, bytes]:
    """Ask over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(request)
        return await answered(reader)
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def peak(gateway: Contender) -> AsyncIterator[Callable[[], int]]:
    """Look all the time how much more memory the gateway has than at the begin."""
    before = most = anonymous_bytes([gateway.pid])

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, anonymous_bytes([gateway.pid]))
            await asyncio.sleep(_LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield lambda: max(most, anonymous_bytes([gateway.pid])) - before
    finally:
        looking.cancel()


# ---- the cases --------------------------------------------------------------------------------


async def stalled_reader(gateway: Contender, sizes: Sizes) -> list[Row]:
    """A client takes nothing of a stream that never ends."""
    await ask(gateway, post(b'{"model": "m0"}'))
    async with peak(gateway) as grown:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(post(b'{"model": "m0", "bench": "flood"}'))
        await reader.readexactly(1000)
        cast("asyncio.Transport", writer.transport).pause_reading()
        await asyncio.sleep(sizes.stall_seconds)
        await ask(gateway, post(b'{"model": "m0"}'))
        grew = grown()
        writer.close()
    return [Row("a reader that stalls in a stream without end", grew / 2**20, 32, "MiB")]


async def large_body(gateway: Contender, sizes: Sizes) -> list[Row]:
    """A large JSON body that names its model last, while others ask all the time."""
    await ask(gateway, post(b'{"model": "m0"}'))
    content = json.dumps({"messages": ["word " * (sizes.body // 5)], "model": "m0"}).encode()
    slowest = 0.0
    done = threading.Event()

    def others() -> None:
        """Ask the gateway itself, from a thread: neither our loop nor the backend is timed."""
        nonlocal slowest
        with socket.create_connection(("127.0.0.1", gateway.port), _ANSWER_SECONDS) as line:
            while not done.is_set():
                began = time.perf_counter()
                line.sendall(b"GET /health HTTP/1.1\r\nHost: b\r\n\r\n")
                line.recv(65_536)
                slowest = max(slowest, time.perf_counter() - began)
                time.sleep(0.002)

    async with peak(gateway) as grown:
        beside = asyncio.create_task(asyncio.to_thread(others))
        status, _ = await ask(gateway, post(content))
        done.set()
        await beside
        grew = grown()
    if status != 200:
        raise RuntimeError(f"a body of {len(content)} bytes was answered {status}")
    size = f"a body of {sizes.body / 1e6:g} MB"
    return [
        Row(size, grew / 2**20, 160, "MiB"),
        Row(f"{size}: the slowest answer to others meanwhile", slowest, 1, "s"),
    ]


async def loud_hook(gateway: Contender, sizes: Sizes) -> list[Row]:
    """A wake hook prints without end."""
    async with peak(gateway) as grown:
        status, _ = await ask(gateway, post(b'{"model": "loud"}'))
        grew = grown()
    if status != 200:
        raise RuntimeError(f"the loud model was answered {status}")
    case = f"{sizes.hook_output / 1e6:g} MB of a hook's output"
    return [Row(case, grew / 2**20, 48, "MiB")]


async def idle_connections(gateway: Contender, sizes: Sizes) -> list[Row]:
    """Connections that have asked once and are kept."""
    request = post(b'{"model": "m0"}')
    await ask(gateway, request)
    async with peak(gateway) as grown:
        lines = []
        for _ in range(sizes.connections):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=2**12)
            writer.write(request)
            await answered(reader)
            lines.append(writer)
        grew = grown()
        for writer in lines:
            writer.close()
    return [Row("an idle connection", grew / sizes.connections / 1024, 16, "KiB")]


async def unknown_names(gateway: Contender, sizes: Sizes) -> list[Row]:
    """Requests for models that nobody knows, each of another name."""
    page = b"GET /metrics HTTP/1.1\r\nHost: b\r\n\r\n"
    await ask(gateway, post(b'{"model": "first"}'))
    _, before = await ask(gateway, page)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    async with peak(gateway) as grown:
        for number in range(sizes.names):
            writer.write(post(b'{"model": "unknown-%d"}' % number))
            await answered(reader)
        grew = grown()
    writer.close()
    _, after = await ask(gateway, page)
    names = f"{sizes.names:,} names of unknown models"
    return [
        Row(f"{names}: growth of /metrics", (len(after) - len(before)) / 1000, 5, "kB"),
        Row(f"{names}: growth of memory", grew / 2**20, 2, "MiB"),
    ]


async def waiting_bodies(gateway: Contender, sizes: Sizes) -> list[Row]:
    """Bodies beyond `max_buffered_bytes` for a model that does not wake."""
    content = json.dumps({"model": "slow", "fill": "x" * (sizes.body // 16)}).encode()
    most = sizes.body  # as the config of the case says
    statuses: list[int] = []
    lines = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        lines.append(writer)
        writer.write(post(content))
        with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(sizes.stall_seconds):
                statuses.append((await answered(reader))[0])

    async with peak(gateway) as grown:
        for _ in range(6):
            await asyncio.gather(*(one() for _ in range(8)))
        grew = grown()
    for writer in lines:
        writer.close()
    if set(statuses) != {429}:
        raise RuntimeError(f"bodies above the bound were answered {sorted(set(statuses))}")
    case = f"48 bodies of {len(content) / 1e6:.1f} MB above max_buffered_bytes, beside the bound"
    return [Row(case, grew / most, 3, "x")]


CASES: Final[list[Case]] = [
    stalled_reader,
    large_body,
    loud_hook,
    idle_connections,
    unknown_names,
    waiting_bodies,
]


# ---- the run ----------------------------------------------------------------------------------


@contextlib.contextmanager
def gateway_for(folder: Path, port: int, sizes: Sizes) -> Iterator[Contender]:
    """Run a gateway of its own for one case."""
    config = folder / "memory.yaml"
    up = config.with_suffix(".loud.up")
    shout = f"head -c {sizes.hook_output} /dev/zero | tr '\\0' x; : >{up}"
    models: dict[str, dict[str, object]] = {
        "m0": {"port": port},
        "loud": {"port": port, "wake": shout},
        "slow": {"port": port, "wake": "sleep 1000"},
    }
    bounds = {"max_buffered_bytes": sizes.body}
    write_config(config, models, bounds=bounds)
    with ours(folder, config) as gateway:
        yield gateway


def measure(folder: Path, sizes: Sizes, say: Callable[[str], None]) -> list[Row]:
    """Run all cases, each against a gateway of its own."""
    rows: list[Row] = []
    with backend(folder) as (port,):
        for number, case in enumerate(CASES):
            home = folder / str(number)
            home.mkdir()
            with gateway_for(home, port, sizes) as gateway:
                found = uvloop.run(case(gateway, sizes))
            for row in found:
                say(f"{row.case}: {row.measured:.2f} {row.unit}, bound {row.bound:g}")
            rows += found
    return rows


def text(rows: list[Row]) -> str:
    """The measured part of the page."""
    when = datetime.now(UTC)
    lines = [
        f"Measured {when:%Y-%m-%d %H:%M} UTC by `make bench-memory` on: {describe()}, with a load "
        f"average of {load_average():.1f} at the end. "
        f"{report.versions()}. Memory is anonymous memory with what of it was swapped out, the "
        "largest value seen less that before the case.",
        "",
        *table(rows),
    ]
    return "\n".join(lines)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="print only")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmux-memory-") as folder:
        rows = measure(Path(folder), Sizes(), lambda line: print(line, flush=True))
    if not args.dry:
        report.write(text(rows), PAGE, BEGIN, END)
        print(f"written into {PAGE.relative_to(ROOT)}")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
