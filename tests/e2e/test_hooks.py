"""Hooks as the gateway really runs them: where, with what around them, and how they may behave."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

from tests.e2e.conftest import Build
from tests.e2e.house import MARK, House, name_of, until


def rss_kib(pid: int) -> int:
    """Memory of a process that is its own, in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0


def test_hooks_run_beside_the_config_with_the_gateways_environment(build: Build) -> None:
    """`./wake.sh` is the script beside the config, wherever the gateway was started."""
    house = build("a", "b")
    note = '{ pwd; env; } > "$LLMUX_MODEL-$LLMUX_HOOK.env"'
    for name in house.models:
        script = house.folder / f"wake-{name}.sh"
        script.write_text(f"#!/bin/sh\n{note}\n{house.wake(name)}\n")
        script.chmod(0o755)
        house.models[name]["wake"] = f"./wake-{name}.sh"
        house.models[name]["sleep"] = f"{note}\n{house.sleep(name)}"
    house.start(env={"MINE": "from the operator"}, cwd="/")
    assert house.ask("a").who == "a"
    assert house.ask("b").who == "b"

    def told(run: str) -> tuple[str, dict[str, str]]:
        where, *rest = (house.folder / f"{run}.env").read_text().splitlines()
        return where, dict(line.split("=", 1) for line in rest if "=" in line)

    where, env = told("b-wake")
    assert Path(where).samefile(house.folder)
    assert env["MINE"] == "from the operator"
    assert env[MARK] == str(house.folder)
    assert (env["LLMUX_MODEL"], env["LLMUX_HOOK"]) == ("b", "wake")
    assert env["LLMUX_PORT"] == str(house.ports["b"])
    assert (env["LLMUX_FROM"], env["LLMUX_TO"]) == ("a", "b")
    assert env["LLMUX_HOOK_ID"]
    where, env = told("a-sleep")
    assert (env["LLMUX_MODEL"], env["LLMUX_HOOK"], env["LLMUX_TO"]) == ("a", "sleep", "b")
    assert told("a-wake")[1]["LLMUX_FROM"] in {"", "idle"}


