"""A gateway as its users have it: a real process, a config file, real hooks, real backends.

A test says which models there are and what stands in the config; `House` starts the process on a
free port, waits until `/ready` says so, and can tell afterwards what the hooks and the backends
have written down and what the gateway has logged. Nothing of llmux is imported here: the house
sees what an operator sees. With `LLMUX_ORIGINAL` naming the binary of llmux 2.4.0 the same
stories run against that one, to show that they can fail.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any

from tests.ports import free_ports

BACKEND = Path(__file__).with_name("backend.py")
ORIGINAL = os.environ.get("LLMUX_ORIGINAL")
PATIENCE = 60.0
"""Seconds after which something that has to happen counts as not happening."""
MARK = "LLMUX_TEST_HOUSE"


def until(what: Callable[[], object], said: str, seconds: float = PATIENCE) -> None:
    """Return as soon as `what` holds; fails with `said` if it does not come to that."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain: {said}"
        time.sleep(0.01)


def name_of(pid: int) -> str:
    """The name of a process that lives, empty for one that is gone or only not buried yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] == "Z" else name


@dataclass(frozen=True)
class Answer:
    """What came back for one request."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def who(self) -> str:
        """The backend that answered."""
        told = self.json()
        assert isinstance(told, dict) and "who" in told, f"{self.status}: {self.body!r}"
        return str(told["who"])

    @property
    def error(self) -> dict[str, Any]:
        error = self.json()["error"]
        assert isinstance(error, dict)
        return error


