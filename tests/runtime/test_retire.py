"""What an earlier life has woken by other hooks than the config has is put to sleep by those."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import llmux.runtime.retire
from llmux.core.news import Retired
from llmux.runtime import probes
from llmux.runtime.findings import Finding
from llmux.runtime.hooks import HookRunner, HookSpec
from llmux.runtime.keeper import Keeper, woken_by
from llmux.runtime.retire import REASON, retire
from llmux.runtime.statefile import StateFile
from llmux.runtime.survey import Waits, bound_of, settle, survey

UP = "up"
"""The file that is there while the model is in memory."""
OLD = HookSpec("m", 1, f"touch {UP}", f"echo old >> log; rm -f {UP}", sleep_timeout=9.0)
NEW = HookSpec("m", 2, f"touch {UP}; true", f"echo new >> log; rm -f {UP}")
OTHER = HookSpec("o", 3, "true", "true")


def port_of(folder: Path) -> probes.Probe:
    async def look() -> probes.Look:
        up = (folder / UP).exists()
        return probes.AGREES if up else probes.Look(probes.Answer.REFUSES, "it refuses")

    return look


async def after(folder: Path, woken: HookSpec, *config: HookSpec) -> tuple[Keeper, list[Finding]]:
    """A life that woke `m` has been killed; the next one has another config."""
    (folder / UP).touch()
    last = StateFile(folder / "state.json", ["m"])
    last.open()
    last.set_woken("m", woken_by(woken))
    last.set_status("m", "awake")
    await last.close()
    state = StateFile(folder / "state.json", [one.model for one in config])
    told: list[Finding] = []
    asked = {one.model: (None, port_of(folder), "") for one in config}
    runner = HookRunner(config, cwd=folder, journal=state)
    keeper = Keeper(runner, asked, state=state, listener=told.append)
    state.open()
    await settle(keeper)
    return keeper, told


def log(folder: Path) -> list[str]:
    path = folder / "log"
    return path.read_text().splitlines() if path.exists() else []


def test_a_model_whose_hooks_were_changed_sleeps_by_the_old_ones_first(tmp_path: Path) -> None:
    """And then the new ones hold."""

    async def story() -> None:
        keeper, told = await after(tmp_path, OLD, NEW)
        await retire(keeper, lambda *_: port_of(tmp_path))
        assert log(tmp_path) == ["old"]
        assert keeper.state.last_known_awake("m") is False
        assert (keeper.runner.spec("m"), keeper.state.woken()) == (NEW, {})
        assert await survey(keeper, "m") == "asleep"
        assert Retired("m") in told
        await keeper.state.close()

    asyncio.run(story())


def test_a_model_that_is_in_no_config_sleeps_and_is_forgotten(tmp_path: Path) -> None:
    async def story() -> None:
        keeper, told = await after(tmp_path, OLD, OTHER)
        await retire(keeper, lambda *_: port_of(tmp_path))
        assert log(tmp_path) == ["old"]
        assert keeper.registered_models() == ["o"]
        assert (list(keeper.witnesses), keeper.state.woken()) == (["o"], {})
        assert Retired("m") in told
        await keeper.state.close()

    asyncio.run(story())


def test_what_was_woken_by_the_same_hooks_is_left_alone(tmp_path: Path) -> None:
    """Also where only what puts it to sleep was mended since."""

    async def story() -> None:
        mended = HookSpec("m", OLD.port, OLD.wake, "echo mended >> log")
        keeper, told = await after(tmp_path, OLD, mended)
        await retire(keeper, lambda *_: port_of(tmp_path))
        assert (log(tmp_path), told) == ([], [])
        assert await survey(keeper, "m") == "awake"
        await keeper.state.close()

    asyncio.run(story())


def test_new_hooks_are_tried_where_the_old_ones_fail(tmp_path: Path) -> None:
    """The model counts as unclear, so that nothing is woken before they have ended it."""

    async def story() -> None:
        broken = HookSpec("m", OLD.port, OLD.wake, "echo old >> log; exit 1")
        keeper, told = await after(tmp_path, broken, NEW)
        await retire(keeper, lambda *_: port_of(tmp_path))
        assert log(tmp_path) == ["old", "old"]
        assert keeper.state.unsettled() == ["m"]
        assert keeper.runner.spec("m") == NEW
        assert keeper.state.woken() == {"m": woken_by(broken)}
        assert [one.error for one in told if isinstance(one, Retired)] == ["exit code 1"]
        end = await keeper.run_sleep("m", from_model="m", to_model=None, reason="recover")
        assert end.left == "asleep"
        assert keeper.state.woken() == {}
        await keeper.state.close()

    asyncio.run(story())


def test_one_of_no_config_that_does_not_sleep_is_tried_again_until_its_port_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may be woken beside it, and nobody else knows how to end it."""

    monkeypatch.setattr(llmux.runtime.retire, "PAUSE", 0.05)

    async def story() -> None:
        broken = HookSpec("m", OLD.port, OLD.wake, "echo old >> log; exit 1")
        keeper, told = await after(tmp_path, broken, OTHER)
        waited: list[Waits] = []
        ends = asyncio.create_task(retire(keeper, lambda *_: port_of(tmp_path), waited.append))
        while len(log(tmp_path)) < 4:
            await asyncio.sleep(0.01)
        assert not ends.done()
        assert {(one.model, one.hook) for one in waited} == {("m", "sleep")}
        assert waited[0].why == f"{REASON}: its old hooks put it to sleep first"
        assert (
            f"(exit code 1): it is tried again until it sleeps or port {OLD.port}" in waited[1].why
        )
        (tmp_path / UP).unlink()  # somebody ends it by hand
        await ends
        errors = [one.error for one in told if isinstance(one, Retired)]
        assert len(errors) >= 2
        assert errors[-1] == ""
        assert all(errors[:-1])
        assert keeper.registered_models() == ["o"]
        await keeper.state.close()

    asyncio.run(story())


def test_a_hook_of_a_model_that_left_the_config_may_end_within_its_old_bound(
    tmp_path: Path,
) -> None:
    """It puts to sleep what would have to be put to sleep anyway."""

    async def story() -> None:
        keeper, _ = await after(tmp_path, OLD, OTHER)
        assert bound_of(keeper, "m", "sleep") == 9.0
        assert bound_of(keeper, "m", "wake") == 0.0
        assert bound_of(keeper, "unknown", "sleep") == 0.0
        await keeper.state.close()

    asyncio.run(story())


def test_a_life_uses_what_the_last_one_has_learned_of_alive(tmp_path: Path) -> None:
    """Also where the keeper was made before the state file was opened, as in the gateway."""

    async def story() -> None:
        last = StateFile(tmp_path / "state.json", ["m"])
        last.open()
        learned = last.traits("m", "")
        learned.blind = learned.port_stays_open = True
        last.set_traits("m", "", learned)
        await last.close()
        keeper, _ = await after(tmp_path, NEW, NEW)
        traits = keeper.witnesses["m"].traits
        assert (traits.blind, traits.port_stays_open) == (True, True)
        await keeper.state.close()

    asyncio.run(story())
