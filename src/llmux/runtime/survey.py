"""Finds out, at the start, how each model stands before anything was done to it.

The hooks that the last life has left running are waited for or ended first; then the witnesses are
asked. It refuses to know what becomes of a model of which nobody can say how it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmux.errors import LlmuxError
from llmux.runtime.findings import HookLeftOver
from llmux.runtime.keeper import Keeper
from llmux.runtime.probes import Probe
from llmux.runtime.statefile import Leftover
from llmux.runtime.witness import Witness

Standing = Literal["awake", "asleep", "unclear"]
"""How a model is found; `unclear` may hold the accelerator and has to be put to sleep."""


class SurveyError(LlmuxError):
    """It could not be found out which models are awake, so nothing may be woken."""


@dataclass(frozen=True, slots=True)
class Waits:
    """What the start waits for: a hook of a model, and why."""

    model: str
    hook: str
    why: str


def left_running(keeper: Keeper) -> list[Waits]:
    """Return what `settle` may have to wait for."""
    why = "it was left running when llmux ended: its end is waited for, or its bound"
    return [Waits(model, hook, why) for model, hook in keeper.state.left_running()]


async def settle(keeper: Keeper) -> list[Leftover]:
    """Take over what the last life has learned, and wait for its hooks, or end them.

    To be called before all else, as soon as the state file is open.
    """
    keeper.recall()
    ends = await keeper.state.settle(lambda model, hook: bound_of(keeper, model, hook))
    for end in ends:
        keeper.tell(HookLeftOver(end.model, end.hook, end.end))
    return ends


def bound_of(keeper: Keeper, model: str, hook: str) -> float | None:
    """Return how long a hook of the last life may run, in seconds from its start."""
    old = keeper.state.woken().get(model)
    if keeper.runner.spec(model) is not None:
        return keeper.runner.timeout(model, hook)
    if old is None or hook == "wake":
        return 0.0
    return old.kill_timeout if hook == "kill" else old.sleep_timeout


async def survey(keeper: Keeper, model: str) -> Standing:
    """Find out how the model stands before anything was done to it, and write it down."""
    witness = keeper.witnesses[model]
    last = keeper.state.last_known_awake(model)
    unsettled = keeper.state.unsettled()
    standing: Standing = "unclear"
    if await witness.adoptable(last):
        standing = "awake"
    # What listens and does not agree may hang or load, unless we know that it sleeps.
    elif model not in unsettled and (
        last is False or await witness.refuses() or await witness.gone()
    ):
        standing = "asleep"
    keeper.state.set_status(model, "unsettled" if standing == "unclear" else standing)
    return standing


async def look_at(keeper: Keeper, model: str, probes: tuple[Probe | None, Probe, str]) -> Standing:
    """Find out how a model stands that is not known here yet."""
    alive, knock, _ = probes
    witness = Witness(alive, knock)
    if await witness.adoptable(keeper.state.last_known_awake(model)):
        return "awake"
    return "asleep" if await witness.refuses() or await witness.gone() else "unclear"
