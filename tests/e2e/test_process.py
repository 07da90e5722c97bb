"""The command as a process: how it is called, what it answers a signal, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM

import pytest

from tests.e2e.conftest import Build
from tests.e2e.house import House, name_of, until


def in_folder(house: House, *args: str) -> House:
    """Start the installed command with exactly these arguments, in the house's folder."""
    house.log_path.touch()
    command = Path(sys.executable).with_name("llmux")
    house.process = subprocess.Popen(
        [command, *args],
        cwd=house.folder,
        env=house.environment(),
        stdin=subprocess.DEVNULL,
        stdout=house.log_path.open("wb"),
        stderr=(house.folder / "stderr").open("wb"),
    )
    until(house.ready, "the gateway gets ready")
    return house


@pytest.mark.parametrize(
    "form",
    [
        "",
        "serve",
        "-c other.yaml",
        "--config other.yaml serve",
        "serve --config=other.yaml",
        "-p {port}",
        "serve -p {port} -v",
        "--port={port} -c elsewhere.json --verbose",
    ],
)
def test_every_form_of_the_command_serves(build: Build, form: str) -> None:
    """config.yaml is the default, -p rules over the file, options go before or after the verb."""
    house = build("a")
    names = {"config.yaml"}
    if "-c" in form or "--config" in form:
        names = {"other.yaml", "elsewhere.json"}
    asked_for = house.port
    if "{port}" in form:
        house.port = build("a").port  # what the file says is not what is asked for
    for name in names:
        house.write(name=name)
    house.port = asked_for
    in_folder(house, *form.format(port=asked_for).split())
    assert house.ask("a").who == "a"
    assert house.stop() == 0


def test_a_taken_port_is_exit_code_1_and_a_sentence(build: Build) -> None:
    """Who cannot listen says where and why, without a traceback, and has run no hook."""
    first = build("a").start()
    second = build("a")
    second.port = first.port
    second.write()
    second.launch()
    assert second.ended() == 1
    said = second.words()
    assert f"127.0.0.1:{first.port}" in said and "in use" in said
    assert "Traceback" not in said
    assert second.hooks() == []
    assert first.ask("a").who == "a"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("models: [", ":2:1"),
        ("models: {}", "models"),
        ("port: 70000\nmodels: {a: {port: 1, wake: w, sleep: s}}", "port"),
        ("", "models"),
        ("models: {a: {wake: w, sleep: s}}", "port"),
    ],
)
def test_a_config_that_cannot_be_used_is_exit_code_2(build: Build, text: str, why: str) -> None:
    """The file and the reason are named, and no traceback is shown."""
    house = build("a")
    house.write(text)
    house.launch()
    assert house.ended() == 2
    said = house.words()
    assert "config.yaml" in said and why in said
    assert "Traceback" not in said


def test_a_signal_ends_an_idle_gateway_with_0(build: Build) -> None:
    """SIGTERM and Ctrl-C are ways to end well, also while a model is awake."""
    for number in (SIGTERM, SIGINT):
        house = build("a").start()
        house.ask("a")
        assert house.stop(number) == 0
        assert "Traceback" not in house.words()


def test_a_signal_lets_answers_end_and_takes_nothing_new(build: Build) -> None:
    """The answer that runs is finished; who waits or comes hears 503, `/ready` too."""
    house = build("a", "b").start()
    stream = house.open("a", tag="a1", stream=True, words=1, hold_rest="a1")
    stream.read_until(b"a0 ")
    waiting = house.queue("b", "b1")
    house.tell(SIGTERM)
    refused = waiting.result(60)
    assert (refused.status, refused.error["code"]) == (503, "draining")
    late = house.send("b").result(60)
    assert (late.status, late.error["code"]) == (503, "draining")
    assert house.get("/ready").status == 503
    house.release("a1")
    assert b"data: [DONE]" in stream.read_to_end()
    assert house.ended() == 0
    assert house.wakes() == ["a"]


def test_the_grace_ends_an_answer_that_does_not_end(build: Build) -> None:
    """After `shutdown_grace_secs` what still runs is cut, and the exit code is 0 nevertheless."""
    house = build("a")
    house.extra["bounds"] = {"shutdown_grace_secs": 0.3}
    house.start()
    stream = house.open("a", tag="a1", stream=True, words=1, hold_rest="never")
    stream.read_until(b"a0 ")
    assert house.stop() == 0
    assert b"data: [DONE]" not in stream.read_to_end()
    house.wait_seen("a gone a1")


def test_a_second_signal_does_not_wait_for_anything(build: Build) -> None:
    """Who presses Ctrl-C twice is in a hurry."""
    house = build("a").start()
    stream = house.open("a", tag="a1", stream=True, words=1, hold_rest="never")
    stream.read_until(b"a0 ")
    house.tell(SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        house.ended(0.5)
    house.tell(SIGINT)
    assert house.ended(10) == 0


@pytest.mark.parametrize("hook", ["wake", "sleep"])
@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_a_signal_during_a_hook_ends_the_hook_with_all_it_started(
    build: Build, hook: str, number: int
) -> None:
    """Nothing that a half-done hook has begun goes on when the gateway is gone."""
    house = build("a", "b")
    slow = "sleep 3600 & sleep 3600"
    if hook == "wake":
        house.models["b"]["wake"] = house.wake("b", before=slow)
    else:
        house.models["a"]["sleep"] = house.sleep("a", before=slow)
    house.start()
    house.ask("a")
    asked = house.send("b")
    house.wait_hook("wake-begin b" if hook == "wake" else "sleep-begin a")
    house.process.send_signal(number)  # type: ignore[union-attr]
    assert asked.result(60).status == 503
    assert house.ended() == 0
    assert "Traceback" not in house.words()
    if hook == "sleep":
        (house.folder / f"{house.ports['a']}.pid").unlink()
    left = [pid for pid in house.survivors() if name_of(pid) == "sleep"]
    assert left == []


def test_a_hangup_changes_nothing(build: Build) -> None:
    """SIGHUP, which a closed terminal or a habit sends, is noted and otherwise ignored."""
    house = build("a").start()
    house.tell(SIGHUP)
    assert house.ask("a").who == "a"
    assert house.stop() == 0


def test_after_kill_9_a_new_gateway_serves(build: Build) -> None:
    """A gateway that starts after one was killed adopts what is awake: no needless wake."""
    house = build("a", "b").start()
    house.ask("a")
    house.tell(SIGKILL)
    house.ended()
    house.start()
    assert house.ask("a").who == "a"
    assert house.ask("b").who == "b"
    house.assert_one_awake()
    assert house.wakes() == ["a", "b"]


def test_stdout_that_takes_nothing_is_no_reason_to_stop(build: Build) -> None:
    """A full disk behind the log costs log lines and nothing else.

    2.4.0 panics at its first line and never listens.
    """
    house = build("a", "b")
    with Path("/dev/full").open("wb") as full:
        house.start(stdout=full)
    assert house.ask("a").who == "a"
    assert house.ask("b").who == "b"
    house.assert_one_awake()
    assert house.stop() == 0


def test_the_greeting_of_a_machine_names_models_and_address(build: Build) -> None:
    """With JSON logs every line is an object, the greeting too."""
    house = build("a", "b").start()
    greeting = house.logged("gateway_started")[0]
    assert greeting["url"] == f"http://127.0.0.1:{house.port}/v1"
    assert greeting["models"] == "a, b"
    for line in house.log_path.read_text().splitlines():
        assert {"timestamp", "level", "event"} <= set(json.loads(line))