def test_hooks_can_run_where_the_process_is(build: Build, tmp_path: Path) -> None:
    """`hooks.cwd: process` is 2.4.0's way."""
    house = build("a")
    house.models["a"]["wake"] = f"pwd > '{house.folder}/where'\n{house.wake('a')}"
    house.extra["hooks"] = {"cwd": "process"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    house.start(cwd=elsewhere)
    assert house.ask("a").who == "a"
    assert Path((house.folder / "where").read_text().strip()).samefile(elsewhere)


def test_hooks_can_be_told_less(build: Build) -> None:
    """With a list of names a hook sees those, and what llmux tells it."""
    house = build("a")
    house.models["a"]["wake"] = f"env > '{house.folder}/env'\n{house.wake('a')}"
    house.extra["hooks"] = {"env": ["PATH", MARK]}
    house.start(env={"SECRET": "s3cret"})
    assert house.ask("a").who == "a"
    text = (house.folder / "env").read_text()
    assert "s3cret" not in text and "LLMUX_MODEL=a" in text and "PATH=" in text


def test_a_sleep_that_failed_but_did_its_work_is_told_and_the_switch_goes_on(build: Build) -> None:
    """Who is gone sleeps, whatever the hook says; its failure is told and counted."""
    house = build("a", "b")
    house.models["a"] |= {"sleep": f"{house.sleep('a')}\nexit 4", "alive": {"tcp": True}}
    house.start()
    house.ask("a")
    assert house.ask("b").who == "b"
    assert house.metric("llmux_hook_failures_total", model="a", hook="sleep") == 1
    assert house.logged("hook_failed", hook="sleep")[0]["exit_code"] == 4
    house.assert_one_awake()


def test_a_failed_sleep_can_be_passed_over(build: Build) -> None:
    """`health.on_sleep_failure: continue` is 2.4.0's way: the switch goes on in any case."""
    house = build("a", "b")
    house.models["a"]["sleep"] = "exit 4"
    house.extra["health"] = {"on_sleep_failure": "continue"}
    house.start()
    house.ask("a")
    assert house.ask("b").who == "b"
    told = house.logged("sleep_hook_failed")[0]
    assert (told["model"], told["to"]) == ("a", "b")


def test_a_failed_wake_is_cleaned_up_and_its_waiters_hear_of_it(build: Build) -> None:
    """The model's own sleep hook runs; everybody who waited fails; the others are served."""
    house = build("a", "b")
    house.models["b"]["wake"] = f"{house.noted('wake-begin')}; sleep 0.3; exit 3"
    house.start()
    held = house.hold("a", "a1")
    failing = [house.queue("b", "b1"), house.queue("b", "b2")]
    back = house.queue("a", "a2")
    house.release("a1")
    assert held.result(60).who == "a"
    for one in failing:
        failed = one.result(60)
        assert (failed.status, failed.error["type"]) == (500, "llmux_error")
        assert failed.headers["x-should-retry"] == "false"
    assert back.result(60).who == "a"
    assert "sleep-end b" in house.hooks()
    told = house.logged("switch_failed")[0]
    assert (told["model"], told["from"]) == ("b", "a")
    labels = {"from": "a", "to": "b", "result": "failure"}
    assert house.metric("llmux_switch_total", **labels) == 1
    assert house.metric("llmux_hook_failures_total", model="b", hook="wake") == 1


def test_a_hook_that_ignores_term_is_killed(build: Build) -> None:
    """The bound of a hook holds for those who do not want to hear of it, and their children."""
    house = build("a", "b")
    house.models["a"] |= {
        "wake": f"trap '' TERM; {house.noted('wake-begin')}; while :; do sleep 1000; done",
        "wake_timeout_secs": 0.5,
    }
    house.start()
    assert house.ask("a").status == 500
    assert house.ask("b").who == "b"
    told = house.logged("hook_failed", hook="wake")[0]
    assert told["model"] == "a"
    assert told["duration_secs"] >= 0.5


def test_a_hook_that_prints_without_end_costs_no_memory_and_no_disk(build: Build) -> None:
    """300 MB on stdout leave a tail of some kilobytes in the log."""
    house = build("a")
    shout = "head -c 300000000 /dev/zero | tr '\\0' x; echo; echo the end; exit 1"
    house.models["a"]["wake"] = shout
    house.start()
    assert house.process is not None
    before = rss_kib(house.process.pid)
    assert house.ask("a").status == 500
    assert rss_kib(house.process.pid) - before < 48 * 1024
    told = house.logged("hook_failed", hook="wake")[0]
    assert told["stderr"].endswith("the end\n")
    assert len(told["stderr"]) <= 8000


def test_a_daemon_that_goes_on_printing_does_not_fill_the_disk(build: Build) -> None:
    """What a server writes for life into the file its hook was given is emptied in place."""
    house = build("a")
    loud = f"'{sys.executable}' -S -c \"import os\nwhile True: os.write(1, b'x' * 65536)\" &"
    house.models["a"]["wake"] = f"{loud}\necho $! > '{house.folder}/loud.pid'\n{house.wake('a')}"
    house.start()
    assert house.ask("a").who == "a"
    written = Path(f"/proc/{(house.folder / 'loud.pid').read_text().strip()}/fd/1")
    sizes: list[int] = []

    def emptied() -> bool:
        sizes.append(written.stat().st_size)
        return any(later < earlier for earlier, later in pairwise(sizes))

    until(emptied, "the file gets smaller again")


def test_a_server_in_the_hooks_own_group_lives_on(build: Build) -> None:
    """After success nothing of a hook is ended: the server may be its child and its group."""
    house = build("a")
    house.start()
    assert house.ask("a").who == "a"
    assert house.stop() == 0
    pid = int((house.folder / f"{house.ports['a']}.pid").read_text())
    assert name_of(pid)


def test_a_hook_without_a_shell_command_is_a_failed_hook(house: House) -> None:
    """A typing error in a hook is that model's failure and nobody else's."""
    house.models["a"]["wake"] = "no-such-command --at-all"
    house.start()
    assert house.ask("a").status == 500
    told = house.logged("hook_failed", hook="wake")[0]
    assert told["exit_code"] == 127
    assert house.ask("b").who == "b"
