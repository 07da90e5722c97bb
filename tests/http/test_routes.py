"""The gateway's own paths answer by themselves and never wake anything."""

from __future__ import annotations

import pytest

from llmux.errors import (
    BackendTimeoutError,
    BackendUnreachableError,
    BodyTooLargeError,
    LlmuxError,
    NotReadyError,
    QueueFullError,
)
from llmux.http.dialects import error_body
from tests.http.stand import chat, post, stand

OWN = [
    "/", "/v1/models", "/v1/models/m", "/metrics", "/health", "/healthz", "/livez", "/ready",
    "/readyz", "/metrics?x=y", "/llmux/decisions", "/llmux/decisions?limit=5",
]  # fmt: skip


def get(path: str, method: str = "GET") -> bytes:
    """Write a request without a body."""
    return f"{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


@pytest.mark.parametrize("path", OWN)
async def test_an_own_path_is_read_and_only_read(path: str) -> None:
    async with stand() as s:
        s.gate.awake.clear()
        answer = await s.ask(get(path))
        assert answer.status == 200
        assert answer.get("x-request-id")
        assert answer.get("date")
        head = await s.ask(get(path, "HEAD"), bodiless=True)
        assert head.status == 200
        assert head.get("content-length") == str(len(answer.body))
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            wrong = await s.ask(post(chat(), path).replace(b"POST", method.encode(), 1))
            assert wrong.status == 405
            assert wrong.get("allow") == "GET, HEAD, OPTIONS"
            assert wrong.get("x-llmux-error") == "1"
        assert (await s.ask(get(path, "OPTIONS"))).status == 204
        named = await s.ask(post(chat(), path).replace(b"POST", b"GET", 1))
        assert named.status == 200
        assert s.connects == 0
        assert s.gate.waiting == []


async def test_models_are_listed_by_name_with_their_state() -> None:
    async with stand(models=("b", "org/a", "m")) as s:
        s.gate.awake = {"b"}
        answer = await s.ask(get("/v1/models"))
        assert answer.get("content-type") == "application/json"
        assert answer.json() == {
            "object": "list",
            "data": [
                {
                    "id": name,
                    "object": "model",
                    "created": 0,
                    "owned_by": "llmux",
                    "status": {"value": "loaded" if name == "b" else "unloaded"},
                }
                for name in ("b", "m", "org/a")
            ],
        }


async def test_one_model_is_found_with_a_raw_slash_and_with_an_escaped_one() -> None:
    async with stand(models=("org/a", "é")) as s:
        for path in ("/v1/models/org/a", "/v1/models/org%2Fa", "/v1/models/org%2fa?x=1"):
            assert (await s.ask(get(path))).json()["id"] == "org/a"
        assert (await s.ask(get("/v1/models/%C3%A9"))).json()["id"] == "é"
        for path in ("/v1/models/other", "/v1/models/", "/v1/models/%ff"):
            missing = await s.ask(get(path))
            assert missing.status == 404
            assert "not found" in missing.json()["error"]["message"]  # type: ignore[index]


async def test_metrics_are_what_they_are_rendered_to() -> None:
    async with stand() as s:
        answer = await s.ask(get("/metrics"))
        assert answer.body == b"# nothing\n"
        assert answer.get("content-type") == "text/plain; version=0.0.4; charset=utf-8"


async def test_any_other_path_without_a_model_is_404() -> None:
    async with stand() as s:
        assert (await s.ask(get("/v1/chat/completions"))).status == 404
        assert (await s.ask(get("/favicon.ico"))).status == 404
        websocket = "/v1/realtime HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket"
        assert (
            await s.ask(get(websocket).replace(b" HTTP/1.1\r\nHost", b"\r\nHost"))
        ).status == 404


async def test_the_three_dialects_of_an_error() -> None:
    async with stand() as s:
        openai = await s.ask(post(chat("zz"), "/v1/chat/completions"))
        assert openai.json()["error"]["code"] == "model_not_found"  # type: ignore[index]
        anthropic = await s.ask(post(chat("zz"), "/v1/messages?beta=true"))
        assert anthropic.json()["type"] == "error"
        assert anthropic.json()["error"]["type"] == "not_found_error"  # type: ignore[index]
        ollama = await s.ask(post(chat("zz"), "/api/chat"))
        assert "not found" in str(ollama.json()["error"])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotReadyError("x"), "overloaded_error"),
        (BackendTimeoutError("x"), "timeout_error"),
        (QueueFullError("x"), "rate_limit_error"),
        (BodyTooLargeError("x"), "request_too_large"),
        (BackendUnreachableError("x"), "api_error"),
        (LlmuxError("x"), "api_error"),
    ],
)
def test_anthropic_names_kinds_of_errors_by_their_status(error: LlmuxError, kind: str) -> None:
    assert f'"type":"{kind}"'.encode() in error_body(b"/v1/messages", error)
    assert f'"type":"{kind}"'.encode() not in error_body(b"/v1/messagesque", error)


async def test_decisions_are_asked_for_one_model_or_all_and_so_many_at_most() -> None:
    """What stands in the query is checked; a model that is not there is 404."""
    async with stand() as s:
        assert (await s.ask(get("/llmux/decisions?model=m&limit=3"))).json() == {
            "why": [],
            "decisions": [],
        }
        assert (await s.ask(get("/llmux/decisions?model=%6D"))).status == 200
        assert (await s.ask(get("/llmux/decisions?model=nobody"))).status == 404
        assert (await s.ask(get("/llmux/decisions?model="))).status == 404
        for limit in ("x", "-1", "", "1e3", "%D9%A3", "9999999"):
            assert (await s.ask(get(f"/llmux/decisions?limit={limit}"))).status == 400
