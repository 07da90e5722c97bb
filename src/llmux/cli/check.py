"""`llmux check`: reads the config as `serve` would, and fails on what `serve` only warns of.

It starts nothing; but the policy is built, because only the policy knows its options.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from llmux.build import build_policy
from llmux.cli.banner import api_url
from llmux.cli.options import EXIT_OK, EXIT_USAGE, Flags, gathered, say, shared
from llmux.config import (
    Config,
    Finding,
    InvalidConfigError,
    Kind,
    Loaded,
    load_config,
    script_findings,
)
from llmux.errors import PolicyError


@click.command("check", context_settings={"help_option_names": ["-h", "--help"]})
@shared
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Read the config and tell every mistake in it; the policy is loaded too.

    Exit code 0 if the config can be served as it stands, 2 if it has a mistake or unknown keys.
    """
    run(gathered(ctx, given))


def run(flags: Flags) -> NoReturn:
    """Tell every finding on standard error and exit: 0 fine, 2 mistakes or unknown keys."""
    try:
        loaded = load_config(flags.path, host=flags.host, port=flags.port)
    except InvalidConfigError as error:
        _tell(error.findings)
        sys.exit(EXIT_USAGE)
    findings = [*loaded.warnings, *script_findings(loaded, Path()), *_policy_findings(loaded)]
    _tell(findings)
    if any(finding.kind is not Kind.WARNING for finding in findings):
        sys.exit(EXIT_USAGE)
    say(summary(flags.path, loaded.config))
    sys.exit(EXIT_OK)


def summary(path: Path, config: Config) -> str:
    """What the config comes to, in a few lines."""
    lines = [f"{path} is fine: the policy {config.policy.name}, the API at {api_url(config)}, and"]
    lines += [f"  {name} on port {model.port}" for name, model in config.models.items()]
    return "\n".join(lines)


def _policy_findings(loaded: Loaded) -> list[Finding]:
    try:
        build_policy(loaded.config)
    except PolicyError as error:
        file = str(loaded.config.path)
        places = loaded.places
        mark = places.get(("policy", "options")) or places.get(("policy", "name")) or (0, 0)
        return [Finding(file, *mark, str(error))]
    return []


def _tell(findings: Iterable[Finding]) -> None:
    for finding in findings:
        prefix = "warning: " if finding.kind is Kind.WARNING else ""
        say(f"{prefix}{finding}", err=True)
