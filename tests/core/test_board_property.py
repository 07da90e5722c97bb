"""Any order of facts: the books balance, and nobody is forgotten.

The checker is `World`, outside the code. Numbers of examples are small here; each planted fault of
`tests/mutants` shows that they are enough.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llmux.core import events as ev
from llmux.core.lane import LaneSettings
from llmux.policy.base import Decision, Defer, Skip, SwitchNow
from tests.core.world import World

Draw = Any


class Gate:
    """Something to await that the board must never await itself."""

    def __await__(self) -> Generator[None, None, object]:
        raise AssertionError("the board awaited something")


def lane(draw: Draw, name: str) -> LaneSettings:
    """A model with any settings that matter to the rules."""
    return LaneSettings(
        name,
        request_timeout=draw(st.sampled_from([None, 5.0])),
        min_active=draw(st.sampled_from([0.0, 3.0])),
        drain_before_switch=draw(st.sampled_from([True, True, False])),
        drain_timeout=draw(st.sampled_from([None, 4.0])),
    )


def decision(draw: Draw, models: list[str]) -> Decision:
    """Any answer, also for a model that nobody asked about, or that nobody knows."""
    target = draw(st.sampled_from([None, None, None, *models, "nobody"]))
    return draw(  # type: ignore[no-any-return]
        st.sampled_from(
            [
                SwitchNow(target),
                SwitchNow(target),
                Defer(2.0, target),
                Defer(0.5, target),
                Defer(Gate(), target),
                Skip(None, target),
                Skip(0.0, target, "not worth it"),
            ]
        )
    )


def facts(world: World, calm: bool = False) -> list[str]:
    """Name every kind of fact that can happen now; a calm world has no new wishes or faults."""
    kinds = []
    if world.turn:
        kinds.append("turn")
    if world.consults:
        kinds.append("answer")
    if world.prepare is not None:
        kinds.append("prepared")
    if world.hook is not None:
        kinds.append("hook")
    if world.inside:
        kinds.append("served")
    if world.awaited:
        kinds.append("defer ends")
    if any(key[0] != "deadline" for key in world.alarms):
        kinds.append("alarm")
    if calm:
        return kinds
    if world.hook is not None:
        kinds.append("hook fails")
    if world.waiting:
        kinds.append("gives up")
    if any(key[0] == "deadline" for key in world.alarms):
        kinds.append("deadline")
    if world.orders:
        kinds.append("withdraw")
    if world.ended:
        kinds.append("leave twice")
    return [*kinds, "arrive", "arrive", "arrive by event", "order", "stale", "close"]


def happen(draw: Draw, world: World, kind: str) -> None:
    """Let one fact of this kind happen, chosen by `draw`."""
    models = list(world.board.lanes)

    def one(things: Iterable[Any]) -> Any:
        return draw(st.sampled_from(list(things)))

    world.now += draw(st.sampled_from([0.0, 0.0, 0.25, 1.0]))
    match kind:
        case "turn":
            world.end_turn()
        case "answer":
            world.answer(one(world.consults), decision(draw, models))
        case "prepared":
            world.prepared()
        case "hook" | "hook fails":
            world.hook_ends(ok=kind == "hook")
        case "served":
            world.leave(one(world.inside))
        case "gives up":
            world.leave(one(world.waiting))
        case "leave twice":
            world.leave(one(world.ended))
        case "defer ends":
            world.defer_ends(one(sorted(world.awaited)))
        case "alarm":
            kind, about = one(key for key in world.alarms if key[0] != "deadline")
            world.ring(kind, about)
        case "deadline":
            kind, about = one(key for key in world.alarms if key[0] == "deadline")
            world.ring(kind, about)
        case "arrive":
            world.arrive(one(models))
        case "arrive by event":
            world.arrive_by_event(one(models))
        case "order":
            if len(world.orders) < 3:
                world.order(one(models))
        case "withdraw":
            world.withdraw(one(world.orders))
        case "close":
            if draw(st.integers(0, 7)) == 0:
                world.close()
        case "stale":
            stale(draw, world)


def stale(draw: Draw, world: World) -> None:
    """Tell something whose time is over, or that was never asked for."""
    model = draw(st.sampled_from(list(world.board.lanes)))
    number = draw(st.integers(0, 30))
    current = {*world.consults.values(), world.prepare, world.hook and world.hook.number}
    before = world.form()
    if number in current:
        return
    gone = next((one for one in world.ended if one.lane.settings.request_timeout), None)
    events: list[ev.Event] = [
        ev.PolicyAnswered(model, number, SwitchNow()),
        ev.PrepareEnded(number),
        ev.HookEnded(number, True, 1.0),
        ev.HookEnded(number, False, 1.0, "late"),
        ev.OrderWithdrawn(-1),
        ev.Looked(),
    ]
    if gone is not None:
        events.append(ev.AlarmRang(("deadline", gone)))
    world.tell(draw(st.sampled_from(events)))
    assert world.form() == before, "something that was over changed something"


def come_to_rest(world: World) -> None:
    """A fair world: hooks succeed, answers end, the policy says SwitchNow. All are served."""
    for _ in range(400):
        kinds = facts(world, calm=True)
        if "turn" in kinds:
            world.end_turn()
        elif "answer" in kinds:
            world.answer(next(iter(world.consults)), SwitchNow())
        elif "prepared" in kinds:
            world.prepared()
        elif "hook" in kinds:
            world.hook_ends()
        elif world.inside:
            world.leave(next(iter(world.inside)))
        elif "defer ends" in kinds:
            world.defer_ends(min(world.awaited))
        elif "alarm" in kinds:
            keys = [key for key in world.alarms if key[0] != "deadline"]
            world.ring(*min(keys, key=world.alarms.__getitem__))
        else:
            break
    assert not world.waiting, f"waits for ever: {world.board}"
    assert not world.orders, "an order waits for ever"
    assert not world.inside
    assert not world.alarms
    assert not world.awaited
    assert world.started is None, "a switch has begun and never ended"
    assert all(lane.wish.value == "none" for lane in world.board.lanes.values())


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_any_order_of_facts_balances_the_books_and_forgets_nobody(data: st.DataObject) -> None:
    """Whatever happens in whatever order, every fact leaves the invariants standing."""
    names = ["a", "b", "c", "d"][: data.draw(st.integers(2, 4))]
    world = World(*(lane(data.draw, name) for name in names))
    for _ in range(data.draw(st.integers(1, 60))):
        happen(data.draw, world, data.draw(st.sampled_from(facts(world))))
    come_to_rest(world)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_copy_behaves_as_its_original_and_shares_nothing_with_it(data: st.DataObject) -> None:
    """What happens to a copy is not felt by the board that it was made of."""
    world = World(*(lane(data.draw, name) for name in ("a", "b")))
    for _ in range(data.draw(st.integers(1, 25))):
        happen(data.draw, world, data.draw(st.sampled_from(facts(world))))
    before = world.form()
    twin = world.copy()
    assert twin.form() == before
    come_to_rest(twin)
    assert world.form() == before
    world.check()
    come_to_rest(world)
    assert world.form() == twin.form()
