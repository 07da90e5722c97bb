"""Frozen objects made in a third of the time, where one is made for each decision.

A frozen dataclass writes each of its fields by a detour. A draft is a plain class of the same
slots: what it makes is given its real class when it is complete, and nobody writes to it any more.
"""

from __future__ import annotations

from dataclasses import fields, make_dataclass
from typing import Any


def draft(kind: type) -> Any:
    """Return the draft of a frozen dataclass with slots; it takes all fields, in their order.

    Whoever calls it sets `__class__` to `kind` before anybody sees the object.
    """
    names = [one.name for one in fields(kind)]
    return make_dataclass(f"{kind.__name__}Draft", names, bases=kind.__bases__, slots=True)
