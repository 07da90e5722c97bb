"""Ways of telling outcomes: the table people read, JSON, and one line a request.

It refuses to know how an outcome came about. Waits are seconds, arrival to start of service.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from typing import Any, TextIO

from rich.markup import escape
from rich.table import Table

from llmux.simulate.outcome import Outcome, figures

WAITS_HEADER = ("policy", "index", "model", "arrival", "start", "end")


def table(outcomes: Sequence[Outcome], title: str, limit: float | None = None) -> Table:
    """Return the columns of the yardstick, one line a policy."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("policy")
    columns = ["mean", "p50", "p95", "p99", "max", "switches/1,000", "serving", "switching", "idle"]
    if limit is not None:
        columns.append(f"within {limit:g} s")
    for column in columns:
        shown.add_column(column, justify="right")
    for outcome in outcomes:
        row = figures(outcome, limit)
        cells = [_secs(row[f"{name}_wait"]) for name in ("mean", "p50", "p95", "p99", "max")]
        cells.append(f"{1000 * row['switches'] / row['requests']:.0f}")
        cells += [_share(row[f"{name}_share"]) for name in ("serving", "switching", "idle")]
        if limit is not None:
            cells.append(_share(row["answered_within"]))
        shown.add_row(escape(outcome.policy), *cells)
    return shown


def model_table(outcomes: Sequence[Outcome]) -> Table:
    """Return the waits of each model under each policy."""
    shown = Table(title="Waits per model", title_justify="left")
    shown.add_column("model")
    shown.add_column("policy")
    for column in ("requests", "mean", "p99", "max"):
        shown.add_column(column, justify="right")
    rows = [figures(outcome) for outcome in outcomes]
    for model in rows[0]["models"]:
        for row in rows:
            one = row["models"][model]
            shown.add_row(
                escape(model),
                escape(row["policy"]),
                f"{one['requests']:,}",
                *(_secs(one[f"{name}_wait"]) for name in ("mean", "p99", "max")),
            )
    return shown


def refused(outcome: Outcome) -> int:
    """Return how many requests were never admitted: timed out while they waited."""
    return sum(1 for row in outcome.rows if row.start is None)


def write_json(outcomes: Sequence[Outcome], to: TextIO, limit: float | None = None) -> None:
    """Write a list with one object a policy."""
    rows: list[dict[str, Any]] = [figures(outcome, limit) for outcome in outcomes]
    json.dump(rows, to, indent=2)
    to.write("\n")


def write_waits(outcomes: Sequence[Outcome], to: TextIO) -> None:
    """Write CSV, one line a request and policy; `start` is empty for one that was refused."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(WAITS_HEADER)
    for outcome in outcomes:
        for index, row in enumerate(outcome.rows):
            start = "" if row.start is None else f"{row.start:.6f}"
            writer.writerow(
                (outcome.policy, index, row.model, f"{row.arrival:.6f}", start, f"{row.end:.6f}")
            )


def _secs(seconds: float) -> str:
    return f"{seconds:,.1f} s"


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"
