"""What the board orders. The driver carries it out and reports back with an event."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import NamedTuple

from llmux.core.ticket import Ticket
from llmux.errors import LlmuxError

AlarmKey = tuple[str, str] | tuple[str, Ticket]
"""What an alarm is for: ("min_active", model), ("rest", model), ("ask", model),
("stuck", model), ("overdue", model), ("defer", model), ("drain", model), ("hint", model) or
("deadline", ticket)."""


@dataclass(frozen=True, slots=True)
class Admit:
    """Tell the ticket's owner that it is inside: the board counts it already."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Reject:
    """Tell the ticket's owner that it will not be served."""

    ticket: Ticket
    error: LlmuxError


@dataclass(frozen=True, slots=True)
class Cut:
    """Tell the ticket's owner that its answer has to end now; the board counted it out."""

    ticket: Ticket
    error: LlmuxError


@dataclass(frozen=True, slots=True)
class Lose:
    """Tell the ticket's owner that its backend hangs and is ended; the board counts it no more.

    Who has had nothing of an answer may come back (`RequestReturned`).
    """

    ticket: Ticket
    error: LlmuxError


@dataclass(frozen=True, slots=True)
class AskTurn:
    """Report `TurnEnded` once, when this turn of the loop is over."""


class Consult(NamedTuple):
    """Ask the policy for `model` and report `PolicyAnswered` with this number.

    A tuple, as `SetAlarm` is, because it is made for each decision.
    """

    model: str
    number: int


@dataclass(frozen=True, slots=True)
class AwaitDefer:
    """Await what a Defer waits for, then report `DeferEnded`; cancelled like the alarm."""

    model: str
    until: Awaitable[object]


@dataclass(frozen=True, slots=True)
class Prepare:
    """Run the policy's `prepare_switch` and report `PrepareEnded` with this number."""

    number: int
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class DropPrepare:
    """Cancel the `prepare_switch` of this number if it still runs."""

    number: int


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run a hook (`wake` or `sleep`) of `model` and report `HookEnded` with this number."""

    number: int
    hook: str
    model: str
    source: str | None
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class Renew:
    """From now on the new hooks and the new port of `model` hold: nothing of the old is up."""

    model: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing is left of `model`, which is not in the config any more."""

    model: str


class SetAlarm(NamedTuple):
    """Report `AlarmRang` after `seconds`; replaces an alarm of the same key.

    With `keep_earlier` an alarm of that key that would ring sooner stays.
    """

    key: AlarmKey
    seconds: float
    keep_earlier: bool = False


@dataclass(frozen=True, slots=True)
class CancelAlarm:
    """Forget the alarm (and the awaited Defer) of this key; harmless if there is none."""

    key: AlarmKey


@dataclass(frozen=True, slots=True)
class SettleOrder:
    """Tell whoever gave the order how it ended; None is success."""

    number: int
    error: LlmuxError | None


@dataclass(frozen=True, slots=True)
class TellPolicy:
    """Call `on_switch_complete`; duration in seconds, source None at a cold start."""

    source: str | None
    target: str
    duration: float


Effect = (
    Admit
    | Reject
    | Cut
    | Lose
    | AskTurn
    | Consult
    | AwaitDefer
    | Prepare
    | DropPrepare
    | RunHook
    | Renew
    | Forget
    | SetAlarm
    | CancelAlarm
    | SettleOrder
    | TellPolicy
)
