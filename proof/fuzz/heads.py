"""Heads and chunked bodies of clients: a grammar of what two readers might read differently.

Each input goes to the reader of requests whole, cut anywhere, and behind the heads that were read
before it, as connections read them: all have to find the same requests. What would be forwarded of
each is read again by a reader of this file, which knows nothing but the letter of RFC 9112. It
refuses to know sockets and backends (`answers` does).
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final

from llmux.config import AuthConfig, KeyConfig
from llmux.core.priority import weight
from llmux.errors import LlmuxError
from llmux.http.browser import BrowserGate
from llmux.http.doors import CREDENTIALS, Doors
from llmux.http.heads import request_start
from llmux.http.keys import make_keyring
from llmux.http.known import Memo
from llmux.http.limits import Limits
from llmux.http.reader import RequestReader
from llmux.http.request import KnownRequest, Request
from proof.fuzz.target import Broken, Target, pieces, some

_METHODS: Final = (
    *((b"POST",) * 6), b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"CONNECT", b"post", b"PO ST",
    b"M-SEARCH", b"PRI", b"QUERY", b"",
)  # fmt: skip
_TARGETS: Final = (
    *((b"/v1/chat/completions",) * 6), b"/", b"*", b"/p?q=%2f/../x", b"http://h/p", b"http://h:80",
    b"https://u@h/p", b"//h/p", b"h:443", b"/a#b", b"/%00", b"/\xff", b"/a b", b"http://h?x", b"",
    b"/v1/messages", b"/api/chat", b"/metrics", b"HTTP://H/P", b"/\t",
)  # fmt: skip
_VERSIONS: Final = (
    *((b"HTTP/1.1",) * 8), b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.10", b"",
    b"HTTP/0.9", b"HTTP/1.1 ",
)  # fmt: skip
_ENDS: Final = (*((b"\r\n",) * 30), b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\0\r\n", b"")
_COLONS: Final = (*((b": ",) * 20), b":", b" : ", b":\t", b"\t:", b":  ", b":\r\n ", b"", b":\x0b")
_FIELDS: Final = (
    (b"Host", (b"h", b"h", b"h:80", b"[::1]:8", b"a b", b"", b"h, i", b"h/x", b"u@h", b"h:99999")),
    (b"Content-Length", (b"%d",)),
    (b"Content-Length", (b"%d", b"0%d", b"+%d", b"-%d", b"%d, %d", b"%d %d", b"0x%x", b"", b"%d0",
                         b"9" * 40, b"%d\t", b"18446744073709551616", b"1_0", b"\xb2")),
    (b"Transfer-Encoding", (b"chunked", b"chunked", b"Chunked", b"chunked ", b"gzip, chunked",
                            b"chunked, gzip", b"identity", b"", b"chunked,", b"\x0bchunked",
                            b"chunked\x00", b'"chunked"', b"xchunked", b"chunked;a=b")),
    (b"Connection", (b"close", b"keep-alive", b"upgrade", b"Close, x-a", b"content-length",
                     b"transfer-encoding", b"host", b",", b"keep-alive, close", b"x-request-id")),
    (b"Upgrade", (b"websocket", b"h2c", b"", b"h2c, websocket")),
    (b"Expect", (b"100-continue", b"100-Continue", b"x", b"")),
    (b"X-Request-Id", (b"mine", b"a b", b"", b"x" * 300)),
    (b"X-Llmux-Priority", (b"2", b"0.5", b"-1", b"1e9", b"2, 3", b"", b"9" * 30, b"\xb2")),
    (b"Max-Forwards", (b"0", b"1", b"-1", b"\xb2", b"9" * 30, b"")),
    (b"Authorization", (b"Bearer x", b"Bearer x", b"bearer  x", b"Basic eDp4", b"Basic ====", b"Bearer", b"\xff", b"")),
    (b"X-Api-Key", (b"x", b"y", b"", b"x, y", b"\xe2\x80\xae")),
    (b"Access-Control-Request-Method", (b"POST", b"P\xff", b"")),
    (b"Access-Control-Request-Headers", (b"x-a, authorization", b"a b\r", b"\xff" * 20)),
    (b"X-A", (b"b", b"", b"b\rc", b"b\0", b"\xff", b"b\x7f", b"x" * 2000, b"b\r\n c", b"\t b \t")),
    (b"Te", (b"trailers",)), (b"Keep-Alive", (b"timeout=5",)), (b"Proxy-Connection", (b"close",)),
    (b"Trailer", (b"host",)), (b"Sec-Fetch-Site", (b"cross-site", b"none", b"\xff")),
    (b"Origin", (b"http://evil", b"http://page", b"null", b"http://[::1", b"http://h:99999", b"://", b"http://\xff")),
    (b"Referer", (b"http://h/", b"x", b"http://u@h:1/")),
    (b"X Y", (b"v",)), (b"", (b"v",)), (b"X(Y)", (b"v",)), (b" X", (b"v",)), (b"Content_Length", (b"%d",)),
)  # fmt: skip
_BODIES: Final = (
    b'{"model":"m"}',
    b'{"model":"m"}',
    b"",
    b"x",
    b"a" * 300,
    b"GET /s HTTP/1.1\r\n\r\n",
)
_SIZES: Final = (
    b"%x",
    b"%x",
    b"%x",
    b"%X",
    b"0%x",
    b"%x ",
    b"%x;a=b",
    b"%x;",
    b" %x",
    b"-%x",
    b"0x%x",
    b"%x\t",
    b"+%x",
    b"ffffffffffffffff%x",
    b'%x;a="\r\n"',
    b"",
)
TOKENS: Final = (
    b"\r\n\r\n", b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"0\r\n\r\n", b"5\r\nhello\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 13\r\n\r\n",
    b'{"model":"m"}', b"Host: h\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n",
    b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.0", b"x" * 64,
)  # fmt: skip


def draw(dice: Random) -> bytes:
    """Make one to three requests behind each other, most of them nearly right."""
    made = b"".join(_request(dice) for _ in range(dice.choice((1, 1, 2, 3))))
    return made[: dice.randrange(len(made) + 1)] if dice.random() < 0.1 else made


def _request(dice: Random) -> bytes:
    odd = dice.random() < 0.6  # else as clients write it
    body = dice.choice(_BODIES)

    def choose(options: tuple[bytes, ...]) -> bytes:
        return dice.choice(options) if odd else options[0]

    chunks = dice.random() < 0.3
    sent = _chunked(dice, body, odd) if chunks else body
    framing = (b"Transfer-Encoding", b"chunked") if chunks else (b"Content-Length", b"%d")
    named = [(b"Host", b"h"), framing]
    for _ in range(dice.randrange(4) if odd else dice.randrange(2)):
        name, values = dice.choice(_FIELDS if odd else _FIELDS[7:8] + _FIELDS[10:11])
        named.insert(dice.randrange(len(named) + 1), (name, dice.choice(values)))
    if odd and dice.random() < 0.1:
        named.pop(dice.randrange(len(named)))
    lines = b"".join(
        (name.swapcase() if odd and dice.random() < 0.1 else name)
        + choose(_COLONS)
        + _filled(value, len(body))
        + choose(_ENDS)
        for name, value in named
    )
    start = b"%b %b %b" % (choose(_METHODS), choose(_TARGETS), choose(_VERSIONS))
    before = some(dice, (b"\r\n", b"\n", b" "), 2) if odd and dice.random() < 0.1 else b""
    return before + start + choose(_ENDS) + lines + choose(_ENDS) + sent


def _filled(value: bytes, length: int) -> bytes:
    many = value.count(b"%")
    return value % ((length,) * many) if many else value


def _chunked(dice: Random, body: bytes, odd: bool) -> bytes:
    made = b""
    for piece in pieces(dice, body):
        size = _filled(dice.choice(_SIZES) if odd and dice.random() < 0.3 else b"%x", len(piece))
        made += size + dice.choice(_ENDS if odd else _ENDS[:1]) + piece + b"\r\n"
    trailers = dice.choice(
        (b"", b"", b"X-T: 1\r\n", b"Host: i\r\n", b"Content-Length: 9\r\n", b"x")
    )
    return made + b"0\r\n" + trailers + dice.choice(_ENDS if odd else _ENDS[:1])


_NEAR_THE_BOUND: Final = 60_000
"""Bytes from which on cuts may tell which read a head that is too large is refused at."""
Seen = tuple[object, ...]
"""What a request means, and what would be forwarded of it."""


class _Readers:
    """Readers of one server: they share the heads that were read before."""

    def __init__(self) -> None:
        self._known: Memo[KnownRequest] = Memo()
        self._limits = Limits()
        self._tight = Limits(max_header_bytes=400, max_body_bytes=200)
        key = KeyConfig("sha256", sha256(b"x").hexdigest())
        pages = BrowserGate(allowed=("http://page",))
        self._doors = Doors(make_keyring(AuthConfig(keys=(key,)), Path()), pages)

    def run(self, data: bytes, dice: Random) -> str:
        """Read it in five ways and compare."""
        whole, end = _plainly(data, self._limits)
        small = len(data) < _NEAR_THE_BOUND
        for one in (
            _in_pieces(pieces(dice, data), self._limits, Memo()),
            _in_pieces([data], self._limits, self._known),
            _in_pieces(pieces(dice, data), self._limits, self._known),
        ):
            if small and one != (whole, end):
                raise Broken(f"one way {(whole, end)!r}, another {one!r}")
        _in_pieces(pieces(dice, data), self._tight, Memo())
        self._judge_doors(data, dice)
        return " ".join([*(_kind(one) for one in whole[:4]), str(len(whole)), *map(str, end)])

    def _judge_doors(self, data: bytes, dice: Random) -> None:
        """Nobody comes in without the key, and the key goes no further."""
        whole = RequestReader(self._limits, Memo(), self._doors)
        whole.feed(data)
        cut = RequestReader(self._limits, Memo(), self._doors)
        for part in pieces(dice, data):
            cut.feed(part)
        for one in whole.queue:
            names = {line.partition(b":")[0].lower() for line in one.lines.split(b"\r\n")}
            let_in = one.error is None and not one.cors
            if let_in and (one.caller is None or names & CREDENTIALS):
                raise Broken(f"somebody came in without a key: {one.lines!r}")
        if len(data) < _NEAR_THE_BOUND and list(map(_seen, whole.queue)) != list(
            map(_seen, cut.queue)
        ):
            raise Broken("behind keys, it depends on where the bytes were cut")

    def close(self) -> None:
        """Nothing is open."""


def _plainly(data: bytes, limits: Limits) -> tuple[list[Seen], Seen]:
    """Read it at once, without any memory: what everything is compared with."""
    reader = RequestReader(limits, Memo())
    reader.feed(data)
    seen = [_seen(one) for one in reader.queue]
    failed = [one for one in reader.queue if one.error is not None]
    if failed and (len(failed) > 1 or failed[0] is not reader.queue[-1] or not reader.broken):
        raise Broken("something was read behind what could not be read")
    return seen, (reader.in_head, reader.in_body, reader.broken, reader.expecting)


def _in_pieces(
    parts: list[bytes], limits: Limits, known: Memo[KnownRequest]
) -> tuple[list[Seen], Seen]:
    """Read it as a connection does, each request answered before the next piece comes."""
    reader = RequestReader(limits, known)
    seen: list[Seen] = []
    for part in parts:
        if reader.broken:
            break
        request = reader.whole(part)
        if request is not None:
            seen.append(_seen(request))
            continue
        reader.feed(part)
        seen += map(_seen, reader.queue)
        reader.queue.clear()
        reader.queued_bytes = 0
    return seen, (reader.in_head, reader.in_body, reader.broken, reader.expecting)


def _seen(request: Request) -> Seen:
    """Say all that a request means; what would be forwarded of it has to be plain."""
    if request.error is not None:
        return (request.error.status, request.error.code)
    host = b" HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"
    if request.known is not None:
        start, length = request.known.start_for(host), request.digits
    else:
        start, length = request_start(request, host), b"%d" % len(request.body)
    _judge(start + length + b"\r\nvia: 1.1 llmux\r\n\r\n", request)
    counts: object = None
    if request.priority is not None:
        try:
            counts = weight(1.0, request.priority.decode("latin-1"))
        except LlmuxError as error:
            counts = error.code
    return (start, length, request.body, request.keep_alive, request.old, request.path, counts)


_START: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ (?:/[^\x00-\x20\x7f]*|\*) HTTP/1\.1")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([^\x00-\x08\x0a-\x1f\x7f]*)")
_NEVER: Final = {
    b"transfer-encoding",
    b"te",
    b"keep-alive",
    b"trailer",
    b"proxy-connection",
    b"proxy-authorization",
    b"proxy-authenticate",
    b"expect",
    b"x-request-id",
}


def _judge(head: bytes, request: Request) -> None:
    """Read a head that would be forwarded, by the letter: there must be one way to read it."""
    start, *lines = head[:-4].split(b"\r\n")
    if _START.fullmatch(start) is None:
        raise Broken(f"the start line {start!r} would be forwarded")
    fields: list[tuple[bytes, bytes]] = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Broken(f"the line {line!r} would be forwarded")
        fields.append((field[1].lower(), field[2]))
    names = [name for name, _ in fields]
    if names.count(b"host") != 1 or names.count(b"content-length") != 1 or _NEVER & {*names}:
        raise Broken(f"the fields {names} would be forwarded")
    if dict(fields)[b"content-length"] != b"%d" % len(request.body):
        raise Broken(f"{dict(fields)[b'content-length']!r} for {len(request.body)} bytes")
    if (b"connection" in names) != (b"upgrade" in names):
        raise Broken(f"the fields {names} would be forwarded")


def _kind(seen: Seen) -> str:
    if len(seen) == 2:
        return f"{seen[0]}{seen[1]}"
    start, length, _, keep, old, _, counts = seen
    assert isinstance(start, bytes)
    assert isinstance(length, bytes)
    names = sorted({line.partition(b":")[0].lower() for line in start.split(b"\r\n")[2:-1]})
    return f"{start.split(b' ')[0]!r}{len(length)}{keep}{old}{counts}{names[:4]}"


TARGET: Final = Target("heads", draw, _Readers, TOKENS, share=33)
