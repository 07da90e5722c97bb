"""Each kind of client finds what it looks for: ids under its own name, errors in its own shape."""

from __future__ import annotations

import pytest

from tests.http.stand import chat, post, say, stand


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"", "mine"),
        (b"x-request-id: theirs\r\n", "theirs"),
        (b"Request-Id: own\r\n", "own"),
        (b"request-id: own\r\nX-Request-Id: theirs\r\n", "own"),
    ],
)
async def test_anthropics_clients_find_the_id_in_their_field(fields: bytes, expected: str) -> None:
    async with stand(say(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 0\r\n\r\n")) as s:
        for _ in range(2):  # the second head is known already
            answer = await s.ask(post(chat(), "/v1/messages", "X-Request-Id: mine"))
            assert answer.get("request-id") == expected
        other = await s.ask(post(chat(), "/v1/chat/completions", "X-Request-Id: mine"))
        assert other.get("request-id") == ("own" if b": own" in fields else None)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_errors_of_our_own_carry_it_too(path: str) -> None:
    async with stand() as s:
        answer = await s.ask(post(chat("nobody"), path, "X-Request-Id: mine"))
        assert (answer.status, answer.get("request-id")) == (404, "mine")
        assert answer.get("x-request-id") == "mine"
