"""Nothing depends on where the network cuts: every answer and request, cut at every byte."""

from __future__ import annotations

import pytest

from tests.http.stand import Line, Message, chat, post, stand

ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 7\r\n\r\nabc\r\nde",
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n4;e=f\r\n\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
    ),
    "interim": (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nabc\r\nde"
    ),
    "no reason": b"HTTP/1.1 200\r\ncontent-length:7\r\n\r\nabc\r\nde",
}
TWO_REQUESTS = (
    b"\r\nPOST http://h:80/p?q HTTP/1.1\r\nHost: h\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5\r\n{"mod\r\n7;x=y\r\nel":"m"\r\n1\r\n}\r\n0\r\nX-T: 1\r\n\r\n'
    b'PUT /q HTTP/1.1\r\nHost: h\r\nContent-Length: 13\r\n\r\n{"model":"m"}'
)


@pytest.mark.parametrize("kind", ANSWERS)
async def test_an_answer_cut_anywhere_arrives_the_same(kind: str) -> None:
    reply = ANSWERS[kind]
    cuts = list(range(1, len(reply)))

    async def talk(line: Line) -> None:
        while cuts:
            await line.message()
            cut = cuts[0]
            await line.send(reply[:cut])
            cuts.pop(0)
            await line.send(reply[cut:])

    async with stand(talk) as s:
        client = await s.client()
        while cuts:
            await client.send(post(chat()))
            answer = await client.message()
            while answer.status < 200:
                answer = await client.message()
            assert (answer.status, answer.body, answer.complete) == (200, b"abc\r\nde", True)
        assert s.connects == 1


@pytest.mark.parametrize("kind", ANSWERS)
async def test_an_answer_that_drips_byte_by_byte_arrives_the_same(kind: str) -> None:
    async def talk(line: Line) -> None:
        await line.message()
        await line.send(*(bytes([byte]) for byte in ANSWERS[kind]))
        await line.message()

    async with stand(talk) as s:
        client = await s.client()
        await client.send(post(chat()))
        answer = await client.message()
        while answer.status < 200:
            answer = await client.message()
        assert answer.body == b"abc\r\nde"


async def test_requests_cut_anywhere_arrive_the_same() -> None:
    seen: list[Message] = []

    async def talk(line: Line) -> None:
        while True:
            seen.append(await line.message())
            await line.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with stand(talk) as s:
        client = await s.client()
        for cut in range(1, len(TWO_REQUESTS)):
            await client.send(TWO_REQUESTS[:cut], TWO_REQUESTS[cut:])
            for _ in range(2):
                assert (await client.message()).status == 204
            first, second = seen
            assert (first.start, first.body) == ("POST /p?q HTTP/1.1", b'{"model":"m"}')
            assert first.get("x-a") == "b"
            assert (second.start, second.body) == ("PUT /q HTTP/1.1", b'{"model":"m"}')
            seen.clear()


async def test_requests_that_drip_byte_by_byte_arrive_the_same() -> None:
    async with stand() as s:
        client = await s.client()
        await client.send(*(bytes([byte]) for byte in TWO_REQUESTS))
        for _ in range(2):
            assert (await client.message()).body == b'{"model":"m"}'
