"""The header `x-llmux-next`: a client says which model it asks for next; the gate hears of it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from llmux.config import AuthConfig, KeyConfig
from llmux.http.keys import make_keyring
from llmux.http.limits import Limits
from tests.http.stand import Line, Message, chat, post, stand

PATH = "/v1/chat/completions"


@pytest.mark.parametrize("limits", [Limits(), Limits(first_byte_timeout_secs=30)])
async def test_the_gate_hears_of_it_once_the_answer_is_over(limits: Limits) -> None:
    """And the backend never does, also where its silence is bounded."""
    heard: list[Message] = []
    gates: list[tuple[int, list[str]]] = []

    async def talk(line: Line) -> None:
        while True:
            heard.append(await line.message())
            gates.append((len(s.gate.inside), list(s.gate.announced)))
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with stand(talk, models=("m", "n"), limits=limits) as s:
        client = await s.client()
        for _ in range(2):
            await client.send(post(chat(), PATH, "X-LLMux-Next: n", "x-mine: kept"))
            assert (await client.message()).status == 200
        await client.send(post(chat(), PATH))
        assert (await client.message()).status == 200
        assert (s.gate.announced, s.gate.back) == (["n", "n"], [])
        assert gates[0] == (1, [])
        assert [one.all("x-llmux-next") for one in heard] == [[], [], []]
        assert heard[0].get("x-mine") == "kept"


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        (["x-llmux-next: nobody"], 404, "x-llmux-next: Model 'nobody' not found"),
        (["x-llmux-next: m", "x-llmux-next: m"], 404, "Model 'm, m' not found"),
        (["x-llmux-next:"], 400, "x-llmux-next names no model"),
    ],
)
async def test_a_model_that_is_not_there_is_refused_before_anything_is_asked(
    fields: list[str], status: int, told: str
) -> None:
    async with stand() as s:
        client = await s.client()
        await client.send(post(chat(), PATH, *fields))
        answer = await client.message()
        assert answer.status == status
        error = answer.json()["error"]
        assert isinstance(error, dict)
        assert told in error["message"]
        assert s.connects == 0
        await client.send(post(chat()))
        assert (await client.message()).status == 200
        assert s.gate.announced == []


async def test_a_key_announces_only_what_it_opens() -> None:
    key = KeyConfig("sha256", sha256(b"one").hexdigest(), "one", ("m",), None)
    async with stand(keyring=make_keyring(AuthConfig((key,)), Path())) as s:
        client = await s.client()
        for model, status in (("other", 403), ("m", 200)):
            fields = ["Authorization: Bearer one", f"x-llmux-next: {model}"]
            await client.send(post(chat(), PATH, *fields))
            assert (await client.message()).status == status
        assert (s.gate.announced, s.gate.back) == ([], ["m"])  # it comes back


async def test_whoever_hangs_up_announces_nothing() -> None:
    async with stand() as s:
        s.gate.awake.clear()
        client = await s.client()
        await client.send(post(chat(), PATH, "x-llmux-next: m"))
        await s.gate.until(waiting=1)
        client.close()
        await s.gate.until(waiting=0)
        assert s.gate.announced == []
