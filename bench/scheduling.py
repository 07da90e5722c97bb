"""The yardstick: waits under each policy beside the best that full knowledge could reach.

    python bench/scheduling.py                    seven open-loop workloads, five cost sets
    python bench/scheduling.py --jitter 0.5       the same with hooks that vary
    python bench/scheduling.py --closed           people and agents who ask after the answer
    python bench/scheduling.py --trace FILE:5     a trace, each fifth request of it
    python bench/scheduling.py --rivals           what others do beside it
    python bench/scheduling.py --limits           clients say how long each answer may get
    python bench/scheduling.py --bare             without the reference: a tenth of the time
    python bench/scheduling.py --speed            what a decision and a replay cost

The reference takes most of the time. A long run can be split by --costs or --workloads, each part
with a --json of its own, and `--merge FILE...` prints what they are together.

Seeds are pooled: a ratio is that of the means over all requests of all seeds. The reference knows
every arrival and length and has no jitter; it is exact for two models, and for more the best that
a beam search has found (or a policy, where that was better).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import exp, log
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.clairvoyant import least_wait
from bench.decisions import tell_speed
from bench.rivals import Collation, Exhaustive, Quantum
from bench.tide import NowOrEmpty, TideBalance
from bench.v1 import CostAware, TimeSlice
from llmux.policy import FifoPolicy, SwitchPolicy
from llmux.policy.balance import BalancePolicy
from llmux.simulate.engine import simulate
from llmux.simulate.fifo24 import TaskQueue
from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome, percentile
from llmux.simulate.synthetic import CLOSED, YARDSTICK
from llmux.simulate.traces import Rates, read_traces
from llmux.simulate.workload import OpenLoop, Workload

COSTS = ("2", "11", "30", "60", "asymmetrical")
WAKES = (2, 9, 40, 15, 30, 5, 60, 11)
SLEEPS = (1, 1, 5, 2, 2, 1, 3, 1)
POLICIES = ["fifo-2.4", "oldest", "balance"]
"""The columns; `--rivals` adds theirs."""
MAKERS: dict[str, type[SwitchPolicy]] = {
    "oldest": FifoPolicy,
    "balance": BalancePolicy,
    "collation": Collation,
    "exhaustive": Exhaustive,
    "quantum": Quantum,
    "now-or-empty": NowOrEmpty,
    "tide-balance": TideBalance,
}
QUEUES: dict[str, type[TaskQueue]] = {
    "fifo-2.4": TaskQueue,
    "cost-aware": CostAware,
    "time-slice": TimeSlice,
}
"""What switches by tasks on a lock, as llmux did, instead of on our board."""
RIVALS = [one for one in (*MAKERS, *QUEUES) if one not in POLICIES]


@dataclass
class Pooled:
    """One workload at one cost, over all its seeds."""

    waits: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in POLICIES})
    switches: dict[str, int] = field(default_factory=lambda: dict.fromkeys(POLICIES, 0))
    least: float = 0.0

    def mean(self, policy: str) -> float:
        return sum(self.waits[policy]) / len(self.waits[policy])

    def tail(self, policy: str) -> float:
        return percentile(sorted(self.waits[policy]), 0.99)

    def ratios(self) -> dict[str, float]:
        means = {}
        if self.least:
            least = self.least / len(self.waits["balance"])
            means = {f"{name}/CV": self.mean(name) / least for name in POLICIES}
        for name in [one for one in POLICIES if one in RIVALS]:
            means[f"{name}/oldest"] = self.mean(name) / self.mean("oldest")
            means[f"{name}/oldest p99"] = self.tail(name) / self.tail("oldest")
            means[f"{name} switches"] = self.switches[name] / self.switches["fifo-2.4"]
        return means | {
            "fifo-2.4/oldest": self.mean("fifo-2.4") / self.mean("oldest"),
            "balance/oldest": self.mean("balance") / self.mean("oldest"),
            "fifo-2.4/oldest p99": self.tail("fifo-2.4") / self.tail("oldest"),
            "balance/oldest p99": self.tail("balance") / self.tail("oldest"),
            "balance/fifo-2.4": self.mean("balance") / self.mean("fifo-2.4"),
            "switches": self.switches["balance"] / self.switches["fifo-2.4"],
        }


def hook_times(cost: str, models: Sequence[str], jitter: float, seed: int) -> HookTimes:
    if cost != "asymmetrical":
        return HookTimes(float(cost), jitter=jitter, seed=seed)
    places = list(enumerate(models))
    return HookTimes(
        sleep={model: float(SLEEPS[place % 8]) for place, model in places},
        wake={model: float(WAKES[place % 8]) for place, model in places},
        jitter=jitter,
        seed=seed,
    )


def serve(policy: str, workload: Workload, hooks: HookTimes) -> Outcome:
    # Each policy draws its own jitter.
    hooks = replace(hooks, seed=hooks.seed * len(POLICIES) + POLICIES.index(policy))
    if policy in QUEUES:
        return QUEUES[policy](workload, hooks).outcome(policy)
    return simulate(workload, MAKERS[policy](), hooks)


def measure(
    make: Callable[[int], OpenLoop], cost: str, jitter: float, beam: int | None, seed: int
) -> Pooled:
    """Serve one workload under every policy; without a beam nothing is compared with the best."""
    workload = make(seed)
    hooks = hook_times(cost, workload.models, jitter, seed)
    pooled = Pooled()
    for policy in POLICIES:
        outcome = serve(policy, workload, hooks)
        pooled.waits[policy] = [row.wait for row in outcome.rows]
        pooled.switches[policy] = outcome.switches
    if beam is None:
        return pooled
    still = replace(hooks, jitter=0.0)
    most = min(sum(row.wait for row in serve(one, workload, still).rows) for one in POLICIES)
    width = beam if len(workload.models) > 2 else None
    pooled.least = least_wait(workload, still, most=most + 1e-9, beam=width)
    return pooled


def pool(parts: Sequence[Pooled]) -> Pooled:
    whole = Pooled()
    for part in parts:
        whole.least += part.least
        for policy in POLICIES:
            whole.waits[policy] += part.waits[policy]
            whole.switches[policy] += part.switches[policy]
    return whole


def synthetic(name: str, seed: int) -> OpenLoop:
    return YARDSTICK[name](seed)


def limited(make: Callable[[int], OpenLoop], seed: int) -> OpenLoop:
    """The same requests, whose clients allow just as many tokens as the answers will have."""
    asked = make(seed)
    decode = Rates().decode
    return OpenLoop(
        asked.name,
        tuple(replace(job, max_tokens=max(1, round(job.service * decode))) for job in asked.jobs),
    )


def from_trace(spelled: str, seed: int) -> OpenLoop:
    del seed
    path, colon, every = spelled.rpartition(":")
    if not colon or not every.isdigit():
        path, every = spelled, "1"
    return read_traces([Path(path)], every=int(every))


def open_loops(args: argparse.Namespace) -> None:
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    cases: list[tuple[str, str, Sequence[int], Callable[[int], OpenLoop]]] = []
    for cost in args.costs:
        cases += [(one, cost, seeds, partial(synthetic, one)) for one in args.workloads]
        for one in args.trace:
            tries = seeds if args.jitter else seeds[:1]
            cases.append((Path(one).name, cost, tries, partial(from_trace, one)))
    if args.limits:
        cases = [(name, cost, tries, partial(limited, make)) for name, cost, tries, make in cases]
    beam = None if args.bare else args.beam
    rows: list[dict[str, Any]] = []
    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with Pool(args.processes) as workers, bar:
        task = bar.add_task("cases x seeds", total=sum(len(tries) for _, _, tries, _ in cases))
        jobs = [
            [
                workers.apply_async(
                    measure,
                    (make, cost, args.jitter, beam, seed),
                    callback=lambda _: bar.advance(task),
                )
                for seed in tries
            ]
            for _, cost, tries, make in cases
        ]
        for (name, cost, _, _), parts in zip(cases, jobs, strict=True):
            ratios = pool([part.get() for part in parts]).ratios()
            rows.append({"workload": name, "cost": cost, **ratios})
            if len(rows) == 1:
                head(ratios)
            line(name, cost, ratios)
    whole = together(rows)
    if args.json:
        Path(args.json).write_text(json.dumps({**whole, "cases": rows}))


def head(ratios: Mapping[str, float]) -> None:
    print(f"{'workload':<28}{'cost':>13}" + "".join(f"{one:>24}" for one in ratios))


def line(name: str, cost: str, ratios: Mapping[str, float]) -> None:
    shown = "".join(f"{ratio:24.3f}" for ratio in ratios.values())
    print(f"{name:<28}{cost:>13}{shown}", flush=True)


def together(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Print and return the geometric mean and the worst of each column."""
    columns = [one for one in rows[0] if one not in {"workload", "cost"}]
    mean = {one: exp(sum(log(row[one]) for row in rows) / len(rows)) for one in columns}
    worst = {one: max(row[one] for row in rows) for one in columns}
    line("geometric mean", f"{len(rows)} cases", mean)
    line("worst", "", worst)
    return {"mean": mean, "worst": worst}


