"""Heads that were read before are known again only where they mean the same, and errors keep order.

What is refused, and what is not, stands in the smuggling corpus.
"""

from __future__ import annotations

import pytest

from llmux.http import Limits
from tests.http.stand import Message, chat, post, stand
from tests.http.test_relay import recorder

B = b'{"model":"m"}'
H = b"POST /p HTTP/1.1\r\nHost: h\r\n"
L = b"Content-Length: 13\r\n"


async def test_a_known_head_comes_again_with_other_lengths_and_cut_elsewhere() -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        client = await s.client()
        bodies = [chat(n="x" * size) for size in (1, 1, 30, 300, 3000)]
        for body in bodies:
            await client.send(post(body, "/p?q", "X-Kept: 1", "Keep-Alive: 5"))
            assert (await client.message()).status == 204
        for body in bodies:
            raw = post(body, "/p?q", "X-Kept: 1", "Keep-Alive: 5")
            await client.send(raw[:-5], raw[-5:] + raw)
            for _ in range(2):
                assert (await client.message()).status == 204
        assert [message.body for message in seen] == bodies + [b for b in bodies for _ in range(2)]
        ids = {message.get("x-request-id") for message in seen}
        assert len(ids) == len(seen)
        for message in seen:
            assert message.start == "POST /p?q HTTP/1.1"
            assert message.get("x-kept") == "1"
            assert message.get("keep-alive") is None
            assert message.get("content-length") == str(len(message.body))


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: close",),
        ("Proxy-Connection: close",),
        ("X-Request-Id: mine",),
        ("Max-Forwards: 5",),
        ("X-Strength: 7",),
        ("content-length: 13",),
    ],
)
async def test_only_plain_heads_are_known_again(fields: tuple[str, ...]) -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        lines = "".join(f"{field}\r\n" for field in fields).encode()
        length = b"" if fields == ("content-length: 13",) else L
        for _ in range(3):
            client = await s.client()
            await client.send(H + lines + length + b"\r\n" + B)
            answer = await client.message()
            assert answer.status == 204
            assert (answer.get("connection") == "close") == fields[0].endswith("Connection: close")
            if fields == ("X-Request-Id: mine",):
                assert answer.get("x-request-id") == "mine"
            if fields == ("X-Strength: 7",):
                assert seen[-1].get("x-strength") == "7"
            client.close()
        changed = lines.replace(b"7", b"8")
        await s.ask(H + changed + length + b"\r\n" + B)
        if fields == ("X-Strength: 7",):
            assert seen[-1].get("x-strength") == "8"


async def test_a_known_head_with_a_length_beyond_the_bound_is_413() -> None:
    async with stand(limits=Limits(max_body_bytes=100)) as s:
        assert (await s.ask(post(chat()))).status == 200
        assert (await s.ask(post(chat(fill="x" * 200)))).status == 413


async def test_memory_of_heads_is_bounded() -> None:
    async with stand() as s:
        client = await s.client()
        for number in range(300):
            await client.send(post(chat(), f"/p{number}"))
            assert (await client.message()).status == 200
        await client.send(post(chat(), "/p", "X: " + "y" * 5000))
        assert (await client.message()).status == 200
        meanings = s.gateway.known._heads
        assert 0 < len(meanings) <= 128
        assert max(map(len, meanings)) < 4096


async def test_requests_before_a_bad_one_are_answered_first() -> None:
    async with stand() as s:
        client = await s.client()
        await client.send(post(chat(n=1)) + post(chat(n=2)) + b"BAD\r\n\r\n" + post(chat(n=3)))
        assert (await client.message()).body == chat(n=1)
        assert (await client.message()).body == chat(n=2)
        assert (await client.message()).status == 400
        assert await client.ended()


async def test_an_error_names_the_dialect_of_its_path_also_when_the_body_is_bad() -> None:
    async with stand() as s:
        answer = await s.ask(b"POST /v1/messages HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n")
        assert answer.status == 400
        assert answer.json()["type"] == "error"
