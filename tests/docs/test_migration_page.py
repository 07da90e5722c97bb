"""Files of people who come from llmux 2.4.0: the examples of its README, as they stand there.

Their scripts and containers are not here; what is shown is that the files are taken, and served.
"""

from __future__ import annotations

import http.client
import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.docs.commands import of_page
from tests.docs.desk import Desk
from tests.docs.pages import read

QUICK_START = """\
models:
  llama:
    port: 8001
    wake: ./scripts/wake-llama.sh
    sleep: ./scripts/sleep-llama.sh
    alive: curl -sf http://localhost:8001/health

  mistral:
    port: 8002
    wake: ./scripts/wake-mistral.sh
    sleep: ./scripts/sleep-mistral.sh
    alive: curl -sf http://localhost:8002/health

port: 3000
"""
INLINE = """\
models:
  my-model:
    port: 8001
    wake: |
      # Bring the model to a ready state (must be idempotent).
      # Exit 0 when the model is ready to serve requests.
      docker start my-model-container
      for i in $(seq 1 60); do
        curl -sf http://localhost:8001/health && exit 0
        sleep 1
      done
      exit 1
    sleep: |
      # Free resources. Exit 0 when done.
      docker stop my-model-container
    alive: |
      # Health check. Exit 0 = healthy, non-zero = unhealthy.
      curl -sf http://localhost:8001/health

policy:
  # Max time a request waits for a switch. Omit for unlimited.
  request_timeout_secs: 300

  # Wait for in-flight requests to finish before switching. Default: true.
  drain_before_switch: true

  # Minimum seconds a model stays active before it can be switched out.
  # Prevents rapid thrashing. Default: 0.
  min_active_secs: 5
"""
CHECKPOINTS = """\
models:
  facebook/opt-125m:
    port: 8001
    wake: sudo podman container restore --tcp-established llmux-opt-125m
    sleep: sudo podman container checkpoint --tcp-established llmux-opt-125m
    alive: curl -sf http://localhost:8001/health

  Qwen/Qwen2.5-3B-Instruct:
    port: 8002
    wake: sudo podman container restore --tcp-established llmux-qwen-3b
    sleep: sudo podman container checkpoint --tcp-established llmux-qwen-3b
    alive: curl -sf http://localhost:8002/health

port: 3000
"""
FILES = {
    "quick-start.yaml": (QUICK_START, ["llama", "mistral"]),
    "inline.yaml": (INLINE, ["my-model"]),
    "podman-criu.yaml": (CHECKPOINTS, ["Qwen/Qwen2.5-3B-Instruct", "facebook/opt-125m"]),
}
"""Its quick start, its model with inline scripts under its policy, and its example with podman,
whose wake is longer there."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_2_4_0_is_checked_and_served(desk: Desk, name: str) -> None:
    """With the command of the page; the only warnings are of scripts, which are not here."""
    text, models = FILES[name]
    (desk.folder / name).write_text(text)
    [check] = [one for one in of_page(read("docs/migration.md")) if " check " in one]
    done = desk.run(*shlex.split(check.replace("config.yaml", name)))
    assert done.returncode == 0, done.stderr
    warned = done.stderr.splitlines()
    assert len(warned) == text.count("./scripts/")
    assert all(line.startswith("warning: ") and "./scripts/" in line for line in warned)
    with desk.running("llmux", "-c", name, "-p", str(desk.port)) as process:
        asked = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=10)
        with closing(asked):
            asked.request("GET", "/v1/models")
            listed = json.load(asked.getresponse())["data"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert [model["id"] for model in listed] == models
    assert "`host: 0.0.0.0` is llmux 2.4.0's way" in (desk.folder / "output").read_text()
