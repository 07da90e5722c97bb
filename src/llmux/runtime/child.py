"""One child process with its group and its output, because a hook is more than its shell.

Starting is synchronous, so no cancellation can fall between the fork and our knowing the pid. The
end is seen through a pidfd (a timer where there is none), never through the end of the output,
which a server left in the background may hold for life. Works the same on asyncio and uvloop.
This file does not know what a hook is, which model it serves, or what its exit code means.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL_BYTES = 4096
"""How much of the output is kept for the operator."""
OUTPUT_LIMIT = 4 * 1024 * 1024
"""Above this many bytes an output file is emptied in place."""
TICK = 0.02
"""Seconds between two looks at a running child's output, and at its end without pidfd."""
GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL, and again for the kernel to carry out SIGKILL."""
GATE = 'read -r LLMUX_GATE || exit 125; exec sh -c "$1" </dev/null'
"""What a gated shell runs first: nothing of its command before one line comes on its stdin."""


class Output:
    """A nameless file that takes stdout and stderr together and never grows without bound.

    It is opened for appending: whoever still writes after it was emptied goes on at its start.
    Where no file can be made, output is thrown away rather than the hook refused.
    """

    def __init__(self) -> None:
        self._start = 0
        self._kept = b""
        self._file = None
        with contextlib.suppress(OSError):
            self._file = tempfile.TemporaryFile(prefix="llmux-hook-", buffering=0)  # noqa: SIM115
            flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
            fcntl.fcntl(self._file, fcntl.F_SETFL, flags | os.O_APPEND)

    @property
    def descriptor(self) -> int:
        """What to hand to a child as stdout and stderr."""
        return subprocess.DEVNULL if self._file is None else self._file.fileno()

    @property
    def size(self) -> int:
        """Bytes in the file now."""
        return 0 if self._file is None else os.fstat(self._file.fileno()).st_size

    def begin(self) -> None:
        """Forget what is there: the next `tail` starts from here."""
        self.trim()
        self._kept = b""
        self._start = self.size

    def trim(self) -> None:
        """Empty the file in place if it grew above its limit; the tail is remembered."""
        if self._file is not None and self.size > OUTPUT_LIMIT:
            self._kept = self._last()
            os.ftruncate(self._file.fileno(), 0)
            self._start = 0

    def tail(self) -> str:
        """Return the end of what was written since `begin`, at most `TAIL_BYTES` of it."""
        return self._last().decode(errors="replace")

    def close(self) -> None:
        """Let go of the file; children that hold it may go on writing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _last(self) -> bytes:
        if self._file is None:
            return b""
        first = max(self._start, self.size - TAIL_BYTES)
        return (self._kept + os.pread(self._file.fileno(), TAIL_BYTES, first))[-TAIL_BYTES:]


class Child:
    """A running command that leads a session of its own.

    With `gated` the command is a shell's text that waits for `open_gate`; should we die first, it
    ends without having run anything. Raises OSError or ValueError where it cannot be started.
    Needs a running event loop.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None,
        env: Mapping[str, str],
        output: Output,
        gated: bool = False,
    ) -> None:
        _collect_exit_codes()
        self._loop = asyncio.get_running_loop()
        self._gate = -1
        waits = subprocess.DEVNULL
        if gated:
            waits, self._gate = os.pipe()
        try:
            self._popen = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=waits,
                stdout=output.descriptor,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            self.shut_gate()
            raise
        finally:
            if gated:
                os.close(waits)
        self.output = output
        self.exit_code: int | None = None
        """Negative for a signal; None while it runs or where the system lost it."""
        self.ended_by_us = False
        """Whether `end` was called before it had ended by itself."""
        self._exited: asyncio.Future[None] = self._loop.create_future()
        self._pidfd = -1
        self._watch()

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its group and session."""
        return self._popen.pid

    def open_gate(self) -> None:
        """Let a gated command begin. Harmless when said twice."""
        if self._gate >= 0:
            with contextlib.suppress(OSError):  # it may have been ended at the gate
                os.write(self._gate, b"\n")
            self.shut_gate()

    def shut_gate(self) -> None:
        """Let a gated command that has not begun end instead. Harmless when said twice."""
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def gone(self) -> bool:
        """Whether the command itself has ended; asks the system if that is not known yet."""
        if not self._exited.done():
            self._reap()
        return self._exited.done()

    async def wait(self, seconds: float | None) -> bool:
        """Wait until the command itself has ended, whatever it left behind, and say whether.

        Keeps the output within its bound meanwhile.
        """
        until = None if seconds is None else self._loop.time() + seconds
        while not self._exited.done():
            left = TICK if until is None else min(TICK, until - self._loop.time())
            if left <= 0:
                return self.gone()
            await asyncio.wait([self._exited], timeout=left)
            self.output.trim()
        return True

    async def end(self) -> bool:
        """End the whole group: SIGTERM, `GRACE` seconds, SIGKILL. Says whether it is gone.

        Takes 2 x `GRACE` seconds at most. A cancellation meanwhile is impatience: SIGKILL goes
        out at once, and the cancellation is raised when the command has ended.
        """
        self.ended_by_us = self.ended_by_us or not self.gone()
        impatience: asyncio.CancelledError | None = None
        self._signal(signal.SIGTERM)
        until = self._loop.time() + GRACE
        while self._group_lives() and impatience is None and self._loop.time() < until:
            impatience = await self._tick()
        if self._group_lives():
            self._signal(signal.SIGKILL)
        # Of the group only the command is waited for: the others may be corpses nobody buries.
        until = self._loop.time() + GRACE
        while not self.gone() and self._loop.time() < until:
            impatience = await self._tick() or impatience
        if impatience is not None:
            raise impatience
        return self._exited.done()

    def kill(self) -> None:
        """Send SIGKILL to the whole group now, without waiting for anything."""
        if not self.gone():
            self.ended_by_us = True
            self._signal(signal.SIGKILL)

    async def _tick(self) -> asyncio.CancelledError | None:
        """Let a moment pass and keep the output within its bound; a cancellation is returned."""
        try:
            await asyncio.wait([self._exited], timeout=TICK)
            if self._exited.done():
                await asyncio.sleep(TICK)
        except asyncio.CancelledError as cancelled:
            return cancelled
        finally:
            self.output.trim()
        return None

    def _signal(self, number: signal.Signals) -> None:
        # A member that runs as somebody else (sudo) cannot be signalled; the others are.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _group_lives(self) -> bool:
        # The number of a group is not given away while a member is left, so this asks about ours.
        if not self.gone():
            return True
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def _watch(self) -> None:
        try:
            self._pidfd = os.pidfd_open(self.pid)
            self._loop.add_reader(self._pidfd, self._reap)
        except (AttributeError, OSError, NotImplementedError):
            self._unwatch()
            self._poll()

    def _poll(self) -> None:
        self._reap()
        if not self._exited.done():
            self._loop.call_later(TICK, self._poll)

    def _unwatch(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _reap(self) -> None:
        if self._exited.done():
            return
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else took the status; Popen would call that success
            self._popen.returncode = 255
        else:
            if pid == 0:
                return
            self.exit_code = os.waitstatus_to_exitcode(status)
            self._popen.returncode = self.exit_code
        self.shut_gate()
        self._unwatch()
        self._exited.set_result(None)


def _collect_exit_codes() -> None:
    """Undo an inherited `SIGCHLD` = ignore, under which the kernel throws exit codes away."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        with contextlib.suppress(ValueError):  # only the main thread may
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
