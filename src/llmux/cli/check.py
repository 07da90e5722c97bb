"""`llmux check`: reads the config as `serve` would, and fails on what `serve` only warns of.

It starts nothing; but the policy is built, because only the policy knows its options.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from llmux.build import build_policy, policy_finding
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
from llmux.telemetry.lines import clean


@click.command("check", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--policy",
    metavar="NAME",
    help="Try a policy instead of reading a config: a .py file, module:Class or a name.",
)
@shared
@click.pass_context
def command(ctx: click.Context, /, policy: str | None, **given: Any) -> None:
    """Read the config and tell every mistake in it; the policy is loaded and tried too.

    Exit code 0 if the config can be served as it stands, 2 if it has a mistake or unknown keys.
    """
    flags = gathered(ctx, given)
    if policy is not None:
        try_policy(policy)
    run(flags)


def try_policy(name: str) -> NoReturn:
    """Tell what is wrong with a policy, on standard error, and exit: 0 fine, 2 findings."""
    from llmux.testing import check_policy  # noqa: PLC0415 - nobody else has to wait for it

    findings = check_policy(name)
    for finding in findings:
        say(finding if name in finding else f"{name}: {finding}", err=True)
    if not findings:
        say(f"{name} is fine: it was asked about a dozen moments and set over two short stories")
    sys.exit(EXIT_USAGE if findings else EXIT_OK)


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
    lines += [f"  {clean(name)} on port {model.port}" for name, model in config.models.items()]
    return "\n".join(lines)


def _policy_findings(loaded: Loaded) -> list[Finding]:
    try:
        build_policy(loaded.config)
    except PolicyError as error:
        return [policy_finding(loaded, error)]
    return _trial(loaded)


def _trial(loaded: Loaded) -> list[Finding]:
    """Try a policy that is not ours; what is odd about it stops nothing, so it is a warning.

    Whoever has set `max_wait_secs` may well run a policy that would starve somebody without it.
    """
    policy = loaded.config.policy
    if policy.name in {"fifo", "balance"}:
        return []
    from llmux.testing import check_policy  # noqa: PLC0415 - only a user's policy needs it

    path = loaded.config.path
    base = None if path is None else path.resolve().parent
    found = check_policy(policy.name, options=policy.options, config=loaded.config, base_dir=base)
    mark = loaded.places.get(("policy", "name")) or (0, 0)
    return [
        Finding(str(path), *mark, f"the policy {policy.name}: {one}", kind=Kind.WARNING)
        for one in found
        if policy.max_wait_secs is None or "policy.max_wait_secs" not in one
    ]


def _tell(findings: Iterable[Finding]) -> None:
    for finding in findings:
        prefix = "warning: " if finding.kind is Kind.WARNING else ""
        say(f"{prefix}{finding}", err=True)
