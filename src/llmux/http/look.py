"""The look into a body, for the model that it names.

It builds nothing but the one value: a 32 MB body costs 30 to 120 ms, and no thread would make
that cheaper for others, because the decoder keeps the interpreter for itself. What is not JSON,
not an object, or names no text names no model; nothing here raises.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

_LARGEST_SECOND_LOOK: Final = 33_554_432
"""Bytes above which the slower, more lenient decoder is not tried: it would stall others."""


class _Look(msgspec.Struct, gc=False):
    model: Any = None


_decode = msgspec.json.Decoder(_Look).decode


def model_in(body: bytes) -> str | None:
    """Name the model in a JSON body; None where there is none. Of two, the last counts."""
    try:
        model = _decode(body).model
    except msgspec.ValidationError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        model = _lenient(body)
    except RecursionError:
        return None
    if type(model) is not str:
        return None
    return model


def _lenient(body: bytes) -> object:
    """Read what real clients send although JSON forbids it: lone surrogates, NaN."""
    if body.lstrip()[:1] != b"{" or len(body) > _LARGEST_SECOND_LOOK:
        return None
    try:
        value = json.loads(body)
        model = value.get("model")
        if isinstance(model, str):
            model.encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return model
