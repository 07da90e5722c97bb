"""`llmux demo`: hands over to the demonstration, which lives in its own room."""

from __future__ import annotations

import sys
from typing import Any

import click

from llmux import demo
from llmux.cli.options import gathered, shared


@click.command("demo", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--once", is_flag=True, help="End after the first round of requests.")
@click.option(
    "--llamacpp",
    is_flag=True,
    help="Real llama.cpp servers with tiny models instead of toys (the extra llamacpp).",
)
@shared
@click.pass_context
def command(ctx: click.Context, /, once: bool, llamacpp: bool, **given: Any) -> None:
    """Serve three toy models and show how they take turns.

    It goes on until Ctrl-C, which leaves nothing behind. With --once it ends after the first
    round: exit code 0 only if each answer came from the right model.
    """
    sys.exit(demo.run(once=once, port=gathered(ctx, given).port, llamacpp=llamacpp))
