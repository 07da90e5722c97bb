"""Recognises and ends processes that are not our children: hooks of an earlier life.

A pid alone proves nothing, for numbers are given away again; pid and start time together do. It
refuses to know what a hook is. Where there is no /proc (macOS) nothing is recognised.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from llmux.runtime.child import GRACE

TICK = 0.05
"""Seconds between two looks at a process that is no child of ours."""
_PROC = Path("/proc")


def boot_id() -> str:
    """Return what names this boot of the machine; empty where the system does not say."""
    with contextlib.suppress(OSError):
        return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; empty where it is gone."""
    with contextlib.suppress(OSError):
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
        # The name in parentheses may hold spaces and parentheses of its own.
        return text.rpartition(")")[2].split()
    return []


def started_at(pid: int) -> int | None:
    """Return when a living process began, in clock ticks since the boot; None if it is gone.

    A corpse that nobody has buried counts as gone.
    """
    fields = _stat(pid)
    if len(fields) < 20 or fields[0] in "ZXx":
        return None
    return int(fields[19])


def age(start: int) -> float:
    """Return how many seconds ago a process with this start time began."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        uptime = float((_PROC / "uptime").read_text("ascii").split()[0])
        return max(0.0, uptime - start / os.sysconf("SC_CLK_TCK"))
    return 0.0


def leaders_with(variable: bytes) -> list[tuple[int, int]]:
    """Return (pid, start time) of session leaders that have `NAME=value` in their environment."""
    found = []
    for entry in _PROC.glob("[0-9]*"):
        pid = int(entry.name)
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # gone, or somebody else's
            continue
        if variable not in environment.split(b"\0"):
            continue
        start, fields = started_at(pid), _stat(pid)
        if start is not None and len(fields) > 3 and int(fields[3]) == pid:
            found.append((pid, start))
    return sorted(found, key=lambda one: one[1])


async def gone(pid: int, start: int, seconds: float | None) -> bool:
    """Wait until this very process has ended, `seconds` at most, and say whether it has."""
    loop = asyncio.get_running_loop()
    until = None if seconds is None else loop.time() + seconds
    while started_at(pid) == start:
        if until is not None and loop.time() >= until:
            return False
        await asyncio.sleep(TICK)
    return True


async def end_group(pid: int, start: int) -> bool:
    """End the group that this process leads: SIGTERM, a second, SIGKILL. Says whether it is gone.

    Takes two seconds at most. A process that has meanwhile ended is left alone with its group: a
    server that it started may live there.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if started_at(pid) != start:
            return True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
        if await gone(pid, start, GRACE):
            break
    # SIGTERM may have ended the leader and not those beside it, which nobody wants any more.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    return started_at(pid) != start
