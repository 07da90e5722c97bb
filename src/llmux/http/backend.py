"""A model's server on the loopback: dialling it, and the idle connections to it.

Nothing but 127.0.0.1 and the configured port is ever dialled. This file refuses to know what is
sent over a connection, and whether the model is awake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from llmux.http.answer import KnownHead
from llmux.http.gate import Meter
from llmux.http.known import Memo
from llmux.http.limits import Limits
from llmux.http.upstream import IDLE, Upstream

IDLE_SECONDS: Final = 4.0
"""How long an idle connection is kept: many servers close theirs after 5 s."""
_MOST_IDLE: Final = 256
MOST_DIALS: Final = 128
"""Connections that are opened to one backend at a time: a crowd that is let in after a wake would
overrun its backlog, and some of the crowd would run out of their `connect_timeout_secs`."""


class Backend:
    """One model's server on the loopback, and the idle connections to it."""

    __slots__ = (
        "__weakref__",
        "_dials",
        "_idle",
        "_room",
        "host_line",
        "known",
        "limits",
        "loop",
        "meter",
        "model",
        "port",
        "swept",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        model: str,
        port: int,
        limits: Limits,
        meter: Meter,
    ) -> None:
        self.loop = loop
        self.model = model
        self.port = port
        self.limits = limits
        self.meter = meter
        self.swept = 0.0
        """The time of the last sweep: a clock for idle connections that is never ahead."""
        self.known: Memo[KnownHead] = Memo()
        """Heads of answers that were read before, for all connections."""
        self.host_line = b" HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port
        self._idle: list[Upstream] = []
        self._dials: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MOST_DIALS)

    def take(self) -> Upstream | None:
        """Take the connection that was used last, if one is idle."""
        idle = self._idle
        while idle:
            upstream = idle.pop()
            if upstream.state == IDLE:
                return upstream
        return None

    def put(self, upstream: Upstream) -> None:
        """Keep a connection for the next request, unless it takes the chunks out of answers."""
        idle = self._idle
        if len(idle) < _MOST_IDLE and upstream.answer.relays_chunks:
            upstream.idle_since = self.swept
            idle.append(upstream)
        else:
            upstream.close()

    def forget(self, upstream: Upstream) -> None:
        """Drop a connection that closed while it was idle."""
        if upstream in self._idle:
            self._idle.remove(upstream)

    def expire(self, now: float) -> None:
        """Close what has been idle too long; the one sweep a second calls it."""
        self.swept = now
        kept = [up for up in self._idle if now - up.idle_since < IDLE_SECONDS]
        if len(kept) == len(self._idle):
            return
        old, self._idle = self._idle, kept
        for upstream in old:
            if now - upstream.idle_since >= IDLE_SECONDS:
                upstream.close()

    def flush(self) -> None:
        """Close every idle connection: the backend goes to sleep."""
        idle, self._idle = self._idle, []
        for upstream in idle:
            upstream.close()

    async def shut(self) -> None:
        """Close what is idle and give up what is being dialled."""
        self.flush()
        for task in list(self._dials):
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)

    def dial(
        self, done: Callable[[Upstream | OSError], None], *, chunks: bool
    ) -> asyncio.Task[None]:
        """Open a new connection; `done` hears of it unless the task is cancelled before.

        Without `chunks` the body of a chunked answer comes bare, for a client of HTTP/1.0.
        """
        task = self.loop.create_task(self._dial(Upstream(self, chunks=chunks), done))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)
        return task

    async def _dial(self, upstream: Upstream, done: Callable[[Upstream | OSError], None]) -> None:
        made: Upstream | OSError = upstream
        try:
            async with self._room, asyncio.timeout(self.limits.connect_timeout_secs):
                await self.loop.create_connection(lambda: upstream, "127.0.0.1", self.port)
        except OSError as error:  # TimeoutError is one
            made = error
        except asyncio.CancelledError:
            upstream.close()
            raise
        done(made)
