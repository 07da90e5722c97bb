"""Waiting, leaving and being cut: the books balance however a request ends."""

from __future__ import annotations

import asyncio

import pytest

from llmux.errors import (
    DrainingError,
    DrainTimeoutError,
    HookFailedError,
    NotReadyError,
    QueueTimeoutError,
)
from tests.http.stand import Line, Talk, chat, ok, post, say, stand


async def test_a_request_waits_until_its_model_is_awake() -> None:
    async with stand() as s:
        s.gate.awake.clear()
        client = await s.client()
        await client.send(post(chat()))
        await s.gate.until(waiting=1)
        assert s.connects == 0
        s.gate.wake("m")
        assert (await client.message()).status == 200
        assert len(s.meters["m"].waits) == 1


async def test_a_client_that_leaves_while_it_waits_leaves_the_queue_at_once() -> None:
    async with stand() as s:
        s.gate.awake.clear()
        for way in (Line.close, Line.reset):
            client = await s.client()
            await client.send(post(chat()))
            await s.gate.until(waiting=1)
            way(client)
            await s.gate.until(waiting=0)
        assert s.connects == 0


async def test_a_client_that_leaves_in_the_midst_of_a_stream_cuts_its_backend() -> None:
    async def talk(line: Line) -> None:
        await line.message()
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        assert await line.ended()

    async with stand(talk) as s:
        client = await s.client()
        await client.send(post(chat()))
        await client.head()
        client.close()
        await s.gate.until(inside=0)
        await s.closed.wait()


async def test_a_rejection_is_answered_in_its_own_words() -> None:
    async with stand() as s:
        s.gate.awake.clear()
        client = await s.client()
        for error, status in (
            (QueueTimeoutError("m was not ready within 3 s."), 504),
            (HookFailedError("The wake hook of m failed."), 500),
        ):
            await client.send(post(chat()))
            await s.gate.until(waiting=1)
            s.gate.reject(error)
            answer = await client.message()
            assert answer.status == status
            assert answer.json()["error"] == {
                "message": error.message,
                "type": "llmux_error",
                "param": None,
                "code": error.code,
            }
            assert answer.get("x-should-retry") == "false"
        assert s.meters["m"].answers == [504, 500]


@pytest.mark.parametrize(
    ("estimate", "seconds", "millis"), [(7.2, "8", "7200"), (900, "60", "60000"), (0, "1", "1000")]
)
async def test_a_refusal_says_when_to_ask_again(estimate: float, seconds: str, millis: str) -> None:
    async with stand() as s:
        s.gate.refusal = NotReadyError("m rests after a failed wake.", retry_after=estimate)
        answer = await s.ask(post(chat()))
        assert answer.status == 503
        assert answer.get("retry-after") == seconds
        assert answer.get("retry-after-ms") == millis
        assert answer.get("x-should-retry") is None
        assert s.meters["m"].answers == [503]


async def test_a_request_that_is_refused_leaves_its_connection_usable() -> None:
    async with stand() as s:
        client = await s.client()
        s.gate.refusal = DrainingError("Going down.")
        await client.send(post(chat()))
        assert (await client.message()).status == 503
        s.gate.refusal = None
        await client.send(post(chat()))
        assert (await client.message()).status == 200


def streaming(*pieces: bytes, kind: bytes = b"text/event-stream; charset=utf-8") -> Talk:
    """Begin a chunked answer and never end it."""

    async def talk(line: Line) -> None:
        await line.message()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % kind
        await line.send(head, *pieces)
        assert await line.ended()

    return talk


EVENT = b"data: {}\n\n"
WHOLE = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
CUT = DrainTimeoutError("The drain's bound was reached.")


