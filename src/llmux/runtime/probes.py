"""Three ways to ask whether a backend lives: its port, a path on it, the user's own command.

A probe is one look with one answer, bounded in time and in bytes. It refuses to know what an
answer means for the model: a port that refuses and a command that cannot be run are told apart
here and weighed in `witness`.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote

from llmux.runtime.hooks import HookRunner

HEAD_LIMIT = 16_384
"""Bytes of an answer's head that the `http` probe reads at most."""
_HOST = "127.0.0.1"
_OUR_OWN_TROUBLE = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}
)


class Answer(Enum):
    """What one look has brought; it can be only one of these."""

    AGREES = "agrees"
    DENIES = "denies"
    """A clear no: another status than 2xx, another exit code than 0."""
    REFUSES = "refuses"
    """Nobody listens on the port."""
    SILENT = "silent"
    """No answer in time, or one that broke off: a hang looks so."""
    UNFIT = "unfit"
    """The command cannot be run at all (exit code 126 or 127)."""
    UNASKED = "unasked"
    """The question was never put, for want of something on our side (descriptors, memory)."""


@dataclass(frozen=True, slots=True)
class Look:
    """One answer, and a sentence for the operator where it was not `AGREES`."""

    answer: Answer
    error: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether the backend was seen alive."""
        return self.answer is Answer.AGREES


Probe = Callable[[], Coroutine[Any, Any, Look]]
"""Takes one look; never raises but for a cancellation."""

AGREES = Look(Answer.AGREES)


def tcp(port: int, timeout: float | None) -> Probe:
    """Return a probe that agrees where `port` accepts within `timeout` seconds."""

    async def look() -> Look:
        try:
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection(_HOST, port)
        except (OSError, TimeoutError) as error:
            return _failed(port, timeout, error)
        writer.transport.abort()
        return AGREES

    return look


def http(port: int, path: str, timeout: float | None) -> Probe:
    """Return a probe that agrees where a GET of `path` is answered 2xx within `timeout` seconds."""
    target = quote(path, safe="/?&=%:@!$'()*+,;~")
    request = (
        f"GET {target} HTTP/1.1\r\nHost: {_HOST}:{port}\r\n"
        "User-Agent: llmux\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ).encode()

    async def look() -> Look:
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(_HOST, port, limit=HEAD_LIMIT)
                try:
                    writer.write(request)
                    return await _status(reader, path)
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError) as error:
            return _failed(port, timeout, error)

    return look


def shell(runner: HookRunner, model: str) -> Probe:
    """Return a probe that runs the model's `alive` command and believes its exit code."""

    async def look() -> Look:
        result = await runner.run_alive(model)
        if result.ok:
            return AGREES
        if result.fate == "late":
            answer = Answer.SILENT
        elif result.fate != "ended" or result.exit_code is None:
            answer = Answer.UNASKED
        elif result.exit_code in (126, 127):
            answer = Answer.UNFIT
        else:
            answer = Answer.DENIES if result.exit_code > 0 else Answer.SILENT
        return Look(answer, f"alive: {result.error}")

    return look


async def _status(reader: asyncio.StreamReader, path: str) -> Look:
    """Read heads until one is no interim answer (1xx), and judge its status."""
    left = HEAD_LIMIT
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return Look(Answer.SILENT, f"GET {path}: the answer broke off or is no HTTP")
        words = line.split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            return Look(Answer.SILENT, f"GET {path}: the answer is no HTTP")
        status = int(words[1])
        if 200 <= status < 300:
            return AGREES
        if status >= 200 or status == 101:
            return Look(Answer.DENIES, f"GET {path}: status {status}")
        while line.strip():
            left -= len(line)
            if left <= 0:
                return Look(Answer.SILENT, f"GET {path}: the head does not end")
            try:
                line = await reader.readuntil(b"\n")
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                return Look(Answer.SILENT, f"GET {path}: the answer broke off")


def _failed(port: int, timeout: float | None, error: OSError | TimeoutError) -> Look:
    if isinstance(error, ConnectionRefusedError):
        return Look(Answer.REFUSES, f"port {port} refuses connections")
    if isinstance(error, TimeoutError):
        limit = "" if timeout is None else f" within {timeout:g} s"
        return Look(Answer.SILENT, f"port {port}: no answer{limit}")
    if error.errno in _OUR_OWN_TROUBLE:
        return Look(Answer.UNASKED, f"port {port} could not be asked: {error.strerror}")
    return Look(Answer.SILENT, f"port {port}: {error}")
