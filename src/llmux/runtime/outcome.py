"""How a wake or a sleep ended: the hook's own result, and what was seen of the model after it.

It refuses to know how that was found out, and what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmux.runtime.hooks import HookResult

Left = Literal["asleep", "awake", "unclear"]
"""How a sleep has left its model; `unclear` is neither alive nor provably asleep."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a wake or a sleep ended: the hook's own result, and what the witness made of it.

    `duration` is the seconds of the hook alone. After a sleep `left` alone says what became of the
    model, also where `ok` is False; after a wake it is None.
    """

    ok: bool
    exit_code: int | None
    duration: float
    tail: str
    error: str | None
    left: Left | None = None


def outcome_of(
    end: HookResult, *, ok: bool | None = None, error: str | None = None, left: Left | None = None
) -> Outcome:
    """Return what came of a hook, with what the witness knows better put in its place."""
    return Outcome(
        end.ok if ok is None else ok,
        end.exit_code,
        end.duration,
        end.tail,
        error or end.error,
        left,
    )
