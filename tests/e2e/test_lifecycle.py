"""Backends that die, hang and will not sleep: who uses llmux notices a delay, and nobody restarts.

Every story has real processes and real hooks, and is told from outside: by what clients hear, by
the hooks' own log, and by the events and metrics that an operator would look at.
"""

from __future__ import annotations

import os
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest

from tests.e2e.conftest import Build
from tests.e2e.house import House, until


def pid_of(house: House, model: str) -> int:
    """The process of a model's backend."""
    return int((house.folder / f"{house.ports[model]}.pid").read_text())


def kill_9(house: House, model: str) -> None:
    os.kill(pid_of(house, model), SIGKILL)


def killer(house: House, model: str) -> str:
    """A kill hook: no question asked, and the process is gone."""
    pid = f"'{house.folder}/{house.ports[model]}.pid'"
    return f"{house.noted('kill')}\nkill -9 $(cat {pid})\nrm -f {pid}"


# ---- dead ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alive", "options"),
    [
        (None, ""),
        ({"tcp": True}, "--loud"),
        ({"http": "/health"}, ""),
        ("test 1", ""),  # always agrees
        ("no-such-command", ""),  # a typing error: the port stands in
    ],
)
def test_a_backend_killed_while_idle_is_woken_for_the_next_request(
    build: Build, alive: object, options: str
) -> None:
    """Whatever `alive` is, also one that lies, and with a server that holds the hook's output."""
    house = build("a", "b")
    house.models["a"] |= {"alive": alive, "wake": house.wake("a", options=options)}
    house.start()
    assert house.ask("a").who == "a"
    kill_9(house, "a")
    assert house.ask("a").who == "a"
    assert house.wakes() == ["a", "a"]
    [died] = house.events("backend_died")
    assert (died["model"], died["hung"]) == ("a", False)
    assert house.metric("llmux_backend_deaths_total", model="a", kind="dead") == 1


def test_an_alive_that_never_agrees_costs_half_a_minute_once(build: Build) -> None:
    """The other lie: the port stands in after 30 s, for a death and the next wake as well."""
    house = build("a", "b")
    house.models["a"] |= {"alive": "exit 1"}
    house.start()
    assert house.ask("a").who == "a"
    [event] = house.logged("alive_unfit")
    assert event["model"] == "a"
    kill_9(house, "a")
    assert house.ask("a").who == "a"
    assert house.wakes() == ["a", "a"]
    assert len(house.events("alive_unfit")) == 1


def test_a_backend_killed_in_the_middle_of_a_stream_is_woken_again(build: Build) -> None:
    """Its stream says so and ends broken, never as if it were whole; the next one is served."""
    house = build("a", "b").start()
    stream = house.open("a", stream=True, words=2, hold_rest="never")
    stream.read_until(b"a0 ")
    kill_9(house, "a")
    assert b"data: [DONE]" not in stream.read_to_end()
    assert not stream.taken.endswith(b"0\r\n\r\n")
    assert b'"code":"backend_unreachable"' in stream.taken
    [cut] = house.logged("answer_cut")
    assert (cut["model"], cut["reason"]) == ("a", "backend_unreachable")
    assert cut["request_id"].encode() in stream.taken
    reason = {"model": "a", "reason": "backend_unreachable"}
    assert house.metric("llmux_answers_cut_total", **reason) == 1
    assert house.ask("a").who == "a"
    assert house.wakes() == ["a", "a"]


def test_a_death_that_nobody_asks_about_wakes_nothing(build: Build) -> None:
    """It is seen within the interval, and the other model finds the accelerator free."""
    house = build("a", "b")
    house.extra["health"] = {"interval_secs": 0.2}
    house.start()
    house.ask("a")
    kill_9(house, "a")
    until(lambda: house.events("backend_died"), "the death is seen")
    assert house.ask("b").who == "b"
    assert house.wakes() == ["a", "b"]
    assert "sleep-begin a" not in house.hooks()


def test_a_request_survives_the_death_of_its_backend(build: Build) -> None:
    """No byte of an answer had come, so it is sent once more after a new wake."""
    house = build("a", "b").start()
    house.ask("a")
    held = house.hold("a", "a1")
    kill_9(house, "a")
    until(lambda: house.seen().count("a got a1") == 2, "it is asked again")
    house.release("a1")
    assert held.result(60).who == "a"
    assert house.wakes() == ["a", "a"]


@pytest.mark.parametrize("proven", [True, False])
def test_a_request_that_kills_its_backend_is_not_sent_for_ever(build: Build, proven: bool) -> None:
    """It is rescued once, if need be after the breaker; then the client is told what it met."""
    house = build("a", "b")
    house.extra["health"] = {"breaker_min_secs": 0.2}
    house.start()
    if proven:
        house.ask("a")
    deadly = house.ask("a", tag="deadly", die="before")
    assert (deadly.status, deadly.error["code"]) == (502, "backend_unreachable")
    assert house.seen().count("a got deadly") == 2
    assert house.ask("b").who == "b"


