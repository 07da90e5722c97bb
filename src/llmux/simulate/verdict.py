"""The verdict on outcomes, in sentences: which policy is better, why, and at what price.

The first sentence says it all; the others say what it leaves out: a worse tail, requests that
timed out, how far a simulation is to be believed. What differs by less than 1 % is called equal.
Policies are strangers here: it refuses to know any of them but the name of the default one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmux.simulate.outcome import Outcome, figures
from llmux.simulate.units import apart, lasting, percent

EQUAL = 0.01
"""What differs by less than this share is equal."""
DEFAULT = "fifo"


class Named(str):
    """The name of a policy within a sentence, which a page may set apart."""

    __slots__ = ()


Sentence = Sequence[str]
"""Pieces of a sentence, some of them `Named`."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """What a verdict looks at; waits in seconds."""

    name: Named
    requests: int
    mean: float
    half: float
    hundredth: float
    most: float
    rate: float
    """Switches a request."""
    serving: float
    switching: float
    refused: int
    within: float | None


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return what really happened first, then simulations, the smallest mean wait first."""

    def place(outcome: Outcome) -> tuple[bool, float]:
        waited = sum(row.wait for row in outcome.rows)
        return outcome.recorded is None, waited / len(outcome.rows)

    return sorted(outcomes, key=place)


def verdict(outcomes: Sequence[Outcome], limit: float | None = None) -> list[Sentence]:
    """Return the verdict, its first sentence first."""
    order = ranked(outcomes)
    played = [_standing(one, limit) for one in order if one.recorded is None]
    past = [(one.recorded, _standing(one, limit)) for one in order if one.recorded is not None]
    said = _alone(played[0]) if len(played) == 1 else _compared(played)
    for policy, standing in past:
        said.append(_believed(policy, standing, played))
    said += _timed_out(played)
    if limit is not None:
        said.append(_within(played, limit))
    return said


def _standing(outcome: Outcome, limit: float | None) -> _Standing:
    row = figures(outcome, limit)
    return _Standing(
        Named(outcome.policy),
        row["requests"],
        row["mean_wait"],
        row["p50_wait"],
        row["p99_wait"],
        row["max_wait"],
        row["switches"] / row["requests"],
        row["serving_share"],
        row["switching_share"],
        sum(1 for one in outcome.rows if one.start is None),
        row["answered_within"],
    )


def _alone(one: _Standing) -> list[Sentence]:
    return [
        (
            one.name,
            f" begins to answer after {lasting(one.mean)} in the mean: half of the requests wait "
            f"{_at_most(one.half)}, 1 % longer than {lasting(one.hundredth)}, and nobody longer "
            f"than {lasting(one.most)}.",
        ),
        (
            f"It switches {1000 * one.rate:,.0f} times for 1,000 requests; the accelerator serves "
            f"{percent(one.serving)} of the time and switches for {percent(one.switching)}.",
        ),
    ]


def _at_most(seconds: float) -> str:
    return f"at most {lasting(seconds)}" if seconds >= 0.0005 else "not at all"


def _compared(played: Sequence[_Standing]) -> list[Sentence]:
    best, following, *others = played
    said = [_headline(best, following, len(played)), _tail(best, following)]
    for other in others:
        if other.name == DEFAULT:
            said += [_default(best, other), _tail(best, other, beside=True)]
    return said


def _headline(best: _Standing, other: _Standing, count: int) -> Sentence:
    among = f", the best of {count}," if count > 2 else ""
    mine, its = apart(best.mean, other.mean)
    if equal(best.mean, other.mean):
        waits = f"{mine} under both" if mine == its else f"{mine} and {its}"
        return (
            *(best.name, " and ", other.name),
            f"{among} are equal within 1 %: a request waits {waits} in the mean",
            *_price(best, other),
            ".",
        )
    next_one = ", the next," if count > 2 else ""
    return (
        best.name,
        f"{among} begins to answer after {mine} in the mean where ",
        other.name,
        f"{next_one} needs {its}{_why(best, other)}.",
    )


def _price(best: _Standing, other: _Standing) -> Sentence:
    """Say who switches less where waits are equal."""
    if equal(best.rate, other.rate):
        return (", with as many switches",)
    less, more = sorted((best, other), key=lambda one: one.rate)
    return ("; ", less.name, f" switches {percent(1 - less.rate / more.rate)} less often")


