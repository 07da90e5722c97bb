"""A model's server as a test wants it: it says who it is, and does what a request's body says.

It is started by a real wake hook as a real process, so it needs the standard library only. It
binds, forks and returns, which makes the hook end when connections are taken. In the body of a
request stand the stage directions: `tag` (a name under which it is noted), `hold` (no answer
before the file of that name exists), `words`, `size` and `pause` (a stream), `die` (before,
middle), `hang_up`, `status`, `answer_headers`, `finish` (its reason). It refuses to know the
gateway.

    python backend.py NAME PORT FOLDER [--loud] [--late SECONDS]
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

LOOK = 0.01
"""Seconds between two looks at a file or a client."""


class Backend:
    """One model's server; notes in `seen.log` what comes, ends and leaves."""

    def __init__(self, name: str, folder: Path, pid_file: Path) -> None:
        self.name = name
        self.folder = folder
        self.pid_file = pid_file

    def note(self, what: str) -> None:
        with (self.folder / "seen.log").open("a") as log:
            log.write(f"{self.name} {what}\n")

    def there(self, name: str) -> bool:
        return (self.folder / name).exists()

    def end(self, code: int) -> NoReturn:
        self.pid_file.unlink(missing_ok=True)
        os._exit(code)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self.answer(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        start, *fields = head.decode("latin-1").strip().split("\r\n")
        given = [tuple(field.split(": ", 1)) for field in fields]
        length = next((int(pair[1]) for pair in given if pair[0].lower() == "content-length"), 0)
        body = await reader.readexactly(length)
        try:
            wish: dict[str, Any] = json.loads(body) if body else {}
        except ValueError:
            wish = {}
        tag = wish.get("tag", "-")
        self.note(f"got {tag}")
        if wish.get("die") == "before":
            self.end(9)
        if wish.get("hang_up"):
            raise ConnectionResetError
        hold = wish.get("hold")
        while hold and not self.there(hold):
            await asyncio.sleep(LOOK)
            self.look(reader, tag)
        if self.there(f"{self.name}.loading"):
            wish = {"status": 503}
        if wish.get("stream"):
            await self.stream(wish, tag, reader, writer)
        else:
            told = {
                "object": "chat.completion",
                "who": self.name,
                "start": start,
                "fields": given,
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": f"I am {self.name}"},
                        "finish_reason": wish.get("finish", "stop"),
                    }
                ],
            }
            text = json.dumps(told).encode()
            more = "".join(f"{k}: {v}\r\n" for k, v in wish.get("answer_headers", {}).items())
            writer.write(
                f"HTTP/1.1 {wish.get('status', 200)} Told\r\ncontent-type: application/json\r\n"
                f"{more}content-length: {len(text)}\r\n\r\n".encode()
                + (b"" if start.startswith("HEAD ") else text)
            )
            await writer.drain()
        self.note(f"done {tag}")

    async def stream(
        self,
        wish: dict[str, Any],
        tag: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for number in range(wish.get("words", 3)):
            word = f"{self.name}{number} " + "x" * wish.get("size", 0)
            delta = {"index": 0, "delta": {"content": word}}
            told = {"object": "chat.completion.chunk", "who": self.name, "choices": [delta]}
            self.piece(writer, f"data: {json.dumps(told)}\n\n".encode())
            await writer.drain()
            if wish.get("die") == "middle" and number == 1:
                self.end(9)
            await asyncio.sleep(wish.get("pause", 0.0))
            self.look(reader, tag)
            rest = wish.get("hold_rest")
            while rest and not self.there(rest):
                await asyncio.sleep(LOOK)
                self.look(reader, tag)
        if "finish" in wish:
            end = {"choices": [{"index": 0, "delta": {}, "finish_reason": wish["finish"]}]}
            self.piece(writer, b"data: %b\n\n" % json.dumps(end).encode())
        self.piece(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def piece(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    def look(self, reader: asyncio.StreamReader, tag: str) -> None:
        """Note a client that is gone; only then is the answer given up."""
        if reader.at_eof() or reader.exception() is not None:
            self.note(f"gone {tag}")
            raise ConnectionResetError


def main() -> int:
    name, port, place, *options = sys.argv[1:]
    folder = Path(place)
    pid_file = folder / f"{port}.pid"
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", int(port)))
    except OSError:
        return 0 if pid_file.exists() else 1
    late = float(options[options.index("--late") + 1]) if "--late" in options else 0.0
    if not late:
        listening.listen(128)
    child = os.fork()
    if child:
        pid_file.write_text(str(child))
        return 0
    if "--loud" not in options:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
    asyncio.run(_live(Backend(name, folder, pid_file), listening, late))
    return 0


async def _live(backend: Backend, listening: socket.socket, late: float) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, backend.end, 0)
    await asyncio.sleep(late)
    server = await asyncio.start_server(backend.serve, sock=listening)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
