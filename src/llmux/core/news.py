"""Everything worth telling: metrics, log lines and pages are ways of telling it.

Durations are seconds. `source` is `idle` at a cold start, as labels and events call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CLIENT_STALL: Final = "client_stall"
"""An answer was cut because its client took nothing of it."""
CUT_REASONS: Final = (
    "backend_unreachable",
    "backend_timeout",
    "drain_timeout",
    "draining",
    CLIENT_STALL,
)
"""Why answers are cut: the codes of errors, as streams carry them, and one of its own."""


@dataclass(frozen=True, slots=True)
class SwitchStarted:
    """A switch has begun: from now on the old model drains (or the target is woken)."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class DrainEnded:
    """The requests in flight are done and the sleep hook may run."""

    source: str
    target: str
    duration: float


@dataclass(frozen=True, slots=True)
class DrainCut:
    """A drain reached its bound and `requests` answers were cut."""

    model: str
    requests: int


@dataclass(frozen=True, slots=True)
class SwitchAbandoned:
    """A switch was given up because nobody waited for it any more."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class ModelDeactivated:
    """A model has stopped being the active one, after `active_seconds`."""

    model: str
    active_seconds: float


@dataclass(frozen=True, slots=True)
class ModelAsleep:
    """A model is asleep (or counts as asleep): connections to it are worth nothing."""

    model: str


@dataclass(frozen=True, slots=True)
class ModelActivated:
    """A model is awake and admits; duration of the whole switch, drain included."""

    model: str
    source: str
    duration: float


@dataclass(frozen=True, slots=True)
class SwitchFailed:
    """A wake hook has failed."""

    model: str
    source: str
    error: str


@dataclass(frozen=True, slots=True)
class SleepHookFailed:
    """A sleep hook has failed; the switch went on to `target`."""

    model: str
    target: str
    error: str


@dataclass(frozen=True, slots=True)
class CostLearned:
    """The moving average for a pair has a new value, in seconds."""

    source: str
    target: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestTimedOut:
    """A request has waited `timeout` seconds in vain."""

    model: str
    timeout: float


@dataclass(frozen=True, slots=True)
class AnswerCut:
    """An answer that had begun was ended before its end; `reason` is one of `CUT_REASONS`."""

    model: str
    reason: str
    request_id: str


@dataclass(frozen=True, slots=True)
class HookEnded:
    """A hook has ended; `tail` is the end of what it printed."""

    model: str
    hook: str
    ok: bool
    exit_code: int | None
    duration: float
    tail: str
    error: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """A model was found awake at the start and goes on serving."""

    model: str


@dataclass(frozen=True, slots=True)
class BackendDied:
    """The backend of an awake model is dead, or hangs."""

    model: str
    hung: bool
    error: str


@dataclass(frozen=True, slots=True)
class BreakerOpened:
    """A model's wake has failed `failures` times in a row; it is left alone for `seconds`."""

    model: str
    failures: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A model is neither alive nor provably asleep: nothing else wakes in its place."""

    model: str
    error: str


@dataclass(frozen=True, slots=True)
class QuarantineEnded:
    """A quarantined model was seen alive or put to sleep."""

    model: str


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


@dataclass(frozen=True, slots=True)
class Retired:
    """A model that an earlier life has woken by hooks which the config does not have any more.

    It sleeps by them now, or could not be put to sleep: `error` says why, empty otherwise.
    """

    model: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class ConfigReloaded:
    """The config was read anew and holds; each text is a list of names, empty for none.

    `restart` are keys that have changed and stay as they were until a restart.
    """

    added: str
    removed: str
    changed: str
    restart: str


@dataclass(frozen=True, slots=True)
class ConfigRejected:
    """The config was read anew and has a mistake: nothing has changed."""

    error: str


@dataclass(frozen=True, slots=True)
class ModelRenewed:
    """The new hooks and the new port of a model hold from now on."""

    model: str


@dataclass(frozen=True, slots=True)
class ModelRemoved:
    """A model that is not in the config any more has ended its last answer and sleeps."""

    model: str


@dataclass(frozen=True, slots=True)
class PolicyFault:
    """A policy raised, dawdled or named an unknown model, and was read as FIFO."""

    policy: str
    error: str


News = (
    SwitchStarted
    | DrainEnded
    | DrainCut
    | SwitchAbandoned
    | ModelDeactivated
    | ModelAsleep
    | ModelActivated
    | SwitchFailed
    | SleepHookFailed
    | CostLearned
    | RequestTimedOut
    | AnswerCut
    | HookEnded
    | Adopted
    | BackendDied
    | BreakerOpened
    | Quarantined
    | QuarantineEnded
    | AliveFailed
    | WitnessUnfit
    | WitnessBlind
    | HookLeftOver
    | Retired
    | ConfigReloaded
    | ConfigRejected
    | ModelRenewed
    | ModelRemoved
    | PolicyFault
)
