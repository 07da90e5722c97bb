"""The file that a report is written to: looked at before the work begins, written when it is done.

A file that is no report is never written over: whoever types the name of a trace by mistake keeps
the trace. It refuses to know what a report says.
"""

from __future__ import annotations

from pathlib import Path

import click

from llmux.errors import ConfigError
from llmux.simulate.page import MARK

_STDOUT = Path("-")


def check_target(path: Path) -> None:
    """Raise ConfigError if a report could not be written there now; leaves nothing behind."""
    if path == _STDOUT:
        return
    try:
        there = path.exists()
        if there and not path.is_file():
            if path.is_dir():
                raise ConfigError(f"--report: {path} is a folder; name a file in it")
            return  # a pipe or a device: looking at it may wait, or take something away
        with path.open("ab"):
            pass
        if not there:
            path.unlink()
            return
        with path.open("rb") as file:
            start = file.read(len(MARK))
    except OSError as error:
        raise ConfigError(f"--report: {path} cannot be written: {error.strerror}") from None
    if start and start != MARK.encode():
        raise ConfigError(
            f"--report: {path} is there and is no report of llmux, so it is not written over; "
            "name another file, or remove it"
        )


def write_target(path: Path, text: str) -> None:
    """Write a report, in place of an older one; OSError where that fails."""
    if path == _STDOUT:
        click.echo(text, nl=False)
    else:
        path.write_text(text, encoding="utf-8", newline="\n")
