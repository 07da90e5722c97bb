"""A place in which the real gateway lives, is killed, and lives again.

One folder holds the config, the state, the history and the locks of hooks and servers; the gateway
is `python -m llmux serve` in a process of its own. It refuses to know when the gateway is killed
and what has to hold then.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.ports import free_ports

from proof.crash_history import Event, read

HOOK = Path(__file__).with_name("crash_hook.sh")
MARK = "LLMUX_CRASH_SITE"
"""The environment variable by which everything that was started here is found again."""
OWNER = "LLMUX_CRASH_OWNER"
"""The one that says by whom."""
PATIENCE = 40.0
"""Seconds after which what has to happen counts as not happening."""


class StuckError(Exception):
    """Something that has to happen does not."""


@dataclass(slots=True)
class Model:
    """One model of the config: how its server sleeps, how long it loads and its hooks take."""

    name: str
    kind: str
    load: float
    seconds: float
    shell: bool
    """Its `alive` is a shell line; otherwise it is asked over HTTP."""
    port: int = 0
    version: int = 0
    """Counts how often its hooks and its port were changed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request has brought, and when, in seconds of the clock that only goes on."""

    status: int
    who: str
    at: float


class Site:
    """A folder with a config, and at most one gateway; close it, or use it as a context.

    `package` is the folder that holds the `llmux` that runs.
    """

    def __init__(self, package: Path) -> None:
        self._package = package
        self._temporary = tempfile.TemporaryDirectory(prefix="llmux-crash-")
        self.folder = Path(self._temporary.name)
        self.models = {
            one.name: one
            for one in (
                Model("a", "ends", 0.0, 0.06, shell=False),
                Model("b", "stays", 0.1, 0.12, shell=False),
                Model("c", "ends", 0.4, 0.03, shell=True),
            )
        }
        self.port, *ports = free_ports(1 + len(self.models))
        for model, port in zip(self.models.values(), ports, strict=True):
            model.port = port
        self.gone: set[str] = set()
        """Models that are not in the config for the moment."""
        self.more_room = 0
        self.lives = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._pool = ThreadPoolExecutor(32)
        (self.folder / "history").touch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- the config ----------------------------------------------------------------------------

    def write(self) -> None:
        """Write the config as it is wanted now."""
        models = {
            one.name: self._keys(one) for one in self.models.values() if one.name not in self.gone
        }
        config = {
            "port": self.port,
            "models": models,
            "health": {"interval_secs": 0.5, "failures": 4, "breaker_min_secs": 0.2},
            "bounds": {
                "alive_timeout_secs": 0.6,
                "wake_timeout_secs": 10,
                "sleep_timeout_secs": 10,
                "shutdown_grace_secs": 5,
                "max_queue": 1000 + self.more_room,
            },
        }
        (self.folder / "config.yaml").write_text(json.dumps(config))

    def _keys(self, model: Model) -> dict[str, Any]:
        words = [HOOK, self.folder, model.kind, model.load, model.seconds, sys.executable]
        hook = "exec sh " + " ".join(f"'{word}'" for word in [*words, f"v{model.version}"])
        up = self.folder / f"up.{model.port}.lock"
        alive = f"! flock -n '{up}' true" if model.shell else {"http": "/health"}
        return {"port": model.port, "wake": hook, "sleep": hook, "alive": alive}

    def change(self, name: str) -> None:
        """Give a model other hooks and another port in the config to come."""
        self.models[name].port = free_ports(1)[0]
        self.models[name].version += 1

    # ---- faults --------------------------------------------------------------------------------

    def order(self, fault: str) -> None:
        """Let hooks do what they should not, as `fail-wake.a`."""
        (self.folder / fault).touch()

    def mend(self, *kinds: str) -> None:
        """End faults of these kinds."""
        for kind in kinds:
            for file in self.folder.glob(f"{kind}.*"):
                file.unlink()

    def end_engine(self, name: str) -> None:
        """Let a model's server die."""
        port = self.models[name].port
        with contextlib.suppress(OSError, ValueError):
            if not self.held(f"engine.{port}.lock"):
                return
            pid = int((self.folder / f"pid.{port}").read_text())
            os.kill(pid, signal.SIGKILL)
            until(lambda: not self.held(f"engine.{port}.lock"), f"the server of {name} ends")
            self.note(f"engine died {name} {port}")

    # ---- the gateway ---------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the gateway, the next life with the same config and state."""
        self.lives += 1
        self.note(f"gateway starts life-{self.lives}")
        environment = dict(os.environ) | {
            MARK: str(self.folder),
            OWNER: str(os.getpid()),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "PYTHONPATH": str(self._package),
        }
        with (self.folder / f"log-{self.lives}").open("wb") as log:
            command = [sys.executable, "-m", "llmux", "serve", "--log-format", "json"]
            self.process = subprocess.Popen(
                [*command, "-c", str(self.folder / "config.yaml")],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def tell(self, number: signal.Signals) -> None:
        """Send the gateway a signal."""
        assert self.process is not None
        self.note(f"gateway gets {number.name}")
        self.process.send_signal(number)

    def kill(self) -> None:
        """End the gateway as nobody can forbid it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.note(f"gateway killed life-{self.lives}")

    @property
    def lives_on(self) -> bool:
        """Whether the gateway's process runs."""
        return self.process is not None and self.process.poll() is None

    def ready(self) -> bool:
        """Whether the gateway says so; StuckError where it has ended."""
        if not self.lives_on:
            raise StuckError(f"the gateway has ended by itself: {self.words()[-2000:]}")
        try:
            return self._request("GET", "/ready", b"").status == 200
        except OSError:
            return False

    def listens(self) -> bool:
        """Whether the gateway takes connections."""
        if not self.lives_on:
            raise StuckError(f"the gateway has ended by itself: {self.words()[-2000:]}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE).close()
            return True
        return False

    def words(self) -> str:
        """What the gateway of this life has written."""
        path = self.folder / f"log-{self.lives}"
        return path.read_text(errors="replace") if path.exists() else ""

    def logged(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the log lines of this life, of one event where it is named."""
        lines = [line for line in self.words().splitlines() if line.endswith("}")]
        told: list[dict[str, Any]] = []
        for line in lines:
            with contextlib.suppress(ValueError):
                told.append(json.loads(line))
        return [one for one in told if event in (None, one["event"])]

    def remembered(self) -> dict[str, Any]:
        """Return what the state file holds; empty where there is none."""
        for path in (self.folder / "state" / "llmux").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                state = json.loads(path.read_bytes())
                assert isinstance(state, dict)
                return state
        return {}

    # ---- requests ------------------------------------------------------------------------------

    def _request(self, method: str, path: str, body: bytes) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        who = ""
        with contextlib.suppress(ValueError):
            told = json.loads(text)
            who = told.get("who", "") if isinstance(told, dict) else ""
        return Answer(answer.status, who, now())

    def ask(self, model: str) -> Answer:
        """Ask a model and wait for the answer; OSError where the gateway goes meanwhile."""
        body = json.dumps({"model": model, "messages": []}).encode()
        return self._request("POST", "/v1/chat/completions", body)

    def send(self, model: str) -> Future[Answer]:
        """Ask a model in the background."""
        return self._pool.submit(self.ask, model)

    def served(self, model: str) -> Answer:
        """Ask a model again and again until it answers; StuckError where it does not."""
        end = now() + PATIENCE
        last: object = None
        while now() < end:
            with contextlib.suppress(OSError):
                last = answer = self.ask(model)
                if answer.status == 200:
                    return answer
            time.sleep(0.02)
        raise StuckError(f"{model} is not served within {PATIENCE:g} s: {last}")

    def stream(self, model: str) -> socket.socket:
        """Open a stream that flows until it is closed; returns when its first piece has come."""
        body = json.dumps({"model": model, "stream": True}).encode()
        client = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}"
        client.sendall(head.encode() + b"\r\n\r\n" + body)
        taken = b""
        while b"data: word" not in taken:
            piece = client.recv(65_536)
            if not piece:
                raise StuckError(f"a stream of {model} has no first piece: {taken!r}")
            taken += piece
        return client

    # ---- what is written down ------------------------------------------------------------------

    def note(self, what: str) -> None:
        """Write a line into the history."""
        with (self.folder / "history").open("a") as history:
            history.write(f"{now():.2f} {what}\n")

    def history(self) -> list[Event]:
        """Return what hooks, servers and this site have written down."""
        return read((self.folder / "history").read_text())

    def held(self, lock: str) -> bool:
        """Whether somebody holds a lock of this site."""
        path = self.folder / lock
        if not path.exists():
            return False
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def up(self) -> list[str]:
        """Return the models whose servers are up and well, by the locks they hold."""
        return [one.name for one in self.models.values() if self.held(f"up.{one.port}.lock")]

    # ---- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """End everything that was started here, and remove the folder."""
        for _ in range(50):
            left = self.survivors()
            if not left:
                break
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            if self.process is not None:
                self.process.poll()
            time.sleep(0.02)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._temporary.cleanup()

    def survivors(self) -> list[int]:
        """Return the processes that were started, directly or not, by a gateway of this site."""
        mark = f"{MARK}={self.folder}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found


def now() -> float:
    """Return the seconds of the clock that the history is written by."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def until(what: Callable[[], object], said: str, seconds: float = PATIENCE) -> None:
    """Return as soon as `what` holds; StuckError with `said` if it does not come to that."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise StuckError(f"waited {seconds:g} s in vain: {said}")
        time.sleep(0.005)
