"""What the keeper finds out and tells: the part of the news that no board could know."""

from __future__ import annotations

from llmux.core.news import (
    AliveFailed,
    HookEnded,
    HookLeftOver,
    Retired,
    WitnessBlind,
    WitnessUnfit,
)

__all__ = [
    "AliveFailed",
    "Finding",
    "HookEnded",
    "HookLeftOver",
    "Retired",
    "WitnessBlind",
    "WitnessUnfit",
]

Finding = AliveFailed | WitnessUnfit | WitnessBlind | HookLeftOver | Retired | HookEnded
