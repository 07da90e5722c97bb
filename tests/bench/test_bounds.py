"""The bounds by the clock: two cases in truth, with slack for a busy machine, and the table."""

from __future__ import annotations

from bench.bounds import disconnect, hook, measure, text
from bench.memory import Row

SLACK = 3


def test_a_case_gives_the_worst_of_its_rounds_beside_its_bound() -> None:
    """A client that hangs up, and a hook that ignores TERM."""
    said: list[str] = []
    rows = measure([disconnect, hook], 1, said.append)
    assert len(said) == len(rows) == 2
    assert all(0 <= row.measured <= SLACK * row.bound for row in rows)
    page = text([*rows, Row("too late", 3, 2, "s")], 1)
    assert page.count("\n| ") == len(rows) + 3
    assert page.endswith("| too late | 3.00 s | <= 2 s | **missed** |")
