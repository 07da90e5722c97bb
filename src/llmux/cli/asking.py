"""How a verb asks a gateway that runs: found by the config, at the door with a key.

It knows addresses, keys and certificates; it refuses to know what is asked and who reads it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from llmux.cli.banner import api_url
from llmux.config import Config
from llmux.config.doors import KeyConfig
from llmux.config.secrets import key_path
from llmux.config.written import written_keys

PATIENCE: Final = 10.0
"""Seconds after which a gateway that does not answer counts as not there."""
VARIABLE: Final = "LLMUX_ADMIN_KEY"
_LARGEST_ANSWER: Final = 16_000_000


class NotThereError(Exception):
    """Nobody answers where the gateway should be, or it is not a gateway."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the gateway answered."""

    status: int
    body: bytes


def ask(config: Config, target: str, key: str | None = None) -> Reply:
    """GET a path of the gateway of this config; NotThereError with a sentence where none answers.

    A gateway on every address is asked on the loopback. Under TLS only who holds the config's own
    certificate is believed.
    """
    url = urlsplit(api_url(config))
    where = f"{url.scheme}://{url.netloc}"
    headers = {"host": url.netloc, "accept": "application/json", "connection": "close"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    host, port = url.hostname or "", url.port or config.port
    connection: http.client.HTTPConnection
    try:
        if url.scheme == "https":
            context = _own_certificate(config)
            connection = http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(_LARGEST_ANSWER))
    except ssl.SSLError as error:
        raise NotThereError(f"{where} is not believed: {error.reason or error}") from None
    except OSError as error:
        raise NotThereError(f"no gateway answers at {where}: {_words(error)}") from None
    except http.client.HTTPException as error:
        raise NotThereError(f"what answers at {where} is no llmux: {error!r}") from None
    except UnicodeEncodeError:
        raise NotThereError("the key has a character in it that no request can carry") from None


def admin_key(config: Config, given: str | None = None) -> str | None:
    """Return the key to show: the one given, the variable's, or one that the config leads to.

    Where the config has no `admin_keys` it is one of `keys`. None where there is none to find: a
    digest alone opens nothing.
    """
    if given or (given := os.environ.get(VARIABLE)):
        return given.strip()
    section = "admin_keys" if config.auth.admin_keys else "keys"
    keys: tuple[KeyConfig, ...] = getattr(config.auth, section)
    for one in keys:
        if one.models is None and (found := _found(one, config.base)):
            return found
    written = written_keys(config.path, section) if config.path is not None and keys else []
    return written[0].strip() if written else None


def _found(key: KeyConfig, base: Path) -> str | None:
    """Read a key from where the config says that it stands."""
    path = key_path(key, base)
    try:
        text = os.environ.get(key.value) if key.source == "env" else path and path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return text.strip() if text else None


def _own_certificate(config: Config) -> ssl.SSLContext:
    """Believe the certificate that stands in the config, whatever address it is for."""
    cert = config.base / Path(config.tls.cert or "").expanduser()
    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came within {PATIENCE:g} s"
    return (error.strerror or str(error) or type(error).__name__).lower()
