"""The least total wait that somebody could reach who knows every arrival and length beforehand.

The schedules compared are those that the switchboard can make: a model that is awake admits at
once until its drain begins, a drain waits for all that it admitted, nobody is woken without a
waiter, all waiters are released at a wake. For two models the search is exhaustive; for more it
keeps the `beam` best partial schedules of each moment, so it gives the best known.

It rests on three facts. After a wake at time T only three things matter: who is awake, how far
the other models' queues were served, and what was waited so far; of two partial schedules that
agree in the first two, the one that is there earlier and cheaper can do all that the other can. A
drain may as well begin right at the wake, right after an arrival that it admits, or when the
first waiter for the other model comes. And there is a time after which to stay longer is never
better than to have been away and back (`_Search._no_longer`).

It refuses to know policies, and takes no figure from one but `most`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import accumulate
from math import inf
from typing import NamedTuple

from llmux.simulate.hooks import HookTimes
from llmux.simulate.workload import OpenLoop

SEARCH = 2
"""Counts the changes of this file after which another least wait could be found."""


class Step(NamedTuple):
    """A switch of a schedule: when the drain (or the first wake) begins, and where it goes."""

    leave: float
    target: int
    before: Step | None


State = tuple[float, float, int, tuple[int, ...], int, Step]
"""Time of the wake, wait so far, who is awake, first request not served of each other model (-1
for the one that is awake), its own first request that this wake released, and how."""


def least_wait(
    workload: OpenLoop, hooks: HookTimes, *, most: float = inf, beam: int | None = None
) -> float:
    """Return the least total wait (seconds x requests), or `most` where nothing below is found.

    `beam` is the number of partial schedules that are kept per moment; None keeps all.
    """
    search = _Search(workload, hooks, most, beam)
    search.run()
    return search.best


def best_schedule(
    workload: OpenLoop, hooks: HookTimes, beam: int | None = None
) -> list[tuple[float, str]]:
    """Return when the switches of the best schedule begin, and to which model they go."""
    search = _Search(workload, hooks, inf, beam)
    search.run()
    steps: list[tuple[float, str]] = []
    step = search.plan
    while step is not None:
        steps.append((step.leave, workload.models[step.target]))
        step = step.before
    return steps[::-1]


class _Search:
    def __init__(self, workload: OpenLoop, hooks: HookTimes, most: float, beam: int | None) -> None:
        models = workload.models
        queues = [[job for job in workload.jobs if job.model == model] for model in models]
        self.arrivals = [[job.arrival for job in queue] for queue in queues]
        self.services = [[job.service for job in queue] for queue in queues]
        self.sums = [list(accumulate(times, initial=0.0)) for times in self.arrivals]
        sleep = [hooks.mean("sleep", model) for model in models]
        self.wake = [hooks.mean("wake", model) for model in models]
        self.trip = [[before + after for after in self.wake] for before in sleep]
        self.others = [[j for j in range(len(models)) if j != i] for i in range(len(models))]
        self.best = most
        self.plan: Step | None = None
        self.beam = beam
        self.moment = (min(sleep) + min(self.wake)) / 2 or 1.0
        """What is woken from a state of one moment is awake in a later one."""
        self.cheapest: dict[tuple[int, ...], float] = {}
        self.coming: dict[tuple[int, ...], tuple[float, float]] = {}
        """The cheapest state that was ever pushed: when, and what it had waited."""
        self.heap: list[State] = []
        self.buckets: dict[int, list[State]] = {}
        self.next_buckets: list[int] = []

    def run(self) -> None:
        nothing = [0] * len(self.arrivals)
        for j, times in enumerate(self.arrivals):
            at = times[0] + self.wake[j]
            q = bisect_right(times, at)
            served = (*nothing[:j], -1, *nothing[j + 1 :])
            self._push((at, q * at - self.sums[j][q], j, served, 0, Step(times[0], j, None)))
        if self.beam is None:
            while self.heap:
                self._visit(heappop(self.heap))
            return
        while self.next_buckets:
            number = heappop(self.next_buckets)
            self._keep_best(self.buckets.pop(number), (number + 1) * self.moment, self.beam)

    def _push(self, state: State) -> None:
        """Keep a state to be visited, unless another that is kept is there earlier and cheaper."""
        at, cost, _, served, _, _ = state
        if self.beam is not None:
            number = int(at / self.moment)
            bucket = self.buckets.get(number)
            if bucket is None:
                self.buckets[number] = [state]
                heappush(self.next_buckets, number)
            else:
                bucket.append(state)
            return
        before = self.coming.get(served)
        if before is None or cost < before[1]:
            self.coming[served] = (at, cost)
        elif at >= before[0]:
            return
        heappush(self.heap, state)

    def _keep_best(self, some: list[State], until: float, beam: int) -> None:
        """Visit those of one moment that cost least: what was waited, and what is sure to follow.

        Who waits at the end of the moment waits for the trip, too.
        """
        came = [bisect_right(times, until) for times in self.arrivals]
        arrived = [sums[q] for sums, q in zip(self.sums, came, strict=True)]
        ranked: list[tuple[float, int]] = []
        for index, state in enumerate(some):
            total = state[1]
            served = state[3]
            trips = self.trip[state[2]]
            for j in self.others[state[2]]:
                p = served[j]
                q = came[j]
                if q > p:
                    total += (q - p) * (until + trips[j]) - (arrived[j] - self.sums[j][p])
            ranked.append((total, index))
        ranked.sort()
        left = beam
        for _, index in ranked:
            if not left:
                return
            if self._visit(some[index]):
                left -= 1

    def _accrued(self, until: float, awake: int, served: Sequence[int]) -> float:
        """What those who are not served yet have waited until then."""
        total = 0.0
        for j in self.others[awake]:
            p = served[j]
            q = bisect_right(self.arrivals[j], until, p)
            total += (q - p) * until - (self.sums[j][q] - self.sums[j][p])
        return total

    def _visit(self, state: State) -> bool:
        """Leave the model in every way that makes sense; False where the state cannot win."""
        at, cost, i, served, own, step = state
        if cost >= self.cheapest.get(served, inf):
            return False
        if cost + self._accrued(at, i, served) >= self.best:
            return False
        self.cheapest[served] = cost
        arrivals, services = self.arrivals[i], self.services[i]
        waiting = [j for j in self.others[i] if served[j] < len(self.arrivals[j])]
        if not waiting:
            self.best, self.plan = cost, step
            return True
        k = bisect_right(arrivals, at, own)
        free = at + max(services[own:k], default=0.0)
        begin = at
        stop = inf
        first = min([self.arrivals[j][served[j]] for j in waiting])
        weighed = [0] * len(self.arrivals)
        """How many waited for a model when being away and back was last weighed."""
        while True:
            end = arrivals[k] if k < len(arrivals) else inf
            if first < end:
                for j in waiting:
                    p = served[j]
                    times = self.arrivals[j]
                    leave = max(begin, times[p])
                    if leave >= end:
                        continue
                    there = max(leave, free) + self.trip[i][j]
                    q = bisect_right(times, there, p)
                    after = cost + (q - p) * there - (self.sums[j][q] - self.sums[j][p])
                    if after < self.best:
                        done = list(served)
                        done[i] = k
                        done[j] = -1
                        self._push((there, after, j, tuple(done), p, Step(leave, j, step)))
                    if q - p >= 2 * weighed[j]:
                        weighed[j] = q - p
                        stop = min(stop, self._no_longer(there, i, k, j, p, q))
            if end >= stop:
                return True
            begin = end
            free = max(free, end + services[k])
            k += 1

    def _no_longer(self, there: float, i: int, k: int, j: int, p: int, q: int) -> float:
        """Return a time after which to leave i is never better than to have been at j by then.

        The trip wakes j `there`, when i was served up to k, and releases j's requests p to q. It
        turns back with i's next request. From the time when all that i was asked for meanwhile is
        answered, and j is asked for again, it has everything that a longer stay has; so it wins
        once the waits it saved exceed the waits it made.
        """
        arrivals = self.arrivals[i]
        if k == len(arrivals):
            return inf
        times, services = self.arrivals[j], self.services[j]
        turn = max(there, arrivals[k])
        over = max(turn, there + max(services[p:q]))
        asked = bisect_right(times, turn, q)
        for index in range(q, asked):
            over = max(over, times[index] + services[index])
        back = over + self.trip[j][i]
        late = bisect_right(arrivals, back, k)
        made = (late - k) * back - (self.sums[i][late] - self.sums[i][k])
        answered = back + max(self.services[i][k:late])
        again = times[asked] if asked < len(times) else 0.0
        return max(answered, again, there + made / (q - p))
