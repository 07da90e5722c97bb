"""What a request is once it was read: a `Request`, and what is kept of a head that may come again.

These are records: `reader` fills them, `relay` and `routes` read them. This file refuses to know
how bytes are parsed, and what becomes of a request.
"""

from __future__ import annotations

from llmux.errors import LlmuxError
from llmux.http.dialects import MESSAGES
from llmux.http.keys import Caller


class KnownRequest:
    """What a plain head means that was read before; its length is read anew each time.

    It asks for nothing but relaying: neither `upgrade` nor `max_forwards` is there.
    """

    __slots__ = ("caller", "host_line", "lines", "method", "ordinary", "path", "start", "target")

    def __init__(self, request: Request) -> None:
        self.method = request.method
        self.target = request.target
        self.path = request.path
        self.lines = request.lines
        self.caller = request.caller
        self.start = self.host_line = b""
        self.ordinary = request.path != MESSAGES
        """Its answer needs no field besides those that every answer gets."""

    def start_for(self, host_line: bytes) -> bytes:
        """Give the head for a backend up to its length; that of the last one is kept."""
        if self.host_line is not host_line:
            self.host_line = host_line
            parts = (self.method, b" ", self.target, host_line, self.lines, b"content-length: ")
            self.start = b"".join(parts)
        return self.start


class Request:
    """One request, read to its end; `error` says that it could not be."""

    __slots__ = (
        "body",
        "caller",
        "continued",
        "cors",
        "digits",
        "error",
        "keep_alive",
        "known",
        "lines",
        "max_forwards",
        "method",
        "next_model",
        "old",
        "path",
        "priority",
        "request_id",
        "target",
        "upgrade",
    )

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        """In origin form, to the byte as it came."""
        self.path = b""
        """The target without its query."""
        self.lines = b""
        """The fields that may be forwarded, each with its CRLF."""
        self.body = b""
        self.old = False
        """The client speaks HTTP/1.0."""
        self.keep_alive = False
        self.continued = False
        """It was told `100 Continue`."""
        self.upgrade: bytes | None = None
        self.max_forwards: int | None = None
        self.known: KnownRequest | None = None
        """Its head was read before."""
        self.digits = b""
        """Its length as text, where its head is known."""
        self.priority: bytes | None = None
        """What its `x-llmux-priority` says, unread."""
        self.next_model: bytes | None = None
        """What its `x-llmux-next` says, unread."""
        self.request_id = b""
        self.caller: Caller | None = None
        """Who sends it, None where nobody has to say."""
        self.cors = b""
        """Lines for its answer that let an allowed page read it."""
        self.error: LlmuxError | None = None
