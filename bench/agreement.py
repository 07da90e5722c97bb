"""Shows that the heap engine and the gateway's driver tell the same story of real traces.

    python bench/agreement.py TRACE[:EVERY]...     exit code 1 if any request differs by 1 us

Every request's start and end, and the model of every switch, are compared under `fifo` and
`balance`, without and with jitter of the hooks.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from llmux.policy import FifoPolicy
from llmux.policy.balance import BalancePolicy
from llmux.simulate.driver import drive
from llmux.simulate.engine import simulate
from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome
from llmux.simulate.traces import read_traces
from llmux.simulate.workload import OpenLoop
from llmux.testing import run_virtual


def read(spelled: str) -> OpenLoop:
    path, colon, every = spelled.rpartition(":")
    if not colon or not every.isdigit():
        path, every = spelled, "1"
    return read_traces([Path(path)], every=int(every))


def furthest(one: Outcome, other: Outcome) -> float:
    """The largest difference in any request's start or end; infinite where the books differ."""
    if [model for _, model, _ in one.reasons] != [model for _, model, _ in other.reasons]:
        return float("inf")
    return max(
        max(abs(mine.wait - theirs.wait), abs(mine.end - theirs.end))
        for mine, theirs in zip(one.rows, other.rows, strict=True)
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trace", nargs="+", metavar="TRACE[:EVERY]")
    parser.add_argument("--cost", type=float, default=11.0, help="of a switch, in seconds [11]")
    args = parser.parse_args()
    agreed = True
    for spelled in args.trace:
        asked = read(spelled)
        for kind in (FifoPolicy, BalancePolicy):
            for jitter in (0.0, 0.5):
                hooks = HookTimes(args.cost, jitter=jitter, seed=1)
                began = time.perf_counter()
                heap = simulate(asked, kind(), hooks)
                between = time.perf_counter()
                driver = run_virtual(drive(asked, kind(), hooks))
                ended = time.perf_counter()
                apart = furthest(heap, driver)
                agreed = agreed and apart < 1e-6
                count = len(heap.rows)
                print(
                    f"{asked.name} {kind.__name__} jitter {jitter:g}: {count} requests, "
                    f"{heap.switches} switches, {apart:.1e} s apart; heap "
                    f"{count / (between - began):,.0f}/s, driver {count / (ended - between):,.0f}/s"
                )
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
