"""Starts what the bench compares, each as processes of its own, and ends them.

Every contender relays to the same model server on the same loopback. This file refuses to know
what is measured.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from tests import ports

from bench.machine import tree

ROOT: Final = Path(__file__).resolve().parents[1]
CACHE: Final = ROOT / "bench" / ".cache"
ORIGINAL_VERSION: Final = "2.4.0"
_START_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Contender:
    """A gateway that runs: how the tables call it, where it listens, its first process."""

    name: str
    port: int
    pid: int
    has_workers: bool = False

    def processes(self) -> list[int]:
        """Its lasting processes: hooks and probes, which come and go, do not relay."""
        return tree(self.pid) if self.has_workers else [self.pid]


def find(tool: str) -> str | None:
    """Say where a tool of the machine is, also in the system's own folders."""
    return shutil.which(
        tool, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"
    )


def free_port() -> int:
    """A port of the loopback on which nobody listens now."""
    return ports.free_port()


def environment(folder: Path) -> dict[str, str]:
    """Of a process that runs this very tree, and keeps its state in the folder."""
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        "XDG_STATE_HOME": str(folder / "state"),
    }


@contextlib.contextmanager
def running(command: Sequence[str], port: int, folder: Path) -> Iterator[int]:
    """Run a process that listens on `port` for the block; gives its pid. RuntimeError if not."""
    said = folder / f"{port}.log"
    with said.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        _wait_until_it_listens(process, port, said)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, said: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = said.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{process.args!r} does not listen on {port}:\n{tail}") from None
            time.sleep(0.02)
        else:
            return


@contextlib.contextmanager
def backend(folder: Path, count: int = 1) -> Iterator[list[int]]:
    """The model server; gives the ports on which it answers."""
    ports = [free_port() for _ in range(count)]
    command = [sys.executable, "-m", "bench.backend", *map(str, ports)]
    with running(command, ports[-1], folder):
        yield ports


@contextlib.contextmanager
def nginx(folder: Path, backend_port: int) -> Iterator[Contender | None]:
    """nginx with one worker and kept connections on both sides; None where it is not there."""
    program = find("nginx")
    if program is None:
        yield None
        return
    port = free_port()
    home = folder / "nginx"
    home.mkdir()
    temp = "".join(
        f"{kind}_temp_path {home}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (home / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error.log;\n"
        f"events {{ worker_connections 8192; }}\nhttp {{ access_log off; {temp}"
        "keepalive_requests 1000000000;\n"
        f"upstream model {{ server 127.0.0.1:{backend_port}; keepalive 256; "
        "keepalive_requests 1000000000; }\n"
        f"server {{ listen 127.0.0.1:{port} backlog=1024; location / {{\n"
        "proxy_pass http://model; proxy_http_version 1.1; proxy_buffering off;\n"
        'proxy_set_header Connection ""; } } }\n'
    )
    command = [program, "-e", f"{home}/error.log", "-c", f"{home}/nginx.conf"]
    with running(command, port, folder) as pid:
        yield Contender("nginx", port, pid, has_workers=True)


def find_original() -> str | None:
    """The program llmux 2.4.0: named by LLMUX_ORIGINAL, built before, or built now by cargo."""
    named = os.environ.get("LLMUX_ORIGINAL")
    if named:
        return named
    built = CACHE / f"llmux-{ORIGINAL_VERSION}" / "bin" / "llmux"
    cargo = shutil.which("cargo")
    if not built.exists() and cargo is not None:
        CACHE.mkdir(exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n")
        print(f"building llmux {ORIGINAL_VERSION} with cargo, once (some minutes) ...", flush=True)
        where = str(built.parents[1])
        command = [cargo, "install", "--locked", "llmux", "--version", ORIGINAL_VERSION]
        subprocess.run([*command, "--root", where], check=False, cwd=CACHE)
    return str(built) if built.exists() else None


def write_config(path: Path, models: Mapping[str, Mapping[str, object]], **keys: object) -> Path:
    """Write a config for either llmux; gives the file in which each hook writes when it ended.

    The model server answers always; a file for each model says whether it counts as awake, so
    that its hooks and `alive` agree. Keys of a model come before the hooks that it would get.
    """
    ended = path.with_suffix(".ended")
    hooks = {}
    for name in models:
        up = path.with_suffix(f".{name}.up")
        now = f"exec date +%s.%N >{ended}"
        hooks[name] = {
            "wake": f": >{up}; {now}",
            "sleep": f"rm -f {up}",
            "alive": f"test -e {up} && {now}",
        }
    file = {"models": {name: {**hooks[name], **model} for name, model in models.items()}, **keys}
    path.write_text(yaml.safe_dump(file))
    return ended


@contextlib.contextmanager
def original(program: str, folder: Path, config: Path) -> Iterator[Contender]:
    """Run llmux 2.4.0 on a config."""
    port = free_port()
    with running([program, "-c", str(config), "-p", str(port)], port, folder) as pid:
        yield Contender(f"llmux {ORIGINAL_VERSION}", port, pid)


@contextlib.contextmanager
def bare(folder: Path, backend_port: int) -> Iterator[Contender]:
    """Our relay with a gate that lets everybody pass."""
    port = free_port()
    command = [sys.executable, "-m", "bench.bare", str(port), str(backend_port)]
    with running(command, port, folder) as pid:
        yield Contender("bare relay", port, pid)


@contextlib.contextmanager
def ours(folder: Path, config: Path, name: str = "llmux") -> Iterator[Contender]:
    """Run the whole llmux on a config, with everything that is on by default."""
    port = free_port()
    command = [sys.executable, "-m", "llmux", "-c", str(config), "-p", str(port)]
    with running(command, port, folder) as pid:
        yield Contender(name, port, pid)
