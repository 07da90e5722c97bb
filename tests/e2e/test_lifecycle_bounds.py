"""Every wait and every queue has a bound, and who meets one is told so in his own language."""

from __future__ import annotations

import json
import threading

import pytest

from tests.e2e.conftest import Build
from tests.e2e.house import House, until


def test_a_full_queue_answers_429_with_retry_after(build: Build) -> None:
    house = build("a", "b")
    house.models["b"]["max_queue"] = 1
    house.start()
    held = house.hold("a", "a1")
    waits = house.queue("b", "b1")
    refused = house.ask("b")
    assert (refused.status, refused.error["code"]) == (429, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1
    house.release("a1")
    assert held.result(60).who == "a"
    assert waits.result(60).who == "b"


def test_bodies_that_wait_beyond_max_buffered_bytes_are_answered_429(build: Build) -> None:
    """All models together, each client in his own language; what runs holds nothing."""
    house = build("a", "b", "c")
    house.extra["bounds"] = {"max_buffered_bytes": 3000}
    house.start()
    held = house.send("a", tag="a1", hold="a1", fill="x" * 2500)
    house.wait_seen("a got a1")
    waits = house.queue("b", "b1", fill="x" * 2000)
    refused = house.ask("c", fill="x" * 1000)
    assert (refused.status, refused.error["code"]) == (429, "queue_full")
    assert "max_buffered_bytes" in refused.error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    theirs = house.ask("c", path="/v1/messages", fill="x" * 1000)
    assert (theirs.status, theirs.error["type"]) == (429, "rate_limit_error")
    small = house.queue("c", "c1")
    house.release("a1")
    assert [one.result(60).who for one in (held, waits, small)] == ["a", "b", "c"]
    assert house.ask("c", fill="x" * 2500).who == "c"
    assert house.metric("llmux_requests_total", model="c", status="429") == 2


def test_max_in_flight_lets_requests_in_one_by_one_in_their_order(build: Build) -> None:
    house = build("a", "b")
    house.models["a"]["max_in_flight"] = 1
    house.start()
    asked = [house.hold("a", "a1")]
    asked += [house.queue("a", tag) for tag in ("a2", "a3", "a4")]
    assert house.inside("a") == 1
    house.release("a1")
    assert {one.result(60).status for one in asked} == {200}
    got = [line for line in house.seen() if line.startswith("a got a")]
    assert got == ["a got a1", "a got a2", "a got a3", "a got a4"]


def test_a_heavier_request_gets_the_free_place_first(build: Build) -> None:
    """Priority x age decides; the one who waited a little longer with half of it comes last."""
    house = build("a", "b")
    house.models["a"] |= {"max_in_flight": 1, "priority": 2}
    house.start()
    first = house.hold("a", "a1")
    light = house.queue("a", "light", headers={"x-llmux-priority": "0.01"})
    heavy = house.queue("a", "heavy", headers={"x-llmux-priority": "100"})
    house.release("a1")
    assert [one.result(60).status for one in (first, heavy, light)] == [200] * 3
    got = [line for line in house.seen() if line.startswith("a got ")]
    assert got == ["a got a1", "a got heavy", "a got light"]
    refused = house.ask("a", headers={"x-llmux-priority": "urgent"})
    assert refused.status == 400
    assert "not 'urgent'" in refused.error["message"]


def test_max_wait_secs_holds_under_a_policy_that_never_switches(build: Build) -> None:
    """Also while the active model is in use all the time."""
    house = build("a", "b")
    (house.folder / "never.py").write_text(
        "from llmux.policy import FifoPolicy, Skip\n"
        "class Never(FifoPolicy):\n"
        "    def on_pending_request(self, context):\n"
        "        return Skip() if context.active_model else super().on_pending_request(context)\n"
    )
    house.policy |= {"name": "./never.py", "max_wait_secs": 1}
    house.start()
    house.ask("a")
    over = threading.Event()

    def use_steadily() -> None:
        while not over.is_set():
            house.ask("a")

    users = [threading.Thread(target=use_steadily) for _ in range(3)]
    for user in users:
        user.start()
    try:
        assert house.ask("b").who == "b"
    finally:
        over.set()
        for user in users:
            user.join()
    assert house.wakes()[:2] == ["a", "b"]


def held_stream(house: House, path: str) -> bytes:
    """Open a stream on a, let b's request end its drain, and return what the client was told."""
    stream = house.open("a", path, stream=True, words=1, hold_rest="never")
    stream.read_until(b"a0 ")
    assert house.ask("b").who == "b"
    return stream.read_to_end()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_stream_that_outlasts_the_drain_is_ended_with_the_reason(build: Build, path: str) -> None:
    """The last event is an error as this path's clients read it; the answer is not whole."""
    house = build("a", "b")
    house.models["a"]["drain_timeout_secs"] = 0.5
    house.start()
    told = held_stream(house, path)
    assert not told.endswith(b"0\r\n\r\n")
    frame = told.rpartition(b"data: ")[2].partition(b"\n")[0]
    error = json.loads(frame)
    if path == "/v1/messages":
        assert b"event: error\n" in told
        assert error["type"] == "error"
        assert error["error"]["type"] == "overloaded_error"
    else:
        assert error["error"]["code"] == "drain_timeout"
    assert "drain" in error["error"]["message"]
    [cut] = house.events("drain_cut")
    assert (cut["model"], cut["requests"]) == ("a", 1)


def test_on_drain_timeout_wait_lets_the_stream_end(build: Build) -> None:
    """The bound passes, and the one who waits for b goes on waiting."""
    house = build("a", "b")
    house.models["a"]["drain_timeout_secs"] = 0.2
    house.extra["health"] = {"on_drain_timeout": "wait"}
    house.start()
    stream = house.open("a", tag="a1", stream=True, words=1, hold_rest="rest")
    stream.read_until(b"a0 ")
    first = house.queue("b", "b1", hold="b1")
    with pytest.raises(TimeoutError):
        first.result(1.0)
    assert house.wakes() == ["a"]
    house.release("rest", "b1")
    assert b"data: [DONE]" in stream.read_to_end()
    assert first.result(60).who == "b"
    assert not house.events("drain_cut")
    until(lambda: house.inside("b") == 0, "all is done")


def test_a_models_own_bounds_end_what_its_backend_leaves_unsaid(build: Build) -> None:
    """The other model may be as slow as it likes, and a cut answer holds up no switch."""
    house = build("a", "b")
    house.models["a"] |= {"first_byte_timeout_secs": 0.3, "stream_idle_timeout_secs": 0.3}
    house.start()
    silent = house.ask("a", hold="never")
    assert (silent.status, silent.error["code"]) == (504, "backend_timeout")
    stream = house.open("a", stream=True, words=1, hold_rest="never")
    told = stream.read_to_end()
    assert b"a0 " in told
    assert b"backend_timeout" in told
    assert not told.endswith(b"0\r\n\r\n")
    held = house.hold("b", "b1")
    with pytest.raises(TimeoutError):
        held.result(1.0)
    house.release("b1")
    assert held.result(60).who == "b"


def test_a_reader_that_stalls_holds_up_a_switch_no_longer_than_its_bound(build: Build) -> None:
    house = build("a", "b")
    house.extra["bounds"] = {"client_stall_timeout_secs": 0.5}
    house.start()
    stream = house.open("a", stream=True, words=60, size=1_000_000)
    stream.read_until(b"HTTP/1.1 200")
    assert house.ask("b").who == "b"
    assert b"[DONE]" not in stream.read_to_end()
    assert not house.events("drain_cut")
