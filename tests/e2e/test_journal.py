"""A gateway keeps a journal, and the journal can be played: the real process, hooks and verbs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from signal import SIGHUP, SIGKILL
from typing import Any

import pytest

from llmux.telemetry.journal import INTERVAL
from tests.e2e.house import House, until


def llmux(house: House, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llmux", *args],
        env=house.environment(),
        cwd=house.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def said(house: House, name: str = "journal") -> list[Any]:
    path = house.folder / name
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith(("]", "}"))]


def kinds(house: House) -> list[str]:
    return [line[1] for line in said(house) if isinstance(line, list)]


def test_a_story_is_played_to_the_same_decisions(house: House) -> None:
    """Waits, a death, a failed wake, a reload and two lives: the board decides as it did."""
    house.extra["journal"] = "journal"
    house.policy = {"name": "balance", "max_wait_secs": 5}
    house.models["c"]["wake"] = "exit 3"
    house.start()
    house.ask("a", max_tokens=50)
    held = house.hold("a", "one")
    waits = [house.queue("b", f"b{number}", max_tokens=10) for number in range(3)]
    house.release("one")
    assert {answer.result().who for answer in waits} == {"b"}
    assert held.result().who == "a"
    assert house.ask("c").status == 500
    house.ask("b", die="before")
    house.policy["max_wait_secs"] = 6
    house.write()
    house.tell(SIGHUP)
    house.logged("config_reloaded")
    house.ask("a")
    house.stop()
    house.start()
    house.ask("b")
    house.stop()
    played = llmux(house, "replay", "journal")
    assert (played.returncode, played.stderr) == (0, "")
    assert "facts from 2 starts of the gateway" in played.stdout
    assert "decided the same" in played.stdout
    assert " 0 orders" not in played.stdout
    assert " 0 answers" not in played.stdout
    journal = house.folder / "journal"
    journal.write_text(journal.read_text().replace('"sleep","a"', '"sleep","b"', 1))
    other = llmux(house, "replay", "journal")
    assert other.returncode == 1
    assert "then: sleep b" in other.stdout
    assert "now:  sleep a" in other.stdout


def test_last_week_under_another_policy(house: House) -> None:
    """The hooks' times, the models and the requests come from the journal; no config is read."""
    house.extra["journal"] = "journal"
    house.start()
    for model in ("a", "b", "a", "b"):
        house.ask(model)
    house.stop()
    (house.folder / "config.yaml").unlink()
    done = llmux(house, "simulate", "--trace", "journal", "--policy", "fifo,balance", "--json", "-")
    assert done.returncode == 0, done.stderr
    was, fifo, balance = json.loads(done.stdout)
    assert was["policy"] == "as it was (fifo)"
    assert [one["requests"] for one in (was, fifo, balance)] == [4, 4, 4]
    assert was["switches"] == fifo["switches"] == 4
    assert fifo["mean_wait"] == pytest.approx(was["mean_wait"], rel=0.5)


def test_nothing_of_what_was_said_is_in_it(house: House) -> None:
    """No body, no header, no key, and the files belong to one user alone."""
    house.extra |= {"journal": "journal", "auth": {"keys": ["s3cret-key"]}}
    house.start(env=house.environment())
    answer = house.ask(
        "a", headers={"authorization": "Bearer s3cret-key", "user": "s3cret"}, secret="s3cret"
    )
    assert answer.who == "a"
    house.ask("s3cret-model")
    house.stop()
    text = (house.folder / "journal").read_text()
    assert '"enter"' in text
    assert "s3cret" not in text
    assert "who are you" not in text
    assert (house.folder / "journal").stat().st_mode & 0o077 == 0


def test_after_kill_9_all_but_the_last_moment_is_there(house: House) -> None:
    house.extra["journal"] = "journal"
    house.start()
    house.ask("a")
    until(lambda: "leave" in kinds(house), "the journal is written", 3 * (INTERVAL + 0.5))
    house.stop(SIGKILL)
    with (house.folder / "journal").open("a") as journal:
        journal.write('[12.5,"ent')
    house.start()
    house.ask("a")
    house.stop()
    played = llmux(house, "replay", "journal")
    assert (played.returncode, played.stderr) == (0, "")
    assert "2 starts" in played.stdout


@pytest.mark.parametrize("place", ["missing/journal", "config.yaml", "."])
def test_what_cannot_be_written_costs_a_warning_and_nothing_else(house: House, place: str) -> None:
    """A directory that is not there, a file that is no journal, a directory in its place."""
    house.extra["journal"] = place
    house.start()
    assert house.ask("a").who == "a"
    [warning] = house.logged("journal_failed")
    assert Path(warning["path"]) == house.folder / place
    assert json.loads((house.folder / "config.yaml").read_text())["journal"] == place
    assert house.stop() == 0
