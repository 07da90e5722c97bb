"""How a log line looks and how it gets out: for people, or one JSON object for machines.

Underneath is the standard library's logging, so that every room may log without knowing us: a
record may carry `event` (a name) and `fields` (a mapping) as `extra`. A line never raises, never
waits for a slow reader of stdout, and never lets a client's text move a terminal's cursor. This
file refuses to know what is worth telling; `llmux.telemetry.log` chooses.
"""

from __future__ import annotations

import json
import logging
import os
import select
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

FIELD_LIMIT = 500
"""Characters that one field may have in a line."""
LONG_LIMIT = 8000
"""Characters of a hook's output and of a traceback."""
QUEUE_LIMIT = 10_000
"""Lines that may wait for stdout; above it lines are dropped and counted."""
CONSOLE_LINES = 20
"""Lines of a hook's output or a traceback that people are shown."""

_LONG_FIELDS: Final = ("stderr", "exception")


def clean(text: str, limit: int = FIELD_LIMIT) -> str:
    """Make any text harmless to show: cut, control and invisible characters escaped."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    if cut.isprintable():
        return cut
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in cut
    )


class JsonLines(logging.Formatter):
    """One JSON object a line, in ASCII: timestamp, level, event, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without its end."""
        line: dict[str, object] = {}
        for name, value in _fields(record).items():
            line[clean(name)] = _plain(name, value)
        line["timestamp"] = _moment(record).isoformat(timespec="milliseconds")[:-6] + "Z"
        line["level"] = record.levelname
        line["event"] = _event(record) or "log"
        line["message"] = _plain("exception", record.getMessage())
        head = ("timestamp", "level", "event")
        ordered = {name: line[name] for name in head} | line
        return json.dumps(ordered, default=str)


class ConsoleLines(logging.Formatter):
    """One line for people: local time, level, the event's name and `key=value` for each field.

    A hook's output or a traceback follows, indented.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without its end."""
        time = _moment(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        fields = _fields(record)
        long = [str(fields.pop(name)) for name in _LONG_FIELDS if fields.get(name)]
        what = _event(record) or clean(record.getMessage(), LONG_LIMIT)
        pairs = "".join(f" {clean(name)}={_shown(value)}" for name, value in fields.items())
        lines = [f"{time} {record.levelname:<7} {what}{pairs}"]
        for text in long:
            rows = text[-LONG_LIMIT:].splitlines()[-CONSOLE_LINES:]
            lines += [f"    | {clean(row)}" for row in rows]
        return "\n".join(lines)


class LineHandler(logging.Handler):
    """Hands lines to a thread that writes them, so that a slow reader never holds the loop.

    What a full disk, a closed pipe or a full queue refuses is dropped and counted; the count is
    told as soon as lines get through again.
    """

    def __init__(self, descriptor: int | None) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._writing = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line of a record. Never raises."""
        try:
            line = self.format(record)
        except Exception as error:  # a log line must not end a request, whatever is in it
            line = f"a log line of {record.name} cannot be shown: {type(error).__name__}"
            if isinstance(self.formatter, JsonLines):
                line = json.dumps({"level": "ERROR", "event": "log_error", "message": line})
        self._put((line + "\n").encode(errors="backslashreplace"))

    def flush(self, seconds: float = 1.0) -> None:
        """Wait until all lines are written, for `seconds` at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines and not self._writing, seconds)

    def close(self) -> None:
        """Write what waits, then end the thread."""
        self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        super().close()

    def _put(self, line: bytes) -> None:
        if self._descriptor is None or self._closed:
            return
        with self._changed:
            if len(self._lines) >= QUEUE_LIMIT:
                self.dropped += 1
                return
            self._lines.append(line)
            self._changed.notify_all()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._write_all, name="llmux-log", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends: this line is late
                self._thread = None

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines or self._closed)
                if not self._lines:
                    return
                batch = list(self._lines)
                self._lines.clear()
                self._writing = True
            self._write(batch)

    def _write(self, batch: list[bytes]) -> None:
        with self._changed:
            lost, self.dropped = self.dropped, 0
        told = [self._word_of_loss(lost)] if lost else []
        if not self._try(b"".join(told + batch)):
            with self._changed:
                self.dropped += lost + len(batch)

    def _word_of_loss(self, count: int) -> bytes:
        record = logging.LogRecord(
            __name__, logging.WARNING, "", 0, f"{count} log lines were lost", None, None
        )
        record.event, record.fields = "log_lines_lost", {"count": count}
        return (self.format(record) + "\n").encode()

    def _try(self, text: bytes) -> bool:
        assert self._descriptor is not None
        rest = memoryview(text)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody made the terminal non-blocking
                select.select([], [self._descriptor], [], 1.0)
            except (OSError, ValueError):
                return False
        return True


def _event(record: logging.LogRecord) -> str:
    return str(getattr(record, "event", "") or "")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    given = getattr(record, "fields", None)
    fields = dict(given) if isinstance(given, Mapping) else {}
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _plain(name: str, value: object) -> object:
    """Make a field fit for JSON: numbers stay, text is cut and can be encoded."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 6)
    text = value if isinstance(value, str) else str(value)
    if name in _LONG_FIELDS:
        text = text[-LONG_LIMIT:]
    elif len(text) > FIELD_LIMIT:
        text = text[:FIELD_LIMIT] + "..."
    return text.encode(errors="backslashreplace").decode()


def _shown(value: object) -> str:
    """Write a field for people: short numbers, quotes around what has spaces or nothing in it."""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = clean(str(value))
    if text and not any(one in text for one in " \"='"):
        return text
    return '"' + text.replace('"', '\\"') + '"'
