"""`llmux simulate` as somebody types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmux.cli.simulate import command

BALANCE = "llmux.policy.balance:BalancePolicy"
WORKLOAD = "poisson:a=.15,b=.15,secs=600"
CONFIG = """
models:
  a: {port: 8001, wake: "true", sleep: "true"}
  b: {port: 8002, wake: "true", sleep: "true", request_timeout_secs: 12}
policy: {name: "llmux.policy.balance:BalancePolicy", options: {patience_base_secs: 3}}
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words)


def figures(*words: str) -> list[dict[str, object]]:
    result = run(*words, "--json", "-")
    assert result.exit_code == 0, result.stderr
    rows: list[dict[str, object]] = json.loads(result.stdout)
    return rows


def test_policies_are_compared_in_one_table() -> None:
    result = run("--workload", WORKLOAD, "--policy", f"fifo,{BALANCE},fifo-2.4")
    assert result.exit_code == 0
    assert all(word in result.stdout for word in ("fifo-2.4", "p99", "switches/1,000", "idle"))


def test_the_same_seed_gives_the_same_figures_and_another_others() -> None:
    words = ("--workload", WORKLOAD, "--policy", BALANCE, "--jitter", "0.5", "--seed")
    first, again, other = (figures(*words, seed) for seed in ("1", "1", "2"))
    assert first == again
    assert first != other


def test_both_engines_give_the_same_figures() -> None:
    words = ("--workload", WORKLOAD, "--policy", f"fifo,{BALANCE}")
    heap, driver = (figures(*words, "--engine", engine) for engine in ("heap", "driver"))
    assert heap == driver


def test_hooks_may_differ_per_model() -> None:
    words = ("--workload", WORKLOAD, "--policy", "fifo")
    (dear,) = figures(*words, "--cost", "10")
    (cheap,) = figures(*words, "--wake-secs", "a=1,b=1", "--sleep-secs", "a=0,b=0")
    assert cheap["mean_wait"] < dear["mean_wait"]  # type: ignore[operator]


def test_a_limit_counts_those_who_waited_no_longer() -> None:
    (row,) = figures("--workload", WORKLOAD, "--policy", "fifo", "--limit-secs", "1000")
    assert row["answered_within"] == 1.0


def test_waits_are_written_one_line_a_request(tmp_path: Path) -> None:
    trace, waits = tmp_path / "trace.csv", tmp_path / "waits.csv"
    trace.write_text("t,model,prompt_tokens,output_tokens\n0,a,4000,40\n20,a,0,40\n")
    words = ("--trace", str(trace), "--waits", str(waits), "--policy", "fifo")
    assert run(*words, "--cost", "10", "--decode-rate", "20").exit_code == 0
    first, second = csv.DictReader(waits.read_text().splitlines())
    assert (first["start"], first["end"]) == ("9.000000", "12.000000")
    assert (second["start"], second["end"]) == ("20.000000", "22.000000")


def test_a_config_brings_models_settings_and_the_options_of_its_policy(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    words = ("--workload", WORKLOAD, "--policy")
    with_config = (*words, BALANCE, "--config", str(config))
    assert figures(*with_config) != figures(*words, BALANCE)
    result = run(*words, "fifo", "--config", str(config))
    assert "requests timed out while they waited" in result.stdout


def test_a_policy_that_needs_a_loop_goes_through_the_driver(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import asyncio\n"
        "from llmux.policy import SwitchNow, SwitchPolicy\n"
        "class Slow(SwitchPolicy):\n"
        "    async def on_pending_request(self, context):\n"
        "        await asyncio.sleep(0.1)\n"
        "        return SwitchNow()\n"
    )
    (row,) = figures("--workload", WORKLOAD, "--policy", str(tmp_path / "slow.py"))
    assert row["requests"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name the requests"),
        (("--workload", WORKLOAD, "--trace", "x.csv"), "name the requests"),
        (("--workload", "poison:a=1"), "did you mean poisson?"),
        (("--workload", WORKLOAD, "--policy", "nobody"), "there is no policy nobody"),
        (("--workload", WORKLOAD, "--policy", ","), "no policy is named"),
        (("--workload", WORKLOAD, "--wake-secs", "z=3"), "z stands nowhere in the requests"),
        (("--workload", WORKLOAD, "--wake-secs", "a"), "'a' is not MODEL=SECS"),
        (("--workload", WORKLOAD, "--jitter", "-1"), "not a number of at least 0"),
        (("--workload", WORKLOAD, "--decode-rate", "0"), "not a number above 0"),
        (("--trace", "none.csv"), "none.csv: No such file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words: tuple[str, ...], says: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_a_model_that_the_config_does_not_have_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    result = run("--workload", "poisson:a=1,zebra=1", "--config", str(config))
    assert result.exit_code == 2
    assert "zebra stands nowhere in" in result.stderr


@pytest.mark.parametrize("option", ["--json", "--waits", "--report"])
@pytest.mark.parametrize(
    ("where", "code"),
    [("nowhere/file", 2), (".", 2), ("/dev/full", 1)],
    ids=["no", "folder", "full"],
)
def test_a_file_that_cannot_be_written_is_named(
    option: str, where: str, code: int, tmp_path: Path
) -> None:
    """What is wrong with the name is said before the work, what is wrong with the disk after it."""
    to = str(tmp_path / where)
    done = run("--workload", "poisson:a=1,secs=20", option, to)
    assert done.exit_code == code
    assert done.stderr.startswith(f"{option}: {to} ")
    assert done.stderr.count("\n") == 1


def test_two_results_cannot_go_to_one_place(tmp_path: Path) -> None:
    to = str(tmp_path / "out")
    for place, said in ((to, to), ("-", "standard output")):
        done = run("--workload", "poisson:a=1,secs=20", "--json", place, "--waits", place)
        assert done.exit_code == 2
        assert done.stderr == f"--waits: --json is written to {said} already; name another file\n"
    assert not Path(to).exists()
    done = run("--workload", "poisson:a=1,secs=20", "--json", "/dev/null", "--waits", "/dev/null")
    assert done.exit_code == 0
