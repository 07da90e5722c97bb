"""What the README promises, done: its config, the command, and the clients that people use.

Only the hooks and ports of its config are exchanged: toy engines stand where the GPU would be.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest
import yaml

from llmux.demo import engine
from tests.docs.pages import blocks, read
from tests.ports import free_ports

PATIENCE = 60.0
WAKE = """
if ! test -e $LLMUX_PORT.pid; then
    {engine} --name "$LLMUX_MODEL" --load-secs 0.2 & echo $! >$LLMUX_PORT.pid
fi
exec {engine} --wait-ready $LLMUX_PORT.pid
"""
SLEEP = """
test ! -e $LLMUX_PORT.pid || kill $(cat $LLMUX_PORT.pid); rm -f $LLMUX_PORT.pid
exec {engine} --wait-gone
"""


class Served:
    """The README's config, served by the command in a process of its own."""

    def __init__(self, folder: Path) -> None:
        config = yaml.safe_load(blocks(read("README.md"), "yaml")[0])
        self.models = list(config["models"])
        run = f"{sys.executable} -P {engine.__file__} --port $LLMUX_PORT"
        ports = free_ports(len(self.models) + 1)
        self.port = config["port"] = ports.pop()
        for model, port in zip(config["models"].values(), ports, strict=True):
            wake, sleep = WAKE.format(engine=run), SLEEP.format(engine=run)
            model.update(port=port, wake=wake, sleep=sleep)
        config["policy"]["min_active_secs"] = 0
        self.folder = folder
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        self.command = [sys.executable, "-m", "llmux"]

    def check(self) -> str:
        done = subprocess.run(
            [*self.command, "check"], cwd=self.folder, text=True, capture_output=True, check=True
        )
        return done.stdout

    @contextlib.contextmanager
    def serve(self) -> Iterator[None]:
        with (self.folder / "output").open("w") as output:
            process = subprocess.Popen(self.command, cwd=self.folder, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + PATIENCE
            while not self.ready():
                said = (self.folder / "output").read_text()
                assert process.poll() is None and time.monotonic() < deadline, said
                time.sleep(0.02)
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
            for pidfile in self.folder.glob("*.pid"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pidfile.read_text()), signal.SIGKILL)

    def ready(self) -> bool:
        asking = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            asking.request("GET", "/ready")
            return asking.getresponse().status == 200
        except OSError:
            return False
        finally:
            asking.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def test_any_openai_client_finds_both_models_behind_one_address(tmp_path: Path) -> None:
    house = Served(tmp_path)
    assert all(model in house.check() for model in house.models)
    with house.serve(), openai.OpenAI(base_url=f"{house.url}/v1", api_key="any") as client:
        assert [model.id for model in client.models.list()] == sorted(house.models)
        for model in [*house.models, house.models[0]]:
            stream = client.chat.completions.create(
                model=model, stream=True, messages=[{"role": "user", "content": "Who are you?"}]
            )
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            assert f"I am {model}" in text
        whole = client.chat.completions.create(
            model=house.models[0], messages=[{"role": "user", "content": "And now?"}]
        )
        assert f"I am {house.models[0]}" in (whole.choices[0].message.content or "")


def test_clients_of_both_dialects_read_an_error_as_their_own(tmp_path: Path) -> None:
    house = Served(tmp_path)
    with house.serve():
        with (
            openai.OpenAI(base_url=f"{house.url}/v1", api_key="any") as client,
            pytest.raises(openai.NotFoundError) as missing,
        ):
            client.chat.completions.create(model="nobody", messages=[])
        assert missing.value.code == "model_not_found"
        assert missing.value.request_id
        with (
            anthropic.Anthropic(base_url=house.url, api_key="any") as other,
            pytest.raises(anthropic.NotFoundError, match="not_found_error"),
        ):
            other.messages.create(
                model="nobody", max_tokens=1, messages=[{"role": "user", "content": "Hello"}]
            )
