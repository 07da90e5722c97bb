"""The reference of the benchmark is a schedule that the board can make, and none is better."""

from __future__ import annotations

from itertools import pairwise, product
from math import inf
from random import Random

import pytest
from bench.clairvoyant import best_schedule, least_wait

from llmux.errors import PolicyError
from llmux.policy import Decision, FifoPolicy, PolicyContext, Skip, SwitchNow, SwitchPolicy
from llmux.policy.balance import BalancePolicy
from llmux.simulate.engine import simulate
from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome
from llmux.simulate.synthetic import poisson
from llmux.simulate.workload import Job, OpenLoop, open_loop


class Scripted(SwitchPolicy):
    """Follows a list of (when, target); what it does not say does not happen."""

    def __init__(self, steps: list[tuple[float, str]]) -> None:
        self.steps = steps
        self.made = 0

    def on_pending_request(self, context: PolicyContext) -> Decision:
        if self.made == len(self.steps):
            return Skip(ask_again=1e5)
        when, target = self.steps[self.made]
        now = context.snapshot.now
        if now < when:
            return Skip(ask_again=when - now)
        if not context.snapshot.models[target].waiting:
            return Skip(ask_again=1e5)
        return SwitchNow(target)

    def on_switch_complete(self, from_model: str | None, to_model: str, duration: float) -> None:
        self.made += 1


def total(outcome: Outcome) -> float:
    return sum(row.wait for row in outcome.rows)


def small(seed: int, models: int, count: int) -> OpenLoop:
    dice = Random(seed)
    made = [
        Job(dice.uniform(0, 12 * count), "abc"[dice.randrange(models)], dice.expovariate(1 / 5))
        for _ in range(count)
    ]
    return open_loop("small", made)


@pytest.mark.parametrize("cost", [1.0, 10.0, 40.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_board_can_make_the_best_schedule(seed: int, cost: float) -> None:
    asked, hooks = poisson("two", {"a": 0.2, "b": 0.1}, secs=400, seed=seed), HookTimes(cost)
    least = least_wait(asked, hooks)
    assert total(simulate(asked, Scripted(best_schedule(asked, hooks)), hooks)) == pytest.approx(
        least
    )
    for policy in (FifoPolicy(), BalancePolicy()):
        assert total(simulate(asked, policy, hooks)) >= least - 1e-6


@pytest.mark.parametrize("models", [2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_no_schedule_of_a_few_requests_is_better(seed: int, models: int) -> None:
    """Leaving late, early or on the dot: whatever is tried waits at least as long."""
    asked, hooks = small(seed, models, 7 - models), HookTimes(3.0)
    moments = sorted({job.arrival for job in asked.jobs})
    least = least_wait(asked, hooks)
    found = inf
    for targets in product(asked.models, repeat=3):
        if any(one == two for one, two in pairwise(targets)):
            continue
        for whens in product(moments, repeat=3):
            steps = list(zip(whens, targets, strict=True))
            found = min(found, _attempt(asked, steps, hooks))
    assert found >= least - 1e-6


def _attempt(asked: OpenLoop, steps: list[tuple[float, str]], hooks: HookTimes) -> float:
    """The wait of a script, infinite where it leaves somebody waiting."""
    policy = Scripted([*steps, *((0.0, model) for model in asked.models * 2)])
    try:
        return total(simulate(asked, policy, hooks))
    except PolicyError:
        return inf


def test_one_who_waits_may_be_kept_for_a_crowd_that_comes_later() -> None:
    """Nobody is woken without a waiter, so the one at 1 s is the only way to be there in time.

    Served at once, `b` would be left for `a` again at 21 s, and two hundred would wait for it.
    """
    asked = open_loop(
        "case",
        [
            *(Job(t, "a", 1.0) for t in (0.0, 20.5)),
            *(Job(50.0, "a", 1.0) for _ in range(200)),
            Job(1.0, "b", 1.0),
            *(Job(100.0, "b", 1.0) for _ in range(200)),
        ],
    )
    hooks = HookTimes(10.0)
    steps = best_schedule(asked, hooks)
    assert steps == [(0.0, "a"), (50.0, "b")], "left as soon as the first crowd is in"
    assert least_wait(asked, hooks) == pytest.approx(9 + (61 - 1))
    assert total(simulate(asked, Scripted(steps), hooks)) == pytest.approx(9 + (61 - 1))


def test_a_beam_never_beats_the_whole_search() -> None:
    asked, hooks = (
        poisson("three", {"a": 0.1, "b": 0.1, "c": 0.1}, secs=120, seed=2),
        HookTimes(9.0),
    )
    whole = least_wait(asked, hooks)
    assert whole <= least_wait(asked, hooks, beam=5) <= total(simulate(asked, FifoPolicy(), hooks))
