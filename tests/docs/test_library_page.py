"""The page for people who embed llmux: its code runs as it stands."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llmux.core.view import Idle
from llmux.policy import FifoPolicy
from llmux.runtime.switcher import ModelSwitcher
from llmux.testing import FakeHooks, run_virtual
from tests.docs.pages import ROOT, blocks

PAGE = (ROOT / "docs" / "library.md").read_text()


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is executed; the app and the layer can be called, `ask` asks."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(
        "models: {llama-8b: {port: 8001, wake: 'true', sleep: 'true'}}\nstate: off\n"
    )
    app_code, layer_code, doors_code, ask_code = blocks(PAGE, "python")

    async def story() -> None:
        scope: dict[str, Any] = {}
        for code in (app_code, layer_code, doors_code, ask_code):
            exec(compile(code, "library.md", "exec"), scope)
        assert callable(scope["app"])
        assert callable(scope["layer"])
        assert scope["app"].app is scope["layer"]
        assert scope["switcher"].registered_models() == ["llama-8b"]
        await scope["switcher"].stop()

    asyncio.run(story())


def test_ask_holds_its_model_awake() -> None:
    """The last block of the page, on virtual time."""
    scope: dict[str, Any] = {}
    exec(compile(blocks(PAGE, "python")[-1], "library.md", "exec"), scope)

    async def story() -> None:

        hooks = FakeHooks({"llama-8b": (1.0, 2.0)})
        switcher = ModelSwitcher(hooks, FifoPolicy())
        assert switcher.state() == Idle()
        await scope["ask"](switcher, "hello")
        assert switcher.active_model() == "llama-8b"
        await switcher.stop()

    run_virtual(story())
