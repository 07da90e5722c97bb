"""A chunk's claim is read wherever the bytes are cut, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from llmux.errors import BodyTooLargeError
from llmux.http import Limits
from llmux.http.reader import RequestReader

HEAD = b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
TRICKY = [
    b"\r\nfffffffff\r\nfffffffff\r\n",
    b"fffffffff\r\n\r\nffffffffff;a\r\n",
    b"\n\r\n",
]
"""Bodies that look like sizes of chunks."""


def chunked(body: bytes, size: int) -> bytes:
    """Cut a body into chunks, with an extension and a trailer."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    lines = [b"%x ;x=%x\r\n%b\r\n" % (len(one), len(one), one) for one in pieces]
    return b"".join([*lines, b"0\r\nFade: fffffffff\r\n\r\n"]).replace(b" ;", b";")


@pytest.mark.parametrize("size", [1, 2, 11, 13, 100])
@pytest.mark.parametrize("body", TRICKY)
def test_a_body_that_looks_like_a_claim_is_only_a_body(body: bytes, size: int) -> None:
    """Cut into two reads at each byte, and into reads of one byte."""
    data = HEAD + chunked(body, size)
    cuts = [(data[:at], data[at:]) for at in range(1, len(data))]
    for reads in [*cuts, tuple(bytes([one]) for one in data)]:
        reader = RequestReader(Limits(max_body_bytes=1000))
        for read in reads:
            reader.feed(read)
        [request] = reader.queue
        assert (request.error, request.body) == (None, body)


@pytest.mark.parametrize("claim", [b"3e5", b"3E5;x=y", b"ffffffffffffffff", b"0000ffff"])
def test_a_claim_is_refused_as_soon_as_its_line_is_read(claim: bytes) -> None:
    """Four bytes came before; cut into two reads at each byte of the line, and by bytes."""
    before, line = HEAD + b"4\r\nabcd\r\n", claim + b"\r\n"
    cuts = [(before + line[:at], line[at:]) for at in range(len(line))]
    for reads in [*cuts, (before, *(bytes([one]) for one in line))]:
        reader = RequestReader(Limits(max_body_bytes=1000))
        for read in reads:
            assert not reader.queue
            reader.feed(read)
        [request] = reader.queue
        assert isinstance(request.error, BodyTooLargeError)


def test_a_claim_that_just_fits_is_read() -> None:
    reader = RequestReader(Limits(max_body_bytes=1000))
    reader.feed(HEAD + b"4\r\nabcd\r\n3e4\r\n")
    reader.feed(b"x" * 996 + b"\r\n0\r\n\r\n")
    [request] = reader.queue
    assert (request.error, len(request.body)) == (None, 1000)
