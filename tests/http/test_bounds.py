"""Every wait and every buffer has a bound, and each bound is obeyed."""

from __future__ import annotations

import asyncio
from dataclasses import fields

import pytest

from llmux.http import Limits
from tests.http.stand import Line, Message, chat, ok, post, stand
from tests.http.test_relay import recorder


async def test_a_body_above_the_bound_is_413_before_it_is_sent() -> None:
    async with stand(limits=Limits(max_body_bytes=1000)) as s:
        raw = post(chat(fill="x" * 2000))
        head = raw[: raw.index(b"\r\n\r\n") + 4]
        answer = await s.ask(head)
        assert answer.status == 413
        assert answer.json()["error"]["code"] == "body_too_large"  # type: ignore[index]
        exact = chat(fill="x" * (1000 - len(chat(fill=""))))
        assert (await s.ask(post(exact))).status == 200


async def test_a_chunked_body_above_the_bound_is_413_and_the_connection_closes() -> None:
    async with stand(limits=Limits(max_body_bytes=1000)) as s:
        client = await s.client()
        await client.send(b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await client.send(b"190\r\n" + b"x" * 400 + b"\r\n")
        assert (await client.message()).status == 413
        assert await client.ended()


@pytest.mark.parametrize(
    "size", [b"ffffffffffffffff", b"FFFFFFFFFFFFFFF0", b"3e9", b"000003E9", b"3e9;some=thing"]
)
async def test_a_chunk_that_claims_too_much_is_413_before_it_comes(size: bytes) -> None:
    """Wherever its size line is cut: in the read with the head, in one of its own, in three."""
    head = b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    line = size + b"\r\n"
    reads = [(head + line,), (head, line + b"x"), (head + size[:1], size[1:], b"\r", b"\nx")]
    async with stand(limits=Limits(max_body_bytes=1000)) as s, asyncio.timeout(5):
        for pieces in reads:
            client = await s.client()
            await client.send(*pieces)
            assert (await client.message()).status == 413
            assert await client.ended()


async def test_a_chunk_behind_others_is_judged_by_what_came_before_it() -> None:
    head = b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with stand(limits=Limits(max_body_bytes=1000)) as s, asyncio.timeout(5):
        client = await s.client()
        await client.send(head + b"190\r\n" + b"x" * 400 + b"\r\n", b"259\r\nx")
        assert (await client.message()).status == 413


async def test_a_client_that_goes_on_sending_still_reads_its_413() -> None:
    async with stand(limits=Limits(max_body_bytes=1000)) as s:
        client = await s.client()
        client.writer.write(post(b"x" * 3_000_000))
        answer = await client.message()
        assert answer.status == 413


async def test_a_head_above_the_bound_is_431_however_it_comes() -> None:
    async with stand(limits=Limits(max_header_bytes=1000)) as s:
        at_once = await s.ask(post(chat(), "/p", "X: " + "y" * 1000))
        assert at_once.status == 431
        client = await s.client()
        await client.send(b"POST /p HTTP/1.1\r\n", *[b"X: %b\r\n" % (b"y" * 90)] * 12)
        assert (await client.message()).status == 431
        client = await s.client()
        await client.send(b"GET /", *[b"y" * 200] * 6)
        assert (await client.message()).status == 431
        client = await s.client()
        await client.send(b"GET / HTTP/1.1\r\nX: " + b"y" * 1000)
        assert (await client.message()).status == 431
        assert (await s.ask(post(chat(), "/p", "X: " + "y" * 700))).status == 200


async def test_pipelined_heads_are_counted_one_by_one() -> None:
    async with stand(limits=Limits(max_header_bytes=300)) as s:
        client = await s.client()
        raw = post(chat())
        await client.send(raw * 5 + raw[:-20], raw[-20:])
        for _ in range(6):
            assert (await client.message()).status == 200


async def test_a_head_that_does_not_come_is_408() -> None:
    async with stand(limits=Limits(header_timeout_secs=0.1)) as s:
        client = await s.client()
        await client.send(b"POST /p HTTP/1.1\r\nHo")
        answer = await client.message()
        assert answer.status == 408
        assert answer.get("x-should-retry") == "false"
        assert await client.ended()


async def test_a_body_that_stops_coming_is_408_and_one_that_drips_is_not() -> None:
    async with stand(limits=Limits(body_timeout_secs=0.2)) as s:
        raw = post(chat())
        client = await s.client()
        await client.send(raw[:-8])
        for byte in raw[-8:-4]:
            await asyncio.sleep(0.07)
            await client.send(bytes([byte]))
        await client.send(raw[-4:])
        assert (await client.message()).status == 200
        await client.send(raw[:-1])
        assert (await client.message()).status == 408
        assert await client.ended()


async def test_an_idle_connection_is_closed_and_a_waiting_request_is_not() -> None:
    async with stand(limits=Limits(keepalive_timeout_secs=0.1)) as s:
        fresh = await s.client()
        assert await fresh.ended()
        client = await s.client()
        s.gate.awake.clear()
        await client.send(post(chat()))
        await s.gate.until(waiting=1)
        await asyncio.sleep(0.3)
        s.gate.wake("m")
        assert (await client.message()).status == 200
        assert await client.ended()


async def test_an_idle_moment_before_a_head_does_not_count_as_its_time() -> None:
    async with stand(limits=Limits(header_timeout_secs=0.3)) as s:
        client = await s.client()
        await asyncio.sleep(0.5)
        raw = post(chat())
        await client.send(raw[:20])
        await asyncio.sleep(0.1)
        await client.send(raw[20:])
        assert (await client.message()).status == 200


async def test_one_connection_too_many_is_503_and_room_is_made_again() -> None:
    async with stand(limits=Limits(max_connections=2)) as s:
        first, second = await s.client(), await s.client()
        for client in (first, second):
            await client.send(post(chat()))
            assert (await client.message()).status == 200
        third = await s.client()
        answer = await third.message()
        assert answer.status == 503
        assert answer.get("retry-after") == "1"
        assert await third.ended()
        third.close()
        first.close()
        while s.gateway.connections > 1:
            await asyncio.sleep(0.01)
        assert (await s.ask(post(chat()))).status == 200


async def test_a_client_that_does_not_read_stops_its_backend_within_a_bound() -> None:
    sent = 0

    async def talk(line: Line) -> None:
        nonlocal sent
        await line.message()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            await line.send(b"x" * 100_000)
            sent += 100_000

    async with stand(talk) as s:
        client = await s.client()
        client.stall()
        await client.send(post(chat()))
        before = -1
        while before != sent or sent == 0:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 32_000_000
        client.go_on()
        answer = await client.message()
        assert (len(answer.body), answer.complete) == (100_000_000, True)


async def test_a_flood_of_pipelined_requests_is_not_read_without_bound() -> None:
    async with stand() as s:
        s.gate.awake.clear()
        client = await s.client()
        raw = post(chat(fill="x" * 10_000))
        await client.send(raw)
        await s.gate.until(waiting=1)
        client.writer.write(raw * 2000)
        [front] = s.gateway.fronts
        before = -1
        while before != (queued := len(front._reader.queue)) or queued == 0:
            before = queued
            await asyncio.sleep(0.2)
        assert queued * len(raw) < 2_000_000
        s.gate.awake.add("m")
        s.gate.wake("m")
        for _ in range(2001):
            assert (await client.message()).status == 200


async def test_idle_connections_to_a_backend_are_closed_before_it_would() -> None:
    async with stand() as s:
        await s.ask(post(chat()))
        now = asyncio.get_running_loop().time()
        s.gateway.backends["m"].expire(now + 3.0)
        assert s.gateway.backends["m"].take() is not None
        await s.ask(post(chat()))
        s.gateway.backends["m"].expire(now + 8.0)
        assert s.gateway.backends["m"].take() is None
        await s.closed.wait()


async def test_lifted_bounds_bind_nobody() -> None:
    seen: list[Message] = []
    none = Limits(**dict.fromkeys((one.name for one in fields(Limits)), None))
    async with stand(recorder(seen), limits=none) as s:
        body = chat(fill="x" * 200_000)
        assert (await s.ask(post(body, "/p", "X: " + "y" * 50_000))).status == 204
        assert seen[0].body == body


async def test_a_large_body_arrives_whole() -> None:
    async with stand(ok) as s:
        body = chat(fill="x" * 20_000_000)
        assert (await s.ask(post(body))).body == body
