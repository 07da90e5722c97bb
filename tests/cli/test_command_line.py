"""The command line as a process: verbs, options on both sides of them, exit codes, no traceback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from llmux import __version__
from tests import ports

GOOD = "models: {a: {port: 1, wake: 'true', sleep: 'true'}}\n"


def llmux(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llmux", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@contextlib.contextmanager
def serving(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "llmux", *arguments]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def read_until(stream: IO[str] | None, word: str) -> str:
    assert stream is not None
    read = ""
    for line in stream:
        read += line
        if word in line:
            return read
    raise AssertionError(f"{word!r} was not said, but: {read}")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(GOOD)
    return tmp_path


@pytest.fixture
def free_port() -> int:
    return ports.free_port()


@pytest.mark.parametrize(
    "arguments", [["--version"], ["-V"], ["check", "-V"], ["-c", "x", "--version"]]
)
def test_the_version_is_one_line_wherever_it_is_asked(tmp_path: Path, arguments: list[str]) -> None:
    done = llmux(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"llmux {__version__}\n")


def test_the_version_is_told_without_importing_what_it_does_not_need(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['llmux', '--version']\n"
        "import atexit\n"
        "atexit.register(lambda: print(sorted({'click', 'rich', 'yaml', 'asyncio'}"
        " & set(sys.modules))))\n"
        "from llmux.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[1] == "[]"


@pytest.mark.parametrize(
    "arguments", [["-h"], ["--help"], ["serve", "-h"], ["check", "--help"], ["demo", "-h"]]
)
def test_help_names_the_options(tmp_path: Path, arguments: list[str]) -> None:
    done = llmux(*arguments, cwd=tmp_path)
    assert done.returncode == 0
    for option in ("--config", "--port", "--host", "--verbose", "--log-format", "--version"):
        assert option in done.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["config.yaml"], "a config is named with -c config.yaml"),
        (["--port", "0"], "0 is not in the range"),
        (["--host", ""], "an address is needed"),
        (["check", "--nonsense"], "No such option"),
        (["serve", "--log-format", "xml"], "'xml' is not one of 'console', 'json'"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_a_sentence(
    home: Path, arguments: list[str], why: str
) -> None:
    done = llmux(*arguments, cwd=home)
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", [[], ["serve"], ["check"]])
def test_a_config_with_mistakes_ends_with_2_and_all_of_them(
    tmp_path: Path, verb: list[str]
) -> None:
    (tmp_path / "bad.yaml").write_text("port: 0\nmodels: {a: {port: 0, wake: x, sleep: y}}")
    done = llmux(*verb, "-c", "bad.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [
        "bad.yaml:1:7",
        "bad.yaml:2:20",
    ]


@pytest.mark.parametrize("verb", [[], ["check"]])
def test_a_missing_config_is_told_by_name(tmp_path: Path, verb: list[str]) -> None:
    done = llmux(*verb, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("config.yaml: there is no such file")


def test_check_says_what_the_config_comes_to(home: Path) -> None:
    done = llmux("-p", "5000", "check", cwd=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the policy fifo, the API at http://127.0.0.1:5000/v1" in done.stdout
    assert "  a on port 1\n" in done.stdout


def test_an_option_after_the_verb_rules_over_one_before_it(home: Path) -> None:
    done = llmux("-p", "5000", "-c", "nowhere.yaml", "check", "-c", "config.yaml", cwd=home)
    assert done.returncode == 0
    assert ":5000/v1" in done.stdout


def test_check_fails_on_an_unknown_key_and_only_warns_of_a_shared_port(home: Path) -> None:
    shared = "models: {a: {port: 1, wake: x, sleep: y}, b: {port: 1, wake: x, sleep: y}}\n"
    (home / "shared.yaml").write_text(shared)
    done = llmux("check", "-c", "shared.yaml", cwd=home)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: shared.yaml:1:53: ")
    (home / "unknown.yaml").write_text(GOOD + "prot: 3\n")
    done = llmux("check", "-c", "unknown.yaml", cwd=home)
    assert done.returncode == 2
    assert "did you mean `port`?" in done.stderr


def test_check_builds_the_policy_and_tells_its_error_with_the_place_of_its_options(
    home: Path,
) -> None:
    (home / "c.yaml").write_text(GOOD + "policy: {name: fifo, options: {speed: 9}}\n")
    done = llmux("check", "-c", "c.yaml", cwd=home)
    assert done.returncode == 2
    assert done.stderr.startswith("c.yaml:2:31: the policy fifo takes no options")


def test_check_warns_of_a_script_that_stands_where_2_4_0_would_have_run_it(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "up.sh").touch()
    (tmp_path / "conf/c.yaml").write_text("models: {a: {port: 1, wake: ./up.sh, sleep: x}}\n")
    done = llmux("check", "-c", "conf/c.yaml", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: conf/c.yaml:1:29: `models.a.wake` runs in ")


def test_serve_greets_and_ends_with_0_on_a_signal(home: Path, free_port: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with serving("-p", str(free_port), cwd=home) as process:
            greeting = read_until(process.stdout, "lifted")
            assert f"http://127.0.0.1:{free_port}/v1" in greeting
            assert "a  port 1, no alive: its port is asked" in greeting
            process.send_signal(number)
            _, errors = process.communicate(timeout=30)
            assert (process.returncode, errors) == (0, "")


_SLOW_TO_LOAD = """
import time
print("loading", flush=True)
while True:
    time.sleep(0.1)
