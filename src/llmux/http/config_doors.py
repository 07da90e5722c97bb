"""The doors of a config, read from what it points at: keys, pages and certificate.

`read_doors` reads all of it and may fail, at a start as at a reload; what it gives can be hung into
a gateway that runs in one step that cannot. This file refuses to know when a config is read, and
what else follows it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from llmux.config import Config, server_context
from llmux.errors import ConfigError
from llmux.http.browser import BrowserGate
from llmux.http.keys import Keyring, make_keyring
from llmux.http.server import Gateway


@dataclass(frozen=True, slots=True)
class ConfigDoors:
    """The doors of a config, read and found good. `tls` is None where the config has none."""

    keyring: Keyring
    browser: BrowserGate
    tls: ssl.SSLContext | None

    def hang(self, gateway: Gateway) -> None:
        """Judge every request from now on by these; connections that are open stay open.

        A gateway cannot begin or cease to speak TLS while it listens: that part stays as it is.
        """
        gateway.change_doors(self.keyring, self.browser)
        gateway.renew_certificate(self.tls)


def read_doors(config: Config) -> ConfigDoors:
    """Read everything that `auth` and `tls` point at. ConfigError says what cannot be read."""
    keyring = make_keyring(config.auth, config.base)
    try:
        tls = server_context(config.tls, config.base)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return ConfigDoors(keyring, BrowserGate(config.host, config.auth.allowed_origins), tls)
