"""What a switch policy is told and what it may answer.

A policy decides *when* the accelerator changes hands; it never does it. Everything here is plain
data: frozen contexts in, small decisions out. This room knows no asyncio, no clock and no board.
The names of the contexts' fields are those of llmux 2.4.0; beside them each context carries the
one `snapshot` that every callback shares.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, Self


class ModelView(NamedTuple):
    """One model as a policy sees it; times in seconds, ages counted at `Snapshot.now`.

    A tuple, because one is made of every model for each decision and nobody shall write to it.
    """

    name: str
    phase: str
    """asleep, waking, awake, draining, sleeping, unknown or quarantined."""
    waiting: int = 0
    oldest_wait: float = 0.0
    """Age of the oldest waiting request; 0 if nobody waits."""
    sum_wait: float = 0.0
    """Sum of the ages of all waiting requests."""
    weighted_waiting: float = 0.0
    """As `waiting`, each request counted with its priority."""
    weighted_sum_wait: float = 0.0
    """As `sum_wait`, each age multiplied by its request's priority."""
    urgency: float = 0.0
    """Largest priority x age among those who wait."""
    in_flight: int = 0
    started: tuple[float, ...] = ()
    """When each request in flight was admitted, oldest first."""
    service_seconds: float | None = None
    """Moving average of the time from admission to the last byte; None before the first."""
    service_samples: int = 0
    arrivals: tuple[float, ...] = ()
    """For each of the policy's `rate_windows` tau: the sum of w*e^(-age/tau) over all arrivals."""
    last_arrival: float | None = None
    """When a request for this model arrived last, on the clock of `now`."""
    lulls: tuple[float, ...] = ()
    """Its last few times (up to 8) from the last answer to the next request, oldest first."""
    lull_since: float | None = None
    """When its last answer ended, if nobody has asked for it since; on the clock of `now`."""
    absences: tuple[float, ...] = ()
    """Last few times (up to 8) that callers who were to come back stayed away, oldest first."""
    away: tuple[tuple[float, float], ...] = ()
    """When each caller who is to come back has left, on the clock of `now`, and what its requests
    count, oldest first: their answers call a tool, or they have said that they ask for this model
    next."""
    sleep_seconds: float | None = None
    """Learned duration of its sleep hook; None before the first."""
    wake_seconds: float | None = None
    """Learned duration of its wake hook; None before the first."""
    max_wait: float | None = None
    """The bound that holds for this model, None without one."""
    priority: float = 1.0
    last_failure: float | None = None
    """When its wake hook failed last, on the clock of `now`."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole world at one moment, the same for every callback of that moment."""

    now: float = 0.0
    phase: str = "idle"
    """idle, active, draining, sleeping, waking or cleaning."""
    active: str | None = None
    target: str | None = None
    """Where the running switch goes; None while none runs."""
    active_since: float | None = None
    first_arrival: float | None = None
    """When the first request of all arrived."""
    overall_service: float = 0.0
    """Moving average of the service time over all models, less the share of the prior."""
    overall_prior: float = 1.0
    """Weight that a prior still has in it: mean = overall_service + overall_prior * prior."""
    models: Mapping[str, ModelView] = field(default_factory=dict)
    """Every model of the config, for reading only."""


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """Why a policy is asked: somebody waits for `target_model`, which is not active.

    Or, where the policy has `hint_secs`: a client has said that it asks for it next.
    """

    target_model: str
    active_model: str | None = None
    target_queue_depth: int = 1
    oldest_waiting: float = 0.0
    """Age in seconds of the oldest request for the target."""
    active_in_flight: int = 0
    active_duration: float = 0.0
    """Seconds since the active model was activated."""
    estimated_switch_cost: float | None = None
    """Seconds; the moving average of this very pair, None if it was never seen."""
    snapshot: Snapshot = field(default_factory=Snapshot)


@dataclass(frozen=True, slots=True)
class ScheduleContext:
    """What the background scheduler is shown at each tick."""

    active_model: str | None = None
    active_duration: float = 0.0
    queue_depths: Mapping[str, int] = field(default_factory=dict)
    active_in_flight: int = 0
    switch_costs: Mapping[str, float] = field(default_factory=dict)
    """Seconds from the active model to each target that was observed."""
    snapshot: Snapshot = field(default_factory=Snapshot)


class SwitchContext(Protocol):
    """The drain as `prepare_switch` sees it."""

    @property
    def from_model(self) -> str | None:
        """The model that is left; None at a cold start."""
        ...

    @property
    def to_model(self) -> str:
        """The model that is switched to."""
        ...

    @property
    def snapshot(self) -> Snapshot:
        """The world when the drain began."""
        ...

    async def wait_for_in_flight(self) -> None:
        """Return when no request of the old model is in flight any more."""
        ...

    def in_flight_count(self) -> int:
        """Requests of the old model still in flight."""
        ...


