"""Answers that break in the middle: a stream's client hears why, and nobody takes it for whole."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import openai
import pytest

from llmux.core.news import CLIENT_STALL, CUT_REASONS, AnswerCut
from llmux.errors import BackendUnreachableError, DrainTimeoutError
from llmux.http import Limits
from tests.http.stand import Line, Stand, Talk, chat, post, stand
from tests.http.test_silence import NDJSON, SSE, chunk

PIECE = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[]}\n\n'
)


def dies_after(*said: bytes, by_reset: bool = False) -> Talk:
    """Say something and be gone, as a process does that is killed."""

    async def talk(line: Line) -> None:
        await line.message()
        await line.send(*said)
        if by_reset:
            await asyncio.sleep(0.05)
            line.reset()

    return talk


def heard(s: Stand) -> list[AnswerCut]:
    """Hear of the answers that this gateway cuts."""
    cuts: list[AnswerCut] = []
    s.gateway.tell = cuts.append
    return cuts


@pytest.mark.parametrize(
    ("path", "head", "piece", "frame"),
    [
        ("/v1/chat/completions", SSE, PIECE, b'data: {"error":{'),
        ("/v1/messages", SSE, b"event: x\ndata: {}\n\n", b'event: error\ndata: {"type":"error"'),
        ("/api/chat", NDJSON, b'{"done":false}\n', b'{"error":"'),
        ("/v1/chat/completions", SSE, b"", b'data: {"error":{'),
    ],
)
async def test_a_stream_whose_backend_dies_says_so_and_stays_open(
    path: str, head: bytes, piece: bytes, frame: bytes
) -> None:
    """The message and the id that the client has from its head; no last chunk behind it."""
    async with stand(dies_after(head + (chunk(piece) if piece else b""))) as s:
        cuts = heard(s)
        client = await s.client()
        await client.send(post(chat(), path, "x-request-id: mine"))
        answer = await client.message()
        assert not answer.complete
        assert b"".join(answer.chunks[:-1]) == piece
        last = answer.chunks[-1]
        assert last.startswith(frame)
        assert b"it closed the connection before its answer was complete" in last
        told: Any = json.loads(last.removeprefix(b"event: error\n").removeprefix(b"data: "))
        assert (told if path != "/v1/chat/completions" else told["error"])["request_id"] == "mine"
        assert cuts == [AnswerCut("m", "backend_unreachable", "mine")]
        await s.gate.until(inside=0)


GZIP = SSE.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
UNSAID = {
    "known length": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Content-Length: 99\r\n\r\ndata: {}\n\n",
    "no stream": SSE.replace(b"text/event-stream", b"application/json") + chunk(b"{}\n\n"),
    "in a piece": SSE + chunk(b"data: in the midd"),
    "in a chunk": SSE + b"ff\r\nhalf a chunk\n\n\r\n",
    "in a line": NDJSON + chunk(b'{"half":'),
    "compressed": GZIP,
}


@pytest.mark.parametrize("kind", UNSAID)
async def test_where_no_piece_can_follow_nothing_is_said_and_the_break_is_seen(kind: str) -> None:
    async with stand(dies_after(UNSAID[kind])) as s:
        cuts = heard(s)
        client = await s.client()
        await client.send(post(chat()))
        answer = await client.message()
        assert not answer.complete
        assert b"error" not in answer.body
        assert [cut.reason for cut in cuts] == ["backend_unreachable"]


async def test_bytes_that_break_the_framing_are_followed_by_no_word() -> None:
    """What was relayed may end in the midst of a chunk that the bad bytes have closed."""

    async def talk(line: Line) -> None:
        await line.message()
        await line.send(SSE + b"9\r\nx: \n\n\r\n")
        await asyncio.sleep(0.05)
        await line.send(b"\n\n\r\nzz\r\n")

    async with stand(talk) as s:
        client = await s.client()
        await client.send(post(chat()))
        await client.head()
        assert b"error" not in await client.reader.read(-1)


async def test_a_reset_is_told_too_also_in_an_answer_that_would_end_with_its_close() -> None:
    for head in (SSE, SSE.replace(b"Transfer-Encoding: chunked\r\n", b"")):
        piece = chunk(PIECE) if head is SSE else PIECE
        async with stand(dies_after(head + piece, by_reset=True)) as s:
            client = await s.client()
            await client.send(post(chat()))
            answer = await client.message()
            assert not answer.complete
            assert b'"code":"backend_unreachable"' in answer.chunks[-1]


async def test_the_openai_client_raises_our_message_after_what_came_before() -> None:
    async with stand(dies_after(SSE + chunk(PIECE))) as s:
        client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key="none")
        async with client:
            messages: Any = [{"role": "user", "content": "hi"}]
            stream = await client.chat.completions.create(
                model="m", messages=messages, stream=True, extra_headers={"x-request-id": "mine"}
            )
            assert (await anext(stream)).id == "1"
            with pytest.raises(openai.APIError, match="failed in its answer") as caught:
                await anext(stream)
        body: Any = caught.value.body
        assert (caught.value.code, body["request_id"]) == ("backend_unreachable", "mine")


async def test_the_anthropic_client_raises_our_message() -> None:
    begin = b'event: ping\ndata: {"type": "ping"}\n\n'
    async with stand(dies_after(SSE + chunk(begin))) as s:
        client = anthropic.AsyncAnthropic(base_url=f"http://127.0.0.1:{s.port}", api_key="none")
        async with client:
            stream = await client.messages.create(
                model="m",
                max_tokens=9,
                messages=[{"role": "user", "content": "hi"}],
                stream=True,
                extra_headers={"x-request-id": "mine"},
            )
            with pytest.raises(anthropic.APIError, match="failed in its answer") as caught:
                async for _ in stream:
                    pass
        body: Any = caught.value.body
        assert body["request_id"] == "mine"


async def endless(line: Line) -> None:
    """Begin a stream and say no more."""
    await line.message()
    await line.send(SSE + chunk(PIECE))
    await line.reader.read(1)


HANGS = BackendUnreachableError("The model's backend hangs: no answer.")


async def test_a_stream_whose_backend_hangs_says_so_and_stays_open() -> None:
    async with stand(endless) as s:
        cuts = heard(s)
        client = await s.client()
        await client.send(post(chat(), "/v1/chat/completions", "x-request-id: mine"))
        await client.head()
        s.gate.lose(HANGS)
        told = await client.reader.read(-1)
        assert b'"message":"The model\'s backend hangs' in told
        assert not told.endswith(b"0\r\n\r\n")
        assert cuts == [AnswerCut("m", "backend_unreachable", "mine")]
        await s.gate.until(inside=0)


async def test_a_request_whose_backend_hangs_before_its_answer_is_sent_once_more() -> None:
    """Its connection is closed at once; a second backend that hangs is told to the client."""
    asked = asyncio.Queue[int]()

    async def silent(line: Line) -> None:
        await line.message()
        asked.put_nowait(1)
        assert await line.ended()

    async with stand(silent) as s, asyncio.timeout(10):
        s.gate.dead = True
        client = await s.client()
        await client.send(post(chat()))
        for _ in range(2):
            await asked.get()
            s.gate.lose(HANGS)
            await s.gate.until(inside=0)
            s.gate.wake("m")
        answer = await client.message()
        assert (answer.status, asked.qsize()) == (502, 0)
        assert b"backend_unreachable" in answer.body


async def flood(line: Line) -> None:
    """Say more than any buffer holds."""
    await line.message()
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    while True:
        await line.send(b"x" * 100_000)


@pytest.mark.parametrize("reason", CUT_REASONS)
async def test_each_way_of_cutting_has_its_reason(reason: str) -> None:
    """A death, a silence, a drain, a stop, and a client that takes nothing."""
    talk = {"backend_unreachable": dies_after(SSE), CLIENT_STALL: flood}.get(reason, endless)
    limits = {
        "backend_timeout": Limits(stream_idle_timeout_secs=0.2),
        CLIENT_STALL: Limits(client_stall_timeout_secs=0.2),
    }
    async with stand(talk, limits=limits.get(reason)) as s, asyncio.timeout(30):
        cuts = heard(s)
        client = await s.client()
        if reason == CLIENT_STALL:
            client.stall()
        await client.send(post(chat()))
        if reason != CLIENT_STALL:
            await client.head()
        if reason == "drain_timeout":
            s.gate.cut(DrainTimeoutError("too long"))
        elif reason == "draining":
            await s.gateway.stop(0.0)
        while not cuts:
            await asyncio.sleep(0.01)
        assert [cut.reason for cut in cuts] == [reason]


async def test_an_error_instead_of_an_answer_is_no_cut() -> None:
    async with stand(dies_after(b"")) as s:
        cuts = heard(s)
        assert (await s.ask(post(chat()))).status == 502
        assert cuts == []
