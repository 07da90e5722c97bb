"""The bench of life runs from end to end in small; how near it comes is nobody's promise here."""

from __future__ import annotations

from pathlib import Path

from bench.live import BEGIN, END, PAGE, measure, text
from bench.live_run import scaled_load, scaled_options

from bench import report
from llmux.policy.balance import BalanceOptions
from llmux.simulate.workload import Job


def test_a_few_requests_are_played_simulated_and_replayed(tmp_path: Path) -> None:
    jobs = [Job(float(number), "ab"[number // 2 % 2], 1.0) for number in range(8)]
    load = scaled_load("a few", [*jobs, Job(99.0, "a", 1.0)], scale=20, secs=60)
    said: list[str] = []
    (case,) = measure(tmp_path, [load], cost=4.0, scale=20, say=said.append, policies=("balance",))
    for told in (case.live, case.simulated, case.replayed):
        assert told["requests"] == 8
        assert told["switches"] >= 2
        assert told["mean_wait"] > 0
    assert case.live["models"].keys() == {"a", "b"}
    assert "a few under balance" in said[-1]

    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nto be replaced\n{END}\nafter\n")
    report.write(text([case], cost=4.0, scale=20, command="a test"), page, BEGIN, END)
    written = page.read_text()
    assert "| a few | `balance` | 8 |" in written
    assert "to be replaced" not in written and written.endswith("after\n")
    assert BEGIN in PAGE.read_text()


def test_every_option_of_balance_is_scaled() -> None:
    scaled = BalanceOptions.read(scaled_options("balance", 10))
    assert BalanceOptions.read(scaled_options("balance", 1)) == BalanceOptions()
    for name in BalanceOptions.__dataclass_fields__:
        if name != "rate_windows_secs":
            assert getattr(scaled, name) == getattr(BalanceOptions(), name) / 10
    assert scaled.rate_windows_secs == (3.0, 30.0)
    assert scaled_options("fifo", 10) == {}
