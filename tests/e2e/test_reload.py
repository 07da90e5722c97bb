"""SIGHUP as an operator sends it: the file is followed at once, whole, and nobody notices."""

from __future__ import annotations

import json
import os
import subprocess
import time
from http.client import HTTPConnection
from signal import SIGHUP, SIGKILL, SIGTERM
from typing import Any

import pytest

from tests.e2e.conftest import Build
from tests.e2e.house import House, until
from tests.ports import free_port


def reload(house: House, event: str = "config_reloaded", text: str | None = None) -> dict[str, Any]:
    """Write the config, send SIGHUP, and return what the log says of it."""
    house.write(text)
    before = len(house.events(event))
    house.tell(SIGHUP)
    return house.logged(event, before + 1)[-1]


def add(house: House, model: str) -> None:
    """Put one more model into the config."""
    house.ports[model] = free_port()
    keys = {"port": house.ports[model], "wake": house.wake(model), "sleep": house.sleep(model)}
    house.models[model] = keys


def again(client: HTTPConnection, model: str) -> int:
    """Ask over a connection that is kept, and return the status."""
    client.request("POST", "/v1/chat/completions", json.dumps({"model": model}))
    answer = client.getresponse()
    answer.read()
    return answer.status


def test_a_stream_lives_on_and_a_new_model_can_be_asked(build: Build) -> None:
    """Nothing of the running answer is lost, and the new model is woken like every other."""
    house = build("a").start()
    held = house.hold("a", "long")
    add(house, "b")
    told = reload(house)
    assert (told["added"], told["removed"], told["changed"]) == ("b", "", "")
    assert {one["id"] for one in house.get("/v1/models").json()["data"]} == {"a", "b"}
    asked = house.send("b")
    until(lambda: house.waiting("b") == 1, "b waits for a's answer")
    house.release("long")
    assert held.result(60).who == "a"
    assert asked.result(60).who == "b"
    house.assert_one_awake()
    assert house.metric("llmux_config_reloads_total", result="success") == 1


def test_the_awake_model_is_removed_while_it_streams(build: Build) -> None:
    """Its answer ends first, then its old sleep hook runs; who comes meanwhile hears 404.

    So does who sends the same head again over the same connection.
    """
    house = build("a", "b").start()
    held = house.hold("a", "long")
    kept = HTTPConnection("127.0.0.1", house.port, timeout=20)
    assert again(kept, "a") == again(kept, "a") == 200
    gone = house.models.pop("a")
    told = reload(house)
    assert told["removed"] == "a"
    late = house.ask("a")
    assert (late.status, late.error["code"]) == (404, "model_not_found")
    assert again(kept, "a") == 404
    asked = house.queue("b", "next")
    assert "sleep-begin a" not in house.hooks()
    house.release("long")
    assert held.result(60).who == "a"
    assert asked.result(60).who == "b"
    house.logged("model_removed", model="a")
    house.assert_one_awake()
    assert [one["id"] for one in house.get("/v1/models").json()["data"]] == ["b"]
    house.models["a"] = gone
    reload(house)
    assert house.ask("a").who == "a"
    house.assert_one_awake()


def test_a_new_hook_and_port_of_the_awake_model_hold_after_its_old_hooks_put_it_to_sleep(
    build: Build,
) -> None:
    """The backend on the old port sleeps by the old hook, the next one is on the new port."""
    house = build("a").start()
    assert house.ask("a").who == "a"
    house.ports["a"] = free_port()
    house.models["a"] = {
        "port": house.ports["a"],
        "wake": house.wake("a", before=house.noted("new-wake")),
        "sleep": house.sleep("a", before=house.noted("new-sleep")),
    }
    told = reload(house)
    assert told["changed"] == "models.a.port, models.a.wake, models.a.sleep"
    house.logged("model_renewed", model="a")
    assert house.ask("a").who == "a"
    hooks = house.hooks()
    assert hooks.index("sleep-end a") < hooks.index("new-wake a")
    assert "new-sleep a" not in hooks
    house.assert_one_awake()


