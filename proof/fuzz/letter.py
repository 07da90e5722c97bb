"""Reads an answer by the letter of RFC 9112, and nothing that is not plainly one.

It is the judge of what llmux makes of a backend's bytes, so it shares no line with it. It refuses
to guess: what could be read in two ways is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
FIELD: Final = re.compile(rb"(" + TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")
_SIZE: Final = re.compile(
    rb"([0-9a-fA-F]{1,16})(?:[ \t]*;" + TOKEN + rb"(?:=(?:" + TOKEN + rb")?)?)*"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One final answer."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    complete: bool
    rest: bytes
    """What came behind its end."""
    interims: int = 0
    until_close: bool = False
    """Nothing but the connection's end tells the end of its body."""


def read_answer(data: bytes, *, head_only: bool, closed: bool) -> Answer | None:
    """Read the final answer behind any interim ones; None where there is no plain way to."""
    interims = 0
    while True:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return None
        start, *lines = head.split(b"\r\n")
        said = _STATUS.fullmatch(start)
        fields = [FIELD.fullmatch(line) for line in lines]
        if said is None or None in fields:
            return None
        pairs = tuple((one[1].lower(), one[2]) for one in fields if one is not None)
        status = int(said[2])
        if status >= 200 or status == 101:
            break
        if said[1] == b"0" or {b"content-length", b"transfer-encoding"} & {*dict(pairs)}:
            return None
        interims += 1
        data = rest
    lengths = [value for name, value in pairs if name == b"content-length"]
    codings = [value for name, value in pairs if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1 or (codings and said[1] == b"0"):
        return None
    if status == 101:
        return Answer(status, pairs, rest, True, b"", interims)
    if any(not re.fullmatch(rb"[0-9]{1,15}", one) for one in lengths):
        return None
    if any(one.lower() != b"chunked" for one in codings):
        return None
    if head_only or status in (204, 304):
        return Answer(status, pairs, b"", True, rest, interims)
    if codings:
        return _chunks(status, pairs, rest, interims)
    if lengths:
        size = int(lengths[0])
        return Answer(status, pairs, rest[:size], len(rest) >= size, rest[size:], interims)
    return Answer(status, pairs, rest, closed, b"", interims, until_close=True)


def _chunks(
    status: int, fields: tuple[tuple[bytes, bytes], ...], data: bytes, interims: int
) -> Answer | None:
    body = b""
    while True:
        line, end, after = data.partition(b"\r\n")
        if not end:
            return Answer(status, fields, body, False, b"", interims)
        size = _SIZE.fullmatch(line)
        if size is None:
            return None
        many = int(size[1], 16)
        if not many:
            break
        body += after[:many]
        if len(after) < many + 2:
            plain = b"\r\n".startswith(after[many:])
            return Answer(status, fields, body, False, b"", interims) if plain else None
        if after[many : many + 2] != b"\r\n":
            return None
        data = after[many + 2 :]
    while True:
        line, end, after = after.partition(b"\r\n")
        if not end:
            return Answer(status, fields, body, False, b"", interims)
        if not line:
            return Answer(status, fields, body, True, after, interims)
        if FIELD.fullmatch(line) is None:
            return None