def _why(best: _Standing, other: _Standing) -> str:
    """Give the reasons, as they are in the figures."""
    fewer = best.rate < other.rate and not equal(best.rate, other.rate)
    reasons = [f"it switches {percent(1 - best.rate / other.rate)} less often"] if fewer else []
    if best.serving - other.serving >= EQUAL:
        busy, idle = percent(best.serving), percent(other.serving)
        reasons.append(f"the accelerator serves {busy} of the time instead of {idle}")
    elif other.switching - best.switching >= EQUAL:
        some, more = percent(best.switching), percent(other.switching)
        reasons.append(f"the accelerator switches for {some} of the time instead of {more}")
    said = f": {', and '.join(reasons)}" if reasons else ""
    if fewer:
        return said
    if equal(best.rate, other.rate):
        return said or ": it switches as often, but at other moments"
    often = percent(best.rate / other.rate - 1) if other.rate else "much"
    return f"{said}, although it switches {often} more often"


def _tail(best: _Standing, other: _Standing, *, beside: bool = False) -> Sentence:
    """Say what becomes of those who wait longest; `beside` names whom it is compared with."""
    pairs = [
        ("1 % of the requests wait longer than", best.hundredth, other.hundredth),
        ("the longest wait is", best.most, other.most),
    ]
    worse: list[str] = []
    better: list[str] = []
    for what, mine, its in pairs:
        if not equal(mine, its):
            ends = apart(mine, its)
            (worse if mine > its else better).append(f"{what} {ends[0]} instead of {ends[1]}")
    than = (" beside ", other.name) if beside else ()
    if worse:
        kind = "mixed" if better else "worse"
        told = ", while ".join([worse[0], better[0]]) if better else ", and ".join(worse)
        return ("But the tail of ", best.name, f" is {kind}", *than, f": {told}.")
    if better:
        told = ", and ".join(better)
        return ("The tail of ", best.name, " is better, too", *than, f": {told}.")
    most = lasting(best.most)
    return ("The tail of ", best.name, " is equal", *than, f": the longest wait is {most}.")


def _default(best: _Standing, other: _Standing) -> Sentence:
    mine, its = apart(best.mean, other.mean)
    if equal(best.mean, other.mean):
        return ("The default, ", other.name, f", is equal within 1 %: {its}.")
    return (
        *("The default, ", other.name, f", needs {its} in the mean where "),
        *(best.name, f" needs {mine}{_why(best, other)}."),
    )


def _believed(policy: str, past: _Standing, played: Sequence[_Standing]) -> Sentence:
    """Hold a simulation against what really happened."""
    happened = ("Really, ", Named(policy), f" needed {lasting(past.mean)} in the mean")
    again = next((one for one in played if one.name == policy), None)
    if again is None:
        return (*happened, "; how far to trust a simulation is seen by simulating it, too.")
    needed, simulated = apart(past.mean, again.mean)
    if equal(past.mean, again.mean) or not past.mean:
        return (*happened, f"; simulated it needs {simulated}, so the simulation can be believed.")
    off = again.mean / past.mean - 1
    direction = "more" if off > 0 else "less"
    return (
        *("Really, ", Named(policy), f" needed {needed} in the mean; simulated it needs "),
        f"{simulated}, {percent(abs(off))} {direction}: so far is the simulation to be believed.",
    )


def _timed_out(played: Sequence[_Standing]) -> list[Sentence]:
    if not any(one.refused for one in played):
        return []
    pieces: list[str] = []
    for one in played:
        pieces += [", " if pieces else "", f"{one.refused:,} under ", one.name]
    return [("Requests timed out while they waited, and count until then: ", *pieces, ".")]


def _within(played: Sequence[_Standing], limit: float) -> Sentence:
    pieces: list[str] = []
    for one in played:
        pieces += [", " if pieces else "", f"{percent(one.within or 0.0)} under ", one.name]
    return (f"Answered within {lasting(limit)}: ", *pieces, ".")


def equal(one: float, other: float) -> bool:
    """Say whether two figures differ by less than 1 % of the larger one."""
    return abs(one - other) <= EQUAL * max(abs(one), abs(other))