def test_hooks_and_a_port_that_change_while_llmux_is_down_hold_after_the_old_ones(
    build: Build,
) -> None:
    """Also where the model is not in the file any more: what it left awake sleeps first."""
    house = build("a", "b").start()
    assert house.ask("a").who == "a"
    assert house.stop() == 0
    house.ports["a"] = free_port()
    wake, sleep = house.wake("a"), house.sleep("a", before=house.noted("new-sleep"))
    house.models["a"] = {"port": house.ports["a"], "wake": wake, "sleep": sleep}
    house.write()
    house.start()
    house.logged("model_retired", model="a", error="")
    assert house.ask("a").who == "a"
    assert house.hooks()[-1] == "wake-end a"
    assert house.hooks().count("sleep-end a") == 1
    assert "new-sleep a" not in house.hooks()
    assert house.stop(SIGKILL) == -SIGKILL
    del house.models["a"]
    house.write()
    house.start()
    house.logged("model_retired", model="a", error="")
    assert house.ask("b").who == "b"
    assert "new-sleep a" in house.hooks(), "by then they were the hooks that had woken it"
    house.assert_one_awake()


def test_ready_says_which_model_of_no_config_a_start_waits_for(build: Build) -> None:
    """What was awake was taken out of the file, and its old hook does not put it to sleep."""
    house = build("a", "b")
    house.models["a"]["sleep"] = "exit 3"
    house.start()
    assert house.ask("a").who == "a"
    assert house.stop() == 0
    del house.models["a"]
    house.write()
    house.launch()
    house.logged("model_retired", model="a")
    [problem] = house.get("/ready").json()["problems"]
    assert (problem["model"], problem["phase"], problem["hook"]) == ("a", "starting", "sleep")
    assert "exit code 3" in problem["why"]
    assert f"port {house.ports['a']} refuses" in problem["why"]
    pid = (house.folder / f"{house.ports['a']}.pid").read_text()
    os.kill(int(pid), SIGKILL)  # as an operator would who has read that
    until(house.ready, "the start goes on")
    assert house.ask("b").who == "b"


def test_a_model_that_a_reload_adopts_is_known_to_the_next_life(build: Build) -> None:
    """With the hooks that it had then, on the port on which it was found."""
    house = build("a", "b")
    found = house.models.pop("b")
    house.start()
    environment = house.environment() | {"LLMUX_MODEL": "b", "LLMUX_PORT": str(found["port"])}
    subprocess.run(["sh", "-c", found["wake"]], env=environment, check=True)
    house.models["b"] = found
    reload(house)
    house.logged("model_activated", model="b")
    house.models["b"] = found | {"wake": "exit 1"}
    house.write()
    assert house.stop(SIGKILL) == -SIGKILL
    house.start()
    house.logged("model_retired", model="b", error="")
    assert house.ask("a").who == "a"
    house.assert_one_awake()


def test_a_broken_file_changes_nothing_and_the_log_says_why(build: Build) -> None:
    """Whatever is wrong with it, the gateway goes on as it was, and a good file is followed."""
    house = build("a").start()
    house.ask("a")
    good = house.config()
    path = house.folder / "config.yaml"
    (house.folder / "stops.py").write_text("raise KeyboardInterrupt\n")
    (house.folder / "leaves.py").write_text(
        "from llmux.policy import FifoPolicy\n"
        "class Leaves(FifoPolicy):\n"
        "    def request_timeout(self): raise SystemExit(3)\n"
    )
    for text, why in (
        (json.dumps(good | {"policy": {"name": "./stops.py"}}), "KeyboardInterrupt"),
        (json.dumps(good | {"policy": {"name": "./leaves.py"}}), "raised SystemExit(3)"),
        ("models: [", f"{path}:2:1: this is not YAML"),
        ("", "the file is empty"),
        (json.dumps(good | {"bounds": {"max_quee": 3}}), "max_queue"),
        (json.dumps(good | {"policy": {"name": "fifo", "options": {"no": 1}}}), f"{path}:1:"),
        (json.dumps(good | {"policy": {"name": "fofi"}}), "fifo"),
        (json.dumps(good | {"auth": {"keys": [{"env": "LLMUX_NOT_SET"}]}}), "LLMUX_NOT_SET"),
    ):
        told = reload(house, "config_rejected", text)
        assert why in told["error"], told
        assert told["level"] == "ERROR"
    path.unlink()
    house.tell(SIGHUP)
    assert "no such file" in house.logged("config_rejected", 9)[-1]["error"]
    assert house.metric("llmux_config_reloads_total", result="failure") == 9
    assert house.metric("llmux_config_reloads_total", result="success") == 0
    assert house.ask("a").who == "a"
    assert house.wakes() == ["a"]
    assert reload(house)["changed"] == ""


