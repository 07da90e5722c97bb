"""What llmux 2.4.0 does wrong and we do right, seen from outside; each story fails on 2.4.0.

`LLMUX_ORIGINAL=/path/to/llmux pytest tests/e2e/test_faults.py` shows it: what a library user only
could provoke there (a policy of one's own) is marked so. The numbers are those of the list in
`docs/migration.md`.
"""

from __future__ import annotations

import http.client
import json
import socket

import pytest

from tests.e2e.house import House, name_of, until


def test_1_first_come_first_served_over_three_busy_models(house: House) -> None:
    """Who has waited longest is served next, whatever was asked before.

    2.4.0 wakes a b c a c b: a switch task that `c`'s second request left behind, although that
    request was served long ago, takes the place of `b`'s, which waits longer than `c`'s third.
    """
    house.start()
    asked = [house.hold("a", "a1")]
    asked.append(house.queue("b", "b1", hold="b1"))
    asked.append(house.queue("c", "c1", hold="c1"))
    asked.append(house.queue("a", "a2", hold="a2"))
    asked.append(house.queue("c", "c2", hold="c2"))
    house.release("a1")
    house.wait_seen("b got b1")
    house.release("b1")
    house.wait_seen("c got c2")
    asked.append(house.queue("b", "b2"))
    asked.append(house.queue("c", "c3"))
    house.release("c1", "c2")
    house.wait_seen("a got a2")
    house.release("a2")
    assert {one.result(60).status for one in asked} == {200}
    assert house.wakes() == ["a", "b", "c", "a", "b", "c"]
    house.assert_one_awake()


def test_2_a_model_serves_until_its_drain_begins(house: House) -> None:
    """While the cool-down keeps `a` awake it also works; `b` waits for it to be over.

    2.4.0 says `switching` from the first request for `b` on, and `a`'s next request waits until
    somebody switches back.
    """
    house.policy["min_active_secs"] = 4
    house.start()
    house.ask("a")
    asked = house.queue("b", "b1")
    again = house.send("a", tag="again")
    assert again.result(60).who == "a"
    assert house.waiting("b") == 1 and not asked.done()
    assert asked.result(60).who == "b"
    assert house.wakes() == ["a", "b"]


def test_3_who_leaves_is_gone_and_nothing_happens_for_nobody(house: House) -> None:
    """A client that hung up waits no more, and no switch is made for it.

    2.4.0 keeps it in the queue, shows it as depth, and puts `a` to sleep for it.
    """
    house.start()
    held = house.hold("a", "a1")
    left = house.open("b")
    until(lambda: house.waiting("b") == 1, "b's request waits")
    left.leave()
    until(lambda: house.waiting("b") == 0, "b's request is out of the queue")
    house.release("a1")
    assert held.result(60).who == "a"
    assert house.ask("a", tag="a2").who == "a"
    assert house.wakes() == ["a"]
    assert house.hooks().count("sleep-begin a") == 0


def test_3_who_timed_out_is_gone(house: House) -> None:
    """A request that was answered 504 waits no more, and no switch is made for it.

    2.4.0 keeps it in the queue, shows it as depth, and puts `a` to sleep for it.
    """
    house.policy["request_timeout_secs"] = 1
    house.start()
    held = house.hold("a", "a1")
    late = house.ask("b")
    assert late.status == 504
    assert house.waiting("b") == 0
    house.release("a1")
    assert held.result(60).who == "a"
    assert house.ask("a", tag="a2").who == "a"
    assert house.wakes() == ["a"]


def test_4_a_scheduler_wakes_a_model_that_nobody_waits_for(house: House) -> None:
    """A policy's tick is obeyed with empty queues.

    A 2.4.0 policy is compiled in; there `do_switch` returns when the target's queue is empty.
    """
    (house.folder / "early.py").write_text(
        "from llmux.policy import FifoPolicy\n"
        "class Early(FifoPolicy):\n"
        "    def scheduler_interval(self): return 0.05\n"
        "    def schedule_tick(self, context): return 'b'\n"
    )
    house.policy["name"] = "./early.py"
    house.start()
    house.wait_hook("wake-end b")
    assert house.logged("model_activated")[0]["model"] == "b"
    assert house.seen() == []