class Stream:
    """An answer that is read bit by bit, and can be left at any moment."""

    def __init__(self, port: int, payload: bytes, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n\r\n"
        self.socket.sendall(head.encode() + payload)
        self.taken = b""

    def read_until(self, text: bytes) -> bytes:
        """Read on until `text` has come; what was read is in `taken`."""
        while text not in self.taken:
            piece = self.socket.recv(65_536)
            if not piece:
                raise EOFError(f"ended without {text!r}: {self.taken[-500:]!r}")
            self.taken += piece
        return self.taken

    def read_to_end(self) -> bytes:
        """Read until the last chunk (or the other side's end)."""
        while not self.taken.endswith(b"\r\n0\r\n\r\n"):
            piece = self.socket.recv(65_536)
            if not piece:
                break
            self.taken += piece
        return self.taken

    def leave(self) -> None:
        """Hang up, as a client does that is closed."""
        self.socket.close()


class House:
    """A folder with a config and what belongs to it, and one gateway process at a time."""

    def __init__(self, folder: Path, *models: str) -> None:
        self.folder = folder
        self.port, *ports = free_ports(1 + len(models))
        self.ports = dict(zip(models, ports, strict=True))
        self.policy: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
        """Further top-level keys of the config."""
        self.models: dict[str, dict[str, Any]] = {
            name: {"port": port, "wake": self.wake(name), "sleep": self.sleep(name)}
            for name, port in self.ports.items()
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._pool = ThreadPoolExecutor(128)
        self._lives = 0

    # What stands in the config.

    def wake(self, model: str, *, before: str = "", options: str = "") -> str:
        """A wake hook that starts a real backend and notes its begin and end."""
        port = self.ports[model]
        start = f"'{sys.executable}' -I -S '{BACKEND}' \"$LLMUX_MODEL\" {port} '{self.folder}'"
        return (
            f"{self.noted('wake-begin')}\n{before}\n"
            f"{start} {options} || exit 1\n{self.noted('wake-end')}"
        )

    def sleep(self, model: str, *, before: str = "") -> str:
        """A sleep hook that ends the backend and notes its begin and end."""
        pid = f"'{self.folder}/{self.ports[model]}.pid'"
        return (
            f"{self.noted('sleep-begin')}\n{before}\n"
            f"[ -e {pid} ] && {{ kill $(cat {pid}) 2>/dev/null || rm -f {pid}; }}\n"
            f"while [ -e {pid} ]; do sleep 0.01; done\n{self.noted('sleep-end')}"
        )

    def noted(self, what: str) -> str:
        """A line of shell that writes `what MODEL` into the hooks' own log."""
        return f"echo \"{what} $LLMUX_MODEL\" >> '{self.folder}/hooks.log'"

    def config(self) -> dict[str, Any]:
        """The config as it will be written."""
        models = {name: {"alive": "true"} | keys for name, keys in self.models.items()}
        policy = {"policy": self.policy} if self.policy else {}
        return {"port": self.port, "models": models} | policy | self.extra

    def write(self, text: str | None = None, name: str = "config.yaml") -> Path:
        """Write the config (JSON is YAML, too) and return its path."""
        path = self.folder / name
        path.write_text(json.dumps(self.config()) if text is None else text)
        return path

    # The process.

    def start(self, *args: str, **popen: Any) -> House:
        """Start the gateway and wait until it is ready."""
        self.launch(*args, **popen)
        until(self.ready, "the gateway gets ready")
        return self

    def launch(self, *args: str, **popen: Any) -> subprocess.Popen[bytes]:
        """Start the gateway and return at once; the config is written unless it is there."""
        path = self.folder / "config.yaml"
        if not path.exists() and "-c" not in args and "--config" not in args:
            self.write()
        env = self.environment() | popen.pop("env", {})
        command = [sys.executable, "-m", "llmux", "--log-format", "json"]
        if ORIGINAL:
            command = [ORIGINAL]
        if "-c" not in args and "--config" not in args:
            command += ["-c", str(path)]
        self._lives += 1
        out = popen.pop("stdout", None) or self.log_path.open("wb")
        err = (self.folder / "stderr").open("wb")
        self.process = subprocess.Popen(
            [*command, *args], env=env, stdout=out, stderr=err, stdin=subprocess.DEVNULL, **popen
        )
        return self.process

    def environment(self) -> dict[str, str]:
        """The environment of the gateway: a mark for all that it starts, a state of its own."""
        mine = {MARK: str(self.folder), "XDG_STATE_HOME": str(self.folder / "state")}
        return dict(os.environ) | mine

    @property
    def log_path(self) -> Path:
        return self.folder / f"log-{self._lives}"

    def ready(self) -> bool:
        """Whether the gateway takes requests; fails if its process has ended."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}: {self.words()}")
        try:
            status = self.get("/ready").status
        except OSError:
            return False
        return status == 200 or bool(ORIGINAL)

    def words(self) -> str:
        """What the process has written on stdout and stderr."""
        files = [self.log_path, self.folder / "stderr"]
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def tell(self, number: Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for the end of the process and return its exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self, number: Signals = SIGTERM) -> int:
        self.tell(number)
        return self.ended()

    def close(self) -> None:
        """End the gateway, and whatever was started in this house and still lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.survivors():
            with contextlib.suppress(OSError):
                os.kill(pid, SIGKILL)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def survivors(self) -> list[int]:
        """Processes that were started, directly or not, by a gateway of this house."""
        mark = f"{MARK}={self.folder}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        for file in self.folder.glob("*.pid"):
            with contextlib.suppress(OSError, ValueError):
                found.append(int(file.read_text()))
        return found

    # Requests.

    def payload(self, model: str | None, body: Mapping[str, Any]) -> bytes:
        messages = [{"role": "user", "content": "who are you?"}]
        named = {} if model is None else {"model": model}
        return json.dumps(named | {"messages": messages} | dict(body)).encode()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = 60.0,
    ) -> Answer:
        """Send one request on a connection of its own and wait for the whole answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        began = time.monotonic()
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            taken = answer.read()
        finally:
            connection.close()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, fields, taken, time.monotonic() - began)

    def get(self, path: str) -> Answer:
        return self.request("GET", path, seconds=30.0)

    def ask(
        self,
        model: str | None,
        /,
        *,
        path: str = "/v1/chat/completions",
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> Answer:
        """Ask a model and wait for the answer; `body` are the backend's stage directions."""
        return self.request("POST", path, self.payload(model, body), headers)

    def send(self, model: str, /, **body: Any) -> Future[Answer]:
        """Ask a model in the background."""
        return self._pool.submit(lambda: self.ask(model, **body))

    def open(self, model: str, /, path: str = "/v1/chat/completions", **body: Any) -> Stream:
        """Ask a model on a connection that the test reads, or leaves."""
        return Stream(self.port, self.payload(model, body), path)

    def raw(self, data: bytes, seconds: float = PATIENCE) -> bytes:
        """Send bytes as they are, and read until the gateway hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as one:
            one.sendall(data)
            taken = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := one.recv(65_536):
                    taken += piece
        return taken

    # A request that is kept in flight until the test lets it go.

    def hold(self, model: str, tag: str) -> Future[Answer]:
        """Ask a model, and return when its backend has the request and keeps it."""
        asked = self.send(model, tag=tag, hold=tag)
        self.wait_seen(f"{model} got {tag}")
        return asked

    def queue(self, model: str, tag: str, **body: Any) -> Future[Answer]:
        """Ask a model whose turn it is not, and return when the request waits in its queue."""
        before = self.waiting(model)
        asked = self.send(model, tag=tag, **body)
        until(lambda: self.waiting(model) > before, f"{tag} waits for {model}")
        return asked

    def release(self, *tags: str) -> None:
        """Let held requests be answered."""
        for tag in tags:
            (self.folder / tag).touch()

    # What was written down.

    def hooks(self) -> list[str]:
        """The hooks' own log: `wake-begin a`, `wake-end a`, `sleep-begin a`, ... in order."""
        return self._lines("hooks.log")

    def wakes(self) -> list[str]:
        """The models in the order in which their wake hooks began."""
        return [one.partition(" ")[2] for one in self.hooks() if one.startswith("wake-begin ")]

    def seen(self) -> list[str]:
        """The backends' own log: `a got TAG`, `a done TAG`, `a gone TAG`."""
        return self._lines("seen.log")

    def wait_seen(self, line: str) -> None:
        until(lambda: line in self.seen(), f"the backends note {line!r}")

    def wait_hook(self, line: str, times: int = 1) -> None:
        until(lambda: self.hooks().count(line) >= times, f"the hooks note {line!r}")

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def assert_one_awake(self) -> None:
        """By the hooks' own log two models were never up at the same time."""
        up: set[str] = set()
        for line in self.hooks():
            what, _, model = line.partition(" ")
            if what == "wake-begin":
                assert not up - {model}, f"{model} is woken while {up} is up: {self.hooks()}"
                up.add(model)
            elif what == "sleep-end":
                up.discard(model)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The JSON log, or what it has of one event."""
        text = self.log_path.read_text(errors="replace")
        told = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return told if name is None else [one for one in told if one["event"] == name]

    def logged(self, name: str, count: int = 1, **fields: object) -> list[dict[str, Any]]:
        """Wait until an event (with these fields) stands in the log `count` times; all of them."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [one for one in self.events(name) if fields.items() <= one.items()]
            return len(found) >= count

        until(there, f"the log has {count} x {name} {fields}")
        return found

    # What is measured.

    def metrics(self) -> str:
        return self.get("/metrics").body.decode()

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of one sample, None where there is none."""
        for found, given, value in _samples(self.metrics()):
            if found == name and given == labels:
                return value
        return None

    def waiting(self, model: str) -> int:
        return int(self.metric("llmux_request_queue_depth", model=model) or 0)

    def inside(self, model: str) -> int:
        return int(self.metric("llmux_model_in_flight", model=model) or 0)


_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            head, _, value = line.rpartition(" ")
            name, _, rest = head.partition("{")
            yield name, dict(_LABEL.findall(rest)), float(value)
