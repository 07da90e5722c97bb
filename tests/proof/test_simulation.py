"""The fault simulation: everything holds, the same seed tells the same story, found seeds stay."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from proof.simulate import PHASES, main, seeds_of, simulate
from proof.story import tell

from llmux.core import switching

EVENTS = int(os.environ.get("LLMUX_SIMULATED_EVENTS", "1000000"))
"""How many events all parts of the test go through; `make simulate-faults` goes on."""
PARTS = 8
"""So many tests share them, for as many workers as there are."""

FOUND = {
    98: "a hint went on with a switch whose waiters had left, under those who were served",
    103: "a reload made room for those who waited and began a switch before they were let in",
    220: "a hook of a life that nobody remembers made its model wake after it was put to sleep",
}
"""Seeds in which something did not hold once, and what it was."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_everything_holds_under_faults_of_every_kind(part: int) -> None:
    """Stories from seeds of its own, over every phase of the switch, no violation."""
    done = simulate(range(part, 100_000, PARTS), events=EVENTS // PARTS)
    assert not done.violations
    assert done.events >= EVENTS // PARTS
    phases = {phase for _, phase in done.struck}
    assert phases >= set(PHASES[:9]), "from the look at the start to the quarantine"


@pytest.mark.parametrize("seed", FOUND, ids=str)
def test_what_was_found_once_holds_now(seed: int) -> None:
    """Each seed ever found is told again."""
    assert tell(seed).violation is None, FOUND[seed]


def test_the_same_seed_tells_the_same_story_in_any_process() -> None:
    """I13: two processes that hash differently write the same log."""
    told = set()
    for number in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "proof.simulate", "11-13", "--processes", "1"],
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
        )
        told.add(done.stdout.partition("log hash ")[2])
    assert len(told) == 1
    assert told != {""}


def test_a_violation_is_told_with_its_seed_and_the_end_of_its_story(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code says so, too."""
    monkeypatch.setattr(switching, "victims", lambda *_: ())
    assert main(["3-3", "--processes", "1"]) == 1
    said = capsys.readouterr().out
    assert "seed 3: " in said
    assert "python -m proof.simulate 3 --log" in said
    assert "VIOLATION" in said


def test_seeds_are_a_number_or_a_range_with_both_ends() -> None:
    assert list(seeds_of("7")) == [7]
    assert list(seeds_of("3-5")) == [3, 4, 5]
    for text in ("", "x", "5-3", "1-", "-1", "1-2-3"):
        with pytest.raises(ValueError, match="SEEDS"):
            seeds_of(text)
