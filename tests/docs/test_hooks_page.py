"""The page about hooks: its llama.cpp scripts wake and sleep a stand-in, its variables are real."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmux.runtime.hooks import HookRunner, HookSpec
from tests.conftest import Need
from tests.docs.pages import blocks, read, rows, section, ticked

PAGE = read("docs/hooks.md")

STAND_IN = f"""#!{sys.executable}
import http.server, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
if "broken" in sys.argv[sys.argv.index("--model") + 1]:
    sys.exit("the weights are broken")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def script(name: str) -> str:
    return next(text for text in blocks(PAGE, "sh") if f"# {name}:" in text)


class Hooks:
    """The page's llama.cpp scripts in a folder, with a `llama-server` of ours on the path."""

    def __init__(self, folder: Path, model: str = "llama-8b") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.pidfile = folder / "llama.pid"
        for name in ("wake-llama.sh", "sleep-llama.sh"):
            text = script(name).replace("/tmp/llama-$LLMUX_PORT.pid", str(self.pidfile))
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        (folder / "llama-server").write_text(STAND_IN)
        (folder / "llama-server").chmod(0o755)
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "LLMUX_MODEL": model, "LLMUX_PORT": str(self.port)}
        self.env = os.environ | own
        self.folder = folder

    def run(self, name: str) -> int:
        done = subprocess.run(
            ["sh", "-c", f"./{name}"],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        return done.returncode

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def pid(self) -> int:
        return int(self.pidfile.read_text())


@pytest.fixture
def hooks(tmp_path: Path, need: Need) -> Iterator[Hooks]:
    need("curl")
    made = Hooks(tmp_path)
    yield made
    if made.pidfile.exists():
        os.kill(made.pid(), signal.SIGKILL)


def test_the_llama_scripts_wake_and_sleep_and_are_harmless_when_repeated(hooks: Hooks) -> None:
    assert hooks.run("sleep-llama.sh") == 0
    assert hooks.run("wake-llama.sh") == 0
    first = hooks.pid()
    assert hooks.answers()
    assert hooks.run("wake-llama.sh") == 0
    assert hooks.pid() == first
    assert hooks.run("sleep-llama.sh") == 0
    assert not hooks.answers()
    assert hooks.run("sleep-llama.sh") == 0


def test_the_wake_script_fails_when_its_server_ends_while_it_loads(
    tmp_path: Path, need: Need
) -> None:
    need("curl")
    broken = Hooks(tmp_path, model="broken")
    assert broken.run("wake-llama.sh") != 0
    assert broken.run("sleep-llama.sh") == 0


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
