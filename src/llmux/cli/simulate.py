"""`llmux simulate`: what each policy would have done with a trace, in virtual time.

Nothing is started and no gateway is asked. A config is read only where one is named. This file
turns words of the command line into a workload, hook times and policies; it decides nothing.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from llmux import __version__
from llmux.cli.options import EXIT_FAILED, EXIT_OK, EXIT_USAGE, gathered, shared
from llmux.cli.target import check_apart, check_report, check_target, is_stdout, write_target
from llmux.config import Config, load_config
from llmux.core.lane import LaneSettings
from llmux.errors import ConfigError, PolicyError
from llmux.policy.base import PolicySettings, SwitchPolicy
from llmux.policy.registry import load_policy
from llmux.simulate import fifo24, report
from llmux.simulate.driver import drive
from llmux.simulate.engine import NeedsLoopError, simulate
from llmux.simulate.hooks import HookTimes
from llmux.simulate.journal import History, is_journal, read_history
from llmux.simulate.outcome import Outcome
from llmux.simulate.page import Origin, page
from llmux.simulate.synthetic import workload
from llmux.simulate.traces import Rates, read_traces
from llmux.simulate.workload import OpenLoop, Workload
from llmux.testing import run_virtual

_T = TypeVar("_T")
_MOST_COMPLAINTS = 5


class Seconds(click.ParamType[float]):
    """A finite number above 0 (or, where `zero` is set, at least 0)."""

    name = "secs"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the number; anything else is a usage error."""
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not isfinite(number) or number < 0 or (number == 0 and not self._zero):
            self.fail(f"{value!r} is not a number {'of at least' if self._zero else 'above'} 0")
        return number


class PerModel(click.ParamType[Mapping[str, float]]):
    """`MODEL=SECS,MODEL=SECS`; a model's name may hold `=` but no comma."""

    name = "model=secs,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Mapping[str, float]:
        """Read the pairs; anything else is a usage error."""
        if not isinstance(value, str):
            given: Mapping[str, float] = value
            return given
        pairs: dict[str, float] = {}
        for part in filter(None, value.split(",")):
            model, equals, seconds = part.rpartition("=")
            if not equals or not model:
                self.fail(f"{part!r} is not MODEL=SECS")
            pairs[model] = Seconds(zero=True).convert(seconds, param, ctx)
        return pairs


