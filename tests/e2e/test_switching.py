"""Switches as clients, hooks, metrics and the log see them."""

from __future__ import annotations

from itertools import pairwise
from signal import SIGINT

from tests.e2e.conftest import Build
from tests.e2e.house import House, until


def test_a_stream_ends_before_its_model_sleeps(house: House) -> None:
    """With `drain_before_switch` (the default) an answer is never cut by a switch."""
    house.start()
    stream = house.open("a", tag="a1", stream=True, words=3, hold_rest="go on")
    stream.read_until(b"a0 ")
    asked = house.queue("b", "b1")
    house.logged("switch_started", to="b")
    assert "sleep-begin a" not in house.hooks()
    assert not asked.done()
    house.release("go on")
    assert b"a2 " in stream.read_until(b"data: [DONE]")
    assert asked.result(60).who == "b"
    house.assert_one_awake()


def test_no_request_is_admitted_while_its_model_drains(house: House) -> None:
    """Who asks for the old model during the drain waits for the switch back."""
    house.start()
    held = house.hold("a", "a1")
    asked = house.queue("b", "b1")
    late = house.queue("a", "a2")
    assert "a got a2" not in house.seen()
    house.release("a1")
    assert (held.result(60).who, asked.result(60).who, late.result(60).who) == ("a", "b", "a")
    assert house.wakes() == ["a", "b", "a"]
    assert house.seen().index("b done b1") < house.seen().index("a got a2")


def test_without_drain_the_switch_does_not_wait(house: House) -> None:
    """`drain_before_switch: false` puts the model to sleep under its answers."""
    house.policy["drain_before_switch"] = False
    house.start()
    stream = house.open("a", tag="a1", stream=True, words=3, hold_rest="never")
    stream.read_until(b"a0 ")
    assert house.ask("b").who == "b"
    assert b"data: [DONE]" not in stream.read_to_end()


def test_a_cold_start_is_a_switch_from_idle(house: House) -> None:
    """Labels and events call nobody `idle`, at a start and never later while one is awake."""
    house.start()
    house.ask("a")
    house.ask("b")
    began = [(one["from"], one["to"]) for one in house.logged("switch_started", 2)]
    ended = [(one["from"], one["model"]) for one in house.logged("model_activated", 2)]
    assert began == ended == [("idle", "a"), ("a", "b")]
    for source, target in began:
        labels = {"from": source, "to": target}
        assert house.metric("llmux_switch_total", **labels, result="success") == 1
        assert house.metric("llmux_switch_duration_seconds_count", **labels) == 1
        assert house.metric("llmux_switch_cost_ema_seconds", **labels) is not None


def test_a_switch_that_nobody_waits_for_any_more_is_given_up(house: House) -> None:
    """Before the sleep hook there is a way back: the old model works again at once."""
    house.start()
    held = house.hold("a", "a1")
    left = house.open("b", tag="b1")
    until(lambda: house.waiting("b") == 1, "b's request waits")
    late = house.queue("a", "a2")
    left.leave()
    assert late.result(60).who == "a", "a is admitted to again while a1 still runs"
    assert not held.done()
    given_up = house.logged("switch_abandoned")
    assert [(one["from"], one["to"]) for one in given_up] == [("a", "b")]
    house.release("a1")
    assert held.result(60).who == "a"
    assert house.wakes() == ["a"]
    for result in ("success", "failure"):
        labels = {"from": "a", "to": "b", "result": result}
        assert not house.metric("llmux_switch_total", **labels)


def test_a_wake_that_runs_is_completed_although_its_reason_has_left(house: House) -> None:
    """Half a wake is worse than a whole one: the model is awake and serves the next request."""
    house.models["a"]["wake"] = house.wake(
        "a", before=f"while [ ! -e '{house.folder}/go on' ]; do sleep 0.01; done"
    )
    house.start()
    left = house.open("a")
    house.wait_hook("wake-begin a")
    left.leave()
    until(lambda: house.waiting("a") == 0, "the request has left")
    house.release("go on")
    house.wait_hook("wake-end a")
    assert house.ask("a").who == "a"
    assert house.wakes() == ["a"]


def test_all_who_waited_are_in_flight_before_the_next_drain(house: House) -> None:
    """Twenty requests that one wake releases are all served before the next model's turn."""
    house.start()
    held = house.hold("a", "a1")
    many = [house.queue("b", f"b{number}", hold="go on") for number in range(20)]
    other = house.queue("c", "c1")
    house.release("a1")
    assert held.result(60).who == "a"
    until(lambda: len([one for one in house.seen() if one.startswith("b got")]) == 20, "all in")
    assert house.inside("b") == 20
    house.release("go on")
    assert {one.result(60).who for one in many} == {"b"}
    assert other.result(60).who == "c"
    assert house.wakes() == ["a", "b", "c"]


