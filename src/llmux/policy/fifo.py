"""First come, first served: the accelerator goes to whoever has waited longest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from llmux.errors import PolicyError
from llmux.policy.base import (
    Decision,
    PolicyContext,
    PolicySettings,
    Reason,
    SwitchContext,
    SwitchNow,
    SwitchPolicy,
)

HINT_SECS = 2.5
"""How long a client's hint counts after its answer."""


class Oldest(Reason):
    """Somebody has waited so many seconds, and it is the turn of this model."""

    __slots__ = ("active", "waited")

    rule = "oldest"

    def __init__(self, context: PolicyContext) -> None:
        self.active = context.active_model
        self.waited = context.oldest_waiting

    def sentence(self, model: str) -> str:
        """Say who has waited how long."""
        did = f"woke {model}" if self.active is None else f"left {self.active} for {model}"
        return f"{did}: its oldest request has waited {self.waited:.3g} s, it is its turn"

    def numbers(self, model: str) -> Mapping[str, float]:
        """Return the age of the oldest request, in seconds."""
        del model
        return {"oldest_wait_secs": self.waited}


class Announced(Reason):
    """A client has said that it asks for this model next, and nobody waits for any."""

    __slots__ = ()

    rule = "announced"

    def sentence(self, model: str) -> str:
        """Say so."""
        return f"woke {model}: a client has announced it, and nobody waits"


class FifoPolicy(SwitchPolicy):
    """Always `SwitchNow`; the board then serves the model with the oldest waiting request.

    Durations in seconds. Drains in `prepare_switch` when `drain_before_switch` is set.
    """

    def __init__(
        self,
        request_timeout: float | None = None,
        drain_before_switch: bool = True,
        min_active_duration: float = 0.0,
    ) -> None:
        self.settings = PolicySettings(request_timeout, drain_before_switch, min_active_duration)
        if type(self) is FifoPolicy:  # it looks at no rates, so nobody has to keep them
            vars(self).update(rate_windows=(), hint_secs=HINT_SECS)

    @classmethod
    def from_config(cls, config: object, options: Mapping[str, Any]) -> Self:
        """Take no options: what FIFO needs stands under `policy` itself.

        A subclass that has a constructor of its own takes what that takes.
        """
        if cls.__init__ is not FifoPolicy.__init__:
            return super().from_config(config, options)
        if options:
            names = ", ".join(sorted(options))
            raise PolicyError(f"the policy fifo takes no options, but policy.options has: {names}")
        return cls()

    def on_pending_request(self, context: PolicyContext) -> Decision:
        """Switch as soon as the board may."""
        return SwitchNow(reason=Oldest(context) if context.target_queue_depth else Announced())

    async def prepare_switch(self, context: SwitchContext) -> None:
        """Wait for the requests in flight when told to drain; the model's own key comes first."""
        if getattr(context, "drain_before_switch", self.drain_before_switch()):
            await context.wait_for_in_flight()
