"""Stories of what the gateway remembers over its own death, with real files and processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmux.runtime import processes, statefile
from llmux.runtime.hooks import HookResult, HookRunner, HookSpec
from llmux.runtime.statefile import StateBusyError, StateFile, state_path
from llmux.runtime.witness import Traits
from tests.runtime.backends import lives

MODELS = ("qwen", "llama", "phi")

_LIFE = """
import asyncio, os, sys
from pathlib import Path
from llmux.runtime.hooks import HookRunner, HookSpec
from llmux.runtime.statefile import StateFile
async def main():
    state = StateFile(Path(sys.argv[1]), ("qwen", "llama", "phi"))
    state.open()
    hooks = HookRunner([HookSpec("qwen", 1, sys.argv[2], "true")], journal=state)
    {story}
asyncio.run(main())
"""


def opened(path: Path, warnings: list[str] | None = None) -> StateFile:
    state = StateFile(path, MODELS, warn=warnings.append if warnings is not None else pytest.fail)
    state.open()
    return state


def remembered(path: Path, tell: Callable[[StateFile], object]) -> StateFile:
    """What the next life knows after this one was told something and closed."""

    async def life() -> None:
        state = opened(path)
        tell(state)
        await state.close()

    asyncio.run(life())
    return opened(path)


def killed_in(path: Path, story: str, wake: str, ready: Path) -> None:
    """Run a life in a process of its own and kill it with -9 when the file `ready` is there."""
    life = subprocess.Popen([sys.executable, "-c", _LIFE.format(story=story), str(path), wake])
    try:
        asyncio.run(appears(ready))
    finally:
        life.kill()
        life.wait()


async def appears(path: Path) -> None:
    async with asyncio.timeout(30):
        while not path.exists() or not path.read_text().strip():
            await asyncio.sleep(0.01)


async def dies(pid: int) -> None:
    async with asyncio.timeout(30):
        while lives(pid):
            await asyncio.sleep(0.01)


def content(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


# ---- where it lies -----------------------------------------------------------------------------


def test_its_name_is_a_hash_of_the_configs_real_path(tmp_path: Path) -> None:
    """A link to a config is the same config; a copy elsewhere never meets it."""
    config, link, other = (tmp_path / name for name in ("config.yaml", "link.yaml", "other.yaml"))
    config.touch()
    other.touch()
    link.symlink_to(config)
    env = {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path / "home")}
    path = state_path("auto", config, env)
    assert path is not None
    assert path.parent == tmp_path / "state" / "llmux"
    assert path == state_path("auto", link, env)
    assert path != state_path("auto", other, env)
    without = state_path("auto", config, {"HOME": str(tmp_path / "home")})
    assert without == tmp_path / "home/.local/state/llmux" / path.name
    relative = state_path("auto", config, {"XDG_STATE_HOME": "here", "HOME": str(tmp_path)})
    assert relative == tmp_path / ".local/state/llmux" / path.name


def test_it_may_be_off_or_anywhere(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    assert state_path("off", config) is None
    assert state_path("auto", None) is None
    assert state_path("run/state.json", config) == tmp_path / "run/state.json"
    assert state_path("/run/llmux.json", config) == Path("/run/llmux.json")


# ---- what it remembers -------------------------------------------------------------------------


def test_a_first_life_knows_nothing(tmp_path: Path) -> None:
    state = opened(tmp_path / "deep" / "state.json")
    assert [state.last_known_awake(name) for name in MODELS] == [None, None, None]
    assert (state.awake_order(), state.unsettled()) == ([], [])
    assert state.traits("qwen", "curl /health") == Traits()
    assert (tmp_path / "deep").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "deep" / "state.json").stat().st_mode & 0o777 == 0o600


def test_what_is_awake_is_remembered_with_the_most_recent_last(tmp_path: Path) -> None:
    def tell(state: StateFile) -> None:
        for name, status in [("llama", "awake"), ("qwen", "awake"), ("phi", "asleep")]:
            state.set_status(name, status)  # type: ignore[arg-type]
        state.set_status("llama", "asleep")
        state.set_status("llama", "awake")
        state.set_status("qwen", "awake")  # it is already: that makes it no more recent

    state = remembered(tmp_path / "state.json", tell)
    assert state.awake_order() == ["qwen", "llama"]
    assert [state.last_known_awake(name) for name in MODELS] == [True, True, False]


def test_what_was_learned_is_remembered(tmp_path: Path) -> None:
    """Costs of pairs and hooks; an infinity that no file can carry is left out."""
    pairs: dict[tuple[str | None, str], float] = {(None, "qwen"): 3.5, ("qwen", "llama"): 4.0}
    hooks = {("qwen", "wake"): 3.5, ("qwen", "sleep"): float("inf")}
    state = remembered(tmp_path / "state.json", lambda state: state.set_costs(pairs, hooks))
    assert state.pair_costs() == pairs
    assert state.hook_costs() == {("qwen", "wake"): 3.5}


def test_what_is_known_of_an_alive_belongs_to_its_text(tmp_path: Path) -> None:
    """A repaired script is not judged by what the old one did."""
    traits = Traits(agreed=True, unfit="it lied", blind=True, port_stays_open=True)
    state = remembered(tmp_path / "state.json", lambda one: one.set_traits("qwen", "true", traits))
    assert state.traits("qwen", "true") == traits
    assert state.traits("qwen", "curl -f localhost") == Traits()
    assert state.traits("llama", "true") == Traits()


def test_after_a_boot_only_what_was_learned_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(state: StateFile) -> None:
        state.set_status("qwen", "awake")
        state.set_costs({(None, "qwen"): 2.0}, {})

    path = tmp_path / "state.json"
    monkeypatch.setattr(processes, "boot_id", lambda: "the boot before")
    first = remembered(path, tell)
    assert first.last_known_awake("qwen") is True
    asyncio.run(first.close())
    monkeypatch.undo()
    second = opened(path)
    assert second.last_known_awake("qwen") is None
    assert second.pair_costs() == {(None, "qwen"): 2.0}


def test_models_that_left_the_config_are_forgotten_with_a_word(tmp_path: Path) -> None:
    path, warnings = tmp_path / "state.json", list[str]()

    async def first() -> None:
        state = opened(path)
        state.set_status("qwen", "awake")
        state.set_status("phi", "asleep")
        state.set_costs({("qwen", "llama"): 1.0, ("llama", "qwen"): 1.0, (None, "llama"): 2.0}, {})
        await state.close()

    asyncio.run(first())
    state = StateFile(path, ["llama"], warn=warnings.append)
    state.open()
    assert state.awake_order() == []
    assert state.pair_costs() == {(None, "llama"): 2.0}
    assert warnings == ["qwen was awake when last heard of and is not in the config any more"]


def test_any_text_can_be_a_models_name(tmp_path: Path) -> None:
    names = ["\N{SNOWMAN}/7b", 'quote"d', "line\nbreak", ""]
    path = tmp_path / "state.json"

    async def first() -> None:
        state = StateFile(path, names, warn=pytest.fail)
        state.open()
        for name in names:
            state.set_status(name, "awake")
        await state.close()

    asyncio.run(first())
    second = StateFile(path, names, warn=pytest.fail)
    second.open()
    assert second.awake_order() == names


# ---- one gateway at a time ---------------------------------------------------------------------


def test_a_second_gateway_with_the_same_file_is_told_who_has_it(tmp_path: Path) -> None:
    state = opened(tmp_path / "state.json")
    with pytest.raises(StateBusyError, match=rf"\(pid {os.getpid()}\) already runs"):
        opened(tmp_path / "state.json")
    opened(tmp_path / "other.json")
    asyncio.run(state.close())
    opened(tmp_path / "state.json")


def test_the_lock_dies_with_its_process_and_no_hook_inherits_it(tmp_path: Path) -> None:
    """kill -9 while a hook left a server behind: the next life starts at once."""
    path, ready = tmp_path / "state.json", tmp_path / "ready"
    wake = f"sleep 300 & echo $! > {ready}; exit 0"
    killed_in(path, "await hooks.run_wake('qwen'); await asyncio.sleep(300)", wake, ready)
    try:
        opened(path)
    finally:
        os.kill(int(ready.read_text()), signal.SIGKILL)


def test_a_fork_that_outlives_a_kill_for_a_moment_keeps_nobody_out(tmp_path: Path) -> None:
    """kill -9 between the fork for a hook and its first command: the fork still has the lock."""
    path = tmp_path / "state.json"
    life = f"""if True:
        import os, pathlib, signal, time
        from llmux.runtime.statefile import StateFile
        StateFile(pathlib.Path({str(path)!r}), ["qwen"]).open()
        if os.fork():
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.3)
        """
    assert subprocess.run([sys.executable, "-c", life], check=False).returncode == -signal.SIGKILL
    opened(path)


# ---- trouble with the file ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "\0\0\0\0",
        "[]",
        '{"some": "other program"}',
        '{"llmux_state": 99}',
        '{"llmux_state": 1, "models": {"qwen": "dancing"}}',
        '{"llmux_state": 1, "hooks": [{"pid": "x"}]}',
        '{"llmux_state": 1, "pairs": [["a", "b"]]}',
        "[" * 100_000,
        '{"llmux_state": 1, "config": "' + "x" * 5_000_000 + '"}',
    ],
)
def test_a_file_that_is_not_ours_is_put_aside_with_one_warning(tmp_path: Path, text: str) -> None:
    """As if absent, and never lost: it may be somebody's."""
    path, warnings = tmp_path / "state.json", list[str]()
    path.write_text(text)
    state = opened(path, warnings)
    assert state.awake_order() == []
    assert len(warnings) == 1
    assert (tmp_path / "state.json.unreadable").read_text() == text
    assert content(path)["llmux_state"] == 1


