"""Stories of the demo: real gateway, real hooks, real engines, and nothing of them afterwards."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmux.demo.cast import MODELS, QUESTION, TOYS
from llmux.demo.show import Asked
from tests.conftest import Need
from tests.ports import free_port


class Demo:
    """A demo in a process of its own, with a temp folder of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.output = ""
        env = dict(os.environ, TMPDIR=str(folder), COLUMNS="100")
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "llmux", "demo", *options],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def until(self, words: str) -> str:
        """Read on until a line has the words, and return that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if words in line:
                return line
        raise AssertionError(f"the demo ended before it said {words!r}:\n{self.output}")

    def end(self) -> int:
        """Read to the end and return the exit code."""
        rest, _ = self.process.communicate(timeout=60)
        self.output += rest
        return self.process.returncode

    def left(self) -> list[str]:
        """Return what is still there of it: processes and files."""
        listing = subprocess.run(
            ["ps", "-eo", "stat=,args="], capture_output=True, text=True, check=True
        )
        marks = (f"--owner {self.process.pid} ", str(self.folder))
        alive = [
            line
            for line in listing.stdout.splitlines()
            if not line.startswith("Z") and any(mark in f"{line} " for mark in marks)
        ]
        return alive + [str(path) for path in self.folder.iterdir()]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A temp folder in which, and around which, nothing may be left."""
    place = tmp_path / "temp"
    place.mkdir()
    yield place
    assert list(place.iterdir()) == []


def test_one_round_answers_from_each_model_and_leaves_nothing(folder: Path) -> None:
    """Three models answer as themselves, on the next free port where the wanted one is taken."""
    with socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen(1)
        demo = Demo(folder, "--once", "--port", str(port))
        code = demo.end()
    assert code == 0, demo.output
    assert f"Port {port} is taken" in demo.output
    for model in MODELS:
        assert f"{model}: I am {model}, process" in demo.output
        assert re.search(rf"awake +{model}, the switch took", demo.output)
    assert demo.output.count(QUESTION) == 1 + len(MODELS)
    assert demo.left() == []


@pytest.mark.parametrize(
    ("moment", "signal_", "options", "code"),
    [
        ("all models are asleep", signal.SIGINT, (), 0),
        ("waking llama-8b", signal.SIGTERM, (), 0),
        ("awake   llama-8b", signal.SIGINT, (), 0),
        ("asleep  llama-8b", signal.SIGINT, ("--once",), 130),
        ("answer  qwen-7b", signal.SIGHUP, (), 0),
    ],
)
def test_a_demo_that_is_stopped_midway_leaves_nothing(
    folder: Path, moment: str, signal_: signal.Signals, options: tuple[str, ...], code: int
) -> None:
    """Ctrl-C, SIGTERM or a closed terminal, while a hook runs or an answer streams."""
    demo = Demo(folder, "--port", str(free_port()), *options)
    demo.until(moment)
    os.killpg(demo.process.pid, signal_)
    assert demo.end() == code, demo.output
    assert demo.left() == []


def test_impatience_changes_nothing(folder: Path) -> None:
    """Ctrl-C again and again while it tidies up: it still tidies up."""
    demo = Demo(folder, "--port", str(free_port()))
    demo.until("awake   llama-8b")
    while demo.process.poll() is None:
        demo.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert demo.end() == 0, demo.output
    assert demo.left() == []


def test_the_printed_commands_work_as_they_are(folder: Path, need: Need) -> None:
    """A visitor pastes all three, sees a model answer, and its switch in the demo's window."""
    need("curl")
    demo = Demo(folder, "--port", str(free_port()))
    try:
        demo.until("in another terminal")
        demo.until("Ctrl-C ends it all")
        commands = re.findall(r"^  (curl .*)$", demo.output, re.MULTILINE)
        first, second, third = [
            subprocess.run(["sh", "-c", one], capture_output=True, text=True, check=True).stdout
            for one in commands
        ]
        assert '"content": "llama-8b, ' in first
        assert first.rstrip().endswith("data: [DONE]")
        assert "I am qwen-7b, process" in second
        assert 'from="mistral-7b"' in third
        assert shlex.split(commands[0])[1] == "-N"
        demo.until("from mistral-7b to llama-8b")
    finally:
        demo.process.send_signal(signal.SIGINT)
        code = demo.end()
    assert code == 0
    assert demo.left() == []


@pytest.mark.parametrize("moment", ["waking llama-8b", "answer  llama-8b"])
def test_a_demo_that_was_killed_leaves_nothing_for_long(folder: Path, moment: str) -> None:
    """Even kill -9, which nobody can answer: its gateway, engines and files go soon after it."""
    demo = Demo(folder, "--port", str(free_port()))
    demo.until(moment)
    demo.process.kill()
    demo.end()
    until = time.monotonic() + 60
    while left := demo.left():
        assert time.monotonic() < until, left
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("answer", "named", "right"),
    [
        (f"I am qwen-7b, process 1. You said: {QUESTION}", {"qwen-7b"}, True),
        (f"I am llama-8b, process 1. You said: {QUESTION}", {"qwen-7b"}, False),
        (f"I am qwen-7b, process 1. You said: {QUESTION}", {"qwen-7b", "llama-8b"}, False),
        ("I am qwen-7b, process 1. You", {"qwen-7b"}, False),
        ("", set(), False),
    ],
)
def test_only_a_whole_answer_from_the_asked_model_is_right(
    answer: str, named: set[str], right: bool
) -> None:
    """Half an answer, or one that another model gave, fails the round."""
    assert Asked("qwen-7b", TOYS, "answered", answer, 1.0, named).right is right