def test_6_a_wake_that_leaves_a_daemon_behind_does_not_block(house: House) -> None:
    """A server that keeps the hook's output open for life is no reason to wait.

    2.4.0 reads the output to its end, which comes when the server dies: never.
    """
    house.models["a"]["wake"] = house.wake("a", options="--loud")
    house.start()
    assert house.ask("a").who == "a"
    assert house.ask("b").who == "b"
    assert house.wakes() == ["a", "b"]


def test_6_a_wake_that_hangs_ends_at_its_bound(house: House) -> None:
    """A hook without end is ended with all it started, and its waiters hear of it.

    2.4.0 waits for ever and knows no `wake_timeout_secs`.
    """
    house.models["a"] |= {
        "wake": f"{house.noted('wake-begin')}; sleep 3600 & sleep 3600",
        "wake_timeout_secs": 0.5,
    }
    house.start()
    failed = house.ask("a")
    assert failed.status == 500
    assert failed.error["code"] == "hook_failed"
    assert house.ask("b").who == "b"
    assert len(house.logged("hook_failed", hook="wake", model="a")) == 1
    house.stop()
    assert not [pid for pid in house.survivors() if name_of(pid) == "sleep"]


def test_7_a_drain_ends_at_its_bound(house: House) -> None:
    """An answer that never ends holds nobody up for longer than `drain_timeout_secs`.

    2.4.0 waits for ever and knows no such bound.
    """
    house.extra["bounds"] = {"drain_timeout_secs": 0.5}
    house.start()
    endless = house.open("a", tag="a1", stream=True, words=1, hold_rest="never")
    endless.read_until(b"a0 ")
    assert house.ask("b").who == "b"
    assert b"data: [DONE]" not in endless.read_to_end()
    house.assert_one_awake()


def test_8_a_broken_model_is_left_alone_for_a_while_and_others_are_not(house: House) -> None:
    """The breaker after a failed wake is that model's own.

    2.4.0 makes every switch wait for two seconds, `b`'s as well as `a`'s.
    """
    house.models["a"]["wake"] = f"{house.noted('wake-begin')}; exit 3"
    house.start()
    first = house.send("a")
    assert first.result(60).status == 500
    refused = house.send("a").result(60)
    assert refused.status == 503, "its breaker is open"
    assert house.ask("b").who == "b"
    assert house.wakes() == ["a", "b"], "b went before a was tried again"


def test_9_a_skip_is_reconsidered_when_the_world_has_changed(house: House) -> None:
    """A policy that says "not while it works" is asked again when the work is done.

    A 2.4.0 policy is compiled in; there it is asked once, at the arrival.
    """
    (house.folder / "polite.py").write_text(
        "from llmux.policy import FifoPolicy, Skip, SwitchNow\n"
        "class Polite(FifoPolicy):\n"
        "    def on_pending_request(self, context):\n"
        "        return Skip(ask_again=600) if context.active_in_flight else SwitchNow()\n"
    )
    house.policy["name"] = "./polite.py"
    house.start()
    held = house.hold("a", "a1")
    asked = house.queue("b", "b1")
    assert house.ask("a", tag="a2").who == "a", "a still serves: nothing has begun"
    house.release("a1")
    assert held.result(60).who == "a"
    assert asked.result(60).who == "b"


def test_10_the_learned_cost_is_that_of_the_hooks(house: House) -> None:
    """Neither the cool-down nor the drain makes a switch look dear.

    2.4.0 learns the whole time, here more than two seconds above what the hooks took.
    """
    house.policy["min_active_secs"] = 1
    for name, model in house.models.items():  # one that always agrees costs a second more
        model["alive"] = f"curl -s -o /dev/null http://127.0.0.1:{house.ports[name]}/health"
    house.start()
    held = house.hold("a", "a1")
    asked = house.queue("b", "b1")
    with pytest.raises(TimeoutError):
        asked.result(2.5)
    house.release("a1")
    assert (held.result(60).who, asked.result(60).who) == ("a", "b")
    learned = house.metric("llmux_switch_cost_ema_seconds", **{"from": "a", "to": "b"})
    slept = house.metric("llmux_hook_duration_seconds_sum", model="a", hook="sleep")
    woken = house.metric("llmux_hook_duration_seconds_sum", model="b", hook="wake")
    whole = house.metric("llmux_switch_duration_seconds_sum", **{"from": "a", "to": "b"})
    drain = house.metric("llmux_switch_drain_duration_seconds_sum", **{"from": "a", "to": "b"})
    assert learned and slept and woken and whole and drain
    assert learned == pytest.approx(slept + woken, abs=0.01)
    assert drain >= 1.4
    assert whole == pytest.approx(drain + learned, abs=0.3)


