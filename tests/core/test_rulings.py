"""Why it switched, or did not: each rule leaves a ruling, and each ruling is a true sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmux.core import events as ev
from llmux.core.explain import everybody, explain
from llmux.core.lane import LaneSettings, Phase, Wish
from llmux.core.rulings import KEPT, REPEATED, Ruling, Rulings
from llmux.core.sentences import (
    LONGEST,
    RULES,
    alternatives,
    decision,
    numbers,
    policy_rule,
    said,
    secs,
    sentence,
)
from llmux.errors import NotRegisteredError
from llmux.policy.base import Defer, Reason, Skip, SwitchNow
from tests.core.test_board_property import Seeded, facts, happen, lane
from tests.core.world import World


def busy(*models: str | LaneSettings, **common: Any) -> World:
    """The first model is awake and answers one request."""
    world = World(*models, **common)
    world.wake("a")
    return world


def asked(world: World, model: str = "b", waits: float = 4.0) -> World:
    """Two wait for the model, `waits` seconds and none, and the policy is asked."""
    world.arrive(model)
    world.now += waits
    world.arrive(model)
    world.end_turn()
    return world


def newest(world: World) -> Ruling:
    return world.board.rulings.newest()[0]


def rulings(world: World) -> list[str]:
    """The rules that fired, oldest first."""
    return [one.rule for one in sorted(world.board.rulings.newest(), key=lambda one: one.number)]


# ---- one story for each rule ------------------------------------------------------------------


def skipped() -> World:
    world = asked(busy("a", "b"))
    world.answer("b", Skip(3.0, reason="a is still answering 1"))
    return world


def skipped_without_a_word() -> World:
    world = asked(busy("a", "b"))
    world.answer("b", Skip())
    return world


def skipped_cold() -> World:
    world = World("b")
    world.arrive("b")
    world.end_turn()
    world.answer("b", Skip())
    return world


def deferred() -> World:
    world = asked(busy("a", "b"))
    world.answer("b", Defer(8.0))
    return world


def deferred_for_something() -> World:
    world = asked(busy("a", "b"))
    world.answer("b", Defer(_Never(), reason="the batch is not full"))
    return world


def preferred() -> World:
    world = busy("a", "b", "c")
    world.arrive("c")
    world = asked(world)
    world.answer("c", SwitchNow())
    world.answer("b", SwitchNow("c", reason="c is cheaper"))
    return world


def cold() -> World:
    world = asked(World("b"))
    world.answer("b", SwitchNow())
    return world


def wished() -> World:
    world = asked(busy("a", "b"))
    world.answer("b", SwitchNow(reason="it is Tuesday"))
    return world


def matured() -> World:
    world = deferred()
    world.now += 8.0
    world.ring("defer", "b")
    return world


def fresh() -> World:
    world = asked(busy("a", "b", min_active=30.0), waits=12.0)
    world.answer("b", SwitchNow())
    return world


def fresh_no_more() -> World:
    world = fresh()
    world.ring("min_active", "a")
    return world


def overdue() -> World:
    world = asked(busy("a", "b", max_wait=20.0))
    world.answer("b", Skip())
    world.ring("overdue", "b")
    return world


def owed() -> World:
    world = busy(LaneSettings("a", max_in_flight=1, max_wait=5.0), "b")
    world.arrive("a")
    world.now += 4.0
    asked(world, waits=0.5)
    world.ring("overdue", "a")
    world.answer("b", SwitchNow())
    return world


def ordered() -> World:
    world = busy("a", "b")
    world.order("b")
    return world


def announced() -> World:
    world = World("a", "b", hint_secs=2.0)
    world.leave(world.wake("a"))
    world.announce("b")
    world.fifo()
    return world


def restored() -> World:
    world = broken()
    world.hook_ends()
    return world


def broken() -> World:
    world = busy("a", "b")
    world.leave(next(iter(world.inside)))
    world.arrive("b")
    world.fifo()
    world.hook_ends()
    world.hook_ends(ok=False)
    return world


def abandoned() -> World:
    world = busy("a", "b")
    wanted = world.arrive("b")
    world.fifo()
    world.leave(wanted)
    return world


def abandoned_late() -> World:
    world = abandoned_asleep("b")
    world.hook_ends()
    return world


def abandoned_asleep(*others: str) -> World:
    world = World("a", "b", "c")
    world.leave(world.wake("a"))
    wanted = world.arrive("b")
    world.fifo()
    for other in others:
        if other != "b":
            world.arrive(other)
    world.leave(wanted)
    return world


def retargeted() -> World:
    world = abandoned_asleep("c")
    world.hook_ends()
    return world


def unwilling(left: str = "awake") -> World:
    world = busy("a", "b")
    world.leave(next(iter(world.inside)))
    world.arrive("b")
    world.fifo()
    world.hook_ends(ok=False, left=left)
    return world


def stuck() -> World:
    world = unwilling()
    world.fifo()
    return world


def unclear() -> World:
    return unwilling("unclear")


def beside_the_unclear() -> World:
    world = unclear()
    world.fifo()
    return world


def released() -> World:
    world = unclear()
    world.recovers("a")
    return world


def dead() -> World:
    world = busy("a", "b")
    world.answered(next(iter(world.inside)))
    world.dies("a")
    return world


def hung() -> World:
    world = busy("a", "b")
    world.answered(next(iter(world.inside)))
    world.dies("a", hung=True)
    return world


def rescued() -> World:
    world = busy("a")
    ticket = next(iter(world.inside))
    world.answered(ticket)
    world.dies("a")
    world.returns(ticket)
    return world


def cut() -> World:
    world = busy("a", "b", drain_timeout=600.0)
    world.arrive("b")
    world.fifo()
    world.ring("drain", "a")
    return world


def timed_out() -> World:
    world = busy("a", "b", request_timeout=30.0)
    late = world.arrive("b")
    world.fifo()
    world.ring("deadline", late)
    return world


def adopted() -> World:
    world = World("a", "b", survey=True)
    world.surveyed("a")
    return world


class _Never:
    def __await__(self) -> Any:
        raise AssertionError("the board awaited something")


TOLD: list[tuple[str, str, Callable[[], World], str]] = [
    ("skip", "b", skipped, "stayed on a: a is still answering 1; will look again in 3 s"),
    (
        "skip",
        "b",
        skipped_without_a_word,
        "stayed on a: 2 waiting for b have waited 4 s together, and the policy says not yet; "
        "will look again in 5 s",
    ),
    (
        "skip",
        "b",
        skipped_cold,
        "did not wake b yet: 1 waiting for b has waited 0 s, and the policy says not yet; "
        "will look again in 5 s",
    ),
    (
        "defer",
        "b",
        deferred,
        "stayed on a: 2 waiting for b have waited 4 s together, and the policy wants to wait; "
        "will go in 8 s",
    ),
    (
        "defer",
        "b",
        deferred_for_something,
        "stayed on a: the batch is not full; will go when what it waits for comes",
    ),
    (
        "preferred",
        "b",
        preferred,
        "2 waiting for b have waited 4 s together, but the policy decided for c first "
        "(c is cheaper); will look again in 5 s",
    ),
    (
        "policy",
        "b",
        cold,
        "woke b: 2 waiting for b have waited 4 s together, and the policy says now",
    ),
    ("policy", "b", wished, "left a for b: it is Tuesday; 1 answer of a ends first"),
    (
        "policy",
        "b",
        matured,
        "left a for b: 2 waiting for b have waited 20 s together, and the policy's delay is over; "
        "1 answer of a ends first",
    ),
    (
        "min_active",
        "b",
        fresh,
        "stayed on a: it has been active for 12 s of its min_active_secs (30 s), and "
        "2 waiting for b have waited 12 s together; will look again in 18 s",
    ),
    (
        "policy",
        "b",
        fresh_no_more,
        "left a for b: 2 waiting for b have waited 48 s together, and the policy says now; "
        "it was held back for 18 s by min_active_secs; 1 answer of a ends first",
    ),
    (
        "overdue",
        "b",
        overdue,
        "left a for b: its oldest request has waited 20 s, which is max_wait_secs (20 s) or more, "
        "and goes before every wish; 1 answer of a ends first",
    ),
    (
        "max_in_flight",
        "b",
        owed,
        "stayed on a: max_in_flight (1) holds 1 request for it back, and the overdue go first; "
        "2 waiting for b have waited 1.5 s together",
    ),
    (
        "order",
        "b",
        ordered,
        "left a for b: an operator ordered it; 1 answer of a ends first",
    ),
    (
        "wake_failed",
        "b",
        broken,
        "b could not be woken (exit code 1): its sleep hook cleans up, then a comes back",
    ),
    (
        "breaker",
        "b",
        restored,
        "leaves b alone: it has failed once, and requests for it hear 503; will try again in 2 s",
    ),
    (
        "announced",
        "b",
        announced,
        "left a for b: a client has announced that it comes next, and nobody waits",
    ),
    (
        "restore",
        "a",
        restored,
        "woke a: it was active before a wake that failed, and comes back",
    ),
    (
        "abandoned",
        "b",
        abandoned,
        "gave up the switch to b: nobody waits for it any more, a serves on",
    ),
    (
        "abandoned",
        "b",
        abandoned_late,
        "gave up the switch to b: nobody waits for it any more, nothing is awake now",
    ),
    (
        "retargeted",
        "c",
        retargeted,
        "woke c instead of b, for whom nobody waits any more: 1 waiting for c has waited 1 s",
    ),
    (
        "sleep_failed",
        "b",
        unwilling,
        "stayed on a: it could not be put to sleep for b (exit code 1), so it serves on; "
        "will try again in 2 s",
    ),
    (
        "stuck",
        "b",
        stuck,
        "stayed on a: it could not be put to sleep the last time, and "
        "1 waiting for b has waited 1 s; will try again in 2 s",
    ),
    (
        "quarantined",
        "a",
        unclear,
        "a is in quarantine, neither alive nor provably asleep (exit code 1): nothing is woken in "
        "its place, and requests for it hear 503; will try again in 2 s",
    ),
    (
        "quarantine",
        "b",
        beside_the_unclear,
        "did not wake b yet: a is in quarantine, neither alive nor provably asleep, so nothing is "
        "woken in its place; 1 waiting for b has waited 1 s; will try again in 2 s",
    ),
    ("released", "a", released, "a left quarantine: it is alive, or asleep, again"),
    (
        "died",
        "a",
        dead,
        "the backend of a is dead (no answer): it is woken again when somebody waits",
    ),
    (
        "recover",
        "a",
        hung,
        "puts a to sleep: it should not be awake, or nobody knows if it is",
    ),
    (
        "rescue",
        "a",
        rescued,
        "a request for a waits again: its backend died before the first byte of an answer",
    ),
    (
        "drain_cut",
        "a",
        cut,
        "ended 1 answer of a: the drain for b had reached drain_timeout_secs (600 s)",
    ),
    (
        "timeout",
        "b",
        timed_out,
        "a request for b gave up: it was not ready within request_timeout_secs (30 s)",
    ),
    ("adopted", "a", adopted, "a was found awake at the start and serves on"),
]


@pytest.mark.parametrize(
    ("rule", "model", "story", "text"), TOLD, ids=[f"{one[0]}-{one[2].__name__}" for one in TOLD]
)
def test_every_rule_says_its_sentence(
    rule: str, model: str, story: Callable[[], World], text: str
) -> None:
    """What fired, about whom, and with which numbers."""
    world = story()
    ruling = next(one for one in world.board.rulings.newest() if one.rule == rule)
    assert ruling.model == model
    assert sentence(ruling) == text
    assert list(numbers(ruling))[:3] == ["waiting", "oldest_wait_secs", "waited_together_secs"]


def test_no_rule_is_without_its_story() -> None:
    assert {one[0] for one in TOLD} == set(RULES)
    assert set(RULES) > REPEATED


# ---- the memory -------------------------------------------------------------------------------


def test_the_same_again_is_counted_and_its_numbers_are_the_latest() -> None:
    """A policy that is asked a hundred times and stays leaves one ruling."""
    world = skipped()
    first = newest(world)
    for _ in range(3):
        world.now += 1.0
        world.arrive("b")
        world.end_turn()
        world.answer("b", Skip(2.0))
    again = newest(world)
    assert again is first
    assert (again.count, again.first, again.last) == (4, 5.0, 8.0)
    assert again.waited.waiting == 5
    assert again.until == 10.0


def test_a_switch_between_two_equal_decisions_parts_them() -> None:
    """Staying on a and staying on b are two decisions."""
    world = busy("a", "b", "c")
    world.arrive("c")
    world.end_turn()
    world.answer("c", Skip())
    world.order("b")
    world.leave(next(iter(world.inside)))
    world.prepared()
    world.hook_ends()
    world.hook_ends()
    world.end_turn()
    world.answer("c", Skip())
    told = [one for one in world.board.rulings.newest() if one.model == "c"]
    assert [(one.rule, one.active) for one in told] == [("skip", "b"), ("skip", "a")]


def test_nobody_waits_and_nothing_is_remembered() -> None:
    """The path of an awake model leaves no trace here, however often it is gone."""
    world = busy("a", "b")
    before = rulings(world)
    for _ in range(50):
        world.leave(world.arrive("a"))
    assert rulings(world) == before == ["policy"]


def test_the_memory_is_bounded_and_keeps_the_last_word_on_each_model() -> None:
    """Old rulings go, but of a model that is seldom asked for the last one stays."""
    memory = Rulings()
    lanes = {name: World(name).board.lanes[name] for name in "ab"}
    memory.note("adopted", lanes["b"], None)
    for number in range(2 * KEPT):
        memory.now = float(number)
        memory.note("breaker", lanes["a"], None, (number,))
    told = memory.newest()
    assert len(told) == KEPT + 1
    assert told[0].facts == (2 * KEPT - 1,)
    assert told[-1].model == "b"


def test_a_defer_that_runs_is_not_prolonged_in_words_either() -> None:
    """The later answer does not move the end of the first."""
    world = deferred()
    world.now += 2.0
    world.arrive("b")
    world.end_turn()
    world.answer("b", Defer(60.0))
    assert sentence(newest(world)).endswith("will go in 6 s")


def test_a_start_is_remembered_with_the_others_that_waited() -> None:
    """Who was not chosen, and how long they had waited."""
    world = World("a", "b", "c")
    world.arrive("c")
    world.now += 2.0
    world.arrive("b")
    world.now += 1.0
    world.fifo()
    ruling = newest(world)
    assert (ruling.model, decision(ruling)) == ("c", "switch")
    assert alternatives(ruling) == {
        "b": {"waiting": 1, "oldest_wait_secs": 1.0, "waited_together_secs": 1.0}
    }
    assert numbers(ruling)["oldest_wait_secs"] == 3.0


def test_the_policys_scheduler_is_named_where_it_gave_the_order() -> None:
    world = busy("a", "b")
    world.numbers += 1
    world.orders[world.numbers] = "b"
    world.tell(ev.OrderGiven(world.numbers, "b", "the policy's scheduler"))
    assert "the policy's scheduler ordered it" in sentence(newest(world))


# ---- a policy's own reasons -------------------------------------------------------------------


class Crowd(Reason):
    """A reason as a user writes it."""

    __slots__ = ("count",)

    rule = "crowd"

    def __init__(self, count: int) -> None:
        self.count = count

    def sentence(self, model: str) -> str:
        return f"waited until {self.count} ask for {model}"

    def numbers(self, model: str) -> dict[str, float]:
        return {"wanted": float(self.count)}

    def alternatives(self) -> dict[str, dict[str, float]]:
        return {"b": self.numbers("b"), "c": self.numbers("c")}


class Terse(Reason):
    """A reason that names its rule and says no more."""

    __slots__ = ()

    rule = "payday"


class Broken(Reason):
    """A reason that cannot be said."""

    __slots__ = ()

    def sentence(self, model: str) -> str:
        raise ZeroDivisionError(model)

    numbers = sentence  # type: ignore[assignment]

    def alternatives(self) -> dict[str, dict[str, float]]:
        raise ZeroDivisionError


def test_a_reason_is_put_into_words_only_when_somebody_asks() -> None:
    """Its rule, its numbers and what else it weighed stand in the ruling."""
    world = asked(busy("a", "b"))
    world.answer("b", Skip(1.0, reason=Crowd(9)))
    ruling = newest(world)
    assert sentence(ruling) == "waited until 9 ask for b; will look again in 1 s"
    assert policy_rule(ruling) == "crowd"
    assert numbers(ruling)["wanted"] == 9.0
    assert alternatives(ruling) == {"c": {"wanted": 9.0}}


def test_a_reason_without_words_names_its_rule() -> None:
    world = asked(busy("a", "b"))
    world.answer("b", Skip(1.0, reason=Terse()))
    assert sentence(newest(world)) == "the rule payday decided about b; will look again in 1 s"


@pytest.mark.parametrize("answer", [SwitchNow, Skip, lambda reason: Defer(1.0, reason=reason)])
def test_a_reason_that_cannot_be_said_takes_nothing_with_it(answer: Any) -> None:
    """The switch goes on, the hook hears of it, and the ruling can be read."""
    world = asked(busy("a", "b"))
    world.answer("b", answer(reason=Broken()))
    ruling = newest(world)
    assert "cannot be said: ZeroDivisionError('b')" in sentence(ruling)
    assert alternatives(ruling) == {}
    assert numbers(ruling)["waiting"] == 2


def test_the_wake_hook_hears_the_reason_and_no_more_than_fits() -> None:
    world = World("b")
    world.arrive("b")
    world.end_turn()
    world.answer("b", SwitchNow(reason="x" * 100_000))
    assert world.hook is not None
    assert world.hook.reason == "x" * LONGEST + "..."
    assert said(None, "b") is None


def test_seconds_are_short() -> None:
    assert [secs(one) for one in (0.0, 0.0004, 9.04, 31.26, 1234.5)] == [
        *("0 s", "0.0004 s", "9.04 s", "31.3 s", "1234 s")
    ]


# ---- why, at this moment ----------------------------------------------------------------------


def drained() -> World:
    world = busy("a", "b", "c")
    world.arrive("c")
    world.now += 1.0
    world.arrive("b")
    world.fifo()
    world.now += 2.0
    return world


NOW: list[tuple[Callable[[], World], str, str]] = [
    (lambda: World("a"), "a", "a is asleep and nobody waits for it; nothing is awake"),
    (lambda: busy("a", "b"), "b", "b is asleep and nobody waits for it; a is awake"),
    (lambda: busy("a"), "a", "a has been active for 0 s and is answering 1"),
    (
        owed,
        "a",
        "a has been active for 5 s and is answering 1; 1 waits, because max_in_flight is 1",
    ),
    (
        lambda: World("a", survey=True),
        "a",
        "nobody knows yet whether a is awake: the look at the start is not over",
    ),
    (
        skipped,
        "b",
        "stayed on a: a is still answering 1; will look again in 3 s",
    ),
    (
        drained,
        "a",
        "a is being left for c: a finishes 1 answer, for 598 s at most",
    ),
    (drained, "c", "c is on its way: a finishes 1 answer, for 598 s at most"),
    (
        drained,
        "b",
        "1 waiting for b, and a switch to c runs first: a finishes 1 answer, for 598 s at most",
    ),
    (
        lambda: abandoned_asleep("b"),
        "c",
        "nobody waits for c, and a switch to b runs first: "
        "a is being put to sleep, 0 s after the switch began",
    ),
    (retargeted, "c", "c is on its way: its wake hook has run for 0 s"),
    (
        broken,
        "b",
        "the wake of b failed, and its sleep hook cleans up",
    ),
    (restored, "b", "b is left alone after a failure; will try again in 2 s"),
    (
        unclear,
        "a",
        "a is in quarantine, neither alive nor provably asleep; will try again in 2 s",
    ),
    (
        lambda: asked(busy("a", "b")),
        "b",
        "2 waiting for b: the policy has not answered yet",
    ),
]


@pytest.mark.parametrize(("story", "model", "text"), NOW)
def test_how_things_stand_is_said_of_every_state(
    story: Callable[[], World], model: str, text: str
) -> None:
    world = story()
    assert explain(world.board, model, world.now) == text


def test_the_boards_own_numbers_are_those_of_the_moment() -> None:
    """Three seconds later everybody has waited longer, and less is left."""
    world = fresh()
    assert explain(world.board, "b", world.now + 3.0) == (
        "stayed on a: it has been active for 15 s of its min_active_secs (30 s), and "
        "2 waiting for b have waited 18 s together; will look again in 15 s"
    )


def test_what_is_left_of_the_time_counts_from_now() -> None:
    world = skipped()
    assert explain(world.board, "b", world.now + 2.0).endswith("will look again in 1 s")
    assert explain(world.board, "b", world.now + 9.0).endswith("will look again in 0 s")


def test_a_gateway_that_stops_says_so_and_an_unknown_model_is_an_error() -> None:
    world = busy("a")
    world.close()
    assert explain(world.board, "a", 0.0) == "the gateway is shutting down, and a is awake"
    with pytest.raises(NotRegisteredError):
        explain(world.board, "nobody", 0.0)


def test_only_models_with_a_story_are_told_of_unasked() -> None:
    assert set(everybody(skipped().board, 5.0)) == {"a", "b"}
    assert everybody(World("a", "b").board, 0.0) == {}


def assert_true(world: World) -> None:
    """Hold what is said of a model that waits against the board and its alarms."""
    board = world.board
    for model, text in everybody(board, world.now).items():
        lane = board.lanes[model]
        if board.closed or board.surveying or board.plan is not None:
            continue
        if lane.phase is not Phase.ASLEEP or lane.resting or not lane.waiting:
            continue
        ruling = board.rulings.last.get(model)
        again = board.turn_asked or bool(board.asking)
        if ruling is None or "has not answered yet" in text:
            assert again, f"{text}, but nobody is asked"
            continue
        active = board.awake[-1] if board.awake else None
        assert ruling.active == (None if active is None else active.name)
        alarmed = ("ask", model) in world.alarms
        match ruling.rule:
            case "skip" | "preferred":
                assert alarmed or again, f"{text}, but nobody will look"
            case "defer":
                assert lane.wish is Wish.DEFERRED or again, text
            case "min_active":
                assert active is not None and (active.fresh or again), text
            case "stuck":
                assert active is not None and (active.stuck or again), text
            case "quarantine":
                assert board.quarantined or again, text
            case "max_in_flight":
                assert active is not None and (active.waiting or again), text


def test_whatever_happened_the_why_is_true() -> None:
    """In any state every model can be explained, every ruling said, and what is said holds."""
    seen: set[str] = set()
    for seed in range(150):
        dice = Seeded(seed)
        names = "abc"[: 2 + seed % 2]
        world = World(*[lane(dice, name) for name in names], survey=seed % 3 == 0)
        try:
            for _ in range(60):
                happen(dice, world, dice.one(facts(world)))
                assert_true(world)
                for name in world.board.lanes:
                    assert explain(world.board, name, world.now)
            for ruling in world.board.rulings.newest():
                assert sentence(ruling, world.now)
                assert numbers(ruling)
                assert ruling.model not in alternatives(ruling)
                seen.add(ruling.rule)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
    assert len(seen) > len(RULES) - 5, f"no story met {set(RULES) - seen}"
