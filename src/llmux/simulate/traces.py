"""Reads the traces that people have: ours, Azure's and BurstGPT's CSV files, plain or .gz.

The format is told by the header. A wrong line is named by file, line and column; the first ten
are shown. Lengths in tokens become seconds by two rates, prefill and decode. This file refuses to
know what is simulated with a trace.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Final, NoReturn, TextIO

from llmux.errors import ConfigError
from llmux.simulate.workload import Job, OpenLoop, open_loop

_MOST_SHOWN = 10
_LONGEST = 200
"""Characters of a file that an error repeats."""
_SINCE_1970 = 1e9
"""Seconds above which a time is no time since the first request: thirty years."""


class TraceError(ConfigError):
    """A trace cannot be read; the message holds one line a problem: file, line, column."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How many tokens a second a backend reads and writes; the same for every model."""

    prefill: float = 4000.0
    decode: float = 40.0

    def seconds(self, prompt: float, output: float) -> float:
        """Return how long a request of these lengths takes once it is admitted."""
        return prompt / self.prefill + output / self.decode


@dataclass(frozen=True, slots=True)
class _Format:
    """Which columns stand for what; `model` None means that the file's name is the model."""

    time: str
    prompt: str
    output: str
    model: str | None = None
    clock: bool = False
    """Times are dates, not seconds."""

    @property
    def needed(self) -> tuple[str, ...]:
        columns = (self.time, self.model, self.prompt, self.output)
        return tuple(column for column in columns if column is not None)


_FORMATS: Final[Sequence[_Format]] = (
    _Format("t", "prompt_tokens", "output_tokens", "model"),
    _Format("TIMESTAMP", "ContextTokens", "GeneratedTokens", clock=True),
    _Format("Timestamp", "Request tokens", "Response tokens", "Model"),
)


def read_traces(
    paths: Sequence[Path], rates: Rates | None = None, every: int = 1, *, align: bool = False
) -> OpenLoop:
    """Read one trace, or several on their common clock, as one workload.

    Time starts at the first request; with `align` each file's own first request is at 0. `every`
    thins: only each n-th request is kept. Raises TraceError, also where some files have dates and
    some count seconds, and they are not aligned.
    """
    problems: list[str] = []
    files: list[tuple[Path, list[Job]]] = []
    for path in paths:
        read = _Reader(path, rates or Rates(), problems).read()
        if read:
            files.append((path, read))
    if problems:
        raise TraceError("\n".join(problems[:_MOST_SHOWN]))
    if not files:
        raise TraceError(f"{paths[0]}: there is no request in it")
    if not align:
        _check_clocks(files)
    starts = [min(job.arrival for job in read) for _, read in files]
    jobs = [
        replace(job, arrival=job.arrival - (start if align else min(starts)))
        for start, (_, read) in zip(starts, files, strict=True)
        for job in read
    ]
    jobs.sort(key=lambda job: job.arrival)
    return open_loop("+".join(_stem(path) for path in paths), jobs[::every])


def _check_clocks(files: Sequence[tuple[Path, Sequence[Job]]]) -> None:
    """Refuse files that have no clock in common: years would lie between their requests."""
    dated = [path for path, jobs in files if min(job.arrival for job in jobs) >= _SINCE_1970]
    others = [path for path, _ in files if path not in dated]
    if dated and others:
        raise TraceError(
            f"{dated[0]} has dates and {others[0]} counts seconds from its start, so nothing says"
            " how they lie to each other; --align lets each file begin at 0"
        )


class _FieldError(Exception):
    """A field cannot be used; carries its column's name and what is the matter."""


