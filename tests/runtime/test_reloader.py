"""When the file is read: one reading at a time, and the last word holds."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from llmux.config import Loaded, parse_config
from llmux.core.news import ConfigRejected, ConfigReloaded
from llmux.errors import PolicyError
from llmux.reload import Reloader

TEXT = '{"models": {"a": {"port": 8001, "wake": "w", "sleep": "s"}}, "port": PORT}'
SAME = ConfigReloaded("", "", "", "")


def read(port: int, text: str = TEXT) -> Loaded:
    """What a file with this gateway's port says."""
    return parse_config(text.replace("PORT", str(port)), "config.json")


async def settled(told: list[object], count: int) -> None:
    """Return when so much was told."""
    async with asyncio.timeout(30.0):
        while len(told) < count:
            await asyncio.sleep(0)


def test_asked_many_times_while_it_follows_it_reads_once_more() -> None:
    """And never two files at the same time."""

    async def story() -> None:
        told: list[object] = []
        followed: list[int] = []
        gate = asyncio.Event()
        ports = iter(range(3001, 3010))

        async def follow(loaded: Loaded) -> ConfigReloaded:
            followed.append(loaded.config.port)
            await gate.wait()
            return SAME

        reloader = Reloader(lambda: read(next(ports)), follow, told.append)
        reloader.ask()
        while not followed:
            await asyncio.sleep(0)
        for _ in range(5):
            reloader.ask()
        gate.set()
        await settled(told, 2)
        assert followed == [3001, 3002]
        reloader.ask()
        await settled(told, 3)
        assert followed == [3001, 3002, 3003]
        await reloader.end()

    asyncio.run(story())


def rejected(loaded: Callable[[], Loaded], known: Loaded | None = None) -> object:
    """What is told of one reading that is followed by a policy's refusal."""

    async def story() -> object:
        told: list[object] = []

        async def follow(loaded: Loaded) -> ConfigReloaded:
            raise PolicyError("the policy said no")

        Reloader(loaded, follow, told.append, () if known is None else known.warnings).ask()
        await settled(told, 1)
        return told[0]

    return asyncio.run(story())


def test_every_reason_not_to_follow_is_told() -> None:
    """A mistake in the file, a policy that refuses, an unknown key, and what nobody foresaw."""
    assert rejected(lambda: read(1)) == ConfigRejected("the policy said no")
    said = str(rejected(lambda: read(1, "{")))
    assert "config.json" in said
    odd = TEXT.replace('"port": PORT', '"prot": PORT')
    assert "config.json:1:" in str(rejected(lambda: read(1, odd)))
    assert rejected(lambda: read(1, odd), known=read(1, odd)) == ConfigRejected(
        "the policy said no"
    ), "it has started with that key"

    def broken() -> Loaded:
        raise RuntimeError("nobody foresaw")

    assert "nobody foresaw" in str(rejected(broken))


def test_the_service_manager_hears_when_a_reading_begins_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of `Type=notify-reload`."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(30.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        rejected(lambda: read(1, "{"))
        first = manager.recv(200).decode().split("\n")
    assert first[0] == "RELOADING=1"
    assert first[1].startswith("MONOTONIC_USEC=")


def test_a_reading_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that is gone: the next reading is refused until that one is back."""
    monkeypatch.setattr("llmux.reload.READ_SECONDS", 0.1)
    back = threading.Event()

    def stuck() -> Loaded:
        back.wait()
        return read(1)

    async def story() -> None:
        told: list[object] = []

        async def follow(loaded: Loaded) -> ConfigReloaded:
            return SAME

        reloader = Reloader(stuck, follow, told.append)
        for count, said in enumerate(("not read within 0.1 s", "has not ended yet"), 1):
            reloader.ask()
            await settled(told, count)
            assert said in str(told[-1])
        back.set()
        while told[-1] != SAME:
            reloader.ask()
            await settled(told, len(told) + 1)
        await reloader.end()

    asyncio.run(story())
