"""A backend's answer as a coroutine reads it: head, then piece by piece, with back-pressure.

It stands between an `Upstream`, which calls, and the ASGI layer, which awaits. It refuses to know
models, tickets and what an ASGI message looks like.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from llmux.errors import BackendTimeoutError
from llmux.http.answer import LENGTH, AnswerReader
from llmux.http.upstream import Upstream

Fields = list[tuple[bytes, bytes]]

_MOST_HELD: Final = 262_144
"""Bytes of an answer that wait for the server before the backend is paused."""


class BrokenAnswerError(RuntimeError):
    """The answer broke after its head was sent: the server has to show that by closing."""


class HeldAnswer:
    """Listens to an upstream and hands its answer to a coroutine, with back-pressure."""

    def __init__(self, head_only: bool) -> None:
        self.head_only = head_only
        self.upstream: Upstream | None = None
        self.reader: AnswerReader | None = None
        """What has read the answer, from its head on."""
        self.broken: str | None = None
        self.ended = False
        self.status = 0
        self.fields: Fields = []
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._news = asyncio.Event()

    def on_interim(self, answer: AnswerReader) -> None:
        """Leave interim answers out: ASGI has no place for them."""

    def on_head(self, upstream: Upstream) -> bytes | None:
        """Keep status and fields; the body follows bare."""
        answer = self.reader = upstream.answer
        self.status = answer.status
        lines = answer.lines.split(b"\r\n")[1:]
        self.fields = [
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(b":") for line in lines if line)
        ]
        if answer.framing == LENGTH or (self.head_only and answer.length >= 0):
            self.fields.append((b"content-length", b"%d" % answer.length))
        self._news.set()
        return b""

    def on_switch(self, upstream: Upstream, rest: bytes) -> None:
        """Refuse an upgrade: nobody asked for one."""
        del rest
        upstream.close()
        self.on_broken(upstream, "it left HTTP without being asked")

    def on_data(self, data: bytes) -> None:
        """Hold a piece until the server takes it."""
        if not data:
            return
        self._pieces.append(data)
        self._held += len(data)
        if self._held > _MOST_HELD and self.upstream is not None:
            self.upstream.pause()
        self._news.set()

    def on_end(self) -> None:
        """Hear that the answer is complete."""
        self.ended = True
        self.upstream = None
        self._news.set()

    def on_broken(self, upstream: Upstream, reason: str) -> None:
        """Hear that it will never be."""
        del upstream
        self.broken = reason
        self.upstream = None
        self._news.set()

    def on_writable(self, writable: bool) -> None:
        """Nothing is sent raw."""

    async def head(self, within: float | None) -> bool:
        """Wait for the head, so many seconds at most; False if the answer broke before.

        Raises BackendTimeoutError, and cuts the connection.
        """
        try:
            async with asyncio.timeout(within):
                while not self.status and self.broken is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            self.close()
            raise BackendTimeoutError(
                f"The model's backend gave no byte of an answer within {within:g} s."
            ) from None
        return bool(self.status)

    async def piece(self, within: float | None) -> bytes | None:
        """Wait for the next piece of the body, so many seconds at most; None at its end.

        Raises BrokenAnswerError if it broke, BackendTimeoutError if nothing comes.
        """
        try:
            async with asyncio.timeout(within):
                while not self._pieces:
                    if self.ended:
                        return None
                    if self.broken is not None:
                        raise BrokenAnswerError(f"the model's backend failed: {self.broken}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            self.close()
            raise BackendTimeoutError(
                f"The model's backend fell silent in its answer: nothing came for {within:g} s."
            ) from None
        piece = self._pieces.popleft()
        self._held -= len(piece)
        if self._held <= _MOST_HELD and self.upstream is not None:
            self.upstream.resume()
        return piece

    def cut(self, why: str) -> None:
        """Break the answer off from our side."""
        if self.broken is None:
            self.close()
            self.broken = why
            self._news.set()

    @property
    def request_id(self) -> bytes:
        """The id that the backend gave back, empty where it gave none."""
        return next((value for name, value in self.fields if name == b"x-request-id"), b"")

    def close(self) -> None:
        """Cut the connection if the answer is not complete; harmless twice."""
        if self.upstream is not None:
            self.upstream.close()
            self.upstream = None
