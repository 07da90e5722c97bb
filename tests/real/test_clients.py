"""The clients people use, and a real llama.cpp behind the gateway: what they are told, and when.

A model's words begin with its first letter, so every story sees who answered.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.e2e.house import House, until

if TYPE_CHECKING:
    import anthropic
    import openai

pytestmark = pytest.mark.real

HELLO = "who are you?"


def connect(house: House, timeout: float = 60.0, max_retries: int = 2) -> openai.OpenAI:
    """The client as its users make it."""
    import openai  # noqa: PLC0415 -- may be missing

    return openai.OpenAI(
        base_url=f"http://127.0.0.1:{house.port}/v1",
        api_key="none",
        timeout=timeout,
        max_retries=max_retries,
    )


def connect_anthropic(house: House) -> anthropic.Anthropic:
    import anthropic  # noqa: PLC0415 -- may be missing

    return anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{house.port}", api_key="none", timeout=60.0
    )


def say(client: openai.OpenAI, model: str, tokens: int = 8) -> str:
    """One answer, whole."""
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": HELLO}], max_tokens=tokens
    )
    return answer.choices[0].message.content or ""


def is_from(model: str, text: str) -> bool:
    """Whether a text is in the words of a model, and not empty."""
    words = text.split()
    return bool(words) and all(word.startswith(model[0]) for word in words)


def slots_at_work(house: House, model: str) -> int:
    """How many answers llama.cpp itself is working on."""
    with urllib.request.urlopen(f"http://127.0.0.1:{house.ports[model]}/slots") as answer:
        return sum(bool(slot["is_processing"]) for slot in json.load(answer))


def test_each_model_answers_for_itself(llamas: House) -> None:
    """One client, two models, in turns; the id of each answer can be asked for."""
    llamas.start()
    client = connect(llamas)
    for model in ("quick", "slow", "quick"):
        assert is_from(model, say(client, model))
    answer = client.chat.completions.with_raw_response.create(
        model="quick",
        messages=[{"role": "user", "content": HELLO}],
        max_tokens=2,
        extra_headers={"X-Request-Id": "mine-1"},
    )
    assert answer.request_id == "mine-1"
    assert [one.id for one in client.models.list()] == ["quick", "slow"]
    assert llamas.wakes() == ["quick", "slow", "quick"]
    llamas.assert_one_awake()


def test_streams_of_both_models_at_once(llamas: House) -> None:
    """Asynchronous streams for two models, all sent together: each is whole and from its model."""
    import openai  # noqa: PLC0415 -- may be missing

    llamas.start()

    async def all_at_once() -> list[tuple[str, str, str | None]]:
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{llamas.port}/v1", api_key="none", timeout=60.0
        ) as client:

            async def one(model: str) -> tuple[str, str, str | None]:
                stream = await client.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": HELLO}],
                    max_tokens=10,
                    stream=True,
                )
                text, reason = "", None
                async for piece in stream:
                    if piece.choices:
                        text += piece.choices[0].delta.content or ""
                        reason = piece.choices[0].finish_reason or reason
                return model, text, reason

            return await asyncio.gather(*(one(model) for model in ["quick", "slow"] * 4))

    told = asyncio.run(all_at_once())
    assert len(told) == 8
    for model, text, reason in told:
        assert is_from(model, text), (model, text)
        assert reason == "length"
    llamas.assert_one_awake()


def test_a_long_stream_is_never_cut_by_a_switch(llamas: House) -> None:
    """Somebody waits for the other model all the while; the stream comes to its own end."""
    llamas.start()
    client = connect(llamas)
    stream = client.chat.completions.create(
        model="slow",
        messages=[{"role": "user", "content": HELLO}],
        max_tokens=80,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, reason, tokens = "", None, 0
    other = None
    for piece in stream:
        if piece.choices:
            text += piece.choices[0].delta.content or ""
            reason = piece.choices[0].finish_reason or reason
        if piece.usage is not None:
            tokens = piece.usage.completion_tokens
        if other is None:
            other = llamas.send("quick", max_tokens=4)
            until(lambda: llamas.waiting("quick") == 1, "the other request waits")
    assert (reason, tokens) == ("length", 80)
    assert is_from("slow", text)
    assert other is not None
    assert is_from("quick", other.result(60).json()["choices"][0]["message"]["content"])
    llamas.assert_one_awake()


def test_a_model_that_still_loads_is_waited_for(llamas: House) -> None:
    """The port is open, everything answers 503 "Loading model", and no client sees any of it."""
    llamas.start()
    client = connect(llamas, max_retries=0)
    seen = llamas.folder / f"{llamas.ports['slow']}.health"
    for _ in range(5):
        assert is_from("slow", say(client, "slow", 2))
        if seen.read_text() == "503":
            break
        assert is_from("quick", say(client, "quick", 2))
    assert seen.read_text() == "503", "no wake left the model loading, so nothing was shown"
    assert llamas.metric("llmux_requests_total", model="slow", status="503") is None


def test_a_client_that_closes_frees_its_slot(llamas: House) -> None:
    """What nobody reads is not computed any longer, and the next switch need not wait for it."""
    llamas.start()
    client = connect(llamas)
    stream = client.chat.completions.create(
        model="slow", messages=[{"role": "user", "content": HELLO}], max_tokens=3000, stream=True
    )
    next(iter(stream))
    assert slots_at_work(llamas, "slow") == 1
    stream.close()
    until(lambda: slots_at_work(llamas, "slow") == 0, "llama.cpp's slot is free", 3.0)
    until(lambda: llamas.inside("slow") == 0, "it is not in flight", 3.0)
    assert is_from("quick", say(client, "quick"))


def test_an_unknown_model_is_a_not_found_error(llamas: House) -> None:
    """With the code, the message and the id that a user would report."""
    import openai  # noqa: PLC0415 -- may be missing

    llamas.start()
    with pytest.raises(openai.NotFoundError) as caught:
        say(connect(llamas), "none")
    assert caught.value.code == "model_not_found"
    assert "not found" in caught.value.message
    assert caught.value.request_id
    assert llamas.metric("llmux_requests_total", model="", status="404") == 1


def test_a_client_that_loses_patience_leaves_the_queue(llamas: House) -> None:
    """Its own time-out is its own error, and nobody is woken for it afterwards."""
    import openai  # noqa: PLC0415 -- may be missing

    llamas.start()
    with connect(llamas).chat.completions.create(
        model="slow", messages=[{"role": "user", "content": HELLO}], max_tokens=3000, stream=True
    ):
        with pytest.raises(openai.APITimeoutError):
            say(connect(llamas, timeout=0.3, max_retries=0), "quick")
        until(lambda: llamas.waiting("quick") == 0, "it has left the queue")
    assert is_from("slow", say(connect(llamas), "slow", 2))
    assert llamas.wakes() == ["slow"]


def test_a_queue_timeout_is_told_once(llamas: House) -> None:
    """A 504 after a wait in vain says that asking again is no use, and the client believes it."""
    import openai  # noqa: PLC0415 -- may be missing

    llamas.policy["request_timeout_secs"] = 2
    llamas.models["slow"]["request_timeout_secs"] = None
    llamas.start()
    with (
        connect(llamas).chat.completions.create(
            model="slow",
            messages=[{"role": "user", "content": HELLO}],
            max_tokens=3000,
            stream=True,
        ),
        pytest.raises(openai.InternalServerError) as caught,
    ):
        say(connect(llamas), "quick")
    assert caught.value.status_code == 504
    assert caught.value.code == "queue_timeout"
    assert llamas.metric("llmux_requests_total", model="quick", status="504") == 1


def test_a_broken_hook_is_told_once(llamas: House) -> None:
    """A failure that will repeat is not retried, so a broken model is not woken three times."""
    import openai  # noqa: PLC0415 -- may be missing

    llamas.models["slow"]["wake"] = f"{llamas.noted('wake-begin')}; exit 3"
    llamas.start()
    with pytest.raises(openai.InternalServerError) as caught:
        say(connect(llamas), "slow")
    assert (caught.value.status_code, caught.value.code) == (500, "hook_failed")
    assert caught.value.request_id
    assert llamas.wakes() == ["slow"]
    assert is_from("quick", say(connect(llamas), "quick"))


def test_an_anthropic_client_whole_and_streaming(llamas: House) -> None:
    """The other dialect, through llama.cpp's own Messages API."""
    llamas.start()
    client = connect_anthropic(llamas)
    for model in ("quick", "slow"):
        answer = client.messages.create(
            model=model, max_tokens=6, messages=[{"role": "user", "content": HELLO}]
        )
        assert is_from(model, "".join(getattr(part, "text", "") for part in answer.content))
    with client.messages.stream(
        model="quick", max_tokens=6, messages=[{"role": "user", "content": HELLO}]
    ) as stream:
        assert is_from("quick", "".join(stream.text_stream))
    assert llamas.wakes() == ["quick", "slow", "quick"]


def test_an_anthropic_client_hears_errors_in_its_own_shape(llamas: House) -> None:
    """NotFoundError and InternalServerError with a type and a message, each asked once."""
    import anthropic  # noqa: PLC0415 -- may be missing

    llamas.models["slow"]["wake"] = f"{llamas.noted('wake-begin')}; exit 3"
    llamas.start()
    client = connect_anthropic(llamas)
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(
            model="none", max_tokens=6, messages=[{"role": "user", "content": HELLO}]
        )
    assert isinstance(missing.value.body, dict)
    assert missing.value.body["error"]["type"] == "not_found_error"
    assert missing.value.response.headers["x-request-id"]
    with pytest.raises(anthropic.InternalServerError):
        client.messages.create(
            model="slow", max_tokens=6, messages=[{"role": "user", "content": HELLO}]
        )
    assert llamas.wakes() == ["slow"]
