"""The MUSTs of RFC 9110 and 9112 for a gateway, both ways, one story each.

Their names are the rows of the table in `docs/hardening.md`. `test_smuggling` goes deeper into what
is refused, `test_broken_backends` into answers that break.
"""

from __future__ import annotations

import pytest

from llmux.config import ConfigError, parse_config
from llmux.http import Limits
from tests.http.stand import Line, Message, chat, post, say, stand
from tests.http.test_relay import recorder
from tests.http.test_smuggling import CORPUS
from tests.ports import free_port

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def head(*fields: str, start: str = "POST /p HTTP/1.1") -> bytes:
    """Write a head with these fields and a Host."""
    return "\r\n".join([start, "Host: h", *fields, "", ""]).encode("latin-1")


async def refused(raw: bytes, status: int = 400) -> None:
    """A request gets this status, the connection closes, and the backend never hears of it."""
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        client = await s.client()
        await client.send(raw)
        assert (await client.message()).status == status
        assert await client.ended()
        assert seen == []


async def answered_502(reply: bytes) -> None:
    """An answer is not passed on: the client hears 502, and the backend's connection is cut."""
    async with stand(say(reply)) as s:
        answer = await s.ask(post(chat()))
        assert answer.status == 502
        assert answer.get("x-llmux-error") == "1"
        await s.closed.wait()


