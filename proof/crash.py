"""Kills the real gateway with -9 again and again, in every phase, and looks what comes of it.

    python -m proof.crash [RUNS] [--seed N] [--phases A,B] [--package FOLDER]

Each run brings a phase about with real hooks and real servers, kills the gateway after a random
moment, starts it again with the same config and state, and asks a model. Never may two servers hold
the accelerator, two hooks run, or what was up and well be woken. It prints how often each phase was
hit, and the longest way back to an answer beside its bound: the time of the hooks and 3 s. The exit
code is 1 where something does not hold, 2 where the arguments are wrong.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from proof.crash_history import begun, hook_time, violations, woken_for_nobody
from proof.crash_phases import AIMS, Approach, Moment, phase_of
from proof.crash_site import Site, StuckError, now, until

BOUND = 3.0
"""Seconds beyond its hooks within which a gateway that was killed answers again."""
MOMENT = 0.03
"""Seconds in which a hook that was let through its gate has noted its begin."""
SOURCE = Path(__file__).resolve().parents[1] / "src"


@dataclass(frozen=True, slots=True)
class Run:
    """How one kill went."""

    number: int
    phase: str
    """Where it hit."""
    adopted: bool
    """What was up and well was found so."""
    beyond: float
    """Seconds from the restart to the first answer, less those of hooks and loading."""
    starts: float
    """Seconds of those until the process listened."""
    wrong: tuple[str, ...]
    story: tuple[str, ...] = ()
    """The history of this run."""


@dataclass(slots=True)
class Matrix:
    """What all runs came to."""

    seed: int
    runs: list[Run] = field(default_factory=list)

    @property
    def phases(self) -> Counter[str]:
        """How often each phase was hit."""
        return Counter(one.phase for one in self.runs)

    @property
    def wrong(self) -> list[Run]:
        """The runs in which something did not hold."""
        return [one for one in self.runs if one.wrong]

    @property
    def worst(self) -> float:
        """The longest way back beyond the hooks, in seconds."""
        return max((one.beyond for one in self.runs), default=0.0)


def crash(
    runs: int,
    seed: int,
    *,
    phases: Sequence[str] = tuple(AIMS),
    package: Path = SOURCE,
    heard: Callable[[Run], None] = lambda _: None,
) -> Matrix:
    """Kill so often; each phase is aimed at in turn, one that was missed once more.

    `heard` is told of each run. Everything that was started has ended when this returns.
    """
    matrix = Matrix(seed)
    aims = _aims(Random(seed), phases)
    missed: list[str] = []
    site: Site | None = None
    try:
        for number in range(1, runs + 1):
            if site is None:
                site = Site(package)
                site.write()
                site.launch()
            aim = missed.pop(0) if missed else next(aims)
            run = _run(site, number, aim, Random(f"{seed}/{number}"))
            matrix.runs.append(run)
            heard(run)
            if run.wrong:  # whatever is wrong now belongs to this run
                site.close()
                site = None
            elif run.phase != aim and run.phase in phases and aim not in matrix.phases:
                missed.append(aim)
    finally:
        if site is not None:
            site.close()
    return matrix


def _aims(dice: Random, phases: Sequence[str]) -> Iterator[str]:
    while True:
        yield from dice.sample(phases, len(phases))


def _run(site: Site, number: int, aim: str, dice: Random) -> Run:
    """Serve a model, come into the phase, kill, start again, and judge."""
    first = len(site.history())
    hit, adopted, beyond, starts, wrong = aim, False, 0.0, 0.0, []
    try:
        awake = (site.up() or [dice.choice(sorted(site.models))])[0]
        site.served(awake)
        until(site.ready, "the gateway is ready")
        site.note(f"gateway ready life-{site.lives}")
        way = Approach(site, dice, awake)
        AIMS[aim](way)
        time.sleep(dice.uniform(0.0, way.linger))
        hit, expected = _kill(way)
        time.sleep(dice.choice([0.0, 0.0, 0.3]))
        asked = expected or dice.choice(sorted(site.models.keys() - site.gone))
        since, began = len(site.history()), now()
        site.launch()
        until(site.listens, "the gateway listens")
        starts = now() - began
        time.sleep(dice.choice([0.0, 0.1, 0.3]))
        site.mend("slow")  # a hook of the last life has run on until now
        answer = site.served(asked)
        until(site.ready, "the gateway is ready")
        events = site.history()
        beyond = answer.at - began - hook_time(events, began, answer.at)
        wrong += woken_for_nobody(events[since:], [asked])
        adopted = expected is not None
        if expected and (hooks := begun(events[since:])):
            wrong.append(f"{expected} was up and well and is not adopted: {hooks[0]}")
        if answer.who != asked:
            wrong.append(f"{answer.who} answers for {asked}")
        _bring_back(site)
    except StuckError as error:
        wrong.append(str(error))
    events = site.history()
    wrong += violations(events, first)
    story = tuple(map(str, events[first:])) if wrong else ()
    return Run(number, hit, adopted, beyond, starts, tuple(wrong), story)


def _kill(way: Approach) -> tuple[str, str | None]:
    """Kill the gateway; say in which phase, and which model its next life has to adopt."""
    site = way.site
    site.kill()
    if way.both:
        site.end_engine(way.awake)
    time.sleep(MOMENT)
    events = site.history()
    life = max(number for number, one in enumerate(events) if one.what == "starts")
    state: dict[str, Any] = site.remembered()
    hit = phase_of(Moment(events, life, site.logged(), state, bool(way.streams)))
    way.close()
    stopped = any(site.folder.glob("fail-sleep.*"))
    site.mend("fail-wake", "fail-sleep")
    up = site.up()
    quiet = not state.get("hooks") and not site.held("hooks.lock") and not stopped
    expected = up[0] if quiet and len(up) == 1 and up[0] != way.changed else None
    return hit, expected


def _bring_back(site: Site) -> None:
    """Let the config have all models again."""
    if site.gone:
        site.gone.clear()
        site.write()
        before = len(site.logged("config_reloaded"))
        site.tell(signal.SIGHUP)
        until(lambda: len(site.logged("config_reloaded")) > before, "the config is read anew")


@contextmanager
def _ends_well() -> Iterator[None]:
    """Let SIGTERM end it as Ctrl-C does: with nothing left behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def told(matrix: Matrix, phases: Sequence[str]) -> list[str]:
    """Return the report, as lines."""
    lines = ["phase         kills  adopted  worst way back, beyond its hooks  (until it listens)"]
    for phase in phases:
        hits = [one for one in matrix.runs if one.phase == phase]
        beyond, starts = max(((one.beyond, one.starts) for one in hits), default=(0.0, 0.0))
        adopted = sum(one.adopted for one in hits)
        lines.append(f"{phase:12} {len(hits):6} {adopted:8} {beyond:12.2f} s {starts:24.2f} s")
    verdict = "met" if matrix.worst <= BOUND else "missed"
    lines.append(
        f"{len(matrix.runs)} kills, {sum(one.adopted for one in matrix.runs)} times what was awake"
        f" is adopted; serving again at most {matrix.worst:.2f} s after its hooks"
        f" (bound {BOUND:g} s: {verdict})"
    )
    lines.append(f"{len(matrix.wrong)} violations, seed {matrix.seed}")
    for run in matrix.wrong:
        lines.append(f"  run {run.number}, killed in the phase {run.phase}:")
        lines += [f"    {what}" for what in run.wrong]
        lines += [f"      {line}" for line in run.story]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m proof.crash", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("runs", metavar="RUNS", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, help="of a run to be repeated; otherwise a fresh one")
    parser.add_argument("--phases", default=",".join(AIMS), help="only these, as idle,waking")
    parser.add_argument("--package", type=Path, default=SOURCE, help="the folder llmux is in")
    args = parser.parse_args(arguments)
    phases = args.phases.split(",")
    for phase in phases:
        if phase not in AIMS:
            parser.error(f"there is no phase {phase!r}; there are {', '.join(AIMS)}")
    if args.runs < 1:
        parser.error("RUNS is 1 or more")
    seed = SystemRandom().randrange(1_000_000) if args.seed is None else args.seed
    began = time.monotonic()

    def heard(run: Run) -> None:
        how = "; ".join(run.wrong) or ("adopted" if run.adopted else "")
        print(
            f"  {run.number:4} of {args.runs}, {time.monotonic() - began:4.0f} s:"
            f" {run.phase:11} {run.beyond:5.2f} s {how}".rstrip(),
            flush=True,
        )

    print(f"seed {seed}", flush=True)
    try:
        with _ends_well():
            matrix = crash(args.runs, seed, phases=phases, package=args.package, heard=heard)
    except KeyboardInterrupt:
        print("interrupted; everything that was started has ended", file=sys.stderr)
        return 130
    print("\n".join(told(matrix, phases)))
    return int(bool(matrix.wrong))


if __name__ == "__main__":
    sys.exit(main())
