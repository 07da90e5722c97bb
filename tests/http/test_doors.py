"""The doors over real sockets: who is let in, what a backend sees, and what a page may read."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from pathlib import Path

import pytest

from llmux.config import AuthConfig, KeyConfig
from llmux.http.browser import BrowserGate
from llmux.http.keys import Keyring, make_keyring
from tests.http.stand import Line, Message, chat, post, stand

PAGE = "https://chat.example.org"
BROWSER = BrowserGate("127.0.0.1", [PAGE])


def key(text: str, name: str = "", models: tuple[str, ...] | None = None) -> KeyConfig:
    return KeyConfig("sha256", sha256(text.encode()).hexdigest(), name, models)


def ring(*keys: KeyConfig, admin: tuple[KeyConfig, ...] = ()) -> Keyring:
    return make_keyring(AuthConfig(keys, admin), Path())


KEYS = ring(key("good"), key("only-m", models=("m",)), admin=(key("root"),))


async def told(line: Line) -> None:
    """Answer each request with the fields that came."""
    while True:
        message = await line.message()
        body = json.dumps([message.start, *message.fields]).encode()
        await line.send(
            b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )


def get(path: str, *fields: str, method: str = "GET", host: str = "localhost") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *fields]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n"


def code(answer: Message) -> object:
    error = answer.json()["error"]
    assert isinstance(error, dict)
    return error["code"]


def names(answer: Message) -> set[str]:
    """The names of the fields that the backend was shown."""
    _, *fields = json.loads(answer.body)
    return {name.lower() for name, _ in fields}


async def test_a_key_opens_in_each_way_that_clients_send_it_and_goes_no_further() -> None:
    async with stand(told, keyring=KEYS) as the:
        for field in (
            "Authorization: Bearer good",
            "authorization:   bEaReR   good  ",
            "X-Api-Key: good",
            "Authorization: Bearer root",
        ):
            for _ in range(3):  # the second and third are recognized by their heads
                answer = await the.ask(post(chat(), "/v1/x", field, "X-Other: stays"))
                assert answer.status == 200, field
                assert not names(answer) & {"authorization", "x-api-key"}
                assert "x-other" in names(answer)
        both = ("Authorization: Bearer another", "x-api-key: good")
        answer = await the.ask(post(chat(), "/v1/x", *both))
        assert answer.status == 200
        assert not names(answer) & {"authorization", "x-api-key"}


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Authorization: Bearer",),
        ("Authorization: Bearer ",),
        ("Authorization: Bearer bad",),
        ("Authorization: Bearer goo",),
        ("Authorization: Bearer good good",),
        ("Authorization: Basic good",),
        ("Authorization: good",),
        ("Authorization:",),
        ("x-api-key:",),
        ("x-api-key: b\xfc\xdf",),
        ("Authorization: Bearer good", "Authorization: Bearer good"),
        ("Authorization: Bearer bad", "Authorization: Bearer good"),
        ("x-api-key: good", "X-API-KEY: bad"),
        ("Cookie: key=good",),
    ],
)
async def test_everything_else_is_401_in_the_shape_that_clients_read(
    fields: tuple[str, ...],
) -> None:
    async with stand(told, keyring=KEYS) as the:
        openai = await the.ask(post(chat(), "/v1/chat/completions", *fields))
        assert openai.status == 401
        assert code(openai) == "invalid_api_key"
        empty = all(field.partition(":")[2].strip() in ("", "Bearer") for field in fields)
        assert (b"A key is needed here" in openai.body) or not empty
        assert openai.get("www-authenticate") == 'Bearer realm="llmux"'
        assert openai.get("x-should-retry") == "false"
        assert openai.get("connection") == "close"
        anthropic = await the.ask(post(chat(), "/v1/messages", *fields))
        error = anthropic.json()["error"]
        assert isinstance(error, dict)
        assert error["type"] == "authentication_error"
        assert the.connects == 0
        assert the.meters[""].answers == [401, 401]


async def test_a_key_that_is_not_ascii_is_compared_as_its_bytes() -> None:
    async with stand(told, keyring=ring(key("schlüssel"))) as the:
        field = "Authorization: Bearer schlüssel"
        raw = get("/v1/models", field)
        assert (await the.ask(raw)).status == 200
        assert (await the.ask(post(b"", "/v1/models", field))).status == 401  # as Latin-1


async def test_a_refused_upload_is_answered_before_its_body() -> None:
    """The head is enough: neither 100 MB nor one byte of them has to come, nor is 100 said."""
    async with stand(told, keyring=KEYS) as the:
        for more in ("Expect: 100-continue", "X-No: expectation"):
            client = await the.client()
            head = f"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n{more}\r\n\r\n"
            await client.send(head.encode())
            answer = await client.message()
            assert answer.status == 401
            assert answer.get("connection") == "close"
            assert await client.ended()


async def test_a_client_that_goes_on_sending_can_still_read_why_it_was_refused() -> None:
    async with stand(told, keyring=KEYS) as the:
        client = await the.client()
        await client.send(b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(20):
            await client.send(b"x" * 65536)
        assert (await client.message()).status == 401


async def test_what_is_pipelined_behind_a_refused_request_is_never_read() -> None:
    async with stand(told, keyring=KEYS) as the:
        client = await the.client()
        good = post(chat(), "/v1/x", "Authorization: Bearer good")
        await client.send(good + post(chat(), "/v1/x") + good + good)
        assert (await client.message()).status == 200
        assert (await client.message()).status == 401
        assert await client.ended()
        assert the.gate.left == 1


async def test_a_key_of_some_models_opens_those_and_tells_of_no_others() -> None:
    """Whether there is such a model cannot be told from the answer."""
    mine = "Authorization: Bearer only-m"
    async with stand(told, models=("m", "other"), keyring=KEYS) as the:
        assert (await the.ask(post(chat("m"), "/v1/x", mine))).status == 200
        answers = [await the.ask(post(chat(name), "/v1/x", mine)) for name in ("other", "nowhere")]
        answers += [await the.ask(get(f"/v1/models/{name}", mine)) for name in ("other", "nowhere")]
        for answer in answers:
            assert answer.status == 403
            assert code(answer) == "not_allowed"
        assert (await the.ask(get("/v1/models/m", mine))).status == 200
        assert b"other" not in (await the.ask(get("/v1/models", mine))).body
        everything = await the.ask(get("/v1/models", "x-api-key: good"))
        assert b"other" in everything.body
        assert (await the.ask(post(b"no model", "/v1/x", mine))).status == 404


async def test_each_path_takes_the_key_that_its_scope_says() -> None:
    async with stand(told, keyring=KEYS) as the:
        for path in ("/health", "/healthz", "/livez", "/ready", "/readyz"):
            for field in ("X-No: key", "x-api-key: bad"):
                assert (await the.ask(get(path, field))).status == 200, path
        for path in ("/v1/models", "/", "/v1/models/m"):
            assert (await the.ask(get(path))).status == 401, path
            assert (await the.ask(get(path, "x-api-key: good"))).status == 200, path
            assert (await the.ask(get(path, "x-api-key: root"))).status == 200, path
        assert (await the.ask(get("/metrics"))).status == 401
        assert (await the.ask(get("/metrics", "x-api-key: good"))).status == 403
        assert (await the.ask(get("/metrics", "x-api-key: root"))).status == 200


async def test_without_admin_keys_a_key_for_all_models_shows_the_inside() -> None:
    async with stand(told, keyring=ring(key("good"), key("some", models=("m",)))) as the:
        assert (await the.ask(get("/metrics", "x-api-key: good"))).status == 200
        assert (await the.ask(get("/metrics", "x-api-key: some"))).status == 403
        assert (await the.ask(get("/metrics"))).status == 401


async def test_with_admin_keys_alone_models_stay_open_and_other_credentials_pass() -> None:
    """What is not ours is for the backend; what is ours is for nobody else."""
    async with stand(told, keyring=ring(admin=(key("root"),))) as the:
        theirs = await the.ask(post(chat(), "/v1/x", "Authorization: Bearer theirs"))
        assert "authorization" in names(theirs)
        ours = await the.ask(post(chat(), "/v1/x", "Authorization: Bearer root"))
        assert "authorization" not in names(ours)
        assert (await the.ask(get("/metrics"))).status == 401


async def test_without_keys_credentials_are_passed_on_untouched_and_in_place() -> None:
    async with stand(told) as the:
        fields = ("X-A: 1", "Authorization: Bearer a", "authorization: b", "X-Api-Key: c", "X-B: 2")
        for _ in range(3):
            answer = await the.ask(post(chat(), "/v1/x", *fields))
            _, *seen = json.loads(answer.body)
            assert [": ".join(pair) for pair in seen if pair[0] != "Host"][:5] == list(fields)


async def test_a_changed_key_counts_at_the_next_request_of_an_open_connection(
    tmp_path: Path,
) -> None:
    """Also for a head that was recognized a moment ago."""
    file = tmp_path / "key"
    file.write_text("old")
    keyring = make_keyring(AuthConfig((KeyConfig("file", str(file)),)), tmp_path)
    async with stand(told, keyring=keyring) as the:
        client = await the.client()
        old = post(chat(), "/v1/x", "Authorization: Bearer old")
        for _ in range(3):
            await client.send(old)
            assert (await client.message()).status == 200
        file.write_text("new")
        new = post(chat(), "/v1/x", "Authorization: Bearer new")
        while (await the.ask(new)).status != 200:
            await asyncio.sleep(0.05)
        await client.send(old)
        assert (await client.message()).status == 401


async def test_other_doors_hold_for_connections_that_are_open_already() -> None:
    async with stand(told) as the:
        client = await the.client()
        await client.send(post(chat(), "/v1/x"))
        assert (await client.message()).status == 200
        the.gateway.change_doors(KEYS, BROWSER)
        await client.send(post(chat(), "/v1/x"))
        assert (await client.message()).status == 401


# Pages.


@pytest.mark.parametrize(
    "fields",
    [
        ("Origin: https://evil.example",),
        ("Origin: null",),
        (f"Origin: {PAGE}", f"Origin: {PAGE}"),
        ("Sec-Fetch-Site: cross-site",),
        ("Referer: https://evil.example/page",),
    ],
)
async def test_a_strangers_page_wakes_nothing(fields: tuple[str, ...]) -> None:
    async with stand(told, browser=BROWSER) as the:
        for raw in (post(chat(), "/v1/x", *fields), get("/v1/x", *fields, method="OPTIONS")):
            answer = await the.ask(raw)
            assert answer.status == 403
            assert code(answer) == "origin_not_allowed"
            assert answer.get("access-control-allow-origin") is None
        assert the.gate.left == the.connects == 0


async def test_a_rebound_name_may_not_even_read() -> None:
    async with stand(told, browser=BROWSER) as the:
        for path in ("/metrics", "/v1/models", "/"):
            evil = get(path, "Sec-Fetch-Site: same-origin", host="evil.example")
            assert (await the.ask(evil)).status == 403
            both = get(path, "Origin: http://evil.example", host="evil.example")
            assert (await the.ask(both)).status == 403
            assert (await the.ask(get(path, "Sec-Fetch-Site: cross-site"))).status == 200
            assert (await the.ask(get(path, host="any.name"))).status == 200
        assert (await the.ask(get("/health", "Origin: http://evil.example"))).status == 200


async def test_by_default_no_page_may_read_what_it_gets() -> None:
    async with stand(browser=BROWSER) as the:
        local = await the.ask(post(chat(), "/v1/x", "Origin: http://localhost:5173"))
        assert local.status == 200
        assert local.get("access-control-allow-origin") is None


async def test_an_allowed_page_may_call_and_read_answers_and_errors_alike() -> None:
    """The gateway's word stands alone: a backend's own is taken out."""
    async with stand(told, browser=BROWSER, keyring=KEYS) as the:
        origin = f"Origin: {PAGE}"
        for _ in range(3):
            good = await the.ask(post(chat(), "/v1/x", origin, "Authorization: Bearer good"))
            assert good.get("access-control-allow-origin") == PAGE, "also where it is recognized"
        refused = await the.ask(post(chat(), "/v1/x", origin))
        listed = await the.ask(get("/v1/models", origin, "x-api-key: good"))
        unknown = await the.ask(post(chat("x"), "/v1/x", origin, "x-api-key: good"))
        answers = [good, refused, listed, unknown]
        assert [answer.status for answer in answers] == [200, 401, 200, 404]
        for answer in answers:
            assert answer.get("access-control-allow-origin") == PAGE
            assert answer.get("vary") == "origin"
            assert answer.get("access-control-allow-credentials") is None
        assert "origin" in names(good)


async def test_a_preflight_is_answered_here_without_a_key() -> None:
    async with stand(told, browser=BROWSER, keyring=KEYS) as the:
        for path in ("/v1/chat/completions", "/v1/models", "/metrics"):
            answer = await the.ask(
                get(
                    path,
                    f"Origin: {PAGE}",
                    "Access-Control-Request-Method: POST",
                    "Access-Control-Request-Headers: authorization, content-type",
                    "Access-Control-Request-Private-Network: true",
                    method="OPTIONS",
                ),
                bodiless=True,
            )
            assert answer.status == 204
            assert answer.get("access-control-allow-origin") == PAGE
            assert "POST" in (answer.get("access-control-allow-methods") or "")
            asked = answer.get("access-control-allow-headers")
            assert asked == "authorization, content-type"
            assert answer.get("access-control-allow-private-network") == "true"
        assert the.connects == 0
        odd = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: \u00fc;<b>")
        answer = await the.ask(get("/x", f"Origin: {PAGE}", *odd, method="OPTIONS"), bodiless=True)
        assert (answer.status, answer.get("access-control-allow-headers")) == (204, None)
        plain = await the.ask(get("/v1/x", f"Origin: {PAGE}", method="OPTIONS"))
        assert plain.status == 401


async def test_answers_of_our_own_cannot_be_framed_or_reinterpreted() -> None:
    async with stand(told) as the:
        for raw in (get("/"), get("/metrics"), post(chat("x"))):
            answer = await the.ask(raw)
            assert answer.get("x-content-type-options") == "nosniff"
            assert answer.get("x-frame-options") == "DENY"
            policy = answer.get("content-security-policy") or ""
            assert "default-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
        assert (await the.ask(post(chat()))).get("x-frame-options") is None
