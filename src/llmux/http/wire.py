"""Small shared pieces of HTTP/1.1: names, ids, dates, and heads as bytes.

What both sides of the relay agree on stands here once. This file knows no sockets, no models
and no errors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from email.utils import formatdate
from http import HTTPStatus
from itertools import count
from typing import Final

CRLF: Final = b"\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Fields that belong to one connection and are never forwarded as they came."""

_REASONS: Final = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}
_ID_PREFIX: Final = b"req-" + os.urandom(6).hex().encode("ascii")
_VALID_ID: Final = re.compile(rb"[\x21-\x7e]{1,200}")
_VALID_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?"
)


def _make_ids() -> Iterator[bytes]:
    """Make ids by joining two halves: formatting a number costs four times as much."""
    ends = [b"%02x" % number for number in range(256)]
    for number in count():
        begin = b"%b%06x" % (_ID_PREFIX, number)
        for end in ends:
            yield begin + end


new_request_id: Final = _make_ids().__next__
"""Makes an id that no other request of this process has."""


def is_request_id(value: bytes) -> bool:
    """Whether a client's id may be echoed and logged: short, visible, without spaces."""
    return _VALID_ID.fullmatch(value) is not None


def is_host(value: bytes) -> bool:
    """Whether this is a well-formed `Host`: a name or address, perhaps with a port."""
    return _VALID_HOST.fullmatch(value) is not None


def http_date(seconds: float | None = None) -> bytes:
    """Write a time (epoch seconds; None is now) as the field `Date` wants it."""
    return formatdate(seconds, usegmt=True).encode("ascii")


def status_line(status: int, reason: bytes | None = None) -> bytes:
    """Write a status line in our own version, with the usual phrase where none is given."""
    if reason is None:
        reason = _REASONS.get(status, b"")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def tokens(value: bytes) -> list[bytes]:
    """Split a comma-separated field into its members, lower case."""
    return [token for part in value.split(b",") if (token := part.strip(b" \t").lower())]


def without(fields: list[bytes], names: frozenset[bytes] | set[bytes]) -> list[bytes]:
    """Drop the named fields (lower case) from a flat list of (name, ": ", value, CRLF)."""
    kept: list[bytes] = []
    for at in range(0, len(fields), 4):
        if fields[at].lower() not in names:
            kept += fields[at : at + 4]
    return kept


def answer(
    status: int,
    body: bytes,
    *,
    content_type: bytes,
    date: bytes,
    request_id: bytes,
    fields: bytes = b"",
    connection: bytes | None = None,
    head_only: bool = False,
) -> bytes:
    """Write a whole answer of our own; `fields` are further lines, each with its CRLF."""
    parts = [
        status_line(status),
        b"content-type: %b\r\ncontent-length: %d\r\ndate: %b\r\nx-request-id: %b\r\n"
        % (content_type, len(body), date, request_id),
        fields,
    ]
    if connection is not None:
        parts.append(b"connection: %b\r\n" % connection)
    parts.append(CRLF)
    if not head_only:
        parts.append(body)
    return b"".join(parts)