class _Reader:
    def __init__(self, path: Path, rates: Rates, problems: list[str]) -> None:
        self._path = path
        self._rates = rates
        self._problems = problems
        self._raw: list[str] = []
        """The lines of the record that is being read, for the column of a mistake."""

    def read(self) -> list[Job]:
        try:
            with _open(self._path) as lines:
                return list(self._jobs(lines))
        except UnicodeDecodeError as error:
            self._fail(f"not UTF-8 text: {error.reason}")
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._fail(reason)
        except csv.Error as error:
            self._fail(str(error))

    def _fail(self, reason: str) -> NoReturn:
        raise TraceError(f"{self._path}: {reason}")

    def _keep(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            self._raw.append(line)
            yield line

    def _jobs(self, lines: Iterable[str]) -> Iterator[Job]:
        rows = csv.reader(self._keep(lines))
        header = [name.strip() for name in next(rows, [])]
        form = next((one for one in _FORMATS if set(one.needed) <= set(header)), None)
        if form is None:
            known = "; ".join(", ".join(one.needed) for one in _FORMATS)
            raise TraceError(
                f"{self._path}:1:1: the header {_shown(','.join(header))}"
                f" is none that is known: {known}"
            )
        where = {name: index for index, name in enumerate(header)}
        self._raw.clear()
        line = rows.line_num + 1
        for row in rows:
            if row:
                try:
                    yield self._job(form, where, row)
                except _FieldError as wrong:
                    name, what = wrong.args
                    column = _column("".join(self._raw), where[name])
                    self._problems.append(f"{self._path}:{line}:{column}: {name}: {what}")
                    if len(self._problems) >= _MOST_SHOWN:
                        return
            self._raw.clear()
            line = rows.line_num + 1

    def _job(self, form: _Format, where: dict[str, int], row: Sequence[str]) -> Job:
        def field(name: str) -> str:
            index = where[name]
            if index >= len(row):
                raise _FieldError(name, "the line ends before this column")
            return row[index].strip()

        def read(name: str, how: Callable[[str], float]) -> float:
            text = field(name)
            try:
                number = float(how(text))
            except (ValueError, OverflowError):
                number = -1.0
            if not isfinite(number) or number < 0:
                raise _FieldError(name, f"{_shown(text)} is not {_WANTED[how]}")
            return number

        def optional(name: str, how: Callable[[str], float]) -> float | None:
            index = where.get(name, len(row))
            return read(name, how) if index < len(row) and row[index].strip() else None

        arrival = read(form.time, _date if form.clock else float)
        model = _stem(self._path) if form.model is None else field(form.model)
        if not model:
            raise _FieldError(str(form.model), "no model is named")
        service = self._rates.seconds(read(form.prompt, _tokens), read(form.output, _tokens))
        limit = optional("max_tokens", _tokens)
        priority = optional("priority", float)
        if priority == 0:
            raise _FieldError("priority", "'0' is not a number above 0")
        index = where.get("next", len(row))
        return Job(
            arrival,
            model,
            service,
            1.0 if priority is None else priority,
            None if limit is None else int(limit),
            then=(row[index].strip() or None) if index < len(row) else None,
        )


def _open(path: Path) -> TextIO:
    """Open a trace as text, unpacked; a byte order mark is passed over."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _shown(text: str) -> str:
    """Show what stood in a file, cut, so that it cannot flood a terminal."""
    return repr(text if len(text) <= _LONGEST else text[:_LONGEST] + "...")


def _stem(path: Path) -> str:
    return re.sub(r"(\.csv)?(\.gz)?$", "", path.name) or path.name


def _tokens(text: str) -> float:
    return int(text)


def _date(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


_WANTED: Final = {
    float: "a number of at least 0",
    _tokens: "a whole number of tokens",
    _date: "a date and time",
}


def _column(record: str, index: int) -> int:
    """Return the column, from 1, where the field of this index begins in its line.

    A field that is missing would begin where the record ends.
    """
    record = record.rstrip("\r\n")
    at = 0
    for _ in range(index):
        field = _FIELD.match(record, at)
        at = len(record) if field is None else field.end()
        if at >= len(record):
            break
        at += 1
    return at - record.rfind("\n", 0, at)


_FIELD: Final = re.compile(r'"(?:[^"]|"")*"[^,]*|[^,]*')
