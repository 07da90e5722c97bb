"""Reads the journal that a gateway has written: what was asked, what it cost, what was decided.

A journal is its file and the predecessors beside it (`.3`, `.2`, `.1`, each perhaps `.gz`), oldest
first. Lines are read one by one, so that it may be large. A line that a killed gateway has torn is
passed over; anything else that cannot be read is named by file and line. This file refuses to know
what is simulated with a journal, and how it is played again (`llmux.simulate.replay`).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import msgspec

from llmux.core.lane import LaneSettings
from llmux.simulate.forms import check_begin, check_line
from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome, Row, Spell
from llmux.simulate.traces import TraceError
from llmux.simulate.workload import Job, OpenLoop, open_loop
from llmux.telemetry.journal import FILES, FORMAT, MARK, predecessor

_decode = msgspec.json.Decoder().decode
_MOST_SHOWN = 200
"""Characters of a file that an error repeats."""
_USUAL_WAKE, _USUAL_SLEEP = 9.9, 1.1
"""Seconds of hooks where none was ever seen."""


class Line(NamedTuple):
    """One line of a journal and where it stands."""

    path: Path
    number: int
    said: Any
    """An object where something begins, else a list: time, kind and the rest."""

    def fail(self, what: str) -> NoReturn:
        """Name the line in a TraceError."""
        raise TraceError(f"{self.path}:{self.number}: {what}")

    def fail_as(self, what: str, error: Exception) -> NoReturn:
        """Name the line, and what went wrong with it, in a TraceError."""
        self.fail(f"{what}: {type(error).__name__}({_shown(str(error))})")


def is_journal(path: Path) -> bool:
    """Say whether a file is the journal of a gateway; False where it cannot be read."""
    try:
        with _open(path) as file:
            return file.read(len(MARK)) == MARK
    except (OSError, EOFError, zlib.error):
        return False


def files(path: Path) -> list[Path]:
    """Return a journal's predecessors and itself, oldest first; a file that is asked for alone."""
    found = []
    for number in range(FILES - 1, 0, -1):
        older = predecessor(path, number)
        packed = older.with_name(older.name + ".gz")
        found += [one for one in (older, packed) if one.exists()][:1]
    return [*found, path]


def lines(paths: Iterable[Path]) -> Iterator[Line]:
    """Read all lines of these files; TraceError for one that cannot be read."""
    for path in paths:
        torn: Line | None = None
        try:
            with _open(path) as file:
                for number, text in enumerate(file, 1):
                    line = _line(path, number, text)
                    if line is None:  # a disk that is full may tear several, one after the other
                        torn = torn or Line(path, number, None)
                        continue
                    if torn is not None and not isinstance(line.said, dict):
                        torn.fail("it is no line of a journal")
                    torn = None
                    yield line
        except (OSError, EOFError, zlib.error) as error:
            raise TraceError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _line(path: Path, number: int, text: bytes) -> Line | None:
    """Read one line; None where it is torn."""
    try:
        said = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    line = Line(path, number, said)
    if isinstance(said, dict):
        version = said.get("llmux_journal")
        if version != FORMAT:
            line.fail(f"its version is {_shown(version)}; this llmux reads {FORMAT}")
    elif not isinstance(said, list) or len(said) < 2:
        line.fail("it is no line of a journal")
    try:
        check_begin(said) if isinstance(said, dict) else check_line(said)
    except ValueError as error:
        line.fail(f"it is no line of a journal: {error}")
    return line


