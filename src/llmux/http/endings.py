"""The ways in which a request ends: whole, refused, cut, broken off, left by its client.

All of them lead to `_leave`, which gives everything back once; `on_end` is the short one for an
answer that came whole. This file refuses to know how a request found its backend, and whether
another try is worth it: `relay` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmux.core.news import CLIENT_STALL, AnswerCut
from llmux.core.ticket import Ticket
from llmux.errors import LlmuxError
from llmux.http import dialects
from llmux.http.answer import LENGTH

if TYPE_CHECKING:
    from llmux.http.backend import Backend
    from llmux.http.front import Front
    from llmux.http.request import Request
    from llmux.http.upstream import Upstream


class Ending(Ticket):
    """What a request holds, and how it lets go of it; `Exchange` fills it and goes the way."""

    __slots__ = (
        "_backend",
        "_dial",
        "_front",
        "_listed",
        "_over",
        "_request",
        "_retry",
        "_started",
        "_tunnel",
        "_upstream",
        "keep_alive",
        "on_data",
    )

    _front: Front
    _request: Request
    _backend: Backend | None
    _upstream: Upstream | None
    _dial: asyncio.Task[None] | None
    _retry: asyncio.TimerHandle | None
    _listed: bool
    """The gate has it on its books."""
    _started: bool
    """The client has had the first byte of its answer."""
    _tunnel: bool
    _over: bool
    keep_alive: bool
    on_data: Callable[[bytes], None]
    """Takes bytes for the client; the upstream calls it for each piece of an answer."""

    def on_end(self) -> None:
        """Close the books: the last byte of the answer is written."""
        self._upstream = None
        if self._over or not self._listed:
            return
        self._over = True
        self._listed = False
        front = self._front
        front.gateway.gate.leave(self)
        front.done(self.keep_alive)

    def cut(self, error: LlmuxError) -> None:
        """End the answer now: with an error, an error event, or a broken connection."""
        if self._over:
            return
        if not self._started:
            self._fail(error)
            return
        upstream = self._upstream
        self._tell_cut(error.code, upstream)
        if upstream is not None:
            self._last_word(upstream, error)
        self._break_off(upstream)

    on_cut = cut

    def give_up(self) -> None:
        """Hear that the client takes nothing: leave, and tell if that cuts an answer."""
        if self._started and not self._over:
            self._tell_cut(CLIENT_STALL, self._upstream)
        self.abandon()

    def abandon(self) -> None:
        """Hear that the client is gone: leave at once, and cut the backend."""
        if self._over:
            return
        self._over = True
        upstream = self._upstream
        if self._tunnel and upstream is not None:
            upstream.finish()
            self._upstream = None
        self._leave()

    def _last_word(self, upstream: Upstream, error: LlmuxError) -> None:
        """Say in a stream why it breaks off here, where one more piece would be read as one."""
        request = self._request
        answer = upstream.answer
        ends = () if request.old else dialects.ends_of_pieces(answer.content_type)
        if not ends or not answer.ends_in(*ends):
            return
        shown = dialects.shown_id(answer.lines, request.request_id)
        frame = dialects.error_frame(request.path, answer.content_type, error, shown)
        self.on_data(b"%x\r\n%b\r\n" % (len(frame), frame))

    def _tell_cut(self, reason: str, upstream: Upstream | None) -> None:
        """Make it known that an answer ends before its end, under the id that its client has."""
        shown = self._request.request_id
        if upstream is not None:
            shown = dialects.shown_id(upstream.answer.lines, shown)
        self._front.gateway.tell(AnswerCut(self.model, reason, shown.decode("latin-1")))

    def _fail(self, error: LlmuxError) -> None:
        gateway = self._front.gateway
        meter = gateway.unknown if self._backend is None else self._backend.meter
        meter.answered(error.status, gateway.loop.time() - self.arrived)
        if gateway.stopping:
            self.keep_alive = False
        self._front.write_error(self._request, error, self.keep_alive)
        self._finish()

    def _break_off(self, upstream: Upstream | None) -> None:
        """Show the client that its answer is not complete."""
        unframed = self._request.old and (upstream is None or upstream.answer.framing != LENGTH)
        self._over = True
        self._leave()
        self._front.break_off(reset=unframed)

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        self._leave()
        self._front.done(self.keep_alive)

    def _leave(self) -> None:
        """Give everything back: timer, dial, connection, ticket."""
        self._let_go()
        self._request.body = b""
        if self._listed:
            self._listed = False
            self._front.gateway.gate.leave(self)

    def _let_go(self) -> None:
        """Have nothing to do with the backend any more."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None
