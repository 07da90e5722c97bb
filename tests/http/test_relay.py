"""What a request and its answer look like on the other side."""

from __future__ import annotations

import asyncio

import pytest

from tests.http.stand import Line, Message, chat, ok, post, say, stand


def recorder(seen: list[Message], answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"):  # type: ignore[no-untyped-def]
    """Keep each request and give one answer to all."""

    async def talk(line: Line) -> None:
        while True:
            seen.append(await line.message())
            await line.send(answer)

    return talk


async def test_a_request_reaches_its_backend_and_the_answer_comes_back() -> None:
    async with stand() as s:
        body = chat(prompt="hello")
        answer = await s.ask(post(body))
        assert answer.status == 200
        assert answer.body == body
        assert s.meters["m"].answers == [200]
        assert s.meters["m"].waits == [0.0]
        assert s.gate.left == 1


async def test_the_backend_sees_its_own_host_our_version_via_and_an_id() -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        await s.ask(post(chat()).replace(b"POST", b"PUT", 1))
        [request] = seen
        assert request.start == "PUT /v1/chat/completions HTTP/1.1"
        assert request.get("host") == f"127.0.0.1:{s.gateway.backends['m'].port}"
        assert request.get("via") == "1.1 llmux"
        assert request.get("x-request-id")
        assert request.get("content-length") == str(len(chat()))
        assert request.get("connection") is None


async def test_hop_by_hop_fields_and_what_connection_names_stay_behind_both_ways() -> None:
    seen: list[Message] = []
    reply = (
        b"HTTP/1.1 200 OK\r\nConnection: x-private, keep-alive\r\nX-Private: 1\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Kept: yes\r\n"
        b"Content-Length: 2\r\n\r\nhi"
    )
    async with stand(recorder(seen, reply)) as s:
        answer = await s.ask(
            post(
                chat(),
                "/p",
                "Connection: x-secret",
                "X-Secret: 1",
                "TE: trailers",
                "Keep-Alive: 300",
                "Proxy-Authorization: Basic Zm9v",
                "Authorization: Bearer k",
                "X-Kept: a",
                "x-kept: b",
            )
        )
        [request] = seen
        for name in ("x-secret", "te", "keep-alive", "proxy-authorization", "connection"):
            assert request.get(name) is None
        assert request.all("x-kept") == ["a", "b"]
        assert request.get("authorization") == "Bearer k"
        for name in ("x-private", "keep-alive", "proxy-connection", "connection"):
            assert answer.get(name) is None
        assert answer.get("x-kept") == "yes"


@pytest.mark.parametrize(
    "target",
    ["/v1/a%2Fb?x=%20&y=//", "/../v1/./x", "//double", "/x?http://y/", "/q?", "/%ff%01?%00"],
)
async def test_path_and_query_arrive_unchanged_to_the_byte(target: str) -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        await s.ask(post(chat(), target))
        assert seen[0].start == f"POST {target} HTTP/1.1"


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("http://elsewhere:1/p/q?r=1", "/p/q?r=1"),
        ("HTTP://h/%41?x", "/%41?x"),
        ("http://[::1]:80/a?b", "/a?b"),
    ],
)
async def test_an_absolute_target_is_sent_on_as_a_path(target: str, sent: str) -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        await s.ask(post(chat(), target))
        assert seen[0].start == f"POST {sent} HTTP/1.1"


async def test_an_absolute_target_without_path_means_the_root_which_is_our_own() -> None:
    async with stand() as s:
        assert (await s.ask(post(chat(), "http://h?x"))).status == 405
        assert (await s.ask(post(chat(), "http://h"))).status == 405


async def test_a_chunked_body_arrives_whole_with_its_length() -> None:
    seen: list[Message] = []
    body = chat()
    raw = (
        b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n"
        % (body[:3], len(body) - 3, body[3:])
    )
    async with stand(recorder(seen)) as s:
        assert (await s.ask(raw)).status == 204
        [request] = seen
        assert request.body == body
        assert request.get("content-length") == str(len(body))
        assert request.get("transfer-encoding") is None
        assert request.get("x-trailer") is None


