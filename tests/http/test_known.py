"""Heads that were read before are read the short way: nobody can tell, whatever is sent how.

Each story is told twice over pretended sockets, once to a gateway that remembers heads and once to
one that forgets after each piece, and every byte that leaves has to be the same, but for request
ids. Sockets are pretended so that hundreds of conversations, cut anywhere, take seconds.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmux.http import Gateway, Limits
from llmux.http.backend import Backend
from llmux.http.front import Front
from llmux.http.known import halves
from llmux.http.upstream import Upstream
from tests.http.small_gate import Counter, SmallGate

_ID = re.compile(rb"req-[0-9a-f]{20}")
_DATE = b"Tue, 24 Nov 2026 10:00:00 GMT"


class Wire(asyncio.Transport):
    """One end of a pretended socket: keeps what is written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.ended = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "cut"

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.ended += ""

    def resume_reading(self) -> None:
        self.ended += ""

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Pool(Backend):
    """A backend whose connections are pretended, and there at once."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.lines: list[tuple[Upstream, Wire]] = []

    def take(self) -> Upstream | None:
        upstream = super().take()
        if upstream is None:
            upstream, wire = Upstream(self), Wire()
            upstream.connection_made(wire)
            self.lines.append((upstream, wire))
        return upstream


@dataclass
class House:
    """A gateway of the short way, or of the long one where `forgets` is set."""

    forgets: bool
    limits: Limits = field(default_factory=Limits)
    fronts: list[tuple[Front, Wire]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate = SmallGate("m")
        self.gate.lanes["m"].proven = True
        self.counter = Counter()
        self.gateway = Gateway(
            self.gate, {"m": 1}, self.limits, lambda model: self.counter, lambda: b""
        )
        self.gateway.loop = cast(Any, asyncio.get_running_loop())
        self.gateway._date = _DATE
        self.pool = Pool(self.gateway.loop, "m", 1, self.limits, self.counter)
        self.gateway.backends["m"] = self.pool
        for _ in range(2):
            front, wire = Front(self.gateway), Wire()
            front.connection_made(wire)
            self.fronts.append((front, wire))

    def say(self, who: int, data: bytes) -> None:
        """A client sends a piece."""
        self._forget()
        front, wire = self.fronts[who]
        if not wire.ended:
            front.data_received(data)

    def answer(self, data: bytes) -> None:
        """Each backend connection that was asked sends this piece."""
        for upstream, wire in list(self.pool.lines):
            if upstream._listener is not None and not wire.ended:
                self._forget()
                upstream.data_received(data)

    def _forget(self) -> None:
        if self.forgets:
            self.gateway.known.forget()
            self.pool.known.forget()

    def seen(self) -> list[object]:
        """All that the world has seen of it, with request ids struck out."""
        wires = [wire for _, wire in (*self.fronts, *self.pool.lines)]
        said: list[object] = [(_ID.sub(b"ID", wire.sent), wire.ended) for wire in wires]
        said += [self.counter.answers, len(self.gate.inside), self.gate.left]
        said += [len(self.pool._idle), [upstream.state for upstream, _ in self.pool.lines]]
        return said


# What clients and backends say.

FIELDS = st.sampled_from(
    [
        b"Content-Type: application/json",
        b"Connection: keep-alive",
        b"Connection: close",
        b"X-Content-Length: 3",
        b"X-Request-Id: mine",
        b"X-Strength: 5",
    ]
)
STARTS = st.sampled_from([b"POST /v1/chat/completions", b"POST /v1/messages?b", b"POST /health"])
BODIES = st.sampled_from([b'{"model":"m"}', b'{"model":"m","n":"%b"}' % (b"n" * 99), b"{}", b""])
ODD = [b"0%d", b"%d ", b" %d", b"+%d", b"-%d", b"1%d", b"0x%d", b"1_%d", b"%da", b"", b"9" * 16]


@st.composite
def heads(draw: st.DrawFn, start: bytes) -> tuple[bytes, bytes]:
    """A head in two halves around its length: mostly as clients and servers write it."""
    fields = draw(st.lists(FIELDS, max_size=1))
    name = draw(st.sampled_from([b"Content-Length: "] * 4 + [b"content-length: ", b"Length: "]))
    before = b"".join(line + b"\r\n" for line in [start, *fields])
    return before + name, b"\r\n" + draw(st.sampled_from([b"", b"A: b\r\n"])) + b"\r\n"


@st.composite
def messages(draw: st.DrawFn, head: tuple[bytes, bytes], bodies: st.SearchStrategy[bytes]) -> bytes:
    """A message behind that head, its length now and then in another spelling."""
    body = draw(bodies)
    digits = draw(st.sampled_from([b"%d"] * 15 + ODD))
    return head[0] + (digits % len(body) if b"%" in digits else digits) + head[1] + body


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    """A whole answer whose body comes in chunks."""
    pieces = draw(st.lists(st.sampled_from([b"a", b"data: x\n\n", b"y" * 30]), max_size=4))
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Cut bytes where the network might: mostly not, else anywhere."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=2)) if draw(st.booleans()) else []
    at = [0, *sorted(cuts), len(data)]
    return [part for a, b in pairwise(at) if (part := data[a:b])]


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Who sends which piece, in order: clients 0 and 1, and -1 for the backend."""
    said: list[tuple[int, bytes]] = []
    start = b"HTTP/1.1 " + draw(st.sampled_from([b"200 OK", b"503 No", b"404 X"]))
    start += draw(st.sampled_from([b"", b"\r\nDate: d", b"\r\nX-Request-Id: b"]))
    asks = [draw(heads(draw(STARTS) + b" HTTP/1.1\r\nHost: h")) for _ in range(2)]
    reply = draw(heads(start))
    for turn in range(draw(st.integers(3, 8))):
        ask = asks[draw(st.sampled_from([0, 0, 0, 1]))]
        request = draw(messages(ask, BODIES))
        if draw(st.integers(0, 9)) == 9:
            request += draw(messages(ask, BODIES))  # pipelined
        answer = draw(messages(reply, st.sampled_from([b"", b"yes", b"{}" * 40])))
        if draw(st.integers(0, 3)) == 3:
            answer = draw(chunked())
        who = draw(st.integers(0, 1)) if turn else 0
        said += [(who, part) for part in pieces(draw, request)]
        said += [(-1, part) for part in pieces(draw, answer)]
    return said


