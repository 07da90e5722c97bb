"""Every order of facts, walked breadth first on the real board as far as a test can afford.

Two models, at most two requests at a time, one order at a time; every fact in every state, alarms
ringing at any time. Each edge is checked by `World`; afterwards every state is shown to have a way
into a state in which nobody waits, by facts alone that a fair world brings about.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from llmux.core.lane import LaneSettings, Phase
from llmux.policy.base import Decision, Defer, Skip, SwitchNow
from tests.core.test_board_property import mortal
from tests.core.world import World

Move = Callable[[World], object]
STATES = int(os.environ.get("LLMUX_WALK_STATES", "2000"))
"""How many states each test walks. The whole space is a matter of minutes: give a number that is
never reached, `-s` to see the count, and `--timeout 0`."""


def fair_moves(world: World) -> Iterator[tuple[str, Move]]:
    """Facts that a fair world brings about sooner or later."""
    if world.turn:
        yield "turn", World.end_turn
    for model in world.consults:
        for name, decision in answers(model, list(world.board.lanes)):
            yield f"{model}? {name}", partial(World.answer, model=model, decision=decision)
    if world.prepare is not None:
        yield "prepared", World.prepared
    if world.hook is not None:
        yield "hook", World.hook_ends
    if world.board.surveying:
        yield "found nothing", World.surveyed
    for nth in range(len(world.inside)):
        yield f"served {nth}", partial(served, nth=nth)
    for kind, about in world.alarms:
        if isinstance(about, str):
            yield f"{kind} {about}", partial(World.ring, kind=kind, about=about)


def answers(model: str, models: list[str]) -> Iterator[tuple[str, Decision]]:
    """Each kind of answer, for the model asked about and for another."""
    yield "now", SwitchNow()
    yield "defer", Defer(1.0)
    yield "skip", Skip()
    for other in models:
        if other != model:
            yield f"now {other}", SwitchNow(other)


def unfair_moves(world: World) -> Iterator[tuple[str, Move]]:
    """Facts that may happen, but that nobody may count on."""
    if world.hook is not None:
        for left in ("asleep", "awake", "unclear") if world.hook.hook == "sleep" else ("asleep",):
            yield f"hook fails, {left}", partial(World.hook_ends, ok=False, left=left)
    if world.board.surveying:
        for awake, unclear in (("a", ""), ("ab", ""), ("b", "a"), ("", "ab")):
            yield (
                f"found {awake} and {unclear}",
                partial(World.surveyed, awake=awake, unclear=unclear),
            )
    for model in mortal(world):
        yield f"{model} dies", partial(World.dies, model=model)
        if world.board.lanes[model].phase is Phase.AWAKE:
            yield f"{model} hangs", partial(World.dies, model=model, hung=True)
    for one in world.board.quarantined:
        yield f"{one.name} recovers", partial(World.recovers, model=one.name)
    for nth in range(len(world.inside)):
        yield f"returns {nth}", partial(returns, nth=nth)
        yield f"answers {nth}", partial(answered, nth=nth)
    for nth in range(len(world.waiting)):
        yield f"gives up {nth}", partial(gives_up, nth=nth)
    for nth in range(len(world.waiting)):
        if ("deadline", list(world.waiting)[nth]) in world.alarms:
            yield f"deadline {nth}", partial(late, nth=nth)
    for number in world.orders:
        yield "withdraw", partial(World.withdraw, number=number)
    if world.closed:
        return
    if len(world.waiting) + len(world.inside) < 2:
        for model in world.board.lanes:
            yield f"arrive {model}", partial(World.arrive, model=model)
    if not world.orders:
        for model in world.board.lanes:
            yield f"order {model}", partial(World.order, model=model)
    yield "close", World.close


def served(world: World, nth: int) -> None:
    """A request that is inside ends."""
    world.leave(list(world.inside)[nth])


def returns(world: World, nth: int) -> None:
    """A request that is inside has lost its backend and waits again."""
    world.returns(list(world.inside)[nth])


def answered(world: World, nth: int) -> None:
    """The backend of a request that is inside has answered."""
    world.answered(list(world.inside)[nth])


def gives_up(world: World, nth: int) -> None:
    """A request that waits leaves."""
    world.leave(list(world.waiting)[nth])


def late(world: World, nth: int) -> None:
    """The deadline of a request that waits is over."""
    world.ring("deadline", list(world.waiting)[nth])


def after(world: World, move: Move) -> World:
    """Make the move in a copy of the world."""
    new = world.copy()
    new.now += 1.0
    move(new)
    return new


def walk(start: World, states: int) -> int:
    """Walk that many states, hold each edge and each way out, and return how many there were."""
    first = start.form()
    seen: dict[object, bool] = {first: nobody_waits(start)}
    fair_into: dict[object, set[object]] = {}
    unwalked: set[object] = set()
    edges = 0
    queue = deque([(start, first)])
    while queue:
        world, form = queue.popleft()
        if len(seen) >= states:
            unwalked.add(form)
            continue
        for fair, moves in ((True, fair_moves(world)), (False, unfair_moves(world))):
            for name, move in moves:
                try:
                    new = after(world, move)
                except AssertionError as error:
                    error.add_note(f"at {name!r} in {form}")
                    raise
                edges += 1
                to = new.form()
                if fair:
                    fair_into.setdefault(to, set()).add(form)
                if to not in seen:
                    seen[to] = nobody_waits(new)
                    queue.append((new, to))
    # Backwards from where nobody waits; a state on the rim of a bounded walk is not judged.
    good = deque([form for form, calm in seen.items() if calm or form in unwalked])
    reached = set(good)
    while good:
        for source in fair_into.get(good.popleft(), ()):
            if source not in reached:
                reached.add(source)
                good.append(source)
    stuck = [form for form in seen if form not in reached]
    assert not stuck, f"{len(stuck)} states without a way out, the first is {stuck[0]}"
    print(f"{len(seen)} states, {len(unwalked)} of them on the rim, {edges} edges")
    return len(seen)


def nobody_waits(world: World) -> bool:
    """Whether everybody was served or told, orders included."""
    return not world.waiting and not world.orders


def test_every_order_of_facts_keeps_the_invariants_and_has_a_way_out() -> None:
    """Two models with deadlines, cool-downs and drains that have a bound."""
    every: dict[str, Any] = {"request_timeout": 30.0, "min_active": 3.0, "drain_timeout": 10.0}
    assert walk(World("a", "b", **every), STATES) > 1000


def test_every_order_of_facts_without_any_bound() -> None:
    """No deadline, no cool-down, no bound for the drain; one model is not drained at all."""
    bare = LaneSettings("b", drain_before_switch=False, drain_timeout=None)
    assert walk(World(LaneSettings("a", drain_timeout=None), bare), STATES) > 1000


def test_every_order_of_facts_with_bounds_on_waiting_and_a_look_at_the_start() -> None:
    """One at a time inside, overdue early, and models that are found awake, or in between."""
    every: dict[str, Any] = {"max_wait": 5.0, "max_in_flight": 1, "max_queue": 1}
    assert walk(World("a", "b", survey=True, **every), STATES) > 1000
