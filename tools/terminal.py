"""A terminal that remembers: runs a command in it and tells what stood on it at each moment.

It knows as much of a terminal as a command of ours uses: lines that wrap, colours, the cursor going
up, lines that are erased. It refuses to know what is done with the frames.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

Cell = tuple[str, str]
"""A character and its style: the numbers of its colour and weight, as in `1;36`."""
Row = tuple[Cell, ...]

_PIECES = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([\r\n])|(\x1b.|[\x00-\x1f])|([^\x00-\x1f])")


class Screen:
    """What stands on a terminal of so many columns, which is as high as it needs to be."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._rows: list[list[Cell]] = [[]]
        self._row = self._column = 0
        self._style = ""

    def feed(self, text: str) -> None:
        """Take what a command has written."""
        for numbers, order, move, _, letter in _PIECES.findall(text):
            if letter:
                self._put(letter)
            elif move == "\r":
                self._column = 0
            elif move == "\n":
                self._down()
            elif order:
                self._obey(order, numbers)

    def _put(self, letter: str) -> None:
        if self._column == self.columns:
            self._column = 0
            self._down()
        row = self._rows[self._row]
        row += [(" ", "")] * (self._column + 1 - len(row))
        row[self._column] = (letter, self._style)
        self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._rows):
            self._rows.append([])

    def _obey(self, order: str, numbers: str) -> None:
        if order == "m":
            self._style = "" if numbers in {"", "0"} else numbers
        elif order == "A":
            self._row = max(0, self._row - int(numbers or 1))
        elif order == "K":
            self._rows[self._row] = []

    def rows(self) -> list[Row]:
        """What stands there, without empty rows at the end."""
        shown = [tuple(row) for row in self._rows]
        while shown and not "".join(letter for letter, _ in shown[-1]).strip():
            shown.pop()
        return shown


Frame = tuple[float, list[Row]]


def record(command: Sequence[str], columns: int, pause: float) -> list[Frame]:
    """Run a command to its end, and return what stood on its terminal, with seconds.

    Frames are at least `pause` seconds apart; the clock begins with the first output. Raises
    CalledProcessError where the command fails.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
    env = os.environ | {"TERM": "xterm-256color", "NO_COLOR": ""}
    env.pop("NO_COLOR")
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    screen = Screen(columns)
    frames: list[Frame] = []
    begun = 0.0
    with contextlib.suppress(OSError):  # the other end is closed: the command is over
        while piece := os.read(ours, 65536):
            now = time.monotonic()
            begun = begun or now
            screen.feed(piece.decode(errors="replace"))
            if frames and now - begun - frames[-1][0] < pause:
                frames[-1] = (frames[-1][0], screen.rows())
            else:
                frames.append((now - begun, screen.rows()))
    os.close(ours)
    if code := process.wait():
        raise subprocess.CalledProcessError(code, list(command))
    return frames
