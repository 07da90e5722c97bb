"""Feeds every door of llmux with what nobody sends, from grammars and by mutation, in processes.

    python -m proof.fuzz [--cases N] [--seed S] [--processes N] [--only DOOR,...]
    python -m proof.fuzz --only DOOR --input FILE

Prints cases per second, the behaviours that were told apart, and each find with its input, which
is also written into a file. The same seed tries the same inputs. The exit code is 1 where a rule
was broken, 2 where the arguments are wrong, 130 after Ctrl-C, which prints what there is.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from proof.fuzz.doors import TARGETS, Job, hunt_all, plan
from proof.fuzz.hunt import Find, Hunted, once

_SHOWN: Final = 400
"""Bytes of an input that are printed."""
_MOST_SHOWN: Final = 10


def told(find: Find, kept: Path) -> str:
    """Say what was found, with its input, and how to try it again."""
    name = kept / f"{find.target}-{find.seed}-{find.case}"
    name.write_bytes(find.data)
    shown = repr(find.data[:_SHOWN]) + (" ..." if len(find.data) > _SHOWN else "")
    return (
        f"{find.target}, chunk {find.seed}, case {find.case}: {find.what}\n  {shown}\n"
        f"  again: python -m proof.fuzz --only {find.target} --input {name}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m proof.fuzz", description=(__doc__ or "").split("\n\n", maxsplit=1)[0]
    )
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default=",".join(TARGETS), help="doors, by comma")
    parser.add_argument("--input", type=Path, help="try this one input")
    args = parser.parse_args(arguments)
    names = [name for name in args.only.split(",") if name]
    if not names or not {*names} <= {*TARGETS}:
        parser.error(f"--only names some of {', '.join(TARGETS)}")
    if args.cases < 1 or args.processes < 1 or args.seed < 0:
        parser.error("--cases and --processes are 1 or more, --seed is 0 or more")
    if args.input is not None:
        return _again(names, args.input)
    return _hunted(plan(args.cases, args.seed, [TARGETS[name] for name in names]), args.processes)


def _again(names: Sequence[str], path: Path) -> int:
    data, wrong = path.read_bytes(), 0
    for name in names:
        what = {once(TARGETS[name], data, tried) for tried in range(200)} - {""}
        wrong += len(what)
        print(f"{name}: " + ("; ".join(sorted(what)) or "everything holds"))
    return int(bool(wrong))


def _hunted(jobs: Sequence[Job], processes: int) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background, too
    began = last = time.monotonic()
    wanted = sum(cases for _, _, cases in jobs)
    sums: dict[str, Hunted] = {}
    finds: list[Find] = []
    stopped = False
    try:
        for part in hunt_all(jobs, processes):
            whole = sums.setdefault(part.target, Hunted(part.target))
            whole.cases += part.cases
            whole.seconds += part.seconds
            whole.behaviours |= part.behaviours
            finds += part.finds
            for find in part.finds:
                print(f"  {find.target}, chunk {find.seed}, case {find.case}: {find.what[:200]}")
            if time.monotonic() - last >= 5.0:
                last = time.monotonic()
                done = sum(one.cases for one in sums.values())
                print(
                    f"  {done:,} of {wanted:,} cases, {done / (last - began):,.0f} a second,"
                    f" {len(finds)} finds",
                    flush=True,
                )
    except KeyboardInterrupt:
        stopped = True
    seconds = time.monotonic() - began
    for name, one in sums.items():
        print(
            f"{name:10}{one.cases:>10,} cases {one.cases / (one.seconds or 1):>8,.0f} a second"
            f" {len(one.behaviours):>8,} behaviours"
        )
    done = sum(one.cases for one in sums.values())
    print(f"{done:,} cases in {seconds:.0f} s, {done / seconds:,.0f} a second; {len(finds)} finds")
    if finds:
        kept = Path(tempfile.mkdtemp(prefix="llmux-fuzz-finds-"))
        unlike = {find.what[:60]: find for find in reversed(finds)}
        print("\n".join(told(find, kept) for find in list(unlike.values())[:_MOST_SHOWN]))
        return 1
    return 130 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