def test_every_truncation_of_a_real_file_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    whole = remembered(path, lambda state: state.set_status("qwen", "awake"))
    asyncio.run(whole.close())
    text = path.read_text()
    for length in range(0, len(text) - 2, 7):
        path.write_text(text[:length])
        warnings: list[str] = []
        state = opened(path, warnings)
        assert len(warnings) == 1
        assert state.awake_order() == []
        asyncio.run(state.close())


def test_a_directory_that_cannot_be_made_costs_one_warning(tmp_path: Path) -> None:
    """A file stands where the directory should be: hooks run, nothing is remembered."""
    (tmp_path / "state").touch()
    warnings: list[str] = []

    async def story() -> HookResult:
        state = opened(tmp_path / "state" / "state.json", warnings)
        hooks = HookRunner([HookSpec("qwen", 1, "echo $LLMUX_HOOK_ID", "true")], journal=state)
        state.set_status("qwen", "awake")
        assert state.awake_order() == ["qwen"]
        result = await hooks.run_wake("qwen")
        await state.close()
        return result

    assert asyncio.run(story()).ok
    assert len(warnings) == 1
    assert "cannot be written" in warnings[0]


def test_a_disk_that_fails_later_costs_one_warning_until_it_has_healed(tmp_path: Path) -> None:
    """The directory is taken away and comes back: hooks never fail for it."""
    folder, warnings = tmp_path / "state", list[str]()

    async def story() -> None:
        state = opened(folder / "state.json", warnings)
        hooks = HookRunner([HookSpec("qwen", 1, "true", "true")], journal=state)
        folder.rename(tmp_path / "away")
        for _ in range(3):
            assert (await hooks.run_wake("qwen")).ok
        assert len(warnings) == 1
        (tmp_path / "away").rename(folder)
        state.set_status("qwen", "awake")
        async with asyncio.timeout(60):
            while content(folder / "state.json")["models"].get("qwen") != "awake":
                await asyncio.sleep(0.01)
        await state.close()

    asyncio.run(story())
    assert len(warnings) == 1


