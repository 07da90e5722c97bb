"""What grows in a process that serves for long: its memory and its descriptors, seen from outside.

Samples are taken while it works, and at rest before and after the work. This file refuses to know
what the process is and what it was asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Final

MIB: Final = 2**20
LEAST_GROWTH: Final = 2.0
"""MiB that a process may always grow."""
MOST_SHARE: Final = 0.02
"""The share of its size that it may grow where that is more."""
_PART: Final = 5
"""Growth is the median of the last fifth of the samples less that of the first."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A look at the process: seconds since the begin, bytes that are its own, descriptors."""

    at: float
    memory: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What a series of samples comes to, memory in MiB."""

    begin: float
    end: float
    slope: float
    """By least squares over all samples, in MiB an hour."""

    @property
    def grown(self) -> float:
        """How much more it is at the end."""
        return self.end - self.begin

    @property
    def bound(self) -> float:
        """How much more it may be."""
        return max(LEAST_GROWTH, MOST_SHARE * self.begin)


def growth(samples: Sequence[Sample]) -> Growth:
    """Measure a series of two samples or more; ValueError for less."""
    if len(samples) < 2:
        raise ValueError(f"growth needs two samples, there are {len(samples)}")
    some = max(1, len(samples) // _PART)
    sizes = [one.memory / MIB for one in samples]
    hours = [one.at / 3600 for one in samples]
    return Growth(median(sizes[:some]), median(sizes[-some:]), slope(hours, sizes))


def slope(across: Sequence[float], up: Sequence[float]) -> float:
    """Return the slope of the straight line that fits best; 0 where all stand at one place."""
    middle, height = fmean(across), fmean(up)
    spread = sum((x - middle) ** 2 for x in across)
    if not spread:
        return 0.0
    return sum((x - middle) * (y - height) for x, y in zip(across, up, strict=True)) / spread


def look(pid: int, at: float) -> Sample:
    """Take a sample of a process; OSError where it is gone."""
    memory = 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(("RssAnon:", "VmSwap:")):
            memory += int(line.split()[1]) * 1024
    return Sample(at, memory, sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()))


def kinds(pid: int) -> Counter[str]:
    """Count the descriptors of a process by what they are: socket, pipe, hook output, a path."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # it was closed meanwhile
            continue
        found[_kind(target)] += 1
    return found


def more(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return of which kinds there are more than before, and how many more."""
    return {
        kind: many - before.get(kind, 0)
        for kind, many in after.items()
        if many > before.get(kind, 0)
    }


def _kind(target: str) -> str:
    if "llmux-hook-" in target or re.fullmatch(r"/.*/#\d+ \(deleted\)", target):
        return "hook output"  # a file without a name
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:").strip("[]")
    return target.partition(":[")[0]
