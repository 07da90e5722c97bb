"""A toy engine: a process that behaves like a small LLM server, and says who it is.

It listens at once, answers 503 while it "loads", then streams OpenAI-shaped chunks. It needs the
standard library only and nothing of llmux, so that it can be started as a plain file, the way a
real engine is. It knows no hooks and no gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

WORD_SECONDS = 0.03
"""Between two words of an answer."""
LOOK_SECONDS = 0.05
"""Between two looks at an engine that starts or stops."""

Headers = dict[bytes, bytes]
Piece = dict[str, object]


class Engine:
    """Answers for one model once `load_secs` have passed since the start."""

    def __init__(self, name: str, port: int, load_secs: float) -> None:
        self.name = name
        self.port = port
        self.load_secs = load_secs
        self._ready_at = time.monotonic() + load_secs
        self._answers = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until its other end leaves."""
        with contextlib.suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, headers = _parse(head)
                body = await _body(reader, headers)
                await self._answer(writer, f"{method} {path.partition('?')[0]}", body)
                if headers.get(b"connection", b"").lower() == b"close":
                    break
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, route: str, body: bytes) -> None:
        if time.monotonic() < self._ready_at:
            await _send(writer, 503, {"error": {"message": "loading model", "code": 503}})
        elif route == "GET /health":
            await _send(writer, 200, {"status": "ok"})
        elif route == "GET /v1/models":
            model = {"id": self.name, "object": "model", "created": 0, "owned_by": "demo"}
            await _send(writer, 200, {"object": "list", "data": [model]})
        elif route in ("POST /v1/chat/completions", "POST /v1/completions"):
            await self._complete(writer, body, chat="chat" in route)
        else:
            await _send(writer, 404, {"error": {"message": f"no route {route}", "code": 404}})

    async def _complete(self, writer: asyncio.StreamWriter, body: bytes, *, chat: bool) -> None:
        try:
            asked = json.loads(body)
            words = self._words(_question(asked))
            stream = bool(asked.get("stream"))
        except (ValueError, AttributeError, TypeError, LookupError):
            await _send(writer, 400, {"error": {"message": "not a completion", "code": 400}})
            return
        self._answers += 1
        kind = "chat.completion" if chat else "text_completion"
        frame = {"id": f"demo-{self._answers}", "created": int(time.time()), "model": self.name}
        if stream:
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            frame["object"] = "chat.completion.chunk" if chat else kind
            async for choice in _pieces(words, chat=chat):
                await _chunk(writer, json.dumps(frame | {"choices": [choice]}))
            await _chunk(writer, "[DONE]")
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return
        await asyncio.sleep(WORD_SECONDS * len(words))
        text = "".join(words)
        full: Piece = {"index": 0, "finish_reason": "stop"}
        full |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        usage = {
            "prompt_tokens": 8,
            "completion_tokens": len(words),
            "total_tokens": 8 + len(words),
        }
        await _send(writer, 200, frame | {"object": kind, "choices": [full], "usage": usage})

    def _words(self, question: str) -> list[str]:
        heard = " ".join(question.split())[:60]
        text = (
            f"I am {self.name}, process {os.getpid()}, loaded in {self.load_secs:g} s. "
            f"You said: {heard}"
        )
        return re.findall(r"\S+\s*", text)


def _question(asked: dict[str, object]) -> str:
    messages = asked.get("messages")
    if isinstance(messages, list) and messages:
        return str(messages[-1]["content"])
    return str(asked.get("prompt", ""))


async def _pieces(words: list[str], *, chat: bool) -> AsyncIterator[Piece]:
    if chat:
        yield {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    for word in words:
        await asyncio.sleep(WORD_SECONDS)
        said: Piece = {"delta": {"content": word}} if chat else {"text": word}
        yield {"index": 0, "finish_reason": None} | said
    nothing: Piece = {"delta": {}} if chat else {"text": ""}
    yield {"index": 0, "finish_reason": "stop"} | nothing


def _parse(head: bytes) -> tuple[str, str, Headers]:
    first, *lines = head.split(b"\r\n")
    method, path, _ = first.decode("latin-1").split(" ", 2)
    headers: Headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    return method, path, headers


async def _body(reader: asyncio.StreamReader, headers: Headers) -> bytes:
    if b"chunked" not in headers.get(b"transfer-encoding", b"").lower():
        return await reader.readexactly(int(headers.get(b"content-length", b"0")))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    while (await reader.readline()).strip():
        pass
    return body


async def _send(writer: asyncio.StreamWriter, status: int, answer: object) -> None:
    body = json.dumps(answer).encode()
    writer.write(
        b"HTTP/1.1 %d Toy\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (status, len(body), body)
    )
    await writer.drain()


async def _chunk(writer: asyncio.StreamWriter, data: str) -> None:
    event = f"data: {data}\n\n".encode()
    writer.write(b"%x\r\n%b\r\n" % (len(event), event))
    await writer.drain()


async def serve(name: str, port: int, load_secs: float, owner: int | None) -> None:
    """Be the engine until SIGTERM, or until the process `owner` is gone; OSError: no port."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    engine = Engine(name, port, load_secs)
    server = await asyncio.start_server(engine.serve, "127.0.0.1", port)
    while not ended.is_set() and (owner is None or runs(owner)):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await ended.wait()
    server.close()


def runs(pid: int) -> bool:
    """Say whether there is a process of this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _looks(seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        time.sleep(LOOK_SECONDS)


def wait_ready(port: int, pid_file: Path, seconds: float = 60.0) -> bool:
    """Wait until the engine answers 200 on /health; False when it died or took too long."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in _looks(seconds):
        try:
            with direct.open(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:  # 503: it loads
            continue
        except OSError:
            if not pid_file.exists() or not runs(int(pid_file.read_text())):
                return False
    return False


def wait_gone(port: int, seconds: float = 10.0) -> bool:
    """Wait until nobody listens on the port any more; False when somebody goes on.

    A pid would not do: it stays for as long as nobody buries the process.
    """
    for _ in _looks(seconds):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            continue
    return False


def main() -> int:
    """Be an engine, or wait for one: `--wait-ready` and `--wait-gone` are for its hooks."""
    parser = argparse.ArgumentParser(prog="llmux.demo.engine", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", default="toy")
    parser.add_argument("--load-secs", type=float, default=0.0)
    parser.add_argument("--owner", type=int, help="end when this process is gone")
    parser.add_argument("--wait-ready", type=Path, metavar="PID_FILE")
    parser.add_argument("--wait-gone", action="store_true")
    options = parser.parse_args()
    if options.wait_ready is not None:
        return 0 if wait_ready(options.port, options.wait_ready) else 1
    if options.wait_gone:
        return 0 if wait_gone(options.port) else 1
    asyncio.run(serve(options.name, options.port, options.load_secs, options.owner))
    return 0


if __name__ == "__main__":
    sys.exit(main())