def merge(files: Sequence[str]) -> None:
    """Print what several parts of one run are together."""
    rows = [row for one in files for row in json.loads(Path(one).read_text())["cases"]]
    head({one: 0.0 for one in rows[0] if one not in {"workload", "cost"}})
    for row in rows:
        figures = {one: value for one, value in row.items() if one not in {"workload", "cost"}}
        line(row["workload"], row["cost"], figures)
    together(rows)


def per_hour(name: str, cost: str, jitter: float, seed: int) -> dict[str, tuple[int, float]]:
    workload = CLOSED[name](seed)
    hooks = hook_times(cost, workload.models, jitter, seed)
    answered = {}
    for policy in POLICIES:
        outcome = serve(policy, workload, hooks)
        begin, end = outcome.span
        answered[policy] = (len(outcome.rows), end - begin)
    return answered


def closed_loops(args: argparse.Namespace) -> None:
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    print("answered per hour")
    columns = [*POLICIES, "balance/oldest"]
    print(f"{'workload':<28}{'cost':>13}" + "".join(f"{one:>21}" for one in columns))
    with Pool(args.processes) as workers:
        for cost in args.costs:
            for name in CLOSED:
                parts = workers.starmap(
                    per_hour, [(name, cost, args.jitter, seed) for seed in seeds]
                )
                rates = [
                    3600
                    * sum(part[policy][0] for part in parts)
                    / sum(part[policy][1] for part in parts)
                    for policy in POLICIES
                ]
                shown = "".join(f"{rate:21.0f}" for rate in rates)
                print(f"{name:<28}{cost:>13}{shown}{rates[2] / rates[1]:21.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=6, help="how many are pooled [6]")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--costs", nargs="+", default=COSTS, choices=COSTS)
    parser.add_argument("--workloads", nargs="*", default=list(YARDSTICK), choices=list(YARDSTICK))
    parser.add_argument("--trace", nargs="*", default=[], metavar="FILE[:EVERY]")
    parser.add_argument("--jitter", type=float, default=0.0, metavar="SIGMA")
    parser.add_argument("--beam", type=int, default=20, help="for more than two models [20]")
    parser.add_argument("--closed", action="store_true", help="the closed loops instead")
    parser.add_argument("--rivals", action="store_true", help="what others do, too")
    parser.add_argument("--limits", action="store_true", help="max_tokens are the true lengths")
    parser.add_argument("--bare", action="store_true", help="without the reference")
    parser.add_argument("--speed", action="store_true", help="decisions and replays, in seconds")
    parser.add_argument(
        "--merge", nargs="+", metavar="FILE", help="print parts of one run together"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if args.merge:
        merge(args.merge)
        return
    if args.speed:
        tell_speed()
        return
    if args.rivals:
        POLICIES.extend(RIVALS)
    (closed_loops if args.closed else open_loops)(args)


if __name__ == "__main__":
    main()
