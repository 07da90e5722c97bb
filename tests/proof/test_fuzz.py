"""The fuzzer finds nothing in a bound, finds what is planted, and its finds can be tried again.

What it has found stands as a test beside the code that was mended.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import pytest
from proof.fuzz import bodies, hunt
from proof.fuzz.__main__ import main
from proof.fuzz.doors import TARGETS, plan
from proof.fuzz.hunt import Hung, once
from proof.fuzz.letter import read_answer
from proof.fuzz.target import Broken, Target

CASES = int(os.environ.get("LLMUX_FUZZED_CASES", "3000"))
"""How many cases the test tries; `make fuzz` goes on."""


def test_nothing_is_found_behind_any_door(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cases", str(CASES), "--processes", "1", "--seed", "7"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{said}" for name in TARGETS)
    assert "; 0 finds" in said


class _Door:
    """Does to some inputs what no door may do."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def run(self, data: bytes, dice: Random) -> str:
        if b"raise" in data:
            raise KeyError(data.decode())
        if b"break" in data:
            raise Broken("a promise")
        if b"eat" in data:
            self.kept.append(bytes(300 * len(data) + 2_000_000))
        if b"Q" in data:
            until = time.thread_time() + (len(data) / 65_536) ** 2 * 0.1
            while time.thread_time() < until:
                pass
        if b"hang" in data:
            raise Hung("no end")
        return "fine"

    def close(self) -> None:
        self.kept.clear()


def planted(word: bytes) -> Target:
    return Target("planted", lambda dice: word, _Door, [b"x"], share=1)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (b"raise", "KeyError at test_fuzz.py:"),
        (b"break", "Broken at test_fuzz.py:"),
        (b"eat", "3 bytes cost 2,00"),
        (b"Q", "s of CPU, "),
        (b"hang", "Hung at test_fuzz.py:"),
    ],
)
def test_each_rule_is_held(word: bytes, told: str) -> None:
    (find, *_) = hunt.hunt(planted(word), seed=1, cases=1).finds
    assert told in find.what
    assert not hunt.hunt(planted(b"harmless"), seed=1, cases=50).finds


def test_a_find_is_told_with_its_input_and_can_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bodies, "model_in", lambda body: "nobody")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    chosen = ["--only", "bodies", "--processes", "1"]
    assert main([*chosen, "--cases", "10"]) == 1
    said = capsys.readouterr().out
    assert "Broken at bodies.py:" in said
    again = said.splitlines()[-1].split()
    assert again[1:4] == ["python", "-m", "proof.fuzz"]
    assert main(again[4:]) == 1
    monkeypatch.undo()
    assert main(again[4:]) == 0
    assert "bodies: everything holds" in capsys.readouterr().out


def test_the_same_seed_tries_the_same_inputs() -> None:
    first, second = (hunt.hunt(TARGETS["bodies"], 3, 300) for _ in range(2))
    assert first.behaviours == second.behaviours
    assert len(first.behaviours) > 20


def test_cases_are_shared_out_whole_and_every_door_is_tried_early() -> None:
    jobs = plan(1_000_000, 0, list(TARGETS.values()))
    assert sum(job.cases for job in jobs) == pytest.approx(1_000_000, abs=len(TARGETS))
    assert len({(job.door, job.seed) for job in jobs}) == len(jobs)
    assert {job.door for job in jobs[: len(jobs) // 8]} == {*TARGETS}


def test_once_measures_an_input_by_itself() -> None:
    assert once(TARGETS["bodies"], b'{"model": "m"}') == ""
    assert "cost" in once(planted(b""), b"eat")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
    ],
)
def test_the_judge_of_answers_does_not_guess(data: bytes) -> None:
    assert read_answer(data, head_only=False, closed=True) is None


def test_the_judge_of_answers_reads_what_is_plain() -> None:
    head = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    seen = read_answer(head + b"2;a=b\r\nok\r\n0\r\n\r\nX", head_only=False, closed=True)
    assert seen is not None
    assert (seen.body, seen.complete, seen.rest, seen.interims) == (b"ok", True, b"X", 1)
    cut = read_answer(head + b"2\r\no", head_only=False, closed=True)
    assert cut is not None
    assert not cut.complete
