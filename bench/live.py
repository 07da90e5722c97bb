"""Shows how near the simulator is to life: the same requests through both, at the same pace.

`python -m bench.live` (or `make bench-live`) plays loads from seeds, or a trace, against real
gateways with real hooks and a real backend, so many times faster; hooks, answers, and every option
and bound in seconds are scaled alike. It counts the waits from outside, then asks `llmux simulate`
twice: about the same requests with the hooks as they took, and about the journal that the gateway
has written. It prints them side by side, writes the table of `docs/simulate.md`, and ends with 1
where a mean differs by more than 5 %.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench import report
from bench.house import ROOT, backend, environment, ours
from bench.live_run import RATE, Load, Seen, play, scaled_load, write_config
from bench.machine import describe, load_average
from llmux.simulate.hooks import HookTimes
from llmux.simulate.journal import read_history
from llmux.simulate.outcome import figures
from llmux.simulate.synthetic import YARDSTICK
from llmux.simulate.traces import read_traces

PAGE: Final = ROOT / "docs" / "simulate.md"
BEGIN: Final = "<!-- live: begin (written by `make bench-live`, do not edit) -->"
END: Final = "<!-- live: end -->"
APART: Final = 0.05
"""How far the means may be apart, as a share of the simulated one."""
POLICIES: Final = ("fifo", "balance")


@dataclass(frozen=True, slots=True)
class Case:
    """One load under one policy; figures as `llmux simulate --json` writes them, scaled time."""

    load: str
    policy: str
    live: dict[str, Any]
    simulated: dict[str, Any]
    replayed: dict[str, Any]
    """The journal of that very run, simulated."""
    late: float

    @property
    def apart(self) -> float:
        """By how much life's mean wait differs from the simulated one, as a share of that."""
        return float(self.live["mean_wait"] / self.simulated["mean_wait"]) - 1


def measure(
    folder: Path,
    loads: Sequence[Load],
    *,
    cost: float,
    scale: float,
    say: Callable[[str], None],
    policies: Sequence[str] = POLICIES,
) -> list[Case]:
    """Play every load under every policy, all at the same time, and simulate each afterwards."""
    runs: list[tuple[Load, str, Path]] = []
    for number, load in enumerate(loads):
        for policy in policies:
            home = folder / f"{number}-{policy}"
            home.mkdir()
            runs.append((load, policy, home))
    with contextlib.ExitStack() as stack:
        gateways = []
        for load, policy, home in runs:
            ports = stack.enter_context(backend(home, len(load.models)))
            named = dict(zip(load.models, ports, strict=True))
            config = write_config(home, policy, named, HookTimes(cost), scale)
            gateways.append(stack.enter_context(ours(home, config)))

        async def all_of_them() -> list[Seen]:
            plays = zip(gateways, runs, strict=True)
            return await asyncio.gather(*(play(one, run[2], run[0]) for one, run in plays))

        longest = max(load.jobs[-1].arrival for load in loads)
        say(f"{len(runs)} gateways are asked for {longest:.0f} s ...")
        seen = asyncio.run(all_of_them())
    return [
        _judged(load, policy, home, one, say)
        for (load, policy, home), one in zip(runs, seen, strict=True)
    ]


def _judged(load: Load, policy: str, home: Path, seen: Seen, say: Callable[[str], None]) -> Case:
    trace = home / "requests.csv"
    load.write(trace)
    past = read_history([home / "journal"])
    hooks = past.times(HookTimes(), cost_is_given=False)
    spelled = [
        f"--{hook}-secs={','.join(f'{model}={secs:.6f}' for model, secs in times.items())}"
        for hook, times in (("sleep", hooks.sleep), ("wake", hooks.wake))
    ]
    rate = f"--decode-rate={RATE}"
    config = f"--config={home / 'live.json'}"
    simulated = _simulate(home, policy, trace, rate, config, *spelled)[-1]
    replayed = _simulate(home, policy, home / "journal")[-1]
    live = figures(seen.outcome)
    case = Case(load.name, policy, live, simulated, replayed, seen.late)
    say(f"{load.name} under {policy}: the mean is {case.apart:+.1%} beside the simulator's")
    return case


