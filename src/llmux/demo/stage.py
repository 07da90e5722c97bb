"""The demo's scenery: a folder with a config and hooks, a gateway process, and their removal.

Everything that the demo puts into the world is put there by this file and taken away by it,
however the demo ends. It knows nothing of requests and of what is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llmux.demo import engine
from llmux.demo.cast import Cast

START_SECONDS = 20.0
"""How long the gateway may take until it is ready."""
STOP_SECONDS = 8.0
"""How long it may take to stop before it is killed."""

WAKE = """\
#!/bin/sh
# Wakes one engine: starts it in the background and waits until it is ready. Waking one that runs
# already does no harm.
python={python}
engine={engine}
looker={looker}
if ! test -e "$LLMUX_MODEL.pid"; then
    nohup "$python" -P "$engine" --name "$LLMUX_MODEL" --port "$LLMUX_PORT" "$@" \\
        --owner {owner} </dev/null >"$LLMUX_MODEL.log" 2>&1 &
    echo $! >"$LLMUX_MODEL.pid"
fi
exec "$python" -P "$looker" --port "$LLMUX_PORT" --wait-ready "$LLMUX_MODEL.pid"
"""

SLEEP = """\
#!/bin/sh
# Puts one engine to sleep: ends it and waits until its port is free again.
python={python}
looker={looker}
if test -e "$LLMUX_MODEL.pid"; then
    kill "$(cat "$LLMUX_MODEL.pid")" 2>/dev/null
    rm -f "$LLMUX_MODEL.pid"
fi
exec "$python" -P "$looker" --port "$LLMUX_PORT" --wait-gone
"""

WARDEN = """\
# Outlives a demo that cannot tidy up any more (kill -9): ends the gateway and removes the folder.
# On its stdin come the gateway's pid, and a second line when there is nothing left to do.
read -r gateway
read -r done && exit
tries=0
while test -n "$gateway" && kill "$gateway" 2>/dev/null; do
    tries=$((tries + 1))
    test "$tries" -lt 50 || kill -9 "$gateway"
    sleep 0.2
