"""The click command: the shared options, and verbs that are imported when they run."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from llmux.cli.main import VERBS
from llmux.cli.options import Flags, gathered, shared


class Verbs(click.Group):
    """A group whose verbs are modules of this package, imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order in which they are told."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command; imports its module."""
        if cmd_name not in VERBS:
            if Path(cmd_name).is_file():
                ctx.fail(f"{cmd_name} is no verb; a config is named with -c {cmd_name}")
            return None
        verb: click.Command = importlib.import_module(f"llmux.cli.{cmd_name}").command
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs' help without importing them."""
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    subcommand_metavar="[VERB]",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@shared
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Let many LLM backends take turns on one accelerator, behind one OpenAI-compatible API.

    Options are understood before and after a verb.
    """
    flags: Flags = gathered(ctx, given)
    ctx.obj = flags
    if ctx.invoked_subcommand is None:
        importlib.import_module("llmux.cli.serve").run(flags)
