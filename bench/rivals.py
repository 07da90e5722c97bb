"""What others do, for comparison with `balance` only: a user has two good policies to choose from.

Each is the short rule that its name says, on the same snapshot that every policy is shown. Bounds
are the patience of `balance` with a round trip: 60 s and four times what it costs. What llmux
itself did before is in `v1.py`, and what `balance` grew from in `tide.py`.
"""

from __future__ import annotations

from llmux.policy import (
    Decision,
    ModelView,
    PolicyContext,
    Skip,
    Snapshot,
    SwitchNow,
    SwitchPolicy,
)

LOOK_AGAIN = 1.0
"""Seconds after which a rule that depends on time is looked at again."""


class Collation(SwitchPolicy):
    """Leave the awake model when it is empty, however long others wait (llama-swap, Ollama)."""

    def on_pending_request(self, context: PolicyContext) -> Decision:
        world = context.snapshot
        if context.active_in_flight and not self.hurry(world):
            return Skip(LOOK_AGAIN)
        return SwitchNow(oldest(world).name)

    def hurry(self, world: Snapshot) -> bool:
        """Leave a busy model all the same."""
        del world
        return False


class Exhaustive(Collation):
    """Collation, but whoever has waited out the bound is gone to at once."""

    def hurry(self, world: Snapshot) -> bool:
        return oldest(world).oldest_wait > bound(world)


class Quantum(Exhaustive):
    """Serve for twice the cost of a switch, or until empty; the same bound."""

    def hurry(self, world: Snapshot) -> bool:
        since = world.active_since
        served = 0.0 if since is None else world.now - since
        return served > 2 * trip(world, oldest(world)) or super().hurry(world)


def oldest(world: Snapshot) -> ModelView:
    """The model whose request has waited longest, the active one aside."""
    waiting = [one for one in world.models.values() if one.waiting and one.name != world.active]
    return max(waiting, key=lambda one: one.oldest_wait)


def trip(world: Snapshot, target: ModelView) -> float:
    """What the switch to the target costs, as far as it was seen."""
    sleep = 1.0 if world.active is None else world.models[world.active].sleep_seconds
    wake = target.wake_seconds
    return (1.0 if sleep is None else sleep) + (9.0 if wake is None else wake)


def bound(world: Snapshot) -> float:
    """How long the oldest request waits at most before a busy model is left."""
    return 60.0 + 8 * trip(world, oldest(world))
