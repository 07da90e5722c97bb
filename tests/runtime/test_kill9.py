"""A life is killed with -9 at any moment, again and again: never two awake, never two hooks.

The machine is one directory: `awake/MODEL` while a model's process lives, `busy` while a hook
runs. The hooks themselves write down what must never happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from llmux.runtime import probes
from llmux.runtime.hooks import HookRunner, HookSpec
from llmux.runtime.keeper import Keeper
from llmux.runtime.statefile import StateFile
from llmux.runtime.survey import settle, survey
from tests.runtime.backends import lives

MODELS = ("a", "b")
KILLS = 20

HOOK = """
mkdir busy || echo "two hooks at once: $LLMUX_HOOK $LLMUX_MODEL" >> wrong
sleep 0.$(($$ % 6))
if test $LLMUX_HOOK = wake; then
  setsid sleep 300 > /dev/null 2>&1 &
  echo $! > pid.$LLMUX_MODEL
  test $(ls awake | grep -vc "^$LLMUX_MODEL$") = 0 || echo "two awake: $LLMUX_MODEL" >> wrong
  mkdir -p awake/$LLMUX_MODEL
else
  test -e pid.$LLMUX_MODEL && kill -9 $(cat pid.$LLMUX_MODEL)
  rm -rf awake/$LLMUX_MODEL
fi
sleep 0.0$(($$ % 3))
echo $LLMUX_HOOK $LLMUX_MODEL >> log
rmdir busy
"""


def keeper_of(folder: Path, state: StateFile) -> Keeper:
    """Two models that are alive while their directory is there; the port plays no part."""
    specs = [HookSpec(name, 9, HOOK, HOOK, f"test -e awake/{name}") for name in MODELS]
    runner = HookRunner(specs, cwd=folder, journal=state)

    def port_of(name: str) -> probes.Probe:
        async def look() -> probes.Look:
            open_ = (folder / "awake" / name).exists()
            return probes.AGREES if open_ else probes.Look(probes.Answer.REFUSES)

        return look

    return Keeper(
        runner,
        {name: (probes.shell(runner, name), port_of(name), "test") for name in MODELS},
        state=state,
    )


async def begin(folder: Path) -> tuple[Keeper, str | None]:
    """Start a life: settle, survey, and put to sleep what must not be awake."""
    state = StateFile(folder / "state.json", MODELS)
    state.open()
    keeper = keeper_of(folder, state)
    await settle(keeper)
    found = {name: await survey(keeper, name) for name in MODELS}
    recent = [name for name in state.awake_order() if found[name] == "awake"]
    keep = recent[-1] if recent else None
    for name in MODELS:
        if name != keep and found[name] != "asleep":
            await keeper.run_sleep(name, from_model=name, to_model=None, reason="")
    return keeper, keep


async def live(folder: Path) -> None:
    """Switch to and fro until killed."""
    keeper, awake = await begin(folder)
    print("begun", flush=True)
    while True:
        target = "b" if awake == "a" else "a"
        if awake is not None:
            await keeper.run_sleep(awake, from_model=awake, to_model=target, reason="")
        await keeper.run_wake(target, from_model=awake, to_model=target, reason="")
        awake = target


def test_killed_at_any_moment_it_never_has_two_awake_or_two_hooks(tmp_path: Path) -> None:
    """And each next life begins with what the world is like: adopted, or put to sleep."""
    (tmp_path / "awake").mkdir()
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    for _ in range(KILLS):
        life = subprocess.Popen(
            [sys.executable, "-m", "tests.runtime.test_kill9", str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert life.stdout is not None
        with life.stdout:
            assert life.stdout.readline() == b"begun\n", f"seed {seed}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                life.wait(chance.uniform(0.0, 0.6))
            life.kill()
            life.wait()

    async def last_life() -> None:
        keeper, keep = await begin(tmp_path)
        assert {path.name for path in (tmp_path / "awake").iterdir()} == ({keep} - {None})
        await keeper.state.close()

    asyncio.run(last_life())
    wrong = tmp_path / "wrong"
    assert not wrong.exists(), f"seed {seed}: {wrong.read_text()}"
    assert not (tmp_path / "busy").exists()
    assert (tmp_path / "log").read_text().count("\n") >= KILLS / 2
    for name in MODELS:
        pid_file = tmp_path / f"pid.{name}"
        if pid_file.exists() and lives(pid := int(pid_file.read_text())):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1])))
