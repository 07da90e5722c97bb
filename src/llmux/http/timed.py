"""An exchange that bounds its backend's silence: before the first byte, and between two pieces.

It stands in for `Exchange` only where one of the two bounds is set, so that a gateway without them
reads no clock for a piece of an answer. One timer a request looks whether something has come since
it was set. This file refuses to know what a cut answer looks like: `Exchange.cut` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from llmux.errors import BackendTimeoutError
from llmux.http.answer import AnswerReader
from llmux.http.front import Front
from llmux.http.limits import Limits
from llmux.http.relay import Exchange
from llmux.http.request import Request
from llmux.http.upstream import Upstream


def exchange_for(limits: Iterable[Limits]) -> type[Exchange]:
    """Return the class that obeys these limits: the plain one where no silence is bounded."""
    timed = any(
        one.first_byte_timeout_secs is not None or one.stream_idle_timeout_secs is not None
        for one in limits
    )
    return TimedExchange if timed else Exchange


class TimedExchange(Exchange):
    """An exchange whose backend may not be silent for ever, unless its client stalls."""

    __slots__ = ("_clock", "_heard")

    def __init__(self, front: Front, request: Request) -> None:
        super().__init__(front, request)
        self.on_data = self._pass_on
        self._clock: asyncio.TimerHandle | None = None
        self._heard = 0.0
        """When the backend was asked, or when it last gave something."""

    def _ask(self, upstream: Upstream) -> None:
        super()._ask(upstream)
        self._listen()

    def on_interim(self, answer: AnswerReader) -> None:
        """Take an interim answer for a sign of life."""
        super().on_interim(answer)
        self._heard = self._now()

    def on_head(self, upstream: Upstream) -> bytes | None:
        """Go over from the one bound to the other."""
        head = super().on_head(upstream)
        if head is not None:
            self._listen()
        return head

    def on_end(self) -> None:
        """Watch no more."""
        self._stop()
        super().on_end()

    def on_client_writable(self, writable: bool) -> None:
        """Begin anew when the client takes more: its backend was not read meanwhile."""
        self._heard = self._now()
        super().on_client_writable(writable)

    def _pass_on(self, data: bytes) -> None:
        self._heard = self._now()
        self._front.write(data)

    def _leave(self) -> None:
        self._stop()
        super()._leave()

    # The watch.

    def _now(self) -> float:
        return self._front.gateway.loop.time()

    def _bound(self) -> float | None:
        if self._backend is None or self._upstream is None or self._tunnel:
            return None
        limits = self._backend.limits
        return limits.stream_idle_timeout_secs if self._started else limits.first_byte_timeout_secs

    def _listen(self) -> None:
        """Count the silence from now on, against the bound that holds now."""
        self._stop()
        self._heard = self._now()
        bound = self._bound()
        if bound is not None:
            self._clock = self._front.gateway.loop.call_later(bound, self._look)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _look(self) -> None:
        self._clock = None
        bound = self._bound()
        if bound is None:
            return
        if self._front.paused:
            self._heard = self._now()
        left = self._heard + bound - self._now()
        if left > 0:
            self._clock = self._front.gateway.loop.call_later(left, self._look)
        elif self._started:
            text = f"The model's backend fell silent in its answer: nothing came for {bound:g} s."
            self.cut(BackendTimeoutError(text))
        else:
            text = f"The model's backend gave no byte of an answer within {bound:g} s."
            self.cut(BackendTimeoutError(text))
