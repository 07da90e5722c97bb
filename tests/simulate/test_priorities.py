"""Priorities in a whole day: the heavier model waits less, and the light one is still served."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from llmux.core.lane import LaneSettings
from llmux.policy import FifoPolicy, SwitchPolicy
from llmux.policy.balance import BalancePolicy
from llmux.simulate.driver import drive
from llmux.simulate.engine import simulate
from llmux.simulate.hooks import HookTimes
from llmux.simulate.workload import Job, OpenLoop, open_loop
from llmux.testing import run_virtual


def crowd(**priorities: float) -> OpenLoop:
    """Four models asked alike; the requests of some count more or less."""
    dice = Random(11)
    now, jobs = 0.0, []
    for _ in range(800):
        now += dice.expovariate(1 / 2.0)
        model = dice.choice("abcd")
        jobs.append(Job(now, model, dice.expovariate(1 / 4), priorities.get(model, 1.0)))
    return open_loop("crowd", jobs)


def waits(kind: type[SwitchPolicy], asked: OpenLoop, model: str) -> list[float]:
    outcome = simulate(asked, kind(), HookTimes(11.0))
    return [row.wait for row in outcome.rows if row.model == model]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("kind", [FifoPolicy, BalancePolicy])
def test_who_counts_more_waits_less_and_who_counts_less_waits_longer(
    kind: type[SwitchPolicy],
) -> None:
    usual = mean(waits(kind, crowd(), "c"))
    heavy = mean(waits(kind, crowd(c=8.0), "c"))
    light = mean(waits(kind, crowd(c=0.2), "c"))
    assert heavy < 0.9 * usual
    assert light > 1.1 * usual


@pytest.mark.parametrize("kind", [FifoPolicy, BalancePolicy])
def test_low_never_means_never(kind: type[SwitchPolicy]) -> None:
    """A hundredth of the usual, and three busy models beside it: all are served."""
    asked = crowd(c=0.01)
    outcome = simulate(asked, kind(), HookTimes(11.0))
    assert all(row.start is not None for row in outcome.rows)


@pytest.mark.parametrize("kind", [FifoPolicy, BalancePolicy])
def test_both_engines_tell_the_same_story_of_priorities_bounds_and_places(
    kind: type[SwitchPolicy],
) -> None:
    asked = crowd(a=4.0, b=0.3)
    dice = Random(3)
    asked = OpenLoop(
        "mixed",
        tuple(replace(job, priority=dice.choice([job.priority, 2.0])) for job in asked.jobs[:400]),
    )
    lanes = {
        "a": LaneSettings("a", max_in_flight=2, max_wait=60.0),
        "b": LaneSettings("b", max_in_flight=1),
        "c": LaneSettings("c", priority=3.0, max_wait=30.0),
        "d": LaneSettings("d"),
    }
    heap = simulate(asked, kind(), HookTimes(11.0), settings=lanes)
    driver = run_virtual(drive(asked, kind(), HookTimes(11.0), settings=lanes))
    assert heap.switches == driver.switches
    for mine, theirs in zip(heap.rows, driver.rows, strict=True):
        assert mine.model == theirs.model
        assert mine.start is not None
        assert mine.start == pytest.approx(theirs.start, abs=1e-6)
        assert mine.end == pytest.approx(theirs.end, abs=1e-6)
