"""The options that every verb has, understood before it and after it.

What stands after the verb rules over what stands before. This file refuses to know what the
options do, and imports nothing that makes `llmux --version` wait.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from llmux import __version__

_F = TypeVar("_F", bound=Callable[..., Any])

EXIT_OK = 0
EXIT_FAILED = 1
"""Everything that is neither usage nor config: a port that is taken, a demo that went wrong."""
EXIT_USAGE = 2
"""The command line or the config is wrong."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says; None where it says nothing."""

    config: Path | None = None
    port: int | None = None
    host: str | None = None
    verbose: bool | None = None
    log_format: str | None = None

    @property
    def path(self) -> Path:
        """The config file to read."""
        return self.config or Path("config.yaml")


def shared(command: _F) -> _F:
    """Give a click callback the options that every verb has."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def gathered(context: click.Context, given: dict[str, Any]) -> Flags:
    """Take the shared options out of `given`, those before the verb where it has none itself."""
    before = context.parent.obj if context.parent else None
    values: dict[str, Any] = {}
    for field in fields(Flags):
        value = given.pop(field.name)
        if value is None and isinstance(before, Flags):
            value = getattr(before, field.name)
        values[field.name] = value
    return Flags(**values)


def say(text: str, *, err: bool = False) -> None:
    """Print a text; a full disk or a closed pipe behind it changes nothing else."""
    with contextlib.suppress(OSError):
        click.echo(text, err=err)


def _host(context: click.Context, option: click.Parameter, host: str | None) -> str | None:
    """Refuse an empty address: the system would take it for every address there is."""
    del context, option
    if host is not None and (not host.strip() or not host.isprintable()):
        raise click.BadParameter("an address is needed, such as 127.0.0.1")
    return host


def _version(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    del option
    if wanted and not context.resilient_parsing:
        say(f"llmux {__version__}")
        context.exit()


_OPTIONS = (
    click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        help="The config file, YAML or JSON.  [default: config.yaml]",
    ),
    click.option(
        "-p",
        "--port",
        type=click.IntRange(1, 65535),
        help="Listen on this port instead of the config's.",
    ),
    click.option("--host", callback=_host, help="Listen on this address instead of the config's."),
    click.option("-v", "--verbose", is_flag=True, default=None, help="Log what happens in detail."),
    click.option(
        "--log-format",
        type=click.Choice(["console", "json"]),
        help="Lines for people, or JSON for machines.",
    ),
    click.option(
        "-V",
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_version,
        help="Show the version and exit.",
    ),
)
