"""The pictures of a report: the course of each policy on one axis of time, and the waits of all.

What is drawn for one policy is drawn for every other with the same axes, so that they can be
compared by eye. A course of very many bands is drawn in columns that show shares, and the caption
says so: nothing is dropped. It refuses to know policies, and the page around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log, log10

from llmux.simulate.course import (
    Band,
    Depth,
    State,
    Window,
    bands,
    depths,
    longest,
    mean_depth,
    shares,
    steps,
    wakes,
)
from llmux.simulate.drawing import WIDTH, Picture, columns, polyline, rectangle
from llmux.simulate.outcome import Outcome, Row
from llmux.simulate.units import lasting, marks, step

COLUMNS = 360
"""Columns in which queues, and very long courses, are drawn."""
MOST_BANDS = 800
"""What has more bands than this is drawn in columns."""
MOST_MODELS = 8
"""Models with a colour of their own; the others share a row."""
_BARS = 60
_POINTS = 300
_OTHERS = "others"
_WAITS = (
    *((0.0, "0"), (1.0, "1 s"), (3.0, "3 s"), (10.0, "10 s"), (30.0, "30 s"), (60.0, "1 min")),
    *((120.0, "2 min"), (300.0, "5 min"), (600.0, "10 min"), (1800.0, "30 min")),
    *((3600.0, "1 h"), (10800.0, "3 h"), (43200.0, "12 h"), (172800.0, "2 d"), (604800.0, "7 d")),
)
"""Where the axis of waits may have a mark."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Which models have a row and a colour of their own: those for whom people waited longest."""

    named: Sequence[str]
    others: Sequence[str]

    def rows(self) -> list[tuple[str, Sequence[str], str]]:
        """Return each row's name, its models, and the class of its colour."""
        own: list[tuple[str, Sequence[str], str]] = [
            (name, (name,), f"m{index}") for index, name in enumerate(self.named)
        ]
        if self.others:
            own.append((f"{len(self.others)} others", self.others, _OTHERS))
        return own

    def colours(self) -> dict[str, str]:
        """Return the class of each model."""
        return {model: colour for _, models, colour in self.rows() for model in models}