def test_what_needs_a_restart_is_named_and_stays(build: Build) -> None:
    """The rest of the file is followed; a model may not take the port that is still ours."""
    house = build("a").start()
    port, other = house.port, free_port()
    config = house.config() | {"bounds": {"max_queue": 5}}
    told = reload(house, text=json.dumps(config | {"port": other, "state": "off"}))
    assert (told["restart"], told["changed"]) == ("port, state", "bounds.max_queue")
    assert house.ask("a").who == "a"
    config["models"] = {"a": config["models"]["a"] | {"port": port}}
    told = reload(house, "config_rejected", json.dumps(config | {"port": other}))
    assert "until a restart" in told["error"]


def test_keys_bounds_and_the_log_follow_at_once(build: Build) -> None:
    """A key that is taken back opens nothing any more, and no restart was needed."""
    house = build("a").start()
    house.ask("a")
    house.extra = {"auth": {"keys": ["first-key"]}, "bounds": {"max_body_bytes": 300}}
    told = reload(house)
    assert told["changed"] == "bounds.max_body_bytes, auth.keys"
    assert house.ask("a").status == 401
    key = {"authorization": "Bearer first-key"}
    assert house.ask("a", headers=key).who == "a"
    assert house.ask("a", headers=key, much="x" * 300).status == 413
    house.extra = {"log": {"level": "error"}}
    house.write()
    house.tell(SIGHUP)
    until(lambda: house.ask("a", much="x" * 300).status == 200, "the bound is lifted")
    house.extra = {}
    house.write()


def test_a_policy_is_built_anew_when_its_file_has_changed(build: Build) -> None:
    """The next decision is the new policy's."""
    house = build("a", "b")
    house.policy = {"name": "./mine.py"}
    code = (
        "from llmux.policy import SwitchPolicy, SwitchNow, Skip\n"
        "class Mine(SwitchPolicy):\n"
        "    def on_pending_request(self, context):\n"
        "        return {}\n"
    )
    (house.folder / "mine.py").write_text(code.format("Skip(ask_again=1000)"))
    house.start()
    asked = house.queue("a", "one")
    (house.folder / "mine.py").write_text("class Mine:\n")
    assert "mine.py" in reload(house, "config_rejected")["error"]
    (house.folder / "mine.py").write_text(code.format("SwitchNow()"))
    assert reload(house)["changed"] == "the policy's file"
    assert asked.result(60).who == "a"


def test_twice_in_a_row_and_in_the_middle_of_a_switch(build: Build) -> None:
    """The last file holds; the switch goes on, and nothing is woken beside another."""
    house = build("a", "b")
    gate = house.folder / "gate"
    slow = f"while [ ! -e '{gate}' ]; do sleep 0.01; done"
    house.models["b"]["wake"] = house.wake("b", before=slow)
    house.start()
    house.ask("a")
    asked = house.send("b")
    house.wait_hook("wake-begin b")
    house.models["b"]["wake"] = house.wake("b", before=house.noted("new-wake"))
    add(house, "c")
    house.write()
    for _ in range(5):
        house.tell(SIGHUP)
    house.logged("config_reloaded")
    gate.touch()
    assert asked.result(60).who == "b", "the wake that ran is completed"
    house.logged("model_renewed", model="b")
    assert house.ask("b").who == "b"
    assert "new-wake b" in house.hooks()
    assert house.ask("c").who == "c"
    house.assert_one_awake()


