"""One connection to a backend: sending a request, and reading its answer to the end.

llhttp watches each answer for its end while the bytes go on as they came. This file refuses to
know clients, tickets and policies of retrying: an `Upstream` tells its `Listener` what happened,
and whoever listens decides.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from llmux.http import wire

if TYPE_CHECKING:
    from llmux.http.backend import Backend

_COMMON: Final = frozenset((b"keep-alive", b"close", b"upgrade"))
_SPECIAL: Final = wire.HOP_BY_HOP | {b"content-length", b"content-type", b"date", b"x-request-id"}

# What an upstream is doing.
IDLE: Final = 0
HEAD: Final = 1
BODY: Final = 2
RAW: Final = 3
CLOSED: Final = 4

# How the end of an answer's body is told.
EMPTY: Final = 0
LENGTH: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3


class BadAnswer(Exception):  # noqa: N818  (it is news for the listener, not a failure of ours)
    """The backend's bytes are not an HTTP answer; the text says why."""


class Listener(Protocol):
    """Who asked, and hears what becomes of it."""

    head_only: bool

    def on_interim(self, upstream: Upstream) -> None:
        """Hear of a 1xx answer; its fields stand in the upstream."""
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
        "_buffer",
        "_bulky",
        "_complete",
        "_connection",
        "_excess",
        "_head_done",
        "_last",
        "_left",
        "_listener",
        "_parser",
        "_paused",
        "_persistent",
        "backend",
        "chunk_open",
        "content_type",
        "fields",
        "framing",
        "has_date",
        "has_id",
        "idle_since",
        "length",
        "reason",
        "reused",
        "silent",
        "state",
        "status",
        "transport",
        "upgrade",
        "wrap",
    )

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.transport: asyncio.Transport | None = None
        self.state = IDLE
        self.reused = False
        """It has carried an answer before, so the backend may be about to close it."""
        self.silent = True
        """Not one byte has come back for the present request."""
        self.idle_since = 0.0
        self._listener: Listener | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._buffer = b""
        self._paused = False
        self._persistent = False
        self._bulky = False
        self._complete = False
        self._excess = False
        self.chunk_open = False
        """The last byte relayed is inside a chunk."""
        self._last = b""
        self._left = 0
        self.wrap = False
        """The listener wants an answer that ends with the connection in chunks."""
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.reason = b""
        self.fields: list[bytes] = []
        self._connection: bytes | None = None
        self.upgrade: bytes | None = None
        self.length = -1
        self.framing = UNTIL_CLOSE
        self.content_type = b""
        self.has_date = False
        self.has_id = False
        self._head_done = False

    # What the listener asks.

    def send(self, listener: Listener, head: bytes, body: bytes) -> None:
        """Send a request; the listener hears of its answer from now on."""
        transport = self.transport
        assert transport is not None
        self._listener = listener
        self.state = HEAD
        self.silent = True
        self._complete = self._excess = False
        transport.write(head)
        self._bulky = bool(body)
        if body:
            transport.write(body)

    def write(self, data: bytes) -> None:
        """Send raw bytes; only while RAW."""
        if self.transport is not None and self.state == RAW:
            self.transport.write(data)

    def pause(self) -> None:
        """Read no more of the answer until `resume`."""
        if not self._paused and self.transport is not None and self.state != CLOSED:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self.transport is not None and self.state != CLOSED:
            self._paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        """Cut the connection at once; the listener hears nothing more."""
        self._listener = None
        if self.state != CLOSED:
            self.state = CLOSED
            if self.transport is not None:
                self.transport.abort()

    def finish(self) -> None:
        """Close once everything written is sent; only while RAW."""
        self._listener = None
        if self.state != CLOSED:
            self.state = CLOSED
            if self.transport is not None:
                self.transport.close()

    def at_event_boundary(self) -> bool:
        """Whether a chunk with one more server-sent event may follow what was relayed."""
        last = self._last
        if self.framing == UNTIL_CLOSE:
            return not last or last.endswith((b"\n\n\r\n", b"\r\n\r\n\r\n"))
        if self.framing != CHUNKED or self.chunk_open:
            return False
        return not last or last.endswith((b"\n\n\r\n", b"\r\n\r\n\r\n"))

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the backend: the hot path of every streamed chunk."""
        listener = self._listener
        if self.state == BODY and listener is not None:
            out = self._watch(data)
            if out is None:
                self._break("its answer's body breaks HTTP's framing")
                return
            listener.on_data(out)
            if self._complete:
                self._release()
        elif self.state == HEAD and listener is not None:
            self.silent = False
            self._read_head(listener, data)
        elif self.state == RAW and listener is not None:
            listener.on_data(data)
        else:
            self.close()  # bytes that nobody asked for

    def eof_received(self) -> None:
        """Let the transport close itself: a backend that says no more is gone."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the listener how it ended."""
        state, self.state = self.state, CLOSED
        listener, self._listener = self._listener, None
        self.backend.forget(self)
        if listener is None:
            return
        if state == BODY and self.framing == UNTIL_CLOSE and exc is None:
            if self.wrap:
                listener.on_data(wire.LAST_CHUNK)
            listener.on_end()
        elif state == RAW:
            listener.on_end()
        else:
            listener.on_broken(self, "it closed the connection before its answer was complete")

    def pause_writing(self) -> None:
        """Pass back-pressure on where bytes flow raw."""
        if self.state == RAW and self._listener is not None:
            self._listener.on_writable(False)

    def resume_writing(self) -> None:
        """Pass it on that the backend takes more."""
        if self.state == RAW and self._listener is not None:
            self._listener.on_writable(True)

    # What llhttp calls.

    def on_message_begin(self) -> None:
        """Note bytes behind the end of an answer."""
        if self._complete:
            self._excess = True

    def on_status(self, reason: bytes) -> None:
        """Take a piece of the reason phrase."""
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field; trailers flow on as they are."""
        if self._head_done:
            return
        key = name.lower()
        if key not in _SPECIAL:
            self.fields += (name, b": ", value, b"\r\n")
        elif key == b"content-length":
            self.length = int(value)
        elif key == b"content-type":
            self.content_type = value
            self.fields += (name, b": ", value, b"\r\n")
        elif key == b"date":
            self.has_date = True
            self.fields += (name, b": ", value, b"\r\n")
        elif key == b"x-request-id":
            self.has_id = True
            self.fields += (name, b": ", value, b"\r\n")
        elif key == b"transfer-encoding":
            if value.strip(b" \t").lower() != b"chunked" or self.framing == CHUNKED:
                raise BadAnswer("it uses a Transfer-Encoding that was not offered")
            self.framing = CHUNKED
        elif key == b"connection":
            old = self._connection
            self._connection = value if old is None else old + b"," + value
        elif key == b"upgrade":
            self.upgrade = value

    def on_headers_complete(self) -> None:
        """Note that the head is whole."""
        self._head_done = True
        self._persistent = self._parser.should_keep_alive()
        self.status = self._parser.get_status_code()

    def on_chunk_header(self) -> None:
        """Note that the next bytes belong to a chunk."""
        self.chunk_open = True

    def on_chunk_complete(self) -> None:
        """Note that a chunk is whole."""
        self.chunk_open = False

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        self._complete = True

    # Reading an answer.

    def _read_head(self, listener: Listener, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        bound = self.backend.limits.max_header_bytes
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end == 3:
                if b"\n\n" in data:
                    self._break("its answer's head ends lines without CR")
                elif bound is not None and len(data) > bound:
                    self._break(f"its answer's head is larger than {bound} bytes")
                else:
                    self._buffer = data
                return
            if bound is not None and end > bound:
                self._break(f"its answer's head is larger than {bound} bytes")
                return
            self._reset()
            self._complete = False
            rest = data[end:]
            try:
                self._parser.feed_data(data[:end])
            except httptools.HttpParserUpgrade:
                if self.status == 101:
                    self.state = RAW
                    listener.on_switch(self, rest)
                    return
            except httptools.HttpParserError as error:
                cause = error.__context__
                said = f"its answer is not HTTP ({error})"
                if isinstance(cause, BadAnswer):
                    said = str(cause)
                self._break(said)
                return
            if self._head_done:
                if self._connection is not None and self._connection.lower() not in _COMMON:
                    self.fields = wire.without(self.fields, set(wire.tokens(self._connection)))
                if self.status >= 200:
                    break
                listener.on_interim(self)
                if self._listener is not listener:
                    return
            if not rest:
                return
            data = rest
        self._frame(listener)
        head = listener.on_head(self)
        if head is None or self._listener is not listener:
            return
        self.state = BODY
        if rest and not self._complete:
            out = self._watch(rest)
            if out is None:
                listener.on_data(head)
                self._break("its answer's body breaks HTTP's framing")
                return
            listener.on_data(head + out)
        else:
            if rest:
                self._excess = True
            listener.on_data(head)
        if self._complete:
            self._release()

    def _frame(self, listener: Listener) -> None:
        """Decide how the end of this answer is told."""
        self._last = b""
        self.chunk_open = False
        if listener.head_only or self.status in (204, 304):
            self._excess = not self._complete  # a HEAD's answer leaves llhttp waiting for a body
            self._complete = True
            self.framing = EMPTY
        elif self.framing != CHUNKED and self.length >= 0:
            self.framing = LENGTH
            self._left = self.length

    def _watch(self, data: bytes) -> bytes | None:
        """Follow the body and give what goes to the client; None if it is broken."""
        framing = self.framing
        if framing == UNTIL_CLOSE:
            out = b"%x\r\n%b\r\n" % (len(data), data) if self.wrap else data
            self._last = out[-6:]
            return out
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if framing == CHUNKED or not self._complete:
                return None
            self._excess = True
        if framing == LENGTH:
            left = self._left
            if len(data) > left:
                self._excess = True
                return data[:left]
            self._left = left - len(data)
        elif self._complete:
            if self._excess or data.endswith(b"\r\n\r\n\r\n"):
                return None
        else:
            self._last = data[-6:]
        return data

    def _release(self) -> None:
        """Give the connection back to the pool, if it can be used again."""
        listener, self._listener = self._listener, None
        if self._paused:
            self.resume()
        assert self.transport is not None
        unsent = self._bulky and self.transport.get_write_buffer_size()
        if self._excess or unsent or not self._persistent:
            self.close()
        else:
            self.state = IDLE
            self.reused = True
            self.backend.put(self)
        if listener is not None:
            listener.on_end()

    def _break(self, reason: str) -> None:
        listener = self._listener
        self.close()
        if listener is not None:
            listener.on_broken(self, reason)


class Unchunking(Upstream):
    """An upstream for clients of HTTP/1.0, to whom no chunk may be sent; never pooled."""

    __slots__ = ("_pieces",)

    def __init__(self, backend: Backend) -> None:
        self._pieces: list[bytes] = []
        super().__init__(backend)

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body without its framing."""
        self._pieces.append(data)

    def _watch(self, data: bytes) -> bytes | None:
        out = super()._watch(data)
        if self.framing != CHUNKED or out is None:
            return out
        out = b"".join(self._pieces)
        self._pieces.clear()
        return out

    def _release(self) -> None:
        self._excess = True
        super()._release()
