"""Backends that fall silent and clients that take nothing: each is cut at its bound, both ways."""

from __future__ import annotations

import asyncio
import json

import pytest

from llmux.http import Limits
from llmux.http.front import Front
from tests.http.stand import Line, chat, ok, post, say, stand

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
NDJSON = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
IDLE = Limits(stream_idle_timeout_secs=0.2)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def silent(line: Line) -> None:
    """Take requests and never answer."""
    await line.message()
    await line.reader.read(1)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/chat/completions", ["error", "code"]),
        ("/v1/messages", ["error", "type"]),
        ("/api/chat", ["error"]),
    ],
)
async def test_a_backend_that_gives_no_first_byte_is_504_in_the_clients_own_shape(
    path: str, said: list[str]
) -> None:
    async with stand(silent, limits=Limits(first_byte_timeout_secs=0.2)) as s:
        client = await s.client()
        await client.send(post(chat(), path))
        answer = await client.message()
        assert answer.status == 504
        value: object = answer.json()
        for key in said:
            assert isinstance(value, dict)
            value = value[key]
        expected = {"code": "backend_timeout", "type": "timeout_error"}.get(said[-1])
        assert value == expected or (said == ["error"] and "no byte of an answer" in str(value))
        await s.closed.wait()  # the backend sees that nobody waits any more
        assert s.gate.inside == []
        await client.send(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.message()).status == 200
        assert s.meters["m"].answers == [504]


async def test_a_first_byte_in_time_is_followed_by_as_long_an_answer_as_it_takes() -> None:
    async def slow(line: Line) -> None:
        while True:
            await line.message()
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", b"abc")
            await asyncio.sleep(0.5)
            await line.send(b"def")

    async with stand(slow, limits=Limits(first_byte_timeout_secs=0.2)) as s:
        client = await s.client()
        for _ in range(2):
            await client.send(post(chat()))
            assert (await client.message()).body == b"abcdef"


async def test_a_wait_for_the_model_is_no_silence_of_its_backend() -> None:
    async with stand(limits=Limits(first_byte_timeout_secs=0.2)) as s:
        s.gate.awake.clear()
        client = await s.client()
        await client.send(post(chat()))
        await s.gate.until(waiting=1)
        await asyncio.sleep(0.4)
        s.gate.wake("m")
        assert (await client.message()).status == 200


async def test_interim_answers_are_signs_of_life() -> None:
    async def patient(line: Line) -> None:
        await line.message()
        for _ in range(5):
            await line.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await asyncio.sleep(0.1)
        await line.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with stand(patient, limits=Limits(first_byte_timeout_secs=0.3)) as s:
        client = await s.client()
        await client.send(post(chat()))
        statuses = [(await client.message()).status for _ in range(6)]
        assert statuses == [102] * 5 + [204]


@pytest.mark.parametrize(
    ("path", "head", "piece", "frame"),
    [
        ("/v1/chat/completions", SSE, b"data: {}\n\n", b'data: {"error":{'),
        ("/v1/messages", SSE, b"event: x\ndata: {}\n\n", b'event: error\ndata: {"type":"error"'),
        ("/api/chat", NDJSON, b'{"done":false}\n', b'{"error":"'),
        ("/v1/chat/completions", SSE, b"", b'data: {"error":{'),
    ],
)
async def test_a_stream_that_stops_is_ended_with_an_error_its_clients_read(
    path: str, head: bytes, piece: bytes, frame: bytes
) -> None:
    """Also before the first piece of its body; nobody takes the answer for whole."""

    async def stops(line: Line) -> None:
        await line.message()
        await line.send(head + (chunk(piece) if piece else b""))
        await line.reader.read(1)

    async with stand(stops, limits=IDLE) as s:
        client = await s.client()
        await client.send(post(chat(), path))
        answer = await client.message()
        assert not answer.complete
        last = answer.chunks[-1]
        assert last.startswith(frame)
        assert b"fell silent" in last
        assert b"".join(answer.chunks[:-1]) == piece
        json.loads(last.removeprefix(b"event: error\n").removeprefix(b"data: "))
        assert await client.ended()
        await s.closed.wait()
        assert s.gate.inside == []


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk(b"half"),
        SSE + chunk(b"data: in the midd"),
        SSE + b"ff\r\nhalf a chunk",
        NDJSON + chunk(b'{"half":'),
    ],
)
async def test_what_cannot_be_ended_in_form_is_broken_off_visibly(said: bytes) -> None:
    async def stops(line: Line) -> None:
        await line.message()
        await line.send(said)
        await line.reader.read(1)

    async with stand(stops, limits=IDLE) as s:
        client = await s.client()
        await client.send(post(chat()))
        assert not (await client.message()).complete
        await s.closed.wait()


