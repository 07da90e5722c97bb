"""A policy whose answer is the same for all who wait is asked once a moment, by both engines."""

from __future__ import annotations

from random import Random
from typing import ClassVar

import pytest

from llmux.policy import Decision, Defer, PolicyContext, Skip, SwitchNow, SwitchPolicy
from llmux.policy.balance import BalancePolicy
from llmux.simulate.driver import drive
from llmux.simulate.engine import simulate
from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome
from llmux.simulate.synthetic import poisson
from llmux.testing import run_virtual

ASKED = poisson("four", dict.fromkeys("abcd", 0.06), secs=600.0, seed=3)


class ByTheMoment(SwitchPolicy):
    """Answers from the snapshot alone, and says so."""

    same_for_all: ClassVar[bool] = True

    def __init__(self, *, defers: bool = False) -> None:
        self.defers = defers
        self.asked: list[float] = []

    def on_pending_request(self, context: PolicyContext) -> Decision:
        world = context.snapshot
        self.asked.append(world.now)
        dice = Random(repr(world.now))
        if self.defers:
            return Defer(dice.uniform(0.0, 5.0))
        waiting = [view.name for view in world.models.values() if view.waiting]
        switch, stay = SwitchNow(dice.choice(waiting)), Skip(dice.uniform(0.1, 5.0))
        return switch if dice.random() < 0.5 else stay


class OneByOne(ByTheMoment):
    """The same without saying so."""

    same_for_all: ClassVar[bool] = False


class Doubting(BalancePolicy):
    """Balance with a mind of its own, which may look at who is asked about."""

    def on_pending_request(self, context: PolicyContext) -> Decision:
        return super().on_pending_request(context)


def books(outcome: Outcome) -> list[tuple[float | None, float]]:
    return [(row.start, row.end) for row in outcome.rows]


def served(policy: SwitchPolicy, engine: str) -> Outcome:
    hooks = HookTimes(5.0)
    if engine == "heap":
        return simulate(ASKED, policy, hooks)
    return run_virtual(drive(ASKED, policy, hooks))


@pytest.mark.parametrize("engine", ["heap", "driver"])
def test_it_is_asked_once_a_moment_and_the_answer_holds_for_all(engine: str) -> None:
    together, apart = ByTheMoment(), OneByOne()
    assert books(served(together, engine)) == books(served(apart, engine))
    assert len(set(apart.asked)) < len(apart.asked)
    assert len(together.asked) == len(set(together.asked)) == len(set(apart.asked))


@pytest.mark.parametrize("engine", ["heap", "driver"])
def test_a_defer_is_for_one_model_and_each_is_asked_about(engine: str) -> None:
    together, apart = ByTheMoment(defers=True), OneByOne(defers=True)
    assert books(served(together, engine)) == books(served(apart, engine))
    assert together.asked == apart.asked


def test_balance_says_so_and_a_subclass_that_answers_itself_does_not() -> None:
    assert BalancePolicy().same_for_all
    assert not Doubting().same_for_all
    assert books(served(BalancePolicy(), "heap")) == books(served(Doubting(), "heap"))
