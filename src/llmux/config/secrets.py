"""Reads what `auth` and `tls` point at: variables, key files, certificates.

Each function returns what was asked for, or raises `ValueError` with the end of a sentence that
begins with the key's name. No message contains a secret. It refuses to know the file's syntax and
who uses what it reads.
"""

from __future__ import annotations

import errno
import os
import ssl
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final

from llmux.config.doors import KeyConfig, TlsConfig

NOTHING: Final = sha256(b"").hexdigest()
_LARGEST_KEY: Final = 4096
"""Bytes: more does not fit into a field of a request beside the rest."""


def digest_of(key: str) -> bytes:
    """Give the SHA-256 of a key as it will be sent; ValueError if it never can be."""
    if not key:
        raise ValueError("is empty")
    if len(raw := key.encode()) > _LARGEST_KEY:
        raise ValueError(f"is longer than {_LARGEST_KEY} bytes")
    if any(c < " " or c == "\x7f" for c in key):
        raise ValueError("has a line break or a control character within it")
    return sha256(raw).digest()


def key_path(key: KeyConfig, base: Path) -> Path | None:
    """Where a key's file is, None for a key that has none."""
    return base / Path(key.value).expanduser() if key.source == "file" else None


def key_digest(key: KeyConfig, base: Path) -> bytes:
    """Read a key and give its SHA-256; relative paths begin at `base`."""
    if key.source == "sha256":
        return bytes.fromhex(key.value)
    if key.source == "env":
        found = os.environ.get(key.value)
        if found is None:
            raise ValueError(f"reads the variable {key.value}, and it is not set")
        return _judged(found, f"the variable {key.value}")
    path = key_path(key, base)
    assert path is not None
    try:
        raw = _content(path, _LARGEST_KEY + 16)
        return _judged(raw.decode("utf-8"), f"the file {path}")
    except UnicodeDecodeError:
        raise ValueError(f"reads the file {path}, and what stands there is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"reads the file {path}: {(error.strerror or '').lower()}") from None


def _content(path: Path, most: int = -1) -> bytes:
    """Read a file, at most so many bytes of it; OSError for what is none, such as a pipe.

    Key files are read while requests are served: nothing here may wait for a writer.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return file.read(most)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _judged(text: str, where: str) -> bytes:
    try:
        return digest_of(text.strip())
    except ValueError as error:
        raise ValueError(f"reads {where}, and what stands there {error}") from None


def server_context(tls: TlsConfig, base: Path) -> ssl.SSLContext | None:
    """Make the context of a server with this certificate; None where TLS is not asked for."""
    if tls.cert is None or tls.key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    cert, private = (base / Path(one).expanduser() for one in (tls.cert, tls.key))
    for name, path, kind in (
        ("cert", cert, b"-----BEGIN CERTIFICATE-----"),
        ("key", private, b"PRIVATE KEY-----"),
    ):
        try:
            content = _content(path)
        except OSError as error:
            raise ValueError(
                f"`tls.{name}` reads {path}: {(error.strerror or '').lower()}"
            ) from None
        if kind not in content:
            raise ValueError(f"`tls.{name}` reads {path}, and there is no such thing in it as PEM")
    try:
        context.load_cert_chain(cert, private, password=_no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"`tls.key` ({private}) does not belong to `tls.cert`") from None
        raise ValueError(f"`tls.cert` and `tls.key` cannot be used: {_words(error)}") from None
    except _PassphraseError:
        raise ValueError(
            f"`tls.key` ({private}) has a passphrase, and nobody can enter it"
        ) from None
    return context


class _PassphraseError(Exception):
    """The key asks for a passphrase."""


def _no_passphrase() -> str:
    raise _PassphraseError


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
