"""Least waits that were found before, so that another policy is compared in the time it runs.

A file of them has one JSON object a line and only ever grows: a run that is cut off keeps what it
found, several may share a file, and `cat` joins two. What was asked, the hooks' means, the width
and the version of the search are part of a line's key, so a figure is never taken for another's.
This file refuses to know how the least wait is found.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.clairvoyant import SEARCH
from llmux.simulate.hooks import HookTimes
from llmux.simulate.workload import OpenLoop


def key(workload: OpenLoop, hooks: HookTimes, beam: int | None) -> str:
    """Name all that a least wait depends on; no seed, name, priority or limit does."""
    jobs = [(job.arrival, job.model, job.service) for job in workload.jobs]
    means = [
        (model, hooks.mean("sleep", model), hooks.mean("wake", model)) for model in workload.models
    ]
    return sha256(repr((SEARCH, beam, means, jobs)).encode()).hexdigest()[:32]


class Reference:
    """What was found, in a file or (without one) for this run only."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._found: dict[str, float] = {}
        if path is None:
            return
        with path.open("a+") as file:  # found out now, not after an hour, that it can be written
            file.seek(0)
            *lines, last = file.read().split("\n")
            if last:  # a run was killed while it wrote
                file.write("\n")
        for number, line in enumerate(lines, 1):
            try:
                said = json.loads(line)
                self._found[said["key"]] = float(said["least"])
            except (ValueError, KeyError, TypeError):
                if line.startswith('{"key":'):
                    continue  # it was killed in an earlier run
                raise SystemExit(f"{path}:{number}: that is no line of a reference") from None

    def get(self, key: str) -> float | None:
        """Return the least wait (seconds x requests), None where it is to be searched."""
        return self._found.get(key)

    def add(self, key: str, least: float, **about: Any) -> None:
        """Keep a least wait; `about` says to a reader what it is of."""
        self._found[key] = least
        if self._path is None:
            return
        with self._path.open("a") as file:
            file.write(json.dumps({"key": key, "least": least, **about}) + "\n")
