"""The schedules that were worked by hand on the page about simulation are those that come out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmux.policy import FifoPolicy
from llmux.simulate.engine import simulate
from llmux.simulate.fifo24 import simulate_fifo24
from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome
from llmux.simulate.traces import read_traces
from llmux.simulate.workload import OpenLoop
from tests.docs.pages import read, rows, section

HOOKS = HookTimes(cost=10.0)
TABLES = re.findall(
    r"(?:^\|.*\n)+", section(read("docs/simulate.md"), "Two schedules by hand"), re.M
)


def case(table: str, folder: Path) -> tuple[OpenLoop, list[list[float]]]:
    """The requests of a table as a trace, and its columns of times."""
    lines = rows(table)
    trace = folder / "case.csv"
    header = "t,model,prompt_tokens,output_tokens\n"
    trace.write_text(header + "".join(",".join(line[:4]) + "\n" for line in lines))
    return read_traces([trace]), [[float(cell) for cell in line[4:]] for line in lines]


def times(outcome: Outcome) -> list[list[float]]:
    return [[row.start or 0.0, row.end] for row in outcome.rows]


def test_the_page_has_two_schedules() -> None:
    assert len(TABLES) == 2


@pytest.mark.parametrize("table", TABLES)
def test_oldest_first_keeps_the_schedule_worked_by_hand(table: str, tmp_path: Path) -> None:
    workload, expected = case(table, tmp_path)
    outcome = simulate(workload, FifoPolicy(), HOOKS)
    assert times(outcome) == [pytest.approx(line[:2]) for line in expected]


@pytest.mark.parametrize("table", TABLES)
def test_the_original_keeps_its_own_schedule(table: str, tmp_path: Path) -> None:
    workload, expected = case(table, tmp_path)
    assert times(simulate_fifo24(workload, HOOKS)) == [
        pytest.approx(line[-2:]) for line in expected
    ]
