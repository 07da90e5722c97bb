"""Reading a backend's answers from its bytes: the head for us, the body only for its end.

llhttp parses; here stand the rules that it leaves to its host. A head that was read once and comes
again, but for its length, is not parsed again. This file refuses to know sockets and clients.
"""

from __future__ import annotations

import re
from typing import Final

import httptools

from llmux.http import wire
from llmux.http.known import ZERO, Memo, halves

# How the end of an answer's body is told.
EMPTY: Final = 0
LENGTH: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3

_COMMON: Final = frozenset((b"keep-alive", b"close", b"upgrade"))
_END: Final = b"\r\n\r\n"
_LINE_ENDS: Final = (b"\r", b"\n")
"""How chunks end, and what the parser passes over behind their end: it is not for the client."""
_NO_CR: Final = "its answer's head ends lines without CR"
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_SPECIAL: Final = wire.HOP_BY_HOP | {b"content-length", b"content-type", b"date", b"x-request-id"}


LARGEST: Final = 4096
"""Bytes of a read from which on it is not looked at for being one whole chunk."""


def _starts() -> list[bytes]:
    starts = [b"\0"] * LARGEST
    for size in range(1, LARGEST):
        line = b"%x\r\n" % size
        whole = len(line) + size + len(wire.CRLF)
        if whole < LARGEST:
            starts[whole] = line
    return starts


STARTS: Final = _starts()
"""By the length of a read: how it starts if it is one whole chunk, written the usual way."""


class BadAnswer(Exception):  # noqa: N818  (it is news for the listener, not a failure of ours)
    """The backend's bytes are not an HTTP answer; the text says why."""


class KnownHead:
    """What a head means that was read before; its length is read anew each time."""

    __slots__ = ("has_date", "lines", "status")

    def __init__(self, status: int, lines: bytes, has_date: bool) -> None:
        self.status = status
        self.lines = lines
        self.has_date = has_date


