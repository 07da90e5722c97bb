"""What a config says about the doors: who may come in, from which pages, and under TLS or not.

A part of the schema (`llmux.config.model`) with its own values, because a key is more than a
scalar. No key is kept here: a text is turned into its digest where it is read. This file refuses
to know files and environments; `llmux.config.secrets` reads what stands there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmux.config.rules import Rule, key


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """One key: where it is found, whose it is, and what it opens.

    `value` is the name of a variable, a path as written, or 64 hexadecimal digits.
    """

    source: Literal["env", "file", "sha256"]
    value: str
    name: str = ""
    models: tuple[str, ...] | None = None
    priority: float | None = None


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Who may come in."""

    keys: tuple[KeyConfig, ...] = key(
        Rule(
            "keys",
            "The keys that open the models: a text, `{env: NAME}`, `{file: PATH}` or "
            "`{sha256: HEX}`; without any, everybody may use them.",
        ),
        (),
    )
    admin_keys: tuple[KeyConfig, ...] = key(
        Rule("keys", "The keys that open what shows the inside of the gateway, too."), ()
    )
    allowed_origins: tuple[str, ...] = key(
        Rule(
            "origins",
            "Pages that may call from a browser and read the answers, besides those on this "
            "machine: `https://chat.example.org`.",
        ),
        (),
    )

    def secret_variables(self) -> frozenset[str]:
        """The variables that are read as secrets; no hook gets to see them."""
        return frozenset(one.value for one in (*self.keys, *self.admin_keys) if one.source == "env")


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """The certificate under which the gateway speaks HTTPS; both keys or neither."""

    cert: str | None = key(
        Rule(
            "path",
            "The certificate with its chain, PEM; with it the gateway speaks HTTPS only.",
            nullable=True,
        ),
        None,
    )
    key: str | None = key(
        Rule("path", "The certificate's private key, PEM, without a passphrase.", nullable=True),
        None,
    )
