"""Stories of single looks at a backend, over real sockets and the real shell."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from llmux.runtime import probes
from llmux.runtime.hooks import HookRunner, HookSpec
from llmux.runtime.probes import Answer, Look
from tests.ports import free_port
from tests.runtime.backends import answering
from tests.runtime.conftest import Play


async def http_look(answer: bytes | None, path: str = "/health", timeout: float = 5.0) -> Look:
    async with answering(answer) as port:
        return await probes.http(port, path, timeout)()


def test_a_port_that_accepts_agrees(play: Play) -> None:
    async def story() -> Look:
        async with answering(None) as port:
            return await probes.tcp(port, 5.0)()

    assert play(story()) == probes.AGREES


def test_a_port_where_nobody_listens_refuses(play: Play) -> None:
    """Both probes tell a refusal apart from every other failure: it alone can be a death."""
    port = free_port()
    for probe in (probes.tcp(port, 5.0), probes.http(port, "/", 5.0)):
        assert play(probe()) == Look(Answer.REFUSES, f"port {port} refuses connections")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 204 No Content\r\n\r\n",
        b"HTTP/1.1 299 \r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_a_status_of_2xx_agrees(play: Play, answer: bytes) -> None:
    assert play(http_look(answer)).agrees


@pytest.mark.parametrize("status", [b"503", b"404", b"301", b"101"])
def test_any_other_status_is_a_clear_no(play: Play, status: bytes) -> None:
    look = play(http_look(b"HTTP/1.1 " + status + b" What\r\n\r\n"))
    assert look == Look(Answer.DENIES, f"GET /health: status {status.decode()}")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n",
        b"HTTP/1.1 100 Continue\r\n",
        b"x" * 100_000,
        b"HTTP/1.1 100 Continue\r\n" + b"a: b\r\n" * 10_000,
    ],
)
def test_what_is_no_whole_answer_is_silence(play: Play, answer: bytes) -> None:
    """Neither a foreign protocol nor an endless head is read as yes or no, or read for ever."""
    assert play(http_look(answer)).answer is Answer.SILENT


def test_a_backend_that_says_nothing_is_silent_in_bounded_time(play: Play) -> None:
    look = play(http_look(None, timeout=0.2))
    assert look.answer is Answer.SILENT
    assert look.error is not None
    assert look.error.endswith("no answer within 0.2 s")


def test_a_path_that_is_no_plain_ascii_makes_a_proper_request(play: Play) -> None:
    """A path cannot smuggle a line into the request."""
    heard: list[bytes] = []

    async def story() -> Look:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        look = await probes.http(port, "/é?a=%2f b\r\nx: y", 5.0)()
        server.close()
        return look

    assert play(story()).agrees
    assert heard[0].startswith(b"GET /%C3%A9?a=%2f%20b%0D%0Ax:%20y HTTP/1.1\r\nHost: 127.0.0.1:")
    assert heard[0].count(b"\r\n") == 6


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("true", Answer.AGREES),
        ("exit 3", Answer.DENIES),
        ("no-such-command-here", Answer.UNFIT),
        ("/dev/null", Answer.UNFIT),
        ("sleep 300", Answer.SILENT),
        ("trap 'exit 0' TERM; sleep 300 & wait", Answer.SILENT),
        ("kill -9 $$", Answer.SILENT),
    ],
)
def test_a_command_is_believed_by_how_it_ends(play: Play, command: str, answer: Answer) -> None:
    """A missed deadline is silence, whatever the command exits with when it is ended."""
    runner = HookRunner([HookSpec("m", 1, "true", "true", command, alive_timeout=0.5)])
    assert play(probes.shell(runner, "m")()).answer is answer


def test_a_command_that_cannot_be_spawned_says_nothing_of_the_model(play: Play) -> None:
    runner = HookRunner([HookSpec("m", 1, "true", "true", "true")], env={"PATH": "/nowhere"})
    assert play(probes.shell(runner, "m")()).answer is Answer.UNASKED


def test_without_descriptors_nobody_is_asked_and_nobody_is_dead() -> None:
    """A gateway out of descriptors must not take its own trouble for a backend's death."""
    story = """
import asyncio, os, resource
from llmux.runtime import probes
async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = []
    try:
        while True: taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError: pass
    looks = [await probes.tcp(9, 5.0)(), await probes.http(9, "/", 5.0)()]
    for number in taken: os.close(number)
    print(*(look.answer.value for look in looks))
asyncio.run(main())
"""

    done = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, check=True)
    assert done.stdout == "unasked unasked\n"