class AnswerReader:
    """Reads one answer after the other from one connection."""

    relays_chunks = True
    """Chunks go to the client as they came."""

    __slots__ = (
        "_bound",
        "_buffer",
        "_connection",
        "_fields",
        "_head_done",
        "_known",
        "_left",
        "_parser",
        "_reason",
        "between",
        "chunk_open",
        "complete",
        "content_type",
        "counting",
        "digits",
        "excess",
        "framing",
        "has_date",
        "has_id",
        "head_only",
        "last",
        "length",
        "lines",
        "persistent",
        "status",
        "upgrade",
        "wrap",
    )

    def __init__(self, bound: int | None, known: Memo[KnownHead]) -> None:
        self._bound = bound
        self._known = known
        self._parser = httptools.HttpResponseParser(self)
        self._buffer = b""
        self.counting = False
        """The head was known: the body's end is found by counting its bytes alone."""
        self.digits = b""
        """The body's length as text, while `counting`."""
        self.lines = b""
        """The status line and the fields that may be forwarded."""
        self.persistent = False
        """The connection can be used again after this answer."""
        self.wrap = False
        """Whoever relays wants a body that ends with the connection in chunks."""
        self.head_only = False
        """The request asks for no body. To be set before each answer, as the next two."""
        self.complete = False
        """The last byte of the answer has come."""
        self.excess = False
        """Bytes came that belong to no answer: the connection cannot be used again."""
        self._reset()

    def _reset(self) -> None:
        self.complete = False
        self.status = 0
        self._reason = b""
        self._fields: list[bytes] = []
        self._connection: bytes | None = None
        self.upgrade: bytes | None = None
        self.length = -1
        self.framing = UNTIL_CLOSE
        self.content_type = b""
        self.has_date = False
        self.has_id = False
        self._head_done = False
        self.counting = False
        self.last = b""
        """What was relayed last, or its end."""
        self.chunk_open = False
        self.between = False
        """The next byte begins a chunk: it need not be parsed if it is a whole one by `STARTS`."""
        self._left = 0

    # Heads.

    def recognize(self, data: bytes) -> int:
        """Read a final head that was read before and starts `data`; gives its size, 0 if not so."""
        known = self._known.latest
        if known is None or self._buffer or self.head_only or data[: known.at] != known.before:
            return 0
        at, stop, size = known.at, known.guess, known.size
        if data[stop : stop + size] != known.after:
            stop = known.guess = data.find(known.after, at, at + known.reach)
        digits = data[at:stop]
        if stop < 0 or not digits.isdigit() or digits[0] == ZERO:
            known.guess = at + 1
            return 0
        meaning = known.meaning
        self.status = meaning.status
        self.lines = meaning.lines
        self.has_date = meaning.has_date
        self.has_id = False
        self.framing = LENGTH
        self.digits = digits
        self.length = self._left = int(digits)
        self.complete = False
        self.persistent = self.counting = True
        self.upgrade = None
        return stop + size

    def read_head(self, data: bytes) -> bytes | None:
        """Take bytes until a head, interim or final, is whole; give what came behind it.

        None asks for more. Raises `BadAnswer`. After 101 the rest is no longer HTTP.
        """
        seen = 0
        if self._buffer:
            seen = max(0, len(self._buffer) - 3)  # a head that drips is looked through once
            data = self._buffer + data
            self._buffer = b""
        end = data.find(_END, seen) + 4
        bound = self._bound
        if bound is not None and max(end, len(data) if end == 3 else 0) > bound:
            raise BadAnswer(f"its answer's head is larger than {bound} bytes")
        if end == 3:
            if data.find(b"\n\n", seen) >= 0:
                raise BadAnswer(_NO_CR)
            self._buffer = data
            return None
        cut = None if self.head_only else halves(data, end)
        if cut is not None and self._known.find(cut[0], cut[2]) is not None:
            return data[self.recognize(data) :]
        self._reset()
        head = data[:end]
        if b"\n\n" in head:  # the parser passes over some of them
            raise BadAnswer(_NO_CR)
        self._parse_head(head)
        if 100 <= self.status < 200 and not self.persistent:
            # It says `close` of what comes after the final answer, but llhttp reads no further.
            self._parser = httptools.HttpResponseParser(self)
        if self._head_done and self.status >= 200:
            self._frame()
            if cut is not None and self.framing == LENGTH and self.persistent and not self.has_id:
                meaning = KnownHead(self.status, self.lines, self.has_date)
                self._known.put(cut[0], cut[2], meaning)
        return data[end:]

    def _parse_head(self, head: bytes) -> None:
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, BadAnswer):
                raise cause from None
            raise BadAnswer(f"its answer is not HTTP ({error})") from None
        if _CONTROL.search(self._reason) is not None:  # the parser looks for CR and LF alone
            raise BadAnswer("its answer's reason has a control character in it")
        fields = self._fields
        if self._connection is not None and self._connection.lower() not in _COMMON:
            fields = wire.without(fields, set(wire.tokens(self._connection)))
        self.lines = b"".join((wire.status_line(self.status, self._reason), *fields))

    def _frame(self) -> None:
        """Decide how the end of this answer is told."""
        if self.head_only or self.status in (204, 304):
            self.excess = not self.complete  # a HEAD's answer leaves llhttp waiting for a body
            self.complete = True
            self.framing = EMPTY
        elif self.framing == CHUNKED:
            self.between = self.relays_chunks
        elif self.length >= 0:
            self.framing = LENGTH
            self._left = self.length

    # Bodies.

    def watch(self, data: bytes) -> bytes | None:  # noqa: PLR0911  (three kinds of end)
        """Follow the body and give what goes to the client; None if its framing is broken."""
        framing = self.framing
        if framing == UNTIL_CLOSE:
            out = b"%x\r\n%b\r\n" % (len(data), data) if self.wrap else data
            self.last = out[-6:]
            return out
        if self.counting:
            left = self._left = self._left - len(data)
            if left <= 0:
                self.complete = True
                if left < 0:
                    self.excess = True
                    return data[:left]
            return data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.excess = True
        if self.excess and (framing == CHUNKED or not self.complete):
            return None
        if framing == LENGTH:
            left = self._left = self._left - len(data)
            if left < 0:
                self.excess = True
                return data[:left]
        else:
            last = self.last = data[-6:] if len(data) > 5 else (self.last + data)[-6:]
            if not self.complete:
                self.between = self.relays_chunks and not self.chunk_open and last[-2:] == wire.CRLF
                return data
            self.between = False
            if last[-4:] != _END or last[-5:-4] in _LINE_ENDS:
                return None
        return data

    def ends_in(self, *ends: bytes) -> bool:
        """Whether one more piece may follow what was relayed, which ends in one of these.

        Never in a compressed body, and never where bytes have come that were not relayed.
        """
        if self.framing not in (CHUNKED, UNTIL_CLOSE) or self.chunk_open:
            return False
        if self.complete or self.excess or b"\r\ncontent-encoding:" in self.lines.lower():
            return False
        close = wire.CRLF if self.wrap or self.framing == CHUNKED else b""
        return not self.last or self.last.endswith(tuple(end + close for end in ends))

    # What llhttp calls.

    def on_message_begin(self) -> None:
        """Note bytes behind the end of an answer."""
        if self.complete:
            self.excess = True

    def on_status(self, reason: bytes) -> None:
        """Take a piece of the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field; trailers flow on as they are."""
        if self._head_done:
            return
        key = name.lower()
        if key not in _SPECIAL:
            self._fields += (name, b": ", value, b"\r\n")
        elif key == b"content-length":
            self.length = int(value)
        elif key == b"transfer-encoding":
            if value.strip(b" \t").lower() != b"chunked" or self.framing == CHUNKED:
                raise BadAnswer("it uses a Transfer-Encoding that was not offered")
            self.framing = CHUNKED
        elif key == b"connection":
            old = self._connection
            self._connection = value if old is None else old + b"," + value
        elif key == b"upgrade":
            self.upgrade = value
        elif key not in wire.HOP_BY_HOP:
            self._fields += (name, b": ", value, b"\r\n")
            self.content_type = value if key == b"content-type" else self.content_type
            self.has_date = self.has_date or key == b"date"
            self.has_id = self.has_id or key == b"x-request-id"

    def on_headers_complete(self) -> None:
        """Note that the head is whole."""
        self._head_done = True
        self.persistent = self._parser.should_keep_alive()
        self.status = self._parser.get_status_code()

    def on_chunk_header(self) -> None:
        """Note that the next bytes belong to a chunk."""
        self.chunk_open = True

    def on_chunk_complete(self) -> None:
        """Note that a chunk is whole."""
        self.chunk_open = False

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        self.complete = True


class Unchunker(AnswerReader):
    """Reads answers for clients of HTTP/1.0, to whom no chunk may be sent."""

    relays_chunks = False

    __slots__ = ("_pieces",)

    def __init__(self, bound: int | None, known: Memo[KnownHead]) -> None:
        self._pieces: list[bytes] = []
        super().__init__(bound, known)

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body without its framing."""
        self._pieces.append(data)

    def watch(self, data: bytes) -> bytes | None:
        """Give the body without its chunks."""
        out = super().watch(data)
        if self.framing != CHUNKED or out is None:
            return out
        out = b"".join(self._pieces)
        self._pieces.clear()
        return out