def _shown(value: object) -> str:
    """Show what stood in a file, cut, so that it cannot flood a terminal."""
    text = ascii(value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."


def _open(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


@dataclass(slots=True)
class Asked:
    """One request as it was; times are seconds since 1970, None for what has not happened."""

    model: str
    arrival: float
    weight: float
    start: float | None = None
    end: float | None = None
    most: int | None = None
    then: str | None = None


class Ran(NamedTuple):
    """One run of a hook; times are seconds since 1970."""

    hook: str
    model: str
    begin: float
    end: float
    ok: bool
    made_room: bool = True
    """False for a sleep that was no part of a switch: at a start, after a death, for a reload."""


@dataclass(slots=True)
class History:
    """What a journal tells of the past."""

    requests: list[Asked] = field(default_factory=list)
    hooks: list[Ran] = field(default_factory=list)
    reasons: list[tuple[float, str, str]] = field(default_factory=list)
    policy: tuple[str, Mapping[str, Any]] = ("fifo", {})
    models: dict[str, LaneSettings] = field(default_factory=dict)
    gaps: int = 0
    """How often the journal could not be written."""

    def workload(self, every: int = 1) -> OpenLoop:
        """Return the requests as a workload; one that was never served takes its model's mean."""
        first = self._begin()
        served = [one for one in self.requests if one.start is not None and one.end is not None]
        means = _means((one.model, (one.end or 0.0) - (one.start or 0.0)) for one in served)
        overall = sum(means.values()) / len(means) if means else 1.0
        jobs = []
        for one in self.requests:
            if one.start is not None and one.end is not None:
                service = one.end - one.start
            else:
                service = means.get(one.model, overall)
            own = self.models[one.model].priority if one.model in self.models else 1.0
            weight = one.weight / own
            arrival = one.arrival - first
            jobs.append(Job(arrival, one.model, service, weight, one.most, then=one.then))
        return open_loop("journal", sorted(jobs, key=lambda job: job.arrival)[::every])

    def times(self, given: HookTimes, *, cost_is_given: bool) -> HookTimes:
        """Return how long hooks take: as given, else as they took; the mean where one is new."""
        if cost_is_given:
            return given
        seen = _means(
            ((ran.hook, ran.model), ran.end - ran.begin)
            for ran in self.hooks
            if ran.ok and ran.made_room
        )
        learned: dict[str, dict[str, float]] = {"sleep": {}, "wake": {}}
        for hook, usual in (("sleep", _USUAL_SLEEP), ("wake", _USUAL_WAKE)):
            mine = [seconds for (kind, _), seconds in seen.items() if kind == hook]
            mean = sum(mine) / len(mine) if mine else usual
            learned[hook] = {model: seen.get((hook, model), mean) for model in self.models}
        sleep = {**learned["sleep"], **given.sleep}
        wake = {**learned["wake"], **given.wake}
        return HookTimes(given.cost, sleep, wake, given.jitter, given.seed)

    def outcome(self) -> Outcome:
        """Return what really happened, beside which simulations can stand."""
        first = self._begin()
        last = max((one.end or one.start or one.arrival for one in self.requests), default=first)
        rows = [
            Row(
                one.model,
                one.arrival - first,
                None if one.start is None else one.start - first,
                (last if one.end is None else one.end) - first,
            )
            for one in sorted(self.requests, key=lambda one: one.arrival)
        ]
        spells = [
            Spell(ran.begin - first, ran.end - first, ran.hook, ran.model, ran.ok)
            for ran in self.hooks
        ]
        wakes = sum(1 for ran in self.hooks if ran.hook == "wake" and ran.ok)
        reasons = [(when - first, model, why) for when, model, why in self.reasons]
        then = self.policy[0]
        return Outcome(f"as it was ({then})", rows, spells, wakes, reasons, recorded=then)

    def _begin(self) -> float:
        return min((one.arrival for one in self.requests), default=0.0)


def read_history(paths: Sequence[Path]) -> History:
    """Read journals with their predecessors as one past; TraceError where there is no request."""
    past = History()
    for path in paths:
        reader = _Reader(past)
        for line in lines(files(path)):
            try:
                reader.take(line.said)
            except (LookupError, TypeError, ValueError, ArithmeticError) as error:
                line.fail_as("it is no line of a journal", error)
    if not past.requests:
        raise TraceError(f"{paths[0]}: there is no request in it")
    return past


class _Reader:
    def __init__(self, past: History) -> None:
        self._past = past
        self._since = 0.0
        """What has to be added to the board's clock to have seconds since 1970."""
        self._asked: dict[int, Asked] = {}
        self._running: dict[int, tuple[str, str, bool, float]] = {}
        self._left: Asked | None = None
        """Who has left last."""

    def take(self, said: Any) -> None:
        if isinstance(said, dict):
            self._begin(said)
            return
        when, kind, *rest = said
        when += self._since
        match kind:
            case "enter":
                number, model, inside, weight, _, *late = rest
                one = Asked(model, when - sum(late), weight, when if inside else None)
                self._asked[number] = one
                self._past.requests.append(one)
            case "leave":
                number, most = rest
                if (gone := self._asked.pop(number, None)) is not None:
                    gone.end, gone.most = when, most
                self._left = gone
            case "told":
                self._told(when, *rest)
            case "policy":
                name, options = rest
                self._past.policy = (name, options)
            case "gap":
                self._past.gaps += 1
                self._asked.clear()
                self._running.clear()
            case _:
                pass  # what it means is the business of a replay

    def _begin(self, said: Mapping[str, Any]) -> None:
        self._since = said["wall"] - said["clock"]
        policy = said["policy"]
        self._past.policy = (policy["name"], policy["options"])
        self._past.models.update((one["name"], LaneSettings(**one)) for one in said["models"])
        if not said["continues"]:
            self._asked.clear()
            self._running.clear()

    def _told(self, when: float, fact: Sequence[Any], orders: Sequence[Any] = ()) -> None:
        if fact[0] == "HookEnded" and (order := self._running.pop(fact[1], None)) is not None:
            hook, model, made_room, begin = order
            self._past.hooks.append(Ran(hook, model, begin, when, fact[2], made_room))
        elif fact[0] == "Reconfigured":
            self._past.models.update(
                (one["name"], LaneSettings(**one)) for one in fact[1]["models"]
            )
        elif fact[0] == "Announced" and self._left is not None:
            self._left.then = fact[1]
        elif fact[0] == "Returning" and fact[1] in self._asked:
            self._asked[fact[1]].then = self._asked[fact[1]].model
        elif fact[0] == "RequestReturned" and fact[1] in self._asked:
            self._asked[fact[1]].start = None
        for kind, number, *rest in orders:
            if kind == "admit" and number in self._asked:
                self._asked[number].start = when
            elif kind == "hook":
                hook, model, source, target, reason = rest
                made_room = hook == "wake" or (source is not None and target != model)
                self._running[number] = (hook, model, made_room, when)
                if hook == "wake":
                    self._past.reasons.append((when, model, reason))


def _means(pairs: Iterable[tuple[Any, float]]) -> dict[Any, float]:
    """Return the mean of what belongs to each key."""
    sums: dict[Any, tuple[float, int]] = {}
    for name, value in pairs:
        total, count = sums.get(name, (0.0, 0))
        sums[name] = (total + value, count + 1)
    return {name: total / count for name, (total, count) in sums.items()}
