"""Whether the bounds that are counted in seconds hold: each against a real gateway, by the clock.

`python -m bench.bounds` (or `make bench-bounds`) measures, prints, and writes the table of
`docs/hardening.md`. Each figure is the worst of some rounds; one above its bound ends the command
with 1. The gateway, its hooks and its backends are those of the end-to-end stories. This file
refuses to know how the gateway keeps its bounds.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from typing import Final

from tests.e2e.house import House, name_of, until

from bench import report
from bench.house import ROOT
from bench.machine import describe, load_average
from bench.memory import Row, table

PAGE: Final = ROOT / "docs" / "hardening.md"
BEGIN: Final = "<!-- bounds: begin (written by `make bench-bounds`, do not edit) -->"
END: Final = "<!-- bounds: end -->"
STUBBORN: Final = "trap '' TERM; sleep 3600 & while :; do sleep 3600; done"
"""A hook that does not end, and neither does what it has started, by asking nicely."""

Case = Callable[[House], list[Row]]


def pid_of(house: House, model: str) -> int:
    """The process of a model's backend."""
    return int((house.folder / f"{house.ports[model]}.pid").read_text())


def since(began: float) -> float:
    """Seconds since a moment of the monotonic clock."""
    return time.monotonic() - began


def last_wake(house: House) -> float:
    """Seconds that the latest wake hook took by itself."""
    ended = house.logged("hook_completed", hook="wake", count=2)[-1]
    return float(ended["duration_secs"])


# ---- the cases --------------------------------------------------------------------------------


def idle_death(house: House) -> list[Row]:
    """A backend is killed while nobody asks; the next request pays its wake and little more."""
    house.start()
    house.ask("a")
    os.kill(pid_of(house, "a"), SIGKILL)
    answer = house.ask("a")
    assert answer.who == "a"
    beyond = answer.seconds - last_wake(house)
    return [Row("a backend killed while idle: served again, beyond its wake", beyond, 3, "s")]


def death_in_a_stream(house: House) -> list[Row]:
    """A backend is killed in the middle of an answer; counted from the kill."""
    house.start()
    stream = house.open("a", stream=True, words=1, hold_rest="never")
    stream.read_until(b"a0 ")
    began = time.monotonic()
    os.kill(pid_of(house, "a"), SIGKILL)
    stream.read_to_end()
    assert house.ask("a").who == "a"
    beyond = since(began) - last_wake(house)
    return [Row("a backend killed in a stream: served again, beyond its wake", beyond, 3, "s")]


def broken_neighbour(house: House) -> list[Row]:
    """A model that never wakes is asked in turn with a healthy one."""
    house.models["b"]["wake"] = "exit 1"
    house.start()
    failed = 0
    for _ in range(6):
        house.send("b")
        failed += house.ask("a").status != 200
    case = "a model that never wakes: what the healthy one beside it does not answer"
    return [Row(case, failed, 0, "of 6")]


def drain(house: House) -> list[Row]:
    """A stream without end, while another model is wanted."""
    house.models["a"]["drain_timeout_secs"] = 1.0
    house.start()
    stream = house.open("a", stream=True, words=1, hold_rest="never")
    stream.read_until(b"a0 ")
    began = time.monotonic()
    other = house.send("b")
    stream.read_to_end()
    beyond = since(began) - 1.0
    assert other.result(60).who == "b"
    return [Row("an answer that runs on in a drain: cut, beyond its bound", beyond, 1, "s")]


def hook(house: House) -> list[Row]:
    """A wake hook that ignores TERM, as does all that it has started."""
    house.models["a"] |= {"wake": STUBBORN, "wake_timeout_secs": 1.0}
    house.start()
    assert house.ask("a").status == 500
    (failed,) = house.logged("hook_failed", hook="wake")
    assert not [pid for pid in house.survivors() if name_of(pid) == "sleep"]
    beyond = float(failed["duration_secs"]) - 1.0
    return [Row("a hook that ignores TERM: its group is gone, beyond its bound", beyond, 2, "s")]


def queue(house: House) -> list[Row]:
    """A request whose model does not come in time."""
    house.models["b"]["request_timeout_secs"] = 1.0
    house.start()
    house.hold("a", "a1")
    late = house.ask("b")
    assert late.status == 504
    house.release("a1")
    return [Row("504 for who waits too long, beyond the bound", late.seconds - 1.0, 0.6, "s")]


