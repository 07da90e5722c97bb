"""What the switching layer wraps where there is no other app: own routes, 404, and a lifespan."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from llmux.errors import LlmuxError
from llmux.http.asgi_messages import CALLER, App, Receive, Scope, Send, pairs, send_error
from llmux.http.doors import SHIELD
from llmux.http.gate import Meter
from llmux.http.refusals import unknown_model
from llmux.http.request import Request
from llmux.http.routes import Routes


class OwnRoutes:
    """An ASGI app of the gateway's own routes; every other path names no model: 404."""

    def __init__(self, routes: Routes, unknown: Meter) -> None:
        self._routes = routes
        self._unknown = unknown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request()
        request.method = scope["method"].encode()
        request.path = scope.get("raw_path") or scope["path"].encode()
        request.caller = scope.get(CALLER)
        request.target = request.path + b"?" + scope.get("query_string", b"")
        handler = self._routes.find(request.path)
        try:
            if handler is None:
                raise unknown_model(None)
            answer = self._routes.answer(handler, request)
        except LlmuxError as error:
            self._unknown.answered(error.status, 0.0)
            await send_error(send, request.path, error)
            return
        fields = [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            *pairs(answer.fields + SHIELD),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        body = b"" if request.method == b"HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})


class Lifespan:
    """An ASGI app with a beginning and an end around another one."""

    def __init__(
        self, app: App, begin: Callable[[], Awaitable[None]], end: Callable[[], Awaitable[None]]
    ) -> None:
        self._app = app
        self._begin = begin
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope; `lifespan` begins and ends."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._begin()
                except (LlmuxError, OSError) as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._end()
                await send({"type": "lifespan.shutdown.complete"})
                return
