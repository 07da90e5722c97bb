"""What `/llmux/decisions` tells: how things stand, and the last decisions, newest first.

It turns the board's rulings into plain data; times become seconds since 1970 here. Numbers that no
JSON can carry become null.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

from llmux.core.board import Switchboard
from llmux.core.explain import everybody, explain
from llmux.core.rulings import Ruling
from llmux.core.sentences import alternatives, decision, numbers, policy_rule, sentence

MOST: Final = 1000
"""Decisions that one answer may hold; there are never more than the board remembers."""


def decisions(
    board: Switchboard, now: float, wall: float, *, model: str | None = None, limit: int = MOST
) -> dict[str, Any]:
    """Return what the route answers; `now` is the board's clock, `wall` the same moment's time.

    NotRegisteredError for a model that is not there.
    """
    why = everybody(board, now) if model is None else {model: explain(board, model, now)}
    ago = wall - now
    found = [one for one in board.rulings.newest() if model is None or model in _about(one)]
    active = board.active
    page = {
        "time": wall,
        "active": None if active is None else active.name,
        "why": [{"model": name, "sentence": text} for name, text in why.items()],
        "decisions": [_told(one, ago) for one in found[: max(0, limit)]],
    }
    return {name: _plain(value) for name, value in page.items()}


def _about(ruling: Ruling) -> tuple[str | None, ...]:
    """The models whose story a ruling is part of: whoever was decided about, and who was left."""
    return (ruling.model, ruling.active)


def _told(ruling: Ruling, ago: float) -> dict[str, Any]:
    return {
        "number": ruling.number,
        "time": ruling.last + ago,
        "first_time": ruling.first + ago,
        "count": ruling.count,
        "rule": ruling.rule,
        "policy_rule": policy_rule(ruling),
        "decision": decision(ruling),
        "model": ruling.model,
        "active": ruling.active,
        "look_again_secs": None if ruling.until is None else ruling.until - ruling.last,
        "numbers": numbers(ruling),
        "alternatives": alternatives(ruling),
        "sentence": sentence(ruling),
    }


def _plain(value: Any) -> Any:
    """Make it fit for JSON: text that can be encoded, numbers that are finite, six decimals."""
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case bool() | int() | None:
            return value
        case float():
            return round(value, 6) if isfinite(value) else None
        case dict():
            return {str(_plain(str(key))): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case _:
            return _plain(str(value))
