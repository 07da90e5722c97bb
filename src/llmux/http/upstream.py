"""One connection to a backend: it sends a request and passes the answer on as it comes.

This file refuses to know clients, tickets and policies of retrying: an `Upstream` tells its
`Listener` what happened, and whoever listens decides.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

from llmux.http import wire
from llmux.http.answer import LARGEST, STARTS, UNTIL_CLOSE, AnswerReader, BadAnswer, Unchunker

if TYPE_CHECKING:
    from llmux.http.backend import Backend

# What an upstream is doing.
IDLE: Final = 0
HEAD: Final = 1
BODY: Final = 2
RAW: Final = 3
CLOSED: Final = 4

_BAD_BODY: Final = "its answer's body breaks HTTP's framing"
_CUT_SHORT: Final = "it closed the connection before its answer was complete"


class Listener(Protocol):
    """Who asked, and hears what becomes of it."""

    head_only: bool

    def on_interim(self, answer: AnswerReader) -> None:
        """Hear of a 1xx answer."""
        ...

    def on_head(self, upstream: Upstream) -> bytes | None:
        """Give the head to send to the client, or None if this answer is not wanted."""
        ...

    def on_switch(self, upstream: Upstream, rest: bytes) -> None:
        """Hear that the backend left HTTP (101); `rest` came behind its head."""
        ...

    def on_data(self, data: bytes) -> None:
        """Take bytes for the client, framed as they have to be sent."""
        ...

    def on_end(self) -> None:
        """Hear that the answer is complete; the upstream is no longer the listener's."""
        ...

    def on_broken(self, upstream: Upstream, reason: str) -> None:
        """Hear that the answer will never be complete; the upstream is closed."""
        ...

    def on_writable(self, writable: bool) -> None:
        """Hear whether the backend takes what is sent to it; only while RAW."""
        ...


