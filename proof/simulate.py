"""Tells story after story of the real board and the real driver, with faults drawn from seeds.

    python -m proof.simulate SEEDS [--processes N] [--events N] [--stop] [--log]

SEEDS is a number or a range with both ends (0-699). Prints the events, the faults by kind and
phase, what does not hold, and a hash of everything that has happened: the same seeds, the same
hash. The exit code is 1 where something does not hold, 2 where the arguments are wrong.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import multiprocessing
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from proof.story import Told, tell

PHASES = [
    "start",
    "idle",
    "awake",
    "draining",
    "sleeping",
    "waking",
    "cleaning",
    "recovering",
    "quarantine",
    "stopping",
    "restart",
]
STORIES_KEPT = 4
"""So many stories leave their memory behind until it is given back."""
_STORIES = count(1)
KEPT = 40
"""Lines of the log that are shown of a story in which something does not hold."""


@dataclass(slots=True)
class Sum:
    """What all stories came to."""

    stories: int = 0
    events: int = 0
    struck: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)
    digest: str = ""


def simulate(
    seeds: Sequence[int],
    *,
    processes: int = 1,
    events: int | None = None,
    stop: bool = False,
    heard: Callable[[Sum], None] = lambda _: None,
) -> Sum:
    """Tell the stories of these seeds, until there are so many events.

    With `stop` the first violation is the last. `heard` is told after each story.
    """
    done = Sum()
    names = hashlib.blake2b(digest_size=8)
    for told in _told(seeds, processes):
        done.stories += 1
        done.events += told.events
        done.struck.update(told.struck)
        names.update(told.digest.encode())
        done.digest = names.hexdigest()
        if told.violation is not None:
            done.violations.append((told.seed, told.violation))
        heard(done)
        if (stop and done.violations) or (events is not None and done.events >= events):
            break
    return done


def _told(seeds: Iterable[int], processes: int) -> Iterator[Told]:
    if processes == 1:
        collects = gc.isenabled()
        try:
            yield from map(_tell, seeds)
        finally:
            gc.unfreeze()
            if collects:
                gc.enable()
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        yield from pool.imap(_tell, seeds, chunksize=2)


def _tell(seed: int) -> Told:
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")  # a life that was killed
    if gc.isenabled():
        gc.disable()
        gc.freeze()
    told = tell(seed)
    if next(_STORIES) % STORIES_KEPT == 0:
        gc.collect()
    return told


def table(struck: Counter[tuple[str, str]]) -> list[str]:
    """Return the faults by kind and phase, as lines of a table."""
    phases = [one for one in PHASES if any(phase == one for _, phase in struck)]
    kinds = sorted({kind for kind, _ in struck})
    lines = [f"{'':28}" + "".join(f"{one[:10]:>11}" for one in phases)]
    for kind in kinds:
        counts = "".join(f"{struck[kind, phase] or '-':>11}" for phase in phases)
        lines.append(f"{kind:28}{counts}")
    return lines


def seeds_of(text: str) -> range:
    """Read a number, or a range with both ends; ValueError says what would do."""
    first, dash, last = text.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise ValueError(f"SEEDS is a number or a range as 0-699, not {text!r}")
    begin, end = int(first), int(last or first)
    if end < begin:
        raise ValueError(f"SEEDS ends before it begins: {text!r}")
    return range(begin, end + 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m proof.simulate", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("seeds", metavar="SEEDS", help="as 7, or 0-699 with both ends")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--events", type=int, help="stop after the story that reaches so many")
    parser.add_argument("--stop", action="store_true", help="stop at the first violation")
    parser.add_argument("--log", action="store_true", help="print the whole log of one seed")
    args = parser.parse_args(arguments)
    try:
        seeds = seeds_of(args.seeds)
    except ValueError as error:
        parser.error(str(error))
    if args.processes < 1:
        parser.error("--processes is 1 or more")
    if args.log:
        told = tell(seeds[0], keep=sys.maxsize)
        print(told.log, end="")
        print(told.violation or "everything holds")
        return int(told.violation is not None)
    began = time.monotonic()
    last = began

    def heard(done: Sum) -> None:
        nonlocal last
        if time.monotonic() - last >= 5.0:
            last = time.monotonic()
            print(
                f"  {done.stories:,} of {len(seeds):,} stories, {done.events:,} events,"
                f" {len(done.violations)} violations, {last - began:.0f} s",
                flush=True,
            )

    done = simulate(
        seeds, processes=args.processes, events=args.events, stop=args.stop, heard=heard
    )
    seconds = time.monotonic() - began
    print("\n".join(table(done.struck)))
    print(
        f"{done.events:,} events in {done.stories:,} stories, {sum(done.struck.values()):,} faults,"
        f" {seconds:.0f} s, {done.events / seconds:,.0f} events/s; log hash {done.digest}"
    )
    print(f"{len(done.violations)} violations")
    for seed, violation in done.violations[:10]:
        print(f"  seed {seed}: {violation}")
    if done.violations:
        seed = done.violations[0][0]
        print(f"the end of its story (all of it: python -m proof.simulate {seed} --log)")
        print(tell(seed, keep=KEPT).log, end="")
    return int(bool(done.violations))


if __name__ == "__main__":
    sys.exit(main())
