"""Stories of log lines: what they say, and what they survive."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from llmux.core import news as told
from llmux.telemetry import LogNews, configure, flush
from llmux.telemetry import lines as lines_module
from llmux.telemetry.lines import LineHandler, clean

Lines = Callable[[], list[str]]


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Callable[..., Lines]]:
    """Configure logging into a file; what it returns reads the lines so far."""
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    levels = {name: logging.getLogger(name).level for name in ("", "llmux")}

    def begin(format: str = "json", level: str = "info") -> Lines:  # noqa: A002
        configure(format, level, descriptor)

        def read() -> list[str]:
            flush()
            return path.read_text().splitlines()

        return read

    yield begin
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, LineHandler)]:
        root.removeHandler(handler)
        handler.close()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    os.close(descriptor)


EVENTS: list[tuple[told.News, str, dict[str, object]]] = [
    (told.SwitchStarted("idle", "qwen"), "switch_started", {"from": "idle", "to": "qwen"}),
    (told.SwitchAbandoned("llama", "qwen"), "switch_abandoned", {"from": "llama", "to": "qwen"}),
    (
        told.ModelActivated("qwen", "llama", 2.5),
        "model_activated",
        {"model": "qwen", "from": "llama", "duration_secs": 2.5},
    ),
    (
        told.SwitchFailed("qwen", "llama", "exit code 3"),
        "switch_failed",
        {"model": "qwen", "from": "llama", "error": "exit code 3"},
    ),
    (
        told.SleepHookFailed("llama", "qwen", "exit code 1"),
        "sleep_hook_failed",
        {"model": "llama", "to": "qwen", "error": "exit code 1"},
    ),
    (
        told.RequestTimedOut("qwen", 30.0),
        "request_timeout",
        {"model": "qwen", "timeout_secs": 30.0},
    ),
    (
        told.AnswerCut("qwen", "draining", "id-1"),
        "answer_cut",
        {"model": "qwen", "reason": "draining", "request_id": "id-1"},
    ),
    (
        told.HookEnded("qwen", "wake", True, 0, 1.25, "hello", ""),
        "hook_completed",
        {"model": "qwen", "hook": "wake", "duration_secs": 1.25},
    ),
    (
        told.HookEnded("qwen", "wake", False, 3, 1.25, "no\ncard", "exit code 3"),
        "hook_failed",
        {
            "model": "qwen",
            "hook": "wake",
            "exit_code": 3,
            "duration_secs": 1.25,
            "stderr": "no\ncard",
        },
    ),
    (told.DrainCut("llama", 2), "drain_cut", {"model": "llama", "requests": 2}),
    (told.PolicyFault("fifo", "raised"), "policy_fault", {"policy": "fifo", "error": "raised"}),
    (
        told.ModelDeactivated("llama", 60.0),
        "model_deactivated",
        {"model": "llama", "duration_secs": 60.0},
    ),
]


@pytest.mark.parametrize(("news", "event", "fields"), EVENTS, ids=[event[1] for event in EVENTS])
def test_news_become_events_with_the_fields_that_queries_use(
    lines: Callable[..., Lines], news: told.News, event: str, fields: dict[str, object]
) -> None:
    read = lines("json")
    LogNews()(news)
    (line,) = [json.loads(text) for text in read()]
    assert line["event"] == event
    assert fields.items() <= line.items()
    assert line["message"]
    assert line["level"] in ("INFO", "WARNING", "ERROR")
    assert line["timestamp"].endswith("Z")
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None


def test_a_query_on_model_activated_rebuilds_the_timeline(lines: Callable[..., Lines]) -> None:
    """Each activation says who was active before, so that no gap can hide."""
    read = lines("json")
    tell = LogNews()
    for source, model in (("idle", "a"), ("a", "b"), ("b", "a")):
        tell(told.SwitchStarted(source, model))
        tell(told.ModelActivated(model, source, 1.0))
    activated: list[dict[str, Any]] = [
        line for line in map(json.loads, read()) if line["event"] == "model_activated"
    ]
    assert [line["from"] for line in activated[1:]] == [line["model"] for line in activated[:-1]]


def test_what_is_only_for_faults_is_told_at_debug(lines: Callable[..., Lines]) -> None:
    """A periodic alive that succeeds, averages and quiet drains do not fill a log at info."""
    quiet: list[told.News] = [
        told.HookEnded("qwen", "alive", True, 0, 0.01, "", ""),
        told.CostLearned("llama", "qwen", 4.5),
        told.DrainEnded("llama", "qwen", 0.2),
        told.ModelAsleep("llama"),
    ]
    read = lines("json", "info")
    for news in quiet:
        LogNews()(news)
    assert read() == []
    read = lines("json", "debug")
    for news in quiet:
        LogNews()(news)
    assert [json.loads(line)["event"] for line in read()] == [
        *("hook_completed", "cost_learned", "drain_ended", "model_asleep")
    ]


def test_an_alive_that_fails_is_told(lines: Callable[..., Lines]) -> None:
    read = lines("json")
    LogNews()(told.HookEnded("qwen", "alive", False, 7, 0.01, "", "exit code 7"))
    assert json.loads(read()[0])["event"] == "hook_failed"


def test_a_console_line_has_the_event_and_its_fields(lines: Callable[..., Lines]) -> None:
    read = lines("console")
    LogNews()(told.ModelActivated("org/qwen", "idle", 2.5))
    LogNews()(told.HookEnded("my model", "wake", False, 3, 1.0, "no\ncard\n", "exit code 3"))
    first, second, *rest = read()
    assert first.endswith(" INFO    model_activated model=org/qwen from=idle duration_secs=2.500")
    assert 'hook_failed model="my model" hook=wake exit_code=3' in second
    assert rest == ["    | no", "    | card"]


def test_a_line_of_any_other_room_is_shown_too(lines: Callable[..., Lines]) -> None:
    read = lines("json")
    logging.getLogger("llmux.http").info("listening on %s", "127.0.0.1")
    logging.getLogger("asyncio").info("not ours, not important")
    logging.getLogger("asyncio").error("not ours, important")
    said = [json.loads(line) for line in read()]
    assert [line["message"] for line in said] == ["listening on 127.0.0.1", "not ours, important"]
    assert {line["event"] for line in said} == {"log"}


def test_an_exception_comes_with_its_traceback(lines: Callable[..., Lines]) -> None:
    read = lines("json")
    try:
        raise RuntimeError("dashboard on fire")
    except RuntimeError:
        logging.getLogger("llmux").exception("a task failed")
    assert "dashboard on fire" in json.loads(read()[0])["exception"]


HOSTILE = "x\x1b[2J\r\nforged INFO line \u202e\x9b \ud800"


@pytest.mark.parametrize("format_", ["console", "json"])
def test_a_clients_text_cannot_forge_a_line_or_move_a_cursor(
    lines: Callable[..., Lines], format_: str
) -> None:
    """Control characters, line ends, direction marks and lone surrogates come out escaped."""
    read = lines(format_)
    LogNews()(told.SwitchStarted("idle", HOSTILE))
    logging.getLogger("llmux").info(HOSTILE)
    said = read()
    assert len(said) == 2
    assert all(line.isprintable() for line in said)


@pytest.mark.parametrize("format_", ["console", "json"])
def test_a_novel_is_cut(lines: Callable[..., Lines], format_: str) -> None:
    read = lines(format_)
    LogNews()(told.SwitchStarted("idle", "x" * 100_000))
    assert len(read()[0]) < 20_000


@pytest.mark.parametrize("format_", ["console", "json"])
def test_a_line_that_cannot_be_made_does_not_raise(
    lines: Callable[..., Lines], format_: str
) -> None:
    """Wrong arguments and objects that refuse to be shown cost a line, not a request."""

    class Grumpy:
        def __str__(self) -> str:
            raise RuntimeError("no")

    read = lines(format_)
    arguments = ["one"]
    logging.getLogger("llmux").info("%d of %d", *arguments)
    logging.getLogger("llmux").info("fields", extra={"event": "x", "fields": {"a": Grumpy()}})
    logging.getLogger("llmux").info("after")
    said = read()
    assert len(said) == 3
    assert "cannot be shown" in said[0]
    assert "after" in said[2]


def test_configuring_again_replaces_the_first(lines: Callable[..., Lines]) -> None:
    lines("console")
    read = lines("json")
    logging.getLogger("llmux").info("once")
    assert len(read()) == 1


@pytest.mark.parametrize(("format_", "level"), [("xml", "info"), ("json", "loud")])
def test_unknown_formats_and_levels_are_refused(format_: str, level: str) -> None:
    with pytest.raises(ValueError, match="is n"):
        configure(format_, level)


STORY = """
import logging, sys
from llmux.telemetry import configure, flush
configure("console")
for number in range(1000):
    logging.getLogger("llmux").warning("line %d", number)