async def test_a_client_of_http_1_0_sees_a_silent_answer_break() -> None:
    async def stops(line: Line) -> None:
        await line.message()
        await line.send(SSE + chunk(b"data: {}\n\n"))
        await line.reader.read(1)

    async with stand(stops, limits=IDLE) as s:
        client = await s.client()
        body = chat()
        await client.send(b"POST /p HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert (await client.head()).status == 200
        with pytest.raises(ConnectionResetError):
            await client.reader.read(-1)
        await s.closed.wait()


async def test_a_stream_that_drips_lives_on_and_so_does_one_whose_client_pauses() -> None:
    async def drips(line: Line) -> None:
        while True:
            await line.message()
            await line.send(SSE)
            for _ in range(5):
                await line.send(chunk(b"data: {}\n\n"))
                await asyncio.sleep(0.1)
            await line.send(chunk(b"data: " + b"x" * 30_000_000 + b"\n\n") + b"0\r\n\r\n")

    async with stand(drips, limits=IDLE) as s:
        client = await s.client()
        await client.send(post(chat()))
        await client.head()
        client.stall()
        await asyncio.sleep(1.2)
        client.go_on()
        rest = b""
        while not rest.endswith(b"\r\n0\r\n\r\n"):
            piece = await client.reader.read(1_000_000)
            assert piece
            rest = (rest + piece)[-20:] if len(rest) > 1000 else rest + piece
        assert s.gate.inside == []


async def test_a_tunnel_may_be_silent() -> None:
    upgraded = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

    async def echo(line: Line) -> None:
        await line.message()
        await line.send(upgraded)
        while data := await line.reader.read(100):
            await line.send(data)

    limits = Limits(first_byte_timeout_secs=0.1, stream_idle_timeout_secs=0.1)
    async with stand(echo, limits=limits) as s:
        client = await s.client()
        await client.send(post(chat(), "/v1/realtime", "Connection: upgrade", "Upgrade: echo"))
        assert (await client.head()).status == 101
        await asyncio.sleep(0.4)
        await client.send(b"still here")
        assert await client.reader.readexactly(10) == b"still here"


# ---- clients that stall -----------------------------------------------------------------------


async def test_a_client_that_takes_nothing_is_cut_and_its_backend_is_free() -> None:
    async def talk(line: Line) -> None:
        await line.message()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            await line.send(b"x" * 100_000)

    async with stand(talk, limits=Limits(client_stall_timeout_secs=0.4)) as s:
        client = await s.client()
        client.stall()
        await client.send(post(chat()))
        await s.gate.until(inside=1)
        await s.gate.until(inside=0)
        await s.closed.wait()
        while s.gateway.connections:
            await asyncio.sleep(0.01)
        client.go_on()
        assert not (await client.message()).complete


async def test_a_client_that_takes_a_little_from_time_to_time_is_served_to_the_end() -> None:
    size = 12_000_000

    async with stand(
        say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size),
        limits=Limits(client_stall_timeout_secs=0.8),
    ) as s:
        client = await s.client()
        await client.send(post(chat()))
        await client.head()
        taken = 0
        while taken < size:
            piece = await client.reader.read(400_000)
            assert piece, f"cut after {taken} bytes"
            taken += len(piece)
            client.stall()
            await asyncio.sleep(0.03)
            client.go_on()


async def test_a_client_that_asks_for_more_and_takes_nothing_is_cut_too() -> None:
    """What it sends meanwhile is no sign that it reads."""
    async with stand(ok, limits=Limits(client_stall_timeout_secs=0.4)) as s:
        client = await s.client()
        client.stall()
        raw = post(chat(fill="x" * 900_000))
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(30):
                while True:
                    await client.send(raw)
        while s.gateway.connections:
            await asyncio.sleep(0.01)


class Pipe(asyncio.Transport):
    """A client's end as the test says: so many bytes are not taken yet."""

    unsent = 0
    cut = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.unsent += len(data)

    def close(self) -> None:
        """Closed once all is taken."""

    def abort(self) -> None:
        self.cut = True


async def test_last_bytes_of_a_closed_connection_may_take_long_if_they_are_taken() -> None:
    async with stand() as s:
        pipe = Pipe()
        front = Front(s.gateway)
        front.connection_made(pipe)
        front.data_received(b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        now = asyncio.get_running_loop().time()
        assert pipe.unsent > 40
        for second in range(40):
            pipe.unsent -= 1
            front.sweep(now + second)
            assert not pipe.cut
        for second in range(40, 47):
            front.sweep(now + second)
        assert pipe.cut
        front.connection_lost(None)
