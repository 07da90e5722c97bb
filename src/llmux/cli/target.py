"""Files that the command line is to write: looked at before the work, written when it is done.

A report is never written over a file that is none: whoever types the name of a trace by mistake
keeps the trace. It refuses to know what is written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from llmux.errors import ConfigError
from llmux.simulate.page import MARK

_STDOUT = Path("-")


def is_stdout(path: Path | None) -> bool:
    """Whether the name stands for standard output."""
    return path == _STDOUT


def check_target(path: Path, option: str) -> bool:
    """Raise ConfigError if nothing could be written there now; True if a file has been there.

    Leaves nothing behind.
    """
    if path == _STDOUT:
        return False
    try:
        there = path.exists()
        if there and not path.is_file():
            if path.is_dir():
                raise ConfigError(f"{option}: {path} is a folder; name a file in it")
            return False  # a pipe or a device: looking at it may wait, or take something away
        with path.open("ab"):
            pass
        if not there:
            path.unlink()
    except OSError as error:
        raise _unwritable(option, path, error) from None
    return there


def check_apart(targets: Mapping[str, Path | None]) -> None:
    """Raise ConfigError if two options name the same place: one would be written over the other."""
    taken: dict[Path, str] = {}
    for option, path in targets.items():
        if path is None or path.is_char_device() or path.is_fifo():
            continue
        place = path if is_stdout(path) else path.absolute()
        if place in taken:
            what = "standard output" if is_stdout(path) else str(path)
            raise ConfigError(
                f"{option}: {taken[place]} is written to {what} already; name another file"
            )
        taken[place] = option


def check_report(path: Path) -> None:
    """Raise ConfigError if a report could not be written there, or stands in no report's place."""
    if not check_target(path, "--report"):
        return
    try:
        with path.open("rb") as file:
            start = file.read(len(MARK))
    except OSError as error:
        raise _unwritable("--report", path, error) from None
    if start and start != MARK.encode():
        raise ConfigError(
            f"--report: {path} is there and is no report of llmux, so it is not written over; "
            "name another file, or remove it"
        )


def write_target(path: Path, option: str, write: Callable[[TextIO], None]) -> None:
    """Write a file in place of an older one; ConfigError where that fails."""
    try:
        if path == _STDOUT:
            write(sys.stdout)
            sys.stdout.flush()
            return
        with path.open("w", encoding="utf-8", newline="\n") as file:
            write(file)
    except OSError as error:
        raise _unwritable(option, path, error) from None


def _unwritable(option: str, path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{option}: {path} cannot be written: {error.strerror or error}")
