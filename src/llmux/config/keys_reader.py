"""Reads the lists of `auth`: keys and origins.

What is wrong is reported with its place, and never shows what stood there: it may be a key. It
refuses to know whether a variable is set or a file is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Protocol

from llmux.config import scalars
from llmux.config.doors import KeyConfig
from llmux.config.findings import closest, dotted
from llmux.config.nodes import ListNode, MappingNode, Mark, Node, Scalar
from llmux.config.secrets import NOTHING, digest_of

_SOURCES: Final = ("text", "env", "file", "sha256")
_KEYS: Final = (*_SOURCES, "name", "models", "priority")
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_ORIGIN: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.IGNORECASE
)


class Report(Protocol):
    """Where findings and places go while a file is read."""

    places: dict[tuple[str, ...], Mark]

    def report(self, mark: Mark, message: str, found: str = "", hint: str = "") -> None:
        """Add a mistake."""


def take_keys(path: tuple[str, ...], node: Node, to: Report) -> tuple[KeyConfig, ...]:
    """Read a list of keys; in place of one that cannot be read stands one that nobody has."""
    found: list[KeyConfig] = []
    for number, (mark, one) in enumerate(_read_keys(node)):
        place = (*path, str(number)) if isinstance(node, ListNode) else path
        to.places[place] = mark
        if isinstance(one, KeyConfig):
            found.append(one)
        else:
            to.report(one.mark, f"{dotted(place)} {one}", hint=one.hint)
            found.append(KeyConfig("sha256", f"{number:064x}"))
    return tuple(found)


def take_origins(path: tuple[str, ...], node: Node, to: Report) -> tuple[str, ...]:
    """Read a list of origins."""
    try:
        return _read_origins(node)
    except Misread as misread:
        to.report(misread.mark, f"{dotted(path)} {misread}", misread.found, misread.hint)
        return ()


class Misread(ValueError):  # noqa: N818  (it is a finding in the making)
    """Something of a list that cannot be read: where, and what would do."""

    def __init__(self, mark: Mark, message: str, hint: str = "", found: str = "") -> None:
        super().__init__(message)
        self.mark = mark
        self.hint = hint
        self.found = found


def _read_keys(node: Node) -> Iterator[tuple[Mark, KeyConfig | Misread]]:
    """Read a list of keys, one after the other; a list that is none is one `Misread`."""
    if isinstance(node, Scalar) and node.is_null:
        return
    if not isinstance(node, ListNode):
        yield node.mark, Misread(node.mark, "must be a list", "write `[{env: NAME}]`")
        return
    for item in node.items:
        try:
            yield item.mark, _read_key(item)
        except Misread as misread:
            yield item.mark, misread
        except ValueError as error:
            yield item.mark, Misread(item.mark, str(error))


def _read_key(node: Node) -> KeyConfig:
    if isinstance(node, Scalar):
        return KeyConfig("sha256", _digest_of(node))
    if not isinstance(node, MappingNode):
        raise Misread(node.mark, "must be a text or a mapping", "such as `{env: NAME}`")
    entries = {key.value: (key, value) for key, value in node.entries}
    for word, (key, _) in entries.items():
        if word not in _KEYS:
            guess = closest(word, _KEYS)
            hint = f"did you mean `{guess}`?" if guess else f"the keys here are {', '.join(_KEYS)}"
            raise Misread(key.mark, "has a key that is not known", hint)
    sources = [name for name in _SOURCES if name in entries]
    if len(sources) != 1:
        raise Misread(node.mark, "must have exactly one of `text`, `env`, `file` and `sha256`")
    [source] = sources
    value = _value(source, _scalar(entries[source][1], source))
    name, models, priority = (
        entries[one][1] if one in entries else None for one in ("name", "models", "priority")
    )
    return KeyConfig(
        "env" if source == "env" else "file" if source == "file" else "sha256",
        value,
        "" if name is None else _name(_scalar(name, "name")),
        None if models is None else _models(models),
        None if priority is None else _priority(_scalar(priority, "priority")),
    )


def _scalar(node: Node, name: str) -> Scalar:
    if not isinstance(node, Scalar) or node.is_null:
        raise Misread(node.mark, f"has a `{name}` that is not a single value")
    return node


def _value(source: str, scalar: Scalar) -> str:
    if source == "text":
        return _digest_of(scalar)
    text = scalars.text(scalar).strip()
    if not text:
        raise Misread(scalar.mark, f"has an empty `{source}`")
    if source == "env" and "=" in text:
        raise Misread(scalar.mark, "names a variable that cannot be one")
    if source == "sha256":
        text = text.lower()
        if not _DIGEST.fullmatch(text):
            hint = "`printf %s KEY | sha256sum` prints it"
            raise Misread(scalar.mark, "has a `sha256` that is not 64 hexadecimal digits", hint)
        if text == NOTHING:
            raise Misread(scalar.mark, "has the `sha256` of an empty key")
    return text


def _digest_of(scalar: Scalar) -> str:
    if scalar.is_null:
        raise Misread(scalar.mark, "must be a text or a mapping", "such as `{env: NAME}`")
    try:
        return digest_of(scalars.text(scalar).strip()).hex()
    except ValueError as error:
        raise Misread(scalar.mark, str(error)) from None


def _name(scalar: Scalar) -> str:
    text = scalars.text(scalar).strip()
    if not text or not text.isprintable():
        raise Misread(scalar.mark, "has a `name` that cannot be printed")
    return text


def _models(node: Node) -> tuple[str, ...] | None:
    if isinstance(node, Scalar) and node.is_null:
        return None
    if not isinstance(node, ListNode) or not node.items:
        hint = "leave it out for all of them"
        raise Misread(node.mark, "must name at least one model in `models`, as a list", hint)
    return tuple(scalars.text(_scalar(item, "models")) for item in node.items)


def _priority(scalar: Scalar) -> float:
    try:
        number = scalars.seconds(scalar)
    except ValueError:
        number = 0.0
    if not number:
        raise Misread(scalar.mark, "must have a `priority` above 0", "1 is the usual one")
    return number


def _read_origins(node: Node) -> tuple[str, ...]:
    if isinstance(node, Scalar) and node.is_null:
        return ()
    if not isinstance(node, ListNode):
        raise Misread(node.mark, "must be a list", "write `[https://chat.example.org]`")
    found = []
    for item in node.items:
        text = scalars.text(item) if isinstance(item, Scalar) else ""
        if not _ORIGIN.fullmatch(text):
            hint = "such as `https://chat.example.org`: scheme, name and port, no path, no `*`"
            raise Misread(item.mark, "must name pages by their origins", hint, text)
        found.append(text)
    return tuple(found)