flush()
sys.stderr.write("went on")
"""


def test_a_full_device_stops_nothing() -> None:
    """2.4.0 ends at the start here."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", STORY], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"went on")


def test_a_closed_stdout_stops_nothing() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" >&-', sys.executable, STORY],
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"went on")


def test_a_reader_that_left_stops_nothing() -> None:
    """A pipe without a reader (`llmux | head`)."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", STORY], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"went on")


def test_a_reader_that_stalls_holds_nobody_and_learns_what_it_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lines wait up to a limit, then they are dropped, counted, and the count is told."""
    monkeypatch.setattr(lines_module, "QUEUE_LIMIT", 10)
    reader, writer = os.pipe()
    handler = LineHandler(writer)
    handler.setFormatter(lines_module.ConsoleLines())
    text = "x" * 400
    emitted = 0

    def say() -> None:
        nonlocal emitted
        emitted += 1
        handler.emit(logging.LogRecord("llmux", logging.INFO, "", 0, text, None, None))

    while not handler.dropped:
        say()
    os.set_blocking(reader, False)
    seen = b""
    while b"log_lines_lost" not in seen:
        try:
            seen += os.read(reader, 65536)
        except BlockingIOError:
            handler.flush(0.05)
            say()
    handler.close()
    with contextlib.suppress(BlockingIOError):
        while True:
            seen += os.read(reader, 65536)
    os.close(reader)
    os.close(writer)
    told_lost = sum(int(count) for count in re.findall(rb"log_lines_lost count=(\d+)", seen))
    assert seen.count(text.encode()) + told_lost + handler.dropped == emitted


def test_clean_text_stays_as_it_is() -> None:
    assert clean("org/qwen-7b ü 模型") == "org/qwen-7b ü 模型"
    assert clean("x" * 600, 10) == "x" * 10 + "..."
