"""The bench of memory runs from end to end in small; its figures are nobody's promise here."""

from __future__ import annotations

from pathlib import Path

from bench.memory import Row, Sizes, measure, text


def test_every_case_gives_its_figures_beside_their_bounds(tmp_path: Path) -> None:
    small = Sizes(body=200_000, hook_output=1000, connections=10, names=20, stall_seconds=0.3)
    said: list[str] = []
    rows = measure(tmp_path, small, said.append)
    assert len(said) == len(rows) >= 6
    assert all(row.measured >= 0 for row in rows)
    page = text([*rows, Row("too much", 3, 2, "MiB")])
    assert page.count("\n| ") == len(rows) + 3
    assert page.endswith("| too much | 3.00 MiB | <= 2 MiB | **missed** |")