class Upstream(asyncio.Protocol):
    """One connection to a backend, used for one request after the other."""

    __slots__ = (
        "_bulky",
        "_listener",
        "_paused",
        "_transport",
        "_watch",
        "answer",
        "backend",
        "idle_since",
        "reused",
        "silent",
        "state",
    )

    def __init__(self, backend: Backend, *, chunks: bool = True) -> None:
        self.backend = backend
        self.state = IDLE
        self.reused = False
        """It has carried an answer before, so the backend may be about to close it."""
        self.silent = True
        """Not one byte has come back for the present request."""
        self.idle_since = 0.0
        reader = AnswerReader if chunks else Unchunker
        self.answer = reader(backend.limits.max_header_bytes, backend.known)
        """The answer that is being read; `chunks=False` makes one for HTTP/1.0 of it."""
        self._watch = self.answer.watch
        self._transport: asyncio.Transport | None = None
        self._listener: Listener | None = None
        self._paused = False
        self._bulky = False

    # What the listener asks.

    def send(self, listener: Listener, head: bytes, body: bytes) -> None:
        """Send a request; the listener hears of its answer from now on."""
        transport = self._transport
        assert transport is not None
        self._listener = listener
        self.state = HEAD
        self.silent = True
        answer = self.answer
        answer.head_only = listener.head_only
        answer.complete = answer.excess = False
        transport.write(head)
        self._bulky = False
        if body:
            self._bulky = True
            transport.write(body)

    def write(self, data: bytes) -> None:
        """Send raw bytes; only while RAW."""
        if self._transport is not None and self.state == RAW:
            self._transport.write(data)

    def pause(self) -> None:
        """Read no more of the answer until `resume`."""
        if not self._paused and self._transport is not None and self.state != CLOSED:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._transport is not None and self.state != CLOSED:
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """Cut the connection at once; the listener hears nothing more."""
        self._listener = None
        if self.state != CLOSED:
            self.state = CLOSED
            if self._transport is not None:
                self._transport.abort()

    def finish(self) -> None:
        """Close once everything written is sent; only while RAW."""
        self._listener = None
        if self.state != CLOSED:
            self.state = CLOSED
            if self._transport is not None:
                self._transport.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the backend: the hot path of every streamed chunk."""
        listener = self._listener
        answer = self.answer
        if listener is None:
            self.close()  # bytes that nobody asked for
        elif (
            answer.between
            and (size := len(data)) < LARGEST
            and data.startswith(STARTS[size])
            and data.endswith(b"\r\n")
        ):
            answer.last = data
            listener.on_data(data)
        elif self.state == BODY:
            out = self._watch(data)
            if out is None:
                self._break(_BAD_BODY)
                return
            listener.on_data(out)
            if answer.complete:
                self._release()
        elif self.state == HEAD:
            self.silent = False
            size = answer.recognize(data)
            if size:
                self._pass(listener, data[size:])
                return
            try:
                self._read_head(listener, data)
            except BadAnswer as bad:
                self._break(str(bad))
        else:
            listener.on_data(data)

    def eof_received(self) -> None:
        """Let the transport close itself: a backend that says no more is gone."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the listener how it ended."""
        state, self.state = self.state, CLOSED
        listener, self._listener = self._listener, None
        self.backend.forget(self)
        if listener is None:
            return
        if state == BODY and self.answer.framing == UNTIL_CLOSE and exc is None:
            if self.answer.wrap:
                listener.on_data(wire.LAST_CHUNK)
            listener.on_end()
        elif state == RAW:
            listener.on_end()
        else:
            listener.on_broken(self, _CUT_SHORT)

    def pause_writing(self) -> None:
        """Pass back-pressure on where bytes flow raw."""
        if self.state == RAW and self._listener is not None:
            self._listener.on_writable(False)

    def resume_writing(self) -> None:
        """Pass it on that the backend takes more."""
        if self.state == RAW and self._listener is not None:
            self._listener.on_writable(True)

    # An answer's course.

    def _read_head(self, listener: Listener, data: bytes) -> None:
        """Read interim heads and the final one, and what of the body came with it."""
        answer = self.answer
        rest = answer.read_head(data)
        while rest is not None and answer.status < 200:
            if answer.status == 101:
                self.state = RAW
                listener.on_switch(self, rest)
                return
            if answer.status:  # zero is a blank line before the head
                listener.on_interim(answer)
            if not rest or self._listener is not listener:
                return
            rest = answer.read_head(rest)
        if rest is not None:
            self._pass(listener, rest)

    def _pass(self, listener: Listener, rest: bytes) -> None:
        """Pass a final head on, with what of the body came with it."""
        answer = self.answer
        head = listener.on_head(self)
        if head is None or self._listener is not listener:
            return
        self.state = BODY
        if answer.counting and len(rest) == answer.length:
            answer.complete = True
            listener.on_data(head + rest)
            if self._paused or self._bulky or self._listener is not listener:
                self._release()
            else:
                self._listener = None
                self.state = IDLE
                self.reused = True
                self.backend.put(self)
                listener.on_end()
            return
        if not answer.complete:
            if rest:
                out = self._watch(rest)
                if out is None:
                    listener.on_data(head)
                    self._break(_BAD_BODY)
                    return
                head += out
        elif rest:
            answer.excess = True
        listener.on_data(head)
        if answer.complete:
            self._release()

    def _release(self) -> None:
        """Give the connection back to the pool, if it can be used again."""
        listener, self._listener = self._listener, None
        if self._paused:
            self.resume()
        answer = self.answer
        if answer.excess or not answer.persistent or (self._bulky and self._unsent()):
            self.close()
        else:
            self.state = IDLE
            self.reused = True
            self.backend.put(self)
        if listener is not None:
            listener.on_end()

    def _unsent(self) -> bool:
        """Whether the backend answered before it had taken the whole request."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def _break(self, reason: str) -> None:
        listener = self._listener
        self.close()
        if listener is not None:
            listener.on_broken(self, reason)
