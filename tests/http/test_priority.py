"""The header `x-llmux-priority`: read here, refused here, and none of the backend's business."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from llmux.config import AuthConfig, KeyConfig
from llmux.http.asgi import Scope, SwitchLayer
from llmux.http.keys import make_keyring
from llmux.policy import FifoPolicy
from llmux.runtime.hooks import HookRunner, HookSpec
from llmux.runtime.switcher import ModelSwitcher
from tests.http.stand import Line, Message, chat, post, stand
from tests.ports import free_port

PATH = "/v1/chat/completions"


async def test_a_request_waits_with_what_it_counts_and_the_backend_never_hears_of_it() -> None:
    heard: list[Message] = []

    async def talk(line: Line) -> None:
        while True:
            heard.append(await line.message())
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with stand(talk) as s:
        s.gate.awake.clear()
        client = await s.client()
        for field, counts in (
            ("X-LLMux-Priority: 4", 4.0),
            ("x-llmux-priority:0.5 ", 0.5),
            ("x: 1", 1.0),
        ):
            s.gate.awake.clear()
            await client.send(post(chat(), PATH, field, "x-mine: kept"))
            await s.gate.until(waiting=1)
            assert [ticket.weight for ticket in s.gate.waiting] == [counts]
            s.gate.wake("m")
            assert (await client.message()).status == 200
        assert [one.all("x-llmux-priority") for one in heard] == [[], [], []]
        assert [one.get("x-mine") for one in heard] == ["kept"] * 3


async def test_the_same_head_again_still_counts_what_it_says() -> None:
    """Heads that come again are remembered; one with a priority is read each time."""
    async with stand() as s:
        s.gate.awake.clear()
        for _ in range(3):
            client = await s.client()
            await client.send(post(chat(), PATH, "x-llmux-priority: 3"))
        await s.gate.until(waiting=3)
        assert [ticket.weight for ticket in s.gate.waiting] == [3.0] * 3


@pytest.mark.parametrize(
    "fields",
    [
        ["x-llmux-priority: high"],
        ["x-llmux-priority: 0"],
        ["x-llmux-priority:"],
        ["x-llmux-priority: 1", "x-llmux-priority: 1"],
    ],
)
async def test_a_bad_priority_is_answered_400_and_the_connection_goes_on(
    fields: list[str],
) -> None:
    async with stand() as s:
        client = await s.client()
        await client.send(post(chat(), PATH, *fields))
        answer = await client.message()
        assert answer.status == 400
        error = answer.json()["error"]
        assert isinstance(error, dict)
        assert "x-llmux-priority must be one number above 0" in error["message"]
        assert s.connects == 0
        assert not s.gate.waiting
        await client.send(post(chat()))
        assert (await client.message()).status == 200
        assert s.meters["m"].answers == [400, 200]


async def test_a_keys_priority_is_what_its_requests_count_and_the_most_they_may_say() -> None:
    def key(text: str, priority: float | None) -> KeyConfig:
        return KeyConfig("sha256", sha256(text.encode()).hexdigest(), text, None, priority)

    keys = (key("proud", 5.0), key("humble", 0.5), key("free", None))
    asked = [
        ("proud", None, 5.0),
        ("proud", "2", 2.0),
        ("proud", "50", 5.0),
        ("humble", None, 0.5),
        ("humble", "50", 0.5),
        ("free", None, 1.0),
        ("free", "50", 50.0),
    ]
    async with stand(keyring=make_keyring(AuthConfig(keys), Path())) as s:
        s.gate.awake.clear()
        for number, (who, says, _) in enumerate(asked, 1):
            fields = [f"Authorization: Bearer {who}"]
            fields += [] if says is None else [f"x-llmux-priority: {says}"]
            client = await s.client()
            await client.send(post(chat(), PATH, *fields))
            await s.gate.until(waiting=number)
        assert [one.weight for one in s.gate.waiting] == [counts for _, _, counts in asked]


async def test_the_layer_for_other_peoples_apps_reads_it_too() -> None:
    runner = HookRunner([HookSpec("a", free_port(), "sleep 60", "true")])
    switcher = ModelSwitcher(runner, FifoPolicy())
    layer = SwitchLayer(_nobody, switcher)
    body = b'{"model": "a"}'
    sent: list[int] = []
    leave = asyncio.Event()

    async def ask(priority: bytes) -> None:
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, object]:
            for message in messages:
                return message
            await leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: Scope) -> None:
            if message["type"] == "http.response.start":
                sent.append(message["status"])

        fields = [(b"content-length", b"%d" % len(body)), (b"x-llmux-priority", priority)]
        scope: Scope = {"type": "http", "method": "POST", "path": PATH, "headers": fields}
        await layer(scope, receive, send)

    await ask(b"none")
    assert sent == [400]
    waiting = asyncio.create_task(ask(b"7"))
    while not switcher.queue_depths()["a"]:
        await asyncio.sleep(0.01)
    assert switcher.snapshot().models["a"].weighted_waiting == 7.0
    leave.set()
    await waiting
    await switcher.stop()


async def _nobody(scope: Scope, receive: object, send: object) -> None:
    raise AssertionError("the request names a model")
