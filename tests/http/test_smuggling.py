"""The smuggling corpus against the gateway, and against a real nginx beside it.

Whatever nginx refuses is refused here too, and what is forwarded reaches the backend exactly once,
with the boundaries that the sender meant. The corpus is data: `smuggling.toml`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmux.http import Limits
from tests.conftest import Need
from tests.http.stand import Line, Message, chat, post, stand
from tests.http.test_relay import recorder
from tests.ports import free_port

BODY = b'{"model":"m"}'
WORDS = {
    "{H}": "POST /p HTTP/1.1\r\nHost: h\r\n",
    "{L}": "Content-Length: 13\r\n",
    "{T}": "Transfer-Encoding: chunked\r\n",
    "{B}": BODY.decode(),
    "{C}": f"d\r\n{BODY.decode()}\r\n0\r\n\r\n",
}
HIDDEN = chat(hidden=True)
LAWFUL = {"tabs around a length": "RFC 9110, 5.6.3: space and tab around a value mean nothing"}
"""Where nginx refuses what the standard has everybody read, and in one way only."""


def corpus() -> dict[str, dict[str, bytes]]:
    """Read the corpus: what has to come of a request, its name, its bytes."""
    found: dict[str, dict[str, bytes]] = {}
    file = Path(__file__).with_name("smuggling.toml")
    for verdict, cases in tomllib.loads(file.read_text()).items():
        found[verdict] = {}
        for name, text in cases.items():
            raw = re.sub("{[A-Z]}", lambda word: WORDS[word[0]], text)
            found[verdict][name] = raw.encode("latin-1")
    return found


CORPUS = corpus()
ALL = [(verdict, name) for verdict, cases in CORPUS.items() for name in cases]


def bodies(seen: list[Message]) -> list[bytes]:
    """What the backend took for bodies, each of a whole request."""
    assert all(message.complete for message in seen)
    return [message.body for message in seen]


async def statuses(client: Line, most: int = 2) -> list[int]:
    """Read answers until the other side closes, or has given so many; 1xx is left out."""
    told: list[int] = []
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while len(told) < most:
            status = (await client.message()).status
            told += [status] if status >= 200 else []
    return told


def test_the_corpus_is_large_and_says_each_thing_once() -> None:
    """At least sixty requests; the same bytes never stand there twice."""
    requests = [raw for cases in CORPUS.values() for raw in cases.values()]
    assert len(requests) >= 60
    assert len(set(requests)) == len(requests)


@pytest.mark.parametrize(("verdict", "name"), ALL)
async def test_the_gateway_reads_each_request_in_one_way_only(verdict: str, name: str) -> None:
    seen: list[Message] = []
    async with stand(recorder(seen)) as s:
        await s.ask(post(BODY, "/p"))  # a head much like it is known
        seen.clear()
        client = await s.client()
        raw = CORPUS[verdict][name]
        await client.send(raw + post(HIDDEN))
        if verdict in {"refused", "too_large"}:
            answer = await client.message()
            assert answer.status == (400 if verdict == "refused" else 413)
            assert answer.get("connection") == "close"
            code = "bad_request" if verdict == "refused" else "body_too_large"
            assert answer.json()["error"]["code"] == code  # type: ignore[index]
            assert await client.ended()
            assert not seen
            return
        told = await statuses(client)
        if verdict == "last":
            assert told[0] == 204
            assert told[1:] in ([], [400])
            assert bodies(seen) == [BODY]
        else:
            assert told == [204, 204]
            own, hidden = bodies(seen)
            assert own in (BODY, raw.partition(b"\r\n\r\n")[2])
            assert hidden == HIDDEN
        for message in seen:
            assert not message.all("transfer-encoding")
            assert message.get("content-length") == str(len(message.body))
            assert message.get("host") is not None


# ---- nginx ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def nginx(program: str, home: Path, backend: int) -> AsyncIterator[int]:
    """Run nginx before a backend; gives its port."""
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temp = "".join(f"{kind}_temp_path {home}/{kind};\n" for kind in kinds)
    (home / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error.log;\n"
        f"events {{ }}\nhttp {{ access_log off; {temp} client_header_timeout 2s;\n"
        "client_body_timeout 2s; lingering_timeout 1s;\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{\n"
        f"proxy_pass http://127.0.0.1:{backend}; proxy_http_version 1.1; }} }} }}\n"
    )
    process = await asyncio.create_subprocess_exec(
        program, "-e", f"{home}/error.log", "-c", f"{home}/nginx.conf"
    )
    try:
        while True:
            with contextlib.suppress(ConnectionError):
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            assert process.returncode is None, (home / "error.log").read_text()
            await asyncio.sleep(0.02)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def first_status(port: int, raw: bytes) -> int:
    """Send a request and give the status of its answer, 0 where there is none."""
    line = Line(*await asyncio.open_connection("127.0.0.1", port))
    try:
        await line.send(raw + post(HIDDEN))
        return next(iter(await statuses(line, 1)), 0)
    finally:
        line.close()


async def test_whatever_nginx_refuses_is_refused_here(need: Need, tmp_path: Path) -> None:
    """Side by side, the same bytes; the backend of both answers everything with 204."""
    program = need("nginx")
    weaker: list[str] = []
    refused = 0

    async def compare(ours: int, theirs: int, name: str, raw: bytes) -> None:
        nonlocal refused
        here, there = await asyncio.gather(first_status(ours, raw), first_status(theirs, raw))
        refused += there >= 400
        if there != 204 and here == 204 and name not in LAWFUL:
            weaker.append(f"{name}: nginx {there}, ours {here}")

    async with stand(recorder([]), limits=Limits(body_timeout_secs=0.3)) as s:
        backend = s.gateway.backends["m"].port
        async with nginx(program, tmp_path, backend) as port, asyncio.TaskGroup() as group:
            for cases in CORPUS.values():
                for name, raw in cases.items():
                    group.create_task(compare(s.port, port, name, raw))
    assert weaker == []
    assert refused >= 60
