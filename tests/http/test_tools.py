"""Answers that call a tool: the gate hears that their clients come back, before they leave."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmux.http.limits import Limits
from llmux.http.tools import ToolWatch, offers_tools
from tests.http.stand import chat, post, say, stand

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def openai(reason: str, **message: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "finish_reason": reason, "message": message}]}


CALLING: list[dict[str, object]] = [
    openai("tool_calls", content=None, tool_calls=[CALL]),
    openai("function_call", function_call={"name": "weather"}),
    {"choices": [{"delta": {"tool_calls": [{"index": 0}]}, "finish_reason": None}]},
    {"type": "message", "stop_reason": "tool_use", "content": [{"type": "tool_use"}]},
    {"type": "response.completed", "response": {"output": [{"type": "function_call"}]}},
    {"type": "response.completed", "response": {"output": [{"type": "custom_tool_call"}]}},
    {"message": {"role": "assistant", "tool_calls": [{"function": {}}]}, "done": True},
]
PLAIN: list[dict[str, object]] = [
    openai("stop", content="hello"),
    openai("length", content='"finish_reason": "tool_calls"'),
    openai("stop", content="hello", tool_calls=[]),
    openai("stop", content=json.dumps(CALLING[0])),
    {"type": "message", "stop_reason": "end_turn", "tools": [{"type": "function"}]},
]


def watched(*pieces: bytes) -> bool:
    """Whether it is found, with nothing lost on the way."""
    out: list[bytes] = []
    watch = ToolWatch(out.append)
    for piece in pieces:
        watch(piece)
    assert out == list(pieces)
    return watch.found


@pytest.mark.parametrize("spaces", [(",", ":"), (", ", ": ")])
def test_calls_are_found_in_the_words_of_each_dialect(spaces: tuple[str, str]) -> None:
    for answer in CALLING:
        assert watched(json.dumps(answer, separators=spaces).encode()), answer
    for answer in PLAIN:
        assert not watched(json.dumps(answer, separators=spaces).encode()), answer


@given(st.sampled_from(CALLING), st.lists(st.integers(1, 40), max_size=60))
def test_a_call_is_found_wherever_the_answer_is_cut(
    answer: dict[str, object], sizes: list[int]
) -> None:
    rest = b"data: " + json.dumps(answer).encode() + b"\n\n"
    pieces = []
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert watched(*pieces, rest)


@given(st.sampled_from(CALLING), st.lists(st.integers(1, 40), min_size=1), st.integers(1, 90))
def test_a_call_is_found_across_chunks_and_reads(
    answer: dict[str, object], sizes: list[int], read: int
) -> None:
    rest = b"data: " + json.dumps(answer).encode() + b"\n\n"
    sent = b""
    while rest:
        for size in sizes:
            chunk, rest = rest[:size], rest[size:]
            sent += b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
    assert watched(*(sent[at : at + read] for at in range(0, len(sent), read)))


def test_a_request_offers_tools_where_it_names_them() -> None:
    assert offers_tools(chat(tools=TOOLS))
    assert not offers_tools(chat())
    assert not offers_tools(chat(messages=[{"role": "user", "content": 'say "tools"'}]))
    assert not offers_tools(b'{"tools":' + b" " * 5_000_000 + b"[]}")


def reply(answer: dict[str, object], status: str = "200 OK") -> bytes:
    body = json.dumps(answer).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


def streamed(*events: dict[str, object]) -> list[bytes]:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    frames = [b"data: %b\n\n" % json.dumps(one).encode() for one in events]
    return [head, *(b"%x\r\n%b\r\n" % (len(one), one) for one in frames), b"0\r\n\r\n"]


@pytest.mark.parametrize("limits", [Limits(), Limits(stream_idle_timeout_secs=30)])
async def test_the_gate_hears_whose_client_comes_back(limits: Limits) -> None:
    answers = [[reply(CALLING[0])], streamed(PLAIN[0], CALLING[2], PLAIN[0]), [reply(PLAIN[0])]]
    for pieces, back in zip(answers, (["m"], ["m"], []), strict=True):
        async with stand(say(*pieces), limits=limits, reads_tool_calls=True) as s:
            answer = await s.ask(post(chat(tools=TOOLS)))
            assert answer.status == 200
            assert s.gate.back == back


async def test_nobody_reads_where_no_tool_is_offered_or_the_policy_does_not_ask() -> None:
    async with stand(say(reply(CALLING[0])), reads_tool_calls=True) as s:
        assert (await s.ask(post(chat()))).status == 200
        assert s.gate.back == []
    async with stand(say(reply(CALLING[0]))) as s:
        assert (await s.ask(post(chat(tools=TOOLS)))).status == 200
        assert s.gate.back == []


async def test_an_answer_that_failed_or_broke_calls_nobody_back() -> None:
    async with stand(say(reply(CALLING[0], "400 Bad Request")), reads_tool_calls=True) as s:
        assert (await s.ask(post(chat(tools=TOOLS)))).status == 400
        assert s.gate.back == []


async def test_what_the_client_says_itself_counts_more() -> None:
    path = "/v1/chat/completions"
    async with stand(say(reply(CALLING[0])), models=("m", "other"), reads_tool_calls=True) as s:
        await s.ask(post(chat(tools=TOOLS), path, "x-llmux-next: other"))
        assert (s.gate.back, s.gate.announced) == ([], ["other"])
    async with stand(say(reply(PLAIN[0]))) as s:
        await s.ask(post(chat(), path, "x-llmux-next: m"))
        assert (s.gate.back, s.gate.announced) == (["m"], [])
