"""The journal stays within its bound, beside its file, and out of the way of whoever is served."""

from __future__ import annotations

import json
import logging
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from llmux.core import recorded
from llmux.core.events import Surveyed
from llmux.core.lane import LaneSettings
from llmux.core.recorded import RecordedBoard
from llmux.core.ticket import Ticket
from llmux.simulate.journal import is_journal, lines
from llmux.telemetry.journal import FILES, MARK, Journal, predecessor

POLICY: tuple[str, dict[str, Any]] = ("fifo", {})


@pytest.fixture
def board() -> RecordedBoard:
    """A board on which `a` is awake."""
    made = RecordedBoard([LaneSettings("a"), LaneSettings("b")], survey=True)
    made.handle(Surveyed(("a",)), 0.0)
    return made


def serve(board: RecordedBoard, count: int, model: str = "a") -> None:
    """Let so many requests come and go."""
    for number in range(count):
        ticket = Ticket(board.lane(model), float(number))
        assert board.enter(ticket, float(number))
        board.leave(ticket, number + 0.5)


def said(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_the_awake_path_keeps_one_tuple_for_each_step(board: RecordedBoard) -> None:
    before = len(board.tape)
    serve(board, 3)
    assert [entry[1] for entry in list(board.tape)[before:]] == [
        recorded.ENTERED,
        recorded.LEFT,
    ] * 3


def test_requests_are_numbers_and_say_when_they_came_and_went(
    board: RecordedBoard, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal", board, POLICY, 10**6)
    serve(board, 2)
    journal.start()
    journal.close()
    begin, *facts = said(tmp_path / "journal")
    assert begin["models"][0]["name"] == "a"
    assert begin["policy"] == {"name": "fifo", "options": {}}
    assert [one for one in facts if one[1] in ("enter", "leave")] == [
        [0.0, "enter", 1, "a", True, 1.0, 0],
        [0.5, "leave", 1, None],
        [1.0, "enter", 2, "a", True, 1.0, 0],
        [1.5, "leave", 2, None],
    ]


def test_all_files_together_stay_within_the_bound(board: RecordedBoard, tmp_path: Path) -> None:
    """Each of four takes a quarter, the oldest goes, and each says what holds."""
    limit = 40_000
    path = tmp_path / "journal"
    journal = Journal(path, board, POLICY, limit)
    for _ in range(100):
        serve(board, 30)
        journal._turn()
    journal.close()
    files = [predecessor(path, number) for number in range(1, FILES)]
    assert sorted(tmp_path.iterdir()) == sorted([path, *files])
    assert sum(file.stat().st_size for file in (path, *files)) <= limit * 1.25  # a write is whole
    assert all(file.read_bytes().startswith(MARK) for file in (path, *files))
    assert [said(file)[0]["continues"] for file in files] == [True] * 3


def test_a_full_disk_is_told_once_and_left_behind(
    board: RecordedBoard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes meanwhile is lost and does not pile up; then it goes on, and says so."""
    caplog.set_level(logging.INFO, "llmux")
    path = tmp_path / "journal"
    journal = Journal(path, board, POLICY, 10**6)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        for _ in range(3):
            serve(board, 100)
            journal._turn()
            journal._retry_at = 0.0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(board.tape) == 0
    serve(board, 1)
    journal._turn()
    journal.close()
    told = [record.__dict__["event"] for record in caplog.records]
    assert told == ["journal_failed", "journal_recovered"]
    lines = path.read_bytes().splitlines()
    assert json.loads(lines[-3])[1] == "gap"
    assert json.loads(lines[-4])["continues"]


def test_more_than_the_tape_holds_is_a_gap(board: RecordedBoard, tmp_path: Path) -> None:
    """Where the writer does not come to it, the oldest facts go, and the journal says so."""
    serve(board, recorded.MOST)
    assert len(board.tape) == recorded.MOST
    journal = Journal(tmp_path / "journal", board, POLICY, 10**9)
    journal._turn()
    assert [one[1] for one in said(tmp_path / "journal")[1:3]] == ["gap", "enter"]


def test_a_second_gateway_does_not_write_into_it(
    board: RecordedBoard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Journal(tmp_path / "journal", board, POLICY, 10**6)
    first._turn()
    other = RecordedBoard([LaneSettings("z")])
    second = Journal(tmp_path / "journal", other, POLICY, 10**6)
    second._turn()
    assert "another gateway writes it" in caplog.text
    assert b'"z"' not in (tmp_path / "journal").read_bytes()


def test_a_policy_and_a_bound_may_change_on_the_way(board: RecordedBoard, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", board, POLICY, 10**6)
    journal.follow(("balance", {"patience_base_secs": 3}), 10**7)
    journal._turn()
    assert said(tmp_path / "journal")[-1][1:] == ["policy", "balance", {"patience_base_secs": 3}]
    assert journal.limit == 10**7


def test_a_disk_that_tears_even_the_next_begin_leaves_a_journal(
    board: RecordedBoard, tmp_path: Path
) -> None:
    """Two torn lines in a row, and a file whose first word is torn: all else is read."""
    path = tmp_path / "journal"
    journal = Journal(path, board, POLICY, 10**6)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for most in (5, 900, 1000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
            serve(board, 100)
            journal._turn()
            journal._retry_at = 0.0
            assert path.stat().st_size == most
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    serve(board, 1)
    journal._turn()
    journal.close()
    assert is_journal(path)
    kinds = [line.said[1] for line in lines([path]) if isinstance(line.said, list)]
    assert kinds[-3:] == ["gap", "enter", "leave"]


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
def test_a_file_that_an_operator_takes_away_is_begun_anew(
    board: RecordedBoard, tmp_path: Path, how: str
) -> None:
    """As logrotate does it: what is written goes to the path that the config names."""
    path = tmp_path / "journal"
    journal = Journal(path, board, POLICY, 10**6)
    journal._turn()
    if how == "deleted":
        path.unlink()
    else:
        path.rename(tmp_path / "old")
    if how == "replaced":
        path.touch()
    serve(board, 1)
    journal._turn()
    journal.close()
    begin, *facts = said(path)
    assert begin["continues"]
    assert [one[1] for one in facts] == ["enter", "leave"]


def test_where_files_cannot_change_places_the_journal_does_not_grow(
    board: RecordedBoard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Something stands where a predecessor would: no more is written than the bound says."""
    path = tmp_path / "journal"
    predecessor(path, 3).mkdir()
    predecessor(path, 2).touch()
    journal = Journal(path, board, POLICY, 40_000)
    sizes = []
    for _ in range(20):
        serve(board, 100)
        journal._turn()
        journal._retry_at = 0.0
        sizes.append(path.stat().st_size)
    assert sizes[-1] == sizes[-10] < 40_000
    assert caplog.text.count("cannot be written") == 1
    predecessor(path, 3).rmdir()
    serve(board, 1)
    journal._turn()
    journal.close()
    assert path.stat().st_size < sizes[-1] == predecessor(path, 1).stat().st_size


def test_what_is_no_file_is_neither_written_nor_renamed(
    board: RecordedBoard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A pipe stands for a device: root could rename /dev/null."""
    path = tmp_path / "journal"
    os.mkfifo(path)
    journal = Journal(path, board, POLICY, 4)
    serve(board, 1)
    journal._turn()
    journal.close()
    assert "what is there is no file" in caplog.text
    assert [one.name for one in tmp_path.iterdir()] == ["journal"]
