"""The gateway as an ASGI app under a real server, and the layer around somebody else's app."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

from llmux.build import build_app
from llmux.config import load_config
from llmux.core.lane import LaneSettings
from llmux.core.ride import Pace
from llmux.core.view import Switching
from llmux.http import Limits
from llmux.http.asgi import App, Receive, Scope, Send, SwitchLayer
from llmux.http.asgi_answer import BrokenAnswerError
from llmux.policy import Decision, FifoPolicy, PolicyContext, SwitchNow, SwitchPolicy
from llmux.runtime.hooks import HookRunner, HookSpec
from llmux.runtime.switcher import ModelSwitcher
from tests.e2e.house import until
from tests.ports import free_port


def hooks(folder: Path, name: str, port: int) -> dict[str, Any]:
    """Shell commands that start and end a toy engine."""

    run = f"{sys.executable} -m llmux.demo.engine --port {port} --name {name} --load-secs 0"
    pid = folder / f"{name}.pid"
    wait = f"until curl -sf http://127.0.0.1:{port}/health >/dev/null; do sleep 0.05; done"
    return {
        "wake": f"{run} >/dev/null 2>&1 & echo $! > {pid}; {wait}",
        "sleep": f"kill -9 $(cat {pid})",
    }


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """Run an ASGI app under uvicorn in a thread; gives its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the app did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def ports() -> dict[str, int]:
    return {"a": free_port(), "b": free_port()}


def test_build_app_serves_the_openai_client_under_uvicorn(
    tmp_path: Path, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both models answer by their names, streamed too; own routes and errors are the gateway's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    models = {name: {"port": port, **hooks(tmp_path, name, port)} for name, port in ports.items()}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"models": models, "health": {"on_shutdown": "sleep"}}))
    app, switcher = build_app(load_config(path).config)
    with served(app) as base:
        client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
        messages: Any = [{"role": "user", "content": "Who are you?"}]
        for name in ("a", "b", "a"):
            whole = client.chat.completions.create(model=name, messages=messages)
            assert whole.model == name
            stream = client.chat.completions.create(model=name, messages=messages, stream=True)
            pieces = [chunk.model for chunk in stream]
            assert set(pieces) == {name}
            assert len(pieces) > 2
        assert [model.id for model in client.models.list()] == ["a", "b"]
        with pytest.raises(openai.NotFoundError, match="not found"):
            client.chat.completions.create(model="zz", messages=messages)
        assert switcher.active_model() == "a"
        with pytest.raises(openai.NotFoundError, match="'zz' not found"):
            hint = {"x-llmux-next": "zz"}
            client.chat.completions.create(model="a", messages=messages, extra_headers=hint)
        hint = {"x-llmux-next": "b"}
        client.chat.completions.create(model="a", messages=messages, extra_headers=hint)
        until(lambda: switcher.active_model() == "b", "the announced model is woken")


def test_the_layer_hands_on_what_names_no_model(tmp_path: Path, ports: dict[str, int]) -> None:
    """Somebody else's app goes on getting its own requests, bodies included."""
    specs = [HookSpec(name, port, **hooks(tmp_path, name, port)) for name, port in ports.items()]
    runner = HookRunner(specs)
    seen: list[bytes] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            for name in ports:
                await runner.run_sleep(name)
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"mine"})

    app: App = SwitchLayer(other, ModelSwitcher(runner, FifoPolicy()))
    with served(app) as base:
        client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
        messages: Any = [{"role": "user", "content": "Who are you?"}]
        assert client.chat.completions.create(model="b", messages=messages).model == "b"

        body = b'{"model": "theirs"}'
        with urllib.request.urlopen(f"{base}/elsewhere", data=body) as answer:
            assert (answer.status, answer.read()) == (201, b"mine")
    assert seen == [body]


async def test_a_client_that_leaves_gives_its_place_back(tmp_path: Path) -> None:
    """It waited for a model that takes long to wake; nobody waits afterwards."""
    runner = HookRunner([HookSpec("a", free_port(), "sleep 60", "true")])
    switcher = ModelSwitcher(runner, FifoPolicy())

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the request names a model")

    layer = SwitchLayer(other, switcher)
    body = b'{"model": "a"}'
    leave = asyncio.Event()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        raise AssertionError("nothing is to be sent")

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/completions",
        "headers": [(b"content-length", b"%d" % len(body))],
    }
    serving = asyncio.create_task(layer(scope, receive, send))
    while switcher.queue_depths() != {"a": 1}:
        await asyncio.sleep(0.01)
    leave.set()
    await serving
    assert switcher.queue_depths() == {"a": 0}
    await switcher.stop()


