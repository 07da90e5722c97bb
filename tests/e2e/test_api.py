"""The HTTP side as a client meets it: each status, the own paths, and the names that are fixed."""

from __future__ import annotations

import pytest

from tests.conftest import Need
from tests.e2e.conftest import Build
from tests.e2e.house import House, until

METRICS = {
    "llmux_switch_total": {"from", "to", "result"},
    "llmux_switch_duration_seconds_sum": {"from", "to"},
    "llmux_switch_drain_duration_seconds_count": {"from", "to"},
    "llmux_model_active_duration_seconds_sum": {"model"},
    "llmux_switch_cost_ema_seconds": {"from", "to"},
    "llmux_request_queue_depth": {"model"},
    "llmux_request_queue_wait_seconds_count": {"model"},
    "llmux_model_in_flight": {"model"},
    "llmux_requests_total": {"model", "status"},
    "llmux_request_duration_seconds_sum": {"model", "status"},
    "llmux_hook_duration_seconds_count": {"model", "hook"},
    "llmux_hook_failures_total": {"model", "hook"},
}


def test_a_request_is_answered_by_the_model_it_names(house: House) -> None:
    """Path, query, method, fields and body arrive as they were sent; Host is the backend's."""
    house.start()
    path = "/v1/x%2Fy/../z?a=%20b&c"
    answer = house.request("PUT", path, house.payload("b", {}), {"Authorization": "Bearer k"})
    assert answer.who == "b"
    told = answer.json()
    assert told["start"] == f"PUT {path} HTTP/1.1"
    fields = {name.lower(): value for name, value in told["fields"]}
    assert fields["host"] == f"127.0.0.1:{house.ports['b']}"
    assert fields["authorization"] == "Bearer k"


def test_streams_come_piece_by_piece(house: House) -> None:
    """The first word is there while the second has not been thought of."""
    house.start()
    stream = house.open("a", stream=True, words=2, hold_rest="second")
    assert b"a1 " not in stream.read_until(b"a0 ")
    house.release("second")
    assert b"a1 " in stream.read_until(b"data: [DONE]")
    assert stream.read_to_end().startswith(b"HTTP/1.1 200 ")


def test_each_status_has_its_cause(house: House) -> None:
    """The statuses and bodies of the contract, with OpenAI's four error fields."""
    house.policy["request_timeout_secs"] = 4
    house.models["b"]["wake"] = "exit 1"
    house.start()
    held = house.hold("a", "a1")
    cases = [
        (404, "model_not_found", house.ask("no-such-model")),
        (404, "model_not_found", house.ask(None)),
        (404, "model_not_found", house.request("POST", "/v1/x", b"no json")),
        (404, "model_not_found", house.request("POST", "/v1/x", b'{"model": 7}')),
        (404, "model_not_found", house.request("GET", "/favicon.ico")),
        (504, "queue_timeout", house.ask("b")),
    ]
    house.release("a1")
    assert held.result(60).status == 200
    cases += [
        (500, "hook_failed", house.ask("b")),
        (502, "backend_unreachable", house.ask("c", hang_up=True)),
    ]
    for status, code, answer in cases:
        assert (answer.status, answer.error["code"]) == (status, code), answer
        assert set(answer.error) == {"message", "type", "param", "code"}
        assert answer.error["type"] == "llmux_error"
        assert answer.headers["x-llmux-error"] == "1"
        assert answer.headers["x-request-id"]
    assert "not found" in cases[0][2].error["message"]
    for index in (5, 6):
        assert cases[index][2].headers["x-should-retry"] == "false"
    for bad in (b"no http at all\r\n\r\n", b"POST /v1/x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"):
        assert house.raw(bad).startswith(b"HTTP/1.1 400 ")


def test_a_backend_that_hangs_up_or_dies_before_its_answer_is_502(build: Build) -> None:
    """And one that dies in the middle shows an answer that is not complete."""
    house = build("a", "b")
    house.extra["health"] = {"rescue": False}
    house.start()
    for how in ({"hang_up": True}, {"die": "before"}):
        failed = house.ask("a", **how)
        assert (failed.status, failed.error["code"]) == (502, "backend_unreachable"), how
    assert house.ask("b").who == "b"
    stream = house.open("b", stream=True, words=5, die="middle")
    stream.read_until(b"b1 ")
    assert b"data: [DONE]" not in stream.read_to_end()
    assert not stream.taken.endswith(b"\r\n0\r\n\r\n")
    until(lambda: house.inside("b") == 0, "it is not in flight any more")


def test_what_a_backend_says_is_what_the_client_hears(house: House) -> None:
    """A status of the backend's is not ours to change, once it has answered since its wake."""
    house.start()
    for status in (200, 400, 401, 404, 429, 500, 503):
        answer = house.ask("a", status=status)
        assert answer.status == status
        assert "x-llmux-error" not in answer.headers


def test_a_backend_that_still_loads_is_asked_again(house: House) -> None:
    """Open is not awake: a port that is not open yet and a 503 after a wake reach nobody."""
    house.models["a"]["wake"] = house.wake("a", options="--late 0.5")
    (house.folder / "a.loading").touch()
    house.start()
    asked = house.send("a", tag="a1")
    until(lambda: house.seen().count("a done a1") >= 2, "it was refused twice with 503")
    assert not asked.done()
    (house.folder / "a.loading").unlink()
    assert asked.result(60).who == "a"
    (house.folder / "a.loading").touch()
    assert house.ask("a").status == 503, "later the backend's word counts"