class _Remembering(click.Command):
    """A command that keeps its words, for the page that says how it was made."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = shlex.join(["llmux", "simulate", *args])
        return super().parse_args(ctx, args)


_WORDS = "llmux.simulate.words"
_A_FILE = click.Path(path_type=Path, allow_dash=True)


@click.command(
    "simulate", cls=_Remembering, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--trace",
    "traces",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A gateway's journal, or a CSV (or .csv.gz) of requests: ours, Azure's or BurstGPT's; "
    "several are merged.",
)
@click.option(
    "--workload",
    "spelled",
    help="Instead of a trace: poisson:a=.15,b=.15 | bursts:a=.6,on=60,off=240 | "
    "closed:a=12,b=8,think=30, or a name of the yardstick.",
)
@click.option(
    "--policy",
    "names",
    default="fifo,balance",
    show_default=True,
    help="Policies to compare, by comma; fifo-2.4 is llmux 2.4.0's order.",
)
@click.option(
    "--cost",
    type=Seconds(zero=True),
    default=11.0,
    show_default=True,
    help="Seconds of a switch: 10 % sleep, 90 % wake; a journal's own hooks unless this is given.",
)
@click.option("--sleep-secs", type=PerModel(), help="Sleep hooks, where they differ.")
@click.option("--wake-secs", type=PerModel(), help="Wake hooks, where they differ.")
@click.option(
    "--jitter",
    type=Seconds(zero=True),
    default=0.0,
    help="Sigma of the hooks' lognormal jitter, mean kept.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of workload and jitter.")
@click.option(
    "--prefill-rate",
    type=Seconds(),
    default=4000.0,
    show_default=True,
    help="Prompt tokens a second.",
)
@click.option(
    "--decode-rate",
    type=Seconds(),
    default=40.0,
    show_default=True,
    help="Answer tokens a second.",
)
@click.option("--limit-secs", type=Seconds(zero=True), help="Count the waits of at most this.")
@click.option("--every", type=click.IntRange(min=1), default=1, help="Keep each n-th request.")
@click.option(
    "--align", is_flag=True, help="Let each trace begin at 0, where they have no common clock."
)
@click.option("--json", "json_to", type=_A_FILE, help="Write the figures to a file.")
@click.option("--waits", "waits_to", type=_A_FILE, help="Write one line a request.")
@click.option(
    "--report",
    "page_to",
    type=_A_FILE,
    help="Write a page with pictures (HTML, looked at without a network) to a file.",
)
@click.option(
    "--engine",
    type=click.Choice(["heap", "driver"]),
    default="heap",
    show_default=True,
    help="The heap is faster and does the same; what needs a loop goes by the driver anyway.",
)
@shared
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Replay requests through the real switchboard in virtual time, under each policy.

    Policies learn the hooks' times as in life. Models and policy options come from --config
    where one is given; otherwise the models are those that are asked for.
    """
    flags = gathered(ctx, given)
    try:
        _check_targets(given)
        config = None if flags.config is None else load_config(flags.config).config
        given["cost_is_given"] = (
            ctx.get_parameter_source("cost") is click.core.ParameterSource.COMMANDLINE
        )
        outcomes = _compare(config, given)
    except (ConfigError, PolicyError) as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_USAGE)
    try:
        _write(outcomes, ctx.meta[_WORDS], given)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_FAILED)
    _tell(outcomes, given)


def _check_targets(given: Mapping[str, Any]) -> None:
    """Find out before the work whether what comes of it can be written."""
    check_apart(
        {
            "--report": given["page_to"],
            "--json": given["json_to"],
            "--waits": given["waits_to"],
        }
    )
    if given["page_to"] is not None:
        check_report(given["page_to"])
    for option, to in (("--json", given["json_to"]), ("--waits", given["waits_to"])):
        if to is not None:
            check_target(to, option)


def _compare(config: Config | None, given: Mapping[str, Any]) -> list[Outcome]:
    past = _past(given)
    asked = _workload(given) if past is None else past.workload(given["every"])
    hooks = HookTimes(
        given["cost"],
        given["sleep_secs"] or {},
        given["wake_secs"] or {},
        given["jitter"],
        given["seed"],
    )
    if past is not None:
        hooks = past.times(hooks, cost_is_given=given["cost_is_given"])
    known = asked.models if config is None else tuple(config.models)
    if past is not None and config is None:
        known = tuple(past.models)
    unknown = sorted({*hooks.sleep, *hooks.wake, *asked.models} - {*known})
    if unknown:
        where = "the requests" if config is None else str(config.path)
        raise ConfigError(
            f"{', '.join(unknown)} stands nowhere in {where}; there are {', '.join(known)}"
        )
    names = [name.strip() for name in given["names"].split(",") if name.strip()]
    if not names:
        raise ConfigError("--policy: no policy is named; fifo,balance compares two")
    basis = config if past is None or config is not None else past
    outcomes = [_simulate(name, asked, hooks, basis, given["engine"]) for name in names]
    return outcomes if past is None or given["every"] > 1 else [past.outcome(), *outcomes]


def _past(given: Mapping[str, Any]) -> History | None:
    """Read what the traces tell of a gateway's past; None where they are no journals."""
    traces: Sequence[Path] = given["traces"]
    journals = [path for path in traces if is_journal(path)]
    if not journals or given["spelled"]:
        return None
    others = [str(path) for path in traces if path not in journals]
    if others:
        raise ConfigError(f"{', '.join(others)} is no journal; journals stand alone")
    return read_history(journals)


