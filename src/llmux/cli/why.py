"""`llmux why`: asks the gateway that runs why it switched, or did not, and says it in sentences.

Whatever the gateway answers is made harmless before a terminal sees it. It refuses to know how
decisions are made.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import urlencode

import click

from llmux.cli.asking import VARIABLE, NotThereError, Reply, admin_key, ask
from llmux.cli.options import EXIT_FAILED, EXIT_OK, EXIT_USAGE, Flags, gathered, say, shared
from llmux.config import load_config
from llmux.errors import ConfigError
from llmux.telemetry.lines import clean

_LINE = 4000
"""Characters of one sentence that are shown."""


@click.command("why", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", required=False)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Show so many of the last decisions.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what the gateway answered, as JSON.")
@click.option(
    "--key",
    help=f"A key that shows the inside.  [default: {VARIABLE}, or one of the config's]",
)
@shared
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str | None,
    limit: int,
    as_json: bool,
    key: str | None,
    **given: Any,
) -> None:
    """Say why the gateway switched, or did not: for MODEL, or for all that have a story.

    The gateway is found by the config. Exit code 1 if none answers there, 2 for a model that is
    not there.
    """
    run(gathered(ctx, given), model, limit, as_json=as_json, key=key)


def run(
    flags: Flags, model: str | None, limit: int, *, as_json: bool = False, key: str | None = None
) -> NoReturn:
    """Ask, print and exit: 0 answered, 1 no gateway or no entry, 2 usage and config."""
    try:
        config = load_config(flags.path, host=flags.host, port=flags.port).config
    except ConfigError as error:
        _leave(str(error), EXIT_USAGE)
    query = {"limit": str(limit)} | ({} if model is None else {"model": model})
    try:
        encoded = urlencode(query, errors="surrogateescape")
        reply = ask(config, f"/llmux/decisions?{encoded}", admin_key(config, key))
    except NotThereError as error:
        _leave(f"llmux why: {error}", EXIT_FAILED)
    told = _read(reply)
    if as_json:
        say(json.dumps(told, indent=2))
    else:
        for line in lines(told):
            say(line)
    sys.exit(EXIT_OK)


def lines(told: dict[str, Any], now: datetime | None = None) -> list[str]:
    """Write an answer for people: how things stand, then the last decisions, newest first."""
    out = [_stands(one["model"], one["sentence"]) for one in told["why"]]
    out = out or ["nothing is awake, nobody waits"]
    decisions = told["decisions"]
    if not decisions:
        return out
    today = (now or datetime.fromtimestamp(told["time"])).date()
    out.append("")
    for one in decisions:
        when = datetime.fromtimestamp(one["time"])
        stamp = when.strftime("%H:%M:%S" if when.date() == today else "%Y-%m-%d %H:%M:%S")
        times = f"(x{one['count']})" if one["count"] > 1 else ""
        head = f"{stamp}  {times:<5} {clean(one['decision']):<7}"
        out.append(f"{head} {clean(one['sentence'], _LINE)}")
    return out


def _stands(model: str, sentence: str) -> str:
    named = sentence.startswith(f"{model} ")
    return clean(sentence if named else f"{model}: {sentence}", _LINE)


def _read(reply: Reply) -> dict[str, Any]:
    """Take the answer apart, or leave with what is wrong with it."""
    try:
        told = json.loads(reply.body)
        if reply.status == 200 and isinstance(told["why"], list):
            return {"decisions": [], "time": 0.0} | dict(told)
        message, code = str(told["error"]["message"]), told["error"].get("code")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        _leave("llmux why: what answers there is no llmux that tells why", EXIT_FAILED)
    text = f"llmux why: {clean(message, _LINE)}"
    if reply.status in (401, 403):
        text += f" `--key` or {VARIABLE} brings one of `auth.admin_keys`."
    _leave(text, EXIT_USAGE if code == "model_not_found" else EXIT_FAILED)


def _leave(text: str, code: int) -> NoReturn:
    say(text, err=True)
    sys.exit(code)
