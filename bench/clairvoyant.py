"""The least total wait that somebody could reach who knows every arrival and length beforehand.

The schedules compared are those that the switchboard can make: a model that is awake admits at
once until its drain begins, a drain waits for all that it admitted, nobody is woken without a
waiter, all waiters are released at a wake. For two models the search is exhaustive; for more it
keeps the `beam` best partial schedules of each moment, so it gives the best known.

It rests on two facts. After a wake at time T only three things matter: who is awake, how far the
other models' queues were served, and what was waited so far; of two partial schedules that agree
in the first two, the one that is there earlier and cheaper can do all that the other can. And a
drain may as well begin right at the wake, right after an arrival that it admits, or when the
first waiter for the other model comes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import accumulate
from math import inf
from typing import NamedTuple

from llmux.simulate.hooks import HookTimes
from llmux.simulate.workload import OpenLoop


class Step(NamedTuple):
    """A switch of a schedule: when the drain (or the first wake) begins, and where it goes."""

    leave: float
    target: int
    before: Step | None


State = tuple[float, float, int, tuple[int, ...], Step]
"""Time of the wake, wait so far, who is awake, first request not served of each model, and how."""


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
        self.sleep = [hooks.mean("sleep", model) for model in models]
        self.wake = [hooks.mean("wake", model) for model in models]
        self.others = [[j for j in range(len(models)) if j != i] for i in range(len(models))]
        self.best = most
        self.plan: Step | None = None
        self.beam = beam
        self.cheapest: dict[tuple[int, tuple[int, ...]], float] = {}
        self.heap: list[State] = []

    def run(self) -> None:
        nothing = tuple(0 for _ in self.arrivals)
        for j, times in enumerate(self.arrivals):
            self._wake(times[0] + self.wake[j], 0.0, nothing, Step(times[0], j, None))
        if self.beam is None:
            while self.heap:
                self._visit(heappop(self.heap))
            return
        moment = min(s + w for s, w in zip(self.sleep, self.wake, strict=True)) / 2
        while self.heap:
            until = self.heap[0][0] + moment
            some: list[State] = []
            while self.heap and self.heap[0][0] < until:
                some.append(heappop(self.heap))
            some.sort(key=self._score(until))
            for state in some[: self.beam]:
                self._visit(state)

    def _score(self, until: float) -> Callable[[State], float]:
        return lambda state: state[1] + self._accrued(until, state)

    def _accrued(self, until: float, state: State) -> float:
        """What those who are not served yet have waited until then."""
        _, _, awake, served, _ = state
        total = 0.0
        for j in self.others[awake]:
            p = served[j]
            q = bisect_right(self.arrivals[j], until, p)
            total += (q - p) * until - (self.sums[j][q] - self.sums[j][p])
        return total

    def _wake(self, at: float, cost: float, served: tuple[int, ...], step: Step) -> None:
        """Wake the target, release who waits, and keep the state unless it cannot win."""
        j = step.target
        p = served[j]
        q = bisect_right(self.arrivals[j], at, p)
        cost += (q - p) * at - (self.sums[j][q] - self.sums[j][p])
        key = (j, tuple(served[other] for other in self.others[j]))
        if cost < self.best and cost < self.cheapest.get(key, inf):
            heappush(self.heap, (at, cost, j, served, step))

    def _visit(self, state: State) -> None:
        """Leave the model that was woken in every way that makes sense."""
        at, cost, i, served, step = state
        others = self.others[i]
        key = (i, tuple(served[j] for j in others))
        if cost >= self.cheapest.get(key, inf) or cost + self._accrued(at, state) >= self.best:
            return
        self.cheapest[key] = cost
        arrivals, services = self.arrivals[i], self.services[i]
        waiting = [j for j in others if served[j] < len(self.arrivals[j])]
        if not waiting:
            self.best, self.plan = cost, step
            return
        first = [self.arrivals[j][served[j]] for j in waiting]
        k = bisect_right(arrivals, at, served[i])
        free = at + max(services[served[i] : k], default=0.0)
        begin = at
        stop = self._no_longer(at, free, i, k, waiting, served)
        while True:
            end = arrivals[k] if k < len(arrivals) else inf
            done = tuple(k if m == i else p for m, p in enumerate(served))
            for j, comes in zip(waiting, first, strict=True):
                leave = max(begin, comes)
                if leave < end:
                    awake = max(leave, free) + self.sleep[i] + self.wake[j]
                    self._wake(awake, cost, done, Step(leave, j, step))
            if end >= stop:
                return
            begin = end
            free = max(free, end + services[k])
            k += 1

    def _no_longer(
        self, at: float, free: float, i: int, k: int, waiting: Sequence[int], served: Sequence[int]
    ) -> float:
        """Return a time after which leaving is never better than a round trip made before it.

        The trip leaves when the first other waiter is there, serves who waits, and is back. From
        the time when all that i was asked for meanwhile is answered, this state has everything
        that a longer stay has; so it wins once the waits it saved exceed the waits it made.
        """
        j = min(waiting, key=lambda other: self.arrivals[other][served[other]])
        arrivals, services = self.arrivals[i], self.services[i]
        comes = self.arrivals[j][served[j]]
        leave = max(at, comes)
        k = bisect_right(arrivals, leave, k)
        start = bisect_right(arrivals, at, served[i])
        for index in range(start, k):
            free = max(free, arrivals[index] + services[index])
        there = max(leave, free) + self.sleep[i] + self.wake[j]
        q = bisect_right(self.arrivals[j], there, served[j])
        over = there + max(self.services[j][served[j] : q])
        back = over + self.sleep[j] + self.wake[i]
        late = bisect_right(arrivals, back, k)
        if bisect_right(arrivals, over, k) == k:
            return inf  # nobody would call the trip back
        made = (late - k) * back - (self.sums[i][late] - self.sums[i][k])
        answered = back + max(services[k:late])
        return max(answered, there + made / (q - served[j]))
