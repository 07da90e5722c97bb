"""What the keeper finds out and tells; like the core's news, small frozen facts.

It refuses to know how they are told.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmux.core.news import HookEnded


@dataclass(frozen=True, slots=True)
class AliveFailed:
    """A look at a model that is awake has failed; one is not yet a death."""

    model: str
    error: str


@dataclass(frozen=True, slots=True)
class WitnessUnfit:
    """The model's `alive` is not believed, a connect to its port stands in."""

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class WitnessBlind:
    """The model's `alive` cannot tell awake from asleep."""

    model: str


@dataclass(frozen=True, slots=True)
class HookLeftOver:
    """A hook of an earlier life of the gateway was waited for or ended; `end` says which."""

    model: str
    hook: str
    end: str


Finding = AliveFailed | WitnessUnfit | WitnessBlind | HookLeftOver | HookEnded
