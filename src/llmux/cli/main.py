"""The command `llmux` and its verbs; without a verb it serves.

A verb's module is imported only when that verb runs, so that `--version` and `--help` come at
once. What a verb does stands in its own file.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from llmux import __version__

if TYPE_CHECKING:
    import click

VERBS: Final = {
    "serve": "Serve the models; what llmux without a verb does.",
    "check": "Read the config and tell every mistake in it.",
    "why": "Say why the gateway that runs switched, or did not.",
    "schema": "Write the JSON Schema of the config, for editors.",
    "simulate": "Replay a trace under several policies, in virtual time.",
    "replay": "Play a journal through the board: does it still decide the same?",
    "demo": "Serve three toy models and show how they take turns.",
}


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 2 usage and config, 130 Ctrl-C, 1 all else."""
    code = 0
    _fill_standard_descriptors()
    if VERBS.keys().isdisjoint(sys.argv) or "serve" in sys.argv:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # no config has been read that it could renew
    try:
        if sys.argv[1:] in (["--version"], ["-V"]):
            with contextlib.suppress(OSError):
                print(f"llmux {__version__}")  # faster than click can be imported
        else:
            _command()(prog_name="llmux")
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except KeyboardInterrupt:  # while a verb is still being imported
        code = 130
    _let_go_of_output()
    sys.exit(code)


def _command() -> click.Command:
    command: click.Command = importlib.import_module("llmux.cli.verbs").command
    return command


def _fill_standard_descriptors() -> None:
    """Open what was closed before we began, or a socket would get its number (libuv aborts)."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _let_go_of_output() -> None:
    """Flush, and give up what a full disk or a closed pipe refuses: it must not change the code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # None where it was closed before we began
                stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
