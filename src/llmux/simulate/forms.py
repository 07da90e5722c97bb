"""The form of each line of a journal: which kinds there are, and what stands where in them.

A line that has another form is named before anything is made of it, so that whoever reads a
journal may take a number for a number. What a line means is the business of its readers; a kind
that is not here is theirs to judge, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from llmux.core.lane import LaneSettings

_FAR: Final = 1e12
"""Seconds, about 30,000 years: no clock of a journal is beyond."""
_Moment = Annotated[float, Meta(ge=-_FAR, le=_FAR)]
_Seconds = Annotated[float, Meta(ge=0.0, le=_FAR)]
_Weight = Annotated[float, Meta(gt=0.0, le=_FAR)]
_Count = Annotated[int, Meta(ge=0)]


class _Policy(Struct):
    name: str
    options: dict[str, Any]


class _Begin(Struct):
    wall: _Moment
    clock: _Moment
    continues: bool
    policy: _Policy
    rate_windows: list[_Weight]
    max_buffered: _Count | None
    models: list[LaneSettings]
    hint_secs: _Weight | None = None


class _Line(Struct, array_like=True, forbid_unknown_fields=True):
    when: _Moment
    kind: str


class _Enter(_Line):
    number: int
    model: str
    inside: bool
    weight: _Weight
    size: _Count
    late: _Seconds = 0.0


class _Leave(_Line):
    number: int
    most: int | None


class _Answered(_Line):
    model: str


class _Learned(_Line):
    pairs: list[tuple[str | None, str, _Seconds]]
    hooks: list[tuple[str, str, _Seconds]]


class _Chosen(_Line):
    name: str
    options: dict[str, Any]


class _Told(_Line):
    fact: Annotated[list[Any], Meta(min_length=1)]
    orders: list[Annotated[list[Any], Meta(min_length=2)]] = []


class _Named(Struct, array_like=True, forbid_unknown_fields=True):
    name: str


class _AboutRequest(_Named):
    number: int


class _AboutModel(_Named):
    model: str


class _Rang(_Named):
    kind: str
    about: int | str


class _Decided(_Named):
    model: str
    number: int
    kind: str
    about: bool | _Seconds | None
    target: str | None
    reason: str | None
    for_all: bool = False


class _HookEnded(_Named):
    number: int
    ok: bool
    duration: _Seconds
    error: str = ""
    exit_code: int | None = None
    left: str | None = None


class _Ordered(_Named):
    number: int
    model: str
    by: str = ""


class _Surveyed(_Named):
    awake: list[str]
    unclear: list[str] = []


class _Died(_Named):
    model: str
    hung: bool
    error: str = ""


class _Settings(Struct):
    models: list[LaneSettings]
    renewed: list[str]
    mended: list[str]
    awake: list[str]
    unclear: list[str]
    rate_windows: list[_Weight] | None
    max_buffered: _Count | None
    hint_secs: _Weight | None = None


class _Reconfigured(_Named):
    settings: _Settings


class _Hook(_Named):
    number: int
    hook: str
    model: str
    source: str | None
    target: str | None
    reason: str


class _Ended(_Named):
    number: int
    code: str | None


_LINES: Final[Mapping[str, type[_Line]]] = {
    "enter": _Enter,
    "leave": _Leave,
    "answered": _Answered,
    "learned": _Learned,
    "policy": _Chosen,
    "gap": _Line,
    "told": _Told,
}
_FACTS: Final[Mapping[str, type[_Named]]] = {
    "RequestWaits": _AboutRequest,
    "RequestReturned": _AboutRequest,
    "AlarmRang": _Rang,
    "PolicyAnswered": _Decided,
    "HookEnded": _HookEnded,
    "Reconfigured": _Reconfigured,
    "Looked": _Named,
    "TurnEnded": _Named,
    "DeferEnded": _AboutModel,
    "PrepareEnded": _AboutRequest,
    "OrderGiven": _Ordered,
    "OrderWithdrawn": _AboutRequest,
    "Announced": _AboutModel,
    "Returning": _AboutRequest,
    "Surveyed": _Surveyed,
    "BackendDied": _Died,
    "Recovered": _AboutModel,
    "GatewayClosing": _Named,
}
_ORDERS: Final[Mapping[str, type[_Named]]] = {
    "admit": _AboutRequest,
    "reject": _Ended,
    "cut": _Ended,
    "settle": _Ended,
    "hook": _Hook,
    "renew": _AboutModel,
    "forget": _AboutModel,
}


def check_begin(said: Mapping[str, Any]) -> None:
    """Check the object with which a file or a life begins; ValueError says what is odd."""
    _check_models(_converted(said, _Begin).models)


def check_line(said: list[Any]) -> None:
    """Check any other line; ValueError says what is odd."""
    kind = said[1]
    form = _LINES.get(kind, None) if isinstance(kind, str) else _Line
    if form is None:
        return
    line = _converted(said, form)
    if isinstance(line, _Told):
        name = line.fact[0]
        fact = _converted(line.fact, _FACTS.get(name, _Named) if isinstance(name, str) else _Named)
        if isinstance(fact, _Reconfigured):
            _check_models(fact.settings.models)
        for order in line.orders:
            _converted(order, _ORDERS.get(order[0], _Named) if _is_text(order[0]) else _Named)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _converted(said: Any, form: type[Any]) -> Any:
    try:
        return msgspec.convert(said, form)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def _check_models(models: list[LaneSettings]) -> None:
    for one in models:
        if not 0 < one.priority <= _FAR:
            raise ValueError(f"the priority of a model is {one.priority:g}")
