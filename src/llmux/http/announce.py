"""Requests that say which model their client asks for next: the field `x-llmux-next`.

The name is judged before the request goes its way, as the request's own is, and the gate hears of
it when the answer has ended whole. This file refuses to know what a gate makes of it.
"""

from __future__ import annotations

from contextlib import suppress

from llmux.errors import BadRequestError, LlmuxError, NotRegisteredError
from llmux.http.gate import Gate
from llmux.http.keys import Caller
from llmux.http.refusals import refuse_model, unknown_model
from llmux.http.relay import Exchange, both


def named(said: bytes, gate: Gate, caller: Caller | None) -> str:
    """Return the model that the field names; LlmuxError where its client may not ask for it."""
    model = said.decode("utf-8", "replace").strip(" \t")
    if not model:
        raise BadRequestError("x-llmux-next names no model; leave it out, or name one.")
    if caller is not None and not caller.may_use(model):
        raise refuse_model(model)
    if not gate.is_registered(model):
        error = unknown_model(model)
        raise NotRegisteredError(f"x-llmux-next: {error}")
    return model


class AnnouncingExchange(Exchange):
    """An exchange that tells the gate, once its answer has ended, what its client asks next."""

    __slots__ = ()

    def start(self) -> None:
        """Judge what is announced first."""
        try:
            self._next_model()
        except LlmuxError as error:
            self.arrived = self._front.gateway.loop.time()
            self._fail(error)
        else:
            super().start()

    def on_end(self) -> None:
        """Close the books, then announce: the model may be empty now.

        Who asks the same model again is told before, so that it is not left at once.
        """
        served = self._listed and not self._over
        gate, then = self._front.gateway.gate, None
        if served:
            with suppress(LlmuxError):  # the model may have left the config meanwhile
                then = self._next_model()
        if then == self.model:
            gate.returning(self)
        super().on_end()
        if then is not None and then != self.model:
            gate.announce(then)

    def _next_model(self) -> str:
        request = self._request
        return named(request.next_model or b"", self._front.gateway.gate, request.caller)


def announcing(kind: type[Exchange]) -> type[Exchange]:
    """Return the class that announces, and is else as `kind`."""
    return both(AnnouncingExchange, kind)
