"""Reading the head of a request: which fields it has, what of them is kept, whether it may pass.

`HeadReader` is what llhttp calls until a head is whole; `strict` has the rules of HTTP that llhttp
leaves to its host. It refuses to know how bodies are read and how bytes come: `reader` does.
"""

from __future__ import annotations

from typing import Final

import httptools

from llmux.errors import BadRequestError, BodyTooLargeError, HeadersTooLargeError
from llmux.http import strict, wire
from llmux.http.chunks import Claims
from llmux.http.doors import CREDENTIALS, WATCHED, Doors
from llmux.http.known import Memo
from llmux.http.limits import Limits
from llmux.http.request import KnownRequest, Request

_OVERHEAD: Final = 20
"""Bytes of a request line besides its target, roughly."""


class HeadReader:
    """Holds the request that is being read, and judges its head by the doors and the bounds."""

    __slots__ = (
        "_bounds",
        "_bytes_in_feed",
        "_candidate",
        "_chunks",
        "_claims",
        "_connection",
        "_doors",
        "_dropped",
        "_expect",
        "_fields",
        "_host",
        "_hosts",
        "_known",
        "_length",
        "_muted",
        "_noted",
        "_parser",
        "_received",
        "_request",
        "_saw_upgrade",
        "_te",
        "_upgrading",
        "expecting",
        "in_body",
        "in_head",
    )

    def __init__(
        self, limits: Limits, known: Memo[KnownRequest] | None, doors: Doors | None
    ) -> None:
        self._bounds = limits
        self._doors = doors or Doors()
        self._known = Memo() if known is None else known
        self._candidate: tuple[bytes, bytes] | None = None
        self._parser = httptools.HttpRequestParser(self)
        self.expecting = False
        """The client waits for `100 Continue` before it sends its body."""
        self.in_head = False
        self.in_body = False
        self._muted = False
        """The head is one of our own, for llhttp to read the body behind it."""
        self._bytes_in_feed = 0
        self._start()

    def _start(self) -> None:
        """Forget the request before this one."""
        self._request = Request()
        self._fields: list[bytes] = []
        self._noted: list[tuple[bytes, bytes]] = []
        self._host = b""
        self._hosts = 0
        self._te = 0
        self._connection: bytes | None = None
        self._expect: bytes | None = None
        self._length = 0
        self._dropped = 0
        self._received = 0
        self._upgrading = False
        self._saw_upgrade = False
        self._chunks: list[bytes] | None = None
        self._claims: Claims | None = None

    # What llhttp calls until a head is whole.

    def on_message_begin(self) -> None:
        """Hear that the first byte of a request is there."""
        self.in_head = True

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field; those of trailers are dropped."""
        if self.in_body:
            return
        key = name.lower()
        if key in _SPECIAL:
            if key in WATCHED:
                self._fields += (name, b": ", value, b"\r\n")
                if key not in CREDENTIALS or self._doors.guarded:
                    self._noted.append((key, value))
                return
            self._dropped += len(name) + len(value) + 4
            self._take_special(key, name, value)
        else:
            self._fields += (name, b": ", value, b"\r\n")

    def _take_special(  # noqa: PLR0912 -- one branch a field
        self, key: bytes, name: bytes, value: bytes
    ) -> None:
        if key == b"host":
            self._hosts += 1
            self._host = value
        elif key == b"content-length":
            self._length = int(value)
        elif key == b"x-request-id":
            if not self._request.request_id and wire.is_request_id(value):
                self._request.request_id = value
        elif key == b"connection":
            old = self._connection
            self._connection = value if old is None else old + b"," + value
        elif key == b"transfer-encoding":
            self._te += 1
            self._claims = Claims()
            if value.strip(b" \t").lower() != b"chunked" or self._te > 1:
                raise BadRequestError("The only Transfer-Encoding read here is `chunked`.")
        elif key == b"expect":
            self._expect = value.lower()
        elif key == b"upgrade":
            self._request.upgrade = value
            self._saw_upgrade = True
        elif key == b"x-llmux-priority":
            said = self._request.priority
            self._request.priority = value if said is None else said + b", " + value
        elif key == b"x-llmux-next":
            said = self._request.next_model
            self._request.next_model = value if said is None else said + b", " + value
        elif key == b"max-forwards":
            if value.isdigit() and self._parser.get_method() in (b"OPTIONS", b"TRACE"):
                self._request.max_forwards = int(value[:9])
            else:
                self._fields += (name, b": ", value, b"\r\n")

    def on_headers_complete(self) -> None:
        """Judge the head; raises the error that its request will be answered with."""
        if self._muted:
            return
        request = self._request
        self.in_head = False
        self.in_body = True
        parser = self._parser
        request.method = parser.get_method()
        bound = self._bounds.max_header_bytes
        if bound is not None and self._bytes_in_feed > bound and self._measure() > bound:
            raise self._head_too_large()
        strict.judge_version(request, parser.get_http_version(), self._te)
        strict.judge_host(request, self._host, self._hosts)
        strict.judge_target(request)
        if self._connection is not None:
            self._fields = strict.judge_connection(request, self._connection, self._fields)
        if not parser.should_keep_alive():  # by Proxy-Connection, too: it reads no further
            request.keep_alive = False
        if request.upgrade is not None:
            has_body = self._length > 0 or self._te > 0
            self._upgrading = has_body and parser.should_upgrade()
            strict.judge_upgrade(request, self._connection or b"")
        self._judge_caller(request)
        request.lines = b"".join(self._fields)
        if not request.request_id:
            if self._candidate is not None and self._is_plain(request):
                self._known.put(*self._candidate, KnownRequest(request))
            request.request_id = wire.new_request_id()
        self._candidate = None
        most = self._bounds.max_body_bytes
        if most is not None and self._length > most:
            raise self._body_too_large()
        if self._expect is not None and not request.old:
            if self._expect != b"100-continue":
                raise BadRequestError("The only expectation met here is `100-continue`.")
            self.expecting = self._length > 0 or self._te > 0

    # Rules.

    def _judge_caller(self, request: Request) -> None:
        """Ask the doors who sends this, and whether it may come in."""
        if not self._noted and not self._doors.guarded:
            return
        entry = self._doors.judge(request.method, request.path, self._host, self._noted)
        request.caller = entry.caller
        request.cors = entry.cors
        if entry.error is not None:
            raise entry.error
        if entry.preflight:
            request.max_forwards = 0  # a browser's question to us is not for a backend
        if entry.strip:
            self._fields = wire.without(self._fields, CREDENTIALS)

    def _is_plain(self, request: Request) -> bool:
        """Whether nothing in this head asks for more than relaying and keeping the connection."""
        return (
            request.keep_alive
            and not request.old
            and request.max_forwards is None
            and not request.cors
            and self._te == 0
            and self._expect is None
            and request.priority is None
            and request.next_model is None
            and not self._saw_upgrade
        )

    def _measure(self) -> int:
        request = self._request
        return _OVERHEAD + len(request.target) + self._dropped + sum(map(len, self._fields))

    def _head_too_large(self) -> HeadersTooLargeError:
        return HeadersTooLargeError(
            f"The head of the request is larger than {self._bounds.max_header_bytes} bytes."
        )

    def _body_too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(
            f"The body of the request is larger than {self._bounds.max_body_bytes} bytes."
        )


_SPECIAL: Final = wire.HOP_BY_HOP | {
    b"content-length",
    b"expect",
    b"host",
    b"max-forwards",
    b"x-llmux-next",
    b"x-llmux-priority",
    b"x-request-id",
    *WATCHED,
}