def test_a_disk_that_hangs_delays_one_hook_and_not_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write never returns: the hook begins after the patience, with one warning."""
    monkeypatch.setattr(statefile, "PATIENCE", 0.2)
    warnings: list[str] = []
    path = tmp_path / "state.json"

    async def story() -> None:
        state = opened(path, warnings)
        fresh = tmp_path / "state.json.new"
        fresh.unlink(missing_ok=True)
        os.mkfifo(fresh)  # nobody reads it: to open it for writing blocks
        hooks = HookRunner([HookSpec("qwen", 1, "true", "true")], journal=state)
        for _ in range(3):
            assert (await hooks.run_wake("qwen")).ok
        await state.close()

    asyncio.run(story())
    assert warnings == [f"the state file {path} is slow: hooks do not wait for it any more"]


def test_without_a_path_it_remembers_for_this_life_only() -> None:
    async def story() -> None:
        state = StateFile(None, MODELS, warn=pytest.fail)
        state.open()
        await state.intend("qwen", "wake", "id")
        await state.started("id", os.getpid())
        assert state.unsettled() == ["qwen"]
        state.ended("id")
        state.set_status("qwen", "awake")
        assert state.last_known_awake("qwen") is True
        assert await state.settle(lambda *_: None) == []
        await state.close()

    asyncio.run(story())


# ---- the hook that runs ------------------------------------------------------------------------


def test_a_hook_stands_in_the_file_before_its_first_command(tmp_path: Path) -> None:
    """The hook itself reads its own id and pid there."""
    path = tmp_path / "state.json"

    async def story() -> HookResult:
        state = opened(path)
        spec = HookSpec("qwen", 1, f"echo $$; echo $LLMUX_HOOK_ID; cat {path}", "true")
        result = await HookRunner([spec], journal=state).run_wake("qwen")
        await state.close()
        return result

    pid, run_id, text = asyncio.run(story()).tail.split("\n", 2)
    seen = json.loads(text)
    (note,) = seen["hooks"]
    assert (note["model"], note["hook"], note["run_id"]) == ("qwen", "wake", run_id)
    assert note["pid"] == int(pid)
    assert note["start"] is not None
    assert seen["models"] == {"qwen": "unsettled"}
    assert content(path)["hooks"] == []


def test_a_life_that_ends_before_the_pid_is_written_runs_no_hook(tmp_path: Path) -> None:
    """kill -9 between the spawn and the gate: its shell ends, its command never began.

    The next life knows that, so the model is as it was before.
    """
    path, ready, ran = (tmp_path / name for name in ("state.json", "ready", "ran"))
    story = f"""
    state.set_status("qwen", "awake")
    async def stuck(run_id, pid):
        Path({str(ready)!r}).write_text(str(pid))
        await asyncio.sleep(300)
    state.started = stuck
    await hooks.run_wake("qwen")"""
    killed_in(path, story, f"echo ran > {ran}", ready)
    asyncio.run(dies(int(ready.read_text())))
    assert not ran.exists()
    state = opened(path)
    assert state.unsettled() == ["qwen"]
    (end,) = asyncio.run(state.settle(lambda *_: 60.0))
    assert end.end == "never ran"
    assert state.last_known_awake("qwen") is True


def test_a_hook_that_outlives_the_gateway_is_waited_for(tmp_path: Path) -> None:
    """kill -9 in the middle of a wake: the next life starts no other hook before its end."""
    path, ready, done = (tmp_path / name for name in ("state.json", "ready", "done"))
    wake = f"echo $$ > {ready}; until test -e {tmp_path}/go; do sleep 0.02; done; echo x > {done}"
    killed_in(path, "await hooks.run_wake('qwen')", wake, ready)

    async def story() -> None:
        state = opened(path)
        settling = asyncio.create_task(state.settle(lambda *_: 60.0))
        await asyncio.sleep(0.2)
        assert not settling.done()
        (tmp_path / "go").touch()
        (end,) = await settling
        assert (end.model, end.hook, end.end) == ("qwen", "wake", "waited for")
        assert done.exists()
        assert state.unsettled() == ["qwen"], "nobody saw how it ended"
        await state.close()

    asyncio.run(story())
    assert content(path)["hooks"] == []


def test_a_hook_past_its_bound_is_ended_with_its_group(tmp_path: Path) -> None:
    """Its bound counts from its own start, also over the death of the gateway."""
    path, ready = tmp_path / "state.json", tmp_path / "ready"
    wake = f"trap '' TERM; sleep 300 & echo $$ $! > {ready}; wait; sleep 300"
    killed_in(path, "await hooks.run_wake('qwen')", wake, ready)
    shell, beside = (int(pid) for pid in ready.read_text().split())
    assert lives(shell)

    async def story() -> None:
        state = opened(path)
        (end,) = await state.settle(lambda *_: 0.0)
        assert end.end == "killed"
        await dies(shell)
        await dies(beside)

    asyncio.run(story())


def test_a_hook_that_had_ended_is_not_waited_for_and_its_server_lives_on(tmp_path: Path) -> None:
    """The server carries the hook's id in its environment; that makes it no hook."""
    path, ready = tmp_path / "state.json", tmp_path / "ready"
    wake = f"setsid sleep 300 & echo $! > {ready}"
    story = """
    state.ended = lambda run_id: None
    await hooks.run_wake("qwen")
    await asyncio.sleep(300)"""
    killed_in(path, story, wake, ready)
    server = int(ready.read_text())

    async def next_life() -> str:
        state = opened(path)
        (note,) = state._leftovers
        assert note.pid is not None
        await dies(note.pid)
        (end,) = await state.settle(lambda *_: 0.0)
        return end.end

    try:
        assert asyncio.run(next_life()) == "had ended"
        assert lives(server)
    finally:
        os.kill(server, signal.SIGKILL)


