"""Figures of outcomes that are small enough to be worked by hand."""

from __future__ import annotations

import csv
import io
import json

import pytest

from llmux.simulate.outcome import Outcome, Row, Spell, figures, percentile
from llmux.simulate.report import refused, write_json, write_waits

OUTCOME = Outcome(
    "fifo",
    [
        Row("a", 10.0, 20.0, 25.0),
        Row("a", 12.0, 20.0, 22.0),
        Row("b", 15.0, 30.0, 40.0),
        Row("b", 16.0, None, 26.0),
    ],
    hooks=[
        Spell(11.0, 20.0, "wake", "a"),
        Spell(25.0, 26.0, "sleep", "a"),
        Spell(26.0, 30.0, "wake", "b"),
    ],
    switches=2,
)
KEYS = [
    "policy",
    "requests",
    "mean_wait",
    "p50_wait",
    "p95_wait",
    "p99_wait",
    "max_wait",
    "switches",
    "serving_share",
    "switching_share",
    "idle_share",
    "answered_within",
    "models",
]


def test_waits_run_from_arrival_to_the_start_of_service_or_to_the_refusal() -> None:
    row = figures(OUTCOME)
    assert row["requests"] == 4
    assert row["mean_wait"] == (10 + 8 + 15 + 10) / 4
    assert row["p50_wait"] == 10.0
    assert row["max_wait"] == 15.0
    assert row["models"] == {
        "a": {"requests": 2, "mean_wait": 9.0, "p99_wait": pytest.approx(9.98), "max_wait": 10.0},
        "b": {"requests": 2, "mean_wait": 12.5, "p99_wait": pytest.approx(14.95), "max_wait": 15.0},
    }


def test_shares_are_of_the_time_from_the_first_arrival_to_the_last_completion() -> None:
    row = figures(OUTCOME)
    assert row["serving_share"] == pytest.approx((5 + 10) / 30)
    assert row["switching_share"] == pytest.approx((9 + 5) / 30)
    assert row["idle_share"] == pytest.approx(1 / 30)


def test_a_hook_beside_answers_counts_as_switching_only() -> None:
    rows = [Row("a", 0.0, 0.0, 10.0), Row("b", 0.0, 8.0, 12.0)]
    row = figures(Outcome("p", rows, hooks=[Spell(5.0, 8.0, "wake", "b")], switches=1))
    assert row["serving_share"] == pytest.approx(9 / 12)
    assert row["switching_share"] == pytest.approx(3 / 12)
    assert row["idle_share"] == pytest.approx(0.0)


def test_who_was_refused_was_not_answered_within_any_limit() -> None:
    assert figures(OUTCOME, 10.0)["answered_within"] == 0.5
    assert figures(OUTCOME, 99.0)["answered_within"] == 0.75
    assert figures(OUTCOME)["answered_within"] is None
    assert refused(OUTCOME) == 1


def test_percentiles_are_linear_between_neighbours() -> None:
    assert percentile([1.0, 2.0, 4.0], 0.5) == 2.0
    assert percentile([1.0, 2.0, 4.0], 0.75) == 3.0
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) == 0.0


def test_json_is_a_list_with_one_object_a_policy() -> None:
    to = io.StringIO()
    write_json([OUTCOME, OUTCOME], to, 10.0)
    first, second = json.loads(to.getvalue())
    assert list(first) == KEYS
    assert first == second


def test_waits_are_one_line_a_request_and_policy() -> None:
    to = io.StringIO()
    write_waits([OUTCOME], to)
    lines = list(csv.DictReader(io.StringIO(to.getvalue())))
    assert lines[0] == {
        "policy": "fifo",
        "index": "0",
        "model": "a",
        "arrival": "10.000000",
        "start": "20.000000",
        "end": "25.000000",
    }
    assert lines[3]["start"] == ""
    assert len(lines) == 4