def test_the_log_rebuilds_the_timeline_without_a_gap(house: House) -> None:
    """Each activation names the one before it, and the durations fit between their neighbours."""
    house.start()
    order = "abcabacb"
    for name in order:
        assert house.ask(name).who == name
    told = house.logged("model_activated", len(order))
    assert [one["model"] for one in told] == list(order)
    assert [one["from"] for one in told] == ["idle", *order[:-1]]
    assert all(before["model"] == after["from"] for before, after in pairwise(told))
    moments = [one["timestamp"] for one in told]
    assert moments == sorted(moments) and len(set(moments)) == len(moments)
    assert all(one["duration_secs"] > 0 for one in told)


def test_a_policy_of_ones_own_gets_its_options_and_decides_with_an_awaitable(build: Build) -> None:
    """A .py file beside the config: its options arrive, and its answers are obeyed."""
    house = build("a", "b")
    (house.folder / "mine.py").write_text(
        "import asyncio\n"
        "from llmux.policy import Defer, FifoPolicy\n"
        "class Mine(FifoPolicy):\n"
        "    def __init__(self, wait): self.wait = wait\n"
        "    async def on_pending_request(self, context):\n"
        "        return Defer(asyncio.sleep(self.wait), reason='a moment')\n"
    )
    house.policy |= {"name": "./mine.py", "options": {"wait": 0.05}}
    house.start()
    assert house.ask("a").who == "a"
    assert house.ask("b").who == "b"
    assert house.wakes() == ["a", "b"]


def test_a_policy_that_raises_is_told_and_read_as_fifo(build: Build) -> None:
    """A mistake in a policy costs a log line and no request, and only a real Ctrl-C is one."""
    house = build("a", "b")
    (house.folder / "bad.py").write_text(
        "from llmux.policy import FifoPolicy\n"
        "class Bad(FifoPolicy):\n"
        "    def on_pending_request(self, context):\n"
        "        raise KeyError('oh') if context.target_model == 'a' else KeyboardInterrupt\n"
    )
    house.policy["name"] = "./bad.py"
    house.start()
    assert house.ask("a").who == "a"
    assert house.ask("b").who == "b"
    first, second = house.logged("policy_fault", 2)
    assert "oh" in str(first["error"])
    assert "KeyboardInterrupt" in str(second["error"])
    assert house.stop(SIGINT) == 0


def test_who_ends_before_the_drain_rides_free(house: House) -> None:
    """What is known of lengths comes from `max_tokens`, also of an answer that has begun."""
    house.folder.joinpath("rides.py").write_text(
        "from llmux.policy import SwitchNow, SwitchPolicy\n\n\n"
        "class Rides(SwitchPolicy):\n"
        "    def on_pending_request(self, context):\n"
        "        return SwitchNow(free_ride=True)\n"
    )
    house.policy["name"] = "./rides.py"
    house.start()
    first = house.open(
        "a", tag="a1", stream=True, words=3, hold_rest="go on", max_completion_tokens=1000
    )
    first.read_until(b"a0 ")
    house.queue("b", "b1")
    house.release("go on")  # a pace is learned of an answer that was drained for
    first.read_to_end()
    house.logged("model_activated", model="b")
    long = house.send("a", tag="a2", hold="a2", max_tokens=10_000_000)
    house.wait_seen("a got a2")
    waits = house.queue("b", "b2")
    assert house.ask("a", tag="a3", max_tokens=1).who == "a"
    assert not waits.done()
    slow = house.queue("a", "a4", max_tokens=1_000_000_000)
    house.release("a2")
    assert [one.result(60).who for one in (long, waits, slow)] == ["a", "b", "a"]
    assert house.seen().index("b done b2") < house.seen().index("a got a4")


def test_a_model_that_a_client_has_announced_is_woken_before_it_is_asked_for(
    house: House,
) -> None:
    """The planner's call says `x-llmux-next: b`; the switch begins when its answer has ended."""
    house.start()
    assert house.ask("a", headers={"x-llmux-next": "b"}).who == "a"
    until(lambda: house.wakes() == ["a", "b"], "b is woken for nobody yet")
    assert house.logged("model_activated", 2)[-1]["model"] == "b"
    assert house.ask("b").who == "b"
    assert house.wakes() == ["a", "b"]
    house.assert_one_awake()
