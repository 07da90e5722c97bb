"""A least wait that was found is not searched again, and is never taken for another's."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from bench.reference import Reference, key
from bench.scheduling import Pooled, least, limited, pool, together

from llmux.simulate.hooks import HookTimes
from llmux.simulate.synthetic import poisson
from llmux.simulate.workload import OpenLoop

ROOT = Path(__file__).parents[2]
ASKED = poisson("some", {"a": 0.1, "b": 0.1}, secs=200, seed=1)
HOOKS = HookTimes(11.0)


def of_seed(seed: int) -> OpenLoop:
    return poisson("some", {"a": 0.1, "b": 0.1}, secs=200, seed=seed)


def test_a_second_run_finds_what_the_first_has_searched(tmp_path: Path) -> None:
    file = tmp_path / "reference.json"
    first = Reference(file)
    named, wait, searched = least(of_seed, "11", 5, first, 1)
    assert searched
    first.add(named, wait, workload="some", cost="11", seed=1)
    again = Reference(file)
    assert least(of_seed, "11", 5, again, 1) == (named, wait, False)
    assert least(partial(limited, of_seed), "11", 5, again, 1) == (named, wait, False)
    assert least(of_seed, "30", 5, again, 1)[2], "another cost"
    assert least(of_seed, "11", 5, again, 2)[2], "another seed"


def test_the_command_prints_the_same_with_a_reference_that_was_kept(tmp_path: Path) -> None:
    file = tmp_path / "reference.json"
    case = {"workloads": "alternation", "costs": "60", "seeds": 1, "processes": 1}
    words = [f"--{name}={value}" for name, value in case.items()]

    def run() -> str:
        command = [sys.executable, str(ROOT / "bench/scheduling.py"), *words, f"--reference={file}"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    first, kept = run(), file.read_text()
    assert "balance/CV" in first and "balance in 10s+2C" in first
    assert run() == first
    assert file.read_text() == kept and len(kept.splitlines()) == 1


def test_a_key_is_of_all_that_a_least_wait_depends_on() -> None:
    first = ASKED.jobs[0]
    longer = replace(ASKED, jobs=(replace(first, service=first.service + 1), *ASKED.jobs[1:]))
    keys = {
        key(ASKED, HOOKS, None),
        key(longer, HOOKS, None),
        key(ASKED, replace(HOOKS, wake={"a": 3.0}), None),
        key(ASKED, HOOKS, 5),
        key(ASKED, HOOKS, 6),
    }
    assert len(keys) == 5
    assert key(ASKED, replace(HOOKS, jitter=0.5, seed=7), None) in keys, "it has no jitter"


def test_runs_that_share_a_file_or_were_killed_keep_what_they_found(tmp_path: Path) -> None:
    file = tmp_path / "reference.json"
    one, other = Reference(file), Reference(file)
    one.add("k1", 1.0)
    other.add("k2", 2.0)
    with file.open("a") as torn:
        torn.write('{"key": "k3", "lea')
    Reference(file).add("k4", 4.0)
    found = Reference(file)
    assert [found.get(name) for name in ("k1", "k2", "k3", "k4")] == [1.0, 2.0, None, 4.0]


def test_what_is_no_reference_is_refused_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_text('{"key": "k1", "least": 1.0}\n[]\n')
    with pytest.raises(SystemExit, match=r"figures\.json:2: that is no line of a reference"):
        Reference(file)


def test_the_share_within_a_limit_is_pooled_and_its_mean_is_plain(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ("fifo-2.4", "oldest", "balance")

    def part(waits: list[float]) -> Pooled:
        return Pooled(dict.fromkeys(names, waits), dict.fromkeys(names, 2), 1.0, limit=32.0)

    ratios = pool([part([1.0, 33.0]), part([32.0, 2.0])]).ratios()
    assert ratios["balance in 10s+2C"] == 0.75
    rows = [
        {"workload": "w", "cost": "11", "balance in 10s+2C": share, "balance/CV": ratio}
        for share, ratio in ((0.5, 1.0), (0.9, 4.0))
    ]
    whole = together(rows)
    assert whole["mean"] == {"balance in 10s+2C": 0.7, "balance/CV": pytest.approx(2.0)}
    assert whole["worst"] == {"balance in 10s+2C": 0.5, "balance/CV": 4.0}
    assert "together" in capsys.readouterr().out
