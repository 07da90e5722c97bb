"""Requests that two readers could read differently are refused, and nothing behind them is read.

The table is the smuggling corpus: each entry is followed by a second request that must never be
answered, because whoever wrote the first may have hidden it there.
"""

from __future__ import annotations

import pytest

from llmux.http import Limits
from tests.http.stand import Message, chat, post, stand
from tests.http.test_relay import recorder

B = b'{"model":"m"}'
H = b"POST /p HTTP/1.1\r\nHost: h\r\n"
L = b"Content-Length: 13\r\n"
T = b"Transfer-Encoding: chunked\r\n"
C = b"d\r\n" + B + b"\r\n0\r\n\r\n"

REFUSED = {
    "length and chunks": H + L + T + b"\r\n" + C,
    "chunks and length": H + T + L + b"\r\n" + C,
    "two lengths": H + L + L + b"\r\n" + B,
    "two different lengths": H + L + b"Content-Length: 5\r\n\r\n" + B,
    "a list of lengths": H + b"Content-Length: 13, 13\r\n\r\n" + B,
    "a signed length": H + b"Content-Length: +13\r\n\r\n" + B,
    "a negative length": H + b"Content-Length: -13\r\n\r\n" + B,
    "a hexadecimal length": H + b"Content-Length: 0xd\r\n\r\n" + B,
    "a length with a space": H + b"Content-Length: 1 3\r\n\r\n" + B,
    "an empty length": H + b"Content-Length:\r\n\r\n" + B,
    "an endless length": H + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n" + B,
    "gzip after chunks": H + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + C,
    "gzip before chunks": H + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + C,
    "chunked twice": H + T + T + b"\r\n" + C,
    "chunked in a list": H + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + C,
    "identity": H + b"Transfer-Encoding: identity\r\n" + b"\r\n" + B,
    "unknown coding": H + b"Transfer-Encoding: xchunked\r\n\r\n" + C,
    "coding with a tab in it": H + b"Transfer-Encoding: chun\tked\r\n\r\n" + C,
    "coding with vertical tab": H + b"Transfer-Encoding:\x0bchunked\r\n\r\n" + C,
    "coding in quotes": H + b'Transfer-Encoding: "chunked"\r\n\r\n' + C,
    "chunks in HTTP/1.0": b"POST /p HTTP/1.0\r\nHost: h\r\n" + T + b"\r\n" + C,
    "space before the colon": H + b"Content-Length : 13\r\n\r\n" + B,
    "tab before the colon": H + b"Transfer-Encoding\t: chunked\r\n\r\n" + C,
    "a folded field": H + b"X: a\r\n b\r\n" + L + b"\r\n" + B,
    "a folded field with tab": H + b"X: a\r\n\tb\r\n" + L + b"\r\n" + B,
    "a folded coding": H + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + C,
    "space before the first field": b"POST /p HTTP/1.1\r\n Host: h\r\n" + L + b"\r\n" + B,
    "bare CR in a value": H + b"X: a\rb\r\n" + L + b"\r\n" + B,
    "bare CR as an end": H + b"X: a\r" + L + b"\r\n" + B,
    "bare LF as an end": H + b"X: a\n" + L + b"\r\n" + B,
    "bare LF only": b"POST /p HTTP/1.1\nHost: h\nContent-Length: 13\n\n" + B,
    "NUL in a value": H + b"X: a\0b\r\n" + L + b"\r\n" + B,
    "NUL in a name": H + b"X\0Y: a\r\n" + L + b"\r\n" + B,
    "a control in a value": H + b"X: a\x01b\r\n" + L + b"\r\n" + B,
    "DEL in a value": H + b"X: a\x7fb\r\n" + L + b"\r\n" + B,
    "a field without colon": H + b"nonsense\r\n" + L + b"\r\n" + B,
    "a field without name": H + b": v\r\n" + L + b"\r\n" + B,
    "a name with a space": H + b"X Y: v\r\n" + L + b"\r\n" + B,
    "a name with a bracket": H + b"X(Y): v\r\n" + L + b"\r\n" + B,
    "no Host": b"POST /p HTTP/1.1\r\n" + L + b"\r\n" + B,
    "no Host with an absolute target": b"POST http://h/p HTTP/1.1\r\n" + L + b"\r\n" + B,
    "two Hosts": H + b"Host: h\r\n" + L + b"\r\n" + B,
    "two Hosts in HTTP/1.0": b"POST /p HTTP/1.0\r\nHost: h\r\nHost: i\r\n" + L + b"\r\n" + B,
    "an empty Host": b"POST /p HTTP/1.1\r\nHost:\r\n" + L + b"\r\n" + B,
    "a Host with a path": b"POST /p HTTP/1.1\r\nHost: h/x\r\n" + L + b"\r\n" + B,
    "a Host with a space": b"POST /p HTTP/1.1\r\nHost: h x\r\n" + L + b"\r\n" + B,
    "a Host with user": b"POST /p HTTP/1.1\r\nHost: u@h\r\n" + L + b"\r\n" + B,
    "a Host with a bad port": b"POST /p HTTP/1.1\r\nHost: h:8x\r\n" + L + b"\r\n" + B,
    "a Host list": b"POST /p HTTP/1.1\r\nHost: h, i\r\n" + L + b"\r\n" + B,
    "a bad authority": b"POST http://u@h/p HTTP/1.1\r\nHost: h\r\n" + L + b"\r\n" + B,
    "another scheme": b"POST ftp://h/p HTTP/1.1\r\nHost: h\r\n" + L + b"\r\n" + B,
    "a target without slash": b"POST p HTTP/1.1\r\nHost: h\r\n" + L + b"\r\n" + B,
    "a star": b"POST * HTTP/1.1\r\nHost: h\r\n" + L + b"\r\n" + B,
    "a fragment": b"POST /p#f HTTP/1.1\r\nHost: h\r\n" + L + b"\r\n" + B,
    "a space in the target": b"POST /p q HTTP/1.1\r\nHost: h\r\n" + L + b"\r\n" + B,
    "a control in the target": b"POST /p\x01 HTTP/1.1\r\nHost: h\r\n" + L + b"\r\n" + B,
    "CONNECT": b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
    "HTTP/0.9": b"GET /p\r\n\r\n",
    "HTTP/1.2": b"POST /p HTTP/1.2\r\nHost: h\r\n" + L + b"\r\n" + B,
    "HTTP/2.0": b"POST /p HTTP/2.0\r\nHost: h\r\n" + L + b"\r\n" + B,
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP in lower case": b"POST /p http/1.1\r\nHost: h\r\n" + L + b"\r\n" + B,
    "a method in lower case": b"post /p HTTP/1.1\r\nHost: h\r\n" + L + b"\r\n" + B,
    "not HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 40,
    "a chunk size too large": H + T + b"\r\nfffffffffffffffff\r\n" + B,
    "a chunk size with sign": H + T + b"\r\n+d\r\n" + B + b"\r\n0\r\n\r\n",
    "a chunk size with 0x": H + T + b"\r\n0xd\r\n" + B + b"\r\n0\r\n\r\n",
    "a chunk size with space": H + T + b"\r\nd \r\n" + B + b"\r\n0\r\n\r\n",
    "a chunk without size": H + T + b"\r\n;x\r\n" + B + b"\r\n0\r\n\r\n",
    "a chunk longer than its size": H + T + b"\r\n5\r\n" + B + b"\r\n0\r\n\r\n",
    "a chunk ended by LF": H + T + b"\r\nd\n" + B + b"\r\n0\r\n\r\n",
    "LF in a chunk's extension": H + T + b"\r\nd;a\nb\r\n" + B + b"\r\n0\r\n\r\n",
    "a bad trailer": H + T + b"\r\nd\r\n" + B + b"\r\n0\r\nX : 1\r\n\r\n",
    "an unknown expectation": H + L + b"Expect: miracles\r\n\r\n" + B,
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_can_be_read_in_two_ways_is_400_and_the_end(kind: str) -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        assert (await s.ask(H + L + b"\r\n" + B)).status == 204  # a head much like it is known
        client = await s.client()
        await client.send(REFUSED[kind] + post(chat(hidden=True)))
        answer = await client.message()
        assert answer.status == 400, kind
        assert answer.get("connection") == "close"
        assert answer.json()["error"]["code"] == "bad_request"  # type: ignore[index]
        assert await client.ended()
        assert not any(b"hidden" in message.body for message in seen)
        assert s.meters[""].answers == [400]


ACCEPTED = {
    "no Host in HTTP/1.0": b"POST /p HTTP/1.0\r\n" + L + b"\r\n" + B,
    "blank lines before": b"\r\n\r\n" + H + L + b"\r\n" + B,
    "names in any case": b"POST /p HTTP/1.1\r\nHOST: h\r\nCONTENT-LENGTH:13\r\n\r\n" + B,
    "chunked in any case": H + b"transfer-encoding: ChunKed\r\n\r\n" + C,
    "spaces around a length": H + b"Content-Length: \t 13 \t\r\n\r\n" + B,
    "leading zeros": H + b"Content-Length: 0013\r\n\r\n" + B,
    "chunk size in zeros": H + T + b"\r\n000d\r\n" + B + b"\r\n0\r\n\r\n",
    "a Host with port": b"POST /p HTTP/1.1\r\nHost: [::1]:3000\r\n" + L + b"\r\n" + B,
    "bytes above ASCII": H + b"X: \xc3\xa9\r\n" + L + b"\r\n" + B,
    "an empty value": H + b"X:\r\n" + L + b"\r\n" + B,
}


@pytest.mark.parametrize("kind", ACCEPTED)
async def test_unusual_but_clear_requests_are_relayed(kind: str) -> None:
    async with stand() as s:
        for _ in range(3):
            answer = await s.ask(ACCEPTED[kind])
            assert (answer.status, answer.body) == (200, B)


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
            assert (answer.get("connection") == "close") == (fields == ("Connection: close",))
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
        meanings = s.gateway.known._meanings
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
