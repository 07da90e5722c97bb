"""Ready means progress: a stage that outlives its bound is named, and green comes back."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from llmux.core.lane import Phase
from llmux.errors import HookFailedError
from llmux.policy import FifoPolicy
from llmux.runtime.readiness import SLACK, Readiness, beat, notify_systemd
from llmux.runtime.survey import Waits
from llmux.runtime.switcher import ModelSwitcher
from llmux.testing import FakeHooks, run_virtual


def test_a_wake_that_outlives_its_bound_turns_it_red_and_its_end_green() -> None:
    """The wake may take 5 s and takes 30: red within 10 s of the bound, with model and hook."""

    async def story() -> None:
        now = asyncio.get_running_loop().time
        switcher = ModelSwitcher(FakeHooks({"a": (1.0, 30.0)}), FifoPolicy())
        readiness = Readiness(switcher, {"a": (5.0, 5.0)})
        heart = asyncio.create_task(beat(readiness))
        asked = asyncio.create_task(switcher.force_switch("a"))
        await asyncio.sleep(5.0)
        assert readiness.problems(now()) == []
        await asyncio.sleep(10.0)
        [problem] = readiness.problems(now())
        assert (problem["model"], problem["phase"], problem["hook"]) == ("a", "waking", "wake")
        await asked
        assert readiness.problems(now()) == []
        heart.cancel()
        await switcher.stop()

    assert SLACK < 10.0
    run_virtual(story())


def test_a_lifted_bound_is_never_outlived() -> None:
    """Who lifts the bound of a wake wants it to take as long as it takes."""

    async def story() -> None:
        switcher = ModelSwitcher(FakeHooks({"a": (1.0, 3000.0)}), FifoPolicy())
        readiness = Readiness(switcher, {"a": (None, None)})
        asked = asyncio.create_task(switcher.force_switch("a"))
        await asyncio.sleep(2900.0)
        assert readiness.problems(asyncio.get_running_loop().time()) == []
        await asked
        await switcher.stop()

    run_virtual(story())


def test_a_quarantined_model_is_named() -> None:
    """Nothing wakes in its place, so nobody should send more requests here."""

    async def story() -> None:
        switcher = ModelSwitcher(FakeHooks({"a": (1.0, 1.0)}), FifoPolicy())
        switcher.board.lanes["a"].phase = Phase.QUARANTINED
        [problem] = Readiness(switcher, {}).problems(0.0)
        assert (problem["model"], problem["phase"]) == ("a", "quarantined")
        await switcher.stop()

    run_virtual(story())


def test_a_start_says_what_it_waits_for() -> None:
    """A hook of the last life may take its whole bound, and nothing is served meanwhile."""

    async def story() -> None:
        switcher = ModelSwitcher(FakeHooks({"a": (1.0, 1.0)}), FifoPolicy(), survey=True)
        waits = [Waits("a", "wake", "it was left running")]
        readiness = Readiness(switcher, {}, lambda: waits)
        [problem] = readiness.problems(0.0)
        assert problem == {
            "model": "a",
            "phase": "starting",
            "hook": "wake",
            "why": "it was left running",
        }
        waits.clear()
        [problem] = readiness.problems(0.0)
        assert (problem["model"], problem["phase"]) == (None, "starting")
        await switcher.stop()

    run_virtual(story())


def test_a_model_that_fails_is_named_and_does_not_turn_it_red() -> None:
    """It is left alone for two seconds after its wake has failed; others are served."""

    async def story() -> None:
        now = asyncio.get_running_loop().time
        hooks = FakeHooks({"a": (1.0, 1.0), "b": (1.0, 1.0)}, failing={("wake", "b")})
        switcher = ModelSwitcher(hooks, FifoPolicy())
        readiness = Readiness(switcher, {})
        with pytest.raises(HookFailedError):
            await switcher.force_switch("b")
        await asyncio.sleep(1.5)  # its clean-up takes one of them
        assert readiness.problems(now()) == []
        [trouble] = readiness.troubles(now())
        assert (trouble["model"], trouble["phase"], trouble["hook"]) == ("b", "resting", "wake")
        assert "in 1.5 s" in str(trouble["why"])
        await asyncio.sleep(3.0)
        assert readiness.troubles(now()) == []
        await switcher.stop()

    run_virtual(story())


def test_a_model_that_cannot_be_put_to_sleep_is_named_and_does_not_turn_it_red() -> None:
    """It serves on."""

    async def story() -> None:
        switcher = ModelSwitcher(FakeHooks({"a": (1.0, 1.0)}), FifoPolicy())
        await switcher.force_switch("a")
        lane = switcher.board.lanes["a"]
        lane.stuck, lane.stuck_until = True, 10.0
        readiness = Readiness(switcher, {})
        assert readiness.problems(6.0) == []
        [trouble] = readiness.troubles(6.0)
        assert (trouble["model"], trouble["phase"], trouble["hook"]) == ("a", "stuck", "sleep")
        assert "in 4.0 s" in str(trouble["why"])
        await switcher.stop()

    run_virtual(story())


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One datagram on the socket that it names; without one nothing happens."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_systemd("READY=1")
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(30.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify_systemd("READY=1")
        assert manager.recv(100) == b"READY=1"
    notify_systemd("WATCHDOG=1")  # a manager that is gone is nobody's fault
