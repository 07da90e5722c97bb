"""A crowd that is let in at once does not overrun its backend's backlog."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmux.http.backend import MOST_DIALS, Backend
from llmux.http.limits import Limits
from llmux.http.upstream import Upstream
from tests.http.small_gate import Counter


async def test_a_crowd_is_dialled_for_in_turns_and_everybody_gets_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    backend = Backend(loop, "m", server.sockets[0].getsockname()[1], Limits(), Counter())
    connect, may_connect = loop.create_connection, asyncio.Event()
    dialling = most = 0

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        nonlocal dialling, most
        dialling += 1
        most = max(most, dialling)
        await may_connect.wait()
        made = await connect(*args, **kwargs)
        dialling -= 1
        return made

    monkeypatch.setattr(loop, "create_connection", slowly)
    crowd = MOST_DIALS * 2 + 1
    made: list[Upstream | OSError] = []
    dials = [backend.dial(made.append, chunks=True) for _ in range(crowd)]
    await asyncio.sleep(0)  # each has come to its place in the line
    dials.pop().cancel()  # who leaves while waiting for its turn takes nobody's
    may_connect.set()
    await asyncio.gather(*dials)
    assert most == MOST_DIALS
    assert len(made) == crowd - 1
    assert all(isinstance(one, Upstream) for one in made)
    for one in made:
        if isinstance(one, Upstream):
            one.close()
    server.close()
