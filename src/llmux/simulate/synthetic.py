"""Synthetic workloads from seeds: the yardstick's, and those that the command line spells.

A workload is spelled `KIND:key=value,...`, where a key that is not a setting of the kind is a
model and its value the model's rate (arrivals per second) or number of users. The names of the
yardstick's workloads stand for themselves. This file refuses to know what becomes of requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from math import isfinite
from random import Random
from typing import Final

from llmux.errors import ConfigError
from llmux.simulate.workload import Agents, Job, OpenLoop, Users, Workload, lognormal, open_loop

Rates = Mapping[str, float]


def poisson(
    name: str,
    rates: Rates,
    *,
    secs: float = 3600.0,
    service: float = 6.0,
    cv: float = 1.0,
    seed: int = 0,
) -> OpenLoop:
    """Each model is asked at a constant rate (per second), independently."""
    jobs: list[Job] = []
    for model, rate in rates.items():
        dice = Random(f"{seed}/{name}/{model}")
        now = dice.expovariate(rate)
        while now < secs:
            jobs.append(Job(now, model, lognormal(dice, service, cv)))
            now += dice.expovariate(rate)
    return open_loop(name, jobs)


def bursts(
    name: str,
    rates: Rates,
    *,
    on: float = 60.0,
    off: float = 240.0,
    secs: float = 3600.0,
    service: float = 6.0,
    cv: float = 1.0,
    seed: int = 0,
) -> OpenLoop:
    """Each model is asked at its rate during exponential `on` times, and not at all between.

    Whether a model begins on or off is drawn as in a stream that has run for ever.
    """
    jobs: list[Job] = []
    for model, rate in rates.items():
        dice = Random(f"{seed}/{name}/{model}")
        begin, active = 0.0, dice.random() < on / (on + off)
        while begin < secs:
            end = begin + dice.expovariate(1 / (on if active else off))
            now = begin + dice.expovariate(rate)
            while active and now < min(end, secs):
                jobs.append(Job(now, model, lognormal(dice, service, cv)))
                now += dice.expovariate(rate)
            begin, active = end, not active
    return open_loop(name, jobs)


def alternation(
    *, every: float = 2.0, requests: int = 600, service: float = 3.0, cv: float = 0.5, seed: int = 0
) -> OpenLoop:
    """Two models are asked in turn, at fixed intervals: the hardest case for taking turns."""
    dice = Random(f"{seed}/alternation")
    jobs = [
        Job(number * every, "ab"[number % 2], lognormal(dice, service, cv))
        for number in range(requests)
    ]
    return open_loop("alternation", jobs)


def batch(*, secs: float = 3600.0, seed: int = 0) -> OpenLoop:
    """Somebody chats with one model while 200 requests at a time come for another."""
    chat = poisson("chat", {"chat": 0.1}, secs=secs, service=8.0, seed=seed)
    dice = Random(f"{seed}/batch")
    jobs = list(chat.jobs)
    begin = 300.0
    while begin < secs:
        jobs += [
            Job(begin + dice.uniform(0.0, 5.0), "batch", lognormal(dice, 6.0, 1.0))
            for _ in range(200)
        ]
        begin += 1500.0
    return open_loop("batch", jobs)


def _alphabet(count: int, rate: float) -> Rates:
    return {"abcdefgh"[index]: rate for index in range(count)}


YARDSTICK: Final[Mapping[str, Callable[[int], OpenLoop]]] = {
    "poisson2": lambda seed: poisson("poisson2", _alphabet(2, 0.15), seed=seed),
    "skew": lambda seed: poisson("skew", {"hot": 0.4, "rare": 0.01}, seed=seed),
    "poisson5": lambda seed: poisson("poisson5", _alphabet(5, 0.06), secs=2400.0, seed=seed),
    "bursts3": lambda seed: bursts("bursts3", _alphabet(3, 0.6), seed=seed),
    "alternation": lambda seed: alternation(seed=seed),
    "batch": lambda seed: batch(seed=seed),
    "long": lambda seed: poisson("long", _alphabet(2, 0.03), secs=7200.0, service=60.0, seed=seed),
}
"""The open-loop workloads of the yardstick, from a seed."""

CLOSED: Final[Mapping[str, Callable[[int], Workload]]] = {
    "users24": lambda seed: Users(
        "users24", (("a", 12), ("b", 8), ("c", 4)), think=30.0, seed=seed
    ),
    "users22": lambda seed: Users("users22", (("a", 20), ("b", 2)), think=20.0, seed=seed),
    "tools11": lambda seed: Users(
        "tools11", (("a", 1), ("b", 1)), think=30.0, seed=seed, tools=0.9
    ),
    "tools44": lambda seed: Users(
        "tools44", (("a", 4), ("b", 4)), think=30.0, seed=seed, tools=0.8
    ),
    "tools333": lambda seed: Users(
        "tools333", (("a", 3), ("b", 3), ("c", 3)), think=30.0, seed=seed, tools=0.8
    ),
    "agent": lambda seed: Agents("agent", seed=seed),
    "agent-hints": lambda seed: Agents("agent-hints", seed=seed, hints=True),
}
"""The closed-loop workloads of the yardstick, from a seed."""

_SETTINGS: Final[Mapping[str, Mapping[str, float]]] = {
    "poisson": {"secs": 3600.0, "service": 6.0, "cv": 1.0},
    "bursts": {"on": 60.0, "off": 240.0, "secs": 3600.0, "service": 6.0, "cv": 1.0},
    "closed": {
        "think": 30.0,
        "service": 8.0,
        "cv": 1.0,
        "requests": 3000.0,
        "tools": 0.0,
        "tool_secs": 1.0,
    },
}

_FRACTIONS: Final = ("think", "service", "cv", "tools", "tool_secs")
"""Settings of a closed loop that need not be whole numbers."""
_MAY_BE_0: Final = ("cv", "tools")
_LARGEST: Final = 1_000_000_000
"""What no number of a workload is above: thirty years in seconds."""
_MOST: Final = 10_000_000
"""Requests that a workload may have: more would fill the memory before it is simulated."""


def workload(spelled: str, seed: int = 0) -> Workload:
    """Read `poisson:a=.15,b=.15,secs=3600` and its like, or a name of the yardstick.

    Raises ConfigError that names the part which is wrong and what would do.
    """
    named: dict[str, Callable[[int], Workload]] = {**YARDSTICK, **CLOSED}
    kind, colon, rest = spelled.partition(":")
    if not colon and kind in named:
        return named[kind](seed)
    if kind not in _SETTINGS or not colon:
        known = [*(f"{one}:..." for one in _SETTINGS), *named]
        near = get_close_matches(kind, [*_SETTINGS, *named], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"--workload {spelled}: there is no workload {kind!r}; {hint}")
    settings = dict(_SETTINGS[kind])
    models: dict[str, float] = {}
    said: set[str] = set()
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        number = _number(value)
        if not key or number is None or (number == 0 and key not in _MAY_BE_0):
            raise ConfigError(
                f"--workload {spelled}: {part!r} is not NAME=NUMBER with a number above 0"
            )
        if number > _LARGEST:
            raise ConfigError(f"--workload {spelled}: {part!r} is more than {_LARGEST:,}")
        if key in said:
            raise ConfigError(f"--workload {spelled}: {key!r} stands twice")
        said.add(key)
        if key == "tools" and key in settings and number > 1:
            raise ConfigError(
                f"--workload {spelled}: {part!r} is not a share of answers; 0.8 is four of five"
            )
        if kind == "closed" and key not in _FRACTIONS and number % 1:
            of = "requests" if key == "requests" else "users"
            raise ConfigError(f"--workload {spelled}: {part!r} is not a whole number of {of}")
        _check_name(spelled, key, settings)
        (settings if key in settings else models)[key] = number
    if not models:
        two = "a=12,b=8" if kind == "closed" else "a=0.15,b=0.15"
        raise ConfigError(f"--workload {spelled}: no model is named; {kind}:{two} names two")
    if (size := _size(settings, models)) > _MOST:
        raise ConfigError(
            f"--workload {spelled}: that would be about {size:,.0f} requests; {_MOST:,} is the most"
        )
    if kind == "closed":
        requests = int(settings.pop("requests"))
        users = tuple((model, int(count)) for model, count in models.items())
        return Users(spelled, users, requests=requests, seed=seed, **settings)
    make = poisson if kind == "poisson" else bursts
    made = make(spelled, models, seed=seed, **settings)
    if not made.jobs:
        raise ConfigError(
            f"--workload {spelled}: no request comes of it; a larger rate or secs would do"
        )
    return made


def _check_name(spelled: str, key: str, settings: Mapping[str, float]) -> None:
    """Refuse a model that is named as another kind's setting: it is hardly meant as a model."""
    others = [kind for kind, those in _SETTINGS.items() if key in those]
    if others and key not in settings:
        raise ConfigError(
            f"--workload {spelled}: {key!r} is a setting of {' and '.join(others)} alone,"
            " and no model may be named so"
        )


def _size(settings: Mapping[str, float], models: Rates) -> float:
    """How much there would be to draw, roughly: requests, users, and turns of on and off."""
    if "requests" in settings:
        return max(settings["requests"], sum(models.values()))
    secs = settings["secs"]
    if "on" not in settings:
        return secs * sum(models.values())
    on, off = settings["on"], settings["off"]
    return secs * (sum(models.values()) * on + 2 * len(models)) / (on + off)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None
