"""The two policies that llmux had in its first version and gave up, for comparison only.

They ran on the same queue of switch tasks as FIFO does in 2.4.0, so they are simulated on it, not
on our switchboard. What is known of them is their published rules and defaults: a policy was asked
only when a request arrived; while a switch was under way it was told that no model is active; a
task that was deferred could be neither taken back nor replaced. Assumed is what holds for
`fifo-2.4` here, too: the cool-down (`min_active_secs`, 5 s then) is 0, and hooks succeed.
"""

from __future__ import annotations

from math import ceil, floor

from llmux.simulate.fifo24 import TaskQueue
from llmux.simulate.hooks import HookTimes
from llmux.simulate.workload import Workload

MAX_WAIT = 15.0
"""Age in seconds of the oldest waiter at which an arrival switches at once."""
WINDOW = 2.0
"""Seconds for which CostAware gathers waiters."""
WAITERS_PER_SECOND = 0.5
"""So many waiters for each second of the switch make it worth its cost at once."""
FIRST_COST = 10.0
MOST_COST = 60.0
WEIGHT = 0.3
"""Of a new observation in the moving average of a pair's cost."""
GIVEN_UP = 300.0
"""Seconds after which a client gave up; here it asks again, and its wait goes on."""
TICK = 0.5
"""Seconds between two looks of TimeSlice's scheduler."""


class _Version1(TaskQueue):
    """Asks a rule at each arrival that has to wait."""

    def __init__(self, workload: Workload, hooks: HookTimes) -> None:
        super().__init__(workload, hooks)
        self._since = 0.0
        """When the active model was activated."""

    def _at_once(self, index: int) -> bool:
        """Say whether the bound is passed, or no model seems to be active."""
        first = self._waiting[self.jobs[index].model][0]
        late = self._now - self.jobs[first].arrival >= MAX_WAIT
        return late or self._active is None or self._target is not None

    def _release(self) -> None:
        super()._release()
        self._since = self._now


class CostAware(_Version1):
    """Serve for as long as the switch would cost; then go for a crowd, or after a short window."""

    def __init__(self, workload: Workload, hooks: HookTimes) -> None:
        super().__init__(workload, hooks)
        self._costs: dict[tuple[str, str], float] = {}
        self._deferred: set[str] = set()
        """Whoever has a deferred task; forgotten only when a switch to the model begins."""
        self._began = 0.0
        self._left: str | None = None

    def _ask(self, index: int) -> None:
        model = self.jobs[index].model
        if self._at_once(index):
            self._tasks.append(model)
            return
        assert self._active is not None
        cost = self._costs.get((self._active, model), FIRST_COST)
        served = self._now - self._since
        if served < cost:
            self._defer(index, cost - served)
        elif len(self._waiting[model]) >= max(1, ceil(WAITERS_PER_SECOND * cost)):
            self._tasks.append(model)
        else:
            self._defer(index, WINDOW)

    def _defer(self, index: int, seconds: float) -> None:
        model = self.jobs[index].model
        if model in self._deferred:
            self._remind(GIVEN_UP, ~index)
        else:
            self._deferred.add(model)
            self._remind(seconds, index)

    def _ring(self, index: int) -> None:
        given_up = index < 0
        index = ~index if given_up else index
        model = self.jobs[index].model
        if not given_up or index in self._waiting[model]:
            self._tasks.append(model)

    def _begin(self, model: str) -> None:
        super()._begin(model)
        self._deferred.discard(model)
        self._began, self._left = self._now, self._active

    def _release(self) -> None:
        super()._release()
        if self._left is not None and self._active is not None:
            pair = (self._left, self._active)
            seen = min(self._now - self._began, MOST_COST)
            old = self._costs.get(pair, seen)
            self._costs[pair] = old + WEIGHT * (seen - old)


class TimeSlice(_Version1):
    """Leave the active model when a look finds it empty, for the most waiters."""

    def __init__(self, workload: Workload, hooks: HookTimes) -> None:
        super().__init__(workload, hooks)
        self._looking = False

    def _ask(self, index: int) -> None:
        if self._at_once(index):
            self._tasks.append(self.jobs[index].model)
        else:
            self._look_later()

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self._remind((floor(self._now / TICK) + 1) * TICK - self._now, 0)

    def _ring(self, index: int) -> None:
        del index
        self._looking = False
        crowd = max(self._waiting, key=lambda model: len(self._waiting[model]))
        if not self._waiting[crowd]:
            return
        if self._active is not None and self._target is None and not self._inside:
            self._tasks.append(crowd)
        self._look_later()
