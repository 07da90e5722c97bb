"""All doors, and how many cases are shared out among them and among processes.

This file refuses to know what is printed and what a find is worth.
"""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from proof.fuzz import answers, bodies, configs, heads, journals, outputs, states
from proof.fuzz.hunt import CHUNK, Hunted, hunt
from proof.fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {
    one.TARGET.name: one.TARGET
    for one in (bodies, heads, answers, configs, outputs, states, journals)
}


class Job(NamedTuple):
    """One chunk: which door, the seed that tells it, and how many cases."""

    door: str
    seed: int
    cases: int


def plan(cases: int, seed: int, chosen: Sequence[Target], chunk: int = CHUNK) -> list[Job]:
    """Split the cases over the doors by their shares.

    The doors take turns, so that an early end has tried all of them.
    """
    shares = sum(one.share for one in chosen)
    jobs: list[tuple[float, Job]] = []
    for one in chosen:
        left = max(1, round(cases * one.share / shares))
        chunks = (left + chunk - 1) // chunk
        for number in range(chunks):
            size = min(chunk, left - number * chunk)
            jobs.append(((number + 1) / chunks, Job(one.name, seed * 1_000_000 + number, size)))
    return [job for _, job in sorted(jobs)]  # by how far each is through its own line


def hunt_all(jobs: Sequence[Job], processes: int) -> Iterator[Hunted]:
    """Hunt through all chunks; what is done first comes first."""
    if processes == 1:
        yield from map(_hunt, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="llmux-fuzz-") as place,
        context.Pool(processes, _begin, (place,)) as pool,
    ):
        yield from pool.imap_unordered(_hunt, jobs)


def _hunt(job: Job) -> Hunted:
    name, seed, cases = job
    return hunt(TARGETS[name], seed, cases)


def _begin(place: str) -> None:
    """Leave Ctrl-C to the first process, which ends this one and clears its files away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = place