async def asked_through_the_layer(
    said: bytes,
    limits: Limits,
    *,
    dies: bool = False,
    breaks: bool = False,
    cuts: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Ask a backend that says so much and no more, and give what the server got to send.

    One that `dies` closes at once. With it, or where the answer `breaks`, the visible break is left
    out. `cuts` gets the reasons of answers that were cut.
    """

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(body)
        writer.write(said)
        if not dies:
            await reader.read(-1)
        writer.close()

    backend = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = backend.sockets[0].getsockname()[1]
    switcher = ModelSwitcher(HookRunner([HookSpec("a", port, "true", "true")]), FifoPolicy())
    reasons = [] if cuts is None else cuts
    body = b'{"model": "a"}'
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        await asyncio.Event().wait()
        raise AssertionError("nobody leaves")

    async def send(message: Any) -> None:
        sent.append(message)

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the request names a model")

    layer = SwitchLayer(
        other,
        switcher,
        limits_for=lambda _: limits,
        tell=lambda news: reasons.append(news.reason),
    )
    fields = [(b"content-length", b"%d" % len(body))]
    path = "/v1/chat/completions"
    scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": fields}
    try:
        with pytest.raises(BrokenAnswerError) if dies or breaks else contextlib.nullcontext():
            await layer(scope, receive, send)
    finally:
        assert switcher.in_flight_count("a") == 0
        await layer.close()
        await switcher.stop()
        backend.close()
    return sent


async def test_the_layer_bounds_a_silent_backend() -> None:
    """504 before the first byte, an error event in a stream, a visible break in all else."""
    limits = Limits(first_byte_timeout_secs=0.2, stream_idle_timeout_secs=0.2)
    start, body = await asked_through_the_layer(b"", limits)
    assert start["status"] == 504
    assert json.loads(body["body"])["error"]["code"] == "backend_timeout"

    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: "
    sse = head + b"text/event-stream\r\n\r\na\r\ndata: {}\n\n\r\n"
    start, first, last = await asked_through_the_layer(sse, limits, breaks=True)
    assert (start["status"], first["body"]) == (200, b"data: {}\n\n")
    assert b"backend_timeout" in last["body"]
    assert last["more_body"], "the exception makes the server break it"

    with pytest.raises(BrokenAnswerError, match="fell silent"):
        await asked_through_the_layer(head + b"text/plain\r\n\r\n1\r\nx\r\n", limits)


async def test_the_layer_tells_a_stream_whose_backend_died() -> None:
    """The frame leaves the body open, so that the exception makes the server break it."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    cuts: list[str] = []
    for said, told in (
        (chunked + b"a\r\ndata: {}\n\n\r\n", True),
        (chunked + b"8\r\ndata: {}\r\n", False),
        (head + b"Content-Length: 99\r\n\r\ndata: {}\n\n", False),
    ):
        sent = await asked_through_the_layer(said, Limits(), dies=True, cuts=cuts)
        assert all(one.get("more_body", True) for one in sent)
        assert (b"backend_unreachable" in sent[-1]["body"]) is told
    assert cuts == ["backend_unreachable"] * 3


async def test_the_layer_tells_a_request_that_outlasts_a_drain_before_its_first_byte() -> None:
    """The drain's bound counts it out; the client hears why, and the backend is let go."""
    gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        gone.set()
        writer.close()

    backend = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = backend.sockets[0].getsockname()[1]
    specs = [HookSpec(name, port, "true", "true") for name in ("a", "b")]
    lanes = {name: LaneSettings(name, port=port, drain_timeout=0.2) for name in ("a", "b")}
    switcher = ModelSwitcher(HookRunner(specs), FifoPolicy(), settings=lanes)
    sent: list[Any] = []

    messages = iter([{"type": "http.request", "body": b'{"model": "a"}', "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        await asyncio.Event().wait()
        raise AssertionError("nobody leaves")

    async def send(message: Any) -> None:
        sent.append(message)

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the request names a model")

    layer = SwitchLayer(other, switcher)
    fields = [(b"content-length", b"14")]
    scope: Scope = {"type": "http", "method": "POST", "path": "/v1/x", "headers": fields}
    async with asyncio.TaskGroup() as group:
        group.create_task(layer(scope, receive, send))
        while switcher.in_flight_count("a") == 0:
            await asyncio.sleep(0.01)
        await switcher.force_switch("b")
    start, body = sent
    assert start["status"] == 503
    assert json.loads(body["body"])["error"]["code"] == "drain_timeout"
    await gone.wait()
    await layer.close()
    await switcher.stop()
    backend.close()


async def test_a_request_through_the_layer_rides_free_where_its_answer_is_short() -> None:
    """While a drains for b, the layer's tickets say what `max_tokens` says, as the gateway's do."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    class Rides(SwitchPolicy):
        def on_pending_request(self, context: PolicyContext) -> Decision:
            return SwitchNow(free_ride=True)

    backend = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = backend.sockets[0].getsockname()[1]
    specs = [HookSpec(name, port, "true", "true") for name in ("a", "b")]
    switcher = ModelSwitcher(HookRunner(specs), Rides())
    switcher.board.lanes["a"].pace = Pace(usual=1.0, slowest=1.0)

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the request names a model")

    async def send(message: Any) -> None:
        raise AssertionError("nobody answers")

    layer = SwitchLayer(other, switcher)

    def ask(model: str, tokens: int) -> asyncio.Task[None]:
        body = b'{"model": "%s", "max_tokens": %d}' % (model.encode(), tokens)
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in messages:
                return message
            await asyncio.Event().wait()
            raise AssertionError("nobody leaves")

        fields = [(b"content-length", b"%d" % len(body))]
        scope: Scope = {"type": "http", "method": "POST", "path": "/v1/x", "headers": fields}
        return asyncio.create_task(layer(scope, receive, send))

    async def until(moment: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not moment():
                await asyncio.sleep(0.01)

    long = ask("a", 1000)
    await until(lambda: switcher.in_flight_count("a") == 1)
    there = ask("b", 5)
    await until(lambda: switcher.state() == Switching("a", "b"))
    longer = ask("a", 5000)
    await until(lambda: switcher.queue_depths() == {"a": 1, "b": 1})
    assert switcher.in_flight_count("a") == 1, "whoever outlasts the drain waits"
    longer.cancel()
    await until(lambda: not switcher.queue_depths()["a"])
    short = ask("a", 5)
    await until(lambda: switcher.in_flight_count("a") == 2)
    for one in (long, there, short):
        one.cancel()
    await asyncio.gather(long, there, longer, short, return_exceptions=True)
    await layer.close()
    await switcher.stop()
    backend.close()
