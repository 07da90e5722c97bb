"""Stories of hooks with the real shell, each on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from llmux.errors import NotRegisteredError
from llmux.runtime.child import OUTPUT_LIMIT, TAIL_BYTES
from llmux.runtime.hooks import HookResult, HookRunner, HookSpec
from tests.runtime.conftest import Play


def runner_of(
    wake: str = "true",
    *,
    sleep: str = "true",
    alive: str | None = None,
    limit: float | None = 30.0,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    heard: list[HookResult] | None = None,
) -> HookRunner:
    spec = HookSpec("org/qwen", 8001, wake, sleep, alive, limit, limit, limit)
    listener = None if heard is None else heard.append
    return HookRunner([spec], cwd=cwd, env=env, listener=listener)


def lives(pid: int) -> bool:
    """Whether a process runs; a corpse that nobody has buried does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return state.strip() != "" and not state.startswith("Z")


def pid_in(path: Path) -> int:
    return int(path.read_text())


async def appears(path: Path) -> None:
    """Wait until a hook has written the file."""
    async with asyncio.timeout(60):
        while not path.exists() or not path.read_text().strip():
            await asyncio.sleep(0.01)


async def dies(pid: int) -> None:
    """Wait until a process has ended."""
    async with asyncio.timeout(60):
        while lives(pid):
            await asyncio.sleep(0.01)


def end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_exit_code_zero_is_success(play: Play) -> None:
    """A hook that exits 0 succeeded, and its output is there to be read."""
    heard: list[HookResult] = []
    result = play(runner_of("echo out; echo err >&2", heard=heard).run_wake("org/qwen"))
    assert (result.ok, result.exit_code, result.error) == (True, 0, None)
    assert (result.model, result.hook, result.tail) == ("org/qwen", "wake", "out\nerr\n")
    assert heard == [result]


def test_any_other_exit_code_is_a_result_not_an_exception(play: Play) -> None:
    """A failed hook is told with its code and the end of its output."""
    result = play(runner_of(sleep="echo no such card >&2; exit 3").run_sleep("org/qwen"))
    assert (result.ok, result.exit_code, result.error) == (False, 3, "exit code 3")
    assert result.tail == "no such card\n"


@pytest.mark.parametrize(
    ("command", "code", "hint"),
    [("no-such-command-here", 127, "command not found"), ("/dev/null", 126, "cannot be executed")],
)
def test_a_mistyped_command_says_what_it_means(
    play: Play, command: str, code: int, hint: str
) -> None:
    """126 and 127 are explained to whoever does not know the shell's codes by heart."""
    result = play(runner_of(command).run_wake("org/qwen"))
    assert result.exit_code == code
    assert result.error is not None
    assert hint in result.error


def test_a_hook_killed_by_a_signal_names_it(play: Play) -> None:
    result = play(runner_of("kill -9 $$").run_wake("org/qwen"))
    assert (result.ok, result.exit_code, result.error) == (False, -9, "killed by SIGKILL")


def test_an_unknown_model_is_the_callers_mistake(play: Play) -> None:
    """Only an unknown name raises, for each of the three hooks."""
    hooks = runner_of()
    for verb in (hooks.run_wake, hooks.run_sleep, hooks.run_alive):
        with pytest.raises(NotRegisteredError, match="not found"):
            play(verb("gpt-9"))


def test_models_and_ports_can_be_asked() -> None:
    hooks = runner_of()
    assert hooks.registered_models() == ["org/qwen"]
    assert (hooks.model_port("org/qwen"), hooks.model_port("gpt-9")) == (8001, None)


def test_a_model_without_alive_says_so(play: Play) -> None:
    result = play(runner_of(alive=None).run_alive("org/qwen"))
    assert (result.ok, result.error) == (False, "no such hook is configured")


