"""Numbers as people read them: durations, shares, and the marks of an axis of time.

It refuses to know what is counted. Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(_MINUTE * n for n in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * n for n in (1, 2, 3, 6, 12)),
    *(_DAY * n for n in (1, 2, 7, 14, 28, 91, 364)),
)


def lasting(seconds: float) -> str:
    """Return a duration with two or three digits: `0.42 s`, `9.3 s`, `4 min 12 s`, `3 h 05 min`."""
    if seconds < 0.0005:
        return "0 s"
    if seconds < 9.95:
        return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < 10 * _MINUTE:
        return _two(whole, 60, "min", "s")
    minutes = round(seconds / _MINUTE)
    if minutes < 120:
        return f"{minutes} min"
    hours = round(seconds / _HOUR)
    return _two(minutes, 60, "h", "min") if hours < 48 else _two(hours, 24, "d", "h")


def _two(count: int, base: int, big: str, small: str) -> str:
    rest = count % base
    width = 1 if big == "d" else 2
    return f"{count // base} {big}" + (f" {rest:0{width}d} {small}" if rest else "")


def apart(one: float, other: float) -> tuple[str, str]:
    """Return two durations with as many digits as it takes to tell them apart."""
    plain = lasting(one), lasting(other)
    if plain[0] != plain[1] or one == other:
        return plain
    fine = ((f"{one:,.{digits}f} s", f"{other:,.{digits}f} s") for digits in (1, 2, 3))
    return next((texts for texts in fine if texts[0] != texts[1]), plain)


def percent(share: float) -> str:
    """Return a share in whole percent; one digit more below 10, and `<0.1` for what is tiny."""
    hundredth = 100 * share
    if 0 < hundredth < 0.1:
        return "<0.1 %"
    return f"{hundredth:.0f} %" if hundredth >= 9.95 or hundredth == 0 else f"{hundredth:.1f} %"


def step(seconds: float) -> float:
    """Return the round duration (seconds, minutes, hours, days) that is not below this one."""
    return next((one for one in _STEPS if one >= seconds), _STEPS[-1])


def marks(begin: float, end: float, most: int) -> Sequence[tuple[float, str]]:
    """Return at most so many round moments of a window, and how an axis calls them."""
    width = step((end - begin) / most) if end > begin else 1.0
    first = int(begin // width) + (begin % width > 0)
    moments = (number * width for number in range(first, int(end // width) + 1))
    return [(moment, _moment(moment, width)) for moment in moments]


def _moment(moment: float, width: float) -> str:
    """Name a moment by the units that marks of this distance need."""
    if moment == 0:
        return "0"
    if width >= _DAY:
        return f"{moment / _DAY:g} d"
    if width >= _HOUR:
        return f"{moment / _HOUR:g} h"
    if width >= _MINUTE:
        hours, minutes = divmod(round(moment / _MINUTE), 60)
        return f"{hours} h {minutes:02d}" if hours else f"{minutes} min"
    if moment >= _MINUTE:
        minutes, seconds = divmod(round(moment), 60)
        return f"{minutes} min {seconds:02d}"
    return f"{moment:g} s"
