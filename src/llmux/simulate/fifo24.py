"""The order of llmux 2.4.0's FIFO, for comparison only: nothing else in llmux switches like this.

There each arrival for a model that is neither active nor on its way appends a switch task of its
own to one queue, and tasks run strictly one after the other. A task whose model is active by
then, or has nobody waiting, does nothing; so with three or more busy models stale tasks decide
the order. This file refuses to know our board and policies; when a task is appended is one method,
so that another rule of then can be compared on the same queue.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from heapq import heappop, heappush

from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome, Row, Spell
from llmux.simulate.workload import Job, Workload

NAME = "fifo-2.4"


class _What(IntEnum):
    ARRIVAL = 0
    ANSWER = 1
    SLEPT = 2
    WOKE = 3
    ALARM = 4


def simulate_fifo24(workload: Workload, hooks: HookTimes) -> Outcome:
    """Serve the workload in the original's order and return what became of each request."""
    return TaskQueue(workload, hooks).outcome(NAME)


class TaskQueue:
    """The queue of switch tasks; a request that has to wait appends one at once."""

    def __init__(self, workload: Workload, hooks: HookTimes) -> None:
        self.jobs: list[Job] = []
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.hooks: list[Spell] = []
        self.switches = 0
        self._source = workload.start()
        self._dice = hooks.start()
        self._now = 0.0
        self._number = 0
        self._heap: list[tuple[float, int, _What, int]] = []
        self._active: str | None = None
        self._inside = 0
        """Requests of the active model that are being answered."""
        self._target: str | None = None
        """Where the running task switches to; None while no task runs."""
        self._draining = False
        self._tasks: deque[str] = deque()
        self._waiting: dict[str, list[int]] = {model: [] for model in workload.models}

    def outcome(self, name: str) -> Outcome:
        """Serve the workload, once, and return what became of each request."""
        self._run()
        rows = [
            Row(job.model, job.arrival, start, end)
            for job, start, end in zip(self.jobs, self.starts, self.ends, strict=True)
        ]
        return Outcome(name, rows, self.hooks, self.switches)

    def _ask(self, index: int) -> None:
        """Decide what the arrival of this request, which waits, does to the queue."""
        self._tasks.append(self.jobs[index].model)

    def _ring(self, index: int) -> None:
        """Hear an alarm, which `_ask` may have set."""

    def _run(self) -> None:
        for job in self._source.first():
            self._issue(job)
        while self._heap:
            self._now, _, what, index = heappop(self._heap)
            match what:
                case _What.ARRIVAL:
                    self._arrive(index)
                case _What.ANSWER:
                    self._answer(index)
                case _What.SLEPT:
                    self._wake()
                case _What.WOKE:
                    self._release()
                case _What.ALARM:
                    self._ring(index)
            self._run_tasks()

    def _at(self, when: float, what: _What, index: int = 0) -> None:
        self._number += 1
        heappush(self._heap, (when, self._number, what, index))

    def _issue(self, job: Job) -> None:
        self._at(job.arrival, _What.ARRIVAL, len(self.jobs))
        self.jobs.append(job)
        self.starts.append(0.0)
        self.ends.append(0.0)

    def _arrive(self, index: int) -> None:
        model = self.jobs[index].model
        if model == self._active and self._target is None:
            self._admit(index)
            return
        self._waiting[model].append(index)
        if model != self._target:
            self._ask(index)

    def _remind(self, seconds: float, index: int) -> None:
        """Let `_ring` hear of this number after so many seconds."""
        self._at(self._now + seconds, _What.ALARM, index)

    def _admit(self, index: int) -> None:
        self._inside += 1
        self.starts[index] = self._now
        self._at(self._now + self.jobs[index].service, _What.ANSWER, index)

    def _answer(self, index: int) -> None:
        self._inside -= 1
        self.ends[index] = self._now
        for job in self._source.after(self.jobs[index], self._now):
            self._issue(job)

    def _run_tasks(self) -> None:
        """Go on with the task that runs, or start the next one that has something to do."""
        while self._target is None and self._tasks:
            model = self._tasks.popleft()
            if model != self._active and self._waiting[model]:
                self._begin(model)
        if self._draining and not self._inside:
            self._draining = False
            self._sleep()

    def _begin(self, model: str) -> None:
        self._target = model
        self._draining = True

    def _sleep(self) -> None:
        if self._active is None:
            self._wake()
            return
        self._at(self._hook("sleep", self._active), _What.SLEPT)
        self._active = None

    def _wake(self) -> None:
        assert self._target is not None
        self._at(self._hook("wake", self._target), _What.WOKE)

    def _hook(self, hook: str, model: str) -> float:
        ends = self._now + self._dice.seconds(hook, model)
        self.hooks.append(Spell(self._now, ends, hook, model))
        return ends

    def _release(self) -> None:
        assert self._target is not None
        self._active, self._target = self._target, None
        self.switches += 1
        released, self._waiting[self._active] = self._waiting[self._active], []
        for index in released:
            self._admit(index)
