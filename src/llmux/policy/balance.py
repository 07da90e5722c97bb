"""Tide-balance: leave the awake model when staying costs more than leaving.

Leaving the awake model costs its future callers an outage; staying costs those who wait
elsewhere. While it is busy, waiting for one more answer to end makes the drain shorter for free,
unless newcomers are admitted meanwhile; so the only price of patience is the delay by newcomers,
and its only gain is that those newcomers are served at once. Patience fades as the oldest waiter
nears the bound. The page `docs/balance.md` says it with a picture; the letters in `_weigh` are
those of that page.

This file refuses to know the board, the clock and what a switch is made of: a snapshot comes in,
a decision goes out, and the same snapshot always gets the same decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, inf, log, sqrt
from operator import itemgetter, mul
from typing import Any, Self

from llmux.policy.balance_hold import hold_for
from llmux.policy.balance_options import BalanceOptions
from llmux.policy.balance_words import GATE, VALUE, Row, Verdict, Weighed, Weighing
from llmux.policy.base import (
    Decision,
    ModelView,
    PolicyContext,
    Skip,
    Snapshot,
    SwitchNow,
    SwitchPolicy,
)
from llmux.policy.drafts import draft
from llmux.policy.fifo import Announced

__all__ = [
    "BalanceOptions",
    "BalancePolicy",
    "Verdict",
    "Weighed",
    "Weighing",
    "harmonic",
    "newcomers",
]

_MOST_SAMPLES = 20
_PRIOR_SAMPLES = 3
_MOST_BATCHED = 50
_GATE = 1.5
_SOON = 0.25
"""The share of short lulls above which a hint is not worth leaving an empty model."""
_SOONEST = 0.001
_MOST_TERMS = 400
_USUAL_WINDOWS = 2
"""So many averages of a rate are added without a loop."""
_value = itemgetter(VALUE)
_SkipDraft = draft(Skip)
_new = tuple.__new__
"""Makes a named tuple in a third of the time: most verdicts are to stay."""
_BETWEEN = frozenset({"sleeping", "waking", "cleaning"})
"""Phases in which a switch cannot be called back."""
_NOTHING = (0.0, 0.0)
_INSTANT = 1e-9
"""Stands in for a divisor of 0 seconds where hooks and services are instant."""


def harmonic(k: float) -> float:
    """Expect the last of k exponential services to end after so many mean services; 0 for none."""
    return 0.577 + log(k) + 0.5 / k if k > 0 else 0.0


_BATCH = tuple(harmonic(n) for n in range(_MOST_BATCHED + 1))


def newcomers(rho: float, k: int, enough: float = inf) -> float:
    """Tell what newcomers add to one step from k to k - 1 in flight, in units of S/k; may be inf.

    `rho` is the awake model's load: its arrival rate times its service time. The sum only grows,
    so it is not pursued beyond `enough`.
    """
    total = 0.0
    term = 1.0
    for m in range(k + 1, k + _MOST_TERMS + 1):
        term *= rho / m
        total += term
        if term < 1e-6 * total or not term or total >= enough:
            break
    return total


class BalancePolicy(SwitchPolicy):
    """Switches when those who wait elsewhere have paid for the trip, sooner as patience fades."""

    reads_tool_calls = True

    def __init__(self, options: BalanceOptions | None = None) -> None:
        self.options = options if options is not None else BalanceOptions()
        # The base declares these two for the class; ours are options of each instance.
        vars(self)["rate_windows"] = self.options.rate_windows_secs
        ours = type(self).on_pending_request is BalancePolicy.on_pending_request
        vars(self)["same_for_all"] = ours
        vars(self)["hint_secs"] = self.options.hint_secs
        self._seen: Snapshot | None = None
        self._answer: Decision = Skip()

    @classmethod
    def from_config(cls, config: object, options: Mapping[str, Any]) -> Self:
        """Build the policy from `policy.options`; PolicyError names each wrong option."""
        del config
        return cls(BalanceOptions.read(options))

    def on_pending_request(self, context: PolicyContext) -> Decision:
        """Answer for the whole snapshot at once, whoever of those who wait is asked about."""
        snapshot = context.snapshot
        if not context.target_queue_depth:
            return self._follow(snapshot, context.target_model)
        if snapshot is not self._seen:
            verdict = self.weigh(snapshot)
            reason = Weighing(snapshot, verdict)
            if verdict.target is not None:
                rides = verdict.rule != "late"
                self._answer = SwitchNow(verdict.target, reason, free_ride=rides)
            else:
                skip = _SkipDraft(verdict.ask_again, None, reason)
                skip.__class__ = Skip
                self._answer = skip
            self._seen = snapshot
        return self._answer

    def _follow(self, snapshot: Snapshot, announced: str) -> Decision:
        """Answer a hint: go, unless the awake model's callers often come back sooner than that."""
        if snapshot.active is not None:
            awake = snapshot.models[snapshot.active]
            scales = _Scales(self.options, snapshot)
            (_, _, sleep, _, _), (_, _, _, wake, _) = scales.read(
                (awake, snapshot.models[announced])
            )
            trip = sleep + wake
            soon = sum([1 for lull in awake.lulls if lull <= trip])
            if soon > _SOON * len(awake.lulls):
                return Skip(reason=f"{announced} was announced, but its callers come back soon")
        return SwitchNow(reason=Announced())

    def weigh(self, snapshot: Snapshot) -> Verdict:
        """Evaluate the rules on one snapshot."""
        options = self.options
        active = snapshot.active
        waiting = [
            view
            for view in snapshot.models.values()
            if view.waiting > 0 and view.name != active and view.phase != "quarantined"
        ]
        if not waiting:
            return Verdict("nobody", None, options.ask_most_secs, ())
        if snapshot.phase in _BETWEEN:
            return Verdict("switching", None, options.ask_tipped_secs, ())
        scales = _Scales(options, snapshot)
        if active is None:
            return self._cold(waiting, scales)
        return self._weigh(snapshot.models[active], waiting, scales)

    def _cold(self, waiting: list[ModelView], scales: _Scales) -> Verdict:
        """Nobody is awake: most waiters for the least time."""
        rows = []
        for view, service, _, wake, _ in scales.read(waiting):
            value = view.weighted_waiting / ((wake + service) or _INSTANT)
            rows.append((view, wake, inf, 0.0, 0.0, 0.0, value))
        best = max(rows, key=_value)[0]
        return Verdict("cold", best.name, self.options.ask_floor_secs, rows)

    def _weigh(  # noqa: PLR0912, PLR0915 - one sum read beside its formulas; calls would double its cost
        self, awake: ModelView, waiting: list[ModelView], scales: _Scales
    ) -> Verdict:
        """Weigh the awake model i with k in flight against each waiting model j.

        Runs at every arrival and completion while somebody waits: it shall cost microseconds, so
        no min, max or constructor is called in its loop.
        """
        o = self.options
        k = awake.in_flight
        (_, s_i, sleep_i, wake_i, lam_i), *others = scales.read((awake, *waiting))
        asked, shortest = awake.last_arrival, o.silence_secs
        if asked is not None:
            silence = scales.now - asked
            cap = 1.0 / (silence if silence > shortest else shortest)
            lam_i = lam_i if lam_i < cap else cap
        rho = lam_i * s_i
        d = s_i * (_BATCH[k] if k < _MOST_BATCHED else harmonic(k))
        lull, step = 0.0, 0.0
        if k:
            step = s_i / (2 * k)
        else:
            lull = self._half_lull(awake, lam_i, s_i, scales.now)

        trips = []
        tour = d
        for view, s_j, sleep_j, wake_j, lam_j in others:
            n = view.waiting
            c_ij = sleep_i + wake_j
            visit = c_ij + s_j * _BATCH[n if n < _MOST_BATCHED else _MOST_BATCHED]
            tour += visit
            trips.append((view, s_j, lam_j, c_ij, sleep_j + wake_i, visit))

        root, gate, beyond = sqrt, _GATE, tour - d
        least, most, tipped = o.ask_least_secs, o.ask_most_secs, o.ask_tipped_secs
        age_value, base, flat = o.age_value_secs, o.patience_base_secs, o.patience_most_secs
        bought = 2.5 * tour
        again = least_left = lowest = inf
        highest = -inf
        latest = awake
        rows: list[Row] = []
        ripe: list[Row] = []
        for view, s_j, lam_j, c_ij, c_ji, visit in trips:
            n_j = view.weighted_waiting
            ages = view.weighted_sum_wait
            until = d + c_ij
            # r + d, the outage of i with its drain
            down = visit + c_ji + 0.1 * (beyond - visit) + d
            q = c_ij + c_ji
            patience = base + 12.0 * q
            patience = (patience if patience < flat else flat) + 4.0 * q
            patience = patience if patience > bought else bought
            bound = view.max_wait
            if bound is not None and bound < patience:
                patience = bound
            left = patience - view.urgency - until
            # What i would lose is lam_i for the outage, as far as patience has not faded.
            lost = root(left / patience) * lam_i if left > 0 else 0.0
            x = until + lull
            stay = ages + x * (n_j + lam_j * x * 0.5)
            leave = lost * down * down * 0.5
            # What newcomers have to add before a busy i is left for j.
            enough = gate * lost * (down - step) / n_j
            row = (
                view,
                c_ij,
                left,
                stay,
                leave,
                enough,
                (n_j + lam_j * until + ages / age_value) / ((c_ij + s_j) or _INSTANT),
            )
            rows.append(row)
            if stay >= leave:
                ripe.append(row)
                lowest = enough if enough < lowest else lowest
                highest = enough if enough > highest else highest
                soon = tipped
            else:
                soon = (leave - stay) / n_j
                soon = least if soon < least else most if soon > most else soon
            again = soon if soon < again else again
            if left < least_left:
                least_left = left
                latest = view
        again = again if again < least_left else least_left
        again = again if again > o.ask_floor_secs else o.ask_floor_secs
        if least_left <= 0:
            return Verdict("late", latest.name, again, rows)
        if k and ripe:
            g = newcomers(rho, k, enough=highest)
            ripe = [row for row in ripe if g >= row[GATE]] if g >= lowest else []
        if ripe:
            best = max(ripe, key=_value)[0]
            if k:
                return Verdict("busy", best.name, again, rows)
            hold = 0.0
            if awake.away:
                last = awake.away[-1][0] if awake.lull_since is None else awake.lull_since
                hold = hold_for(
                    [(scales.now - since, weight) for since, weight in awake.away],
                    awake.absences or (o.absence_prior_secs,),
                    most=o.linger_secs - (scales.now - last),
                    outage=next(visit + c_ji for view, *_, c_ji, visit in trips if view is best),
                    crowd=sum([trip[0].weighted_waiting for trip in trips]),
                    growing=sum([trip[2] for trip in trips]),
                    service=s_i,
                )
            if hold > 0:
                return Verdict("linger", None, max(min(hold, least_left), _SOONEST), rows)
            return Verdict("lull", best.name, again, rows)
        return _new(Verdict, ("stay", None, again, rows))

    def _half_lull(self, view: ModelView, lam: float, service: float, now: float) -> float:
        """Return half the time to the next lull of a model that has one now.

        It is asked again no sooner than after lulls as long as its last ones.
        """
        most = self.options.lull_most_secs
        lulls = view.lulls
        if lulls:
            silence = 0.0 if view.lull_since is None else now - view.lull_since
            lam = min(lam, 1.0 / max(silence, sum(lulls) / len(lulls), self.options.silence_secs))
        return min(most, exp(min(lam * service, 5.0)) / lam) / 2 if lam > 0 else most / 2


