"""Clients of every kind, for a gateway that is asked for a long time.

Each visit is one coroutine that ends by itself: it says what it got, or raises `Wrong` where an
honest client was not answered right. This file refuses to know how long all this goes on, and
what the gateway costs.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

PATIENCE: Final = 60.0
"""Seconds after which an honest client that has no whole answer counts as not answered."""
_PIECE: Final = 16_384


class Wrong(Exception):  # noqa: N818 -- it is a finding about the gateway
    """An honest client was not answered right; the text says how."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer."""

    status: int
    fields: dict[str, str]


@dataclass(slots=True)
class Visitor:
    """One client after the other on this place: it has a port to ask, models, and dice."""

    port: int
    models: Sequence[str]
    dice: random.Random
    kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None)
    """The connection that the last client has left open."""

    async def visit(self) -> tuple[str, bool]:
        """Be one client; gives its kind, and whether it was answered (False: it has left)."""
        kind, _, visit = self.dice.choices(KINDS, [weight for _, weight, _ in KINDS])[0]
        try:
            async with asyncio.timeout(PATIENCE):
                answered = await visit(self)
        except Wrong:
            self.close()
            raise
        except TimeoutError:
            self.close()
            raise Wrong(f"{kind}: no whole answer within {PATIENCE:g} s") from None
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise Wrong(f"{kind}: {error!r}") from None
        return kind, answered

    def close(self) -> None:
        """Hang up."""
        if self.kept is not None:
            self.kept[1].transport.abort()
            self.kept = None

    # What every client does.

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Take the connection that is open, or a new one."""
        if self.kept is None or self.kept[0].at_eof():
            self.close()
            self.kept = await asyncio.open_connection("127.0.0.1", self.port)
        return self.kept

    def model(self) -> str:
        """Choose a model: the first ones more often."""
        return self.models[min(int(self.dice.expovariate(0.7)), len(self.models) - 1)]

    async def ask(self, model: str, last: bool = False, **wish: object) -> None:
        """Send a chat request on a connection."""
        body = json.dumps({"model": model, "messages": [], **wish}).encode()
        close = b"connection: close\r\n" if last else b""
        _, writer = await self.open()
        writer.write(_head(b"/v1/chat/completions", len(body), close) + body)
        await writer.drain()

    async def head(self) -> Head:
        """Read the head of the answer."""
        reader, _ = await self.open()
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        fields = dict(line.lower().split(": ", 1) for line in lines)
        return Head(int(start.split()[1]), fields)

    async def body(self, head: Head, pause: float = 0.0) -> bytes:
        """Read the body of the answer to its end, piece by piece."""
        reader, _ = await self.open()
        taken: list[bytes] = []

        async def take(size: int) -> None:
            while size:
                piece = await reader.read(min(size, _PIECE))
                if not piece:
                    raise EOFError("the answer was cut")
                size -= len(piece)
                taken.append(piece)
                if pause:
                    await asyncio.sleep(pause)

        if head.fields.get("transfer-encoding") != "chunked":
            await take(int(head.fields["content-length"]))
            return b"".join(taken)
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await take(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(taken)

    async def whole(self, expected: int = 200, pause: float = 0.0) -> bytes:
        """Read the whole answer; Wrong unless it has this status."""
        head = await self.head()
        body = await self.body(head, pause)
        if head.status != expected:
            raise Wrong(f"{head.status} instead of {expected}: {body[:200]!r}")
        if head.fields.get("connection") == "close":
            self.close()
        return body

    def check(self, body: bytes, model: str) -> None:
        """Wrong unless this is the answer of that model's backend."""
        if f'"who": "{model}"'.encode() not in body:
            raise Wrong(f"an answer for {model} is {body[:200]!r}")