def test_a_pid_that_was_given_away_again_is_left_alone(tmp_path: Path) -> None:
    """Same number, other start time: somebody else's process."""
    path = tmp_path / "state.json"
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        asyncio.run(remembered(path, lambda one: one.set_status("qwen", "awake")).close())
        text = content(path)
        start = processes.started_at(stranger.pid)
        assert start is not None
        text["hooks"] = [
            {
                "model": "qwen",
                "hook": "wake",
                "run_id": "x",
                "pid": stranger.pid,
                "start": start - 1,
            }
        ]
        path.write_text(json.dumps(text))
        (end,) = asyncio.run(opened(path).settle(lambda *_: 0.0))
        assert end.end == "had ended"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_hook_whose_pid_could_not_be_written_is_found_by_its_id(tmp_path: Path) -> None:
    """The disk filled up between the two writes; the environment still tells."""
    path, ready = tmp_path / "state.json", tmp_path / "ready"
    story = """
    async def lost(run_id, pid): pass
    state.started = lost
    await hooks.run_wake("qwen")"""
    killed_in(path, story, f"echo $$ > {ready}; sleep 300; true", ready)

    async def next_life() -> None:
        (end,) = await opened(path).settle(lambda *_: 0.0)
        assert end.end == "killed"
        await dies(int(ready.read_text()))

    asyncio.run(next_life())


