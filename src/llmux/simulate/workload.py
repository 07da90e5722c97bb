"""What is asked of the models: requests with an arrival, a model and a length.

A workload is a recipe; `start()` gives a fresh source that one simulation consumes. In an open
loop all arrivals are known beforehand (a trace, a Poisson stream). In a closed loop each user
asks again some time after the answer, so the arrivals depend on how well the users are served;
every user has random numbers of their own, so that two policies meet the same users.

This file refuses to know policies, boards and hooks. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log, sqrt
from random import Random
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Job:
    """One request: when it arrives, for whom, and how long it takes once it is admitted."""

    arrival: float
    model: str
    service: float
    priority: float = 1.0
    max_tokens: int | None = None
    """The client's own limit on the answer; the only hint of its length that a policy may see."""
    user: int = 0
    """Who asks, in a closed loop."""
    then: str | None = None
    """The model that the client says it asks for next, once this is answered."""


class Source(Protocol):
    """Requests for one simulation."""

    def first(self) -> Sequence[Job]:
        """Return the requests that do not depend on any answer."""
        ...

    def after(self, job: Job, end: float) -> Sequence[Job]:
        """Return what is asked because the answer to `job` ended at `end`."""
        ...


class Workload(Protocol):
    """A recipe for requests, the same at each start."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that may be asked for, sorted."""
        ...

    def start(self) -> Source:
        """Return a fresh source of these requests."""
        ...


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests whose arrivals are known beforehand, in order of arrival."""

    name: str
    jobs: tuple[Job, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that is asked for, sorted."""
        return tuple(sorted({job.model for job in self.jobs}))

    def start(self) -> Source:
        """Return a source of all the requests."""
        return _Given(self.jobs)


def open_loop(name: str, jobs: Iterable[Job]) -> OpenLoop:
    """Bring requests into the order of their arrival."""
    return OpenLoop(name, tuple(sorted(jobs, key=lambda job: job.arrival)))


@dataclass(frozen=True, slots=True)
class _Given:
    jobs: tuple[Job, ...]

    def first(self) -> Sequence[Job]:
        return self.jobs

    def after(self, job: Job, end: float) -> Sequence[Job]:
        del job, end
        return ()


@dataclass(frozen=True, slots=True)
class Users:
    """A closed loop of people: think, ask one model, read the answer, think again.

    `users` says how many people use each model, `think` is the mean of their exponential pause,
    `service` and `cv` describe the lengths. An answer ends in a tool's call with the chance
    `tools`; then the next request comes after `tool_secs` (mean, exponential) instead of a thought.
    After `requests` requests nobody asks any more.
    """

    name: str
    users: tuple[tuple[str, int], ...]
    think: float
    service: float = 8.0
    cv: float = 1.0
    requests: int = 3000
    seed: int = 0
    tools: float = 0.0
    tool_secs: float = 1.0

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that somebody uses, sorted."""
        return tuple(sorted({model for model, _ in self.users}))

    def start(self) -> Source:
        """Return fresh users."""
        return _People(self)


class _People:
    def __init__(self, recipe: Users) -> None:
        self._recipe = recipe
        self._left = recipe.requests
        models = [model for model, count in recipe.users for _ in range(count)]
        self._models = models
        self._dice = [Random(f"{recipe.seed}/user/{user}") for user in range(len(models))]

    def first(self) -> Sequence[Job]:
        think = self._recipe.think
        jobs = (job for user in range(len(self._models)) for job in self._ask(user, 0.0, think))
        return sorted(jobs, key=lambda job: job.arrival)

    def after(self, job: Job, end: float) -> Sequence[Job]:
        recipe = self._recipe
        return self._ask(job.user, end, recipe.think if job.then is None else recipe.tool_secs)

    def _ask(self, user: int, since: float, pause: float) -> Sequence[Job]:
        if self._left <= 0:
            return ()
        self._left -= 1
        dice = self._dice[user]
        arrival = since + dice.expovariate(1 / pause)
        recipe, model = self._recipe, self._models[user]
        service = lognormal(dice, recipe.service, recipe.cv)
        calls_tool = recipe.tools > 0 and dice.random() < recipe.tools
        return (Job(arrival, model, service, user=user, then=model if calls_tool else None),)


@dataclass(frozen=True, slots=True)
class Agents:
    """A closed loop of serial agents: a planner's call, then parallel calls of its workers.

    The planner asks `planner` once; after its answer `width` calls go to `worker` at once; when
    all of them are answered the planner asks again. Before each step lies a gap, uniform between
    0 and `gap` seconds. After `requests` requests no agent starts another step.
    """

    name: str
    planner: str = "planner"
    worker: str = "worker"
    agents: int = 1
    width: int = 4
    planner_service: float = 12.0
    worker_service: float = 6.0
    cv: float = 1.0
    gap: float = 2.0
    requests: int = 3000
    seed: int = 0
    hints: bool = False
    """Each call says which model is asked next."""

    @property
    def models(self) -> tuple[str, ...]:
        """Return the planner's and the workers' model."""
        return tuple(sorted({self.planner, self.worker}))

    def start(self) -> Source:
        """Return fresh agents."""
        return _Team(self)


class _Team:
    def __init__(self, recipe: Agents) -> None:
        self._recipe = recipe
        self._left = recipe.requests
        self._dice = [Random(f"{recipe.seed}/agent/{one}") for one in range(recipe.agents)]
        self._working = [0] * recipe.agents
        """Calls of each agent's workers that are still unanswered."""

    def first(self) -> Sequence[Job]:
        jobs = (job for agent in range(self._recipe.agents) for job in self._plan(agent, 0.0))
        return sorted(jobs, key=lambda job: job.arrival)

    def after(self, job: Job, end: float) -> Sequence[Job]:
        agent = job.user
        if not self._working[agent]:
            return self._work(agent, end)
        self._working[agent] -= 1
        return () if self._working[agent] else self._plan(agent, end)

    def _plan(self, agent: int, since: float) -> Sequence[Job]:
        recipe = self._recipe
        return self._step(agent, since, recipe.planner, recipe.planner_service, 1)

    def _work(self, agent: int, since: float) -> Sequence[Job]:
        recipe = self._recipe
        jobs = self._step(agent, since, recipe.worker, recipe.worker_service, recipe.width)
        self._working[agent] = len(jobs)
        return jobs

    def _step(self, agent: int, since: float, model: str, mean: float, width: int) -> Sequence[Job]:
        if self._left <= 0:
            return ()
        self._left -= width
        dice = self._dice[agent]
        arrival = since + dice.uniform(0.0, self._recipe.gap)
        recipe = self._recipe
        other = recipe.worker if model == recipe.planner else recipe.planner
        then = other if recipe.hints else None
        return [
            Job(arrival, model, lognormal(dice, mean, recipe.cv), user=agent, then=then)
            for _ in range(width)
        ]


def lognormal(dice: Random, mean: float, cv: float) -> float:
    """Draw from a lognormal distribution with this mean and coefficient of variation."""
    if cv == 0:
        return mean
    variance = log(1 + cv * cv)
    return dice.lognormvariate(log(mean) - variance / 2, sqrt(variance))
