"""What ASGI's scopes and messages hold for a relay, and how answers of our own are written in them.

It refuses to know models, switching and the apps around it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from llmux.errors import LlmuxError
from llmux.http import dialects, wire
from llmux.http.doors import SHIELD

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CALLER: Final = "llmux.caller"
"""The key in a scope under which `DoorLayer` leaves who sends a request."""


def request_head(scope: Scope, host_line: bytes, length: int) -> bytes:
    """Write the head for a backend: the client's fields less what belongs to its connection."""
    dropped = set(wire.HOP_BY_HOP) | {b"host", b"content-length", b"expect", b"x-llmux-priority"}
    dropped.add(b"x-llmux-next")
    fields: Iterable[tuple[bytes, bytes]] = scope["headers"]
    for name, value in fields:
        if name.lower() == b"connection":
            dropped |= {token.strip().lower() for token in value.split(b",")}
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string") or b""
    target = raw + (b"?" + query if query else b"")
    lines = [scope["method"].encode(), b" ", target, host_line]
    lines += [b"%b: %b\r\n" % field for field in fields if field[0].lower() not in dropped]
    lines.append(b"content-length: %d\r\nvia: 1.1 llmux\r\n\r\n" % length)
    return b"".join(lines)


def said(fields: Iterable[tuple[bytes, bytes]], field: bytes) -> bytes | None:
    """Return what a field says, its repetitions joined by commas; None where it is absent."""
    values = [value for name, value in fields if name.lower() == field]
    return b", ".join(values) if values else None


def has_body(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Say whether a request with these fields brings a body."""
    return any(
        name.lower() == b"transfer-encoding"
        or (name.lower() == b"content-length" and value != b"0")
        for name, value in fields
    )


def is_json(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Say whether its body is called JSON of some kind."""
    return any(
        name.lower() == b"content-type" and b"json" in value.lower() for name, value in fields
    )


async def read_body(receive: Receive, most: int | None) -> tuple[bytes, bool, list[Message]]:
    """Read a body up to `most` bytes; gives it, whether that is all, and the messages read."""
    pieces: list[bytes] = []
    read: list[Message] = []
    size = 0
    while True:
        message = await receive()
        read.append(message)
        if message["type"] != "http.request":
            return b"".join(pieces), False, read
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if most is not None and size > most:
            return b"", False, read
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces), True, read


def replay(read: list[Message], receive: Receive) -> Receive:
    """Give the wrapped app the messages that were read already, then the rest."""
    left = deque(read)

    async def again() -> Message:
        return left.popleft() if left else await receive()

    return again


async def disconnected(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Split header lines, each with its CRLF, into what ASGI wants."""
    found = []
    for line in lines.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b": ")
            found.append((name, value))
    return found


async def send_error(
    send: Send, path: bytes, error: LlmuxError, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with an error in the dialect of the path (without query), with `more` fields."""
    body = dialects.error_body(path, error)
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    fields += pairs(dialects.error_fields(error) + SHIELD)
    fields += more
    await send({"type": "http.response.start", "status": error.status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