def test_without_rescue_a_death_is_told_to_the_client(build: Build) -> None:
    house = build("a", "b")
    house.extra["health"] = {"rescue": False}
    house.start()
    house.ask("a")
    held = house.hold("a", "a1")
    kill_9(house, "a")
    told = held.result(60)
    assert (told.status, told.error["code"]) == (502, "backend_unreachable")
    assert house.seen().count("a got a1") == 1
    assert house.ask("a").who == "a"


# ---- hung ------------------------------------------------------------------------------------


def watched(build: Build) -> House:
    """A gateway that soon sees a hang of a, and can end it."""
    house = build("a", "b")
    house.models["a"] |= {
        "alive": {"http": "/health"},
        "alive_timeout_secs": 0.5,
        "sleep_timeout_secs": 0.5,
        "kill": killer(house, "a"),
    }
    house.extra["health"] = {"interval_secs": 0.2, "failures": 2}
    return house.start()


def test_a_backend_that_hangs_is_ended_and_woken_again(build: Build) -> None:
    """It is stopped, its port still accepts: `alive` shows it; sleep fails on it, `kill` helps."""
    house = watched(build)
    house.ask("a")
    os.kill(pid_of(house, "a"), SIGSTOP)
    until(lambda: house.events("backend_died"), "the hang is seen")
    assert house.ask("a").who == "a"
    assert house.events("backend_died")[0]["hung"] is True
    assert house.metric("llmux_backend_deaths_total", model="a", kind="hung") == 1
    assert "kill a" in house.hooks()
    assert house.wakes() == ["a", "a"]


def test_a_request_survives_a_backend_that_hangs(build: Build) -> None:
    """No byte of an answer had come when its backend was ended, so it is sent once more."""
    house = watched(build)
    house.ask("a")
    held = house.hold("a", "a1")
    os.kill(pid_of(house, "a"), SIGSTOP)
    until(lambda: house.seen().count("a got a1") == 2, "it is asked again")
    house.release("a1")
    assert held.result(60).who == "a"
    assert house.wakes() == ["a", "a"]


def test_a_backend_that_hangs_while_it_drains_holds_up_no_switch(build: Build) -> None:
    """Its stream is told, its request without an answer comes back, and b is served meanwhile."""
    house = watched(build)
    house.ask("a")
    held = house.hold("a", "a1")
    stream = house.open("a", stream=True, words=1, hold_rest="never")
    stream.read_until(b"a0 ")
    first = house.queue("b", "b1")
    os.kill(pid_of(house, "a"), SIGSTOP)
    assert first.result(30).who == "b"
    assert b'"code":"backend_unreachable"' in stream.read_to_end()
    assert not stream.taken.endswith(b"0\r\n\r\n")
    house.release("a1")
    assert held.result(30).who == "a"
    assert house.seen().count("a got a1") == 2
    assert house.wakes() == ["a", "b", "a"]
    [died] = house.events("backend_died")
    assert (died["model"], died["hung"]) == ("a", True)
    assert not house.events("drain_cut")
    hooks = house.hooks()
    assert hooks.index("kill a") < hooks.index("wake-begin b")


def test_a_backend_that_dies_while_it_drains_holds_up_no_switch(build: Build) -> None:
    """Its request comes back, and no sleep hook runs for the dead."""
    house = build("a", "b").start()
    house.ask("a")
    held = house.hold("a", "a1")
    first = house.queue("b", "b1")
    kill_9(house, "a")
    assert first.result(30).who == "b"
    house.release("a1")
    assert held.result(30).who == "a"
    assert house.hooks().count("sleep-begin a") == 0
    assert house.wakes() == ["a", "b", "a"]


# ---- the ladder of a sleep that fails --------------------------------------------------------


def test_a_sleep_that_fails_but_leaves_nothing_counts_as_asleep(build: Build) -> None:
    house = build("a", "b")
    house.models["a"] |= {"alive": None, "sleep": house.sleep("a") + "\nexit 1"}
    house.start()
    house.ask("a")
    assert house.ask("b").who == "b"
    assert house.hooks().count("sleep-begin a") == 1
    assert len(house.events("sleep_hook_failed")) == 1
    house.assert_one_awake()


def test_a_sleep_that_fails_is_tried_once_more(build: Build) -> None:
    house = build("a", "b")
    again = house.folder / "again"
    house.models["a"] |= {
        "alive": None,
        "sleep": f"[ -e '{again}' ] || {{ touch '{again}'; exit 1; }}\n{house.sleep('a')}",
    }
    house.start()
    house.ask("a")
    assert house.ask("b").who == "b"
    assert house.metric("llmux_hook_failures_total", model="a", hook="sleep") == 1
    house.assert_one_awake()


