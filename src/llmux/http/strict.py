"""What RFC 9110 and 9112 ask of a request's head, as far as the parser leaves it to its host.

Each rule takes what was read and either corrects the request or raises the error that it is
answered with. This file refuses to know bytes, bounds and who is asking.
"""

from __future__ import annotations

import re
from typing import Final

from llmux.errors import BadRequestError
from llmux.http import wire
from llmux.http.request import Request

_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_COMMON: Final = frozenset((b"keep-alive", b"close", b"upgrade"))


def judge_version(request: Request, version: str, codings: int) -> None:
    """Take the version, 1.1 or 1.0; `codings` counts the fields `Transfer-Encoding`."""
    if version == "1.1":
        request.keep_alive = True
    elif version == "1.0":
        request.old = True
        if codings:
            raise BadRequestError("HTTP/1.0 has no Transfer-Encoding.")
    else:
        raise BadRequestError("Only HTTP/1.1 and HTTP/1.0 are spoken here.")


def judge_host(request: Request, host: bytes, count: int) -> None:
    """Ask for one `Host`, well formed; HTTP/1.0 may do without."""
    if count != 1:
        if count or not request.old:
            raise BadRequestError("A request names exactly one Host.")
    elif not wire.is_host(host):
        raise BadRequestError("The Host is not well formed.")


def judge_target(request: Request) -> None:
    """Bring the target into origin form, and cut the path out of it."""
    if request.method == b"CONNECT":  # has no body for the parser, whatever its length says
        raise BadRequestError("CONNECT asks for a tunnel through a proxy, and this is none.")
    target = request.target
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is not None and wire.is_host(absolute[1]):
            target = absolute[2]
            if not target.startswith(b"/"):
                target = b"*" if request.method == b"OPTIONS" and not target else b"/" + target
            request.target = target
        elif target != b"*" or request.method != b"OPTIONS":
            raise BadRequestError("The target is neither a path nor an http URL.")
    if b"#" in target:
        raise BadRequestError("A target has no fragment.")
    request.path = target.partition(b"?")[0] if b"?" in target else target
    if b"%00" in request.path:
        raise BadRequestError("A path has no NUL in it.")


def judge_connection(request: Request, connection: bytes, fields: list[bytes]) -> list[bytes]:
    """Take what the client wants of its connection; gives the fields without those it names."""
    named = wire.tokens(connection)
    if b"close" in named:
        request.keep_alive = False
    elif request.old and b"keep-alive" in named:
        request.keep_alive = True
    others = {name for name in named if name not in _COMMON}
    return wire.without(fields, others) if others else fields


def judge_upgrade(request: Request, connection: bytes) -> None:
    """Drop a wish to leave HTTP that is not one, or that must not be granted."""
    assert request.upgrade is not None
    h2c = request.upgrade.lower().startswith(b"h2c")  # would hide requests from us
    if request.old or h2c or b"upgrade" not in wire.tokens(connection):
        request.upgrade = None
