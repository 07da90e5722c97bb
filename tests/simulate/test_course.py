"""The course of a simulation that is small enough to be worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmux.simulate.course import (
    Band,
    Depth,
    State,
    bands,
    depths,
    mean_depth,
    shares,
    steps,
    wakes,
)
from llmux.simulate.outcome import Outcome, Row, Spell

ROWS = [Row("a", 0.0, 4.0, 10.0), Row("b", 2.0, 20.0, 25.0), Row("b", 3.0, None, 8.0)]
HOOKS = [
    Spell(0.0, 4.0, "wake", "a"),
    Spell(12.0, 14.0, "sleep", "a"),
    Spell(14.0, 18.0, "wake", "b", ok=False),
    Spell(18.0, 20.0, "wake", "b"),
]
OUTCOME = Outcome("fifo", ROWS, HOOKS, switches=2)


def test_the_accelerator_does_one_thing_at_a_time() -> None:
    assert bands(OUTCOME) == [
        Band(0.0, 4.0, State.SWITCHING, "a"),
        Band(4.0, 10.0, State.SERVING, "a"),
        Band(10.0, 12.0, State.AWAKE, "a"),
        Band(12.0, 14.0, State.SWITCHING, "a"),
        Band(14.0, 20.0, State.SWITCHING, "b"),
        Band(20.0, 25.0, State.SERVING, "b"),
    ]


def test_a_model_that_is_put_to_sleep_first_was_awake_before() -> None:
    rows = [Row("b", 0.0, 9.0, 10.0)]
    hooks = [Spell(5.0, 6.0, "sleep", "a"), Spell(6.0, 9.0, "wake", "b")]
    first, *_ = bands(Outcome("as it was", rows, hooks, 1))
    assert first == Band(0.0, 5.0, State.AWAKE, "a")


def test_bands_say_of_the_time_what_the_figures_say() -> None:
    begin, end = OUTCOME.span
    lasted = dict.fromkeys(State, 0.0)
    for band in bands(OUTCOME):
        lasted[band.state] += (band.end - band.begin) / (end - begin)
    serving, switching, idle = OUTCOME.shares()
    assert lasted[State.SERVING] == pytest.approx(serving)
    assert lasted[State.SWITCHING] == pytest.approx(switching)
    assert lasted[State.AWAKE] == pytest.approx(idle)


def test_columns_show_shares_and_lose_nothing() -> None:
    found = shares(bands(OUTCOME), (0.0, 25.0), 5)
    assert found[State.SERVING, "a"] == pytest.approx([0.2, 1.0, 0.0, 0.0, 0.0])
    assert found[State.AWAKE, "a"] == pytest.approx([0.0, 0.0, 0.4, 0.0, 0.0])
    assert found[State.SERVING, "b"] == pytest.approx([0.0, 0.0, 0.0, 0.0, 1.0])


def test_a_queue_holds_who_waits_also_in_vain() -> None:
    moves = steps(row for row in ROWS if row.model == "b")
    assert moves == [(2.0, 1), (3.0, 1), (8.0, -1), (20.0, -1)]
    assert depths(moves, (0.0, 20.0), 2) == [pytest.approx((1.3, 2)), Depth(1.0, 1)]
    assert mean_depth(ROWS, (0.0, 20.0)) == pytest.approx((4 + 18 + 5) / 20)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 50)), min_size=1, max_size=30),
    st.floats(0, 60),
    st.floats(0.5, 90),
    st.integers(1, 40),
)
def test_the_mean_of_the_columns_is_the_mean_of_the_window(
    asked: list[tuple[float, float]], begin: float, lasts: float, columns: int
) -> None:
    rows = [Row("a", arrival, arrival + wait, arrival + wait) for arrival, wait in asked]
    window = (begin, begin + lasts)
    found = depths(steps(rows), window, columns)
    mean = sum(one.mean for one in found) / columns
    assert mean == pytest.approx(mean_depth(rows, window), abs=1e-6)
    assert all(one.mean <= one.most + 1e-6 for one in found)


def test_only_wakes_that_succeed_are_switches() -> None:
    assert wakes(OUTCOME, (0.0, 25.0), 10.0) == [1, 0, 1]
