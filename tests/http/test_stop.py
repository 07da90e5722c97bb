"""Starting and stopping: what runs is finished or cut, and nothing stays open."""

from __future__ import annotations

import asyncio

import pytest

from llmux.http import Gateway, Limits
from tests.http.small_gate import Counter, SmallGate
from tests.http.stand import Line, chat, ok, post, stand


async def test_a_running_answer_is_finished_and_then_its_connection_closes() -> None:
    go_on = asyncio.Event()

    async def talk(line: Line) -> None:
        await line.message()
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await go_on.wait()
        await line.send(b"0\r\n\r\n")

    async with stand(talk) as s:
        idle, busy = await s.client(), await s.client()
        await busy.send(post(chat()))
        head = await busy.head()
        assert head.status == 200
        stopping = asyncio.create_task(s.gateway.stop(10.0))
        assert await idle.ended()
        late = await s.client()
        await late.send(b"GET /ready HTTP/1.1\r\nHost: h\r\n\r\n")
        told = await late.message()
        assert (told.status, told.get("connection")) == (503, "close")
        go_on.set()
        assert await busy.reader.read(-1) == b"3\r\nabc\r\n0\r\n\r\n"
        await stopping
        assert s.gateway.connections == 0
        with pytest.raises(OSError):
            await s.client()


async def test_while_stopping_ready_says_so_and_health_does_not() -> None:
    async with stand() as s:
        s.gate.awake.clear()
        client = await s.client()
        ready = b"GET /ready HTTP/1.1\r\nHost: h\r\n\r\n"
        await client.send(ready)
        assert (await client.message()).json() == {"status": "ready"}
        await client.send(b"GET /rea")
        other = await s.client()
        await other.send(b"GET /hea")
        while not all(front._reader.in_head for front in s.gateway.fronts):
            await asyncio.sleep(0.01)
        s.gateway.stop_accepting()
        await client.send(b"dy HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = await client.message()
        assert (answer.status, answer.get("connection")) == (503, "close")
        assert await client.ended()
        await other.send(b"lth HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await other.message()).status == 200


async def test_what_outlasts_the_grace_is_cut_and_told_so() -> None:
    async def talk(line: Line) -> None:
        await line.message()
        await line.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        assert await line.ended()

    async with stand(talk, models=("m", "n")) as s:
        s.gate.awake = {"m"}
        streaming, waiting, stalled = [await s.client() for _ in range(3)]
        await streaming.send(post(chat()))
        await streaming.head()
        await waiting.send(post(chat("n")))
        await stalled.send(b"POST /p HTTP/1.1\r\n")
        await s.gate.until(inside=1, waiting=1)
        await s.gateway.stop(0.05)
        assert b'"code":"draining"' in await streaming.reader.read(-1)
        assert (await waiting.message()).status == 503
        assert await stalled.ended()


async def test_a_client_that_reads_nothing_does_not_hold_up_the_stop() -> None:
    async def talk(line: Line) -> None:
        await line.message()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            await line.send(b"x" * 100_000)

    async with stand(talk) as s:
        client = await s.client()
        client.stall()
        await client.send(post(chat()))
        await s.gate.until(inside=1)
        await s.gateway.stop(0.1)
        assert s.gateway.connections == 0


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_behind() -> None:
    async with stand(ok) as s:
        other = Gateway(SmallGate(), {}, Limits(), lambda model: Counter(), lambda: b"")
        with pytest.raises(OSError):
            await other.start("127.0.0.1", s.port)
        await other.stop(0.0)
