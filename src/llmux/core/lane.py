"""One model on the board: its phase, who waits for it, who is inside, what was learned of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from math import exp
from operator import mul
from typing import TYPE_CHECKING

from llmux.core.lulls import Lulls
from llmux.core.returns import Returns
from llmux.core.ride import Pace
from llmux.core.ticket import BEREFT, INSIDE, LOST

if TYPE_CHECKING:
    from llmux.core.ticket import Ticket
    from llmux.policy.base import Reason


_USUAL_WINDOWS = 2
"""So many sums of arrivals are kept as a rule."""


class Phase(Enum):
    """Where a model stands; it can be only one of these at a time."""

    ASLEEP = "asleep"
    WAKING = "waking"
    AWAKE = "awake"
    DRAINING = "draining"
    SLEEPING = "sleeping"
    UNKNOWN = "unknown"
    QUARANTINED = "quarantined"


class Wish(Enum):
    """The policy's latest answer for a model, as far as the board has to remember it."""

    NONE = "none"
    NOW = "now"
    DEFERRED = "deferred"
    MATURED = "matured"
    """A deferral that is over: as NOW, and no new deferral takes it back."""


class Change(Enum):
    """What the config wants of a model that is up, and that cannot be had before it sleeps."""

    NONE = "none"
    RENEW = "renew"
    """Its hooks or its port are new: what is up of it goes to sleep by the old ones first."""
    MEND = "mend"
    """As `RENEW`, but only what puts it to sleep is new: it is used where the old has failed."""
    REMOVE = "remove"
    """It is not in the config any more: it goes as soon as it sleeps."""


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """What the config fixes for one model; durations in seconds, None lifts a bound."""

    name: str
    port: int = 0
    request_timeout: float | None = None
    min_active: float = 0.0
    drain_before_switch: bool = True
    drain_timeout: float | None = 600.0
    cut_drain: bool = True
    """Whether answers that still run at the bound of a drain are cut."""
    wake_timeout: float | None = 1800.0
    max_wait: float | None = None
    max_queue: int | None = None
    max_in_flight: int | None = None
    breaker_min: float = 2.0
    breaker_max: float = 60.0
    priority: float = 1.0
    """What each of its requests counts, before what the request itself says."""


