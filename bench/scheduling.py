"""The yardstick: waits under each policy beside the best that full knowledge could reach.

    python bench/scheduling.py                    seven open-loop workloads, five cost sets
    python bench/scheduling.py --jitter 0.5       the same with hooks that vary
    python bench/scheduling.py --closed           people and agents who ask after the answer
    python bench/scheduling.py --trace FILE:5     a trace, each fifth request of it
    python bench/scheduling.py --rivals           what others do beside it
    python bench/scheduling.py --limits           clients say how long each answer may get

Seeds are pooled: a ratio is that of the means over all requests of all seeds. The reference knows
every arrival and length and has no jitter; it is exact for two models, and for more the best that
a beam search has found (or a policy, where that was better).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import exp, log
from multiprocessing import Pool
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.clairvoyant import least_wait
from bench.rivals import Collation, Exhaustive, Quantum
from llmux.policy import FifoPolicy, SwitchPolicy
from llmux.policy.balance import BalancePolicy
from llmux.simulate.engine import simulate
from llmux.simulate.fifo24 import simulate_fifo24
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
RIVALS = {"collation": Collation, "exhaustive": Exhaustive, "quantum": Quantum}
MAKERS: dict[str, type[SwitchPolicy]] = {"oldest": FifoPolicy, "balance": BalancePolicy, **RIVALS}


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
        least = self.least / len(self.waits["balance"])
        means = {f"{name}/CV": self.mean(name) / least for name in POLICIES}
        return means | {
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
    if policy == "fifo-2.4":
        return simulate_fifo24(workload, hooks)
    return simulate(workload, MAKERS[policy](), hooks)


def measure(
    make: Callable[[int], OpenLoop], cost: str, jitter: float, beam: int, seed: int
) -> Pooled:
    workload = make(seed)
    hooks = hook_times(cost, workload.models, jitter, seed)
    pooled = Pooled()
    for policy in POLICIES:
        outcome = serve(policy, workload, hooks)
        pooled.waits[policy] = [row.wait for row in outcome.rows]
        pooled.switches[policy] = outcome.switches
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
    columns: dict[str, list[float]] = {}
    rows: list[dict[str, Any]] = []
    with Pool(args.processes) as workers:
        jobs = [
            workers.starmap_async(
                measure, [(make, cost, args.jitter, args.beam, seed) for seed in tries]
            )
            for _, cost, tries, make in cases
        ]
        for (name, cost, _, _), job in zip(cases, jobs, strict=True):
            ratios = pool(job.get()).ratios()
            if not columns:
                print(f"{'workload':<28}{'cost':>13}" + "".join(f"{one:>21}" for one in ratios))
            shown = "".join(f"{ratio:21.3f}" for ratio in ratios.values())
            print(f"{name:<28}{cost:>13}{shown}", flush=True)
            rows.append({"workload": name, "cost": cost, **ratios})
            for one, ratio in ratios.items():
                columns.setdefault(one, []).append(ratio)
    mean = {one: exp(sum(map(log, some)) / len(some)) for one, some in columns.items()}
    worst = {one: max(some) for one, some in columns.items()}
    for name, figures in (("geometric mean", mean), ("worst", worst)):
        print(f"{name:<41}" + "".join(f"{ratio:21.3f}" for ratio in figures.values()))
    if args.json:
        Path(args.json).write_text(json.dumps({"mean": mean, "worst": worst, "cases": rows}))


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
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if args.rivals:
        POLICIES.extend(RIVALS)
    (closed_loops if args.closed else open_loops)(args)


if __name__ == "__main__":
    main()