def test_a_hook_knows_what_it_is_run_for(play: Play) -> None:
    """The variables of the contract are there, whatever the base environment says."""
    script = 'echo "$LLMUX_MODEL,$LLMUX_PORT,$LLMUX_HOOK,$LLMUX_FROM,$LLMUX_TO,$LLMUX_REASON,$BASE"'
    hooks = runner_of(script, env={"BASE": "kept", "LLMUX_FROM": "stale", "PATH": os.defpath})
    result = play(hooks.run_wake("org/qwen", from_model="llama", to_model="org/qwen", reason="old"))
    assert result.tail == "org/qwen,8001,wake,llama,org/qwen,old,kept\n"
    assert play(hooks.run_wake("org/qwen")).tail == "org/qwen,8001,wake,,,,kept\n"


def test_each_run_has_its_own_id(play: Play) -> None:
    hooks = runner_of('echo "$LLMUX_HOOK_ID"')
    first = play(hooks.run_wake("org/qwen")).tail.strip()
    second = play(hooks.run_wake("org/qwen")).tail.strip()
    assert len(first) == len(second) == 32
    assert first != second


def test_a_base_environment_can_be_an_allow_list(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the caller leaves out of `env` does not reach the hook."""
    monkeypatch.setenv("SECRET_KEY_OF_MINE", "s3cret")
    assert (
        play(runner_of('echo "[$SECRET_KEY_OF_MINE]"', env={}).run_wake("org/qwen")).tail == "[]\n"
    )
    assert "s3cret" in play(runner_of('echo "[$SECRET_KEY_OF_MINE]"').run_wake("org/qwen")).tail


def test_a_reason_that_no_environment_can_carry_does_not_fail_the_wake(
    play: Play,
) -> None:
    """NUL, a lone surrogate and a novel as a policy's reason: the hook runs all the same."""
    hooks = runner_of("true")
    assert play(hooks.run_wake("org/qwen", reason="a\0b \ud800 " + "x" * 300_000)).ok


def test_a_hook_runs_where_it_is_told(play: Play, tmp_path: Path) -> None:
    script = tmp_path / "wake.sh"
    script.write_text("#!/bin/sh\npwd -P\n")
    script.chmod(0o755)
    result = play(runner_of("./wake.sh", cwd=tmp_path).run_wake("org/qwen"))
    assert result.tail.strip() == str(tmp_path.resolve())


def test_stdin_is_empty_not_the_terminal(play: Play) -> None:
    """A hook that reads sees the end at once instead of waiting for an operator."""
    assert play(runner_of("cat; echo done").run_wake("org/qwen")).tail == "done\n"


def test_a_server_left_in_the_background_does_not_hold_the_hook(play: Play, tmp_path: Path) -> None:
    """Fault 6 of 2.4.0: the daemon keeps stdout and stderr open, and the wake ends at once."""
    pid_file = tmp_path / "pid"
    hooks = runner_of(f"sleep 300 & echo $! > {pid_file}; echo started")
    result = play(hooks.run_wake("org/qwen"))
    try:
        assert result.ok
        assert result.duration < 200
        assert result.tail == "started\n"
        assert lives(pid_in(pid_file)), "a group is never killed after success"
        play(hooks.end_all())
        assert lives(pid_in(pid_file)), "nor at the shutdown"
    finally:
        end(pid_in(pid_file))


def test_a_server_left_behind_survives_a_failed_wake(play: Play, tmp_path: Path) -> None:
    """What a failed wake leaves is for the sleep hook to clean up, not for us to guess."""
    pid_file = tmp_path / "pid"
    result = play(runner_of(f"sleep 300 & echo $! > {pid_file}; exit 1").run_wake("org/qwen"))
    try:
        assert not result.ok
        assert lives(pid_in(pid_file))
    finally:
        end(pid_in(pid_file))


def test_a_slow_hook_is_killed_with_its_group(play: Play, tmp_path: Path) -> None:
    """At its deadline the whole group goes, also members in the background."""
    pid_file = tmp_path / "pid"
    script = f"sleep 300 & echo $! > {pid_file}; echo half way; sleep 300"
    result = play(runner_of(script, limit=0.5).run_wake("org/qwen"))
    assert (result.ok, result.error) == (False, "no end within 0.5 s, killed")
    assert result.tail == "half way\n"
    play(dies(pid_in(pid_file)))


def test_a_hook_that_ignores_sigterm_is_killed(play: Play, tmp_path: Path) -> None:
    """SIGTERM is a request; SIGKILL follows, also to a child that outlives its shell."""
    pid_file = tmp_path / "pid"
    script = f"sh -c 'trap \"\" TERM; echo $$ > {pid_file}; while :; do sleep 0.1; done' & wait"
    result = play(runner_of(script, limit=0.5).run_wake("org/qwen"))
    assert not result.ok
    play(dies(pid_in(pid_file)))


def test_a_hook_may_clean_up_at_sigterm(play: Play, tmp_path: Path) -> None:
    """Between SIGTERM and SIGKILL there is time to remove a lock file."""
    lock = tmp_path / "lock"
    script = f"trap 'rm {lock}; exit 0' TERM; echo x > {lock}; sleep 300 & wait"
    result = play(runner_of(script, limit=0.5).run_wake("org/qwen"))
    assert not result.ok, "its exit code does not undo the missed deadline"
    assert not lock.exists()


def test_no_limit_means_no_limit(play: Play) -> None:
    assert play(runner_of("sleep 0.2", limit=None).run_wake("org/qwen")).ok


def test_a_cancelled_hook_is_gone_before_the_cancellation_goes_on(
    play: Play, tmp_path: Path
) -> None:
    """Whoever cancels a hook finds none of its processes afterwards, and one result is told."""
    pid_file = tmp_path / "pid"
    heard: list[HookResult] = []

    async def story() -> None:
        hooks = runner_of(f"sleep 300 & echo $! > {pid_file}; sleep 300", heard=heard)
        task = asyncio.create_task(hooks.run_wake("org/qwen"))
        await appears(pid_file)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await dies(pid_in(pid_file))

    play(story())
    assert [(result.ok, result.error) for result in heard] == [(False, "cancelled")]


def test_a_second_cancellation_hurries_but_leaks_nothing(play: Play, tmp_path: Path) -> None:
    """A hook that ignores SIGTERM is killed at once when the canceller insists."""
    pid_file = tmp_path / "pid"

    async def story() -> None:
        script = f"trap '' TERM; echo $$ > {pid_file}; while :; do sleep 0.1; done"
        task = asyncio.create_task(runner_of(script).run_wake("org/qwen"))
        await appears(pid_file)
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not lives(pid_in(pid_file))

    play(story())


@pytest.mark.parametrize("turns", range(6))
def test_a_cancellation_at_any_turn_leaves_no_process(
    play: Play, tmp_path: Path, turns: int
) -> None:
    """However early the cancellation comes, the marked process does not outlive it."""
    mark = f"31{os.getpid()}{turns}"

    async def story() -> None:
        task = asyncio.create_task(runner_of(f"sleep {mark}", cwd=tmp_path).run_wake("org/qwen"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    play(story())
    listing = subprocess.run(
        ["ps", "-eo", "stat=,args="], capture_output=True, text=True, check=True
    )
    left = [line for line in listing.stdout.splitlines() if mark in line and line[0] != "Z"]
    assert left == []


def test_a_cancellation_that_meets_success_spares_the_server(play: Play, tmp_path: Path) -> None:
    """The hook has ended well when the cancellation comes: its server stays, success is told."""
    pid_file, go = tmp_path / "pid", tmp_path / "go"
    heard: list[HookResult] = []

    async def story() -> None:
        script = f"sleep 300 & echo $! > {pid_file}; until test -e {go}; do sleep 0.01; done"
        task = asyncio.create_task(runner_of(script, heard=heard).run_wake("org/qwen"))
        await appears(pid_file)
        go.touch()
        time.sleep(1)  # the loop must not see the end before the cancellation
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    play(story())
    try:
        assert [result.ok for result in heard] == [True]
        assert lives(pid_in(pid_file))
    finally:
        end(pid_in(pid_file))


def test_the_shutdown_ends_every_running_hook(play: Play, tmp_path: Path) -> None:
    """`end_all` returns when the hooks are gone; those who waited get a failed result."""
    pid_file = tmp_path / "pid"

    async def story() -> None:
        hooks = runner_of(f"echo $$ > {pid_file}; sleep 300")
        task = asyncio.create_task(hooks.run_wake("org/qwen"))
        await appears(pid_file)
        await hooks.end_all()
        result = await task
        assert (result.ok, result.error) == (False, "ended because llmux stops")
        assert not lives(pid_in(pid_file))
        await hooks.end_all()

    play(story())


def test_close_kills_without_a_loop(play: Play, tmp_path: Path) -> None:
    """The last resort needs no patience, and is harmless when said twice."""
    pid_file = tmp_path / "pid"

    async def story() -> None:
        hooks = runner_of(f"echo $$ > {pid_file}; sleep 300")
        task = asyncio.create_task(hooks.run_wake("org/qwen"))
        await appears(pid_file)
        hooks.close()
        hooks.close()
        assert not (await task).ok
        await dies(pid_in(pid_file))

    play(story())


def test_much_output_is_bounded_on_disk_and_its_end_is_kept(play: Play) -> None:
    """300 MB of chatter: the file never holds much more than its limit, the tail is right."""
    peak = 0

    async def story() -> HookResult:
        nonlocal peak
        hooks = runner_of("yes chatter | head -c 300000000; echo the end")
        task = asyncio.create_task(hooks.run_wake("org/qwen"))
        while not task.done():
            await asyncio.sleep(0.01)
            peak = max([peak, *(output.size for output in hooks._outputs.values())])
        assert all(output.size <= OUTPUT_LIMIT for output in hooks._outputs.values())
        return await task

    result = play(story())
    assert result.ok
    assert result.tail.endswith("chatter\nthe end\n")
    assert len(result.tail) <= TAIL_BYTES
    assert peak < 150_000_000


def test_a_server_that_chatters_after_its_hook_is_bounded_too(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon may hold the file for life: it is emptied in place, and the daemon never hears."""
    monkeypatch.setattr("llmux.runtime.hooks.SWEEP", 0.05)
    pid_file, done = tmp_path / "pid", tmp_path / "done"

    async def story() -> None:
        daemon = f"head -c {OUTPUT_LIMIT * 2} /dev/zero; echo ok > {done}; exec sleep 300"
        hooks = runner_of(f"sh -c '{daemon}' & echo $! > {pid_file}")
        assert (await hooks.run_wake("org/qwen")).ok
        await appears(done)
        async with asyncio.timeout(60):
            while any(output.size > OUTPUT_LIMIT for output in hooks._outputs.values()):
                await asyncio.sleep(0.01)
        assert lives(pid_in(pid_file))

    try:
        play(story())
    finally:
        end(pid_in(pid_file))


def test_a_tail_shows_this_run_only(play: Play, tmp_path: Path) -> None:
    """What an earlier run printed is not taken for this one's trouble."""
    flag = tmp_path / "flag"
    hooks = runner_of(f"test -e {flag} && exit 5; touch {flag}; echo first")
    assert play(hooks.run_wake("org/qwen")).tail == "first\n"
    assert play(hooks.run_wake("org/qwen")).tail == ""


def test_output_that_is_no_text_is_shown_all_the_same(play: Play) -> None:
    assert (
        play(runner_of(r"printf 'a\377b'").run_wake("org/qwen")).tail
        == "a\N{REPLACEMENT CHARACTER}b"
    )


def test_a_working_directory_that_is_gone_is_a_failed_result(play: Play, tmp_path: Path) -> None:
    result = play(runner_of(cwd=tmp_path / "gone").run_wake("org/qwen"))
    assert (result.ok, result.exit_code) == (False, None)
    assert result.error is not None
    assert result.error.startswith("could not be started: ")
    assert "gone" in result.error


@pytest.mark.parametrize("command", ["true\0", ": " + "x" * 3_000_000])
def test_a_command_that_no_shell_can_take_is_a_failed_result(play: Play, command: str) -> None:
    """NUL in it, or longer than the system allows."""
    result = play(runner_of(command).run_wake("org/qwen"))
    assert result.error is not None
    assert result.error.startswith("could not be started: ")


def test_no_shell_at_all_is_a_failed_result(play: Play, tmp_path: Path) -> None:
    result = play(runner_of(env={"PATH": str(tmp_path)}).run_wake("org/qwen"))
    assert result.error is not None
    assert result.error.startswith("could not be started: ")


def test_a_full_table_of_descriptors_is_a_failed_result_and_heals() -> None:
    """EMFILE in a process of its own: the hook fails, and runs when descriptors are free again."""
    story = """
import asyncio, os, resource, sys
from llmux.runtime.hooks import HookRunner, HookSpec
async def main():
    hooks = HookRunner([HookSpec("m", 1, "echo hello", "true")])
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = []
    try:
        while True: taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError: pass
    full = await hooks.run_wake("m")
    for number in taken: os.close(number)
    free = await hooks.run_wake("m")
    print(full.ok, full.error, free.ok)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False could not be started: ")
    assert done.stdout.endswith("True\n")
    assert done.stderr == ""


def test_an_inherited_ignored_sigchld_does_not_turn_failure_into_success() -> None:
    """Under a parent that ignores SIGCHLD the kernel drops exit codes; ours are still right."""
    story = """
import asyncio, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from llmux.runtime.hooks import HookRunner, HookSpec
result = asyncio.run(HookRunner([HookSpec("m", 1, "exit 3", "true")]).run_wake("m"))
print(result.ok, result.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, check=True)
    assert done.stdout == "False 3\n"


def test_without_pidfd_the_end_is_seen_all_the_same(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old kernels, sandboxes and macOS have none: a timer looks instead."""

    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    assert play(runner_of("exit 4").run_wake("org/qwen")).exit_code == 4
    assert not play(runner_of("sleep 300", limit=0.2).run_wake("org/qwen")).ok


def test_without_a_place_for_output_the_hook_still_runs(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full or read-only temp folder costs the tail, not the model."""

    def refuse(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    result = play(runner_of("echo lost; exit 2").run_wake("org/qwen"))
    assert (result.exit_code, result.tail) == (2, "")


def test_hooks_of_several_models_run_beside_each_other(play: Play, tmp_path: Path) -> None:
    """Two hooks that wait for each other's file both end."""
    a, b = tmp_path / "a", tmp_path / "b"
    wait = "touch {0}; until test -e {1}; do sleep 0.01; done"
    hooks = HookRunner(
        [
            HookSpec("a", 1, wait.format(a, b), "true", wake_timeout=20),
            HookSpec("b", 2, wait.format(b, a), "true", wake_timeout=20),
        ]
    )

    async def story() -> None:
        results = await asyncio.gather(hooks.run_wake("a"), hooks.run_wake("b"))
        assert [result.ok for result in results] == [True, True]

    play(story())


def test_a_listener_that_raises_harms_no_hook(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    def listener(result: HookResult) -> None:
        raise RuntimeError("dashboard on fire")

    hooks = HookRunner([HookSpec("m", 1, "true", "true")], listener=listener)
    assert play(hooks.run_wake("m")).ok
    assert "dashboard on fire" in caplog.text


def test_no_descriptor_is_left_behind(play: Play) -> None:
    """After many runs as many descriptors are open as after one."""
    hooks = runner_of("true")
    play(hooks.run_wake("org/qwen"))
    folder = Path("/dev/fd")
    gc.collect()  # what earlier stories have dropped is not ours
    before = len(list(folder.iterdir()))
    for _ in range(20):
        play(hooks.run_wake("org/qwen"))
    assert len(list(folder.iterdir())) <= before
    hooks.close()
