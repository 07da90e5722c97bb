"""The browser gate: pages of strangers may not use the gateway through somebody's browser.

A browser sends requests for any page that asks it to, also to addresses that only it can reach.
It says so in `Origin`, `Referer` or `Sec-Fetch-Site`, which programs do not send; without one of
them nothing is judged here. This file decides on texts alone: it refuses to know connections,
keys and answers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

ORIGIN: Final = b"origin"
REFERER: Final = b"referer"
FETCH_SITE: Final = b"sec-fetch-site"
SIGNS: Final = frozenset((ORIGIN, REFERER, FETCH_SITE))
"""Fields that only a browser sends, lower case."""

_ORIGIN: Final = re.compile(
    r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9._~%!$&'()*+,;=-]+)(?::([0-9]{1,5}))?"
)
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:/@\[\]]+)(?::([0-9]{0,5}))?")
_USUAL_PORTS: Final = {"http": "80", "https": "443"}
_ANY: Final = frozenset(("0.0.0.0", "::", ""))


class Page(NamedTuple):
    """Where a page comes from; `scheme` and `port` are "" where they are not known or usual."""

    scheme: str
    host: str
    port: str


def parse_origin(text: str) -> Page | None:
    """Read `scheme://host[:port]`; None for `null` and everything else that names no place."""
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match.groups()
    return Page(scheme, _bare(host), "" if port in (None, _USUAL_PORTS.get(scheme)) else port)


def is_local(host: str) -> bool:
    """Whether a name or address can mean nothing but the machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bare(host: str) -> str:
    return host.strip("[]").removesuffix(".")


def _authority(host: str) -> Page | None:
    match = _AUTHORITY.fullmatch(host.lower())
    if match is None:
        return None
    port = match[2] or ""
    return Page("", _bare(match[1]), "" if port in ("80", "443") else port)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Verdict:
    """`passes` says whether the request may come in, `allow` which page may read its answer."""

    passes: bool
    allow: str | None = None


_PASSES: Final = Verdict(True)
_REFUSED: Final = Verdict(False)


class BrowserGate:
    """Judges where a browser's request comes from.

    `host` is where the gateway listens, `allowed` the origins that may call and read besides.
    """

    __slots__ = ("_allowed", "_host", "_places")

    def __init__(self, host: str = "127.0.0.1", allowed: Iterable[str] = ()) -> None:
        self._host = _bare(host.lower())
        self._allowed = {page for one in allowed if (page := parse_origin(one)) is not None}
        self._places = {(page.host, page.port) for page in self._allowed}

    def judge(self, host: str, signs: Iterable[tuple[bytes, str]], *, changes: bool) -> Verdict:
        """Judge a request that came to `host` (the field `Host`) with these signs of a browser.

        `changes` says that it can do something (a relayed one can wake a model), so that a page
        must not be able to send it without being named. No signs: it passes.
        """
        origins: list[str] = []
        referer = site = None
        for name, value in signs:
            if name == ORIGIN:
                origins.append(value)
            elif name == REFERER:
                referer = value
            else:
                site = value.lower()
        if origins:
            return self._judge_origin(origins, host)
        if referer is None and site is None:
            return _PASSES
        return _PASSES if self._judge_host(host, referer, site, changes) else _REFUSED

    def _judge_origin(self, origins: list[str], host: str) -> Verdict:
        page = parse_origin(origins[0])
        if len(origins) > 1 or page is None:
            return _REFUSED
        if page in self._allowed:
            return Verdict(True, origins[0])
        return _PASSES if self._is_ours(page, host) else _REFUSED

    def _is_ours(self, page: Page, host: str) -> bool:
        """Whether a web page stands on this machine, or on the gateway's own address."""
        if page.scheme not in ("http", "https"):
            return False
        if is_local(page.host):
            return True
        if self._host not in _ANY:
            return page.host == self._host
        # On all addresses: an address (other than a name) cannot be bound to another machine.
        own = _authority(host)
        return own is not None and own[1:] == page[1:] and _is_address(page.host)

    def _judge_host(self, host: str, referer: str | None, site: str | None, changes: bool) -> bool:
        """Judge a request without Origin by the name under which the gateway was called."""
        own = _authority(host)
        if own is None or not self._is_own_name(own):
            return False
        if not changes or site in ("same-origin", "none"):
            return True
        if referer is not None:
            scheme, _, rest = referer.partition("://")
            page = parse_origin(f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0]}")
            return page is not None and (
                page[1:] == own[1:] or page in self._allowed or self._is_ours(page, host)
            )
        return site is None or (site == "same-site" and is_local(own.host))

    def _is_own_name(self, own: Page) -> bool:
        if is_local(own.host) or own[1:] in self._places:
            return True
        return _is_address(own.host) if self._host in _ANY else own.host == self._host
