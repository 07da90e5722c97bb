"""Reading requests from a client's bytes, as strictly as RFC 9110 and 9112 ask.

llhttp does the parsing, `head_reader` says what of a head is kept and may pass; here stand bodies,
their bounds, and heads that were read before. One `RequestReader` lives as long as its connection
and queues whole requests. It refuses to know sockets, models and answers; what cannot be read
becomes a `Request` that carries its error, so that answers keep their order.
"""

from __future__ import annotations

import httptools

from llmux.errors import BadRequestError, LlmuxError
from llmux.http import wire
from llmux.http.chunks import Claims
from llmux.http.doors import Doors
from llmux.http.head_reader import HeadReader
from llmux.http.known import ZERO, Known, Memo, halves
from llmux.http.limits import Limits
from llmux.http.request import KnownRequest, Request


class RequestReader(HeadReader):
    """Turns a connection's bytes into `queue`, a line of whole requests."""

    __slots__ = ("_head_bytes", "_latest", "_left", "_spare", "broken", "queue", "queued_bytes")

    def __init__(
        self,
        limits: Limits,
        known: Memo[KnownRequest] | None = None,
        doors: Doors | None = None,
    ) -> None:
        super().__init__(limits, known, doors)
        self._latest: Known[KnownRequest] | None = None
        self._spare: Request | None = None
        self._left = 0
        self.queue: list[Request] = []  # short, and a tenth of an empty deque
        self.queued_bytes = 0
        """Bytes of the bodies in `queue`."""
        self.broken = False
        """Nothing more can be read here: the last request in the queue says why."""
        self._head_bytes = 0

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

    # What llhttp calls behind a head.

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

    def _judge_claims(self, claims: Claims, data: bytes) -> None:
        """Refuse a body as soon as a chunk says that it will be too large."""
        claimed = claims.read(data, self._received)
        most = self._bounds.max_body_bytes
        if most is not None and claimed > most and not self.broken:
            self.refuse(self._body_too_large())
