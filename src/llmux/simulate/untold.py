"""The real board without its memory: why it decided, and what it has spent its time on.

Nobody can ask a simulation that is over in seconds, and its outcome reckons shares from its rows,
so that to keep both would be work for nothing. No rule of switching stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from llmux.core.board import Switchboard
from llmux.core.lane import Lane
from llmux.core.rulings import Ruling
from llmux.core.times import Exit, Times
from llmux.policy.base import Reason


class _NoTimes(Times):
    """Adds no time up: an outcome reckons its shares from its rows."""

    __slots__ = ()

    def settle(self, lanes: Iterable[Lane], exits: Sequence[Exit], now: float) -> None:
        del lanes, exits, now


class UntoldBoard(Switchboard):
    """The real board, without the memory of why it decided: nobody can ask a simulation."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.times = _NoTimes()
        self._unread = Ruling(0, "", "", None)

    def _note(
        self,
        rule: str,
        lane: Lane,
        *facts: object,
        again: float | None = None,
        reason: str | Reason | None = None,
    ) -> Ruling:
        del rule, lane, facts, again, reason
        return self._unread
