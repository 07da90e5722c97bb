"""The heads that the relay writes: a request's for the backend, an answer's for the client.

Those that come again and again have a short way in `relay` and `request`, which says byte for byte
what the long way here says. This file refuses to know sockets, and who is answered when.
"""

from __future__ import annotations

from typing import Final

from llmux.http import dialects
from llmux.http.answer import CHUNKED, EMPTY, LENGTH, UNTIL_CLOSE, AnswerReader
from llmux.http.doors import readable
from llmux.http.request import Request

UNTOLD: Final = frozenset((CHUNKED, UNTIL_CLOSE))
"""Framings whose end a client of HTTP/1.0 can only see by the end of its connection."""


def request_start(request: Request, host_line: bytes) -> bytes:
    """Write the head for the backend up to the length."""
    return b"%b %b%b%b%bcontent-length: " % (
        request.method,
        request.target,
        host_line,
        request.lines,
        _special_lines(request),
    )


def _special_lines(request: Request) -> bytes:
    """Write the fields that are ours to say anew on this hop, as far as the client used them."""
    lines = b""
    if request.upgrade is not None:
        lines += b"connection: upgrade\r\nupgrade: %b\r\n" % request.upgrade
    if request.max_forwards is not None:
        lines += b"max-forwards: %d\r\n" % (request.max_forwards - 1)
    return lines


def answer_head(request: Request, answer: AnswerReader, date: bytes, keep_alive: bool) -> bytes:
    """Write the head for the client: our version, our connection, the backend's fields.

    `date` is a whole line, empty where the backend has said it.
    """
    ours = b""
    if not answer.has_id:
        ours = b"x-request-id: %b\r\n" % request.request_id
    if request.path == dialects.MESSAGES:
        ours += dialects.request_id_line(answer.lines, request.request_id)
    if answer.framing == LENGTH:
        framing = b"content-length: %d\r\n" % answer.length
    else:
        framing = _framing(request, answer)
    connection = b""
    if not keep_alive:
        connection = b"connection: close\r\n"
    elif request.old:
        connection = b"connection: keep-alive\r\n"
    return b"%b%b%b%b%b\r\n" % (
        readable(answer.lines, request.cors) if request.cors else answer.lines,
        framing,
        date,
        ours,
        connection,
    )


def _framing(request: Request, answer: AnswerReader) -> bytes:
    """Say how the client will find the end of a body whose length is not known."""
    if answer.framing == EMPTY:
        if answer.length >= 0 and answer.status != 204:
            return b"content-length: %d\r\n" % answer.length
        return b""
    if request.old:
        return b""
    answer.wrap = answer.framing == UNTIL_CLOSE
    return b"transfer-encoding: chunked\r\n"
