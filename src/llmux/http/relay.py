"""One request's way: find its model, enter the gate, ask the backend, copy the answer.

Nothing here awaits: each step is called by the socket that has something to say. Whatever way a
request ends, its ticket is given back once: `endings` has those ways. This file refuses to know
how bytes are parsed and how models are switched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmux.core.priority import weight
from llmux.core.ticket import NEW
from llmux.errors import BackendUnreachableError, BadRequestError, LlmuxError
from llmux.http import wire
from llmux.http.answer import AnswerReader
from llmux.http.endings import Ending
from llmux.http.heads import UNTOLD, answer_head, request_start
from llmux.http.look import model_in, most_tokens_in
from llmux.http.refusals import refuse_model, unknown_model
from llmux.http.request import Request
from llmux.http.upstream import Upstream

if TYPE_CHECKING:
    from llmux.http.front import Front
    from llmux.http.gate import Gate
    from llmux.http.keys import Caller

_FIRST_RETRY: Final = 0.1
_LONGEST_RETRY: Final = 0.5
"""Seconds between two tries at a backend that is still loading."""
_VIA: Final = b"\r\nvia: 1.1 llmux\r\nx-request-id: "
_LENGTH: Final = b"content-length: "
_ID: Final = b"\r\nx-request-id: "
_END: Final = b"\r\n\r\n"
"""Pieces of heads: to join them costs half of what it costs to format them."""
_LARGE: Final = 65536
"""Bytes above which a body is sent by itself rather than copied behind its head."""


class Exchange(Ending):
    """A request that is being answered, from its last byte in to its last byte out.

    It is its own ticket, so that a request makes one object less; the gate fills in what a ticket
    says of its model, and hears the three calls as methods.
    """

    __slots__ = ("_most", "_rescued", "_retried", "_retry_after", "head_only")

    def __init__(self, front: Front, request: Request) -> None:  # `enrol` does the ticket's part
        self._front = front
        self._request = request
        self.on_data = front.write
        self.head_only = request.method == b"HEAD"
        self.keep_alive = request.keep_alive
        self.stage = NEW
        self.arrived = 0.0
        self._listed = False
        self._backend = None
        self._upstream = None
        self._dial = None
        self._retry = None
        self._retry_after = _FIRST_RETRY
        self._retried = False
        self._rescued = False
        self._started = False
        self._tunnel = False
        self._over = False

    # The way in.

    def start(self) -> None:
        """Find the model and enter the gate; the answer may be complete when this returns."""
        gateway = self._front.gateway
        request = self._request
        body = request.body
        model = model_in(body) if body else None
        backend = None if model is None else gateway.backends.get(model)
        caller = request.caller
        if caller is not None and model is not None and not caller.may_use(model):
            self.arrived = gateway.loop.time()
            self._fail(refuse_model(model))
            return
        if backend is None or model is None:
            self.arrived = gateway.loop.time()
            self._fail(unknown_model(model))
            return
        self._backend = backend
        self._listed = True
        try:
            if caller is None and request.priority is None:
                admitted = gateway.gate.arrive(self, model, len(body))
            else:
                admitted = self._enter(gateway.gate, model, caller)
        except LlmuxError as error:
            self.arrived = self.arrived or gateway.loop.time()
            self._fail(error)
            return
        if admitted:
            backend.meter.at_once += 1
            upstream = None if request.old else backend.take()
            if upstream is None:
                self._connect()
            else:
                self._ask(upstream)

    def _enter(self, gate: Gate, model: str, caller: Caller | None) -> bool:
        """Enter the gate with the weight that the request asks for and its caller is granted."""
        request = self._request
        gate.enrol(self, model)
        self.size = len(request.body)
        asked = request.priority
        granted = None if caller is None else caller.priority
        if asked is not None or granted is not None:
            said = None if asked is None else asked.decode("latin-1")
            self.weight = weight(self.weight, said, granted)
        return gate.enter(self)

    def most_tokens(self) -> int | None:
        """Look into the body for the tokens that the client allows."""
        body = self._request.body
        return most_tokens_in(body) if body else getattr(self, "_most", None)

    def on_admitted(self) -> None:
        """Hear that the model is awake now."""
        if self._over or self._backend is None:
            return
        gateway = self._front.gateway
        self._backend.meter.waited(gateway.loop.time() - self.arrived)
        self._backend = gateway.backends.get(self._backend.model, self._backend)  # it may move
        self._send()

    def on_rejected(self, error: LlmuxError) -> None:
        """Hear that it will not be in time, or not at all."""
        if self._over or self._backend is None:
            return
        self._backend.meter.waited(self._front.gateway.loop.time() - self.arrived)
        self._fail(error)

    # To the backend.

    def _send(self) -> None:
        """Ask the backend over an idle connection, or over a new one."""
        backend = self._backend
        self._retry = None
        if self._over or backend is None:
            return
        upstream = None if self._request.old else backend.take()
        if upstream is None:
            self._connect()
        else:
            self._ask(upstream)

    def _connect(self) -> None:
        assert self._backend is not None
        self._dial = self._backend.dial(self._on_dialled, chunks=not self._request.old)

    def _on_dialled(self, made: Upstream | OSError) -> None:
        self._dial = None
        if isinstance(made, Upstream):
            if self._over:
                made.close()
            else:
                self._ask(made)
        elif not self._over and not (
            isinstance(made, (ConnectionRefusedError, ConnectionResetError))
            and self._again_while_loading()
        ):
            what = (
                "did not take a connection in time"
                if isinstance(made, TimeoutError)
                else ("does not take connections")
            )
            self._suspect(BackendUnreachableError(f"The model's backend {what}."))

    def _ask(self, upstream: Upstream) -> None:
        request = self._request
        body = request.body
        self._upstream = upstream
        known = request.known
        if known is not None:
            start, length = known.start_for(upstream.backend.host_line), request.digits
        else:
            start, length = request_start(request, upstream.backend.host_line), b"%d" % len(body)
        if len(body) <= _LARGE:
            head = b"".join((start, length, _VIA, request.request_id, _END, body))
            upstream.send(self, head, b"")
        else:
            head = b"".join((start, length, _VIA, request.request_id, _END))
            upstream.send(self, head, body)
        if self._front.paused:
            upstream.pause()

    def _again_while_loading(self) -> bool:
        """Ask again soon, if the backend may still be loading after its wake."""
        gateway = self._front.gateway
        if not self._listed or self.proven or gateway.gate.loading(self) <= 0.0:
            return False
        self._upstream = None
        self._retry = gateway.loop.call_later(self._retry_after, self._send)
        self._retry_after = min(self._retry_after * 1.5, _LONGEST_RETRY)
        return True

    # From the backend.

    def on_interim(self, answer: AnswerReader) -> None:
        """Forward a 1xx, except a second 100 and any to HTTP/1.0."""
        request = self._request
        if not request.old and not (answer.status == 100 and request.continued):
            self.on_data(answer.lines + wire.CRLF)

    def on_head(self, upstream: Upstream) -> bytes | None:
        """Turn the backend's head into ours, unless it says that it is still loading."""
        backend = self._backend
        if not self._listed or backend is None:
            upstream.close()
            return None
        answer = upstream.answer
        status = answer.status
        gateway = self._front.gateway
        if not self.lane.proven:
            if status == 503:
                if self._again_while_loading():
                    upstream.close()
                    return None
            else:
                gateway.gate.answered(self)
        backend.meter.answered(status, gateway.loop.time() - self.arrived)
        self._started = True
        request = self._request
        if self.lane.pace is not None:
            self._most = most_tokens_in(request.body)
        request.body = b""
        known = request.known
        if (
            known is not None
            and known.ordinary
            and answer.counting
            and answer.has_date
            and self.keep_alive
            and not gateway.stopping
        ):
            return b"".join((answer.lines, _LENGTH, answer.digits, _ID, request.request_id, _END))
        if gateway.stopping or (request.old and answer.framing in UNTOLD):
            self.keep_alive = False
        date = b"" if answer.has_date else b"date: %b\r\n" % gateway.date()
        return answer_head(request, answer, date, self.keep_alive)

    def on_switch(self, upstream: Upstream, rest: bytes) -> None:
        """Open the tunnel that the client asked for; from now on bytes flow raw both ways."""
        request = self._request
        answer = upstream.answer
        if request.upgrade is None or answer.upgrade is None or self._backend is None:
            upstream.close()
            self._fail(
                BackendUnreachableError("The model's backend left HTTP without being asked.")
            )
            return
        if not self._front.open_tunnel(self):
            self.keep_alive = False
            self._fail(BadRequestError("More of HTTP came behind a request to leave it."))
            return
        gateway = self._front.gateway
        if self._listed and not self.proven:
            gateway.gate.answered(self)
        self._backend.meter.answered(101, gateway.loop.time() - self.arrived)
        self._started = self._tunnel = True
        self.keep_alive = False
        upgrade = b"connection: upgrade\r\nupgrade: %b\r\n\r\n" % answer.upgrade
        self.on_data(answer.lines + upgrade + rest)

    def on_broken(self, upstream: Upstream, reason: str) -> None:
        """Ask once more if nothing can have been processed, else say or show that it broke."""
        self._upstream = None
        if self._over:
            return
        if self._started:
            error = BackendUnreachableError(f"The model's backend failed in its answer: {reason}.")
            self._tell_cut(error.code, upstream)
            self._last_word(upstream, error)
            self._break_off(upstream)
        elif upstream.reused and upstream.silent and not self._retried:
            self._retried = True
            self._connect()
        else:
            self._suspect(BackendUnreachableError(f"The model's backend failed: {reason}."))

    def on_lost(self, error: LlmuxError) -> None:
        """Hear that the backend hangs and is ended: wait for another wake if it gave nothing."""
        if self._over or self._started:
            self.cut(error)
            return
        self._let_go()
        self._suspect(error)

    def _suspect(self, error: LlmuxError) -> None:
        """Wait for another wake, once, if it is found out that the backend is dead."""
        if not self._listed or self._rescued:
            self._fail(error)
            return

        def told(dead: bool) -> None:
            if self._over:
                return
            if not dead:
                self._fail(error)
                return
            self._retried = False
            self._front.gateway.gate.rejoin(self)

        self._rescued = True
        self._front.gateway.gate.suspect(self, told)

    def on_writable(self, writable: bool) -> None:
        """Pass a tunnel's back-pressure on to the client."""
        self._front.hold(not writable)

    # From the client.

    def from_client(self, data: bytes) -> None:
        """Take raw bytes of a tunnel."""
        if self._upstream is not None:
            self._upstream.write(data)

    def on_client_writable(self, writable: bool) -> None:
        """Pass the client's back-pressure on to the backend."""
        if self._upstream is not None:
            if writable:
                self._upstream.resume()
            else:
                self._upstream.pause()


def both(one: type[Exchange], other: type[Exchange]) -> type[Exchange]:
    """Return a class that does what both do to an exchange, first what `one` does."""
    if issubclass(one, other):
        return one
    made: type[Exchange] = type("Exchange", (one, other), {"__slots__": ()})
    return made
