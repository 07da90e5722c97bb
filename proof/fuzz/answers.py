"""A backend's answers, whole and broken, through the real relay to a pretended client.

The judge is `letter`: what it can read of the backend has to reach the client as it is, what the
client gets has to be readable in one way, and it may look complete only if it is. Nothing may
depend on where the bytes were cut and which heads were read before. Sockets are pretended.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any, Final

from tests.http.small_gate import Counter, SmallGate

from llmux.http import Gateway, Limits
from llmux.http.backend import Backend
from llmux.http.front import Front
from llmux.http.upstream import CLOSED, IDLE, Upstream
from proof.fuzz.letter import Answer, read_answer
from proof.fuzz.target import Broken, Target, pieces, some

_STATUSES: Final = (
    *((b"200 OK",) * 8), b"404 Not Found", b"503 No", b"204 No Content", b"304 Not Modified",
    b"100 Continue", b"103 Early Hints", b"101 Switching Protocols", b"200", b"99 X", b"1000 X",
    b"200 \xff\r", b"199 X", b"500 " + b"x" * 300, b"", b"-1 X", b"205 Reset", b"302 Found",
)  # fmt: skip
_VERSIONS: Final = (*((b"HTTP/1.1",) * 12), b"HTTP/1.0", b"HTTP/2", b"http/1.1", b"ICY", b"")
_ENDS: Final = (*((b"\r\n",) * 30), b"\n", b"\r", b"\r\r\n", b"\0\r\n", b"")
_COLONS: Final = (*((b": ",) * 20), b":", b" : ", b":\t", b":\r\n ", b"")
_FIELDS: Final = (
    (b"Content-Length", (b"%d", b"%d", b"0%d", b"+%d", b"%d, %d", b"%d0", b"9" * 30, b"", b"-1", b"\xb2")),
    (b"Transfer-Encoding", (b"chunked", b"gzip, chunked", b"chunked, gzip", b"identity", b"Chunked", b"")),
    (b"Connection", (b"close", b"keep-alive", b"upgrade", b"x-a, close", b"content-length", b",",
                     b"transfer-encoding")),
    (b"Content-Type", (b"application/json", b"text/event-stream", b"application/x-ndjson", b"")),
    (b"Date", (b"Tue, 24 Nov 2026 10:00:00 GMT", b"")), (b"X-Request-Id", (b"theirs", b"")),
    (b"Request-Id", (b"r1",)), (b"Upgrade", (b"websocket", b"")), (b"Keep-Alive", (b"timeout=5",)),
    (b"X-A", (b"b", b"", b"b\rc", b"b\0", b"\xff", b"x" * 3000, b"b\r\n c", b"\t b \t")),
    (b"Content-Encoding", (b"gzip",)), (b"Trailer", (b"x-t",)), (b"Proxy-Authenticate", (b"x",)),
    (b"Access-Control-Allow-Origin", (b"*",)), (b"X Y", (b"v",)), (b"", (b"v",)),
)  # fmt: skip
_BODIES: Final = (
    b'{"ok":1}',
    b"",
    b"data: x\n\ndata: [DONE]\n\n",
    b"y" * 500,
    b"HTTP/1.1 200 OK\r\n\r\n",
)
_SIZES: Final = (
    *((b"%x",) * 8),
    b"%X",
    b"0%x",
    b"%x ",
    b"%x;a=b",
    b" %x",
    b"-%x",
    b"0x%x",
    b"fffffffffffffff%x",
    b"",
)
TOKENS: Final = (
    b"\r\n\r\n", b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"0\r\n\r\n", b"5\r\nhello\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"Connection: close\r\n", b"Content-Type: text/event-stream\r\n", b"X-T: 1\r\n", b"x" * 64,
)  # fmt: skip
_ASKED: Final = (
    *((b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n",) * 3),
    b"HEAD /p HTTP/1.1\r\nHost: h\r\n",
    b"POST /p HTTP/1.0\r\nHost: h\r\n",
    b"POST /p HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n",
    b"POST /v1/messages HTTP/1.1\r\nHost: h\r\nConnection: close\r\n",
    b"POST /p HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
    b"POST /api/chat HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\n",
)
_BODY: Final = b'{"model":"m"}'
_SMALL: Final = 60_000
"""Bytes below which no bound of heads is met."""


def draw(dice: Random) -> bytes:
    """Make an answer, perhaps behind interim ones, perhaps cut, perhaps with more behind it."""
    odd = dice.random() < 0.6
    made = some(dice, TOKENS[12:13], 1) if odd else b""
    made += _answer(dice, odd)
    if dice.random() < 0.1:
        made += some(dice, TOKENS, 2)
    return made[: dice.randrange(len(made) + 1)] if dice.random() < 0.15 else made


def _answer(dice: Random, odd: bool) -> bytes:
    def choose(options: tuple[bytes, ...]) -> bytes:
        return dice.choice(options) if odd else options[0]

    body = dice.choice(_BODIES)
    how = dice.random()
    named: list[tuple[bytes, bytes]] = [(b"Content-Type", dice.choice(_FIELDS[3][1][:2]))]
    if how < 0.35:
        named.append((b"Transfer-Encoding", b"chunked"))
    elif how < 0.9:
        named.append((b"Content-Length", b"%d"))
    for _ in range(dice.randrange(4) if odd else 0):
        name, values = dice.choice(_FIELDS)
        named.insert(dice.randrange(len(named) + 1), (name, dice.choice(values)))
    lines = b"".join(
        name + choose(_COLONS) + (value.replace(b"%d", b"%d" % len(body))) + choose(_ENDS)
        for name, value in named
    )
    start = b"%b %b" % (choose(_VERSIONS), choose(_STATUSES))
    sent = body
    if how < 0.35:
        sent = b""
        for piece in pieces(dice, body):
            size = (dice.choice(_SIZES) if odd else b"%x").replace(b"%x", b"%x" % len(piece))
            sent += size + choose(_ENDS) + piece + choose(_ENDS)
        sent += b"0\r\n" + (dice.choice((b"", b"", b"X-T: 1\r\n", b"x")) if odd else b"") + b"\r\n"
    return start + choose(_ENDS) + lines + choose(_ENDS) + sent


def _chunkwise(data: bytes) -> list[bytes]:
    """Cut it as a server writes a stream: the head, then each chunk by itself."""
    begin = data.find(b"\r\n\r\n") + 4
    ends = [at + 2 for at in range(begin, len(data) - 1) if data[at : at + 2] == b"\r\n"]
    cuts = [0, *([begin] if begin > 3 else []), *ends[1::2], len(data)]
    return [data[a:b] for a, b in pairwise(cuts) if a < b]


class _Wire(asyncio.Transport):
    """One end of a pretended socket."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.ended = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "cut"

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else default

    def setsockopt(self, *option: object) -> None:
        """Whoever closes with an option wants a reset instead of an end."""
        self.ended = "reset"


