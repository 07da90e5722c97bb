"""The page about hooks: its variables are real; its scripts are in `test_example_files`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from llmux.runtime.hooks import HookRunner, HookSpec
from tests.docs.pages import read, rows, section, ticked

PAGE = read("docs/hooks.md")


def test_the_page_names_exactly_the_variables_that_a_hook_finds(tmp_path: Path) -> None:
    command = "env | sed -n 's/^\\(LLMUX_[A-Z_]*\\)=.*/\\1/p' | sort >found"
    spec = HookSpec("a", 8001, wake=command, sleep="true")
    runner = HookRunner([spec], cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    result = asyncio.run(runner.run_wake("a", to_model="a", reason="a test"))
    runner.close()
    assert result.ok
    table = section(PAGE, "What a hook finds around it")
    told = sorted(ticked(row[0])[0] for row in rows(table))
    assert (tmp_path / "found").read_text().split() == told
