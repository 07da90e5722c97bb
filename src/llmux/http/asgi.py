"""The switching layer for other people's ASGI apps, over the same upstream class.

`SwitchLayer` is a plain callable around any ASGI app: a request whose JSON body names a registered
model waits for it and is relayed to its backend, everything else goes to the wrapped app. It
refuses to know how the process is served and what the other app does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from llmux.core.news import CLIENT_STALL, AnswerCut
from llmux.core.priority import weight
from llmux.core.ticket import INSIDE, Ticket
from llmux.errors import BackendUnreachableError, BodyTooLargeError, LlmuxError
from llmux.http import dialects
from llmux.http.announce import named
from llmux.http.asgi_answer import BrokenAnswerError, HeldAnswer
from llmux.http.asgi_messages import (
    CALLER,
    App,
    Message,
    Receive,
    Scope,
    Send,
    disconnected,
    has_body,
    is_json,
    read_body,
    replay,
    request_head,
    said,
    send_error,
)
from llmux.http.backend import Backend
from llmux.http.gate import Meter
from llmux.http.limits import Limits
from llmux.http.look import model_in, most_tokens_in
from llmux.http.refusals import refuse_model
from llmux.http.tools import ToolWatch, offers_tools
from llmux.http.upstream import Upstream
from llmux.runtime.switcher import ModelSwitcher

__all__ = ["App", "Message", "Receive", "Scope", "Send", "SwitchLayer"]

_RETRY_SECONDS: Final = 0.1
"""Pause between two tries at a backend that still loads."""


class _NoMeter:
    """Counts nothing."""

    at_once = 0

    def waited(self, seconds: float) -> None:
        """Ignore it."""

    def answered(self, status: int, seconds: float) -> None:
        """Ignore it."""


class _Asked(Ticket):
    """A ticket that knows its request's body, which is held until the answer is over anyway."""

    __slots__ = ("body", "calls_tool", "then")

    def __init__(self, switcher: ModelSwitcher, model: str, body: bytes) -> None:
        super().__init__(switcher.board.lane(model))
        switcher.enrol(self, model)
        self.body = body
        self.then: str | None = None
        """The model that its client says it asks for next."""
        self.calls_tool = False
        """Its answer calls a tool."""
        self.size = len(body)

    def most_tokens(self) -> int | None:
        """Look into the body for the tokens that the client allows."""
        return most_tokens_in(self.body)


