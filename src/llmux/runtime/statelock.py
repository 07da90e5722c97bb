"""The lock beside the state file: two gateways with one config would switch against each other.

The lock goes with the process that holds it, however it ends; its pid is written into it for the
operator. It refuses to know what the state file remembers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from llmux.errors import LlmuxError
from llmux.runtime import processes

DEAD_HOLDER_SECONDS = 2.0
"""How long a lock is waited for whose holder is dead: a fork of it may hold it for a moment."""


class StateBusyError(LlmuxError):
    """Another gateway that lives holds the state file."""


def take_lock(state: Path) -> int:
    """Return the descriptor that holds the lock beside a state file, for as long as it is open.

    StateBusyError where another process that lives holds it; OSError where it cannot be made.
    """
    path = state.with_name(state.name + ".lock")
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + DEAD_HOLDER_SECONDS
    try:
        while not _locked(lock) and _dead(_holder(lock)) and time.monotonic() < until:
            # It was killed while it spawned a hook: the fork holds the lock until it runs it.
            time.sleep(0.01)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(lock)
        os.close(lock)
        who = f"pid {holder}" if holder.isdigit() else "another process"
        raise StateBusyError(
            f"another llmux ({who}) already runs with this config: it holds {state};"
            " stop it, or set `state` to another path or to off"
        ) from None
    except OSError:
        os.close(lock)
        raise
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _holder(lock: int) -> str:
    """Who wrote its pid into the lock last; empty where nobody did."""
    return os.pread(lock, 20, 0).decode("ascii", "replace").strip()


def _locked(lock: int) -> bool:
    """Whether the lock is ours now."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _dead(pid: str) -> bool:
    """Whether no process has this pid."""
    return pid.isdigit() and processes.started_at(int(pid)) is None
