"""A test stand: a client that speaks in raw bytes, a backend that does as the test says.

Both are real sockets on the loopback. The backend is a coroutine a connection, so that a test
reads as a dialogue; the client never tidies up what it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from llmux.http import Gateway, Limits
from llmux.http.browser import BrowserGate
from llmux.http.keys import Keyring
from tests.http.small_gate import Counter, SmallGate

RESET = struct.pack("ii", 1, 0)


def chat(model: str = "m", **more: object) -> bytes:
    """Write the body of a request for a model."""
    return json.dumps({"model": model, **more}).encode()


def post(body: bytes, path: str = "/v1/chat/completions", *fields: str) -> bytes:
    """Write a whole POST request."""
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class Message:
    """A request or an answer as it came over the wire."""

    start: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    complete: bool = True

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.start.split(" ")[1])

    def all(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for key, value in self.fields if key.lower() == name]

    def get(self, name: str) -> str | None:
        """The value of a field that comes at most once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def json(self) -> dict[str, object]:
        """The body as JSON."""
        value: dict[str, object] = json.loads(self.body)
        return value


class Line:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Send the pieces so that they arrive one by one."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0)

    async def head(self) -> Message:
        """Read a head."""
        raw = await self.reader.readuntil(b"\r\n\r\n")
        start, *lines = raw[:-4].decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        return Message(start, [(name, value.strip()) for name, _, value in pairs])

    async def message(self, *, bodiless: bool = False) -> Message:
        """Read a request or an answer; `complete` says whether its framing was kept to."""
        message = await self.head()
        length = message.get("content-length")
        answer = message.start.startswith("HTTP/")
        if bodiless or (answer and (message.status < 200 or message.status in (204, 304))):
            return message
        try:
            if message.get("transfer-encoding") == "chunked":
                while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                    message.chunks.append(await self.reader.readexactly(size))
                    assert await self.reader.readexactly(2) == b"\r\n"
                while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
                    name, _, value = line.decode().strip().partition(":")
                    message.fields.append(("trailer " + name, value.strip()))
                message.body = b"".join(message.chunks)
            elif length is not None:
                message.body = await self.reader.readexactly(int(length))
            elif answer:
                message.body = await self.reader.read(-1)
        except (asyncio.IncompleteReadError, ConnectionError):
            message.body = message.body or b"".join(message.chunks)
            message.complete = False
        return message

    async def ended(self) -> bool:
        """Wait until the other side closes; True if nothing more came before."""
        try:
            return await self.reader.read(-1) == b""
        except ConnectionError:
            return True

    def stall(self) -> None:
        """Take nothing more from the wire."""
        cast(asyncio.Transport, self.writer.transport).pause_reading()

    def go_on(self) -> None:
        """Take bytes again."""
        cast(asyncio.Transport, self.writer.transport).resume_reading()

    def close(self) -> None:
        """Close in order."""
        self.writer.close()

    def reset(self) -> None:
        """Close with a reset."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()


Talk = Callable[[Line], Awaitable[None]]


async def ok(line: Line) -> None:
    """Answer each request of a connection with 200 and what was asked."""
    while True:
        message = await line.message()
        body = message.body
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def say(*pieces: bytes) -> Talk:
    """Answer each request with these bytes."""

    async def talk(line: Line) -> None:
        while True:
            await line.message()
            await line.send(*pieces)

    return talk


class Stand:
    """A gateway between clients and backends of the test."""

    def __init__(self, gate: SmallGate, gateway: Gateway, port: int) -> None:
        self.gate = gate
        self.gateway = gateway
        self.port = port
        self.seen: list[Message] = []
        self.meters: dict[str, Counter] = {}
        self.lines: list[Line] = []
        self.connects = 0
        self.closed = asyncio.Event()
        """A connection to a backend is over."""

    async def client(self, tls: ssl.SSLContext | None = None, name: str = "localhost") -> Line:
        """Connect a client; under `tls` it expects a certificate for `name`."""
        expected = name if tls else None
        line = Line(
            *await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=tls, server_hostname=expected
            )
        )
        self.lines.append(line)
        return line

    async def ask(self, raw: bytes, *, bodiless: bool = False) -> Message:
        """Send one request over a connection of its own and give its answer."""
        client = await self.client()
        await client.send(raw)
        answer = await client.message(bodiless=bodiless)
        client.close()
        return answer


@contextlib.asynccontextmanager
async def stand(
    talk: Talk = ok,
    *,
    models: tuple[str, ...] = ("m",),
    limits: Limits | None = None,
    keyring: Keyring | None = None,
    browser: BrowserGate | None = None,
    tls: ssl.SSLContext | None = None,
    reads_tool_calls: bool = False,
) -> AsyncIterator[Stand]:
    """Set up a backend that talks as told, a gate, and a gateway before them."""
    held: list[Stand] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        held[0].connects += 1
        try:
            await talk(line)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            held[0].closed.set()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    backend_port = server.sockets[0].getsockname()[1]
    gate = SmallGate(*models)
    meters: dict[str, Counter] = {}
    gateway = Gateway(
        gate,
        dict.fromkeys(models, backend_port),
        limits or Limits(),
        lambda model: meters.setdefault(model, Counter()),
        lambda: b"# nothing\n",
        keyring=keyring,
        browser=browser,
        reads_tool_calls=lambda: reads_tool_calls,
    )
    port = await gateway.start("127.0.0.1", 0, tls)
    the_stand = Stand(gate, gateway, port)
    the_stand.meters = meters
    held.append(the_stand)
    try:
        yield the_stand
    finally:
        for line in the_stand.lines:
            line.close()
        await gateway.stop(0.0)
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert gate.inside == gate.waiting == []
    assert gateway.connections == 0
