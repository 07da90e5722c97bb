"""Turns one scalar of a file into what its key wants, or says what it must be.

It refuses to know where in the file the scalar stands and what is reported: the reader does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmux.config import scalars
from llmux.config.findings import closest
from llmux.config.nodes import Node, Scalar
from llmux.config.rules import Rule


def value_of(scalar: Scalar, rule: Rule) -> Any:
    """Return what the scalar means by its rule; ValueError says what it must be."""
    if scalar.is_null and (rule.nullable or rule.kind != "text"):
        if rule.nullable:
            return None
        raise ValueError(f"must be {_WANTED[rule.kind]} and cannot be null")
    return _READERS[rule.kind](scalar, rule)


def wanted(rule: Rule) -> str:
    """Say what a value must be by its rule, as the end of a sentence."""
    return f"must be {_WANTED[rule.kind]}"


def variable(node: Node) -> str:
    """Return the name of a variable of the environment; ValueError where it is none."""
    name = scalars.text(node) if isinstance(node, Scalar) else ""
    if not name or "=" in name:
        raise ValueError("must be `inherit` or a list of names of variables")
    return name


def _port(scalar: Scalar, rule: Rule) -> int:
    del rule
    try:
        port = scalars.whole(scalar)
    except ValueError:
        port = 0
    if not 1 <= port <= 65535:
        raise ValueError("must be a whole number from 1 to 65535")
    return port


def _count(scalar: Scalar, rule: Rule) -> int:
    del rule
    if (count := scalars.whole(scalar)) < 1:
        raise ValueError("must be at least 1")
    return count


def _seconds(scalar: Scalar, rule: Rule) -> float:
    seconds = scalars.seconds(scalar)
    if rule.above_zero and not seconds:
        raise ValueError("must be above 0")
    return seconds


def _number(scalar: Scalar, rule: Rule) -> float:
    try:
        number = scalars.seconds(scalar)
    except ValueError:
        number = 0.0
    if not number:
        raise ValueError(f"must be {_WANTED[rule.kind]}")
    return number


def _state(scalar: Scalar, rule: Rule) -> str:
    if scalar.literal and scalar.value.lower() in _STATE_WORDS:
        raise ValueError(f"must be {_WANTED[rule.kind]}")
    return _text(scalar, rule)


def _text(scalar: Scalar, rule: Rule) -> str:
    del rule
    text = scalars.text(scalar)
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _name(scalar: Scalar, rule: Rule) -> str:
    text = _text(scalar, rule)
    if not text.isprintable() or text != text.strip():
        raise ValueError("must be printable, with no space around it")
    return text


def _choice(scalar: Scalar, rule: Rule) -> str:
    if scalar.value not in rule.choices:
        options = ", ".join(rule.choices[:-1])
        raise ValueError(f"must be {options} or {rule.choices[-1]}")
    return scalar.value


def _env(scalar: Scalar, rule: Rule) -> str:
    if scalar.value != "inherit":
        raise ValueError(f"must be {_WANTED[rule.kind]}")
    return scalar.value


_READERS: Final[Mapping[str, Any]] = {
    "port": _port,
    "count": _count,
    "seconds": _seconds,
    "number": _number,
    "bool": lambda scalar, rule: scalars.boolean(scalar),
    "text": _text,
    "name": _name,
    "choice": _choice,
    "env": _env,
    "state": _state,
    "path": _text,
}
_WANTED: Final[Mapping[str, str]] = {
    "port": "a whole number from 1 to 65535",
    "count": "a whole number",
    "seconds": "a number of seconds",
    "number": "a number above 0",
    "bool": "true or false",
    "text": "a text",
    "name": "a text",
    "choice": "a text",
    "env": "`inherit` or a list of names of variables",
    "state": "auto, off or a path",
    "path": "a path",
}


def remedy(node: Node, rule: Rule) -> str:
    """Say what would do in place of a value that was refused; "" where that is plain."""
    if isinstance(node, Scalar):
        if rule.kind == "choice" and (guess := closest(node.value, rule.choices)):
            return f"did you mean `{guess}`?"
        if rule.kind in ("port", "count", "seconds", "number", "bool") and not node.literal:
            return "write it without quotes"
        if rule.kind == "bool" and (word := _YES_NO.get(node.value.lower())):
            return f"did you mean `{word}`?"
        if rule.kind == "state" and (word := _STATE_WORDS.get(node.value.lower())):
            return f"did you mean `{word}`?"
    return "null lifts the bound" if rule.nullable and rule.kind in ("count", "seconds") else ""


_YES_NO: Final = {
    "yes": "true",
    "on": "true",
    "1": "true",
    "no": "false",
    "off": "false",
    "0": "false",
}
_STATE_WORDS: Final = {
    **dict.fromkeys(("false", "no", "none", "null", "~", "", "0"), "off"),
    **dict.fromkeys(("true", "yes", "on", "1"), "auto"),
}
"""Words that hardly mean a path; a file of such a name is written `./no`."""