_Scaled = tuple[ModelView, float, float, float, float]


class _Scales:
    """What one snapshot says of services, rates and hooks, with the priors filled in."""

    __slots__ = ("_models", "_options", "_overall", "_prior", "_shares", "now")

    def __init__(self, options: BalanceOptions, snapshot: Snapshot) -> None:
        self._options = options
        self._models = snapshot.models
        self.now = now = snapshot.now
        self._overall = overall = (
            snapshot.overall_service + snapshot.overall_prior * options.service_prior_secs
        )
        self._prior = _PRIOR_SAMPLES * overall
        first, span = snapshot.first_arrival, options.rate_span_secs
        if first is not None and now - first > span:
            span = now - first
        windows = options.rate_windows_secs
        many = len(windows)
        shares: tuple[float, ...]
        if many == _USUAL_WINDOWS:
            short, long = windows
            shares = (
                1 / (many * short * (1 - exp(-span / short))),
                1 / (many * long * (1 - exp(-span / long))),
            )
        else:
            shares = tuple([1 / (many * tau * (1 - exp(-span / tau))) for tau in windows])
        self._shares = shares

    def read(self, views: Iterable[ModelView]) -> list[_Scaled]:
        """Return of each model its service time, sleep, wake, and weighted arrivals per second.

        The service time is pulled to the overall mean while samples are few.
        """
        overall, prior, shares = self._overall, self._prior, self._shares
        usual = len(shares) == _USUAL_WINDOWS
        short_share, long_share = shares if usual else _NOTHING
        scaled = []
        for view in views:
            service = view.service_seconds
            samples = view.service_samples
            if service is None:
                service = overall
            elif samples < _MOST_SAMPLES:
                service = (samples * service + prior) / (samples + _PRIOR_SAMPLES)
            else:
                service = (_MOST_SAMPLES * service + prior) / (_MOST_SAMPLES + _PRIOR_SAMPLES)
            sleep = view.sleep_seconds
            wake = view.wake_seconds
            if sleep is None:
                sleep = self._mean("sleep_seconds", self._options.sleep_prior_secs)
            if wake is None:
                wake = self._mean("wake_seconds", self._options.wake_prior_secs)
            arrivals = view.arrivals
            if usual and len(arrivals) == _USUAL_WINDOWS:
                short, long = arrivals
                rate = short * short_share + long * long_share
            else:
                rate = sum(map(mul, arrivals, shares))
            scaled.append((view, service, sleep, wake, rate))
        return scaled

    def _mean(self, hook: str, prior: float) -> float:
        """Return the mean of the hooks that were seen, for one that was not."""
        hooks = [getattr(one, hook) for one in self._models.values()]
        seen = [seconds for seconds in hooks if seconds is not None]
        return sum(seen) / len(seen) if seen else prior
