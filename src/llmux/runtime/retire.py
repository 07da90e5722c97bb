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
from llmux.runtime.survey import Waits
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


async def retire(
    keeper: Keeper, knocks: Knock = knock, waits: Callable[[Waits], None] = lambda _: None
) -> None:
    """Put to sleep whatever was woken by other hooks than the config has, one after the other.

    To be called after `settle` and before anything is woken. A model of the config that does not
    sleep by its old hooks is left to the new ones, unsettled. One that is in no config is nobody
    else's to end: it is tried again until it sleeps or its port refuses. `waits` hears what is
    waited for.
    """
    for model, woken in keeper.state.woken().items():
        spec = keeper.runner.spec(model)
        if spec is not None and _same(woken_by(spec), woken):
            continue
        keeper.runner.recall(_hooks(model, woken))
        keeper.witnesses[model] = Witness(None, knocks(model, woken.port))
        pause = PAUSE
        waits(Waits(model, "sleep", f"{REASON}: its old hooks put it to sleep first"))
        while (trouble := await _sleep(keeper, model)) and spec is None:
            until = f"it is tried again until it sleeps or port {woken.port} refuses"
            why = (
                f"it is in no config any more, and its old hooks do not put it to sleep ({trouble})"
            )
            waits(Waits(model, "sleep", f"{why}: {until}"))
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


async def _sleep(keeper: Keeper, model: str) -> str:
    """Put the model to sleep by its old hooks; returns why that has failed, empty if it has not."""
    end = await keeper.run_sleep(model, from_model=model, to_model=None, reason=REASON)
    error = end.error or ""
    keeper.tell(HookEnded(model, "sleep", end.ok, end.exit_code, end.duration, end.tail, error))
    trouble = "" if end.left == "asleep" else error or "it is still there"
    keeper.tell(Retired(model, trouble))
    if trouble:
        keeper.state.set_status(model, "unsettled")
    return trouble
