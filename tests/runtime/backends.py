"""Small backends for stories of life and death: real sockets, in this process or as a child."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.ports import free_port

_SERVER = """
import http.server, pathlib, sys, time
says = pathlib.Path(sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(says.read_text()) if says.exists() else 200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@contextlib.asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """A server in this process that says these bytes and closes; None: it never says a word."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if answer is None:
                await reader.read()
            else:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Engine:
    """A backend as scripts see it: `wake` starts it in the background, `sleep` ends it.

    What `says` holds is the status of its answers (200 where there is no such file).
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.says = folder / "says"
        self.pid_file = folder / "pid"
        self.log = folder / "log"
        script = folder / "server.py"
        script.write_text(_SERVER)
        run = f"{sys.executable} {script} {self.port} {self.says}"
        self.wake = (
            f"echo wake >> {self.log}; {run} > {folder}/out 2>&1 & echo $! > {self.pid_file}"
        )
        self.sleep = f"echo sleep >> {self.log}; kill -9 $(cat {self.pid_file})"

    @property
    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, ValueError):
            os.kill(self.pid, number)

    def history(self) -> list[str]:
        """Which hooks ran, in order."""
        return self.log.read_text().split() if self.log.exists() else []

    def end(self) -> None:
        self.signal(signal.SIGKILL)


def lives(pid: int) -> bool:
    """Whether a process runs; a corpse that nobody has buried does not."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return state.strip() != "" and not state.startswith("Z")
