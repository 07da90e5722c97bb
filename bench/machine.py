"""What the kernel knows of processes: their CPU time, their memory, and on what they run.

Linux only. This file refuses to know what the processes do.
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


def tree(pid: int) -> list[int]:
    """The process and all its descendants that live now."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def cpu_seconds(pids: list[int]) -> float:
    """CPU seconds that these processes have used so far, counted in nanoseconds."""
    total = 0.0
    for pid in pids:
        clock = ctypes.c_int()
        error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
        if error:
            raise OSError(error, os.strerror(error), f"process {pid}")
        total += time.clock_gettime(clock.value)
    return total


def anonymous_bytes(pids: list[int]) -> int:
    """Bytes of memory that belong to these processes alone and to no file, swapped out or not."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("RssAnon:", "VmSwap:")):
                total += int(line.split()[1]) * 1024
    return total


def describe() -> str:
    """The machine in one line: processor, cores, memory, kernel."""
    cpu = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return (
        f"{cpu}, {os.cpu_count()} cores, {pages * size / 2**30:.0f} GiB, "
        f"Linux {platform.release().split('-')[0]} {platform.machine()}"
    )


def load_average() -> float:
    """How many processes wanted a core in the last minute, on average."""
    return os.getloadavg()[0]
