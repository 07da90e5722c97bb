"""The demo with real llama.cpp servers: the same show, and a word where they are not installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmux.demo.cast import MODELS
from tests.e2e.test_demo import Demo
from tests.ports import free_port


@pytest.mark.real
@pytest.mark.usefixtures("models")
def test_real_llama_cpp_servers_take_turns_and_leave_nothing(tmp_path: Path) -> None:
    """Each answers in words of its own letter, which `--once` judges by its exit code."""
    port = free_port()
    demo = Demo(tmp_path, "--llamacpp", "--once", "--port", str(port))
    assert demo.end() == 0, demo.output
    for model in MODELS:
        assert re.search(rf"answer +{model}: {model[0]}\w+ ", demo.output)
    assert demo.left() == []


def test_whoever_lacks_what_it_needs_is_told_what_brings_it() -> None:
    """In an interpreter that finds none of the packages of the extra."""
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['xllamacpp', 'gguf', 'numpy']))\n"
        "from llmux.cli.main import main\n"
        "sys.argv = ['llmux', 'demo', '--llamacpp']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    [line] = done.stdout.splitlines()
    assert "pip install '.[llamacpp]'" in line
    assert "xllamacpp, gguf, numpy" in line
