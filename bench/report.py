"""Turns the numbers into a page: a table beside its targets, and what was measured on what.

This file refuses to know how anything was measured; it writes what it is given between two
marks of `docs/performance.md`.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.growth import Waiting
from bench.house import ORIGINAL_VERSION, ROOT, find
from bench.machine import describe
from bench.relay import Series, Table

PAGE: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- bench: begin (written by `make bench`, do not edit) -->"
END: Final = "<!-- bench: end -->"
BACKEND: Final = "no gateway"
OURS: Final = "llmux"
ORIGINAL: Final = f"llmux {ORIGINAL_VERSION}"


@dataclass(slots=True)
class Results:
    """All numbers of one run; seconds, bytes, CPU of relaying in microseconds."""

    request_cost: Table
    request_rate: Table
    chunk_cost: Table
    chunk_rate: Table
    flood_cost: Table
    flood_rate: Table
    latency: Table
    stream_bytes: Table
    switch: Table
    models_cost: Table
    models_switch: Table
    waiting: list[Waiting]
    rounds: int
    load_before: float
    load_after: float
    asker: str
    command: str


def text(results: Results) -> str:
    """The whole measured part of the page."""
    parts = [_header(results), _contenders(results), _targets(results)]
    parts += [_models(results), _waiting(results)]
    return "\n\n".join(part for part in parts if part)


def write(measured: str, page: Path = PAGE, begin: str = BEGIN, end: str = END) -> None:
    """Put the measured part between the marks of the page; ValueError if they are not there."""
    whole = page.read_text()
    if begin not in whole or end not in whole:
        raise ValueError(f"{page.name} has no place for the measurements")
    head, rest = whole.split(begin, 1)
    page.write_text(f"{head}{begin}\n\n{measured}\n\n{end}{rest.split(end, 1)[1]}")


def versions() -> str:
    """What was compared, with what."""
    ours = [
        f"{name} {importlib.metadata.version(name)}" for name in ("uvloop", "httptools", "msgspec")
    ]
    named = [f"Python {platform.python_version()}", *ours]
    nginx = find("nginx")
    if nginx is not None:
        said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False).stderr
        named.append(said.strip().rpartition(": ")[2].replace("/", " "))
    return ", ".join(named)


def _header(results: Results) -> str:
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by `{results.command}` on: {describe()}. "
        f"{versions()}; load by {results.asker}. {results.rounds} rounds after a warm-up. "
        f"The machine's load average was {results.load_before:.1f} before and "
        f"{results.load_after:.1f} after the run, which itself keeps two cores busy."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _number(table: Table, name: str, scale: float = 1.0, form: str = ".1f") -> str:
    return f"{table[name].middle * scale:{form}}" if name in table else ""


def _against(table: Table, name: str, form: str = ".2f") -> str:
    nginx = table.get("nginx")
    if nginx is None or name not in table:
        return ""
    return f" ({table[name].ratio(nginx):{form}}x)"


def _contenders(results: Results) -> str:
    rows = []
    direct = results.latency.get(BACKEND)
    for name in results.request_cost:
        added = "" if direct is None else f"{results.latency[name].difference(direct) * 1e3:.3f}"
        rows.append(
            [
                name,
                _number(results.request_cost, name) + _against(results.request_cost, name),
                _number(results.request_rate, name, 1, ",.0f"),
                _number(results.chunk_cost, name) + _against(results.chunk_cost, name),
                _number(results.flood_rate, name, 1, ",.0f"),
                added,
                _number(results.stream_bytes, name, 1 / 1024),
                _number(results.switch, name, 1e3, ".2f"),
            ]
        )
    head = [
        "",
        "CPU us/request (x nginx)",
        "requests/s flat out",
        "CPU us/streamed chunk (x nginx)",
        "chunks/s flat out",
        "ms added at one connection",
        "KiB/open stream",
        "ms added by a switch",
    ]
    return _table(head, rows)


def _targets(results: Results) -> str:
    rows: list[list[str]] = []

    def judge(what: str, value: float, bound: float, unit: str, *, least: bool = False) -> None:
        met = value >= bound if least else value <= bound
        off = abs(value / bound - 1)
        form = ",.0f" if bound >= 1000 else ".2f"
        verdict = "met" if met else f"**missed by {off:.0%}**"
        sign = ">=" if least else "<="
        rows.append([what, f"{sign} {bound:{form}} {unit}", f"{value:{form}} {unit}", verdict])

    def ratios(what: str, table: Table, bound: float) -> None:
        ours = table[OURS]
        if "nginx" in table:
            judge(f"{what}, beside nginx", ours.ratio(table["nginx"]), bound, "x")
        if ORIGINAL in table:
            judge(f"{what}, beside {ORIGINAL}", ours.ratio(table[ORIGINAL]), 1.0, "x")

    ratios("CPU for a request", results.request_cost, 2.0)
    ratios("CPU for a streamed chunk", results.chunk_cost, 1.2)
    if BACKEND in results.latency:
        added = results.latency[OURS].difference(results.latency[BACKEND]) * 1e3
        judge("added at one connection", added, 0.15, "ms")
    judge("requests a second", results.request_rate[OURS].middle, 20_000, "/s", least=True)
    judge("chunks a second", results.flood_rate[OURS].middle, 100_000, "/s", least=True)
    judge("memory of an open stream", results.stream_bytes[OURS].middle / 1024, 8, "KiB")
    judge("added by a switch", results.switch[OURS].middle * 1e3, 5, "ms")
    return _table(["target", "bound", "measured", ""], rows)


def _models(results: Results) -> str:
    names = list(results.models_cost)
    if not names:
        return ""
    first: Series = results.models_cost[names[0]]
    rows = [
        [
            name.removesuffix(" models"),
            _number(results.models_cost, name),
            f"{results.models_cost[name].ratio(first):.2f}x",
            _number(results.models_switch, name, 1e3, ".2f"),
        ]
        for name in names
    ]
    head = ["models in the config", "CPU us/request", "beside the fewest", "ms added by a switch"]
    return _table(head, rows)


def _waiting(results: Results) -> str:
    rows = [
        [
            f"{one.size:,}",
            f"{one.bytes_each / 1024:.1f}",
            f"{one.queue_cpu * 1e6:.0f}",
            f"{one.release_cpu * 1e6:.0f}",
            f"{one.idle_cpu * 1e3:.1f}",
            f"{one.beside_cpu * 1e6:.1f}",
        ]
        for one in results.waiting
    ]
    head = [
        "requests that wait",
        "KiB each",
        "CPU us to queue one",
        "CPU us to admit and answer one",
        "CPU ms in a quiet second",
        "CPU us/request to the awake model beside them",
    ]
    return _table(head, rows) if rows else ""
