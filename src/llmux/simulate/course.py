"""The course of a simulation: what the accelerator did and who waited, moment by moment.

It is made of the rows and hooks of an outcome alone, and refuses to know how it is drawn. Times
are seconds of the simulation; a window is a begin and an end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from llmux.simulate.outcome import Outcome, Row, union

Window = tuple[float, float]


class State(Enum):
    """What the accelerator does; where none holds it is empty."""

    SERVING = "serving"
    AWAKE = "awake"
    """A model is awake, and nobody asks it."""
    SWITCHING = "switching"


class Band(NamedTuple):
    """A time in which the accelerator did one thing, for one model."""

    begin: float
    end: float
    state: State
    model: str


class Depth(NamedTuple):
    """How many requests waited during one column of a picture."""

    mean: float
    most: int


def bands(outcome: Outcome) -> list[Band]:
    """Return what the accelerator did, in order and without overlap; gaps are empty time.

    As in the figures, a hook beside answers counts as switching, and a drain serves.
    """
    found: list[Band] = []
    for begin, end, states in _sweep(_edges(outcome)):
        state, model = min(states, key=lambda one: _RANK[one[0]])
        last = found[-1] if found else None
        if last is not None and (last.end, last.state, last.model) == (begin, state, model):
            found[-1] = last._replace(end=end)
        else:
            found.append(Band(begin, end, state, model))
    return found


_RANK = {State.SWITCHING: 0, State.SERVING: 1, State.AWAKE: 2}


def _edges(outcome: Outcome) -> list[tuple[float, bool, State, str]]:
    """Return the moments at which something begins (True) or ends."""
    span = outcome.span
    served: dict[str, list[Window]] = {}
    for row in outcome.rows:
        if row.start is not None:
            served.setdefault(row.model, []).append((row.start, row.end))
    spells = [(spell.begin, spell.end, State.SWITCHING, spell.model) for spell in outcome.hooks]
    for model, answers in served.items():
        spells += [(*one, State.SERVING, model) for one in union(answers, *span)]
    spells += [(begin, end, State.AWAKE, model) for begin, end, model in _awake(outcome)]
    edges = []
    for begin, end, state, model in spells:
        since, until = max(begin, span[0]), min(end, span[1])
        if since < until:
            edges += [(since, True, state, model), (until, False, state, model)]
    return sorted(edges, key=lambda edge: edge[0])


def _sweep(
    edges: Iterable[tuple[float, bool, State, str]],
) -> Iterator[tuple[float, float, list[tuple[State, str]]]]:
    """Give each stretch between two edges, with all that goes on in it; never nothing."""
    going: dict[tuple[State, str], int] = {}
    since = 0.0
    for when, begins, state, model in edges:
        if going and since < when:
            yield since, when, list(going)
        since = when
        count = going.pop((state, model), 0) + (1 if begins else -1)
        if count:
            going[state, model] = count


def _awake(outcome: Outcome) -> Iterator[tuple[float, float, str]]:
    """Give the time from each wake to the sleep that follows; the begin may have been awake."""
    begin, end = outcome.span
    since: dict[str, float] = {}
    seen: set[str] = set()
    for spell in sorted(outcome.hooks):
        if spell.hook == "wake" and spell.ok:
            since.setdefault(spell.model, spell.end)
        elif spell.hook == "sleep":
            woken = since.pop(spell.model, None if spell.model in seen else begin)
            if woken is not None:
                yield woken, spell.begin, spell.model
        seen.add(spell.model)
    yield from ((woken, end, model) for model, woken in since.items())


def shares(
    some: Sequence[Band], window: Window, columns: int
) -> dict[tuple[State, str], list[float]]:
    """Return which share of each of so many equal columns each state of each model takes."""
    begin, end = window
    width = (end - begin) / columns
    found: dict[tuple[State, str], list[float]] = {}
    for band in some:
        since, until = max(band.begin, begin), min(band.end, end)
        if since >= until:
            continue
        row = found.setdefault((band.state, band.model), [0.0] * columns)
        column = min(columns - 1, int((since - begin) / width))
        while since < until:
            edge = until if column == columns - 1 else min(until, begin + (column + 1) * width)
            row[column] += max(0.0, edge - since) / width
            since = max(since, edge)
            column += 1
    return found


def steps(rows: Iterable[Row]) -> list[tuple[float, int]]:
    """Return when a queue grew (1) and shrank (-1); who did not wait was never in it."""
    moments = []
    for row in rows:
        gone = row.arrival + row.wait
        if gone > row.arrival:
            moments += [(row.arrival, 1), (gone, -1)]
    return sorted(moments)


def depths(moves: Sequence[tuple[float, int]], window: Window, columns: int) -> list[Depth]:
    """Return how many waited in each of so many equal columns: the mean, and the most.

    `moves` are those of `steps`. Who leaves at the moment when another comes leaves first.
    """
    begin, end = window
    width = (end - begin) / columns
    areas, most = [0.0] * columns, [0] * columns
    depth, since, column = 0, begin, 0
    for when, change in [*moves, (end, 0)]:
        until = min(when, end)
        while since < until:
            edge = end if column == columns - 1 else begin + (column + 1) * width
            stop = min(edge, until)
            areas[column] += depth * max(0.0, stop - since)
            most[column] = max(most[column], depth)
            since = max(since, stop)
            if stop == edge:
                column = min(columns - 1, column + 1)
        depth += change
        if when >= end:
            break
    return [Depth(area / width, top) for area, top in zip(areas, most, strict=True)]


def mean_depth(rows: Iterable[Row], window: Window) -> float:
    """Return how many requests waited in the mean of a window."""
    begin, end = window
    if end <= begin:
        return 0.0
    waited = sum(
        max(0.0, min(row.arrival + row.wait, end) - max(row.arrival, begin)) for row in rows
    )
    return waited / (end - begin)


def wakes(outcome: Outcome, window: Window, width: float) -> list[int]:
    """Return how many wakes succeeded in each column of this width, in seconds."""
    begin, end = window
    counts = [0] * max(1, -int(-(end - begin) // width))
    for spell in outcome.hooks:
        if spell.hook == "wake" and spell.ok and begin <= spell.end <= end:
            counts[min(len(counts) - 1, int((spell.end - begin) / width))] += 1
    return counts


def longest(outcome: Outcome) -> Row:
    """Return the request that waited longest; the first of several."""
    return max(outcome.rows, key=lambda row: row.wait)