class _Pool(Backend):
    """A backend to which there is a pretended connection at once."""

    __slots__ = ("upstream", "wire")

    def take(self) -> Upstream | None:
        self.upstream, self.wire = Upstream(self), _Wire()
        self.upstream.connection_made(self.wire)
        return self.upstream

    def dial(self, done: Any, *, chunks: bool) -> Any:
        self.upstream, self.wire = Upstream(self, chunks=chunks), _Wire()
        self.upstream.connection_made(self.wire)
        done(self.upstream)
        return None


@dataclass(frozen=True, slots=True)
class _Got:
    """What a client got."""

    sent: bytes
    ended: str
    reusable: bool
    """Whether the connection to the backend went back to the pool."""


class _Relay:
    """A gateway with one model that is awake; `run` asks it once in each of four ways."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lasting = self._loop.run_until_complete(self._gateway())

    async def _gateway(self) -> tuple[Gateway, _Pool]:
        gate, counter, limits = SmallGate("m"), Counter(), Limits()
        gate.lanes["m"].proven = True
        gateway = Gateway(gate, {"m": 1}, limits, lambda model: counter, lambda: b"")
        gateway.loop = self._loop
        gateway._date = b"Tue, 24 Nov 2026 10:00:00 GMT"
        pool = _Pool(self._loop, "m", 1, limits, counter)
        gateway.backends["m"] = pool
        return gateway, pool

    def run(self, data: bytes, dice: Random) -> str:
        """Let a backend answer with these bytes and then hang up; compare and judge."""
        return self._loop.run_until_complete(self._tried(data, dice))

    async def _tried(self, data: bytes, dice: Random) -> str:
        asked = dice.choice(_ASKED)
        whole = await self._told(await self._gateway(), asked, [data])
        head_only, old = asked.startswith(b"HEAD"), b"HTTP/1.0" in asked
        meant = read_answer(data, head_only=head_only, closed=True)
        seen = _judge(whole, head_only=head_only, old=old)
        if meant is not None and not meant.rest and len(data) < _SMALL:
            _compare(meant, seen)
        if meant is None or not meant.rest:  # what comes behind an answer may come too late
            cut = _chunkwise(data) if dice.random() < 0.4 else pieces(dice, data)
            for parts, kept in ((cut, False), ([data], True), (cut, True)):
                gateway = self._lasting if kept else await self._gateway()
                other = await self._told(gateway, asked, parts)
                again = _judge(other, head_only=head_only, old=old)
                if _essence(again, other) != _essence(seen, whole):
                    raise Broken(f"{asked!r}: one way {whole!r}, another {other!r}")
        kind = "none" if meant is None else f"{meant.status}{meant.complete}{bool(meant.rest)}"
        names = sorted({name for name, _ in seen.fields})
        return f"{asked[:4]!r}{old} {kind} {seen.status}{seen.complete}{whole.reusable} {names[:6]}"

    async def _told(self, gateway: tuple[Gateway, _Pool], asked: bytes, parts: list[bytes]) -> _Got:
        house, pool = gateway
        front, wire = Front(house), _Wire()
        front.connection_made(wire)
        front.data_received(asked + b"Content-Length: %d\r\n\r\n" % len(_BODY) + _BODY)
        upstream, far = pool.upstream, pool.wire
        for part in parts:
            if far.ended:
                break
            upstream.data_received(part)
        reusable = upstream.state == IDLE and not far.ended
        far.ended = far.ended or "closed"
        if upstream.state != CLOSED or upstream in house.backends["m"]._idle:
            upstream.connection_lost(None)
        elif upstream._listener is not None:
            raise Broken("somebody still listens to a connection that is closed")
        if front.exchange is not None:
            await asyncio.sleep(0)  # the look whether the backend is dead
        if front.exchange is not None:
            raise Broken("a request is not over although its backend is gone")
        assert isinstance(house.gate, SmallGate)
        if house.gate.inside or house.gate.waiting:
            raise Broken("a request is over and still counted")
        front.connection_lost(None)
        return _Got(bytes(wire.sent), wire.ended, reusable)

    def close(self) -> None:
        """Close the loop."""
        self._loop.close()


def _judge(got: _Got, *, head_only: bool, old: bool) -> Answer:
    """Read what a client got: there has to be one way to."""
    seen = read_answer(got.sent, head_only=head_only, closed=got.ended == "closed")
    if seen is None or seen.rest:
        raise Broken(f"a client got what it cannot read in one way: {got.sent[:500]!r}")
    if old and (seen.interims or any(name == b"transfer-encoding" for name, _ in seen.fields)):
        raise Broken(f"a client of HTTP/1.0 got {got.sent[:500]!r}")
    if not seen.complete and not got.ended:
        raise Broken("an answer is not complete, and its connection is left open")
    return seen


def _compare(meant: Answer, seen: Answer) -> None:
    """Hold what the client got against what the backend meant."""
    if meant.status == 101:
        return  # a tunnel, or a refusal of one
    if seen.status != meant.status:
        if seen.status == 502 and not meant.complete:
            return
        raise Broken(f"{meant.status} was meant, and the client got {seen.status}")
    if meant.complete and (seen.body != meant.body or not seen.complete):
        raise Broken(f"{meant.body[:200]!r} was meant, and the client got {seen.body[:200]!r}")
    # One that was cut may end in a frame that says why: it does not look complete then.
    told = seen.body != meant.body and seen.body.startswith(meant.body)
    if not meant.complete and seen.complete and not told:
        raise Broken("an answer that was cut looks complete")


def _essence(seen: Answer, got: _Got) -> tuple[object, ...]:
    """What of an answer may not depend on cuts: of a broken one, how much of its body came does."""
    fields = tuple(
        (name, value) for name, value in seen.fields if name not in {b"x-request-id", b"request-id"}
    )
    if (b"x-llmux-error", b"1") in seen.fields:
        return (seen.status,)
    if seen.complete:
        return (seen.status, fields, seen.body, seen.interims, got.reusable, got.ended)
    return (seen.status, fields, seen.interims)


TARGET: Final = Target("answers", draw, _Relay, TOKENS, share=10)
