"""Reading requests from a client's bytes, as strictly as RFC 9110 and 9112 ask.

llhttp does the parsing, `strict` has the rules that it leaves to its host; here stand the bounds,
and what of a head is worth keeping. One `RequestReader` lives as long as its connection and queues
whole requests. It refuses to know sockets, models and answers; what cannot be read becomes a
`Request` that carries its error, so that answers keep their order.
"""

from __future__ import annotations

from typing import Final

import httptools

from llmux.errors import (
    BadRequestError,
    BodyTooLargeError,
    HeadersTooLargeError,
    LlmuxError,
)
from llmux.http import strict, wire
from llmux.http.chunks import Claims
from llmux.http.doors import CREDENTIALS, WATCHED, Doors
from llmux.http.known import ZERO, Known, Memo, halves
from llmux.http.limits import Limits
from llmux.http.request import KnownRequest, Request

_OVERHEAD: Final = 20
"""Bytes of a request line besides its target, roughly."""


class RequestReader:
    """Turns a connection's bytes into `queue`, a line of whole requests."""

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
        "_head_bytes",
        "_host",
        "_hosts",
        "_known",
        "_latest",
        "_left",
        "_length",
        "_muted",
        "_noted",
        "_parser",
        "_received",
        "_request",
        "_saw_upgrade",
        "_spare",
        "_te",
        "_upgrading",
        "broken",
        "expecting",
        "in_body",
        "in_head",
        "queue",
        "queued_bytes",
    )

    def __init__(
        self,
        limits: Limits,
        known: Memo[KnownRequest] | None = None,
        doors: Doors | None = None,
    ) -> None:
        self._bounds = limits
        self._doors = doors or Doors()
        self._known = Memo() if known is None else known
        self._latest: Known[KnownRequest] | None = None
        self._spare: Request | None = None
        self._candidate: tuple[bytes, bytes] | None = None
        self._left = 0
        self._parser = httptools.HttpRequestParser(self)
        self.queue: list[Request] = []  # short, and a tenth of an empty deque
        self.queued_bytes = 0
        """Bytes of the bodies in `queue`."""
        self.broken = False
        """Nothing more can be read here: the last request in the queue says why."""
        self.expecting = False
        """The client waits for `100 Continue` before it sends its body."""
        self._muted = False
        self.in_head = False
        self.in_body = False
        self._head_bytes = 0
        self._bytes_in_feed = 0
        self._start()

    def _start(self) -> None:
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

    def whole(self, data: bytes) -> Request | None:
        """Give the request that `data` is, if it came whole behind a head that was read before.

        For None, `feed` is to be asked. What is given holds until the next call: a connection has
        one such request at a time, so that they need only one object.
        """
        known = self._latest
        if known is None or self.in_head or self.in_body or self.queue or self.broken:
            return None
        if known.era != self._known.era or data[: known.at] != known.before:
            return None
        at, stop, size = known.at, known.guess, known.size
        if data[stop : stop + size] != known.after:
            stop = known.guess = data.find(known.after, at, at + known.reach)
        digits = data[at:stop]
        if stop < 0 or not digits.isdigit() or digits[0] == ZERO:
            known.guess = at + 1
            return None
        body = data[stop + size :]
        most = self._bounds.max_body_bytes
        if len(body) != int(digits) or (most is not None and len(body) > most):
            return None
        request = self._spare
        if request is None:
            request = self._spare = self._made(known.meaning)
        request.body = body
        request.digits = digits
        request.request_id = wire.new_request_id()
        return request

    def feed(self, data: bytes) -> None:
        """Take bytes from the client; whole requests, and errors as requests, join the queue."""
        if self._left:
            data = self._count(data)
        elif not self.in_head and not self.in_body and not self.broken:
            data = self._recognize(data)
        while data and not self.broken:
            began_before = self.in_head
            amid, queued = self.in_body, len(self.queue)
            self._bytes_in_feed = self._head_bytes + len(data)
            rest = b""
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                rest = data[upgrade.args[0] :]
                if self._upgrading:
                    self._expect_body()
            except httptools.HttpParserCallbackError as wrapped:
                cause = wrapped.__context__
                if not isinstance(cause, LlmuxError):
                    raise
                self.refuse(cause)
            except httptools.HttpParserError as error:
                self.refuse(BadRequestError(f"The request cannot be read as HTTP: {error}."))
            if self.in_head:
                alone = began_before or not (amid or len(self.queue) > queued)
                self._head_bytes = self._bytes_in_feed if alone else self._measure()
                bound = self._bounds.max_header_bytes
                if bound is not None and self._head_bytes > bound:
                    self.refuse(self._head_too_large())
            else:
                self._head_bytes = 0
                if self._claims is not None:
                    self._judge_claims(self._claims, data)
            data = rest
        self._candidate = None

    def _recognize(self, data: bytes) -> bytes:
        """Take a request whose head was read before, and give what has to be parsed."""
        end = data.find(b"\r\n\r\n") + 4
        cut = halves(data, end)
        if cut is None:
            return data
        before, digits, after = cut
        known = self._known.find(before, after)
        if known is None:
            self._candidate = before, after
            return data
        length = int(digits)
        most = self._bounds.max_body_bytes
        if most is not None and length > most:
            return data
        if self._latest is not known:
            self._latest = known
            self._spare = None
        self._request = self._made(known.meaning)
        self._request.digits = digits
        self._left = length
        self.in_body = True
        return self._count(data[end:])

    def _made(self, known: KnownRequest) -> Request:
        request = Request()
        request.known = known
        request.method = known.method
        request.target = known.target
        request.path = known.path
        request.lines = known.lines
        request.caller = known.caller
        request.keep_alive = True
        request.request_id = wire.new_request_id()
        return request

    def _count(self, data: bytes) -> bytes:
        """Take the body of a known head, or a piece of it, and give what came behind it."""
        left = self._left
        self._left = max(0, left - len(data))
        rest = b""
        if len(data) > left:
            data, rest = data[:left], data[left:]
        self.on_body(data)
        if not self._left:
            self.on_message_complete()
        return rest

    def _expect_body(self) -> None:
        """Read the body of a request to upgrade, which llhttp takes for the other protocol."""
        request = self._request
        target = request.target
        self._parser = httptools.HttpRequestParser(self)
        self._muted = True
        if self._te:
            self._parser.feed_data(b"POST * HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        else:
            self._parser.feed_data(b"POST * HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % self._length)
        self._muted = self._upgrading = self.in_head = False
        request.target = target

    def tell_continue(self) -> None:
        """Note that the client was told to send its body."""
        self.expecting = False
        self._request.continued = True

    def refuse(self, error: LlmuxError) -> None:
        """Queue an error in place of what is being read; nothing more is read after it."""
        self.broken = True
        self._left = 0
        self.in_head = self.in_body = self.expecting = False
        request = self._request
        request.error = error
        request.keep_alive = False
        request.path = request.path or request.target.partition(b"?")[0]
        request.request_id = request.request_id or wire.new_request_id()
        self.queue.append(request)
        self._start()

    # What llhttp calls.

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

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._received += len(data)
        most = self._bounds.max_body_bytes
        if most is not None and self._received > most:
            raise self._body_too_large()
        if self._chunks is not None:
            self._chunks.append(data)
        elif self._request.body:
            self._chunks = [self._request.body, data]
        else:
            self._request.body = data

    def on_chunk_header(self) -> None:
        """Hear that a chunk begins."""
        if self._claims is not None:
            self._claims.begins(self._received)

    def on_chunk_complete(self) -> None:
        """Hear that it is whole."""
        if self._claims is not None:
            self._claims.ends()

    def on_message_complete(self) -> None:
        """Queue the request and be ready for the next."""
        if self._upgrading:
            return
        request = self._request
        self.in_body = self.expecting = False
        if self._chunks is not None:
            request.body = b"".join(self._chunks)
        self.queued_bytes += len(request.body)
        self.queue.append(request)
        self._start()

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

    def _judge_claims(self, claims: Claims, data: bytes) -> None:
        """Refuse a body as soon as a chunk says that it will be too large."""
        claimed = claims.read(data, self._received)
        most = self._bounds.max_body_bytes
        if most is not None and claimed > most and not self.broken:
            self.refuse(self._body_too_large())

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
