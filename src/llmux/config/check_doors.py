"""Judges `auth`, `tls` and `hooks.env` as a whole, once they are read: what they point at is there.

A mistake here ends the start, because a gateway that was meant to be closed must not run open. It
refuses to know how anything is read (`secrets`) and who obeys it.
"""

from __future__ import annotations

from collections.abc import Iterator

from llmux.config.doors import KeyConfig
from llmux.config.findings import closest, dotted
from llmux.config.model import Config
from llmux.config.nodes import Mark
from llmux.config.reader import SchemaReader
from llmux.config.secrets import key_digest, server_context

_TOP = Mark(1, 1)


def check_doors(config: Config, reader: SchemaReader) -> None:
    """Report every key that cannot be read, and a certificate that cannot be used."""
    first: dict[bytes, str] = {}
    for path, key in _keys(config):
        mark = reader.places.get(path, _TOP)
        try:
            digest = key_digest(key, config.base)
        except ValueError as error:
            reader.report(
                mark, f"{dotted(path)} {error}", hint="a key that is missing opens no door"
            )
            continue
        other = first.setdefault(digest, dotted(path))
        if other != dotted(path):
            reader.report(
                mark, f"{dotted(path)} is the same key as {other}", hint="keep one of them"
            )
        for model in key.models or ():
            if model not in config.models:
                guess = closest(model, config.models)
                hint = f"did you mean `{guess}`?" if guess else "name models of this file"
                reader.report(mark, f"{dotted(path)} names a model that is not there", model, hint)
    _check_hooks(config, reader)
    _check_tls(config, reader)


def _keys(config: Config) -> Iterator[tuple[tuple[str, ...], KeyConfig]]:
    for kind, keys in (("keys", config.auth.keys), ("admin_keys", config.auth.admin_keys)):
        for number, key in enumerate(keys):
            yield ("auth", kind, str(number)), key


def _check_hooks(config: Config, reader: SchemaReader) -> None:
    names = () if isinstance(config.hooks.env, str) else config.hooks.env
    for name in names:
        if name in config.auth.secret_variables():
            place = ("hooks", "env")
            message = f"{dotted(place)} gives hooks what `auth` reads as a secret"
            reader.report(reader.places.get(place, _TOP), message, name, "take it out of the list")


def _check_tls(config: Config, reader: SchemaReader) -> None:
    tls = config.tls
    if tls.cert is None and tls.key is None:
        return
    there, missing = ("cert", "key") if tls.key is None else ("key", "cert")
    mark = reader.places.get(("tls", there), _TOP)
    if tls.cert is None or tls.key is None:
        reader.report(mark, f"`tls` has no `{missing}`", hint="it needs both, `cert` and `key`")
        return
    try:
        server_context(tls, config.base)
    except ValueError as error:
        reader.report(reader.places.get(("tls", "cert"), _TOP), str(error))