def _head(path: bytes, length: int, more: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n" % (path, more, length)


# The kinds of clients.


async def _asks(one: Visitor) -> bool:
    model = one.model()
    await one.ask(model)
    one.check(await one.whole(), model)
    return True


async def _asks_once(one: Visitor) -> bool:
    one.close()
    model = one.model()
    await one.ask(model, last=True)
    one.check(await one.whole(), model)
    one.close()
    return True


async def _streams(one: Visitor) -> bool:
    model = one.model()
    await one.ask(model, stream=True, words=one.dice.randrange(1, 30), pause=0.02)
    body = await one.whole()
    one.check(body, model)
    if not body.endswith(b"data: [DONE]\n\n"):
        raise Wrong(f"a stream ends in {body[-80:]!r}")
    return True


async def _reads_slowly(one: Visitor) -> bool:
    model = one.model()
    await one.ask(model, stream=True, words=20, size=40_000)
    one.check(await one.whole(pause=one.dice.uniform(0.0, 0.03)), model)
    return True


async def _sends_slowly(one: Visitor) -> bool:
    model = one.model()
    text = "x" * one.dice.randrange(1000, 300_000)
    body = json.dumps({"model": model, "messages": [text]}).encode()
    _, writer = await one.open()
    writer.write(_head(b"/v1/chat/completions", len(body)))
    step = max(1, len(body) // 8)
    for at in range(0, len(body), step):
        writer.write(body[at : at + step])
        await writer.drain()
        await asyncio.sleep(one.dice.uniform(0.0, 0.15))
    one.check(await one.whole(), model)
    return True


async def _leaves_waiting(one: Visitor) -> bool:
    await one.ask(one.models[-1])
    await asyncio.sleep(one.dice.uniform(0.0, 0.5))
    one.close()
    return False


async def _leaves_in_the_stream(one: Visitor) -> bool:
    await one.ask(one.model(), stream=True, words=500, pause=0.01, size=200)
    reader, _ = await one.open()
    await reader.readuntil(b"data: ")
    await asyncio.sleep(one.dice.uniform(0.0, 0.3))
    one.close()
    return False


async def _leaves_in_its_body(one: Visitor) -> bool:
    one.close()
    _, writer = await one.open()
    writer.write(_head(b"/v1/chat/completions", 100_000) + b'{"model": "a", "x": "' + b"x" * 5000)
    await asyncio.sleep(one.dice.uniform(0.0, 0.1))
    one.close()
    return False


async def _is_wrong(one: Visitor) -> bool:
    """Bytes that are no request: one answer, then the connection is closed."""
    one.close()
    reader, writer = await one.open()
    writer.write(one.dice.choice(_WRONG))
    answer = await reader.read(_PIECE)
    if not answer.startswith(b"HTTP/1.1 4"):
        raise Wrong(f"a wrong request is answered {answer[:100]!r}")
    with suppress(OSError):
        while await reader.read(_PIECE):
            pass
    one.close()
    return True


_WRONG: Final = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999999\r\n\r\n",
)


async def _asks_for_nobody(one: Visitor) -> bool:
    await one.ask(f"unknown-{one.dice.getrandbits(64):x}")
    await one.whole(404)
    return True


async def _reads(one: Visitor) -> bool:
    path = one.dice.choice((b"/metrics", b"/ready", b"/v1/models", b"/llmux/decisions"))
    _, writer = await one.open()
    writer.write(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
    await one.whole()
    return True


KINDS: Final[Sequence[tuple[str, float, Callable[[Visitor], Awaitable[bool]]]]] = (
    ("asks", 38.0, _asks),
    ("asks once", 10.0, _asks_once),
    ("streams", 15.0, _streams),
    ("reads slowly", 3.0, _reads_slowly),
    ("sends slowly", 4.0, _sends_slowly),
    ("leaves waiting", 4.0, _leaves_waiting),
    ("leaves in the stream", 4.0, _leaves_in_the_stream),
    ("leaves in its body", 2.0, _leaves_in_its_body),
    ("is wrong", 4.0, _is_wrong),
    ("asks for nobody", 6.0, _asks_for_nobody),
    ("reads", 10.0, _reads),
)
"""The kinds, how many of a hundred clients are of one, and what they do; ten leave."""