@pytest.mark.parametrize(
    ("path", "frame"),
    [
        ("/v1/chat/completions", b'data: {"error":{"message":'),
        ("/v1/messages", b'event: error\ndata: {"type":"error","error":'),
    ],
)
async def test_a_cut_stream_of_events_ends_with_an_error_event(path: str, frame: bytes) -> None:
    async with stand(streaming(WHOLE)) as s:
        client = await s.client()
        await client.send(post(chat(), path))
        await client.head()
        assert await client.reader.readexactly(len(WHOLE)) == WHOLE
        s.gate.cut(CUT)
        size = int(await client.reader.readuntil(b"\r\n"), 16)
        event = await client.reader.readexactly(size)
        assert event.startswith(frame)
        assert event.endswith(b"\n\n")
        assert await client.reader.read(-1) == b"\r\n", "no last chunk: it is not whole"
        await s.closed.wait()


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ((b"20\r\ndata: {}\n\n",), b"text/event-stream"),
        ((WHOLE, b"20"), b"text/event-stream"),
        ((b"6\r\ndata: \r\n",), b"text/event-stream"),
        ((WHOLE,), b"application/json"),
    ],
)
async def test_a_cut_inside_a_chunk_an_event_or_json_breaks_the_connection(
    pieces: tuple[bytes, ...], kind: bytes
) -> None:
    async with stand(streaming(*pieces, kind=kind)) as s:
        client = await s.client()
        await client.send(post(chat()))
        await client.head()
        raw = b"".join(pieces)
        assert await client.reader.readexactly(len(raw)) == raw
        s.gate.cut(CUT)
        assert await client.ended()


async def test_a_cut_before_the_first_byte_is_an_error_answer() -> None:
    async def talk(line: Line) -> None:
        await line.message()
        assert await line.ended()

    async with stand(talk) as s:
        client = await s.client()
        await client.send(post(chat()))
        await s.gate.until(inside=1)
        s.gate.cut(CUT)
        answer = await client.message()
        assert (answer.status, answer.get("x-should-retry")) == (503, None)
        await client.send(post(b""))
        assert (await client.message()).status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'"m"',
        b"{}",
        b'{"model":null}',
        b'{"model":7}',
        b'{"model":["m"]}',
        b'{"model":"unknown"}',
        b'{"model":"\\ud800"}',
        b'{"model":"m"} trailing',
        b'{"model":"\xff"}',
        b'{"model":"m","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    ],
)
async def test_a_body_that_names_no_known_model_is_404(body: bytes) -> None:
    async with stand() as s:
        answer = await s.ask(post(body))
        assert answer.status == 404
        error = answer.json()["error"]
        assert "not found" in error["message"]  # type: ignore[index]
        assert error["code"] == "model_not_found"  # type: ignore[index]
        assert len(answer.body) < 500
        assert list(s.meters) == ["", "m"]
        assert s.meters[""].answers == [404]
        assert s.connects == 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"x","model":"m"}',
        b'{"stream":"yes","model":"m"}',
        b'{"text":"\\ud83d","model":"m"}',
        b'{"x":NaN,"model":"m"}',
        b' \n{"model" : "m"}\n',
        b'{"model":"\\u006d"}',
    ],
)
async def test_bodies_that_real_clients_send_name_their_model(body: bytes) -> None:
    async with stand() as s:
        answer = await s.ask(post(body))
        assert (answer.status, answer.body) == (200, body)


async def test_any_method_with_a_body_that_names_a_model_is_relayed() -> None:
    async with stand(ok) as s:
        for method in (b"GET", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"QUERY"):
            answer = await s.ask(post(chat(), "/any/path").replace(b"POST", method, 1))
            assert answer.status == 200, method


async def test_a_hundred_clients_that_come_and_go_leave_nothing_behind() -> None:
    async with stand(say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")) as s:

        async def visit(number: int) -> None:
            client = await s.client()
            await client.send(post(chat()))
            if number % 3:
                assert (await client.message()).body == b"hi"
            client.close()

        await asyncio.gather(*(visit(number) for number in range(100)))
        await s.gate.until(inside=0, waiting=0)