def _simulate(home: Path, policy: str, trace: Path, *more: str) -> list[dict[str, Any]]:
    """Ask the real command; figures, one a policy."""
    to = home / "figures.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "llmux", "simulate", f"--trace={trace}"),
            *(f"--policy={policy}", f"--json={to}", *more),
        ],
        check=True,
        env=environment(home),
        stdout=subprocess.DEVNULL,
    )
    told: list[dict[str, Any]] = json.loads(to.read_text())
    return told


def text(cases: Sequence[Case], *, cost: float, scale: float, command: str) -> str:
    """The measured part of the page; seconds are those of the load, not of the run."""
    late = max(case.late for case in cases)
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by `{command}` on: {describe()}, with a "
        f"load average of {load_average():.1f} at the end. Switches of {cost:g} s, played "
        f"{scale:g} times faster ({cost / scale:.2f} s; the simulator is given the mean of each "
        f"hook as the run has measured it) and told in the seconds of the load. The latest request "
        f"was sent {late * 1000:.0f} ms of the run after its moment. Live / simulated / the "
        "journal of the run, simulated:",
        "",
        "| load | policy | requests | mean wait | 95th percentile | switches | the mean |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in cases:
        three = (case.live, case.simulated, case.replayed)
        mean, tail = (
            " / ".join(f"{one[name] * scale:.1f}" for one in three) + " s"
            for name in ("mean_wait", "p95_wait")
        )
        switches = " / ".join(str(one["switches"]) for one in three)
        verdict = "met" if abs(case.apart) <= APART else "**missed**"
        lines.append(
            f"| {case.load} | `{case.policy}` | {case.live['requests']} | {mean} | {tail} | "
            f"{switches} | {case.apart:+.1%}, {verdict} |"
        )
    return "\n".join(lines)


def _loads(args: argparse.Namespace) -> list[Load]:
    if args.trace:
        jobs = read_traces([Path(args.trace)], every=args.every).jobs
        return [scaled_load(Path(args.trace).name, jobs, args.scale, args.secs)]
    return [
        scaled_load(name, YARDSTICK[name](args.seed).jobs, args.scale, args.secs)
        for name in args.loads
    ]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.live",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--loads", nargs="+", default=["poisson2", "bursts3"], choices=[*YARDSTICK])
    parser.add_argument("--seed", type=int, default=1, help="of the loads [1]")
    parser.add_argument("--trace", metavar="FILE", help="a trace instead; its lengths and models")
    parser.add_argument("--every", type=int, default=1, help="keep each n-th request of it [1]")
    parser.add_argument("--cost", type=float, default=11.0, help="seconds of a switch [11]")
    parser.add_argument("--scale", type=float, default=8.0, help="how many times faster [8]")
    parser.add_argument("--secs", type=float, default=3600.0, help="of the load are played [3600]")
    parser.add_argument("--quick", action="store_true", help="the first 500 s; writes nothing")
    parser.add_argument("--dry", action="store_true", help="print only")
    args = parser.parse_args()
    if args.quick:
        args.secs, args.dry = min(args.secs, 500.0), True
    given = " ".join(sys.argv[1:])
    command = f'make bench-live ARGS="{given}"' if given else "make bench-live"
    with tempfile.TemporaryDirectory(prefix="llmux-live-") as folder:
        cases = measure(
            Path(folder),
            _loads(args),
            cost=args.cost,
            scale=args.scale,
            say=lambda line: print(line, flush=True),
        )
    measured = text(cases, cost=args.cost, scale=args.scale, command=command)
    print(f"\n{measured}")
    if not args.dry:
        report.write(measured, PAGE, BEGIN, END)
        print(f"written into {PAGE.relative_to(ROOT)}")
    return 0 if all(abs(case.apart) <= APART for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
