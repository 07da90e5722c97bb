"""The schedule on the page about `fifo` is what the switcher does, second by second."""

from __future__ import annotations

import asyncio

from llmux.policy import FifoPolicy
from llmux.testing import run_virtual
from tests.docs.pages import read, rows
from tests.runtime.house import House


def test_the_schedule_on_the_page_is_what_happens() -> None:
    """llama awake and busy from 0 to 4 s; then qwen at 1 s, llama at 2 s, qwen at 3 s."""
    page = read("docs/fifo.md")
    told = [int(row[0].removesuffix(" s")) for row in rows(page) if row[0].endswith(" s")]
    assert told == [0, 1, 2, 4, 14, 15, 25]

    async def story() -> None:
        house = House({"llama": (1.0, 9.0), "qwen": (1.0, 9.0)}, FifoPolicy())
        await house.switcher.force_switch("llama")
        zero = house.now
        visits = [house.send("llama", 4.0)]
        for model in ("qwen", "llama", "qwen"):
            await asyncio.sleep(1.0)
            visits.append(house.send(model, 1.0))
        inside = [visit.inside for visit in await asyncio.gather(*visits)]
        assert [when - zero for when in inside if when is not None] == [0.0, 14.0, 25.0, 14.0]
        hooks = [(when - zero, hook, model) for when, hook, model in house.hooks.timeline()]
        assert hooks[1:] == [
            (4.0, "sleep", "llama"),
            (5.0, "wake", "qwen"),
            (15.0, "sleep", "qwen"),
            (16.0, "wake", "llama"),
        ]

    run_virtual(story())
