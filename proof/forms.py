"""Which states of a world are one state: as much is forgotten as opens no gate, and no more.

How often a model has failed in a row sets how long it rests and opens nothing; while a switch runs
nobody looks whether the policy has to be asked again, and its end always asks. Where two models
have the same settings, a state and its mirror image are one. Added is in which order those inside
have come, because one whose backend dies waits again in the place of its arrival. It refuses to
know who walks; `tests/proof/test_walk.py` holds that states of one key go on alike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tests.core.world import World

from llmux.core.canonical import BoardForm, PlanForm

Key = int
"""128 bits that stand for a state; the same only within one process and its forks."""

_OTHER = {"a": "b", "b": "a"}


def form(world: World) -> tuple[Any, ...]:
    """Return the form of a world without what opens no gate."""
    board, *rest = world.form()
    assert isinstance(board, BoardForm)
    lanes = tuple([lane._replace(level=0, stuck_level=0) for lane in board.lanes])
    dirty = board.dirty or board.plan is not None
    came = sorted([ticket.arrived for ticket in (*world.waiting, *world.inside)])
    here = tuple(
        [
            (
                tuple([came.index(ticket.arrived) for ticket in lane.inside]),
                len(world.returned & lane.waiting.keys()) if world.returned else 0,
            )
            for lane in world.board.lanes.values()
        ]
    )
    return (board._replace(lanes=lanes, dirty=dirty), *rest, here)


def mirrored(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the form that the world would have if its two models had changed names."""
    board, later, awaited, engines, (left, orphans), here = shape
    mirror = board._replace(
        lanes=board.lanes[::-1],
        awake=_names(board.awake),
        plan=_plan(board.plan),
        orders=_names(board.orders),
        restore=_other(board.restore),
    )
    return (
        mirror,
        frozenset([(kind, _other(name)) for kind, name in later]),
        frozenset(_names(awaited)),
        engines[::-1],
        (frozenset(_names(left)), orphans),
        here[::-1],
    )


def _other(name: str | None) -> str | None:
    return _OTHER.get(name, name) if name else name


def _names(names: Any) -> tuple[str | None, ...]:
    return tuple([_other(name) for name in names])


@lru_cache(None)
def _plan(plan: PlanForm | None) -> PlanForm | None:
    if plan is None:
        return None
    source, target = str(_other(plan.source)), str(_other(plan.target))
    leaving = tuple(str(_other(name)) for name in plan.leaving)
    return plan._replace(source=source, target=target, leaving=leaving)


def key(world: World) -> Key:
    """Return the key of a state of two models that may have different settings."""
    shape = form(world)
    return _both(hash(shape), hash((shape, 1)))


def key_of_twins(world: World) -> Key:
    """Return the key of a state and its mirror image: the two models have the same settings."""
    shape = form(world)
    one, other = hash(shape), hash(mirrored(shape))
    return _both(one, other) if one < other else _both(other, one)


def _both(one: int, other: int) -> Key:
    mask = (1 << 64) - 1
    return (one & mask) << 64 | (other & mask)


KeyOf = Callable[[World], Key]
