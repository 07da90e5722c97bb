"""How each kind of client wants to hear of an error.

An OpenAI client reads `error` as an object, an Anthropic client wants `type: error` around it and
Ollama's wants a text; the path tells them apart. This file refuses to know which errors exist:
it asks an error for its status, its code and its sentence.
"""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from llmux.errors import LlmuxError

_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    431: "invalid_request_error",
    503: "overloaded_error",
    504: "timeout_error",
}
MESSAGES: Final = b"/v1/messages"
"""Where Anthropic's clients ask."""
_PIECES: Final = {
    b"text/event-stream": (b"\n\n", b"\r\n\r\n"),
    b"application/x-ndjson": (b"\n",),
    b"application/ndjson": (b"\n",),
    b"application/jsonl": (b"\n",),
}
_ANY_ID: Final = re.compile(rb"^(x-)?request-id:[ \t]*([^\r]*)", re.IGNORECASE | re.MULTILINE)
_LONGEST_RETRY_AFTER: Final = 60.0
"""openai-python ignores a longer `Retry-After` altogether."""


def _is_anthropic(path: bytes) -> bool:
    return path == MESSAGES or path.startswith(b"/v1/messages/")


def error_body(path: bytes, error: LlmuxError, request_id: bytes = b"") -> bytes:
    """Write the error as the clients of this path (without query) read it, as JSON.

    A `request_id` is added where each kind of client keeps it: for errors behind a head that is
    gone already.
    """
    known = {"request_id": request_id.decode("latin-1")} if request_id else {}
    value: dict[str, object]
    if _is_anthropic(path):
        kind = _ANTHROPIC_TYPES.get(error.status, "api_error")
        value = {"type": "error", "error": {"type": kind, "message": error.message}, **known}
    elif path.startswith(b"/api/"):
        value = {"error": error.message, **known}
    else:
        told = {"message": error.message, "type": "llmux_error", "param": None, "code": error.code}
        value = {"error": {**told, **known}}
    return msgspec.json.encode(value)


def ends_of_pieces(content_type: bytes) -> tuple[bytes, ...]:
    """Say in what a whole piece of such a stream ends; nothing for what is not a stream."""
    return _PIECES.get(content_type.partition(b";")[0].strip().lower(), ())


def error_frame(
    path: bytes, content_type: bytes, error: LlmuxError, request_id: bytes = b""
) -> bytes:
    """Write the error as the last piece of a stream: a server-sent event, or a line of JSON."""
    if ends_of_pieces(content_type) == (b"\n",):
        return error_body(path, error, request_id) + b"\n"
    event = b"event: error\n" if _is_anthropic(path) else b""
    return b"%bdata: %b\n\n" % (event, error_body(path, error, request_id))


def shown_id(lines: bytes, ours: bytes) -> bytes:
    """Return the request id that a client saw above an answer with these fields."""
    found: dict[bytes, bytes] = {name.lower(): id_ for name, id_ in _ANY_ID.findall(lines)}
    return found.get(b"x-", ours)


def request_id_line(lines: bytes, ours: bytes) -> bytes:
    """Write the field in which Anthropic's clients look for the id, unless the backend has.

    `lines` are the backend's fields; its own id goes before ours.
    """
    found = {name.lower(): value for name, value in _ANY_ID.findall(lines)}
    return b"" if b"" in found else b"request-id: %b\r\n" % found.get(b"x-", ours)


def error_fields(error: LlmuxError) -> bytes:
    """Write the header lines that tell machines whether and when to ask again."""
    lines = [b"x-llmux-error: 1\r\n"]
    if error.status == 401:
        lines.append(b'www-authenticate: Bearer realm="llmux"\r\n')
    if error.retryable is False:
        lines.append(b"x-should-retry: false\r\n")
    if error.retry_after is not None:
        seconds = max(1.0, min(error.retry_after, _LONGEST_RETRY_AFTER))
        lines.append(b"retry-after: %d\r\n" % math.ceil(seconds))
        lines.append(b"retry-after-ms: %d\r\n" % math.ceil(seconds * 1000))
    return b"".join(lines)
