"""What the accelerator's time was spent on: serving, switching, or nothing.

A moment is spent switching while a hook runs, serving while requests are in flight and none runs,
and idle otherwise, as `llmux simulate` counts. Nothing is counted when a request comes or goes:
what was logged at its exit is worked in when somebody looks, or when a hook begins or ends. This
file refuses to know why a hook runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from llmux.core.lane import Lane

Exit = tuple[Lane, float | None, float]
"""A request that has left: its model, when it was admitted, when it left."""


class Spent(NamedTuple):
    """Seconds since the beginning; `serving + switching + idle` is all of them."""

    serving: float
    switching: float
    idle: float
    serving_by_model: Mapping[str, float]
    """Time with requests of this model in flight, and no hook running."""
    switching_by_model: Mapping[str, float]
    """Time with a hook of this model running."""


class Times:
    """Adds time up in stretches within which either one hook runs or none does."""

    __slots__ = (
        "_serving",
        "_serving_by",
        "_since",
        "_switching",
        "_switching_by",
        "_told",
        "hook",
    )

    def __init__(self) -> None:
        self.hook: str | None = None
        """The model whose hook runs."""
        self._since: float | None = None
        self._told = 0.0
        self._serving = 0.0
        self._switching = 0.0
        self._serving_by: dict[str, float] = {}
        self._switching_by: dict[str, float] = {}

    def begin(self, now: float) -> None:
        """Count from now on; said again it changes nothing."""
        if self._since is None:
            self._since = self._told = now

    def settle(self, lanes: Iterable[Lane], exits: Sequence[Exit], now: float) -> None:
        """Work in the stretch until now: who is inside, and who has left since the last time."""
        self.begin(now)
        since = self._told
        if now <= since:
            return
        self._told = now
        if self.hook is not None:
            _add(self._switching_by, self.hook, now - since)
            self._switching += now - since
            return
        inside = {lane: _oldest(lane) for lane in lanes if lane.inside}
        present = {*inside, *[spell[0] for spell in exits]}
        if len(present) == 1:
            (only,) = present
            seconds = _covered(exits, inside.get(only), since, now)
            _add(self._serving_by, only.name, seconds)
            self._serving += seconds
            return
        for lane in present:
            spells = [spell for spell in exits if spell[0] is lane]
            _add(self._serving_by, lane.name, _covered(spells, inside.get(lane), since, now))
        self._serving += _covered(exits, min(inside.values(), default=None), since, now)

    def spent(self) -> Spent:
        """Return what came together until the last settling."""
        whole = 0.0 if self._since is None else self._told - self._since
        return Spent(
            self._serving,
            self._switching,
            max(0.0, whole - self._serving - self._switching),
            dict(self._serving_by),
            dict(self._switching_by),
        )

    def copy(self) -> Times:
        """Return independent times that have counted the same."""
        new = Times()
        new.hook, new._since, new._told = self.hook, self._since, self._told
        new._serving, new._switching = self._serving, self._switching
        new._serving_by = dict(self._serving_by)
        new._switching_by = dict(self._switching_by)
        return new


def _oldest(lane: Lane) -> float:
    """When the first of those inside was admitted."""
    return next(iter(lane.inside)).admitted or 0.0


def _covered(exits: Sequence[Exit], inside: float | None, since: float, now: float) -> float:
    """Return how much of the stretch somebody was inside; `exits` in the order of leaving.

    `inside` is since when somebody is who still is. Read from the end, a spell either touches what
    was read before it or leaves a gap that no earlier one can fill, so each is looked at once.
    """
    total = 0.0
    high = now
    low = now if inside is None else max(since, inside)
    for _, began, ended in reversed(exits):
        if low <= since or ended <= since:
            break
        if began is None:
            continue
        if ended < low:
            total += high - low
            high, low = ended, max(since, began)
        elif began < low:
            low = max(since, began)
    return total + high - low


def _add(sums: dict[str, float], name: str, seconds: float) -> None:
    sums[name] = sums.get(name, 0.0) + seconds
