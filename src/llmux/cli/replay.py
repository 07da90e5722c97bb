"""`llmux replay`: play a journal through the board and say where it decides otherwise now.

A journal is a bug report: whoever gets it sees what its gateway saw. Nothing is started.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from llmux.cli.options import EXIT_FAILED, EXIT_OK, EXIT_USAGE, shared
from llmux.errors import PolicyError
from llmux.policy.base import PolicySettings, SwitchPolicy
from llmux.policy.registry import load_policy
from llmux.simulate.replay import Difference, Played, replay
from llmux.simulate.traces import TraceError

_MOST_SHOWN = 20


@click.command("replay", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("journals", type=click.Path(path_type=Path, dir_okay=False), nargs=-1)
@click.option("--policy", "named", help="Ask this policy instead of the one that decided then.")
@shared
def command(journals: tuple[Path, ...], named: str | None, **given: Any) -> None:
    """Play a journal through the board and say where it decides otherwise now.

    The policy is asked beside it, and its answers are compared, too. Exit code 1 if anything is
    decided otherwise. A journal's predecessors beside it are played with it.
    """
    del given
    if not journals:
        click.echo("llmux replay needs a journal: the file that `journal:` names", err=True)
        sys.exit(EXIT_USAGE)
    missing: dict[str, str] = {}

    def policy_for(name: str, options: Mapping[str, Any]) -> SwitchPolicy | None:
        chosen = name if named is None else named
        try:
            kept = options if chosen == name else {}
            return load_policy(chosen, None, kept, PolicySettings(), Path())
        except PolicyError as error:
            missing[chosen] = str(error)
            return None

    try:
        played = replay(journals, policy_for)
    except TraceError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_USAGE)
    for why in missing.values():
        click.echo(f"warning: the policy is not asked: {why}", err=True)
    if not played.starts:
        click.echo(
            f"{journals[0]}: no start of the gateway is in it, so there is nothing to begin with: "
            "bounds.max_journal_bytes says how much is kept",
            err=True,
        )
        sys.exit(EXIT_USAGE)
    for difference in played.differences[:_MOST_SHOWN]:
        click.echo(_told(difference))
    if len(played.differences) > _MOST_SHOWN:
        click.echo(f"and {len(played.differences) - _MOST_SHOWN:,} more")
    click.echo(_summary(played))
    sys.exit(EXIT_FAILED if played.differences else EXIT_OK)


def _told(one: Difference) -> str:
    when = datetime.fromtimestamp(one.when, UTC).isoformat(sep=" ", timespec="milliseconds")[:-6]
    return f"{one.path}:{one.line}: {when} UTC\n  then: {one.then}\n  now:  {one.now}"


def _summary(played: Played) -> str:
    told = (
        f"{played.facts:,} facts from {_count(played.starts, 'start')} of the gateway, "
        f"{_count(played.orders, 'order')} of the board, "
        f"{_count(played.answers, 'answer')} of the policy: "
    )
    differences = len(played.differences)
    told += "decided the same" if not differences else f"{differences:,} decided otherwise"
    if played.passed_over:
        told += f"; {_count(played.passed_over, 'line')} before a start could not be played"
    return told


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
