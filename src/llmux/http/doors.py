"""The doors: every request is judged by its head alone, before its body is read.

First whether a stranger's page sent it (`browser`), then whose key it carries (`keys`), then what
that key opens. It decides and never answers: what it says is an `Entry`. This file refuses to know
connections, bodies and which model a request wants; a key's models are asked about later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from llmux.errors import ForbiddenError, LlmuxError, OriginError, UnauthorizedError
from llmux.http.browser import ORIGIN, SIGNS, BrowserGate
from llmux.http.keys import STRANGER, Caller, Keyring

AUTHORIZATION: Final = b"authorization"
API_KEY: Final = b"x-api-key"
CREDENTIALS: Final = frozenset((AUTHORIZATION, API_KEY))
"""Fields in which clients send their key, lower case."""

_ASKED_METHOD: Final = b"access-control-request-method"
_ASKED_FIELDS: Final = b"access-control-request-headers"
_ASKED_NETWORK: Final = b"access-control-request-private-network"
WATCHED: Final = CREDENTIALS | SIGNS | {_ASKED_METHOD, _ASKED_FIELDS, _ASKED_NETWORK}
"""Fields that a head is judged by, lower case; without keys, credentials may be left out."""

_FIELD_NAMES: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]{0,4096}")
_CORS: Final = b"access-control-"

SHIELD: Final = (
    b"content-security-policy: default-src 'self'; base-uri 'none'; frame-ancestors 'none'\r\n"
    b"x-content-type-options: nosniff\r\nx-frame-options: DENY\r\n"
)
"""Fields of every answer of the gateway's own: no other page may frame or reinterpret it."""


class Scope(Enum):
    """What a path opens, and so which key it takes."""

    OPEN = "open"
    """Anybody may ask."""
    LIST = "list"
    """Knowing which models there are: any key."""
    USE = "use"
    """Using models, which can wake them: any key, and no stranger's page."""
    INSPECT = "inspect"
    """Seeing the inside: an admin key; where none is configured, a key for all models."""


class Entry(NamedTuple):
    """What the doors say of one request."""

    caller: Caller | None = None
    """Who it is; None where nobody has to say."""
    cors: bytes = b""
    """Lines for whatever answer it gets, so that an allowed page can read it."""
    strip: bool = False
    """Its credentials are ours and go no further."""
    preflight: bool = False
    """It only asks what it may send; the answer is 204 with `cors`."""
    error: LlmuxError | None = None
    """It may not come in."""


ENTERS: Final = Entry()


class Doors:
    """Judges requests by their heads.

    `scope_of` names what a path opens; without one every path is for using models.
    """

    def __init__(
        self,
        keyring: Keyring | None = None,
        browser: BrowserGate | None = None,
        scope_of: Callable[[bytes], Scope] = lambda path: Scope.USE,
    ) -> None:
        self._scope_of = scope_of
        self.change(keyring or Keyring(), browser or BrowserGate())

    def change(self, keyring: Keyring, browser: BrowserGate) -> None:
        """Judge by other keys and pages from now on; what was judged before stays."""
        self._keyring = keyring
        self._browser = browser
        self.guarded = keyring.api or keyring.admin
        """Whether there are keys, so that every request has to be judged."""

    def look(self, now: float) -> bool:
        """Read keys again whose files have changed; True if an earlier verdict is worth nothing."""
        return self._keyring.look(now)

    def judge(
        self, method: bytes, path: bytes, host: bytes, noted: Sequence[tuple[bytes, bytes]]
    ) -> Entry:
        """Judge a head by its watched fields (names in lower case); never raises.

        `path` is without its query, `host` the field `Host` as it came.
        """
        scope = self._scope_of(path)
        cors = b""
        signs = [(name, value.decode("latin-1")) for name, value in noted if name in SIGNS]
        if signs and scope is not Scope.OPEN:
            verdict = self._browser.judge(host.decode("latin-1"), signs, changes=scope is Scope.USE)
            if not verdict.passes:
                return Entry(error=OriginError(_NO_PAGE))
            if verdict.allow is not None:
                asked = dict(noted)
                preflight = method == b"OPTIONS" and _ASKED_METHOD in asked
                cors = _cors(verdict.allow, asked if preflight else None)
                if preflight:
                    return Entry(cors=cors, preflight=True)
        if not self.guarded:
            return Entry(cors=cors) if cors else ENTERS
        return self._unlock(scope, noted, cors)

    def _unlock(self, scope: Scope, noted: Sequence[tuple[bytes, bytes]], cors: bytes) -> Entry:
        keyring = self._keyring
        presented = [] if _contradict(noted) else _presented(noted)
        caller = keyring.find(presented)
        error: LlmuxError | None = None
        if scope is Scope.OPEN:
            caller = caller or STRANGER
        elif caller is None:
            if scope is Scope.INSPECT or keyring.api:
                error = UnauthorizedError(_WRONG_KEY if presented else _NO_KEY)
        elif scope is Scope.INSPECT and not self._may_inspect(caller):
            error = ForbiddenError("This key is not one that shows the inside of the gateway.")
        return Entry(caller, cors, strip=caller is not None, error=error)

    def _may_inspect(self, caller: Caller) -> bool:
        return caller.admin or (not self._keyring.admin and caller.models is None)


_NO_KEY: Final = (
    "A key is needed here: send it as `Authorization: Bearer KEY` or as `x-api-key: KEY`."
)
_WRONG_KEY: Final = "This key is not known here."
_NO_PAGE: Final = "This page may not call the gateway: see `auth.allowed_origins` in its config."


def readable(lines: bytes, cors: bytes) -> bytes:
    """Let an allowed page read a backend's answer: our word on who may, and nobody else's."""
    kept = [
        line
        for line in lines.split(b"\r\n")
        if line and not line[: len(_CORS)].lower().startswith(_CORS)
    ]
    return b"\r\n".join((*kept, cors))


def _presented(noted: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Return the keys that a request carries, as they were sent."""
    found = []
    for name, value in noted:
        if name == API_KEY:
            found.append(value.strip(b" \t"))
        elif name == AUTHORIZATION:
            scheme, _, rest = value.strip(b" \t").partition(b" ")
            if scheme.lower() == b"bearer":
                found.append(rest.strip(b" \t"))
    return [one for one in found if one]


def _contradict(noted: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether one of the fields came twice: then nobody can say which was meant."""
    names = [name for name, _ in noted if name in CREDENTIALS]
    return len(names) != len(set(names))


def _cors(origin: str, asked: dict[bytes, bytes] | None) -> bytes:
    """Write what tells a browser that a page may read; `asked` are the fields of a preflight."""
    lines = b"access-control-allow-origin: %b\r\nvary: %b\r\n" % (origin.encode("latin-1"), ORIGIN)
    if asked is None:
        return lines + b"access-control-expose-headers: *\r\n"
    lines += b"access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
    names = asked.get(_ASKED_FIELDS, b"")
    if names and _FIELD_NAMES.fullmatch(names):
        lines += b"access-control-allow-headers: %b\r\n" % names
    if asked.get(_ASKED_NETWORK, b"").lower() == b"true":
        lines += b"access-control-allow-private-network: true\r\n"
    return lines + b"access-control-max-age: 600\r\n"
