"""The gateway itself is killed, started twice, or cannot remember: what is awake is found again.

The judge is the hooks' own log: never two models awake, never two hooks at once, no needless wake.
"""

from __future__ import annotations

import os
import subprocess
import sys
from signal import SIGKILL, SIGTERM

import pytest

from tests.e2e.conftest import Build
from tests.e2e.house import House, until
from tests.ports import free_port


def assert_one_hook_at_a_time(house: House) -> None:
    """By the hooks' own log none began before the last one had ended (or was ended for it)."""
    inside = ""
    for line in house.hooks():
        what, _, model = line.partition(" ")
        hook, _, edge = what.partition("-")
        if edge == "begin":
            assert inside in {"", f"{hook} {model}"}, house.hooks()
            inside = f"{hook} {model}"
        elif inside == f"{hook} {model}":
            inside = ""


def home(house: House) -> dict[str, str]:
    """An environment in which the state lies in the house's own folder."""
    return {"XDG_STATE_HOME": str(house.folder / "state")}


def kill_9_and_restart(house: House) -> None:
    house.tell(SIGKILL)
    house.ended()
    house.start(env=home(house))


def test_who_was_awake_is_adopted_after_kill_9(build: Build) -> None:
    """No wake, and the timeline of `model_activated` goes on from idle."""
    house = build("a", "b")
    house.start(env=home(house))
    house.ask("a")
    house.ask("b")
    kill_9_and_restart(house)
    assert house.ask("b").who == "b"
    [adopted] = house.events("model_activated")
    assert (adopted["model"], adopted["from"]) == ("b", "idle")
    assert house.ask("a").who == "a"
    assert house.wakes() == ["a", "b", "a"]
    house.assert_one_awake()


@pytest.mark.parametrize("moment", ["wake-begin b", "wake-end b", "sleep-begin a", "sleep-end a"])
def test_killed_around_a_hook_it_never_has_two_awake(build: Build, moment: str) -> None:
    """The next life waits for the hook that still runs, before it does anything else."""
    house = build("a", "b")
    house.models["a"]["sleep"] = house.sleep("a", before="sleep 0.5")
    house.models["b"]["wake"] = house.wake("b", before="sleep 0.5")
    house.start(env=home(house))
    house.ask("a")
    house.send("b")
    house.wait_hook(moment)
    kill_9_and_restart(house)
    assert house.ask("b").who == "b"
    assert house.ask("a").who == "a"
    house.assert_one_awake()
    assert_one_hook_at_a_time(house)
    assert house.wakes().count("a") == 2


def test_killed_in_a_drain_the_model_is_adopted(build: Build) -> None:
    """Its streams died with the gateway; the model did not, and is not woken anew."""
    house = build("a", "b")
    house.start(env=home(house))
    stream = house.open("a", stream=True, words=1, hold_rest="never")
    stream.read_until(b"a0 ")
    house.queue("b", "b1")
    kill_9_and_restart(house)
    assert house.ask("a").who == "a"
    assert house.wakes() == ["a"]


def test_of_two_that_are_found_awake_the_latest_stays(build: Build) -> None:
    """Somebody woke the other by hand meanwhile; the state file knows whose turn it was."""
    house = build("a", "b")
    house.start(env=home(house))
    house.ask("b")
    house.tell(SIGKILL)
    house.ended()
    env = os.environ | {"LLMUX_MODEL": "a", "LLMUX_PORT": str(house.ports["a"])}
    subprocess.run(["sh", "-c", house.wake("a")], env=env, check=True)
    house.start(env=home(house))
    assert house.ask("b").who == "b"
    house.wait_hook("sleep-end a")
    assert house.wakes() == ["b", "a"]
    assert "sleep-begin b" not in house.hooks()


def test_a_second_gateway_with_the_same_config_does_not_start(build: Build) -> None:
    """It says who holds the state, and the first one serves on."""
    house = build("a", "b")
    house.start(env=home(house))
    house.ask("a")
    port = free_port()
    command = [sys.executable, "-m", "llmux", "-c", str(house.folder / "config.yaml")]
    second = subprocess.run(
        [*command, "-p", str(port)],
        env=os.environ | home(house),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert "another llmux" in second.stderr
    assert "Traceback" not in second.stderr
    assert house.ask("a").who == "a"
    assert house.wakes() == ["a"]


def test_a_state_directory_that_cannot_be_written_is_a_warning(build: Build) -> None:
    house = build("a", "b")
    (house.folder / "taken").write_text("a file where a directory should be")
    house.start(env={"XDG_STATE_HOME": str(house.folder / "taken")})
    assert house.ask("a").who == "a"
    assert house.ask("b").who == "b"
    assert any("cannot be written" in one["message"] for one in house.events())
    assert house.stop() == 0


def test_without_a_state_file_what_is_awake_is_found_all_the_same(build: Build) -> None:
    house = build("a", "b")
    house.extra["state"] = "off"
    house.start(env=home(house))
    house.ask("a")
    kill_9_and_restart(house)
    assert house.ask("a").who == "a"
    assert house.wakes() == ["a"]
    assert not (house.folder / "state").exists()


def test_on_shutdown_sleep_leaves_nothing_awake(build: Build) -> None:
    house = build("a", "b")
    house.extra["health"] = {"on_shutdown": "sleep"}
    house.start(env=home(house))
    house.ask("a")
    assert house.stop(SIGTERM) == 0
    assert house.hooks()[-1] == "sleep-end a"
    until(lambda: not house.survivors(), "nothing is left")


def test_on_shutdown_keep_is_adopted_by_the_next_start(build: Build) -> None:
    house = build("a", "b")
    house.start(env=home(house))
    house.ask("a")
    assert house.stop(SIGTERM) == 0
    house.start(env=home(house))
    assert house.ask("a").who == "a"
    assert house.hooks() == ["wake-begin a", "wake-end a"]