def test_where_sleep_fails_twice_kill_makes_room(build: Build) -> None:
    house = build("a", "b")
    house.models["a"] |= {
        "alive": None,
        "sleep": f"{house.noted('sleep-fails')}\nexit 1",
        "kill": killer(house, "a"),
    }
    house.start()
    house.ask("a")
    assert house.ask("b").who == "b"
    assert house.hooks()[2:5] == ["sleep-fails a", "sleep-fails a", "kill a"]
    assert not house.events("model_quarantined")


def test_a_model_that_cannot_be_put_to_sleep_goes_on_serving(build: Build) -> None:
    """Nothing wakes beside it; the sleep is tried again after the breaker, and works one day."""
    house = build("a", "b")
    mended = house.folder / "mended"
    house.models["a"] |= {
        "alive": None,
        "sleep": f"{house.noted('sleep-tried')}\n[ -e '{mended}' ] || exit 1\n{house.sleep('a')}",
    }
    house.extra["health"] = {"breaker_min_secs": 0.5, "breaker_max_secs": 0.5}
    house.start()
    house.ask("a")
    waits = house.queue("b", "b1")
    until(lambda: house.events("switch_failed"), "the switch is given up")
    assert house.ask("a").who == "a"
    assert house.wakes() == ["a"]
    mended.touch()
    assert waits.result(60).who == "b"
    assert house.hooks().count("sleep-tried a") >= 3
    house.assert_one_awake()


def test_on_sleep_failure_continue_is_the_way_of_2_4_0(build: Build) -> None:
    """The switch goes on although the old model could not be put to sleep."""
    house = build("a", "b")
    house.models["a"]["sleep"] = f"{house.noted('sleep-fails')}\nexit 1"
    house.extra["health"] = {"on_sleep_failure": "continue"}
    house.start()
    house.ask("a")
    assert house.ask("b").who == "b"
    assert house.hooks().count("sleep-fails a") == 1
    assert len(house.events("sleep_hook_failed")) == 1


def test_a_model_neither_alive_nor_asleep_is_in_quarantine_until_it_is_seen(build: Build) -> None:
    """Nothing else wakes in its place, its clients hear 503; when it answers again it serves."""
    house = build("a", "b")
    house.models["a"] |= {
        "alive": {"http": "/health"},
        "alive_timeout_secs": 0.5,
        "sleep": "exit 1",
    }
    house.extra["health"] = {"interval_secs": 0.3, "failures": 2}
    house.start()
    house.ask("a")
    os.kill(pid_of(house, "a"), SIGSTOP)
    until(lambda: house.events("model_quarantined"), "it is in quarantine")
    assert house.metric("llmux_model_quarantined", model="a") == 1
    refused = house.ask("a")
    assert (refused.status, refused.error["code"]) == (503, "model_unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    waits = house.queue("b", "b1")
    os.kill(pid_of(house, "a"), SIGCONT)
    until(lambda: house.events("quarantine_ended"), "it is seen again")
    assert house.metric("llmux_model_quarantined", model="a") == 0
    assert house.wakes() == ["a"]
    assert not waits.done()


# ---- a wake that fails -----------------------------------------------------------------------


def test_a_model_that_fails_to_wake_is_left_alone_and_others_are_served(build: Build) -> None:
    """500 for who waited, 503 with `Retry-After` while its breaker is open; then it is tried."""
    house = build("a", "b")
    mended = house.folder / "mended"
    house.models["b"]["wake"] = f"[ -e '{mended}' ] || exit 1\n{house.wake('b')}"
    house.extra["health"] = {"breaker_min_secs": 3}
    house.start()
    house.ask("a")
    assert house.ask("b").status == 500
    refused = house.ask("b")
    assert (refused.status, refused.error["code"]) == (503, "model_unavailable")
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    ready = house.get("/ready")
    [trouble] = ready.json()["troubles"]
    assert (ready.status, trouble["model"], trouble["phase"]) == (200, "b", "resting")
    assert house.ask("a").who == "a"
    [opened] = house.events("breaker_opened")
    assert (opened["model"], opened["failures"], opened["open_secs"]) == ("b", 1, 3)
    assert house.metric("llmux_breaker_opened_total", model="b") == 1
    mended.touch()
    until(lambda: house.ask("b").status == 200, "it is tried again")
    house.assert_one_awake()


def test_the_previous_model_is_woken_again_without_a_request(build: Build) -> None:
    """A broken model costs the healthy one a moment, and no answer."""
    house = build("a", "b")
    house.models["b"]["wake"] = f"{house.noted('wake-fails')}\nexit 1"
    house.start()
    house.ask("a")
    assert house.ask("b").status == 500
    house.wait_hook("wake-end a", times=2)
    until(lambda: len(house.events("model_activated")) == 2, "it is active again")
    assert house.events("model_activated")[1]["from"] == "idle"
    assert house.ask("a").who == "a"
    assert house.wakes() == ["a", "a"]
    house.assert_one_awake()
