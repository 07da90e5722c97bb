"""Turns the text of a scalar into what a key wants, as 2.4.0 would read it, or says why not.

Each reader is named after what it gives. It returns the value, or raises `ValueError` with the
words "must be ...". It refuses to know which key it reads for.
"""

from __future__ import annotations

import math
import re
from typing import Final

from llmux.config.nodes import Scalar

_WHOLE = re.compile(r"\+?(?:0x([0-9a-fA-F]+)|0o([0-7]+)|0b([01]+)|(0|[1-9][0-9]*))")
_BROKEN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LARGEST: Final = 2**64 - 1
_BOOLS: Final = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}


def whole(scalar: Scalar) -> int:
    """A whole number from 0 up; hexadecimal, octal and binary as YAML 1.2 writes them."""
    match = _WHOLE.fullmatch(scalar.value) if scalar.literal else None
    if match is None:
        raise ValueError("must be a whole number")
    hexadecimal, octal, binary, decimal = match.groups()
    for digits, base in ((hexadecimal, 16), (octal, 8), (binary, 2), (decimal, 10)):
        if digits is not None and len(digits) <= 64 and (number := int(digits, base)) <= _LARGEST:
            return number
    raise ValueError("must be below 2^64")


def seconds(scalar: Scalar) -> float:
    """A finite duration from 0 up, whole or fractional seconds."""
    if not scalar.literal:
        raise ValueError("must be a number of seconds")
    if _WHOLE.fullmatch(scalar.value):
        return float(whole(scalar))
    if not _BROKEN.fullmatch(scalar.value) or re.fullmatch(r"[+-]?0[0-9]+", scalar.value):
        raise ValueError("must be a number of seconds")
    number = float(scalar.value)
    if not math.isfinite(number) or number > _LARGEST:
        raise ValueError("must be below 2^64 seconds")
    if number < 0:
        raise ValueError("must not be negative")
    return number


def boolean(scalar: Scalar) -> bool:
    """`true` or `false`; YAML 1.1's yes, no, on and off are texts, as in 2.4.0."""
    if not scalar.literal or scalar.value not in _BOOLS:
        raise ValueError("must be true or false")
    return _BOOLS[scalar.value]


def text(scalar: Scalar) -> str:
    """Any text that a process can be given: no NUL, no half of a surrogate pair."""
    if not scalar.text:
        raise ValueError("must be a text, in double quotes")
    if "\0" in scalar.value:
        raise ValueError("must not contain a NUL character")
    if any("\ud800" <= c <= "\udfff" for c in scalar.value):
        raise ValueError("must not contain half of a surrogate pair")
    return scalar.value


def plain(scalar: Scalar) -> str | int | float | bool | None:
    """What the scalar says by itself, for settings whose schema somebody else knows."""
    if scalar.is_null:
        return None
    for read in (boolean, whole, seconds):
        try:
            return read(scalar)
        except ValueError:
            continue
    if scalar.literal and _BROKEN.fullmatch(scalar.value):
        number = float(scalar.value)  # what `seconds` refuses because it is negative
        return int(number) if re.fullmatch(r"-[0-9]{1,15}", scalar.value) else number
    return scalar.value
