"""A read that is one whole chunk is passed on unparsed: nobody can tell, whatever is cut where.

Each stream is told twice over pretended sockets, once to a reader that knows whole chunks by their
length and once to one that gives every byte to the parser; all that a listener hears is the same.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmux.http.answer import LARGEST, STARTS, AnswerReader
from llmux.http.known import Memo
from llmux.http.limits import Limits
from llmux.http.upstream import Upstream
from tests.http.test_known import Wire

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Parsed(AnswerReader):
    """Gives every byte to the parser."""

    relays_chunks = False
    __slots__ = ()


class Pool:
    """As much of a backend as a connection asks for."""

    limits = Limits()
    known: Memo[Any] = Memo()

    def __init__(self) -> None:
        self.kept = 0

    def put(self, upstream: Upstream) -> None:
        self.kept += 1


class Hearing:
    """Writes down all that it hears of an answer."""

    head_only = False

    def __init__(self, reader: type[AnswerReader]) -> None:
        self.pool = Pool()
        self.upstream = Upstream(cast(Any, self.pool))
        self.upstream.answer = reader(65536, Memo())
        self.upstream._watch = self.upstream.answer.watch
        self.wire = Wire()
        self.upstream.connection_made(cast(asyncio.Transport, self.wire))
        self.upstream.send(cast(Any, self), b"GET / HTTP/1.1\r\n\r\n", b"")
        self.heard: list[object] = []

    def on_head(self, upstream: Upstream) -> bytes:
        return b"HEAD"

    def on_data(self, data: bytes) -> None:
        answer = self.upstream.answer
        self.heard.append((data, answer.complete, answer.ends_in(b"\n\n", b"\n")))

    def on_end(self) -> None:
        self.heard.append("end")

    def on_broken(self, upstream: Upstream, reason: str) -> None:
        self.heard.append(reason)

    def hear(self, pieces: list[bytes]) -> list[object]:
        for piece in pieces:
            if self.wire.ended:
                break
            self.upstream.data_received(piece)
        return [*self.heard, self.wire.ended, self.upstream.state, self.pool.kept]


def chunk(line: bytes, data: bytes) -> bytes:
    """Frame one chunk behind a size line that may or may not tell the truth."""
    return line + b"\r\n" + data + b"\r\n"


DATA = st.one_of(
    st.sampled_from([b"data: x\n\n", b"8\r\n12345678\r\n", b"\r\n", b"5\r\nhello\r\n0\r\n\r\n"]),
    st.integers(1, 5000).map(lambda size: b"y" * size),
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A chunk, most often written the usual way."""
    data = draw(DATA)
    usual = b"%x" % len(data)
    other = st.sampled_from(
        [usual.upper(), b"0" + usual, usual + b";a=b", usual + b" ", b"1", b"+8", b"8_0", b"0"]
    )
    line = draw(st.one_of(st.just(usual), st.just(usual), st.just(usual), other))
    return chunk(line, data)


@st.composite
def reads(draw: st.DrawFn) -> list[bytes]:
    """A stream of chunks as it is read: mostly frame by frame, sometimes cut or joined anywhere."""
    pieces = [HEAD, *draw(st.lists(frames(), max_size=6))]
    pieces.append(draw(st.sampled_from([b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"", b"\r\n"])))
    whole = b"".join(pieces)
    places = {sum(map(len, pieces[:n])) for n in range(1, len(pieces) + 1)}
    places |= set(draw(st.lists(st.integers(1, len(whole)), max_size=4)))
    places -= set(draw(st.lists(st.sampled_from(sorted(places)), max_size=2)))
    edges = [0, *sorted(places | {len(whole)})]
    return [whole[a:b] for a, b in pairwise(edges) if a < b]


@example([HEAD, b"1", b"8\r\n12345678\r\n", b"0123456789012\r\n", b"0\r\n\r\n"])
@example([HEAD, b"a\r\n", b"8\r\n12345\r\n\r\n", b"0\r\n\r\n"])
@example([HEAD, b"8\r\n12345678\r\n", b"8\r\n1234567\n\r\n", b"0\r\n\r\n", b"8\r\n12345678\r\n"])
@example([HEAD, b"0\r\n", b"8\r\n12345678\r\n", b"\r\n"])
@settings(max_examples=250, deadline=None)
@given(reads())
def test_a_whole_chunk_is_relayed_as_if_it_had_been_parsed(pieces: list[bytes]) -> None:
    assert Hearing(AnswerReader).hear(pieces) == Hearing(Parsed).hear(pieces)


def test_a_whole_chunk_does_not_meet_the_parser() -> None:
    hearing = Hearing(AnswerReader)
    hearing.hear([HEAD])
    hearing.upstream._watch = cast(Any, None)
    frame = chunk(b"9", b"data: x\n\n")
    assert hearing.hear([frame])[1:2] == [(frame, False, True)]


def test_the_size_line_of_each_length_fills_it() -> None:
    for size in range(1, LARGEST - 9):
        frame = chunk(b"%x" % size, b"z" * size)
        assert len(frame) >= LARGEST or frame.startswith(STARTS[len(frame)])
    for whole, start in enumerate(STARTS):
        assert start == b"\0" or len(start) + int(start, 16) + 2 == whole


def test_a_chunk_in_the_place_of_the_next_head_is_no_answer() -> None:
    hearing = Hearing(AnswerReader)
    frame = chunk(b"5", b"token")
    hearing.hear([HEAD, frame, b"0\r\n\r\n"])
    assert hearing.heard[-1] == "end"
    hearing.upstream.send(cast(Any, hearing), b"GET / HTTP/1.1\r\n\r\n", b"")
    hearing.hear([frame])
    assert hearing.heard[-1] == "end"
    hearing.hear([b"\r\n\r\n"])
    assert "not HTTP" in str(hearing.heard[-1])