async def test_ids_are_echoed_made_or_left_to_the_backend() -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        mine = await s.ask(post(chat(), "/p", "X-Request-Id: mine-1"))
        assert mine.get("x-request-id") == seen[0].get("x-request-id") == "mine-1"
        made = await s.ask(post(chat(), "/p", "X-Request-Id: not good"))
        assert made.get("x-request-id") == seen[1].get("x-request-id")
        assert made.get("x-request-id") not in ("not good", None)
        assert made.get("date")
    reply = (
        b"HTTP/1.1 204 No\r\nx-request-id: theirs\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
    )
    async with stand(say(reply)) as s:
        theirs = await s.ask(post(chat(), "/p", "X-Request-Id: mine-1"))
        assert theirs.get("x-request-id") == "theirs"
        assert theirs.get("date") == "Thu, 01 Jan 2026 00:00:00 GMT"


async def test_each_piece_of_a_stream_goes_on_before_the_next_is_there() -> None:
    taken = asyncio.Event()

    async def talk(line: Line) -> None:
        await line.message()
        await line.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for count in range(3):
            await line.send(b"9\r\ndata: %d\n\n\r\n" % count)
            await taken.wait()
            taken.clear()
        await line.send(b"0\r\nX-Sum: 3\r\n\r\n")
        await line.message()

    async with stand(talk) as s:
        client = await s.client()
        await client.send(post(chat(stream=True)))
        head = await client.head()
        assert head.get("transfer-encoding") == "chunked"
        for count in range(3):
            piece = b"9\r\ndata: %d\n\n\r\n" % count
            assert await client.reader.readexactly(len(piece)) == piece
            taken.set()
        end = b"0\r\nX-Sum: 3\r\n\r\n"
        assert await client.reader.readexactly(len(end)) == end
        assert s.gate.inside == []


