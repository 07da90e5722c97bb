"""Writes down what the board was told and what it ordered, so that it can be played again.

JSON lines: one object that says what holds, then one list for each fact. A thread of its own takes
them from the board's tape twice a second, so that neither a slow disk nor a full one is ever in the
way of a request; what cannot be written is lost, and told once. Beside the file stand its
predecessors (`.1` is the latest), and all together stay within a bound. No body, key or header is
ever here to be written: a request is a number, a model, a weight, a size. It refuses to know what
is done with a journal (`llmux.simulate.journal` reads it).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from llmux import __version__
from llmux.core import recorded
from llmux.core.plain import fact, orders
from llmux.core.recorded import Entry, RecordedBoard
from llmux.core.ticket import Ticket

logger = logging.getLogger("llmux")

FORMAT: Final = 1
"""The version of the format; a reader refuses those that are newer than itself."""
MARK: Final = b'{"llmux_journal":'
"""How the first line of each file begins."""
FILES: Final = 4
"""The file that is written, and its predecessors."""
INTERVAL: Final = 0.5
"""Seconds between two writes: what a `kill -9` loses at most."""
RETRY: Final = 10.0
"""Seconds between two tries after the disk has refused."""

_encode = msgspec.json.Encoder(enc_hook=repr).encode


class Journal:
    """Takes a board's tape to a file until it is closed. Files are private to the user.

    `policy` is the name and the options of the policy; `limit` is in bytes, for all files together.
    """

    def __init__(
        self, path: Path, board: RecordedBoard, policy: tuple[str, Mapping[str, Any]], limit: int
    ) -> None:
        self.path = path
        self.limit = limit
        self.policy = policy
        self._board = board
        self._numbers: dict[Ticket, int] = {}
        self._number = 0
        self._file: BinaryIO | None = None
        self._size = 0
        self._first: bytes | None = self._header(continues=False)
        """What holds at the begin of this life, until it is written."""
        self._lost = False
        """Whether facts were lost since the last one that was written."""
        self._failed = False
        self._retry_at = 0.0
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write; harmless where the file cannot be written."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="llmux-journal", daemon=True)
            self._thread.start()

    def follow(self, policy: tuple[str, Mapping[str, Any]], limit: int) -> None:
        """Tell of another policy from now on, and keep within another limit."""
        self.limit = limit
        if policy != self.policy:
            self.policy = policy
            self._board.tape.append((time.monotonic(), recorded.FOLLOWED, policy, None))

    def close(self, seconds: float = 2.0) -> None:
        """Write what is left, for `seconds` at most, and close the file. Harmless twice."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(seconds)

    # ---- all that follows runs in the thread ---------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(INTERVAL)
            self._turn()
        self._turn()
        self._shut()

    def _turn(self) -> None:
        """Write what has come since the last turn; a fault here costs the journal, nothing else."""
        try:
            if time.monotonic() >= self._retry_at:
                self._write()
            else:
                self._forget()
        except Exception as error:  # a disk that refuses, or whatever else: requests go on
            self._fail(error)

    def _write(self) -> None:
        file = self._open()
        tape = self._board.tape
        if self._lost or len(tape) >= recorded.MOST:
            self._lost = False
            self._numbers.clear()
            self._put(file, _encode([time.monotonic(), "gap"]) + b"\n")
        lines: list[bytes] = []
        for _ in range(len(tape)):
            try:
                lines.append(_encode(self._plain(tape.popleft())))
            except (IndexError, KeyError):  # dropped by a full tape, or about one that was
                continue
        if lines:
            self._put(file, b"\n".join(lines) + b"\n")
        if self._failed:
            self._failed = False
            logger.info(
                "the journal is written again",
                extra={"event": "journal_recovered", "fields": {"path": str(self.path)}},
            )
        if self._size >= self._share:
            self._rotate()

    def _plain(self, entry: Entry) -> list[Any]:
        now, kind, about, result = entry
        match kind:
            case recorded.ENTERED:
                number = self._numbers.get(about)
                if number is None:
                    self._number += 1
                    number = self._numbers[about] = self._number
                late = now - about.arrived
                told = [now, "enter", number, about.lane.name, result, about.weight, about.size]
                return [*told, late] if late else told
            case recorded.LEFT:
                return [now, "leave", self._numbers.pop(about), about.most_tokens()]
            case recorded.ANSWERED:
                return [now, "answered", about]
            case recorded.LEARNED:
                pairs, hooks = about
                known = [[*pair, cost] for pair, cost in pairs.items()]
                return [now, "learned", known, [[*hook, cost] for hook, cost in hooks.items()]]
            case recorded.FOLLOWED:
                name, options = about
                return [now, "policy", name, dict(options)]
            case _:
                known_as = self._numbers.__getitem__
                ordered = orders(result, known_as)
                told = [now, "told", fact(about, known_as)]
                return [*told, ordered] if ordered else told

    def _put(self, file: BinaryIO, data: bytes) -> None:
        left = memoryview(data)
        while left:
            done = file.write(left)
            self._size += done
            left = left[done:]

    # ---- the file ------------------------------------------------------------------------

    def _open(self) -> BinaryIO:
        """Give the file that is written; what an operator has moved away is left to him."""
        if self._file is not None and not self._in_place(self._file):
            self._shut()
        if self._file is None:
            self._file = self._opened()
            if 0 < self._size >= self._share:  # it could not be put behind the others before
                self._rotate()
                self._file = self._opened()
            self._begin(self._file)
        return self._file

    @property
    def _share(self) -> int:
        return self.limit // FILES

    def _in_place(self, file: BinaryIO) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(file.fileno()))
        except OSError:
            return False

    def _shut(self) -> None:
        """Close the file, whatever the disk says to it."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _opened(self) -> BinaryIO:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            self._size = _taken(file)
        except OSError:
            file.close()
            raise
        return file

    def _begin(self, file: BinaryIO) -> None:
        """Say what holds, behind whatever a life that was killed has left."""
        if self._size:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                self._put(file, b"\n")
        self._put(file, self._first or self._header(continues=True))
        self._first = None

    def _header(self, *, continues: bool) -> bytes:
        name, options = self.policy
        now = time.monotonic()
        lanes = list(self._board.lanes.copy().values())
        said = {
            "llmux_journal": FORMAT,
            "llmux": __version__,
            "wall": time.time(),
            "clock": now,
            "continues": continues,
            "policy": {"name": name, "options": dict(options)},
            "rate_windows": self._board.rate_windows,
            "hint_secs": self._board.hint_secs,
            "max_buffered": self._board.max_buffered,
            "models": [asdict(lane.settings) for lane in lanes],
        }
        return _encode(said) + b"\n"

    def _rotate(self) -> None:
        """Put the file behind its predecessors; the oldest one goes."""
        self._shut()
        for number in range(FILES - 1, 0, -1):
            older = predecessor(self.path, number)
            newer = self.path if number == 1 else predecessor(self.path, number - 1)
            if newer.exists():
                newer.replace(older)

    def _forget(self) -> None:
        """Lose what cannot be written: it must not pile up."""
        self._lost = self._lost or bool(self._board.tape)
        self._board.tape.clear()
        self._numbers.clear()

    def _fail(self, error: Exception) -> None:
        self._lost = True
        self._forget()
        self._retry_at = time.monotonic() + RETRY
        self._shut()
        if not self._failed:
            self._failed = True
            reason = getattr(error, "strerror", None) or str(error) or repr(error)
            logger.warning(
                "the journal cannot be written to %s: %s",
                self.path,
                reason,
                extra={
                    "event": "journal_failed",
                    "fields": {"path": str(self.path), "error": reason},
                },
            )


def _taken(file: BinaryIO) -> int:
    """Lock a file that may be written, and give its size; OSError says why it may not be."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # a device would be renamed
        raise OSError("what is there is no file")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError("another gateway writes it") from None
    file.seek(0)
    head = file.read(len(MARK))
    if not MARK.startswith(head):
        raise OSError("the file that is there is no journal, and stays as it is")
    if head != MARK:  # a full disk has torn its very first word
        file.truncate(0)
    return file.seek(0, os.SEEK_END)


def predecessor(path: Path, number: int) -> Path:
    """Return where the n-th file before the one that is written stands."""
    return path.with_name(f"{path.name}.{number}")
