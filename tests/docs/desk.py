"""A copy of `examples/` to try things in, on free ports, with stand-ins where a GPU would be.

`llama-server` and `docker` are toy engines of the demo behind the names that the hooks call; what
they need to know stands in the environment. A vLLM is a process of ours that can sleep.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmux.demo import engine
from tests.docs.pages import ROOT
from tests.e2e.house import until
from tests.ports import free_ports

MODELS = ("llama-8b", "qwen-7b")

LLAMA_SERVER = """#!/bin/sh
# --model FILE --host ADDRESS --port PORT ...
case $2 in *broken*) echo "the weights are broken" >&2; exit 1 ;; esac
exec {python} -P {engine} --name "$(basename "$2" .gguf)" --port "$6"
"""
DOCKER = """#!/bin/sh
# start NAME | stop -t SECONDS NAME | kill NAME
for name; do :; done
pid="$DESK/container-$name.pid"
case $1 in
    start)
        [ -s "$pid" ] && exit 0
        case $name in llama-8b) port=$PORT_0 ;; *) port=$PORT_1 ;; esac
        {python} -P {engine} --name "$name" --port "$port" >/dev/null 2>&1 &
        echo $! >"$pid" ;;
    *) [ ! -s "$pid" ] || kill "$(cat "$pid")"; rm -f "$pid" ;;
esac
"""
LLMUX = """#!/bin/sh
exec {python} -m llmux "$@"
"""
VLLM = Path(__file__).with_name("vllm.py")


class Desk:
    """The examples in a folder; commands find `llmux` and the stand-ins on their path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.examples = folder / "examples"
        caches = shutil.ignore_patterns("__pycache__")  # a neighbour may write there now
        shutil.copytree(ROOT / "examples", self.examples, ignore=caches)
        self.port, *self.ports = free_ports(3)
        for config in self.examples.rglob("*.yaml"):
            text = config.read_text()
            for old, new in zip(("8001", "8002"), self.ports, strict=True):
                text = text.replace(f"port: {old}", f"port: {new}")
            config.write_text(text)
        tools = folder / "bin"
        tools.mkdir()
        place = {"python": sys.executable, "engine": engine.__file__}
        for name, text in (("llama-server", LLAMA_SERVER), ("docker", DOCKER), ("llmux", LLMUX)):
            (tools / name).write_text(text.format(**place))
            (tools / name).chmod(0o755)
        path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
        mine = {"PATH": path, "DESK": str(folder), "LLAMA_PIDS": str(folder)}
        known = {f"PORT_{number}": str(port) for number, port in enumerate(self.ports)}
        self.env = os.environ | mine | known
        self._others: list[subprocess.Popen[bytes]] = []

    def vllms(self) -> None:
        """Start two servers that sleep, as an operator does before llmux."""
        for name, port in zip(MODELS, self.ports, strict=True):
            command = [sys.executable, str(VLLM), name, str(port)]
            self._others.append(subprocess.Popen(command))
        until(lambda: all(map(self.listens, self.ports)), "the stand-ins for vLLM listen")

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a server until the block is over, which begins when it answers on `port`."""
        with (self.folder / "output").open("wb") as out:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=out, stderr=out
            )
        try:
            until(lambda: self.listens(self.port) or process.poll() is not None, "it listens")
            assert process.poll() is None, (self.folder / "output").read_text()
            yield process
        finally:
            process.kill()
            process.wait()

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; what it leaves in the background may keep its output."""
        paths = [self.folder / "stdout", self.folder / "stderr"]
        with paths[0].open("wb") as out, paths[1].open("wb") as err:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.env | more,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=60,
                check=False,
            )
        out_text, err_text = (path.read_text(errors="replace") for path in paths)
        return subprocess.CompletedProcess(command, done.returncode, out_text, err_text)

    def ask(self, model: str) -> str:
        """Ask a model through the server on `port`; gives its answer, or an error's text."""
        message = {"role": "user", "content": "Who are you?"}
        body = json.dumps({"model": model, "messages": [message]})
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(asked):
            asked.request("POST", "/v1/chat/completions", body)
            told: dict[str, Any] = json.load(asked.getresponse())
        return str(told["choices"][0]["message"]["content"]) if "choices" in told else str(told)

    def listens(self, port: int) -> bool:
        """Whether a server answers there that has loaded what it needs."""
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(asked):
            try:
                asked.request("GET", "/health")
                return asked.getresponse().status < 500
            except OSError:
                return False

    def close(self) -> None:
        """End whatever still lives."""
        for process in self._others:
            process.kill()
            process.wait()
        for file in self.folder.glob("*.pid"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)
