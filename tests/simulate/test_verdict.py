"""The sentence on top of a report: who is better, why, and what it leaves out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from llmux.simulate.outcome import Outcome, Row, Spell
from llmux.simulate.units import apart, lasting, marks, percent
from llmux.simulate.verdict import verdict

LONG = 100.0
"""When the last answer ends."""


def outcome(
    policy: str,
    waits: Sequence[float],
    switches: int,
    hooks: float = 20.0,
    recorded: str | None = None,
) -> Outcome:
    rows = [Row("a", 0.0, wait, LONG) for wait in waits]
    return Outcome(policy, rows, [Spell(0.0, hooks, "wake", "a")], switches, recorded=recorded)


def said(*outcomes: Outcome, limit: float | None = None) -> list[str]:
    return ["".join(sentence) for sentence in verdict(outcomes, limit)]


FIFO = outcome("fifo", [5.0, 9.0, 13.0], switches=10, hooks=40.0)
BALANCE = outcome("balance", [2.0, 4.0, 6.0], switches=6, hooks=20.0)


def test_the_better_one_is_named_with_the_reason() -> None:
    first, second = said(FIFO, BALANCE)
    assert first == (
        "balance begins to answer after 4.0 s in the mean where fifo needs 9.0 s: it switches "
        "40 % less often, and the accelerator serves 80 % of the time instead of 60 %."
    )
    assert second.startswith("The tail of balance is better, too: 1 % of the requests wait")


def test_a_worse_tail_is_told_in_the_next_breath() -> None:
    unfair = outcome("balance", [0.0, 0.0, 19.0], switches=6)
    first, second = said(FIFO, unfair)
    assert first.startswith("balance begins to answer after 6.3 s")
    assert second.startswith("But the tail of balance is worse: ")
    assert second.endswith("and the longest wait is 19 s instead of 13 s.")


def test_what_differs_by_less_than_one_percent_is_equal() -> None:
    close = outcome("balance", [5.0, 9.0, 12.9], switches=5, hooks=40.0)
    first, _ = said(FIFO, close)
    assert first == (
        "balance and fifo are equal within 1 %: a request waits 8.97 s and 9.00 s in the mean; "
        "balance switches 50 % less often."
    )


def test_who_switches_more_and_is_better_all_the_same_is_told_so() -> None:
    busy = outcome("balance", [1.0, 2.0, 3.0], switches=20, hooks=40.0)
    assert said(FIFO, busy)[0].endswith("needs 9.0 s, although it switches 100 % more often.")


def test_of_many_the_best_is_held_against_the_next_and_the_default() -> None:
    next_one = outcome("mine", [3.0, 5.0, 7.0], switches=8)
    first, _, third, fourth = said(FIFO, next_one, BALANCE)
    assert first.startswith("balance, the best of 3, begins to answer after 4.0 s")
    assert "where mine, the next, needs 5.0 s" in first
    assert third.startswith("The default, fifo, needs 9.0 s in the mean where balance needs 4.0 s")
    assert "better, too beside fifo" in fourth


def test_one_alone_is_described() -> None:
    first, second = said(FIFO)
    assert first.startswith("fifo begins to answer after 9.0 s in the mean: half of the requests")
    assert "the accelerator serves 60 % of the time" in second


def test_the_past_says_how_far_a_simulation_is_to_be_believed() -> None:
    past = outcome("as it was (fifo)", [5.0, 8.0, 11.0], switches=10, recorded="fifo")
    assert said(past, FIFO, BALANCE)[-1] == (
        "Really, fifo needed 8.0 s in the mean; simulated it needs 9.0 s, 12 % more: so far is "
        "the simulation to be believed."
    )
    assert "simulating it, too" in said(past, BALANCE)[-1]


def test_requests_that_timed_out_and_a_limit_have_their_sentence() -> None:
    rows = [*FIFO.rows, Row("a", 0.0, None, 30.0)]
    lossy = Outcome("fifo", rows, FIFO.hooks, 10)
    *_, lost, within = said(lossy, BALANCE, limit=5.0)
    assert lost.endswith("and count until then: 0 under balance, 1 under fifo.")
    assert within == "Answered within 5.0 s: 67 % under balance, 25 % under fifo."


def test_nobody_has_to_wait() -> None:
    free = outcome("fifo", [0.0, 0.0], switches=0)
    assert "half of the requests wait not at all" in said(free)[0]
    assert "equal within 1 %: a request waits 0 s under both" in said(free, free)[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.42, "0.42 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (252.0, "4 min 12 s"),
        (299.7, "5 min"),
        (1800.0, "30 min"),
        (7200.0, "2 h"),
        (11100.0, "3 h 05 min"),
        (180000.0, "2 d 2 h"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert lasting(seconds) == text


def test_numbers_that_differ_are_written_so_that_they_do() -> None:
    assert apart(4.12, 4.08) == ("4.12 s", "4.08 s")
    assert apart(4.0, 4.0)[0] == apart(4.0, 4.0)[1]
    assert [percent(share) for share in (0.0, 0.0005, 0.038, 0.38)] == [
        *("0 %", "<0.1 %", "3.8 %", "38 %")
    ]


def test_an_axis_has_round_moments() -> None:
    assert marks(0.0, 2400.0, 6) == [
        *((0.0, "0"), (600.0, "10 min"), (1200.0, "20 min"), (1800.0, "30 min")),
        (2400.0, "40 min"),
    ]
    assert [name for _, name in marks(3590.0, 3625.0, 4)] == [
        *("59 min 50", "60 min 00", "60 min 10", "60 min 20")
    ]
    assert [name for _, name in marks(0.0, 3 * 86400.0, 3)] == ["0", "1 d", "2 d", "3 d"]
