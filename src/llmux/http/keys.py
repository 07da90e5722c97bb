"""The keyring: which key belongs to whom, compared without telling how near a guess came.

Only digests are kept, never a key. A key that stands in a file is read again when the file has
changed, so that it can be replaced while the gateway runs. This file refuses to know HTTP: it is
given what somebody presents, and says who that is.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from llmux.config import AuthConfig, KeyConfig, key_digest, key_path
from llmux.errors import ConfigError

logger = logging.getLogger("llmux")

_LOOK_SECONDS: Final = 1.0
"""How often, at most, the key files are looked at."""
_SETTLED_SECONDS: Final = 2.0
"""A file younger than this may change again without its time telling so."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, by the key that it carries.

    `models` are those that it may use (None: all), `priority` is its default and ceiling (None:
    no say), `admin` opens what shows or changes the inside of the gateway.
    """

    name: str = ""
    models: frozenset[str] | None = None
    priority: float | None = None
    admin: bool = False

    def may_use(self, model: str) -> bool:
        """Whether this caller may use a model."""
        return self.models is None or model in self.models


STRANGER: Final = Caller("a stranger", frozenset())
"""Whoever asks without a key for what is open to all, while there are keys."""


class _Key:
    """One key: its digest, its caller, and the file that it is read from."""

    __slots__ = ("caller", "digest", "path", "read", "stamp", "trouble")

    def __init__(self, digest: bytes, caller: Caller, read: Callable[[], bytes]) -> None:
        self.digest = digest
        self.caller = caller
        self.read = read
        self.path: Path | None = None
        self.stamp: tuple[int, int, int] | None = None
        self.trouble = ""

    def look(self, now: float) -> bool:
        """Read the file again if it may have changed; True if the key is another one now."""
        if self.path is None:
            return False
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp == self.stamp:
                return False
            digest = self.read()
        except (OSError, ValueError) as error:
            self._keep(error)
            return False
        self.stamp = stamp if now - found.st_mtime > _SETTLED_SECONDS else None
        self.trouble = ""
        if hmac.compare_digest(digest, self.digest):
            return False
        self.digest = digest
        fields = {"file": str(self.path)}
        logger.info(
            "the key in %s is another one now",
            self.path,
            extra={"event": "key_changed", "fields": fields},
        )
        return True

    def _keep(self, error: OSError | ValueError) -> None:
        """Go on with the key that was read last, and say once why."""
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        self.stamp = None
        if said == self.trouble:
            return
        self.trouble = said
        fields = {"file": str(self.path), "error": said}
        logger.warning(
            "the key in %s goes on as it was read last: %s",
            self.path,
            said,
            extra={"event": "key_unreadable", "fields": fields},
        )


class Keyring:
    """All keys of a config. `api` and `admin` say whether there are keys of either kind."""

    __slots__ = ("_keys", "_looked", "admin", "api")

    def __init__(self, keys: Iterable[_Key] = ()) -> None:
        self._keys = list(keys)
        self._looked = 0.0
        self.api = any(not key.caller.admin for key in self._keys)
        self.admin = any(key.caller.admin for key in self._keys)

    def find(self, presented: Sequence[bytes]) -> Caller | None:
        """Say whose key is among those presented; the time it takes tells nothing about keys."""
        digests = [sha256(one).digest() for one in presented]
        found: Caller | None = None
        for key in self._keys:
            for digest in digests:
                same = hmac.compare_digest(digest, key.digest)
                if same and (found is None or key.caller.admin):
                    found = key.caller
        return found

    def look(self, now: float) -> bool:
        """Look at the key files, at most once a second of `now`; True if a key has changed."""
        if now - self._looked < _LOOK_SECONDS:
            return False
        self._looked = now
        wall = time.time()
        return sum(key.look(wall) for key in self._keys) > 0  # each of them has to be looked at


def make_keyring(auth: AuthConfig, base: Path) -> Keyring:
    """Make the keyring of a config whose relative paths begin at `base`.

    Raises `ConfigError` if a key cannot be read; nothing else is touched then.
    """
    keys = []
    for kind, given in (("keys", auth.keys), ("admin_keys", auth.admin_keys)):
        for number, one in enumerate(given):
            try:
                keys.append(_make_key(one, base, admin=kind == "admin_keys"))
            except ValueError as error:
                raise ConfigError(f"`auth.{kind}.{number}` {error}") from None
    return Keyring(keys)


def _make_key(config: KeyConfig, base: Path, *, admin: bool) -> _Key:
    models = None if config.models is None else frozenset(config.models)
    caller = Caller(config.name, models, config.priority, admin)
    key = _Key(key_digest(config, base), caller, lambda: key_digest(config, base))
    key.path = key_path(config, base)
    return key
