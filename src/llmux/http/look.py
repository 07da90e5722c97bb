"""The look into a body, for the model that it names, and for the length that it allows.

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
_LARGEST_LENGTH_LOOK: Final = 262_144
"""Bytes above which nobody looks for the length of an answer."""


class _Look(msgspec.Struct, gc=False):
    model: Any = None


_decode = msgspec.json.Decoder(_Look).decode


def model_in(body: bytes) -> str | None:
    """Name the model in a JSON body; None where there is none. Of two, the last counts."""
    try:
        model = _decode(body).model
    except (msgspec.MsgspecError, UnicodeDecodeError):
        model = _lenient(body)
    except RecursionError:
        return None
    if type(model) is not str:
        return None
    return model


class _Length(msgspec.Struct):
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None


_decode_length = msgspec.json.Decoder(_Length).decode


def most_tokens_in(body: bytes) -> int | None:
    """Say how many tokens the client allows for the answer; None where it does not say.

    Looked for only while a model is left: large bodies are not worth the stall.
    """
    if not body or len(body) > _LARGEST_LENGTH_LOOK:
        return None
    try:
        asked = _decode_length(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    for tokens in (asked.max_completion_tokens, asked.max_output_tokens, asked.max_tokens):
        if type(tokens) is int and tokens > 0:
            return tokens
    return None


def _lenient(body: bytes) -> object:
    """Read what the fast decoder refuses: lone surrogates, NaN, numbers without bounds."""
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