def test_a_mended_sleep_hook_ends_a_quarantine(build: Build) -> None:
    """No restart: the new hook is tried at once."""
    house = build("a", "b")
    good = house.models["a"]["sleep"]
    house.models["a"]["sleep"] = "exit 1"
    house.models["a"]["alive"] = f"test ! -e '{house.folder}/sick'"
    house.extra = {"health": {"breaker_min_secs": 600, "breaker_max_secs": 600}}
    house.start()
    house.ask("a")
    (house.folder / "sick").touch()
    asked = house.send("b")
    house.logged("model_quarantined", model="a")
    house.models["a"]["sleep"] = good
    reload(house)
    assert asked.result(60).who == "b"
    house.assert_one_awake()


def test_a_model_that_is_to_go_sleeps_before_llmux_ends(build: Build) -> None:
    """The next start would not know how to put it to sleep; during the end no file is read."""
    house = build("a", "b").start()
    held = house.hold("a", "long")
    house.models.pop("a")
    reload(house)
    house.tell(SIGTERM)
    until(lambda: house.get("/ready").status == 503, "it stops")
    house.tell(SIGHUP)
    house.release("long")
    assert held.result(60).who == "a"
    assert house.ended() == 0
    assert "sleep-end a" in house.hooks()
    assert len(house.events("config_reloaded")) == 1


def test_a_config_that_cannot_be_read_to_its_end_holds_nothing_up(build: Build) -> None:
    """It is a pipe without a writer now: the gateway serves, and ends when it is told to."""
    house = build("a").start()
    config = house.folder / "config.yaml"
    config.unlink()
    os.mkfifo(config)
    house.tell(SIGHUP)
    assert house.ask("a").who == "a"
    assert house.stop() == 0


@pytest.mark.parametrize("delay", [0.15, 0.3, 0.45, 0.6])
def test_a_hangup_in_the_middle_of_the_start_is_not_lost(build: Build, delay: float) -> None:
    """Whenever the file is changed and SIGHUP sent, what stands in it then holds in the end."""
    house = build("a", "b")
    taken = house.models.pop("b")
    process = house.launch()
    time.sleep(delay)  # the moment is the point: any will do
    house.models["b"] = taken
    house.write(name="new").replace(house.folder / "config.yaml")
    house.tell(SIGHUP)

    def known() -> bool:
        return process.poll() is not None or "gateway_started" in house.words()

    until(known, "it is seen how the start ends")
    if process.poll() is not None:  # Python itself had not got as far as to our `main`
        assert process.poll() == -SIGHUP
        house.launch()
    until(house.ready, "the gateway gets ready")
    until(lambda: b'"b"' in house.get("/v1/models").body, "the new file holds")
    assert house.ask("b").who == "b"


def test_reloads_under_load_lose_nobody(build: Build) -> None:
    """Models come and go, hooks and limits change: whoever asks is answered, or told 404."""
    house = build("a", "b", "c").start()
    every = dict(house.models)
    asked = []
    for turn in range(9):
        asked += [house.send(model) for model in "abcab"]
        house.models = dict(every)
        house.models["a"] |= {"max_in_flight": turn % 3 or None}
        if turn % 2:
            del house.models["c"]
        if turn % 4 == 1:
            house.models["b"] |= {"sleep": f"{every['b']['sleep']}\n# {turn}"}
        house.policy = {"name": ("fifo", "balance")[turn % 2]}
        reload(house)
    answers = [one.result(60) for one in asked]
    assert {one.status for one in answers} <= {200, 404}
    for model, answer in zip("abcab" * 9, answers, strict=True):
        if answer.status == 200:
            assert answer.who == model
        else:
            assert model == "c"
    until(lambda: not any(house.inside(one) for one in every), "nobody is left inside")
    assert house.ask("c").who == "c"
    house.assert_one_awake()