class Lane:
    """The board's record of one model.

    `inside` and `waiting` are insertion-ordered sets of tickets (dicts without values).
    Everything below `observations` informs policies and never gates a change.
    """

    __slots__ = (
        "activated_at",
        "arrival_log",
        "arrival_sums",
        "asked",
        "change",
        "fresh",
        "inside",
        "last_arrival",
        "last_failure",
        "late",
        "level",
        "limit",
        "loading_until",
        "lost",
        "lulls",
        "name",
        "ordered_by",
        "owed",
        "pace",
        "phase",
        "proven",
        "ranks",
        "rate_windows",
        "reason",
        "rest_until",
        "resting",
        "returns",
        "rides",
        "service_mean",
        "service_samples",
        "settings",
        "stuck",
        "stuck_level",
        "stuck_until",
        "sums_at",
        "waiting",
        "waiting_sum",
        "watched",
        "weight_sum",
        "weighted_sum",
        "wish",
    )

    def __init__(  # noqa: PLR0915 - one line a slot
        self, settings: LaneSettings, rate_windows: tuple[float, ...] = ()
    ) -> None:
        self.name = settings.name
        self.settings = settings
        self.phase = Phase.ASLEEP
        self.inside: dict[Ticket, None] = {}
        self.waiting: dict[Ticket, None] = {}
        self.lost: set[Ticket] = set()
        """Whoever was inside when the model fell asleep or died, and has not left yet."""
        self.ranks: dict[float, dict[Ticket, None]] = {}
        """Those who wait, by weight; in each rank the one who came first stands first."""
        self.wish = Wish.NONE
        self.rides = False
        """The policy wants free rides while the active model drains for this one."""
        self.reason: str | Reason | None = None
        self.asked = 0
        self.fresh = False
        """Activated less than `min_active` ago: it is not left yet."""
        self.resting = False
        """Its breaker is open: its last wake failed, and it is not woken yet."""
        self.level = 0
        """How often in a row its wake has failed, up to the ladder's end."""
        self.stuck = False
        """Its last sleep failed: it is not left (or put to sleep again) yet."""
        self.stuck_level = 0
        self.late: set[Ticket] = set()
        """Those who have waited `max_wait`; while there are any the model goes first."""
        self.watched: Ticket | None = None
        """Who will be late next: the alarm `overdue` is set for it."""
        self.owed = 0
        """How many were late already when the model was woken, and still wait."""
        self.limit = settings.max_in_flight
        self.proven = False
        self.change = Change.NONE
        # observations
        self.activated_at: float | None = None
        self.loading_until: float | None = None
        self.last_failure: float | None = None
        self.rest_until: float | None = None
        self.stuck_until: float | None = None
        self.ordered_by = ""
        """Who gave the last order for it."""
        self.last_arrival: float | None = None
        self.waiting_sum = 0.0
        """Sum of the arrivals of those who wait; the next two are the sum of their weights, and
        of their arrivals, each times its weight."""
        self.weight_sum = 0.0
        self.weighted_sum = 0.0
        self.rate_windows = rate_windows
        self.arrival_log: list[tuple[float, float]] = []
        self.arrival_sums = (0.0,) * len(rate_windows)
        self.sums_at = 0.0
        self.lulls = Lulls()
        self.returns = Returns()
        self.pace: Pace | None = None
        """Learned once the policy has asked for free rides."""
        self.service_mean: float | None = None
        self.service_samples = 0

    @property
    def oldest(self) -> Ticket | None:
        """Whoever has waited longest for this model."""
        return next(iter(self.waiting), None)

    @property
    def overdue(self) -> bool:
        """Whether somebody has waited `max_wait`."""
        return bool(self.late)

    @property
    def has_place(self) -> bool:
        """Whether `max_in_flight` leaves a place for one more inside."""
        return self.limit is None or len(self.inside) < self.limit

    def queue(self, ticket: Ticket) -> None:
        """Let a ticket wait behind those who came before it; its weight is fixed from now on."""
        self.waiting[ticket] = None
        self.ranks.setdefault(ticket.weight, {})[ticket] = None
        self.waiting_sum += ticket.arrived
        self.weight_sum += ticket.weight
        self.weighted_sum += ticket.weight * ticket.arrived

    def unqueue(self, ticket: Ticket) -> None:
        """Take a ticket out of those who wait."""
        del self.waiting[ticket]
        if ticket in self.late:
            self.late.remove(ticket)
            self.owed -= self.owed > 0
        rank = self.ranks[ticket.weight]
        del rank[ticket]
        if not rank:
            del self.ranks[ticket.weight]
        if not self.waiting:
            self.waiting_sum = self.weight_sum = self.weighted_sum = 0.0
            return
        self.waiting_sum -= ticket.arrived
        self.weight_sum -= ticket.weight
        self.weighted_sum -= ticket.weight * ticket.arrived

    def sort(self) -> None:
        """Bring those who wait into the order of their arrivals again."""
        self.waiting = dict.fromkeys(sorted(self.waiting, key=lambda one: one.arrived))
        self.ranks = ranked(self.waiting)

    def foremost(self, now: float) -> Ticket | None:
        """Return who has the largest weight x age: within a weight, whoever came first.

        A light request's product grows as it waits, so that low never means never.
        """
        if len(self.ranks) < 2:
            return self.oldest
        heads = (next(iter(rank)) for rank in self.ranks.values())
        return max(heads, key=lambda one: (one.weight * (now - one.arrived), one.weight))

    def pull(self, now: float) -> tuple[float, float]:
        """Return the largest weight x age of those who wait, and that request's weight."""
        first = self.foremost(now)
        return (0.0, 0.0) if first is None else (first.weight * (now - first.arrived), first.weight)

    def put_inside(self, ticket: Ticket, now: float) -> None:
        """Count a ticket in flight from now on."""
        ticket.stage = INSIDE
        ticket.admitted = now
        self.inside[ticket] = None

    def end_life(self, *, died: bool = False) -> None:
        """Count those inside no more: their backend is gone, and only their leaving is awaited.

        Of a backend that `died` (or hung) nobody had an order: they may come back. What it has
        proven ends here and no sooner: an answer may come while its sleep hook runs.
        """
        for ticket in self.inside:
            ticket.stage = BEREFT if died else LOST
            self.lost.add(ticket)
        self.inside.clear()
        self.proven = False

    def fold_arrivals(self, now: float) -> None:
        """Work the logged arrivals into the decayed sums, which are then as of `now`."""
        log = self.arrival_log
        if log and self.lulls.begun:
            self.lulls.read_arrivals(log)
        if log and self.returns.away:
            self.returns.read_arrivals(log)
        self.arrival_sums = self._grown(now)
        log.clear()
        self.sums_at = now

    def _grown(self, now: float) -> tuple[float, ...]:
        """Return the decayed sums with what was logged, as of `now`."""
        windows, log = self.rate_windows, self.arrival_log
        if len(windows) == _USUAL_WINDOWS:  # the same without lists
            short_tau, long_tau = windows
            short, long = map(mul, self.arrival_sums, self.fading(now))
            for when, weight in log:
                short += weight * exp((when - now) / short_tau)
                long += weight * exp((when - now) / long_tau)
            return short, long
        sums = map(mul, self.arrival_sums, self.fading(now))
        if log:
            grown = [[weight * exp((when - now) / tau) for when, weight in log] for tau in windows]
            sums = map(sum, grown, sums)
        return tuple(sums)

    def fading(self, now: float) -> list[float]:
        """Return what is left at `now` of each decayed sum; it depends on `sums_at` alone."""
        ago = self.sums_at - now
        return [exp(ago / tau) for tau in self.rate_windows]

    def __repr__(self) -> str:
        return (
            f"<Lane {self.name} {self.phase.value} | "
            f"{len(self.waiting)} waiting | {len(self.inside)} inside>"
        )


def ranked(waiting: Iterable[Ticket]) -> dict[float, dict[Ticket, None]]:
    """Sort tickets by weight and keep their order within each."""
    ranks: dict[float, dict[Ticket, None]] = {}
    for ticket in waiting:
        ranks.setdefault(ticket.weight, {})[ticket] = None
    return ranks