@dataclass(frozen=True, slots=True)
class Played:
    """One policy's course."""

    outcome: Outcome
    bands: Sequence[Band]
    moves: Mapping[str, Sequence[tuple[float, int]]]
    """When the queue of each row of the cast grew and shrank, by the row's colour."""
    rows: Mapping[str, Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Stage:
    """The axes that all courses share."""

    window: Window
    zero: float
    """The moment that the axis calls 0: the first request."""
    thinned: bool
    """Bands are drawn as shares of columns."""
    peaks: Mapping[str, int]
    """The top of each queue's axis, by the row's colour."""
    bar: float
    """Seconds of one bar of switches."""
    most_switches: int


def cast(outcomes: Sequence[Outcome]) -> Cast:
    """Choose the models that get a colour: in the order of the time that was waited for them."""
    waited: dict[str, float] = {}
    for outcome in outcomes:
        for row in outcome.rows:
            waited[row.model] = waited.get(row.model, 0.0) + row.wait
    order = sorted(waited, key=lambda model: (-waited[model], model))
    if len(order) <= MOST_MODELS:
        return Cast(sorted(order), ())
    return Cast(sorted(order[:MOST_MODELS]), sorted(order[MOST_MODELS:]))


def play(outcome: Outcome, models: Cast) -> Played:
    """Work out the course of one policy."""
    colours = models.colours()
    rows: dict[str, list[Row]] = {colour: [] for _, _, colour in models.rows()}
    for row in outcome.rows:
        rows[colours[row.model]].append(row)
    moves = {colour: steps(some) for colour, some in rows.items()}
    return Played(outcome, bands(outcome), moves, rows)


def stage(some: Sequence[Played], window: Window) -> Stage:
    """Find the axes on which all these courses fit."""
    zero = min(each.outcome.span[0] for each in some)
    begin, end = window
    within = [sum(1 for one in each.bands if one.begin < end and one.end > begin) for each in some]
    bar = step((end - begin) / _BARS) if end > begin else 1.0
    peaks = {
        colour: max(_peak(depths(each.moves[colour], window, COLUMNS)) for each in some)
        for colour in some[0].moves
    }
    most = max(max(wakes(each.outcome, window, bar)) for each in some)
    return Stage(window, zero, max(within) > MOST_BANDS, peaks, bar, most)


def _peak(found: Sequence[Depth]) -> int:
    return max(one.most for one in found)


_LABEL, _BAND, _MARK, _QUEUE, _GAP, _SWITCHES, _AXIS = 16, 30, 20, 30, 12, 26, 20


def course(key: str, one: Played, models: Cast, on: Stage) -> str:
    """Draw what the accelerator did, who waited for whom, and the switches, as SVG."""
    rows = models.rows()
    top = _LABEL + _BAND + _MARK
    row_height = _LABEL + _QUEUE + _GAP
    bars = top + len(rows) * row_height
    floor = bars + _LABEL + _SWITCHES
    policy = one.outcome.policy
    picture = Picture(
        key,
        f"Course under {policy}",
        _course_in_words(one, models, on),
        floor + _AXIS,
    )
    worst = longest(one.outcome)
    begin, end = on.window
    for moment, name in marks(begin - on.zero, end - on.zero, 6):
        x = _x(moment + on.zero, on.window)
        picture.line("grid", (x, _LABEL), (x, floor))
        anchor = "start" if x < 20 else "end" if x > WIDTH - 40 else "middle"
        picture.words("tick", x, floor + 15, name, anchor=anchor)
    own = next(place for place, (_, some, _) in enumerate(rows) if worst.model in some)
    _mark_longest(picture, worst, on.window, (top + own * row_height + _LABEL, floor))
    picture.words("label", 0, 11, "accelerator")
    _draw_bands(picture, one.bands, models, on)
    for index, (name, _, colour) in enumerate(rows):
        base = top + index * row_height + _LABEL + _QUEUE
        found = depths(one.moves[colour], on.window, COLUMNS)
        scale = _QUEUE / max(1, on.peaks[colour])
        picture.path(f"{colour} most", columns([scale * each.most for each in found], base))
        picture.path(f"{colour} mean", columns([scale * each.mean for each in found], base))
        picture.line("base", (0, base), (WIDTH, base))
        picture.swatch(f"{colour} mean", base - _QUEUE - 4)
        mean = mean_depth(one.rows[colour], on.window)
        picture.words("label", 0, base - _QUEUE - 4, _short(name, 24), shift=15)
        said = f"most {_peak(found):,}, mean {mean:.1f}"
        picture.words("tick", WIDTH, base - _QUEUE - 4, said, anchor="end")
    counts = wakes(one.outcome, on.window, on.bar)
    _draw_switches(picture, counts, on, floor)
    picture.words("label", 0, bars + 11, "switches")
    said = f"{sum(counts):,}; at most {max(counts):,} in {lasting(on.bar)}"
    picture.words("tick", WIDTH, bars + 11, said, anchor="end")
    return picture.render()


def _x(moment: float, window: Window) -> float:
    begin, end = window
    return WIDTH * (moment - begin) / (end - begin) if end > begin else 0.0


def _course_in_words(one: Played, models: Cast, on: Stage) -> str:
    worst = longest(one.outcome)
    serving, switching, idle = one.outcome.shares()
    queues = "; ".join(
        f"for {name} at most {_peak(depths(one.moves[colour], on.window, COLUMNS)):,} waited"
        for name, _, colour in models.rows()
    )
    return (
        f"In all the accelerator serves {serving:.0%} of the time, switches for {switching:.0%} "
        f"and is idle for {idle:.0%}. In this picture {queues}. The longest wait is "
        f"{lasting(worst.wait)}, for {worst.model}, from {lasting(worst.arrival - on.zero)} on."
    )


def _short(name: str, most: int) -> str:
    """Return a name that fits; the tables have it in full."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _mark_longest(picture: Picture, worst: Row, window: Window, edges: tuple[float, float]) -> None:
    """Mark the longest wait, over all rows and more so in its own (`edges`: its top, the floor)."""
    begin, end = window
    if worst.wait <= 0 or worst.arrival > end or worst.arrival + worst.wait < begin:
        return
    since = _x(max(begin, worst.arrival), window)
    until = _x(min(end, worst.arrival + worst.wait), window)
    y = _LABEL + _BAND + 9
    own, floor = edges
    picture.box("longest", since, _LABEL, until - since, floor - _LABEL)
    picture.box("longest", since, own, until - since, _QUEUE)
    picture.line("bracket", (since, y), (until, y))
    for x in (since, until):
        picture.line("bracket", (x, y - 4), (x, y + 4))
    said = f"longest wait {lasting(worst.wait)}, {_short(worst.model, 10)}"
    picture.words("note", WIDTH, 11, said, anchor="end")


def _draw_bands(picture: Picture, some: Sequence[Band], models: Cast, on: Stage) -> None:
    colours = models.colours()
    base = _LABEL + _BAND
    picture.box("ground", 0, _LABEL, WIDTH, _BAND)
    if on.thinned:
        _draw_shares(picture, some, colours, on)
    else:
        begin, end = on.window
        drawn: dict[str, list[str]] = {}
        for band in some:
            if band.end > begin and band.begin < end:
                since = _x(max(begin, band.begin), on.window)
                width = _x(min(end, band.end), on.window) - since
                shape = rectangle(since, _LABEL, width, _BAND)
                drawn.setdefault(_classes(band.state, band.model, colours), []).append(shape)
        for classes, shapes in sorted(drawn.items()):
            picture.path(classes, "".join(shapes))
    picture.line("base", (0, base), (WIDTH, base))


def _classes(state: State, model: str, colours: Mapping[str, str]) -> str:
    if state is State.SWITCHING:
        return "switching"
    return f"{colours.get(model, _OTHERS)} {state.value}"


def _draw_shares(
    picture: Picture, some: Sequence[Band], colours: Mapping[str, str], on: Stage
) -> None:
    """Draw each column as a stack of shares: serving at the bottom, switching on top."""
    found: dict[str, list[float]] = {}
    for (state, model), row in shares(some, on.window, COLUMNS).items():
        classes = _classes(state, model, colours)
        old = found.get(classes, [0.0] * COLUMNS)
        found[classes] = [one + other for one, other in zip(old, row, strict=True)]
    rank = {"serving": 0, "awake": 1, "switching": 2}
    order = sorted(found, key=lambda classes: (rank[classes.split()[-1]], classes))
    stacks = accumulate(
        (found[classes] for classes in order),
        lambda below, row: [one + other for one, other in zip(below, row, strict=True)],
    )
    for classes, tops in reversed(list(zip(order, stacks, strict=True))):
        heights = [_BAND * min(1.0, top) for top in tops]
        picture.path(classes, columns(heights, _LABEL + _BAND))


def _draw_switches(picture: Picture, counts: Sequence[int], on: Stage, floor: float) -> None:
    begin, end = on.window
    scale = _SWITCHES / max(1, on.most_switches)
    wide = WIDTH * on.bar / (end - begin) if end > begin else 0.0
    bars = []
    for index, count in enumerate(counts):
        width = min(wide, WIDTH - index * wide)
        if count and width > 0:
            height = scale * count
            bars.append(rectangle(index * wide, floor - height, 0.86 * width, height))
    picture.path("bars", "".join(bars))
    picture.line("base", (0, floor), (WIDTH, floor))


def waits(key: str, outcomes: Sequence[Outcome]) -> str:
    """Draw for each policy which share of its requests waits longer than how long, as SVG."""
    height, top, left = 300, 18, 60.0
    base = height - 24
    ordered = [sorted(row.wait for row in outcome.rows) for outcome in outcomes]
    most = max(1.0, *(some[-1] for some in ordered))
    right = max(1.0, *(log10(len(some)) for some in ordered))
    said = "; ".join(
        f"under {outcome.policy} half wait at most {lasting(some[(len(some) - 1) // 2])}, "
        f"the longest waits {lasting(some[-1])}"
        for outcome, some in zip(outcomes, ordered, strict=True)
    )
    picture = Picture(key, "Waits, from the shortest to the longest", said, height)

    def y(wait: float) -> float:
        return base - (base - top) * log(1 + wait) / log(1 + most)

    low = base + 1.0
    for mark, name in _WAITS:
        if mark <= most and (low - y(mark) >= 20 or mark == 0):
            low = y(mark)
            picture.line("grid" if mark else "base", (0, low), (WIDTH, low))
            picture.words("tick", 0, low - 4, name)
    for share in (0.5, 0.1, 0.01, 0.001, 0.0001):
        x = left + (WIDTH - left) * -log10(share) / right
        if x <= WIDTH:
            picture.line("grid", (x, top), (x, base))
            anchor = "end" if x > WIDTH - 30 else "middle"
            picture.words("tick", x, base + 16, f"{100 * share:g} %", anchor=anchor)
    for place, some in reversed(list(enumerate(ordered))):
        points = [(left + (WIDTH - left) * x / right, y(wait)) for x, wait in _quantiles(some)]
        picture.path(f"curve {curve(place, outcomes)}", polyline(points))
    return picture.render()


def curve(place: int, outcomes: Sequence[Outcome]) -> str:
    """Return the class of a policy's line, by its place."""
    if outcomes[place].recorded is not None:
        return "past"
    played = sum(1 for one in outcomes[:place] if one.recorded is None)
    return f"p{played % 6}"


def _quantiles(ordered: Sequence[float]) -> list[tuple[float, float]]:
    """Return waits over the decades of who waits at least as long, in at most 300 points."""
    count = len(ordered)
    if count <= _POINTS:
        places = list(range(count))
    else:
        decades = log10(count)
        some = {count - round(count / 10 ** (decades * n / _POINTS)) for n in range(_POINTS + 1)}
        places = sorted(one for one in some if 0 <= one < count)
        if places[-1] != count - 1:
            places.append(count - 1)
    return [(log10(count / (count - place)), ordered[place]) for place in places]


def close_up(worst: Row, span: Window) -> Window:
    """Return the window in which the longest wait can be looked at: its middle third."""
    begin = max(span[0], worst.arrival - worst.wait)
    return begin, min(span[1], begin + 3 * worst.wait)
