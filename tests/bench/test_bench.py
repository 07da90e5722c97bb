"""The bench runs from end to end on what is our own; its figures are nobody's promise."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.__main__ import measure
from bench.relay import Series

from bench import report


def test_one_tiny_round_of_everything_gives_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("house", "load", "report"):  # as on a machine without nginx and wrk
        monkeypatch.setattr(f"bench.{module}.find", lambda tool: None)
    monkeypatch.setattr("bench.relay.STREAMS", 20)
    results = measure(
        tmp_path,
        rounds=1,
        seconds=0.2,
        use_wrk=False,
        original=None,
        sizes=(2, 3),
        crowds=(5,),
        command="a test",
    )
    assert list(results.request_cost) == ["bare relay", "llmux"]
    assert all(len(one.values) == 1 for one in results.chunk_cost.values())
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(report.text(results), page)
    written = page.read_text()
    assert written.startswith("before") and written.endswith("after\n")
    assert "old" not in written
    for said in ("| llmux |", "added by a switch", "requests that wait", "a test"):
        assert said in written


def test_a_page_without_a_place_for_the_numbers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(ValueError, match="no place"):
        report.write("numbers", page)
    assert page.read_text() == "nothing here\n"


def test_ratios_are_paired_by_round() -> None:
    slow_machine_in_round_2 = Series([2.0, 20.0, 2.0])
    beside = Series([1.0, 10.0, 2.0])
    assert slow_machine_in_round_2.ratio(beside) == 2.0
    assert slow_machine_in_round_2.difference(beside) == 1.0
