"""A model's server as the crash matrix wants it: a daemon that proves what it holds by locks.

    python crash_engine.py start MODEL PORT SITE KIND LOAD
    python crash_engine.py tell PORT wake|sleep

`start` binds, becomes a daemon in a session of its own and returns as soon as that one holds the
accelerator: an exclusive lock on one file for all. Who cannot take it notes a violation. It loads
for LOAD seconds, then answers. Needs the standard library only; it refuses to know the gateway.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import IO, NoReturn

PAUSE = 0.03
"""Seconds between two pieces of a stream."""


class Engine:
    """One model's server; what it notes stands in the site's history."""

    def __init__(self, model: str, port: int, site: Path, kind: str, load: float) -> None:
        self.model = model
        self.port = port
        self.site = site
        self.kind = kind
        self.load = load
        self.held: dict[str, IO[str]] = {}
        self.ready = False
        self._life = 0
        self._turn = threading.RLock()

    def note(self, what: str, more: str = "") -> None:
        """Append one line to the history."""
        now = Path("/proc/uptime").read_text().split()[0]
        with (self.site / "history").open("a") as history:
            history.write(f"{now} engine {what} {self.model} {self.port} {more}\n")

    def take(self, name: str) -> bool:
        """Take a lock for as long as this process lives, or until it is let go."""
        file = (self.site / name).open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self.held[name] = file
        return True

    def wake(self) -> None:
        """Take the accelerator and load; it answers a moment later."""
        with self._turn:
            if "accelerator.lock" in self.held:
                self.note("violation", "woken while awake")
                return
            if not self.take("accelerator.lock"):
                self.note("violation", "two in memory")
            self.note("holds")
            self._life += 1
            threading.Thread(target=self._loaded, args=(self._life,), daemon=True).start()

    def _loaded(self, life: int) -> None:
        time.sleep(self.load)
        with self._turn:
            if life == self._life:
                self.take(f"up.{self.port}.lock")
                self.ready = True
                self.note("ready")

    def sleep(self) -> None:
        """Let go of the accelerator."""
        with self._turn:
            self._life += 1
            self.ready = False
            self.note("lets-go")
            for name in ("accelerator.lock", f"up.{self.port}.lock"):
                if name in self.held:
                    self.held.pop(name).close()

    def end(self, *_: object) -> NoReturn:
        """Let go of everything and be gone."""
        self.note("lets-go")
        os._exit(0)

    def live(self, listening: socket.socket, told: int) -> NoReturn:
        """Be the daemon; a byte to `told` says that the accelerator is held."""
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        signal.signal(signal.SIGTERM, self.end)
        if not self.take(f"engine.{self.port}.lock"):
            self.note("violation", "two servers of one model")
        (self.site / f"pid.{self.port}").write_text(f"{os.getpid()}\n")
        self.wake()
        os.write(told, b"!")
        os.close(told)
        while True:
            client, _ = listening.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                while self._answer(client):
                    pass
        except (OSError, ValueError):
            return

    def _answer(self, client: socket.socket) -> bool:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(65_536)
            if not piece:
                return False
            head += piece
        head, _, body = head.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                while len(body) < int(line.partition(b":")[2]):
                    body += client.recv(65_536)
        path = head.split(b" ")[1]
        status = b"200 OK"
        if path == b"/health":
            status = b"200 OK" if self.ready else b"503 Loading"
        elif path in (b"/wake", b"/sleep"):
            self.wake() if path == b"/wake" else self.sleep()
        elif not self.ready:
            self.note("violation", "asked while it is not awake")
            status = b"500 Not awake"
        elif json.loads(body).get("stream"):
            return self._stream(client)
        text = json.dumps({"who": self.model, "port": self.port}).encode()
        length = b"\r\ncontent-length: %d\r\n\r\n" % len(text)
        client.sendall(b"HTTP/1.1 " + status + length + text)
        return True

    def _stream(self, client: socket.socket) -> bool:
        """Send pieces for as long as somebody takes them."""
        client.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            client.sendall(b"b\r\ndata: word\n\r\n")
            time.sleep(PAUSE)


def start(model: str, port: str, site: str, kind: str, load: str) -> int:
    """Start a server and return when it holds the accelerator."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    engine = Engine(model, int(port), Path(site), kind, float(load))
    try:
        listening.bind(("127.0.0.1", int(port)))
        listening.listen(128)
    except OSError as error:
        engine.note("violation", f"a second server is started: {error.strerror}")
        return 1
    hears, tells = os.pipe()
    if os.fork() == 0:
        os.close(hears)
        try:
            engine.live(listening, tells)
        finally:
            os._exit(1)
    os.close(tells)
    return 0 if os.read(hears, 1) else 1


def tell(port: str, what: str) -> int:
    """Tell a running server to wake or to sleep."""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as server:
        server.sendall(f"POST /{what} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
        return 0 if server.recv(100).startswith(b"HTTP/1.1 200 ") else 1


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    sys.exit(start(*rest) if verb == "start" else tell(*rest))
