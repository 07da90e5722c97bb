"""Stories of lulls: who left, who came, and how long it was quiet between."""

from __future__ import annotations

from random import Random

from llmux.core.lulls import KEPT, Lulls
from llmux.core.view import snapshot
from tests.core.world import World


def test_a_lull_lasts_from_the_last_answer_to_the_next_request() -> None:
    lulls = Lulls()
    lulls.read_exits([(0.0, 5.0), (1.0, 7.0)], inside=None)
    lulls.read_arrivals([(0.0, 1.0), (1.0, 1.0)])
    assert (lulls.lengths, lulls.begun) == ((), [7.0])
    lulls.read_arrivals([(9.5, 1.0)])
    assert (lulls.lengths, lulls.begun) == ((2.5,), [])


def test_whoever_is_still_inside_makes_no_lull() -> None:
    lulls = Lulls()
    lulls.read_exits([(0.0, 5.0), (1.0, 7.0)], inside=6.0)
    assert lulls.begun == []
    lulls.read_exits([(8.0, 9.0)], inside=9.5)
    assert lulls.begun == [9.0]


def test_only_the_latest_lulls_are_kept() -> None:
    lulls = Lulls()
    for number in range(20):
        lulls.read_exits([(10.0 * number, 10.0 * number + 1)], inside=None)
        lulls.read_arrivals([(10.0 * number + 1 + number, 1.0)])
    assert lulls.lengths == tuple(float(number) for number in range(20 - KEPT, 20))


def test_lulls_read_late_and_all_at_once_are_those_that_were() -> None:
    for seed in range(50):
        dice = Random(seed)
        now, empty_since = 0.0, None
        inside: list[float] = []
        arrivals: list[tuple[float, float]] = []
        exits: list[tuple[float | None, float]] = []
        lengths: list[float] = []
        for _ in range(60):
            now += dice.expovariate(1.0)
            if inside and dice.random() < 0.6:
                exits.append((inside.pop(dice.randrange(len(inside))), now))
                empty_since = now if not inside else None
            else:
                if empty_since is not None:
                    lengths.append(now - empty_since)
                empty_since = None
                inside.append(now)
                arrivals.append((now, 1.0))
        lulls = Lulls()
        lulls.read_exits(exits, min(inside, default=None))
        lulls.read_arrivals(arrivals)
        assert lulls.lengths == tuple(lengths[-KEPT:])
        assert lulls.begun == ([] if empty_since is None else [empty_since])


def test_the_snapshot_shows_the_lulls_of_a_model_also_while_it_sleeps() -> None:
    world = World("a", "b")
    for lane in world.board.lanes.values():
        lane.rate_windows, lane.arrival_sums = (30.0,), (0.0,)
    first = world.wake("a")
    world.now += 3.0
    world.leave(first)
    emptied = world.now
    world.wake("b")
    world.now += 5.0
    assert snapshot(world.board, world.now).models["a"].lull_since == emptied
    world.arrive("a")
    view = snapshot(world.board, world.now).models["a"]
    assert (view.lulls, view.lull_since) == ((world.now - emptied,), None)
