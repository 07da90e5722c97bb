"""One page that tells of outcomes: the verdict, a table, the pictures, and how it was made.

The page stands alone: style and pictures are in it, there is no script, and its own policy forbids
the browser to load anything. The same outcomes give the same bytes. It refuses to know files and
the command line; all that comes from outside is escaped.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

from llmux.simulate import pictures
from llmux.simulate.course import longest
from llmux.simulate.outcome import Outcome, figures
from llmux.simulate.units import lasting
from llmux.simulate.verdict import Named, Sentence, equal, ranked, verdict

MARK = "<!doctype html>\n<!-- a report of llmux simulate -->\n"
"""How each report begins."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a page comes from, in words: what was asked of whom, and the command."""

    requests: str
    """What the requests are called: a trace, a workload."""
    command: str
    version: str
    facts: Sequence[tuple[str, str]] = ()
    """More of it, as pairs of name and value."""


def page(outcomes: Sequence[Outcome], origin: Origin, limit: float | None = None) -> str:
    """Return the whole page as HTML; `limit` (seconds) adds who was answered within it."""
    order = ranked(outcomes)
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    names = ", ".join(outcome.policy for outcome in order)
    title = f"{names} · {origin.requests} · llmux simulate"
    body = "\n".join(
        [
            _first_screen(order, origin, limit),
            _figures(order, limit),
            _waits(order),
            _courses(order),
            _per_model(order),
            _made(origin),
        ]
    )
    return (
        f'{MARK}<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_nothing_but(style)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _nothing_but(style: str) -> str:
    """Return the policy that allows this one style sheet, and forbids scripts and loading."""
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _first_screen(order: Sequence[Outcome], origin: Origin, limit: float | None) -> str:
    begin, end = _window(order)
    count = len(order[0].rows)
    about = f"{origin.requests}: {count:,} requests in {lasting(end - begin)}"
    first, *rest = verdict(order, limit)
    remarks = "\n".join(f'<p class="remark">{_sentence(one)}</p>' for one in rest)
    links = "".join(
        f'<li><a href="#{key}">{name}</a></li>'
        for key, name in (
            ("figures", "Figures"),
            ("waits", "Waits"),
            ("courses", "Moment by moment"),
            ("models", "Each model"),
            ("made", "How it was made"),
        )
    )
    return (
        f"<header>\n<h1>{escape(about)}</h1>\n"
        f'<p class="verdict" id="verdict">{_sentence(first)}</p>\n{remarks}\n'
        f'<nav aria-label="On this page"><ul>{links}</ul></nav>\n</header>'
    )


def _sentence(pieces: Sentence) -> str:
    return "".join(
        f"<b>{escape(piece)}</b>" if isinstance(piece, Named) else _kept(piece) for piece in pieces
    )


def _kept(text: str) -> str:
    """Escape words, and keep each number on one line with its unit."""
    return re.sub(r"(?<=\d) (?=(s|min|h|d|%)\b|%)", "\N{NO-BREAK SPACE}", escape(text))


def _window(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    spans = [outcome.span for outcome in outcomes]
    return min(begin for begin, _ in spans), max(end for _, end in spans)


class _Measure(NamedTuple):
    """One row of the table of figures."""

    name: str
    means: str
    value: Callable[[dict[str, Any]], float | None]
    shown: Callable[[float], str]
    better: int = -1
    """-1 where less is better, 1 where more is, 0 where neither is."""


def _secs(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 0.95 or seconds == 0 else f"{seconds:.2f} s"


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"


def _measures(limit: float | None, *, refused: bool) -> list[_Measure]:
    some = [
        _Measure("mean wait", "", lambda row: row["mean_wait"], _secs),
        _Measure("p50", "half wait longer", lambda row: row["p50_wait"], _secs),
        _Measure("p95", "5 % wait longer", lambda row: row["p95_wait"], _secs),
        _Measure("p99", "1 % wait longer", lambda row: row["p99_wait"], _secs),
        _Measure("max", "the longest wait", lambda row: row["max_wait"], _secs),
        _Measure(
            "switches",
            "for 1,000 requests",
            lambda row: 1000 * row["switches"] / row["requests"],
            lambda value: f"{value:,.0f}",
        ),
        _Measure("serving", "share of the time", lambda row: row["serving_share"], _share, 0),
        _Measure("switching", "share of the time", lambda row: row["switching_share"], _share, 0),
        _Measure("idle", "share of the time", lambda row: row["idle_share"], _share, 0),
    ]
    if limit is not None:
        within = f"within {lasting(limit)}"
        some.append(
            _Measure(within, "answers begun", lambda row: row["answered_within"], _share, 1)
        )
    if refused:
        some.append(
            _Measure("timed out", "while they waited", _refused, lambda value: f"{value:,.0f}")
        )
    return some


def _refused(row: dict[str, Any]) -> float:
    return float(row["refused"])


_BOLD = ' class="best"'


def _figures(order: Sequence[Outcome], limit: float | None) -> str:
    rows = []
    for outcome in order:
        refused = sum(1 for row in outcome.rows if row.start is None)
        rows.append(figures(outcome, limit) | {"refused": refused})
    head = "".join(f'<th scope="col">{escape(outcome.policy)}</th>' for outcome in order)
    lines = []
    for measure in _measures(limit, refused=any(row["refused"] for row in rows)):
        values = [measure.value(row) for row in rows]
        best = _best(order, values, measure.better)
        cells = "".join(
            f"<td{_BOLD if place in best else ''}>"
            f"{'' if value is None else measure.shown(value)}</td>"
            for place, value in enumerate(values)
        )
        means = f" <small>{escape(measure.means)}</small>" if measure.means else ""
        lines.append(f'<tr><th scope="row">{escape(measure.name)}{means}</th>{cells}</tr>')
    bold = ", and the best of a line is bold" if len(order) > 1 else ""
    return (
        '<section id="figures">\n<h2>Figures</h2>\n'
        + _scrolling(
            "Figures of each policy",
            '<table class="figures"><caption>A wait lasts from the arrival of a request to the '
            f"start of its service{bold}.</caption>"
            f'<thead><tr><th scope="col">policy</th>{head}</tr></thead>\n'
            f"<tbody>{chr(10).join(lines)}</tbody></table>",
        )
        + "</section>"
    )


def _best(order: Sequence[Outcome], values: Sequence[float | None], better: int) -> set[int]:
    """Say which simulations are best in a line: none where all are equal."""
    known = {
        place: value
        for place, value in enumerate(values)
        if value is not None and order[place].recorded is None
    }
    if not better or len(known) < 2:
        return set()
    top = max(known.values(), key=lambda value: better * value)
    found = {place for place, value in known.items() if equal(value, top)}
    return found if len(found) < len(known) else set()


def _scrolling(label: str, table: str) -> str:
    """Let a wide table scroll by itself, also by the keyboard."""
    return f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">{table}</div>\n'


def _waits(order: Sequence[Outcome]) -> str:
    key = "".join(
        f'<li><svg width="34" height="10" aria-hidden="true"><path class="curve '
        f'{pictures.curve(place, order)}" d="M1,5H33"/></svg>{escape(outcome.policy)}</li>'
        for place, outcome in enumerate(order)
    )
    return (
        '<section id="waits">\n<h2>Waits</h2>\n'
        '<p class="caption">How long somebody waits (upwards) against the share of requests that '
        "wait at least so long: half of all are left of 50 %, the unluckiest are at the right "
        "edge. Lower is better. Seconds are drawn on an axis that begins at 0 and grows by "
        f'factors above 1 s.</p>\n<ul class="key">{key}</ul>\n'
        f"<figure>{pictures.waits('waits-picture', order)}</figure>\n</section>"
    )


def _courses(order: Sequence[Outcome]) -> str:
    models = pictures.cast(order)
    played = [pictures.play(outcome, models) for outcome in order]
    span = _window(order)
    whole = pictures.stage(played, span)
    parts = [
        '<section id="courses">\n<h2>Moment by moment</h2>\n',
        f'<p class="caption">{_course_caption(whole)}</p>\n{_colours(models)}',
        *_drawn("course", played, models, whole),
    ]
    if whole.thinned:
        worst = max((longest(one.outcome) for one in played), key=lambda row: row.wait)
        window = pictures.close_up(worst, span)
        near = pictures.stage(played, window)
        parts += [
            '</section>\n<section id="close">\n<h2>Close up</h2>\n'
            f'<p class="caption">The {lasting(window[1] - window[0])} around the longest wait of '
            f"all ({lasting(worst.wait)}, for {escape(worst.model)}), for each policy. "
            f"{_course_caption(near)}</p>\n{_colours(models)}",
            *_drawn("close", played, models, near),
        ]
    return "".join([*parts, "</section>"])


def _drawn(
    key: str, played: Iterable[pictures.Played], models: pictures.Cast, on: pictures.Stage
) -> list[str]:
    return [
        f"<h3>{escape(one.outcome.policy)}</h3>\n<figure>"
        f"{pictures.course(f'{key}-{place}', one, models, on)}</figure>\n"
        for place, one in enumerate(played)
    ]


def _course_caption(on: pictures.Stage) -> str:
    begin, end = on.window
    column = lasting((end - begin) / pictures.COLUMNS)
    said = (
        "The axis is the time since the first request; all policies have the same axes, and each "
        "model its own height. "
    )
    if on.thinned:
        said += (
            f"The band of the accelerator is drawn in {pictures.COLUMNS} columns of {column}, "
            "filled to the share of the time that each model was served in it, was awake without "
            "being asked, or hooks ran. "
        )
    return said + (
        f"Queues are drawn in columns of {column}: pale up to the most that waited at once, full "
        "up to the mean; the numbers are the most and the mean of the whole picture. "
        f"A bar of switches counts the wakes in {lasting(on.bar)}."
    )


def _colours(models: pictures.Cast) -> str:
    def swatch(classes: str, words: str) -> str:
        square = f'<rect class="{classes}" width="12" height="12" rx="2"/>'
        return f'<li><svg width="12" height="12" aria-hidden="true">{square}</svg>{words}</li>'

    named = [swatch(f"{colour} serving", escape(name)) for name, _, colour in models.rows()]
    states = [
        swatch(f"{models.rows()[0][2]} awake", "awake, not asked (pale)"),
        swatch("switching", "a hook runs"),
        swatch("ground", "nothing is awake"),
    ]
    return f'<ul class="key">{"".join([*named, *states])}</ul>\n'


def _per_model(order: Sequence[Outcome]) -> str:
    rows = [figures(outcome) for outcome in order]
    names = sorted({model for row in rows for model in row["models"]})
    lines = []
    for model in names:
        for place, row in enumerate(rows):
            one = row["models"].get(model)
            if one is None:
                cells = '<td>0</td><td colspan="3"></td>'
            else:
                waits = (_secs(one[f"{name}_wait"]) for name in ("mean", "p99", "max"))
                cells = f"<td>{one['requests']:,}</td>" + "".join(
                    f"<td>{wait}</td>" for wait in waits
                )
            head = f'<th scope="rowgroup" rowspan="{len(rows)}">{escape(model)}</th>'
            lines.append(
                f"<tr>{'' if place else head}"
                f'<th scope="row">{escape(row["policy"])}</th>{cells}</tr>'
            )
    return (
        '<section id="models">\n<h2>Each model</h2>\n'
        + _scrolling(
            "Waits of each model",
            '<table class="models"><caption>Waits of each model under each policy.</caption>'
            '<thead><tr><th scope="col">model</th><th scope="col">policy</th>'
            '<th scope="col">requests</th><th scope="col">mean</th><th scope="col">p99</th>'
            f'<th scope="col">max</th></tr></thead>\n<tbody>{chr(10).join(lines)}</tbody></table>',
        )
        + "</section>"
    )


def _made(origin: Origin) -> str:
    facts = [("requests", origin.requests), *origin.facts, ("llmux", origin.version)]
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return (
        '<section id="made">\n<h2>How it was made</h2>\n'
        '<p class="caption">The real switchboard and policies have run in virtual time; hooks '
        "never fail there. The same command makes the same page.</p>\n"
        f"<dl><dt>command</dt><dd><code>{escape(origin.command)}</code></dd>{told}</dl>\n</section>"
    )