class Reason:
    """Why a policy decided so: numbers that are put into words only when somebody asks.

    A policy is asked often and its reasons are read seldom. A plain text does as well; then it is
    made at every decision. Subclass it and say `rule` and `sentence`.
    """

    __slots__ = ()

    rule: str = "policy"
    """The name of the rule that fired."""

    def sentence(self, model: str) -> str:
        """Say it as a whole sentence without its stop, for the model that was asked about."""
        return f"the rule {self.rule} decided about {model}"

    def numbers(self, model: str) -> Mapping[str, float]:
        """Return what was compared for this model, by name."""
        del model
        return {}

    def alternatives(self) -> Mapping[str, Mapping[str, float]]:
        """Return the same for every model that was considered."""
        return {}


class PolicyDecision:
    """What a policy may answer: one of `SwitchNow`, `Defer` and `Skip`.

    Each is also an attribute of this class, as llmux 2.4.0 spells it: `PolicyDecision.Skip()`.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SwitchNow(PolicyDecision):
    """Switch to the target (None: the model asked about) as soon as the board may.

    With `free_ride`, who comes for the old model while it drains is still admitted if the tokens
    that the client allows let it end before the drain does, as long as nobody is overdue.
    """

    target: str | None = None
    reason: str | Reason | None = None
    free_ride: bool = False


@dataclass(frozen=True, slots=True)
class Defer(PolicyDecision):
    """Switch after `wait` (seconds or an awaitable), if somebody still waits then.

    An earlier event asks again and the new answer replaces this one, but a new Defer for the
    same model does not prolong one that runs.
    """

    wait: float | Awaitable[object]
    target: str | None = None
    reason: str | Reason | None = None


@dataclass(frozen=True, slots=True)
class Skip(PolicyDecision):
    """Not now: ask again at the next event, or after `ask_again` seconds (5 if None)."""

    ask_again: float | None = None
    target: str | None = None
    reason: str | Reason | None = None


Decision = SwitchNow | Defer | Skip

for _kind in (SwitchNow, Defer, Skip):
    setattr(PolicyDecision, _kind.__name__, _kind)


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What the config says for every policy; durations in seconds."""

    request_timeout: float | None = None
    drain_before_switch: bool = True
    min_active: float = 0.0


class SwitchPolicy:
    """Decides when the accelerator changes hands. Override what you need.

    `on_pending_request` and `schedule_tick` may be `def` or `async def`. A policy that raises or
    dawdles is reported and read as first come, first served for that decision.
    """

    settings: PolicySettings = PolicySettings()
    rate_windows: ClassVar[tuple[float, ...]] = (30.0, 300.0)
    """Time constants in seconds of the arrival sums in `ModelView.arrivals`."""
    same_for_all: ClassVar[bool] = False
    """Whether `on_pending_request` answers from the snapshot alone, whoever is asked about: then
    it is asked once for all who wait at that moment."""

    reads_tool_calls: ClassVar[bool] = False
    """Whether answers to requests that offer tools are read for whether they call one: then
    `ModelView.away` knows whose clients come back."""
    hint_secs: ClassVar[float | None] = None
    """Seconds after its answer for which a client's hint counts: the model that it asks for next.

    While nobody waits and nobody is served, the policy is asked about that model, too, with a
    `target_queue_depth` of 0. None: it is never asked about a model for which nobody waits.
    """

    @classmethod
    def from_config(cls, config: object, options: Mapping[str, Any]) -> Self:
        """Build the policy from `policy.options`; `config` is the whole, checked config."""
        del config
        return cls(**options)

    def on_pending_request(self, context: PolicyContext) -> Decision | Awaitable[Decision]:
        """Answer for a model that somebody waits for and that is not active."""
        raise TypeError(f"{type(self).__name__} does not say what on_pending_request answers")

    async def prepare_switch(self, context: SwitchContext) -> None:
        """Run beside the drain, before the old model is put to sleep; does nothing by default."""

    def on_switch_complete(self, from_model: str | None, to_model: str, duration: float) -> None:
        """Hear of a success; `duration` in seconds, `from_model` None at a cold start."""

    def request_timeout(self) -> float | None:
        """Seconds that a request may wait for its model; None is for ever."""
        return self.settings.request_timeout

    def drain_before_switch(self) -> bool:
        """Whether the sleep hook waits for the requests in flight."""
        return self.settings.drain_before_switch

    def min_active_duration(self) -> float:
        """Seconds before which a model that was activated is not left."""
        return self.settings.min_active

    def scheduler_interval(self) -> float | None:
        """Seconds between two calls of `schedule_tick`; None for no background scheduler."""
        return None

    def schedule_tick(self, context: ScheduleContext) -> str | Awaitable[str | None] | None:
        """Name a model to switch to although nobody may wait for it, or None."""
        del context
        return None
