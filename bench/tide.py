"""Tide-balance as it was before `balance`, and the reference before that, for comparison only.

It is written down anew and plainly, formula by formula, with the letters of `docs/balance.md`: no
lulls that were learned, no holding for callers who come back, no free rides, no hints. So what
`balance` owes to those can be seen, and a test holds the two equal where they have to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, sqrt

from llmux.policy import Decision, ModelView, PolicyContext, Skip, Snapshot, SwitchNow, SwitchPolicy
from llmux.policy.balance import harmonic, newcomers

GATE = 1.5
LULL = 300.0
AGE_VALUE = 20.0
FLOOR = 0.05


@dataclass(frozen=True, slots=True)
class Scale:
    """What is believed of one model: an answer, its hooks, and its arrivals a second."""

    service: float
    sleep: float
    wake: float
    rate: float


@dataclass(frozen=True, slots=True)
class Trip:
    """What speaks for leaving the awake model now for a model that is waited for."""

    waiting: float
    left: float
    fade: float
    stay: float
    leave: float
    outage: float
    """R of the formulas: without the drain."""
    value: float


class TideBalance(SwitchPolicy):
    """Leave when those who wait have paid for the trip; a busy model at a good moment only."""

    same_for_all = True

    def on_pending_request(self, context: PolicyContext) -> Decision:
        """Weigh every model that is waited for."""
        world = context.snapshot
        scales = {name: scale(world, one) for name, one in world.models.items()}
        waiting = [one for one in world.models.values() if one.waiting and one.name != world.active]
        if world.phase in {"sleeping", "waking", "cleaning"}:
            return Skip(2.0)
        if world.active is None:
            return SwitchNow(max(waiting, key=lambda one: cold(one, scales[one.name])).name)
        awake = world.models[world.active]
        trips = weigh(world, awake, waiting, scales)
        latest = min(trips, key=lambda name: trips[name].left)
        if trips[latest].left <= 0:
            return SwitchNow(latest)
        rate, service = awake_rate(world, awake, scales), scales[awake.name].service
        ripe = [
            name
            for name, trip in trips.items()
            if trip.stay >= trip.leave
            and (not awake.in_flight or self.may_drain(trip, awake.in_flight, rate, service))
        ]
        if ripe:
            return SwitchNow(max(ripe, key=lambda name: trips[name].value))
        soonest = min(min(trip.left, tipping(trip)) for trip in trips.values())
        return Skip(max(soonest, FLOOR))

    def may_drain(self, trip: Trip, k: int, rate: float, service: float) -> bool:
        """Say whether one more answer is not worth waiting for."""
        outage = trip.outage + service * harmonic(k) - service / (2 * k)
        gate = GATE * trip.fade * rate * outage / trip.waiting
        return newcomers(rate * service, k) >= gate


class NowOrEmpty(TideBalance):
    """The earlier reference: drain a busy model now, or wait until it is empty by itself.

    Only its name and what it is worth were handed down. Assumed: the same prices, for the whole
    way to the empty model instead of one answer.
    """

    def may_drain(self, trip: Trip, k: int, rate: float, service: float) -> bool:
        """Say whether waiting until it is empty costs more than its newcomers gain meanwhile."""
        drain = service * harmonic(k)
        longer, share = 0.0, newcomers(rate * service, k)
        for one in range(k, 0, -1):
            longer += service / one * share
            share = rate * service / one * (1 + share)
        gain = trip.fade * rate * drain * (trip.outage + drain / 2)
        return trip.waiting * longer >= gain


def scale(world: Snapshot, one: ModelView) -> Scale:
    """Read a model's figures, with the priors where there are none."""
    overall = world.overall_service + 5.0 * world.overall_prior
    samples = min(one.service_samples, 20)
    own = overall if one.service_seconds is None else one.service_seconds
    slept = [other.sleep_seconds for other in world.models.values()]
    woke = [other.wake_seconds for other in world.models.values()]
    span = max(1.0, 0.0 if world.first_arrival is None else world.now - world.first_arrival)
    rates = [
        count / (tau * (1 - exp(-span / tau)))
        for count, tau in zip(one.arrivals, (30.0, 300.0), strict=True)
    ]
    return Scale(
        (samples * own + 3 * overall) / (samples + 3),
        mean(slept, 1.0) if one.sleep_seconds is None else one.sleep_seconds,
        mean(woke, 9.0) if one.wake_seconds is None else one.wake_seconds,
        sum(rates) / 2,
    )


def mean(seconds: list[float | None], prior: float) -> float:
    """Return the mean of the hooks that were seen."""
    seen = [one for one in seconds if one is not None]
    return sum(seen) / len(seen) if seen else prior


def cold(one: ModelView, its: Scale) -> float:
    """Return what a model is worth where nobody is awake."""
    return one.weighted_waiting / ((its.wake + its.service) or 1e-9)


def awake_rate(world: Snapshot, awake: ModelView, scales: dict[str, Scale]) -> float:
    """Return the arrivals a second of the awake model, no more than its silence allows."""
    last = -inf if awake.last_arrival is None else awake.last_arrival
    silence = max(0.001, world.now - last)
    return min(scales[awake.name].rate, 1 / silence)


def tipping(trip: Trip) -> float:
    """Return in how many seconds the balance may have tipped."""
    if trip.stay >= trip.leave:
        return 2.0
    return min(max((trip.leave - trip.stay) / trip.waiting, 0.25), 5.0)


def weigh(
    world: Snapshot, awake: ModelView, waiting: list[ModelView], scales: dict[str, Scale]
) -> dict[str, Trip]:
    """Reckon what staying and leaving cost, for each model that is waited for."""
    k, here = awake.in_flight, scales[awake.name]
    rate = awake_rate(world, awake, scales)
    drain = here.service * harmonic(k)
    lull = min(LULL, exp(min(rate * here.service, 5.0)) / rate) if rate > 0 else LULL
    visits = {
        one.name: here.sleep
        + scales[one.name].wake
        + scales[one.name].service * harmonic(min(one.waiting, 50))
        for one in waiting
    }
    tour = drain + sum(visits.values())
    trips = {}
    for one in waiting:
        there, n, ages = scales[one.name], one.weighted_waiting, one.weighted_sum_wait
        cost, back = here.sleep + there.wake, there.sleep + here.wake
        outage = visits[one.name] + back + 0.1 * (tour - drain - visits[one.name])
        until = drain + cost
        round_trip = cost + back
        patience = max(min(60.0, 5.0 + 12 * round_trip) + 4 * round_trip, 2.5 * tour)
        patience = patience if one.max_wait is None else min(patience, one.max_wait)
        left = patience - one.urgency - until
        fade = sqrt(max(0.0, left / patience))
        horizon = until + (0.0 if k else lull / 2)
        trips[one.name] = Trip(
            waiting=n,
            left=left,
            fade=fade,
            stay=ages + n * horizon + there.rate * horizon**2 / 2,
            leave=fade * rate * (outage + drain) ** 2 / 2,
            outage=outage,
            value=(n + there.rate * until + ages / AGE_VALUE) / ((cost + there.service) or 1e-9),
        )
    return trips
