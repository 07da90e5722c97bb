"""Moments that a policy has to have an answer for, each as a snapshot and its questions.

They are drawn from what gateways meet: the first request of all, hooks that nobody has timed yet,
hooks that take no time, a crowd, a model in quarantine. This file refuses to know any policy and
what a good answer is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import Any

from llmux.policy.base import ModelView, PolicyContext, Snapshot

NOW = 1000.0

Scene = tuple[str, Callable[[Sequence[float]], Snapshot]]
"""When it is, in the words of a sentence, and the snapshot, given the policy's rate windows."""


def _view(name: str, ages: Sequence[float] = (), weight: float = 1.0, **more: Any) -> ModelView:
    known: dict[str, Any] = {"sleep_seconds": 2.0, "wake_seconds": 10.0, "last_arrival": NOW - 1}
    known |= {"service_seconds": 4.0, "service_samples": 30}
    return ModelView(
        name=name,
        waiting=len(ages),
        oldest_wait=max(ages, default=0.0),
        sum_wait=sum(ages),
        weighted_waiting=weight * len(ages),
        weighted_sum_wait=weight * sum(ages),
        urgency=weight * max(ages, default=0.0),
        priority=weight,
        **{"phase": "asleep", **known, **more},
    )


def _new(name: str, ages: Sequence[float] = (), **more: Any) -> ModelView:
    nothing: dict[str, Any] = {"sleep_seconds": None, "wake_seconds": None, "last_arrival": None}
    nothing |= {"service_seconds": None, "service_samples": 0}
    return _view(name, ages, **{**nothing, **more})


def _awake(name: str, in_flight: int, **more: Any) -> ModelView:
    started = tuple(NOW - 1 - one for one in range(in_flight))
    return _view(name, phase="awake", in_flight=in_flight, started=started, **more)


def _world(*views: ModelView, **more: Any) -> Callable[[Sequence[float]], Snapshot]:
    awake = [view for view in views if view.phase == "awake"]
    active = awake[0] if awake else None
    known: dict[str, Any] = {
        "now": NOW,
        "phase": "idle" if active is None else "active",
        "active": None if active is None else active.name,
        "active_since": None if active is None else NOW - 100,
        "first_arrival": 0.0,
        "overall_service": 4.0,
        "overall_prior": 0.0,
    }

    def build(windows: Sequence[float]) -> Snapshot:
        models = {}
        for view in views:
            busy = 0.0 if view.last_arrival is None else 0.3
            models[view.name] = view._replace(arrivals=tuple(busy * tau for tau in windows))
        return Snapshot(**{**known, **more}, models=MappingProxyType(models))

    return build


SCENES: Sequence[Scene] = (
    (
        "the first request of all waits and nothing was learned yet",
        _world(
            _new("llama", [0.0]),
            _new("mistral"),
            first_arrival=NOW,
            overall_service=0.0,
            overall_prior=1.0,
        ),
    ),
    (
        "nobody is awake and two models are waited for",
        _world(_view("llama", [3.0, 1.0]), _view("mistral", [5.0]), _view("qwen")),
    ),
    (
        "the active model is busy",
        _world(_awake("llama", 4), _view("mistral", [7.0, 2.0]), _view("qwen", [1.0])),
    ),
    (
        "the active model has nothing to do",
        _world(_awake("llama", 0), _view("mistral", [0.0]), _view("qwen")),
    ),
    (
        "somebody has waited for an hour",
        _world(_awake("llama", 2), _view("mistral", [3600.0], max_wait=60.0), _view("qwen")),
    ),
    (
        "nothing was learned of the model that is waited for",
        _world(_awake("llama", 1), _new("mistral", [2.0]), _new("qwen")),
    ),
    (
        "hooks and answers take no time",
        _world(
            _awake("llama", 1, sleep_seconds=0.0, wake_seconds=0.0, service_seconds=0.0),
            _view("mistral", [0.0], sleep_seconds=0.0, wake_seconds=0.0, service_seconds=0.0),
            overall_service=0.0,
        ),
    ),
    (
        "a thousand wait",
        _world(_awake("llama", 300), _view("mistral", [0.5] * 1000), _view("qwen", [9.0] * 50)),
    ),
    (
        "requests have priorities",
        _world(_awake("llama", 1), _view("mistral", [4.0], 0.01), _view("qwen", [4.0], 100.0)),
    ),
    (
        "a wake has just failed and another model is in quarantine",
        _world(
            _view("llama", [4.0], last_failure=NOW - 1),
            _view("mistral", phase="quarantined"),
            _view("qwen", [2.0]),
        ),
    ),
    (
        "a switch is running",
        _world(
            _view("llama", [4.0], phase="waking"),
            _view("mistral", [2.0]),
            phase="waking",
            target="llama",
        ),
    ),
    ("there is one model only", _world(_view("llama", [1.0]))),
)


def questions(snapshot: Snapshot) -> Iterator[PolicyContext]:
    """Ask about each model that is waited for, the oldest first, as the board does."""
    active = None if snapshot.active is None else snapshot.models[snapshot.active]
    waiting = [view for view in snapshot.models.values() if view.waiting and view is not active]
    for view in sorted(waiting, key=lambda one: -one.oldest_wait):
        yield PolicyContext(
            target_model=view.name,
            active_model=snapshot.active,
            target_queue_depth=view.waiting,
            oldest_waiting=view.oldest_wait,
            active_in_flight=0 if active is None else active.in_flight,
            active_duration=0.0 if snapshot.active_since is None else NOW - snapshot.active_since,
            estimated_switch_cost=None
            if active is None or None in (active.sleep_seconds, view.wake_seconds)
            else (active.sleep_seconds or 0.0) + (view.wake_seconds or 0.0),
            snapshot=snapshot,
        )
