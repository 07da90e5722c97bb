"""An answer that holds for all who wait does what as many answers, one for each, would do."""

from __future__ import annotations

from random import Random

from llmux.core import events as ev
from llmux.core.lane import LaneSettings
from llmux.policy.base import Decision, Skip, SwitchNow
from tests.core.world import World

NAMES = "abcde"


def crowd(seed: int) -> World:
    """Somebody may be awake and busy, others are waited for, and the policy has been asked."""
    dice = Random(seed)
    world = World(*NAMES)
    if dice.random() < 0.8:
        world.wake("a")
    for _ in range(dice.randint(1, 6)):
        world.now += dice.random()
        world.arrive(dice.choice(NAMES))
    if dice.random() < 0.5 and world.consults:  # they were told to wait once before
        for model in tuple(world.consults):
            world.answer(model, Skip(2.0))
        world.now += 1.0
        world.ring("ask", min(about for kind, about in world.alarms if isinstance(about, str)))
    if world.turn:
        world.end_turn()
    return world


def whatever(seed: int) -> Decision:
    dice = Random(f"answer {seed}")
    target = dice.choice((None, *NAMES))
    if dice.random() < 0.5:
        return SwitchNow(target, free_ride=dice.random() < 0.5)
    return Skip(dice.choice((None, 0.5, 3.0)), target)


def test_one_answer_for_all_is_as_good_as_one_for_each() -> None:
    several = 0
    for seed in range(100):
        together, apart, answer = crowd(seed), crowd(seed), whatever(seed)
        several += len(together.consults) > 1
        if together.consults:
            first, number = next(iter(together.consults.items()))
            together.consults.clear()
            together.tell(ev.PolicyAnswered(first, number, answer, for_all=True))
        for model in tuple(apart.consults):
            apart.answer(model, answer)
        assert together.form() == apart.form(), f"seed {seed}"
        assert together.alarms == apart.alarms, f"seed {seed}"
        assert together.told() == apart.told(), f"seed {seed}"
    assert several > 30


def test_the_first_model_may_be_gone_and_the_others_still_hear_it() -> None:
    world = World("a", "b", "c")
    world.wake("a")
    world.arrive("b")
    world.arrive("c")
    world.end_turn()
    number = world.consults["b"]
    world.reload(LaneSettings("a"), LaneSettings("c"))
    world.consults.clear()
    world.tell(ev.PolicyAnswered("b", number, SwitchNow(), for_all=True))
    assert world.started == ("a", "c")


def test_an_answer_to_an_earlier_question_is_not_taken_for_all() -> None:
    """Nobody is asked about any more: it changes nothing."""
    world = World("a", "b")
    world.wake("a")
    world.arrive("b")
    world.end_turn()
    number = world.consults["b"]
    world.answer("b", Skip(3.0))
    world.tell(ev.PolicyAnswered("b", number, SwitchNow(), for_all=True))
    assert world.started is None
    assert world.alarms == {("ask", "b"): world.now + 3.0}