# ---- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        "X: a\rb\r\n",
        "X: a\r\n b\r\n",
        "X : a\r\n",
        "X: a\0b\r\n",
        "X: a\nY: b\r\n",
    ],
    ids=["bare CR", "obs-fold", "space before the colon", "NUL", "bare LF"],
)
async def test_malformed_fields_are_rejected_both_ways(lines: str) -> None:
    body = chat()
    raw = b"POST /p HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n%b"
    await refused(raw % (lines.encode(), len(body), body))
    await answered_502(b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\n\r\n" % lines.encode())


async def test_whitespace_before_the_first_field_is_rejected_both_ways() -> None:
    await refused(b"POST /p HTTP/1.1\r\n Host: h\r\nContent-Length: 0\r\n\r\n")
    await answered_502(b"HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("hosts", [[], ["h", "h"], ["h", "i"], [""], ["u@h"], ["h/x"], ["h x"]])
async def test_a_request_has_exactly_one_well_formed_host(hosts: list[str]) -> None:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    await refused(f"POST /p HTTP/1.1\r\n{lines}Content-Length: 0\r\n\r\n".encode())


async def test_an_absolute_target_is_accepted_and_its_host_field_is_ignored() -> None:
    """The backend gets a path, and a Host that is its own."""
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        await s.ask(post(chat(), "http://other.example/p?q"))
        [request] = seen
        assert request.start == "POST /p?q HTTP/1.1"
        assert request.get("host") == f"127.0.0.1:{s.gateway.backends['m'].port}"


async def test_transfer_encoding_beside_a_length_is_rejected_both_ways() -> None:
    body = b"5\r\nhello\r\n0\r\n\r\n"
    await refused(head("Content-Length: 5", "Transfer-Encoding: chunked") + body)
    await refused(head("Transfer-Encoding: chunked", "Content-Length: 5") + body)
    both = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    await answered_502(both + body)


@pytest.mark.parametrize("coding", ["gzip", "chunked, gzip", "xchunked", "identity"])
async def test_a_coding_that_does_not_end_in_chunked_is_400_and_close(coding: str) -> None:
    await refused(head(f"Transfer-Encoding: {coding}") + b"0\r\n\r\n")
    await answered_502(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\n0\r\n\r\n" % coding.encode()
    )


async def test_transfer_encoding_in_http_1_0_closes() -> None:
    raw = head("Transfer-Encoding: chunked", "Connection: keep-alive", start="POST /p HTTP/1.0")
    await refused(raw + b"0\r\n\r\n")


@pytest.mark.parametrize("length", ["-1", "+5", "5, 5", "0x5", "five", "9" * 30, ""])
async def test_a_bad_length_is_400_and_close_and_502_from_a_backend(length: str) -> None:
    await refused(head(f"Content-Length: {length}") + b"hello")
    await answered_502(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello".encode())


async def test_two_lengths_are_400_and_502_from_a_backend() -> None:
    await refused(head("Content-Length: 5", "Content-Length: 6") + b"hello")
    await answered_502(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")


async def test_a_short_request_is_never_forwarded_as_if_it_were_whole() -> None:
    seen: list[Message] = []
    async with stand(recorder(seen), limits=Limits(body_timeout_secs=0.2)) as s:
        for raw in (
            post(chat(fill="x" * 100))[:-50],
            head("Transfer-Encoding: chunked") + b"d\r\n" + b'{"model":"m"}' + b"\r\n",
        ):
            client = await s.client()
            await client.send(raw)
            assert (await client.message()).status == 408
            assert await client.ended()
            gone = await s.client()
            await gone.send(raw)
            gone.close()
        assert seen == []


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
async def test_a_short_answer_is_never_ended_as_if_it_were_whole(reply: bytes) -> None:
    async def short(line: Line) -> None:
        await line.message()
        await line.send(reply)

    async with stand(short) as s:
        assert not (await s.ask(post(chat()))).complete


@pytest.mark.parametrize("size", ["ffffffffffffffff0", "1000000000000000d", "-1", "0x5", "+5"])
async def test_chunk_sizes_do_not_overflow(size: str) -> None:
    await refused(head("Transfer-Encoding: chunked") + size.encode() + b"\r\nhello\r\n0\r\n\r\n")
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\nhello\r\n0\r\n\r\n"
    async with stand(say(reply % size.encode())) as s:
        client = await s.client()
        await client.send(post(chat()))
        assert not (await client.message()).complete


async def test_trailers_never_become_fields() -> None:
    """A request's are dropped; an answer's stay trailers."""
    seen: list[Message] = []
    chunks = b'd\r\n{"model":"m"}\r\n0\r\nX-Admin: yes\r\n\r\n'
    async with stand(recorder(seen)) as s:
        await s.ask(head("Transfer-Encoding: chunked") + chunks)
        assert seen[0].get("x-admin") is None
        assert seen[0].get("content-length") == "13"
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n"
    async with stand(say(reply)) as s:
        answer = await s.ask(post(chat()))
        assert answer.get("x-t") is None
        assert answer.get("trailer x-t") == "1"


async def test_the_whole_body_is_read_or_the_connection_closes() -> None:
    """Whoever is refused in the middle of a body is not read on as if a request began there."""
    hidden = post(chat(hidden=True))
    seen: list[Message] = []
    async with stand(recorder(seen), limits=Limits(max_body_bytes=100)) as s:
        client = await s.client()
        await client.send(head("Content-Length: 5000") + hidden)
        assert (await client.message()).status == 413
        assert await client.ended()
        assert (await s.ask(post(b"no model"))).status == 404
        client = await s.client()
        await client.send(post(b"no model") + post(chat()))
        assert [(await client.message()).status for _ in range(2)] == [404, 204]
        assert [message.body for message in seen] == [chat()]


# ---- forwarding -------------------------------------------------------------------------------


async def test_forwarded_messages_carry_our_own_version_both_ways() -> None:
    seen: list[Message] = []
    async with stand(recorder(seen, EMPTY.replace(b"HTTP/1.1", b"HTTP/1.0"))) as s:
        body = chat()
        raw = b"POST /p HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        assert (await s.ask(raw)).start == "HTTP/1.1 200 OK"
        assert (await s.ask(post(body, "/p"))).start == "HTTP/1.1 200 OK"
        assert [request.start for request in seen] == ["POST /p HTTP/1.1"] * 2


async def test_unknown_fields_are_forwarded_in_their_order_both_ways() -> None:
    seen: list[Message] = []
    fields = ["X-B: 1", "x-a: 2", "X-B: 3", "Accept: */*", "X-Empty:"]
    reply = "HTTP/1.1 200 OK\r\n" + "\r\n".join(fields) + "\r\nContent-Length: 0\r\n\r\n"
    async with stand(recorder(seen, reply.encode())) as s:
        answer = await s.ask(post(chat(), "/p", *fields))
        expected = [(name, value.strip()) for name, _, value in (f.partition(":") for f in fields)]
        for message in (seen[0], answer):
            assert [field for field in message.fields if field in expected] == expected


async def test_what_connection_names_is_dropped_both_ways() -> None:
    seen: list[Message] = []
    reply = (
        b"HTTP/1.1 200 OK\r\nConnection: x-hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
        b"X-End: 1\r\nContent-Length: 0\r\n\r\n"
    )
    async with stand(recorder(seen, reply)) as s:
        fields = ("Connection: X-Hop", "Connection: te", "X-Hop: 1", "TE: trailers", "X-End: 1")
        answer = await s.ask(post(chat(), "/p", *fields))
        for message in (seen[0], answer):
            for name in ("connection", "x-hop", "te", "keep-alive"):
                assert message.get(name) is None
            assert message.get("x-end") == "1"


async def test_connection_cannot_drop_what_frames_a_message() -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        await s.ask(post(chat(), "/p", "Connection: content-length, host"))
        assert seen[0].get("content-length") == str(len(chat()))
        assert seen[0].get("host") is not None
    reply = b"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nhi"
    async with stand(say(reply)) as s:
        answer = await s.ask(post(chat()))
        assert (answer.body, answer.complete) == (b"hi", True)


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
async def test_max_forwards_is_counted_down_and_ends_at_zero(method: str) -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        raw = post(chat(), "/p", "Max-Forwards: 1").replace(b"POST", method.encode(), 1)
        await s.ask(raw)
        assert [request.get("max-forwards") for request in seen] == ["0"]
        answer = await s.ask(raw.replace(b"Forwards: 1", b"Forwards: 0"))
        assert answer.status in (204, 405)
        assert len(seen) == 1
        other = post(chat(), "/p", "Max-Forwards: 0")
        await s.ask(other)
        assert seen[-1].get("max-forwards") == "0"


async def test_requests_carry_via() -> None:
    """The way so far comes first."""
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        await s.ask(post(chat(), "/p", "Via: 1.0 edge"))
        assert seen[0].all("via") == ["1.0 edge", "1.1 llmux"]


@pytest.mark.parametrize("target", ["/a%2fb?c=%2F", "/../x/./y", "//x", "/x?", "/%7e~?a=b&&c"])
async def test_path_and_query_are_unchanged_to_the_byte(target: str) -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        await s.ask(post(chat(), target))
        assert seen[0].start == f"POST {target} HTTP/1.1"


async def test_authorization_is_forwarded_untouched() -> None:
    """It is the backend's as long as nothing here asks for a key."""
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        await s.ask(post(chat(), "/p", "Authorization: Bearer sk-1", "X-Api-Key: sk-2"))
        assert seen[0].get("authorization") == "Bearer sk-1"
        assert seen[0].get("x-api-key") == "sk-2"


async def test_interim_answers_of_the_backend_are_forwarded() -> None:
    """Several, and their fields; not to HTTP/1.0, which does not know them."""
    reply = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + EMPTY
    async with stand(say(reply)) as s:
        client = await s.client()
        await client.send(post(chat()))
        told = [await client.message() for _ in range(3)]
        assert [one.status for one in told] == [103, 102, 200]
        assert told[0].get("link") == "</a>"
        body = chat()
        old = await s.ask(b"POST /p HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert old.status == 200


async def test_an_interim_answer_may_say_that_the_connection_will_be_closed() -> None:
    """Some servers write the same fields into both; what counts is what the final one says."""
    reply = b"HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n"
    async with stand(say(reply + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")) as s:
        client = await s.client()
        await client.send(post(chat()))
        assert [(await client.message()).status for _ in range(2)] == [103, 200]


async def test_an_expectation_is_answered_here_and_not_forwarded() -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        body = chat()
        client = await s.client()
        await client.send(head(f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert (await client.message()).status == 100
        await client.send(body)
        assert (await client.message()).status == 204
        assert seen[0].get("expect") is None
    await refused(head("Content-Length: 0", "Expect: a-miracle"))


# ---- retrying, and loops ----------------------------------------------------------------------


async def test_a_post_is_sent_again_only_where_no_byte_can_have_been_processed() -> None:
    """An idle connection that closed is such a case; one that was asked and then closed is not."""
    asked = 0

    async def once(line: Line) -> None:
        nonlocal asked
        await line.message()
        asked += 1
        await line.send(EMPTY)
        await line.message()
        asked += 1  # and close: it was reused and silent

    async def never(line: Line) -> None:
        nonlocal asked
        await line.message()
        asked += 1

    async with stand(never) as s:
        assert (await s.ask(post(chat()))).status == 502
        assert asked == 1
    asked = 0
    async with stand(once) as s:
        assert (await s.ask(post(chat()))).status == 200
        assert (await s.ask(post(chat()))).status == 200
        assert (asked, s.connects) == (3, 2)


async def test_a_refused_connect_and_503_are_tried_again_only_while_the_model_loads() -> None:
    asked = 0

    async def loads(line: Line) -> None:
        nonlocal asked
        while True:
            await line.message()
            asked += 1
            await line.send(EMPTY if asked % 2 == 0 else EMPTY.replace(b"200 OK", b"503 Loading"))

    async with stand(loads) as s:
        s.gate.loading_secs = 10.0
        assert (await s.ask(post(chat()))).status == 200
        assert asked == 2
        s.gate.loading_secs = 0.0
        assert (await s.ask(post(chat()))).status == 503
        assert asked == 3


async def test_the_gateway_never_forwards_to_itself() -> None:
    """Its own port as a model's is refused in the config; no target leads anywhere else."""
    port = free_port()
    text = f"port: {port}\nmodels: {{m: {{port: {port}, wake: x, sleep: y}}}}"
    with pytest.raises(ConfigError, match=str(port)):
        parse_config(text, "config.yaml")
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        await s.ask(post(chat(), f"http://127.0.0.1:{s.port}/p"))
        assert seen[0].start == "POST /p HTTP/1.1"


# ---- the list itself ---------------------------------------------------------------------------


def test_the_smuggling_corpus_has_each_kind_of_trick() -> None:
    """Codings and lengths, folds, line ends, sizes, extensions, targets, NUL, upgrades, waits."""
    text = " | ".join(name for cases in CORPUS.values() for name in cases)
    for kind in ("coding", "length", "fold", "CR", "LF", "chunk size", "extension", "colon"):
        assert text.count(kind) >= 3, kind
    for kind in ("user", "NUL", "h2c", "expectation", "trailer", "Host", "version"):
        assert text.count(kind) >= 2, kind