def _workload(given: Mapping[str, Any]) -> Workload:
    traces: Sequence[Path] = given["traces"]
    spelled: str | None = given["spelled"]
    if bool(traces) == bool(spelled):
        raise ConfigError("name the requests, either by --trace FILE or by --workload KIND:...")
    if spelled:
        return workload(spelled, given["seed"])
    rates = Rates(given["prefill_rate"], given["decode_rate"])
    return read_traces(traces, rates, given["every"], align=given["align"])


def _simulate(
    name: str, asked: Workload, hooks: HookTimes, basis: Config | History | None, engine: str
) -> Outcome:
    if name == fifo24.NAME:
        return fifo24.simulate_fifo24(asked, hooks)
    total = len(asked.jobs) if isinstance(asked, OpenLoop) else None
    with _bar() as bar:
        task = bar.add_task(name, total=total)

        def run(engine: Callable[..., _T]) -> _T:
            policy, settings = _policy(name, basis)
            return engine(
                asked,
                policy,
                hooks,
                name=name,
                settings=settings,
                progress=lambda over: bar.update(task, completed=over),
            )

        if engine == "heap":
            try:
                return run(simulate)
            except NeedsLoopError:
                pass  # the driver has one
        return run_virtual(run(drive))


def _policy(
    name: str, config: Config | History | None
) -> tuple[SwitchPolicy, dict[str, LaneSettings] | None]:
    """Load a policy; the options of a config, or of a journal, hold for the one named there."""
    if isinstance(config, History):
        then, options = config.policy
        kept = options if name == then else {}
        return load_policy(name, None, kept, PolicySettings(), Path()), config.models
    if config is None:
        return load_policy(name, None, {}, PolicySettings(), Path()), None
    from llmux.build import build  # noqa: PLC0415 - a whole gateway, for a config alone

    if name != config.policy.name:
        chosen = dataclasses.replace(config.policy, name=name, options={})
        config = dataclasses.replace(config, policy=chosen)
    parts = build(config)
    lanes = parts.switcher.board.lanes
    return parts.policy, {model: lane.settings for model, lane in lanes.items()}


def _write(outcomes: Sequence[Outcome], command: str, given: Mapping[str, Any]) -> None:
    """Write the files that were asked for; ConfigError where one cannot be written."""
    limit: float | None = given["limit_secs"]
    if (to := given["page_to"]) is not None:
        traces: Sequence[Path] = given["traces"]
        requests: str = given["spelled"] or " + ".join(path.name for path in traces)
        origin = Origin(requests, command, __version__, (("seed", str(given["seed"])),))
        text = page(outcomes, origin, limit)
        write_target(to, "--report", lambda file: print(text, end="", file=file))
    if (to := given["json_to"]) is not None:
        write_target(to, "--json", lambda file: report.write_json(outcomes, file, limit))
    if (to := given["waits_to"]) is not None:
        write_target(to, "--waits", lambda file: report.write_waits(outcomes, file))


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def _tell(outcomes: Sequence[Outcome], given: Mapping[str, Any]) -> NoReturn:
    for outcome in outcomes:
        for complaint in outcome.complaints[:_MOST_COMPLAINTS]:
            click.echo(f"warning: {complaint}", err=True)
    limit: float | None = given["limit_secs"]
    if not any(is_stdout(given[to]) for to in ("page_to", "json_to", "waits_to")):
        console = Console(width=None if sys.stdout.isatty() else 120)
        requests = len(outcomes[0].rows)
        console.print(report.table(outcomes, f"Waits of {requests:,} requests", limit))
        if len({row.model for row in outcomes[0].rows}) > 1:
            console.print(report.model_table(outcomes))
        for outcome in outcomes:
            if lost := report.refused(outcome):
                console.print(f"{outcome.policy}: {lost:,} requests timed out while they waited")
    sys.exit(EXIT_OK)