def test_a_gated_hook_is_like_any_other(tmp_path: Path) -> None:
    """The same stdin, exit code, name, environment and working directory as without a gate."""
    script = 'echo "$0,$#,$(env | grep -c LLMUX_GATE),$LLMUX_MODEL,$(pwd -P)"; cat; exit 7'

    async def story(state: StateFile | None) -> HookResult:
        spec = HookSpec("qwen", 1, script, "true")
        return await HookRunner([spec], cwd=tmp_path, journal=state).run_wake("qwen")

    gated = asyncio.run(story(opened(tmp_path / "state.json")))
    bare = asyncio.run(story(None))
    assert (gated.exit_code, gated.tail, gated.error) == (bare.exit_code, bare.tail, bare.error)
    assert gated.tail == f"sh,0,0,qwen,{tmp_path.resolve()}\n"


@pytest.mark.parametrize("turns", range(8))
def test_a_cancellation_at_the_gate_runs_nothing(tmp_path: Path, turns: int) -> None:
    """Cancelled before its pid was written: no command, no process, no note."""
    ran = tmp_path / "ran"

    async def story() -> None:
        state = opened(tmp_path / "state.json")
        spec = HookSpec("qwen", 1, f"sleep 0.2; echo ran > {ran}", "true")
        task = asyncio.create_task(HookRunner([spec], journal=state).run_wake("qwen"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await state.close()

    asyncio.run(story())
    assert content(tmp_path / "state.json")["hooks"] == []
    assert not ran.exists()


def test_the_kill_hook_has_its_own_name_and_bound(tmp_path: Path) -> None:
    async def story() -> tuple[HookResult, HookResult]:
        with_kill = HookSpec("qwen", 1, "true", "true", kill="echo $LLMUX_HOOK; sleep 9")
        hooks = HookRunner([with_kill, HookSpec("llama", 1, "true", "true")])
        assert hooks.has("qwen", "kill")
        assert not hooks.has("llama", "kill")
        assert (hooks.timeout("qwen", "kill"), hooks.timeout("gpt-9", "wake")) == (30.0, None)
        short = HookSpec("qwen", 1, "true", "true", kill=with_kill.kill, kill_timeout=0.3)
        return await HookRunner([short]).run_kill("qwen"), await hooks.run_kill("llama")

    late, absent = asyncio.run(story())
    assert (late.tail, late.fate) == ("kill\n", "late")
    assert (absent.error, absent.fate) == ("no such hook is configured", "unstarted")
