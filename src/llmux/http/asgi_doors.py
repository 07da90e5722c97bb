"""The doors as an ASGI layer: what `front` asks of every head, for servers that are not ours.

A plain callable around an app. Who may not come in is answered here; to the others the app is
called without the credentials that were ours, and finds who they are as `llmux.caller` in the
scope. This file refuses to know which keys there are.
"""

from __future__ import annotations

import time

from llmux.http.asgi_messages import CALLER, App, Message, Receive, Scope, Send, pairs, send_error
from llmux.http.doors import CREDENTIALS, WATCHED, Doors, Entry


class DoorLayer:
    """ASGI middleware: lets in whom the doors let in."""

    def __init__(self, app: App, doors: Doors) -> None:
        self.app = app
        self.doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope of ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        self.doors.look(time.monotonic())
        fields: list[tuple[bytes, bytes]] = [(n.lower(), v) for n, v in scope["headers"]]
        host = next((value for name, value in fields if name == b"host"), b"")
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        method = scope.get("method", "GET").encode()
        noted = [field for field in fields if field[0] in WATCHED]
        entry = self.doors.judge(method, path, host, noted)
        if entry.error is not None and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif entry.error is not None:
            await send_error(send, path, entry.error, pairs(entry.cors))
        elif entry.preflight:
            start = {"type": "http.response.start", "status": 204, "headers": pairs(entry.cors)}
            await send(start)
            await send({"type": "http.response.body", "body": b""})
        else:
            if entry.strip:
                fields = [field for field in fields if field[0] not in CREDENTIALS]
            inner = {**scope, "headers": fields, CALLER: entry.caller}
            await self.app(inner, receive, _readable(send, entry) if entry.cors else send)


def _readable(send: Send, entry: Entry) -> Send:
    """Add to an answer what lets an allowed page read it, in place of what the app says."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                field
                for field in message.get("headers", ())
                if not field[0].lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": [*kept, *pairs(entry.cors)]}
        await send(message)

    return sending
