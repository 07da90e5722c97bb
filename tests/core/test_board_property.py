"""Any order of facts: the books balance, and nobody is forgotten.

The checker is `World`, outside the code. Numbers of examples are small here; each planted fault of
`tests/mutants` shows that they are enough.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from random import Random
from typing import Protocol, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof.moves import mortal

from llmux.core import events as ev
from llmux.core.lane import LaneSettings, Phase
from llmux.policy.base import Decision, Defer, Skip, SwitchNow
from tests.core.world import World

T = TypeVar("T")


class Dice(Protocol):
    """Whatever chooses: hypothesis, which can shrink a story, or a seed, which is quick."""

    def one(self, things: Iterable[T]) -> T:
        """Choose one of these."""
        ...


class Drawn:
    """Dice that hypothesis throws and learns from."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def one(self, things: Iterable[T]) -> T:
        """Choose one of these."""
        return self._data.draw(st.sampled_from(list(things)))


class Seeded:
    """Dice that fall alike for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def one(self, things: Iterable[T]) -> T:
        """Choose one of these."""
        return self._random.choice(list(things))


class Gate:
    """Something to await that the board must never await itself."""

    def __await__(self) -> Generator[None, None, object]:
        raise AssertionError("the board awaited something")


def lane(dice: Dice, name: str) -> LaneSettings:
    """A model with any settings that matter to the rules."""
    return LaneSettings(
        name,
        request_timeout=dice.one([None, 5.0]),
        min_active=dice.one([0.0, 3.0]),
        drain_before_switch=dice.one([True, True, False]),
        drain_timeout=dice.one([None, 4.0]),
        max_wait=dice.one([None, None, 2.0, 6.0]),
        max_in_flight=dice.one([None, None, 1, 2]),
        max_queue=dice.one([None, None, 3]),
    )


def decision(dice: Dice, models: list[str]) -> Decision:
    """Any answer, also for a model that nobody asked about, or that nobody knows."""
    target = dice.one([None, None, None, *models, "nobody"])
    kinds: list[Decision] = [
        SwitchNow(target),
        SwitchNow(target, free_ride=True),
        Defer(2.0, target),
        Defer(0.5, target),
        Defer(Gate(), target),
        Skip(None, target),
        Skip(0.0, target, "not worth it"),
    ]
    return dice.one(kinds)


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
    if world.board.surveying:
        kinds.append("survey")
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
    if mortal(world):
        kinds.append("dies")
    if world.board.quarantined:
        kinds.append("recovers")
    if world.inside:
        kinds += ["returns", "answers"]
    if not world.board.surveying and not world.closed:
        kinds.append("reload")
    kinds += ["announced"] if world.board.hint_secs is not None else []
    return [*kinds, "arrive", "arrive", "arrive by event", "order", "stale", "close"]


def happen(dice: Dice, world: World, kind: str) -> None:
    """Let one fact of this kind happen, chosen by the dice."""
    models = [name for name in world.board.lanes if name not in world.removed]
    one = dice.one
    world.now += one([0.0, 0.0, 0.25, 1.0])
    match kind:
        case "turn":
            world.end_turn()
        case "answer":
            world.answer(one(world.consults), decision(dice, models))
        case "prepared":
            world.prepared()
        case "hook" | "hook fails":
            left = one(["asleep", "awake", "unclear"])
            world.hook_ends(ok=kind == "hook", left=left)
        case "served":
            world.leave(one(world.inside))
        case "gives up":
            world.leave(one(world.waiting))
        case "survey":
            found = "".join(name for name in models if one([True, False]))
            cut = one(range(len(found) + 1))
            world.surveyed(found[cut:], found[:cut])
        case "dies":
            model = one(mortal(world))
            awake = world.board.lanes[model].phase is Phase.AWAKE
            world.dies(model, hung=awake and one([True, False]))
        case "recovers":
            world.recovers(one(lane.name for lane in world.board.quarantined))
        case "returns":
            world.returns(one(world.inside))
        case "answers":
            world.answered(one(world.inside))
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
            world.arrive(one(models), size=one([0, 5, 12]))
        case "arrive by event":
            world.arrive_by_event(one(models))
        case "order":
            if len(world.orders) < 3:
                world.order(one(models))
        case "announced":
            world.announce(one(models))
        case "withdraw":
            world.withdraw(one(world.orders))
        case "reload":
            if one(range(4)) == 0:
                reload(dice, world)
        case "close":
            if one(range(60)) == 0:
                world.close()
        case "stale":
            stale(dice, world)


def reload(dice: Dice, world: World) -> None:
    """Read a config anew that has changed in any way; some model is always left."""
    one = dice.one
    lanes = world.board.lanes
    models: list[LaneSettings] = []
    found: dict[str, str] = {"awake": "", "unclear": ""}
    kinds: dict[str, str] = {"renewed": "", "mended": ""}
    for name in "abcde":
        known = lanes.get(name)
        if one([True, True, False]) if known is None else one([True, False, False, False]):
            continue
        if known is None:
            models.append(lane(dice, name))
            state = one(["asleep", "asleep", "awake", "unclear"])
            if state != "asleep":
                found[state] += name
            continue
        models.append(lane(dice, name) if one([True, False]) else known.settings)
        kind = one(["same", "same", "renewed", "mended"])
        if kind != "same":
            kinds[kind] += name
    if any(name not in world.removed for name in (one.name for one in models)):
        policy, hint_secs = one([True, False, False]), one([2.0, None])
        world.reload(*models, **found, **kinds, policy=policy, hint_secs=hint_secs)


def stale(dice: Dice, world: World) -> None:
    """Tell something whose time is over, or that was never asked for."""
    model = dice.one(world.board.lanes)
    number = dice.one(range(31))
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
    events += [
        ev.PolicyAnswered("nobody", number, SwitchNow()),
        ev.DeferEnded("nobody"),
        ev.BackendDied("nobody", False),
        ev.Recovered("nobody"),
        ev.AlarmRang(("stuck", "nobody")),
    ]
    phase = world.board.lanes[model].phase
    if phase is not Phase.QUARANTINED:
        events.append(ev.Recovered(model))
    if phase not in {Phase.AWAKE, Phase.DRAINING}:
        events += [ev.BackendDied(model, False), ev.BackendDied(model, True)]
    if not world.board.surveying:
        events.append(ev.Surveyed((model,), ()))
    events += [ev.RequestReturned(one) for one in list(world.ended)[:1]]
    if gone is not None:
        events.append(ev.AlarmRang(("deadline", gone)))
    world.tell(dice.one(events))
    assert world.form() == before, "something that was over changed something"


def come_to_rest(world: World) -> None:
    """A fair world: hooks succeed, answers end, the policy says SwitchNow. All are served."""
    for step in range(600):
        kinds = facts(world, calm=True)
        if world.inside and step % 20 == 19:  # no answer lasts for ever, whatever else goes on
            world.leave(next(iter(world.inside)))
        elif "turn" in kinds:
            world.end_turn()
        elif "answer" in kinds:
            world.answer(next(iter(world.consults)), SwitchNow())
        elif "prepared" in kinds:
            world.prepared()
        elif "hook" in kinds:
            world.hook_ends()
        elif "survey" in kinds:
            world.surveyed()
        elif world.inside:
            world.leave(next(iter(world.inside)))
        elif "defer ends" in kinds:
            world.defer_ends(min(world.awaited))
        elif "alarm" in kinds:
            keys = [key for key in world.alarms if key[0] != "deadline"]
            world.ring(*min(keys, key=world.alarms.__getitem__))
        else:
            break
    for ticket in world.strays:
        world.leave(ticket)
    closed = world.closed
    assert closed or not world.removed, "a model that was removed is still there"
    assert closed or not world.outdated, "a model that has changed is still as it was"
    assert not world.waiting, f"waits for ever: {world.board}"
    assert not world.orders, "an order waits for ever"
    assert not world.inside
    assert world.board.buffered == 0
    assert not world.alarms
    assert not world.awaited
    assert world.started is None, "a switch has begun and never ended"
    assert all(lane.wish.value == "none" for lane in world.board.lanes.values())


def story(dice: Dice, names: Sequence[str], facts_at_most: int) -> World:
    """Let a world go through any facts, up to so many."""
    lanes = [lane(dice, name) for name in names]
    most = dice.one([None, 20])
    hint_secs = dice.one([None, 2.0])
    survey = dice.one([False, False, True])
    world = World(*lanes, survey=survey, max_buffered=most, hint_secs=hint_secs)
    world.weights = (1.0, 1.0, 4.0, 1.0, 0.25)
    for _ in range(dice.one(range(1, facts_at_most))):
        happen(dice, world, dice.one(facts(world)))
    return world


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_order_of_facts_balances_the_books_and_forgets_nobody(data: st.DataObject) -> None:
    """Whatever happens in whatever order, every fact leaves the invariants standing."""
    dice = Drawn(data)
    come_to_rest(story(dice, "abcd"[: dice.one([2, 3, 4])], 40))


@pytest.mark.parametrize("hundred", range(6))
def test_many_more_orders_of_facts_from_seeds(hundred: int) -> None:
    """The same with plain dice: quicker, and the same stories in every run."""
    for seed in range(hundred * 200, (hundred + 1) * 200):
        dice = Seeded(seed)
        try:
            come_to_rest(story(dice, "abcd"[: 2 + seed % 3], 150))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_copy_behaves_as_its_original_and_shares_nothing_with_it(data: st.DataObject) -> None:
    """What happens to a copy is not felt by the board that it was made of."""
    world = story(Drawn(data), "ab", 25)
    before = world.form()
    twin = world.copy()
    assert twin.form() == before
    come_to_rest(twin)
    assert world.form() == before
    world.check()
    come_to_rest(world)
    assert world.form() == twin.form()
