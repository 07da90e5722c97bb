"""The walk itself: it finds what is wrong, tells it shortly, and takes no two states for one."""

from __future__ import annotations

from random import Random

import pytest
from proof.forms import Key, KeyOf, key, key_of_twins
from proof.moves import Move, after, fair_moves, faults
from proof.twice import compare
from proof.walk import STARTS, Start, WalkError, main, replay, walk

from llmux.core.canonical import BoardForm
from llmux.core.lane import Phase
from llmux.core.plan import Stage
from llmux.core.switching import Switching
from llmux.core.wishes import Wishes
from proof import twice
from tests.core.world import World

DEADLINES = STARTS[0]
TWINS = [one for one in STARTS if one.key_of is key_of_twins]
SWAPPED = {"a": "b", "b": "a", "a?": "b?", "b?": "a?", "ab": "ba", "ba": "ab", "ab,": "ba,"}
SWAPPED |= {"a,": "b,", "b,": "a,"}


def moves(world: World) -> dict[str, Move]:
    """All that can happen, by name."""
    return {**dict(fair_moves(world)), **dict(faults(world, 3))}


def in_the_mirror(event: str) -> str:
    """The event with the two models' names changed."""
    return " ".join(SWAPPED.get(word, word) for word in event.split(" "))


@pytest.mark.parametrize("start", TWINS, ids=lambda one: one.name)
def test_a_story_and_its_mirror_image_have_one_key(start: Start) -> None:
    """Models with the same settings can change places, whatever has happened."""
    dice = Random(5)
    for _ in range(30):
        world, image = start.world(), start.world()
        for _ in range(25):
            if not moves(world):
                break
            event = dice.choice(sorted(moves(world)))
            other = in_the_mirror(event)
            world, image = after(world, moves(world)[event]), after(image, moves(image)[other])
            assert start.key_of(world) == start.key_of(image), event


@pytest.mark.parametrize("start", STARTS, ids=lambda one: one.name)
def test_states_of_one_key_go_on_alike(start: Start) -> None:
    """Whatever the key forgets opens no gate: from both come states of the same keys."""
    dice = Random(7)
    seen: dict[Key, tuple[World, frozenset[Key]]] = {}
    met = 0
    for _ in range(50):
        world = start.world()
        for _ in range(30):
            here = start.key_of(world)
            other = seen.get(here)
            if other is None:
                seen[here] = (world, ways(world, start.key_of))
            elif other[0] is not world:
                met += 1
                assert other[1] == ways(world, start.key_of), f"{other[0].form()}\n{world.form()}"
            if not moves(world):
                break
            world = after(world, dice.choice(list(moves(world).values())))
    assert met > 100


@pytest.mark.parametrize("start", STARTS, ids=lambda one: one.name)
def test_what_the_board_tells_apart_has_two_keys(start: Start) -> None:
    """But for what opens no gate, which is named here, and nothing else."""
    dice = Random(11)
    seen: dict[Key, object] = {}
    met = 0
    for _ in range(50):
        world = start.world()
        for _ in range(30):
            there = gates(world)
            met += key(world) in seen
            assert seen.setdefault(key(world), there) == there
            if not moves(world):
                break
            world = after(world, dice.choice(list(moves(world).values())))
    assert met > 100


def gates(world: World) -> BoardForm:
    """The board's own form without what opens no gate."""
    board = world.board
    form = board.canonical()
    unproven = {Phase.SLEEPING, Phase.QUARANTINED}
    lanes = tuple(
        lane._replace(level=0, stuck_level=0, proven=lane.proven and lane.phase not in unproven)
        for lane in form.lanes
    )
    plan = form.plan
    if plan is not None and plan.stage is not Stage.DRAINING:
        plan = plan._replace(prepared=True, cut=False, rides=False)
        if plan.recovering:
            plan = plan._replace(target="")
        if plan.stage is Stage.CLEANING:
            plan = plan._replace(source="")
    dirty = form.dirty and plan is None and not form.turn_asked
    return form._replace(lanes=lanes, plan=plan, dirty=dirty)


def ways(world: World, key_of: KeyOf) -> frozenset[Key]:
    """The keys of all states that can come next."""
    return frozenset(key_of(after(world, move)) for move in moves(world).values())


def test_a_broken_rule_is_told_as_the_shortest_list_of_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It can be replayed, and breaks there again; a shorter list does not exist."""
    monkeypatch.setattr(Switching, "_wanted", lambda *_: True)
    with pytest.raises(WalkError) as found:
        walk(DEADLINES, 2, states=5000, say=lambda _: None)
    told = str(found.value)
    assert "I6: " in told
    assert "again: python -m proof.walk deadlines --replay " in told
    events = [line.split(maxsplit=1)[1] for line in told.splitlines()[1:-1]]
    assert len(events) < 12
    with pytest.raises(WalkError, match="I6: "):
        replay(DEADLINES, events, say=lambda _: None)


def test_a_state_without_a_way_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy's Skip that nobody reconsiders leaves somebody waiting for ever."""
    monkeypatch.setattr(World, "_check_nobody_is_forgotten", lambda _: None)
    monkeypatch.setattr(Wishes, "_ask_later", lambda *_: None)

    def start() -> World:
        return World("a", "b", drain_timeout=None)

    with pytest.raises(WalkError, match="no way into one in which nobody waits"):
        walk(Start("small", "", start), 1, states=300, say=lambda _: None)


def test_two_walkers_find_what_one_finds(capsys: pytest.CaptureFixture[str]) -> None:
    """Level by level as many states and edges, whoever found them first."""
    told: list[list[str]] = []
    for processes in (1, 2):
        lines: list[str] = []
        walk(DEADLINES, 2, states=1500, processes=processes, say=lines.append)
        told.append([line.rpartition(",")[0] for line in lines])
    assert told[0] == told[1]


def test_the_command_says_what_it_has_covered(capsys: pytest.CaptureFixture[str]) -> None:
    """States, edges, depth, seconds, and whether it was the whole space."""
    assert main(["bare", "--requests", "1", "--states", "50", "--processes", "1"]) == 0
    said = capsys.readouterr().out
    for word in ("states", "edges", "depth", " s: ", "on the rim not walked on"):
        assert word in said
    assert main(["bare", "--replay", "found nothing", "arrive a", "turn"]) == 0
    assert "a 1 waiting" in capsys.readouterr().out
    assert main(["bare", "--replay", "hook"]) == 1
    assert "cannot happen here" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["nowhere"])


def test_a_whole_space_is_walked_to_its_end() -> None:
    """One request, no look at the start: nothing is left on the rim."""

    done = walk(Start("closed", "", _closed), 1, say=lambda _: None)
    assert done.rim == 0
    assert done.states >= 1


def test_worlds_of_one_key_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that forgets a rest is told; the key of the walk is not."""
    closed = Start("closed", "", _closed)
    assert compare(closed, 1, 60.0).whole
    blind = Start("blind", "", DEADLINES.world, lambda world: bytes([len(world.waiting)]))
    assert compare(blind, 1, 60.0).differs
    monkeypatch.setattr(twice, "STARTS", [closed, blind])
    assert twice.main(["closed"]) == 0
    assert "the whole space" in capsys.readouterr().out
    assert twice.main(["blind"]) == 1
    assert "but one does not, after " in capsys.readouterr().out


def _closed() -> World:
    world = World("a", "b")
    world.close()
    return world
