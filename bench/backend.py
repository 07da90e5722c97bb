"""The model server of the bench: it answers at once, or streams as a field of the body asks.

The text field `bench` of a request's JSON body says how: `paced` streams chunks with pauses,
`flood` as fast as the reader takes them until it hangs up, `hold` sends one chunk and then
nothing, `when` tells the time at which the request came, `serve` takes as many `seconds` as the
body says, beside whatever else it serves, and tells when it began (CLOCK_MONOTONIC, which all
processes of a machine share). All else gets 1 KB. `GET /count` tells how many chunks were sent.
Runs as a process of its own: `python -m bench.backend PORT...`.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from email.utils import formatdate
from random import uniform
from typing import Final, cast

import uvloop

CHUNKS: Final = 50
"""Chunks of a paced stream."""
SHORTEST: Final = 0.01
LONGEST: Final = 0.03
"""Seconds between two chunks of a paced stream: about 50 tokens/s, and no two streams in step."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_HOW: Final = re.compile(rb'"bench": ?"([a-z]+)"')
_SECONDS: Final = re.compile(rb'"seconds": ?([0-9.]+)')
_EVENT: Final = (
    b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":'
    b'{"content":" token"}}]}\n\n'
)
_CHUNK: Final = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_FRAME: Final = b'{"object":"chat.completion","choices":[{"message":{"content":"%b"}}]}'
_ANSWER: Final = _FRAME % (b"y" * (1024 - len(_FRAME) + 2))


class Now:
    """What changes from second to second: the heads carry the date."""

    stream = answer = b""

    @classmethod
    def tick(cls) -> None:
        """Write the heads anew, and again in a second."""
        date = formatdate(usegmt=True).encode()
        cls.stream = (
            b"HTTP/1.1 200 OK\r\nserver: bench\r\ndate: %b\r\n"
            b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" % date
        )
        cls.answer = plain(_ANSWER)
        asyncio.get_running_loop().call_later(1, cls.tick)


def plain(body: bytes) -> bytes:
    """An answer with its length."""
    return (
        b"HTTP/1.1 200 OK\r\nserver: bench\r\ndate: %b\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (formatdate(usegmt=True).encode(), len(body), body)
    )


class Count:
    """What all connections together have sent."""

    chunks = 0


class Server(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self) -> None:
        self._left = 0
        self._buffer = b""
        self._gone = False
        self._full = False
        self._flooding = False
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop streaming."""
        self._gone = True

    def pause_writing(self) -> None:
        """Wait: the reader does not keep up."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on."""
        self._full = False
        if self._flooding:
            self._flood()

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        came = time.time()
        data = self._buffer + data if self._buffer else data
        while data:
            end = data.find(b"\r\n\r\n") + 4
            if end == 3:
                break
            length = _LENGTH.search(data, 0, end)
            whole = end + (int(length[1]) if length else 0)
            if len(data) < whole:
                break
            self._answer(data[:whole], came)
            data = data[whole:]
        self._buffer = data

    def _answer(self, request: bytes, came: float) -> None:
        write = self._transport.write
        if request.startswith(b"GET /count "):
            write(plain(b"%d" % Count.chunks))
            return
        how = _HOW.search(request)
        match how[1] if how else b"":
            case b"paced":
                write(Now.stream)
                self._left = CHUNKS
                self._step()
            case b"flood":
                write(Now.stream)
                self._flooding = True
                self._flood()
            case b"hold":
                write(Now.stream + _CHUNK)
            case b"when":
                write(plain(b"%.6f" % came))
            case b"serve":
                seconds = _SECONDS.search(request)
                answer = plain(b"%.6f" % time.monotonic())
                self._loop.call_later(float(seconds[1]) if seconds else 0.0, write, answer)
            case _:
                write(Now.answer)

    def _step(self) -> None:
        if self._gone:
            return
        if not self._left:
            self._transport.write(b"0\r\n\r\n")
            return
        self._left -= 1
        Count.chunks += 1
        self._transport.write(_CHUNK)
        self._loop.call_later(uniform(SHORTEST, LONGEST), self._step)

    def _flood(self) -> None:
        """Write one chunk a turn of the loop, so that each one is a write of its own."""
        if not self._gone and not self._full:
            Count.chunks += 1
            self._transport.write(_CHUNK)
            self._loop.call_soon(self._flood)


async def serve(ports: list[int]) -> None:
    """Listen until the process is ended."""
    loop = asyncio.get_running_loop()
    Now.tick()
    for port in ports:
        await loop.create_server(Server, "127.0.0.1", port, backlog=16_384)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve([int(port) for port in sys.argv[1:]]))
