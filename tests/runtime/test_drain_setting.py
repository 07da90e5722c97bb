"""A model's own `drain_before_switch` beats the policy's."""

from __future__ import annotations

import asyncio

import pytest

from llmux.core.lane import LaneSettings
from llmux.policy import FifoPolicy
from llmux.runtime.switcher import ModelSwitcher
from llmux.testing import FakeHooks, run_virtual


@pytest.mark.parametrize(("own", "slept_at"), [(False, 2.0), (True, 11.0)])
def test_the_models_own_key_decides_whether_it_drains(own: bool, slept_at: float) -> None:
    """An answer of `a` runs from 1 s to 11 s; `b` is asked for at 2 s."""

    async def story() -> None:
        hooks = FakeHooks({"a": (1.0, 1.0), "b": (1.0, 1.0)})
        settings = {"a": LaneSettings("a", drain_before_switch=own)}
        switcher = ModelSwitcher(hooks, FifoPolicy(drain_before_switch=not own), settings=settings)

        async def ask(model: str, at: float, seconds: float) -> None:
            await asyncio.sleep(at)
            async with switcher.serving(model):
                await asyncio.sleep(seconds)

        await asyncio.gather(ask("a", 0.0, 10.0), ask("b", 2.0, 0.0))
        assert (slept_at, "sleep", "a") in hooks.timeline()
        await switcher.stop()

    run_virtual(story())
