"""Puts to sleep, at the start, what an earlier life has woken by hooks that are in no config now.

The file was edited while llmux was down, or was to be followed when llmux was killed. What is up
was started by the old hooks, perhaps on another port, and only their `sleep` is sure to end it. It
refuses to know why the config is another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmux.runtime import probes
from llmux.runtime.findings import HookEnded, Retired
from llmux.runtime.hooks import HookSpec
from llmux.runtime.keeper import Keeper, woken_by
from llmux.runtime.probes import Probe
from llmux.runtime.statefile import Woken
from llmux.runtime.witness import Witness

KNOCK_SECONDS = 5.0
"""How long a connect to the old port may take."""
PAUSE = 2.0
"""Seconds until a model that is in no config is put to sleep once more; doubled each time."""
LONGEST_PAUSE = 60.0
REASON = "its config has changed while llmux was down"

Knock = Callable[[str, int], Probe]
"""Makes a probe that looks whether a model's port accepts."""


def knock(model: str, port: int) -> Probe:
    """Return a probe that agrees where the port accepts."""
    del model
    return probes.tcp(port, KNOCK_SECONDS)


async def retire(keeper: Keeper, knocks: Knock = knock) -> None:
    """Put to sleep whatever was woken by other hooks than the config has, one after the other.

    To be called after `settle` and before anything is woken. A model of the config that does not
    sleep by its old hooks is left to the new ones, unsettled. One that is in no config is nobody
    else's to end: it is tried again until it sleeps or its port refuses.
    """
    for model, woken in keeper.state.woken().items():
        spec = keeper.runner.spec(model)
        if spec is not None and _same(woken_by(spec), woken):
            continue
        keeper.runner.recall(_hooks(model, woken))
        keeper.witnesses[model] = Witness(None, knocks(model, woken.port))
        pause = PAUSE
        while not await _sleeps(keeper, model) and spec is None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        if spec is None:
            keeper.forget(model)
        else:
            keeper.renew(model)


def _same(now: Woken, then: Woken) -> bool:
    """Say whether what is up would have been woken just so: its `sleep` may have been mended."""
    return (now.port, now.wake) == (then.port, then.wake)


def _hooks(model: str, woken: Woken) -> HookSpec:
    return HookSpec(
        model,
        woken.port,
        "exit 1",  # never run: nothing is woken by these hooks again
        woken.sleep,
        sleep_timeout=woken.sleep_timeout,
        kill=woken.kill,
        kill_timeout=woken.kill_timeout,
    )


async def _sleeps(keeper: Keeper, model: str) -> bool:
    end = await keeper.run_sleep(model, from_model=model, to_model=None, reason=REASON)
    error = end.error or ""
    keeper.tell(HookEnded(model, "sleep", end.ok, end.exit_code, end.duration, end.tail, error))
    asleep = end.left == "asleep"
    keeper.tell(Retired(model, "" if asleep else error or "it is still there"))
    if not asleep:
        keeper.state.set_status(model, "unsettled")
    return asleep