async def test_an_answer_that_ends_with_its_connection_gets_chunks() -> None:
    async def talk(line: Line) -> None:
        await line.message()
        await line.send(b"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nto the ", b"end")

    async with stand(talk) as s:
        client = await s.client()
        for _ in range(2):
            await client.send(post(chat()))
            answer = await client.message()
            assert (answer.status, answer.body, answer.complete) == (200, b"to the end", True)
            assert answer.start.startswith("HTTP/1.1 ")


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.0 200 OK\r\n\r\nabcde",
    ],
)
async def test_http_1_0_clients_get_no_chunks_and_no_interim_answers(reply: bytes) -> None:
    async def talk(line: Line) -> None:
        await line.message()
        await line.send(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + reply)

    body = chat()
    async with stand(talk) as s:
        client = await s.client()
        await client.send(b"POST /p HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        answer = await client.message()
        assert (answer.status, answer.body) == (200, b"abcde")
        assert answer.get("transfer-encoding") is None
        assert answer.get("connection") == "close"
        assert await client.ended()


@pytest.mark.parametrize(
    "first", [b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Content-Length: 0\r\n\r\n"]
)
async def test_who_comes_after_a_client_of_http_1_0_gets_chunks(first: bytes) -> None:
    """The backend keeps its connections open, so the next one might be asked over the same."""
    chunks = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    answers = [b"HTTP/1.1 200 OK\r\n" + first, chunks]

    async def talk(line: Line) -> None:
        while True:
            await line.message()
            await line.send(answers.pop(0))

    body = chat()
    async with stand(talk) as s:
        old = await s.ask(b"POST /p HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert (old.status, old.body) == (200, b"")
        answer = await s.ask(post(body))
        assert answer.get("transfer-encoding") == "chunked"
        assert (answer.body, answer.complete) == (b"abcde", True)


async def test_http_1_0_keep_alive_is_kept_where_the_length_is_known() -> None:
    body = chat()
    raw = b"POST /p HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%b"
    async with stand() as s:
        client = await s.client()
        for _ in range(2):
            await client.send(raw % (len(body), body))
            answer = await client.message()
            assert answer.get("connection") == "keep-alive"
            assert answer.body == body


async def test_interim_answers_come_through_before_the_final_one() -> None:
    reply = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    )
    async with stand(say(reply)) as s:
        client = await s.client()
        await client.send(post(chat()))
        hint = await client.message()
        assert (hint.status, hint.get("link")) == (103, "</a>")
        assert (await client.message()).status == 102
        assert (await client.message()).body == b"hi"


async def test_who_expects_100_gets_it_once_before_sending_its_body() -> None:
    reply = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    body = chat()
    async with stand(say(reply)) as s:
        client = await s.client()
        await client.send(post(body, "/p", "Expect: 100-continue")[: -len(body)])
        assert (await client.message()).status == 100
        await client.send(body)
        assert (await client.message()).status == 200


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
async def test_an_answer_to_head_has_no_body(reply: bytes) -> None:
    async with stand(say(reply)) as s:
        client = await s.client()
        for _ in range(2):
            await client.send(post(chat()).replace(b"POST", b"HEAD", 1))
            answer = await client.message(bodiless=True)
            assert answer.status == 200
        await client.send(post(b""))
        assert (await client.message()).status == 404


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_body_leave_the_connection_usable(status: bytes) -> None:
    async with stand(say(b"HTTP/1.1 %b\r\nETag: x\r\n\r\n" % status)) as s:
        client = await s.client()
        for _ in range(3):
            await client.send(post(chat()))
            answer = await client.message()
            assert answer.status == int(status[:3])
            assert answer.get("transfer-encoding") is None
        assert s.connects == 1


async def test_pipelined_requests_are_answered_in_order_over_one_connection() -> None:
    async with stand() as s:
        client = await s.client()
        bodies = [chat(n=count) for count in range(100)]
        await client.send(b"".join(map(post, bodies)))
        for body in bodies:
            assert (await client.message()).body == body
        assert s.connects == 1


async def test_connection_close_is_answered_and_obeyed() -> None:
    async with stand() as s:
        client = await s.client()
        await client.send(post(chat(), "/p", "Connection: close"))
        assert (await client.message()).get("connection") == "close"
        assert await client.ended()


async def test_a_tunnel_carries_raw_bytes_both_ways_until_one_side_closes() -> None:
    async def talk(line: Line) -> None:
        request = await line.message()
        assert request.get("upgrade") == "websocket"
        assert request.get("connection") == "upgrade"
        await line.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: k\r\n\r\n\x01first"
        )
        while data := await line.reader.read(100):
            await line.send(data.upper())

    async with stand(talk) as s:
        client = await s.client()
        await client.send(post(chat(), "/rt", "Connection: Upgrade", "Upgrade: websocket"))
        answer = await client.message()
        assert (answer.status, answer.get("upgrade")) == (101, "websocket")
        assert answer.get("sec-websocket-accept") == "k"
        assert await client.reader.readexactly(6) == b"\x01first"
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await client.reader.readexactly(18) == b"GET / HTTP/1.1\r\n\r\n"
        assert len(s.gate.inside) == 1
        client.close()
        await s.gate.until(inside=0)
        await s.closed.wait()


async def test_an_upgrade_that_is_not_taken_leaves_the_connection_to_http() -> None:
    async with stand(ok) as s:
        client = await s.client()
        await client.send(
            post(chat(n=1), "/p", "Connection: upgrade", "Upgrade: websocket") + post(chat(n=2))
        )
        assert (await client.message()).body == chat(n=1)
        assert (await client.message()).body == chat(n=2)


async def test_h2c_is_not_offered_to_the_backend() -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        await s.ask(
            post(
                chat(),
                "/p",
                "Connection: Upgrade, HTTP2-Settings",
                "Upgrade: h2c",
                "HTTP2-Settings: AAMAAABk",
            )
        )
        assert seen[0].get("upgrade") is None
        assert seen[0].get("http2-settings") is None


async def test_max_forwards_is_counted_down_and_ends_here() -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        raw = post(chat(), "/p", "Max-Forwards: 3").replace(b"POST", b"OPTIONS", 1)
        await s.ask(raw)
        assert seen[0].get("max-forwards") == "2"
        last = await s.ask(raw.replace(b"Forwards: 3", b"Forwards: 0"))
        assert last.status == 204
        trace = raw.replace(b"Forwards: 3", b"Forwards: 0").replace(b"OPTIONS", b"TRACE")
        assert (await s.ask(trace)).status == 405
        assert len(seen) == 1
