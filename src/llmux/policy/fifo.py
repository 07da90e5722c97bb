"""First come, first served: the accelerator goes to whoever has waited longest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from llmux.errors import PolicyError
from llmux.policy.base import (
    Decision,
    PolicyContext,
    PolicySettings,
    SwitchContext,
    SwitchNow,
    SwitchPolicy,
)


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
        return SwitchNow(reason=f"{context.target_model} has waited {context.oldest_waiting:.1f} s")

    async def prepare_switch(self, context: SwitchContext) -> None:
        """Wait for the requests in flight when told to drain; the model's own key comes first."""
        if getattr(context, "drain_before_switch", self.drain_before_switch()):
            await context.wait_for_in_flight()
