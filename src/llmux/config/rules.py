"""What can be said about a key of the config: its kind of value, its limits, and why it is there.

The schema (`llmux.config.model`) declares its keys with these words, and the reader and the
reference ask `rules` for them. This file refuses to know any key, and how a value is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import Enum
from typing import Any, Final, Literal

REQUIRED: Final = MISSING
"""Stands as the default of a key that a section must have."""


class Inherit(Enum):
    """The value of a model's key that says nothing: the key above it rules."""

    INHERIT = "as above"


INHERIT: Final = Inherit.INHERIT
"""The default of the keys of a model that have one above them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a key is read: which kind of value, and whether `null` may stand there."""

    kind: Literal[
        "port",
        "count",
        "seconds",
        "number",
        "bool",
        "text",
        "name",
        "choice",
        "alive",
        "env",
        "options",
        "state",
        "keys",
        "origins",
        "path",
    ]
    why: str
    """One sentence for the reference."""
    nullable: bool = False
    choices: tuple[str, ...] = ()
    since_2_4: bool = False
    """Whether llmux 2.4.0 knew the key."""
    above_zero: bool = False
    """Whether a duration of 0 would make no sense."""
    wish: bool = False
    """Whether it is a limit that one may wish for: its absence lifts no bound."""


def key(rule: Rule, default: Any = MISSING) -> Any:
    """Declare a key of a section, required if it has no default."""
    return field(default=default, metadata={"rule": rule})


def secs(
    default: float | Inherit | None,
    why: str,
    *,
    nullable: bool = True,
    old: bool = False,
    above_zero: bool = False,
    wish: bool = False,
) -> Any:
    """Declare a duration in seconds; `old` says that llmux 2.4.0 knew it."""
    rule = Rule("seconds", why, nullable=nullable, since_2_4=old, above_zero=above_zero, wish=wish)
    return key(rule, default)


def count(
    default: int | Inherit | None, why: str, *, nullable: bool = True, wish: bool = False
) -> Any:
    """Declare a whole number from 1 up."""
    return key(Rule("count", why, nullable=nullable, wish=wish), default)


def choice(default: str, other: str, why: str) -> Any:
    """Declare a choice between two words."""
    return key(Rule("choice", why, choices=(default, other)), default)


def rules(section: type[Any]) -> Iterator[tuple[str, Rule, Any]]:
    """Each key of a section with its rule and its default (`REQUIRED` if it has none)."""
    entry: Field[Any]
    for entry in fields(section):
        if "rule" in entry.metadata:
            made = entry.default_factory
            default = entry.default if made is MISSING else made()
            yield entry.name, entry.metadata["rule"], default