def test_11_names_that_clients_invent_do_not_become_labels(house: House) -> None:
    """Whatever a client calls a model, the metrics know only those of the config.

    2.4.0 keeps every name it ever heard, for ever.
    """
    house.start()
    connection = http.client.HTTPConnection("127.0.0.1", house.port)
    for number in range(500):
        connection.request("POST", "/v1/completions", json.dumps({"model": f"no-such-{number}"}))
        answer = connection.getresponse()
        assert (answer.status, b"not found" in answer.read()) == (404, True)
    connection.close()
    assert "no-such-" not in house.metrics()
    assert house.metric("llmux_requests_total", model="", status="404") == 500


def test_12_what_a_hook_says_stays_in_the_house(house: House) -> None:
    """The output of a hook, which may hold paths and keys, goes to the log and to no client.

    2.4.0 sends it to every client that waited.
    """
    house.models["a"]["wake"] = "echo the key is s3cret >&2; exit 7"
    house.start()
    failed = house.ask("a")
    assert failed.status == 500
    assert b"s3cret" not in failed.body
    told = house.logged("hook_failed", model="a", hook="wake", exit_code=7)[0]
    assert told["stderr"].strip() == "the key is s3cret"


def test_13_fields_about_a_connection_end_with_it(house: House) -> None:
    """What `Connection` names, and the fields that belong to one hop, go no further, both ways.

    2.4.0 hands them on.
    """
    house.start()
    sent = {
        "Connection": "keep-alive, X-Mine",
        "X-Mine": "1",
        "Keep-Alive": "timeout=9",
        "Proxy-Connection": "keep-alive",
        "TE": "trailers",
        "X-Kept": "yes",
    }
    back = {"Connection": "X-Theirs", "X-Theirs": "1", "Keep-Alive": "timeout=5", "X-Kept": "too"}
    answer = house.ask("a", headers=sent, answer_headers=back)
    seen = {name.lower(): value for name, value in answer.json()["fields"]}
    assert {"x-mine", "keep-alive", "proxy-connection", "te"} & set(seen) == set()
    assert seen["x-kept"] == "yes"
    assert seen["host"] == f"127.0.0.1:{house.ports['a']}"
    assert {"x-theirs", "keep-alive"} & set(answer.headers) == set()
    assert answer.headers["x-kept"] == "too"


def test_14_only_this_machine_can_come_in(house: House) -> None:
    """Without `host` nothing but 127.0.0.1 is bound.

    2.4.0 listens on all addresses, of which 127.0.0.2 is one.
    """
    house.start()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", house.port), timeout=5).close()


def test_15_own_paths_wake_nobody(house: House) -> None:
    """Whatever the body says, a path of our own is answered by ourselves.

    2.4.0 wakes the model that the body names, and forwards to it.
    """
    house.start()
    naming = house.payload("a", {})
    for path in ("/metrics", "/v1/models", "/v1/models/a", "/health", "/ready", "/"):
        assert house.request("GET", path, naming).status == 200, path
        assert house.request("POST", path, naming).status == 405, path
    assert house.ask("b").who == "b"
    assert house.wakes() == ["b"]


def test_16_one_deadline_over_everything(house: House) -> None:
    """A request's time runs from its arrival over the queue, the wake and a loading backend.

    2.4.0 starts its time-out anew with each retry, and has none once the wake hook has ended:
    what a backend says while it loads goes straight to the client.
    """
    house.policy["request_timeout_secs"] = 5
    house.models["a"]["wake"] = house.wake("a", before="sleep 3")
    (house.folder / "a.loading").touch()
    house.start()
    answer = house.ask("a")
    assert answer.status in {503, 504}
    assert house.seen().count("a got -") > 1, "it was tried again while it loaded"
    assert answer.seconds < 7.8, "five seconds in all, and not five more after the wake"
