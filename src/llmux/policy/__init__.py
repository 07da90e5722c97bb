"""The policy interface: contexts in, decisions out."""

from llmux.policy.base import (
    Decision,
    Defer,
    ModelView,
    PolicyContext,
    PolicyDecision,
    PolicySettings,
    Reason,
    ScheduleContext,
    Skip,
    Snapshot,
    SwitchContext,
    SwitchNow,
    SwitchPolicy,
)
from llmux.policy.fifo import FifoPolicy

__all__ = [
    "Decision",
    "Defer",
    "FifoPolicy",
    "ModelView",
    "PolicyContext",
    "PolicyDecision",
    "PolicySettings",
    "Reason",
    "ScheduleContext",
    "Skip",
    "Snapshot",
    "SwitchContext",
    "SwitchNow",
    "SwitchPolicy",
]
