"""One client's connection: it reads requests, answers them in order, and bounds every wait.

Timers are one sweep over all connections, so that a request costs none. This file refuses to
know models and switching: `relay` does.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from llmux.errors import (
    LlmuxError,
    MethodNotAllowedError,
    NotReadyError,
    RequestTimeoutError,
)
from llmux.http import dialects, wire
from llmux.http.doors import SHIELD
from llmux.http.reader import RequestReader
from llmux.http.request import Request
from llmux.http.routes import JSON, Answer

if TYPE_CHECKING:
    from llmux.http.relay import Exchange
    from llmux.http.server import Gateway

_LINGER_SECONDS: Final = 2.0
"""How long a refused client may go on sending before its connection is cut."""
_FLUSH_SECONDS: Final = 5.0
"""How long a client may take to read what was written before its connection was closed."""
_MOST_QUEUED: Final = 32
_MOST_QUEUED_BYTES: Final = 1_048_576
_RESET: Final = struct.pack("ii", 1, 0)


class Front(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_closing_at",
        "_held",
        "_lingering",
        "_partial",
        "_pumping",
        "_reader",
        "_since",
        "_stalled_at",
        "_transport",
        "_tunnel",
        "_unsent",
        "exchange",
        "gateway",
        "paused",
        "write",
    )

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.exchange: Exchange | None = None
        """The request that is being answered."""
        self.paused = False
        """The client takes no more for now."""
        self._reader = RequestReader(gateway.limits, gateway.known, gateway.doors)
        self._pumping = False
        self._tunnel: Exchange | None = None
        self._held = False
        self._lingering = False
        self._partial = False
        """`_since` counts from the begin of a head, or from a piece of a body."""
        self._closing_at: float | None = None
        self._since: float | None = None
        self._stalled_at: float | None = None
        """Since when the client has taken nothing of what waits for it."""
        self._unsent = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; one too many is told so and closed."""
        self._transport = cast(asyncio.Transport, transport)
        self.write: Callable[[bytes], None] = self._transport.write
        gateway = self.gateway
        gateway.fronts.add(self)
        most = gateway.limits.max_connections
        if most is not None and len(gateway.fronts) > most:
            if len(gateway.fronts) > most + most // 4 + 16:
                self._transport.abort()  # even those who are told take room
                return
            request = Request()
            request.request_id = wire.new_request_id()
            error = NotReadyError(f"{most} connections are open already.", retry_after=1.0)
            self.write_error(request, error, keep_alive=False)
            self._linger()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self._tunnel is not None:
            self._tunnel.from_client(data)
            return
        if self._lingering or self._closing_at is not None:
            return
        reader = self._reader
        if self.exchange is None and not self.paused:
            request = reader.whole(data)
            if request is not None:
                self._begin(request)
                return
        reader.feed(data)
        if self.exchange is None:
            self._pump()
        elif reader.queue:
            self._bound()
        if reader.in_head or reader.in_body:
            self._note_partial()

    def eof_received(self) -> None:
        """Take the end of what a client sends for its leaving: nobody reads an answer then."""
        if self.exchange is not None:
            self.exchange.abandon()
            self.exchange = None
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave at once, wherever the request stands."""
        self.gateway.forget(self)
        exchange, self.exchange = self.exchange, None
        self._tunnel = None
        self._reader.queue.clear()
        if exchange is not None:
            exchange.abandon()

    def pause_writing(self) -> None:
        """Stop the backend: the client does not take what was written."""
        self.paused = True
        if self.exchange is not None:
            self.exchange.on_client_writable(False)

    def resume_writing(self) -> None:
        """Go on."""
        self.paused = False
        self._stalled_at = None
        if self.exchange is not None:
            self.exchange.on_client_writable(True)
        else:
            self._pump()

    # Requests, one after the other.

    def _pump(self) -> None:
        """Answer queued requests until one has to wait."""
        reader = self._reader
        queue = reader.queue
        self._pumping = True
        while queue and self.exchange is None and not self.paused and not self._lingering:
            if self._closing_at is not None:
                break
            request = queue.pop(0)
            reader.queued_bytes -= len(request.body)
            if request.error is not None:
                self.gateway.unknown.answered(request.error.status, 0.0)
                self.write_error(request, request.error, keep_alive=False)
                self._linger()
            else:
                self._begin(request)
        self._pumping = False
        if self._held:
            self._bound()
        if reader.expecting and self.exchange is None and not queue:
            reader.tell_continue()
            self.write(wire.CONTINUE)

    def _begin(self, request: Request) -> None:
        self._since = None
        self._partial = False
        if request.known is not None:
            exchange = self.exchange = self.gateway.exchange(self, request)
            exchange.start()
            return
        routes = self.gateway.routes
        handler = routes.find(request.path)
        if handler is not None:
            try:
                answer = routes.answer(handler, request)
            except LlmuxError as error:
                self.write_error(request, error, request.keep_alive)
            else:
                self._write_answer(request, answer, request.keep_alive)
            self.done(request.keep_alive)
        elif request.max_forwards == 0:
            self._answer_last_hop(request)
        else:
            make = self.gateway.exchange if request.next_model is None else self.gateway.announcing
            exchange = self.exchange = make(self, request)
            exchange.start()

    def _answer_last_hop(self, request: Request) -> None:
        """Answer OPTIONS and TRACE that may not be forwarded any more."""
        if request.method == b"OPTIONS":
            self._write_answer(request, Answer(204, b""), request.keep_alive)
        else:
            self.write_error(
                request, MethodNotAllowedError("TRACE is not answered here."), request.keep_alive
            )
        self.done(request.keep_alive)

    def done(self, keep_alive: bool) -> None:
        """Go on with the next request, or close once everything written is sent."""
        self.exchange = None
        self._tunnel = None
        self._since = None
        self._partial = False
        if not keep_alive or self.gateway.stopping:
            self._close()
            return
        reader = self._reader
        if not self._pumping and (reader.queue or reader.expecting or self._held):
            self._pump()

    def open_tunnel(self, exchange: Exchange) -> bool:
        """Hand the client's bytes on as they are; False if it has already sent more of HTTP."""
        reader = self._reader
        if reader.queue or reader.in_head or reader.in_body or reader.broken:
            return False
        self._tunnel = exchange
        return True

    # Answers.

    def write_error(self, request: Request, error: LlmuxError, keep_alive: bool) -> None:
        """Write an error of our own in the dialect of the request's path."""
        fields = dialects.error_fields(error)
        if error.status == 405:
            fields += b"allow: GET, HEAD, OPTIONS\r\n"
        if request.path.startswith(dialects.MESSAGES):
            fields += dialects.request_id_line(b"", request.request_id)
        body = dialects.error_body(request.path, error)
        self._write_answer(request, Answer(error.status, body, JSON, fields), keep_alive)

    def _write_answer(self, request: Request, answer: Answer, keep_alive: bool) -> None:
        connection = None
        if not keep_alive or self.gateway.stopping:
            connection = b"close"
        elif request.old:
            connection = b"keep-alive"
        self.write(
            wire.answer(
                answer.status,
                answer.body,
                content_type=answer.content_type,
                date=self.gateway.date(),
                request_id=request.request_id,
                fields=answer.fields + request.cors + SHIELD,
                connection=connection,
                head_only=request.method == b"HEAD",
            )
        )

    # Ends and bounds.

    def break_off(self, *, reset: bool) -> None:
        """Close before the answer's end; with a reset where a plain close would be its end."""
        self.exchange = None
        self._tunnel = None
        self._reader.queue.clear()
        sock = self._transport.get_extra_info("socket")
        if reset and self._transport.get_extra_info("ssl_object") is not None:
            self._transport.abort()  # closing says goodbye under TLS, as an end would
            return
        if reset and sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close()

    def cut(self, error: LlmuxError) -> None:
        """End what is being answered and close."""
        self._reader.queue.clear()
        if self.exchange is not None:
            self.exchange.cut(error)
        if self._closing_at is None:
            self._close()

    def abort(self) -> None:
        """Close without another word."""
        self._transport.abort()

    def hold(self, hold: bool) -> None:
        """Stop or go on reading from the client: for tunnels and floods only."""
        if hold != self._held:
            self._held = hold
            if hold:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _bound(self) -> None:
        """Read no more from a client that has sent too far ahead of its answers."""
        reader = self._reader
        self.hold(len(reader.queue) >= _MOST_QUEUED or reader.queued_bytes >= _MOST_QUEUED_BYTES)

    def _note_partial(self) -> None:
        """Remember when the head began, or when the last piece of a body came."""
        if not self._partial or self._reader.in_body:
            self._partial = True
            self._since = self.gateway.loop.time()

    def _linger(self) -> None:
        """Close politely while the client may still be sending, so that it reads our answer."""
        self._lingering = True
        self._since = self.gateway.loop.time()
        self._reader.queue.clear()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _close(self) -> None:
        self._closing_at = self.gateway.loop.time()
        self._transport.close()

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered, or its last bytes are on their way."""
        reader = self._reader
        return (
            self.exchange is not None
            or self._tunnel is not None
            or self._lingering
            or self._closing_at is not None
            or bool(reader.queue or reader.in_head or reader.in_body)
        )

    def close_if_idle(self) -> None:
        """Close unless a request is being read or answered."""
        if not self.busy:
            self._close()

    def sweep(self, now: float) -> None:
        """Look whether this connection has overstepped a bound."""
        limits = self.gateway.limits
        if self._closing_at is not None:
            if self._stalls(now) > _FLUSH_SECONDS and now - self._closing_at > _FLUSH_SECONDS:
                self._transport.abort()
        elif self.paused:
            most = limits.client_stall_timeout_secs
            if self._stalls(now) > (most or 0.0) and most is not None:
                self._give_up()
        elif self.exchange is not None:
            return
        elif self._since is None:
            self._since = now
        elif self._lingering:
            if now - self._since > _LINGER_SECONDS:
                self._transport.abort()
        elif self._reader.in_head:
            self._overdue(now, limits.header_timeout_secs, "head")
        elif self._reader.in_body:
            self._overdue(now, limits.body_timeout_secs, "body")
        elif (
            limits.keepalive_timeout_secs is not None
            and now - self._since > limits.keepalive_timeout_secs
        ):
            self._close()

    def _stalls(self, now: float) -> float:
        """Say for how long the client has taken nothing, as far as the sweeps have seen."""
        unsent = self._transport.get_write_buffer_size()
        if self._stalled_at is None or unsent != self._unsent:
            self._stalled_at = now
            self._unsent = unsent
        return now - self._stalled_at

    def _give_up(self) -> None:
        """Cut a client that takes nothing, and its backend, so that nobody waits for them."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.give_up()
        self._transport.abort()

    def _overdue(self, now: float, bound: float | None, what: str) -> None:
        if bound is not None and self._since is not None and now - self._since > bound:
            self._reader.refuse(
                RequestTimeoutError(f"The request's {what} did not come within {bound:g} s.")
            )
            self._pump()
