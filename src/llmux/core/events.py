"""Facts that the board is told. Each is a thing that has happened, never a wish.

The awake path does not come by here: `Switchboard.enter` and `leave` are called directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from llmux.core.effects import AlarmKey
from llmux.core.lane import LaneSettings
from llmux.core.ticket import Ticket
from llmux.policy.base import Decision


@dataclass(frozen=True, slots=True)
class RequestArrived:
    """A request has come for the model of its ticket."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class RequestWaits:
    """A request that `enter` did not admit takes its place in the queue."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class RequestLeft:
    """A request is over, whatever the cause; harmless when said twice."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Looked:
    """Something was changed by a direct call (`enter`, `leave`); look again."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The driver's turn, asked for by the effect `AskTurn`, is over: time to ask the policy."""


class PolicyAnswered(NamedTuple):
    """The policy has answered the consultation `number` for `model`.

    With `for_all` (never with a Defer) the answer holds for everybody else who was asked about at
    that moment and has none yet. A tuple, because one is made for each decision.
    """

    model: str
    number: int
    decision: Decision
    for_all: bool = False


@dataclass(frozen=True, slots=True)
class DeferEnded:
    """What a policy's Defer waited for has come."""

    model: str


@dataclass(frozen=True, slots=True)
class PrepareEnded:
    """The policy's `prepare_switch` for the plan `number` has returned (or failed)."""

    number: int


@dataclass(frozen=True, slots=True)
class HookEnded:
    """The hook ordered under `number` has ended; duration in seconds."""

    number: int
    ok: bool
    duration: float
    error: str = ""
    exit_code: int | None = None
    tail: str = ""
    left: str = "asleep"
    """What a failed sleep left behind: asleep (or taken for it), awake, or unclear."""


@dataclass(frozen=True, slots=True)
class AlarmRang:
    """An alarm that the board had set has rung."""

    key: AlarmKey


@dataclass(frozen=True, slots=True)
class OrderGiven:
    """An operator or the policy's scheduler wants `model` active although nobody may wait."""

    number: int
    model: str
    by: str = "an operator"


@dataclass(frozen=True, slots=True)
class OrderWithdrawn:
    """Whoever gave the order does not wait for it any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Announced:
    """A client that has just been answered has said that it asks for `model` next."""

    model: str


@dataclass(frozen=True, slots=True)
class Returning:
    """An answer ends just now whose client asks the same model again at once: it calls a tool."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class RequestReturned:
    """A request that was inside has to wait again: its backend died before it answered."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The look at every model at the start is over.

    `awake` has the most recent one last; of the `unclear` nobody knows whether they hold the
    accelerator.
    """

    awake: tuple[str, ...]
    unclear: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackendDied:
    """The backend of an awake model is dead, or it hangs (it accepts and does not answer)."""

    model: str
    hung: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A quarantined model was seen alive: it can serve."""

    model: str


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """The config was read anew: `models` are all there are now, in its order.

    Of those that are up, `renewed` have to sleep by their old hooks before they are woken again,
    and so have `mended`, of which only what puts them to sleep is new, unless the old has failed.
    Models that are new were found `awake`, or nobody knows (`unclear`), or they sleep.
    `rate_windows` and `hint_secs` are those of a policy that is new too.
    """

    models: tuple[LaneSettings, ...]
    renewed: frozenset[str] = frozenset()
    mended: frozenset[str] = frozenset()
    awake: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    rate_windows: tuple[float, ...] | None = None
    max_buffered: int | None = None
    hint_secs: float | None = None


@dataclass(frozen=True, slots=True)
class GatewayClosing:
    """The gateway stops: nothing new is admitted, those who wait are told."""


Event = (
    RequestArrived
    | RequestWaits
    | RequestLeft
    | Looked
    | TurnEnded
    | PolicyAnswered
    | DeferEnded
    | PrepareEnded
    | HookEnded
    | AlarmRang
    | OrderGiven
    | OrderWithdrawn
    | Announced
    | Returning
    | RequestReturned
    | Surveyed
    | BackendDied
    | Recovered
    | Reconfigured
    | GatewayClosing
)