@settings(max_examples=300, deadline=None)
@given(said=conversations())
def test_a_known_head_means_what_it_meant_when_it_was_read(said: list[tuple[int, bytes]]) -> None:
    async def told(forgets: bool) -> list[object]:
        house = House(forgets)
        for who, data in said:
            if who < 0:
                house.answer(data)
            else:
                house.say(who, data)
        return house.seen()

    assert asyncio.run(told(False)) == asyncio.run(told(True))


@pytest.mark.parametrize("odd", ODD)
async def test_a_length_in_another_spelling_is_judged_by_the_parser(odd: bytes) -> None:
    body = b'{"model":"m"}'
    length = odd % len(body) if b"%" in odd else odd
    ask = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %b\r\n\r\n%b"
    reply = b"HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: %b\r\n\r\n%b"

    def told(house: House, asked: bytes, answered: bytes) -> list[object]:
        for _ in range(2):
            house.say(0, ask % (b"13", body))
            house.answer(reply % (b"13", body))
        house.say(0, ask % (asked, body))
        house.answer(reply % (answered, body))
        return house.seen()

    for asked, answered in ((length, b"13"), (b"13", length)):
        short = told(House(forgets=False), asked, answered)
        assert short == told(House(forgets=True), asked, answered)


async def test_a_request_that_is_known_is_not_parsed_again() -> None:
    house = House(forgets=False)
    body = json.dumps({"model": "m"}).encode()
    ask = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    reply = b"HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 2\r\n\r\nok"
    for _ in range(3):
        house.say(0, ask)
        house.answer(reply)
    known = house.gateway.known.latest
    assert known is not None
    assert known.before + known.after == ask[: ask.index(b"{")].replace(b" 14", b" ")
    assert house.fronts[0][1].sent.count(b"\r\n\r\nok") == 3
    front = house.fronts[0][0]
    assert front._reader.whole(ask) is not None
    house.gateway.known.forget()
    assert front._reader.whole(ask) is None


@pytest.mark.parametrize(
    "head",
    [
        b"content-length:5\r\n\r\n",
        b"X: 1\r\ncontent-length:5\r\n\r\n",
        b"X: 1\r\nX-Content-Length: 5\r\n\r\n",
        b"X: 1\r\nContent-Length: 5x\r\n\r\n",
        b"X: 1\r\nContent-Length: \r\n\r\n",
        b"X: 1\r\nContent-Length: 05\r\n\r\n",
        b"X: 1\r\nContent-Length: 0\r\n\r\n",
        b"X: 1\r\nContent-Length: 1234567890123456\r\n\r\n",
    ],
)
def test_a_length_in_another_spelling_is_not_plain(head: bytes) -> None:
    assert halves(head, len(head)) is None


def test_the_halves_of_a_head_stand_around_its_length() -> None:
    head = b"GET / HTTP/1.1\r\nCONTENT-length: 4200\r\nA: b\r\n\r\n"
    assert halves(head + b"body", len(head)) == (
        b"GET / HTTP/1.1\r\nCONTENT-length: ",
        b"4200",
        b"\r\nA: b\r\n\r\n",
    )