"""


def test_a_signal_while_a_policys_file_is_loaded_ends_serve_with_0(home: Path) -> None:
    """It is not taken for something that the file has raised."""
    (home / "slow.py").write_text(_SLOW_TO_LOAD)
    (home / "config.yaml").write_text(GOOD + "policy: {name: ./slow.py}\n")
    for number in (signal.SIGTERM, signal.SIGINT):
        with serving(cwd=home) as process:
            read_until(process.stdout, "loading")
            process.send_signal(number)
            _, errors = process.communicate(timeout=30)
            assert (process.returncode, errors) == (0, "")


def test_serve_warns_of_an_unknown_key_and_serves(home: Path, free_port: int) -> None:
    (home / "config.yaml").write_text(GOOD + "prot: 3\n")
    with serving("serve", "--port", str(free_port), cwd=home) as process:
        assert "did you mean `port`?" in read_until(process.stdout, "prot")
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_serve_greets_machines_with_json_lines(home: Path, free_port: int) -> None:
    (home / "config.yaml").write_text(GOOD + "prot: 3\n")
    with serving("--log-format", "json", "-p", str(free_port), cwd=home) as process:
        greeting = read_until(process.stdout, "config_notice")
        lines = [json.loads(line) for line in greeting.splitlines()]
        started = next(line for line in lines if line["event"] == "gateway_started")
        assert started["url"] == f"http://127.0.0.1:{free_port}/v1"
        assert "did you mean `port`?" in lines[-1]["message"]


def test_a_taken_port_is_exit_code_1_with_the_address_and_a_way_out(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = llmux("-p", str(port), cwd=home)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"llmux cannot listen on 127.0.0.1:{port}: address already in use"
    )
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_of_another_machine_is_exit_code_1_with_a_sentence(home: Path) -> None:
    done = llmux("--host", "203.0.113.1", cwd=home)
    assert done.returncode == 1
    assert done.stderr.startswith("llmux cannot listen on 203.0.113.1:3000: ")
    assert done.stderr.endswith("; choose an address of this machine with --host\n")


def test_a_policy_that_cannot_be_built_is_exit_code_2(home: Path) -> None:
    (home / "config.yaml").write_text(GOOD + "policy: {name: ./none.py}\n")
    done = llmux(cwd=home)
    assert done.returncode == 2
    assert done.stderr.startswith("config.yaml: the policy ./none.py: there is no file")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_does_not_change_the_exit_code(
    home: Path, free_port: int
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "llmux", "-V"],
            cwd=home,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        with subprocess.Popen(
            [sys.executable, "-m", "llmux", "-p", str(free_port)],
            cwd=home,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                _until_it_listens(free_port, process)
                process.terminate()
                _, errors = process.communicate(timeout=30)
            finally:
                process.kill()
            assert (process.returncode, errors) == (0, "")


def test_a_closed_standard_output_does_not_stop_the_gateway(home: Path, free_port: int) -> None:
    command = f"exec '{sys.executable}' -m llmux -p {free_port} >&-"
    with subprocess.Popen(
        ["sh", "-c", command], cwd=home, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _until_it_listens(free_port, process)
            process.terminate()
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
        assert (process.returncode, errors) == (0, "")


def _until_it_listens(port: int, process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        os.sched_yield()
    raise AssertionError(f"it ended with {process.returncode} before it listened")


def test_check_policy_tries_a_policy_without_a_config(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from llmux.policy import SwitchNow, SwitchPolicy\n"
        "class Mine(SwitchPolicy):\n"
        "    def on_pending_request(self, context):\n"
        "        return SwitchNow(reason=f'{1 / context.active_duration:.1f}')\n"
    )
    done = llmux("check", "--policy", "./mine.py", cwd=tmp_path)
    assert done.returncode == 2
    assert "./mine.py: on_pending_request raised ZeroDivisionError" in done.stderr
    assert "mine.py:4) when the first request of all waits" in done.stderr
    done = llmux("check", "--policy", "balance", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("balance is fine")


def test_check_warns_of_what_a_configs_own_policy_does_wrong(home: Path) -> None:
    """`serve` would run with it, so it is a warning; a promise in the config answers for it."""
    (home / "idle.py").write_text(
        "from llmux.policy import Skip, SwitchNow, SwitchPolicy\n"
        "class Idle(SwitchPolicy):\n"
        "    def on_pending_request(self, context):\n"
        "        return Skip() if context.active_in_flight else SwitchNow()\n"
    )
    config = (home / "config.yaml").read_text()
    (home / "own.yaml").write_text(f"{config}\npolicy: {{name: ./idle.py}}\n")
    done = llmux("check", "-c", "own.yaml", cwd=home)
    assert done.returncode == 0
    assert "warning: own.yaml:" in done.stderr
    assert "waited more than 10 minutes" in done.stderr
    (home / "own.yaml").write_text(f"{config}\npolicy: {{name: ./idle.py, max_wait_secs: 60}}\n")
    done = llmux("check", "-c", "own.yaml", cwd=home)
    assert (done.returncode, done.stderr) == (0, "")


_NO_LOOK = """
import llmux.runtime.lives
async def broken(keeper): raise OSError(24, "Too many open files")
llmux.runtime.lives.settle = broken
from llmux.cli.main import main
main()
"""


def test_a_look_at_the_models_that_fails_at_the_start_ends_llmux(
    home: Path, free_port: int
) -> None:
    """Nothing may be woken without it, and whoever starts it anew has to hear of it."""
    done = subprocess.run(
        [sys.executable, "-c", _NO_LOOK, "-p", str(free_port)],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith(
        "the look at the models at the start failed: OSError(24, 'Too many open files');"
        " nothing was served, and a new start looks again\n"
    )


def test_schema_writes_the_same_to_a_file_and_to_standard_output(home: Path) -> None:
    shown = llmux("schema", cwd=home)
    written = llmux("schema", "-o", "llmux.schema.json", cwd=home)
    assert (shown.returncode, written.returncode, written.stdout) == (0, 0, "")
    assert (home / "llmux.schema.json").read_text() == shown.stdout
    assert json.loads(shown.stdout)["properties"]["models"]


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (
            "no/such/place.json",
            "the folder no/such is not there; make it first, or name a file in another place",
        ),
        (
            "config.yaml/place.json",
            "config.yaml is no folder; name a file in another place",
        ),
        (".", "it is a folder; name a file in it: llmux.schema.json"),
    ],
)
def test_schema_says_why_a_file_cannot_be_written(home: Path, place: str, why: str) -> None:
    done = llmux("schema", "--output", place, cwd=home)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"llmux schema: {place} cannot be written: {why}\n"


def test_check_shows_a_tab_in_a_name_as_what_it_is(home: Path) -> None:
    (home / "tab.yaml").write_text('models: {"a\\tb": {port: 8001, wake: x, sleep: y}}\n')
    done = llmux("check", "-c", "tab.yaml", cwd=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n  a\\tb on port 8001\n")