def disconnect(house: House) -> list[Row]:
    """A client hangs up in the middle of its stream."""
    house.start()
    stream = house.open("a", tag="a1", stream=True, words=1, hold_rest="never")
    stream.read_until(b"a0 ")
    began = time.monotonic()
    stream.leave()
    house.wait_seen("a gone a1")
    return [Row("a client hangs up: its backend sees it after", since(began), 1, "s")]


def shutdown(house: House) -> list[Row]:
    """SIGTERM under an answer without end, and under a hook that ignores it."""
    house.extra["bounds"] = {"shutdown_grace_secs": 1.0}
    house.models["b"]["wake"] = STUBBORN
    house.start()
    stream = house.open("a", stream=True, words=1, hold_rest="never")
    stream.read_until(b"a0 ")
    answers = _stop(house)
    house.start()
    stream.leave()
    house.send("b")
    until(lambda: any(name_of(pid) == "sleep" for pid in house.survivors()), "the hook runs")
    hooks = _stop(house)
    return [
        Row("SIGTERM in an answer without end: ended, beyond the grace", answers, 4, "s"),
        Row("SIGTERM in a hook that ignores TERM: ended, beyond the grace", hooks, 4, "s"),
    ]


def _stop(house: House) -> float:
    began = time.monotonic()
    assert house.stop(SIGTERM) == 0
    return max(0.0, since(began) - 1.0)


def readiness(house: House) -> list[Row]:
    """A model that hangs and will not sleep stands in everybody's way, until it is seen again."""
    house.models["a"] |= {"alive": {"http": "/health"}, "alive_timeout_secs": 0.5}
    house.models["a"]["sleep"] = "exit 1"
    house.extra["health"] = {"interval_secs": 0.3, "failures": 2}
    house.start()
    house.ask("a")
    os.kill(pid_of(house, "a"), SIGSTOP)
    red = _ready_after(house, "model_quarantined", 503)
    os.kill(pid_of(house, "a"), SIGCONT)
    green = _ready_after(house, "quarantine_ended", 200)
    return [
        Row("nothing can be woken: /ready says so after", red, 10, "s"),
        Row("it can again: /ready says so after", green, 5, "s"),
    ]


def _ready_after(house: House, event: str, status: int) -> float:
    until(lambda: house.events(event), event)
    began = time.monotonic()
    until(lambda: house.get("/ready").status == status, f"/ready says {status}")
    return since(began)


CASES: Final[list[Case]] = [
    idle_death,
    death_in_a_stream,
    broken_neighbour,
    drain,
    hook,
    queue,
    disconnect,
    shutdown,
    readiness,
]


# ---- the run ----------------------------------------------------------------------------------


def measure(cases: Sequence[Case], rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Run each case so many times, each in a house of its own; the worst of each figure."""
    rows: list[Row] = []
    for case in cases:
        found = [_run(case) for _ in range(rounds)]
        worst = [max(same, key=lambda row: row.measured) for same in zip(*found, strict=True)]
        for row in worst:
            say(f"{row.case}: {row.measured:.2f} {row.unit}, bound {row.bound:g}")
        rows += worst
    return rows


def _run(case: Case) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="llmux-bounds-") as folder:
        house = House(Path(folder), "a", "b")
        try:
            return case(house)
        finally:
            house.close()


def text(rows: Sequence[Row], rounds: int) -> str:
    """The measured part of the page."""
    when = datetime.now(UTC)
    lines = [
        f"Measured {when:%Y-%m-%d %H:%M} UTC by `make bench-bounds` on: {describe()}, with a load "
        f"average of {load_average():.1f} at the end. Each figure is the worst of {rounds} rounds.",
        "",
        *table(rows),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.bounds", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of which the worst counts")
    parser.add_argument("--dry", action="store_true", help="print only")
    args = parser.parse_args(arguments)
    if args.rounds < 1:
        parser.error("--rounds is 1 or more")
    rows = measure(CASES, args.rounds, lambda line: print(line, flush=True))
    if not args.dry:
        report.write(text(rows, args.rounds), PAGE, BEGIN, END)
        print(f"written into {PAGE.relative_to(ROOT)}")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