class SwitchLayer:
    """ASGI middleware: relays what names a registered model, hands on everything else.

    `limits` bounds the body that is looked into (a longer one that names a model is refused with
    413) and the waits for the backend, `limits_for` those of one model. `meter_for` counts requests
    per model, `tell` hears of each answer that ends before its end.
    """

    def __init__(
        self,
        app: App,
        switcher: ModelSwitcher,
        *,
        limits: Limits | None = None,
        meter_for: Callable[[str], Meter] = lambda _: _NoMeter(),
        limits_for: Callable[[str], Limits] | None = None,
        tell: Callable[[AnswerCut], None] = lambda news: None,
    ) -> None:
        self.app = app
        self.switcher = switcher
        self.limits = limits or Limits()
        self._meter_for = meter_for
        self._tell = tell
        self._limits_for = limits_for or (lambda _: self.limits)
        self._backends: dict[str, Backend] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope of ASGI."""
        if scope["type"] != "http" or not has_body(scope["headers"]):
            await self.app(scope, receive, send)
            return
        body, whole, read = await read_body(receive, self.limits.max_body_bytes)
        model = model_in(body) if body and whole else None
        if not whole and is_json(scope["headers"]):
            path: bytes = scope["path"].encode()
            error = BodyTooLargeError(f"the body has more than {self.limits.max_body_bytes} bytes")
            await send_error(send, path, error)
        elif model is not None and (who := scope.get(CALLER)) and not who.may_use(model):
            await send_error(send, scope["path"].encode(), refuse_model(model))
        elif model is None or not self.switcher.is_registered(model):
            await self.app(scope, replay(read, receive), send)
        else:
            await self._serve(scope, receive, send, model, body)

    def flush(self, model: str) -> None:
        """Close the idle connections to a model that goes to sleep."""
        if model in self._backends:
            self._backends[model].flush()

    async def close(self) -> None:
        """Close all connections to backends. Harmless twice."""
        for backend in self._backends.values():
            await backend.shut()

    def _backend(self, model: str) -> Backend:
        backend = self._backends.get(model)
        port = self.switcher.model_port(model) or 0
        if backend is None or backend.port != port:
            if backend is not None:
                backend.flush()
            loop = asyncio.get_running_loop()
            limits, meter = self._limits_for(model), self._meter_for(model)
            backend = self._backends[model] = Backend(loop, model, port, limits, meter)
        backend.expire(backend.loop.time())
        return backend

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, model: str, body: bytes
    ) -> None:
        """Answer, unless the client leaves first: then everything is given back at once."""
        work = asyncio.create_task(self._answer(scope, send, model, body))
        gone = asyncio.create_task(disconnected(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _answer(self, scope: Scope, send: Send, model: str, body: bytes) -> None:
        switcher = self.switcher
        loop = asyncio.get_running_loop()
        path: bytes = scope["path"].encode()
        meter = self._backend(model).meter
        ticket = _Asked(switcher, model, body)
        cut: list[LlmuxError] = []
        answer: HeldAnswer | None = None

        def on_lost(error: LlmuxError) -> None:
            if answer is not None:
                answer.cut(error.message)

        def on_cut(error: LlmuxError) -> None:
            cut.append(error)
            on_lost(error)

        def asked(one: HeldAnswer) -> None:
            nonlocal answer
            answer = one

        ticket.on_cut, ticket.on_lost = on_cut, on_lost
        started = False
        try:
            self._heed(ticket, scope)
            await switcher.admission(ticket)
            meter.waited(loop.time() - ticket.arrived)
            answer = await self._ask(scope, model, body, ticket, asked)
            meter.answered(answer.status, loop.time() - ticket.arrived)
            started = True
            await self._relay(send, answer, ticket)
            self._announce(ticket)
        except LlmuxError as error:
            if answer is not None and started:
                self._tell_cut(model, error.code, answer)
                await _last_word(send, path, answer, error)
                raise BrokenAnswerError(error.message) from error
            meter.answered(error.status, loop.time() - ticket.arrived)
            await send_error(send, path, cut[0] if cut else error)
        except BrokenAnswerError as broken:
            if answer is None or answer.broken is None:
                self._tell_cut(model, CLIENT_STALL, answer)
                raise
            why = cut[0] if cut else BackendUnreachableError(str(broken))
            self._tell_cut(model, why.code, answer)
            await _last_word(send, path, answer, why)
            raise
        finally:
            if answer is not None:
                answer.close()
            switcher.leave(ticket)

    def _tell_cut(self, model: str, reason: str, answer: HeldAnswer | None) -> None:
        shown = b"" if answer is None else answer.request_id
        self._tell(AnswerCut(model, reason, shown.decode("latin-1")))

    def _heed(self, ticket: _Asked, scope: Scope) -> None:
        """Read what the request says about itself beside its model; LlmuxError if it may not."""
        fields, caller = scope["headers"], scope.get(CALLER)
        announced = said(fields, b"x-llmux-next")
        ticket.then = None if announced is None else named(announced, self.switcher, caller)
        granted = None if caller is None else caller.priority
        ticket.weight = weight(ticket.weight, _priority(fields), granted)

    def _announce(self, ticket: _Asked) -> None:
        """Close the books on a whole answer, and tell what its client asks next."""
        then = ticket.then
        if then == ticket.model or (then is None and ticket.calls_tool):
            self.switcher.returning(ticket)
        self.switcher.leave(ticket)
        if then is not None and then != ticket.model:
            self.switcher.announce(then)

    async def _relay(self, send: Send, answer: HeldAnswer, ticket: _Asked) -> None:
        """Hand the answer on, within the bounds for a silent backend and a client that stalls.

        The ticket knows afterwards whether it calls a tool, if the policy wants that.
        """
        limits = self._backend(ticket.model).limits
        reads = self.switcher.policy.reads_tool_calls and offers_tools(ticket.body)
        watch = ToolWatch(_ignore) if reads and answer.status < 300 else None

        async def give(message: Message) -> None:
            try:
                async with asyncio.timeout(limits.client_stall_timeout_secs):
                    await send(message)
            except TimeoutError:
                raise BrokenAnswerError("the client takes nothing of its answer") from None

        start = {"type": "http.response.start", "status": answer.status, "headers": answer.fields}
        await give(start)
        while (piece := await answer.piece(limits.stream_idle_timeout_secs)) is not None:
            if watch is not None:
                watch(piece)
            await give({"type": "http.response.body", "body": piece, "more_body": True})
        await give({"type": "http.response.body", "body": b""})
        ticket.calls_tool = watch is not None and watch.found

    async def _ask(
        self,
        scope: Scope,
        model: str,
        body: bytes,
        ticket: Ticket,
        asked: Callable[[HeldAnswer], None],
    ) -> HeldAnswer:
        """Ask the backend until it gives a head: again while it loads, once after its death.

        `asked` is told of each try, so that it can be cut.
        """
        switcher, backend = self.switcher, self._backend(model)
        head = request_head(scope, backend.host_line, len(body))
        rescued = retried = False
        while True:
            answer = HeldAnswer(scope["method"] == "HEAD")
            asked(answer)
            upstream = backend.take()
            reused = upstream is not None
            made: Upstream | OSError = upstream or await _dial(backend)
            if isinstance(made, Upstream):
                answer.upstream = made
                made.send(answer, head, body)
                try:
                    got = await answer.head(backend.limits.first_byte_timeout_secs)
                except BaseException:
                    answer.close()
                    raise
                if got and not (answer.status == 503 and switcher.loading(ticket) > 0):
                    if answer.status != 503 and not ticket.proven:
                        switcher.answered(ticket)
                    return answer
                answer.close()
                if not got and reused and made.silent and not retried and ticket.stage == INSIDE:
                    retried = True
                    continue
                error = BackendUnreachableError(f"The model's backend failed: {answer.broken}.")
                loads = got
            else:
                error = BackendUnreachableError("The model's backend does not take connections.")
                loads = isinstance(made, ConnectionRefusedError)
            if loads and switcher.loading(ticket) > 0:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if rescued or not await switcher.dead(ticket):
                raise error
            rescued = True
            await switcher.readmission(ticket)


async def _dial(backend: Backend) -> Upstream | OSError:
    made: asyncio.Future[Upstream | OSError] = backend.loop.create_future()

    def done(result: Upstream | OSError) -> None:
        if not made.done():
            made.set_result(result)
        elif isinstance(result, Upstream):
            result.close()

    task = backend.dial(done, chunks=False)
    try:
        return await made
    finally:
        if not made.done():
            task.cancel()


async def _last_word(send: Send, path: bytes, answer: HeldAnswer, error: LlmuxError) -> None:
    """Say in a stream why it breaks off here, where one more piece would be read as one.

    The body is left open, so that the server has to break it.
    """
    reader = answer.reader
    ends = () if reader is None else dialects.ends_of_pieces(reader.content_type)
    if reader is None or not ends or not reader.ends_in(*ends):
        return
    frame = dialects.error_frame(path, reader.content_type, error, answer.request_id)
    await send({"type": "http.response.body", "body": frame, "more_body": True})


def _priority(fields: Iterable[tuple[bytes, bytes]]) -> str | None:
    asked = said(fields, b"x-llmux-priority")
    return None if asked is None else asked.decode("latin-1")


def _ignore(data: bytes) -> None:
    """Do nothing: the piece goes another way."""
