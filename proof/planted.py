"""Plants one fault after the other in a copy of the package and lets the simulation look for it.

    python -m proof.planted [--events N] [--write] [WORD...]

Each is a small, plausible mistake, chosen so that every phase of the switch has some. With
`--write` the table in docs/trust.md is written anew. The exit code is 1 where fewer than 95 % are
found.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.__main__ import PACKAGE, ROOT, planted

from proof.faults import CHOSEN, Planted

PAGE = ROOT / "docs" / "trust.md"
BEGIN, END = "<!-- planted faults: begin -->", "<!-- planted faults: end -->"
EVENTS = 1_000_000
ENOUGH = 0.95
PATIENCE = 1200.0
"""Seconds after which a run that does not end counts as found: the fault made it hang."""


@dataclass(frozen=True, slots=True)
class Found:
    """How a planted fault was found: after how many events, as what; None for not at all."""

    fault: Planted
    events: int | None
    said: str

    def row(self) -> str:
        """Return its line of the table."""
        after = "not found" if self.events is None else f"{self.events:,}"
        return f"| {self.fault.mutant.name} | {self.fault.phase} | {after} | {self.said} |"


def look_for(fault: Planted, events: int) -> Found:
    """Simulate with the fault in place until something does not hold."""
    with tempfile.TemporaryDirectory(prefix="llmux-planted-") as name:
        folder = Path(name)
        caches = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE, folder / "src" / "llmux", ignore=caches)
        shutil.copytree(ROOT / "proof", folder / "proof", ignore=caches)
        file = folder / "src" / "llmux" / fault.mutant.file
        file.write_text(planted(fault.mutant, file.read_text()))
        command = [sys.executable, "-m", "proof.simulate", "0-99999", "--stop"]
        command += ["--processes", "1", "--events", str(events)]
        path = f"{folder / 'src'}{os.pathsep}{folder}"
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Found(fault, events, "the simulation hangs")
    return _read(fault, done)


def _read(fault: Planted, done: subprocess.CompletedProcess[str]) -> Found:
    count = re.search(r"^([\d,]+) events in", done.stdout, re.MULTILINE)
    if count is None or done.returncode not in {0, 1}:
        raise RuntimeError(f"{fault.mutant.name}: nothing was simulated:\n{done.stderr[-2000:]}")
    if done.returncode == 0:
        return Found(fault, None, "")
    said = re.search(r"^  seed \d+: (.*)$", done.stdout, re.MULTILINE)
    text = "" if said is None else said.group(1).replace("|", "/")
    return Found(fault, int(count.group(1).replace(",", "")), text[:90])


def table(found: Sequence[Found], events: int) -> str:
    """Return what stands in the page; each fault was looked for in so many events at most."""
    caught = sum(one.events is not None for one in found)
    lines = [
        BEGIN,
        f"{caught} of {len(found)} are found within {events:,} events"
        f" (`python -m proof.planted --events {events} --write`):",
        "",
        "| fault | phase | events until found | found as |",
        "|---|---|---|---|",
        *(one.row() for one in found),
        END,
    ]
    return "\n".join(lines)


def write(found: Sequence[Found], events: int, page: Path = PAGE) -> None:
    """Put the table into the page."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + table(found, events) + after)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m proof.planted", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--events", type=int, default=EVENTS, help="at most, for each fault")
    parser.add_argument("--write", action="store_true", help="write the table in docs/trust.md")
    parser.add_argument("words", nargs="*", help="only faults whose name has all these words")
    args = parser.parse_args(arguments)
    chosen = [one for one in CHOSEN if all(word in one.mutant.name for word in args.words)]
    if not chosen:
        parser.error("no planted fault has these words in its name")
    if args.write and args.words:
        parser.error("--write takes all faults")
    found = []
    with ThreadPoolExecutor(2) as pool:
        for one in pool.map(lambda fault: look_for(fault, args.events), chosen):
            found.append(one)
            after = "NOT FOUND" if one.events is None else f"{one.events:>9,} events"
            print(
                f"{one.fault.phase:11} {one.fault.mutant.name:60} {after}  {one.said}", flush=True
            )
    caught = sum(one.events is not None for one in found)
    print(f"{caught} of {len(found)} planted faults found within {args.events:,} events")
    if args.write:
        write(found, args.events)
    return int(caught < ENOUGH * len(found))


if __name__ == "__main__":
    sys.exit(main())