def test_the_list_of_models_touches_no_backend(build: Build) -> None:
    """Sorted, in OpenAI's shape, with the state that other tools show as a dot."""
    house = build("zeta", "facebook/opt-125m", "alpha").start()
    assert house.get("/v1/models").json() == {
        "object": "list",
        "data": [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "llmux",
                "status": {"value": "unloaded"},
            }
            for name in ("alpha", "facebook/opt-125m", "zeta")
        ],
    }
    for path in ("/v1/models/facebook/opt-125m", "/v1/models/facebook%2Fopt-125m"):
        assert house.get(path).json()["id"] == "facebook/opt-125m"
    assert house.get("/v1/models/none").status == 404
    house.ask("alpha")
    assert house.get("/v1/models/alpha").json()["status"] == {"value": "loaded"}
    assert house.wakes() == ["alpha"]


def test_own_paths_answer_while_a_switch_hangs(house: House) -> None:
    """Nothing that only reads waits for a model."""
    house.models["a"]["wake"] = f"{house.noted('wake-begin')}; sleep 3600"
    house.start()
    left = house.open("a")
    house.wait_hook("wake-begin a")
    for path in ("/v1/models", "/health", "/ready", "/metrics", "/"):
        assert house.get(path).status == 200, path
    assert house.get("/v1/models/a").json()["status"] == {"value": "loading"}
    assert house.ask("none").status == 404
    left.leave()


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/v1/messages", "anthropic"), ("/api/chat", "ollama"), ("/v1/chat/completions", "openai")],
)
def test_errors_speak_the_dialect_of_their_path(house: House, path: str, shape: str) -> None:
    """A client that parses errors strictly finds the shape it knows."""
    house.start()
    told = house.ask("none", path=path).json()
    if shape == "anthropic":
        assert (told["type"], told["error"]["type"]) == ("error", "not_found_error")
    elif shape == "ollama":
        assert "not found" in told["error"]
    else:
        assert told["error"]["code"] == "model_not_found"


def test_a_request_can_be_followed_by_its_id(house: House) -> None:
    """The client's id goes to the backend and comes back; without one we make one."""
    house.start()
    mine = house.ask("a", headers={"X-Request-Id": "mine-7"})
    seen = {name.lower(): value for name, value in mine.json()["fields"]}
    assert mine.headers["x-request-id"] == seen["x-request-id"] == "mine-7"
    made = house.ask("a")
    seen = {name.lower(): value for name, value in made.json()["fields"]}
    assert made.headers["x-request-id"] == seen["x-request-id"]
    theirs = house.ask("a", answer_headers={"X-Request-Id": "theirs"})
    assert theirs.headers["x-request-id"] == "theirs"


def test_metrics_have_their_fixed_names_and_labels(house: House) -> None:
    """A dashboard made for 2.4.0 finds each of its series."""
    house.models["c"]["wake"] = "exit 1"
    house.start()
    for name in "abac":
        house.ask(name)
    lines = [line for line in house.metrics().splitlines() if line.startswith("llmux_")]
    found: dict[str, set[str]] = {}
    for line in lines:
        name, _, rest = line.partition("{")
        labels = {pair.partition("=")[0] for pair in rest.partition("}")[0].split(",") if pair}
        found.setdefault(name.partition(" ")[0], labels)
    for name, labels in METRICS.items():
        assert found.get(name) == labels, name
    assert house.metric("llmux_requests_total", model="a", status="200") == 2
    assert house.metric("llmux_requests_total", model="c", status="500") == 1
    assert house.metric("llmux_request_queue_wait_seconds_count", model="a") == 2
    assert house.waiting("a") == house.inside("a") == 0


def test_promtool_finds_nothing_to_say_about_the_metrics(house: House, need: Need) -> None:
    """What is scraped from a gateway that has worked is as Prometheus wants it."""
    import subprocess  # noqa: PLC0415 -- only this story needs it

    promtool = need("promtool")
    house.start()
    for name in "ab":
        house.ask(name)
    told = subprocess.run(
        [promtool, "check", "metrics"],
        input=house.metrics(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stdout + told.stderr) == (0, "")


def test_log_events_have_their_fixed_names_and_fields(house: House) -> None:
    """A query made for 2.4.0's log finds each of its events."""
    house.policy["request_timeout_secs"] = 4
    house.models["c"] |= {"wake": "echo why >&2; exit 3", "request_timeout_secs": None}
    house.models["b"]["sleep"] = f"{house.sleep('b')}; exit 5"
    house.start()
    held = house.hold("a", "a1")
    assert house.ask("b").status == 504
    house.release("a1")
    assert held.result(60).status == 200
    for name in "bac":
        house.ask(name)
    wanted = {
        "switch_started": {"from", "to"},
        "model_activated": {"model", "from", "duration_secs"},
        "switch_failed": {"model", "from", "error"},
        "sleep_hook_failed": {"model", "to", "error"},
        "request_timeout": {"model", "timeout_secs"},
        "hook_completed": {"model", "hook", "duration_secs"},
        "hook_failed": {"model", "hook", "exit_code", "duration_secs", "stderr"},
    }
    for event, fields in wanted.items():
        assert fields <= set(house.logged(event)[0]), event