done
sleep 1.5  # an engine looks once a second whether its owner is gone
rm -rf "$1"
"""

Event = dict[str, Any]


class StageError(Exception):
    """The gateway did not start; the message says why."""


@dataclass
class Stage:
    """A running gateway with the engines of a cast, for as long as the `async with` lasts.

    `port` is where it should listen; the next free one is taken. `hear` is called with each
    event that the gateway logs. Raises StageError where the gateway does not start.
    """

    cast: Cast
    port: int
    hear: Callable[[Event], None]

    def __post_init__(self) -> None:
        self.folder: Path | None = None
        self._engine_ports: dict[str, int] = {}
        self._gateway: asyncio.subprocess.Process | None = None
        self._warden: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=30)

    @property
    def url(self) -> str:
        """Where the gateway is."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Set everything up; what was set up is taken away again if something fails."""
        try:
            await self._set_up()
        except BaseException:
            await self._surely_take_away()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take everything away."""
        await self._surely_take_away()

    async def ended(self) -> str:
        """Return when the gateway has ended by itself, with the last words that it said."""
        assert self._gateway is not None
        await self._gateway.wait()
        return "\n".join(self._said)

    async def _set_up(self) -> None:
        ports = _free_ports(self.port)
        self.port = next(ports)
        # Two demos at once look at the same free ports, so each has a range of its own.
        engine_ports = _free_ports(8001 if self.port == 3000 else self.port + 1)
        for model in self.cast.arguments:
            self._engine_ports[model] = next(port for port in engine_ports if port != self.port)
        self.folder = Path(tempfile.mkdtemp(prefix="llmux-demo-"))
        await asyncio.to_thread(self.cast.prepare, self.folder)
        config = _write(self.folder, self.cast, self.port, self._engine_ports)
        self._warden = await asyncio.create_subprocess_exec(
            *("sh", "-c", WARDEN, "llmux-demo-warden", str(self.folder)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        self._gateway = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "llmux", "--config", str(config), "--log-format", "json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1024 * 1024,
            start_new_session=True,  # Ctrl-C is for the demo, which stops it in good order
        )
        self._tell_warden(str(self._gateway.pid))
        self._listening = asyncio.create_task(self._listen())
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await _answers(self.port):
                    if self._gateway.returncode is not None:
                        await self._listening
                        words = "\n".join(self._said)
                        raise StageError(f"the gateway has ended at its start:\n{words}")
                    await asyncio.sleep(engine.LOOK_SECONDS)
        except TimeoutError:
            words = "\n".join(self._said)
            raise StageError(f"the gateway is not ready in {START_SECONDS} s:\n{words}") from None

    async def _listen(self) -> None:
        assert self._gateway is not None
        assert self._gateway.stdout is not None
        async for line in self._gateway.stdout:
            text = line.decode(errors="replace").rstrip()
            self._said.append(text)
            with contextlib.suppress(ValueError):
                event = json.loads(text)
                if isinstance(event, dict):
                    self.hear(event)

    async def _surely_take_away(self) -> None:
        """Take everything away even if cancelled meanwhile; the cancellation comes after it."""
        taking = asyncio.create_task(self._take_away())
        cancelled: asyncio.CancelledError | None = None
        while not taking.done():
            try:
                await asyncio.wait({taking})
            except asyncio.CancelledError as error:
                cancelled = error
        taking.result()
        if cancelled is not None:
            raise cancelled

    async def _take_away(self) -> None:
        if self._gateway is not None and self._gateway.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._gateway.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._gateway.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._gateway.kill()
                await self._gateway.wait()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        if self.folder is not None:
            await asyncio.to_thread(_end_engines, self.folder, self._engine_ports)
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
        if self._warden is not None:
            if self._gateway is None:
                self._tell_warden("")
            self._tell_warden("done")
            await self._warden.wait()

    def _tell_warden(self, line: str) -> None:
        assert self._warden is not None
        assert self._warden.stdin is not None
        self._warden.stdin.write(f"{line}\n".encode())


def _write(folder: Path, cast: Cast, port: int, engine_ports: dict[str, int]) -> Path:
    """Write the config and the two hooks into the folder, and return the config's path."""
    place = {
        "python": shlex.quote(sys.executable),
        "engine": shlex.quote(str(cast.engine.resolve())),
        "looker": shlex.quote(str(Path(engine.__file__).resolve())),
        "owner": os.getpid(),
    }
    (folder / "wake.sh").write_text(WAKE.format(**place))
    (folder / "sleep.sh").write_text(SLEEP.format(**place))
    # Everything is taken away at the end, so there is nothing that a next life could remember.
    lines = [f"port: {port}", "state: off", "bounds:", "  shutdown_grace_secs: 1", "models:"]
    for model, arguments in cast.arguments.items():
        lines += [
            f"  {model}:",
            f"    port: {engine_ports[model]}",
            f"    wake: sh ./wake.sh {arguments}",
            "    sleep: sh ./sleep.sh",
        ]
    config = folder / "config.yaml"
    config.write_text("\n".join(lines) + "\n")
    return config


def _end_engines(folder: Path, ports: dict[str, int]) -> None:
    for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        pid_files = list(folder.glob("*.pid"))
        for pid_file in pid_files:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(pid_file.read_text()), number)
        for pid_file in pid_files:
            if engine.wait_gone(ports[pid_file.stem], patience):
                pid_file.unlink(missing_ok=True)


def _free_ports(first: int) -> Iterator[int]:
    """Yield the ports from `first` on that nobody listens on."""
    for port in range(first, 65536):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen(1)
            except OSError:
                continue
        yield port
    raise StageError(f"no port from {first} on is free")


async def _answers(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"GET /ready HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        return (await reader.readline()).split()[1:2] == [b"200"]
    except OSError:
        return False
    finally:
        writer.close()
