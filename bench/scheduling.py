"""The yardstick: waits under each policy beside the best that full knowledge could reach.

    python bench/scheduling.py                    seven open-loop workloads, five cost sets
    python bench/scheduling.py --jitter 0.5       the same with hooks that vary
    python bench/scheduling.py --closed           people and agents who ask after the answer
    python bench/scheduling.py --trace FILE:5     a trace, each fifth request of it
    python bench/scheduling.py --rivals           what others do beside it
    python bench/scheduling.py --limits           clients say how long each answer may get
    python bench/scheduling.py --reference FILE   least waits are kept there, and found again
    python bench/scheduling.py --bare             without the reference
    python bench/scheduling.py --speed            what a decision and a replay cost

The reference takes most of the time, unless it is kept in a file: then a second run, with other
policies, jitter or limits, takes the time of --bare. A long run can be split by --costs or
--workloads, each part with a --json of its own, and `--merge FILE...` prints what they are
together; several runs may share the file of the reference.

Seeds are pooled: a ratio is that of the means over all requests of all seeds. The reference knows
every arrival and length and has no jitter; it is exact for two models, and for more the best that
a beam search has found (or a policy, where that was better).

Columns: mean wait against the reference (`CV`), mean wait and 99th percentile against oldest-first,
switches against llmux 2.4.0's order, and the share of requests that wait at most 10 s + 2C, where C
is a switch (with unequal ones, the mean over the models that are asked for). Together these are
geometric means, and the arithmetic one of the shares.
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
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.clairvoyant import least_wait
from bench.decisions import tell_speed
from bench.reference import Reference, key
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
WITHIN = " in 10s+2C"
"""Ends the names of the columns that are shares."""


@dataclass
class Pooled:
    """One workload at one cost, over all its seeds."""

    waits: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in POLICIES})
    switches: dict[str, int] = field(default_factory=lambda: dict.fromkeys(POLICIES, 0))
    least: float = 0.0
    limit: float = 0.0
    """What a wait should be at most: 10 s + 2C."""

    def mean(self, policy: str) -> float:
        return sum(self.waits[policy]) / len(self.waits[policy])

    def tail(self, policy: str) -> float:
        return percentile(sorted(self.waits[policy]), 0.99)

    def shortest(self) -> float:
        """The least total wait of any policy here."""
        return min(sum(waits) for waits in self.waits.values())

    def within(self, policy: str) -> float:
        waits = self.waits[policy]
        return sum(wait <= self.limit for wait in waits) / len(waits)

    def ratios(self) -> dict[str, float]:
        least = self.least / len(self.waits["balance"])
        others = [name for name in POLICIES if name != "oldest"]
        return (
            ({f"{name}/CV": self.mean(name) / least for name in POLICIES} if least else {})
            | {f"{name}/oldest": self.mean(name) / self.mean("oldest") for name in others}
            | {f"{name}/oldest p99": self.tail(name) / self.tail("oldest") for name in others}
            | {"balance/fifo-2.4": self.mean("balance") / self.mean("fifo-2.4")}
            | {
                f"{name} switches": self.switches[name] / self.switches["fifo-2.4"]
                for name in POLICIES
                if name != "fifo-2.4"
            }
            | {f"{name}{WITHIN}": self.within(name) for name in POLICIES}
        )


class Case(NamedTuple):
    """One workload at one cost: with which seeds, and for which of them the least differs."""

    name: str
    cost: str
    seeds: Sequence[int]
    searched: Sequence[int]
    make: Callable[[int], OpenLoop]


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


def measure(make: Callable[[int], OpenLoop], cost: str, jitter: float, seed: int) -> Pooled:
    """Serve one workload under every policy."""
    workload = make(seed)
    hooks = hook_times(cost, workload.models, jitter, seed)
    trips = [hooks.mean("sleep", one) + hooks.mean("wake", one) for one in workload.models]
    pooled = Pooled(limit=10.0 + 2.0 * sum(trips) / len(trips))
    for policy in POLICIES:
        outcome = serve(policy, workload, hooks)
        pooled.waits[policy] = [row.wait for row in outcome.rows]
        pooled.switches[policy] = outcome.switches
    return pooled


def least(
    make: Callable[[int], OpenLoop], cost: str, beam: int, reference: Reference, seed: int
) -> tuple[str, float, bool]:
    """Return the key of a least wait, itself (seconds x requests), and whether it was searched.

    Where the search is not exhaustive, nothing is returned that the oldest-first orders beat.
    """
    workload = make(seed)
    still = hook_times(cost, workload.models, 0.0, seed)
    width = beam if len(workload.models) > 2 else None
    named = key(workload, still, width)
    if (found := reference.get(named)) is not None:
        return named, found, False
    orders = (simulate(workload, FifoPolicy(), still), TaskQueue(workload, still).outcome(""))
    most = min(sum(row.wait for row in outcome.rows) for outcome in orders)
    return named, least_wait(workload, still, most=most + 1e-9, beam=width), True


def pool(parts: Sequence[Pooled]) -> Pooled:
    whole = Pooled()
    for part in parts:
        whole.least += part.least
        whole.limit = part.limit
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
    cases: list[Case] = []
    for cost in args.costs:
        cases += [Case(one, cost, seeds, seeds, partial(synthetic, one)) for one in args.workloads]
        for one in args.trace:
            tries = seeds if args.jitter else seeds[:1]
            cases.append(Case(Path(one).name, cost, tries, seeds[:1], partial(from_trace, one)))
    if args.limits:
        cases = [case._replace(make=partial(limited, case.make)) for case in cases]
    if args.bare:
        cases = [case._replace(searched=()) for case in cases]
    reference = Reference(Path(args.reference) if args.reference else None)
    rows: list[dict[str, Any]] = []
    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with Pool(args.processes) as workers, bar:
        waits = bar.add_task("cases x seeds", total=sum(len(case.seeds) for case in cases))
        total = sum(len(case.searched) for case in cases)
        leasts = bar.add_task("least waits", total=total, visible=not args.bare)

        def keep(case: Case, seed: int, found: tuple[str, float, bool]) -> None:
            named, wait, is_new = found
            if is_new:
                reference.add(named, wait, workload=case.name, cost=case.cost, seed=seed)
            bar.advance(leasts)

        searches = [
            [
                workers.apply_async(
                    least,
                    (case.make, case.cost, args.beam, reference, seed),
                    callback=partial(keep, case, seed),
                )
                for seed in case.searched
            ]
            for case in cases
        ]
        runs = [
            [
                workers.apply_async(
                    measure,
                    (case.make, case.cost, args.jitter, seed),
                    callback=lambda _: bar.advance(waits),
                )
                for seed in case.seeds
            ]
            for case in cases
        ]
        for case, started, searching in zip(cases, runs, searches, strict=True):
            parts = [run.get() for run in started]
            found = [search.get()[1] for search in searching]
            for part, wait in zip(parts, found * (len(parts) // max(1, len(found))), strict=False):
                part.least = wait if args.jitter else min(wait, part.shortest())
            ratios = pool(parts).ratios()
            rows.append({"workload": case.name, "cost": case.cost, **ratios})
            if len(rows) == 1:
                head(ratios)
            line(case.name, case.cost, ratios)
    whole = together(rows)
    if args.json:
        Path(args.json).write_text(json.dumps({**whole, "cases": rows}))


def head(ratios: Mapping[str, float]) -> None:
    print(f"{'workload':<28}{'cost':>13}" + "".join(f"  {one:>7}" for one in ratios))


def line(name: str, cost: str, ratios: Mapping[str, float]) -> None:
    shown = "".join(f"  {ratio:{max(7, len(one))}.3f}" for one, ratio in ratios.items())
    print(f"{name:<28}{cost:>13}{shown}", flush=True)


def together(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Print and return what each column is over all cases, and its worst."""
    columns = [one for one in rows[0] if one not in {"workload", "cost"}]
    mean, worst = {}, {}
    for one in columns:
        values = [row[one] for row in rows]
        if one.endswith(WITHIN):
            mean[one], worst[one] = sum(values) / len(values), min(values)
        else:
            mean[one], worst[one] = exp(sum(map(log, values)) / len(values)), max(values)
    line("together", f"{len(rows)} cases", mean)
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
    parser.add_argument("--beam", type=int, default=30, help="for more than two models [30]")
    parser.add_argument("--closed", action="store_true", help="the closed loops instead")
    parser.add_argument("--rivals", action="store_true", help="what others do, too")
    parser.add_argument("--limits", action="store_true", help="max_tokens are the true lengths")
    parser.add_argument("--reference", metavar="FILE", help="keeps least waits, for the next run")
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
