"""Asks: wrk where it is installed, else a generator of our own, in a process of its own.

Either keeps a number of connections busy, one request at a time each, and says how many answers
came and how long the median one took. `Crowd` holds many connections open at once. This file
refuses to know who answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import median
from typing import Final, cast

import httptools
import uvloop

from bench.house import find

BODY_BYTES: Final = 400
_FULL: Final = 200_000
"""Latencies that are kept for the median."""
_KEPT: Final = 16
"""Pieces of an answer that are kept."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of asking: whole answers, seconds, median seconds of an answer, failures."""

    answers: int
    seconds: float
    latency: float
    failures: int = 0


def body(model: str, how: str = "at once") -> bytes:
    """A chat request of 400 bytes; `how` is for the bench's model server."""
    request = {"model": model, "bench": how, "messages": [{"role": "user", "content": ""}]}
    request["messages"] = [{"role": "user", "content": "x" * (BODY_BYTES - len(_json(request)))}]
    return _json(request)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def request(content: bytes) -> bytes:
    """The whole request around a body."""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
    )


class Asker:
    """Keeps connections busy for some seconds, with wrk if it is there."""

    def __init__(self, folder: Path, *, use_wrk: bool = True) -> None:
        self._folder = folder
        self._wrk = find("wrk") if use_wrk else None
        self._worker: Pool | None = None

    def close(self) -> None:
        """End the process that asks, if there is one."""
        if self._worker is not None:
            self._worker.terminate()
            self._worker.join()

    @property
    def name(self) -> str:
        """What asks."""
        if self._wrk is None:
            return "own generator"
        said = subprocess.run([self._wrk, "-v"], capture_output=True, text=True, check=False)
        return " ".join(said.stdout.split()[:2])

    def ask(self, port: int, content: bytes, connections: int, seconds: float) -> Load:
        """Ask over and over and wait for the end."""
        if self._wrk is None or seconds < 1:
            if self._worker is None:
                self._worker = multiprocessing.get_context("spawn").Pool(1)
            return self._worker.apply(_keep_busy, (port, content, connections, seconds))
        script = self._folder / "ask.lua"
        script.write_text(
            f"wrk.method = 'POST'\nwrk.body = [==[{content.decode()}]==]\n"
            "wrk.headers['Content-Type'] = 'application/json'\n"
            "done = function(all, latency, requests)\n"
            "  local e = all.errors\n"
            "  io.write(string.format('BENCH %d %d %d %d\\n', all.requests, all.duration,\n"
            "    latency:percentile(50), e.connect + e.read + e.write + e.status + e.timeout))\n"
            "end\n"
        )
        command = [self._wrk, "-t1", f"-c{connections}", f"-d{round(seconds)}s", "-s", str(script)]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}/v1/chat/completions"],
            capture_output=True,
            text=True,
            check=True,
        )
        line = next(line for line in done.stdout.splitlines() if line.startswith("BENCH"))
        answers, micros, middle, failures = map(int, line.split()[1:])
        return Load(answers, micros / 1e6, middle / 1e6, failures)


def _keep_busy(port: int, content: bytes, connections: int, seconds: float) -> Load:
    async def run() -> Load:
        began = time.monotonic()
        ends = began + seconds
        latencies: list[float] = []
        failures = answers = 0

        async def one(caller: Caller) -> None:
            nonlocal failures, answers
            while (asked := time.monotonic()) < ends:
                status = await caller.ask(content)
                if status != 200:
                    failures += 1
                answers += 1
                if len(latencies) < _FULL:
                    latencies.append(time.monotonic() - asked)

        async with crowd(port, connections) as callers:
            with contextlib.suppress(TimeoutError):  # streams may go on for ever
                async with asyncio.timeout(seconds):
                    await asyncio.gather(*map(one, callers))
        middle = median(latencies) if latencies else 0.0
        return Load(answers, time.monotonic() - began, middle, failures)

    return uvloop.run(run())


def ask_once(port: int, content: bytes, seconds: float = 120.0) -> None:
    """Ask one request and wait for its answer; RuntimeError unless it is 200."""

    async def run() -> int:
        async with crowd(port, 1) as callers, asyncio.timeout(seconds):
            return await callers[0].ask(content)

    status = uvloop.run(run())
    if status != 200:
        raise RuntimeError(f"a first request was answered {status}")


class Caller(asyncio.Protocol):
    """One connection that asks and reads answers, one after the other."""

    def __init__(self) -> None:
        self.body = b""
        """The last whole answer's body, of a long stream its beginning."""
        self.began: asyncio.Future[None] | None = None
        """Done once the present answer's first piece of a body is there."""
        self._whole: asyncio.Future[int] | None = None
        self._pieces: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def start(self, content: bytes) -> asyncio.Future[int]:
        """Send a request; the future gives the answer's status once it is whole."""
        loop = asyncio.get_running_loop()
        self._pieces.clear()
        self.began = loop.create_future()
        whole = self._whole = loop.create_future()
        self._transport.write(request(content))
        return whole

    async def ask(self, content: bytes) -> int:
        """Send a request, wait for its answer, give the status."""
        return await self.start(content)

    def close(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is not answered."""
        if self._whole is not None and not self._whole.done():
            self._whole.set_exception(ConnectionError("cut before the answer was whole"))
            self._whole.exception()  # whoever still waits hears of it, nobody else has to
        if self.began is not None and not self.began.done():
            self.began.cancel()

    def on_body(self, data: bytes) -> None:
        """Keep a piece of an answer."""
        if len(self._pieces) < _KEPT:
            self._pieces.append(data)
        if self.began is not None and not self.began.done():
            self.began.set_result(None)

    def on_message_complete(self) -> None:
        """Hand over the answer."""
        self.body = b"".join(self._pieces)
        self._pieces.clear()
        if self._whole is not None and not self._whole.done():
            self._whole.set_result(self._parser.get_status_code())


@contextlib.asynccontextmanager
async def crowd(port: int, count: int) -> AsyncIterator[list[Caller]]:
    """Many open connections for the block, cut at its end."""
    loop = asyncio.get_running_loop()
    callers: list[Caller] = []
    try:
        while len(callers) < count:
            some = [
                loop.create_connection(Caller, "127.0.0.1", port)
                for _ in range(min(64, count - len(callers)))
            ]
            callers += [caller for _, caller in await asyncio.gather(*some)]
        yield callers
    finally:
        for caller in callers:
            caller.close()
