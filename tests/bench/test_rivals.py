"""Each rival of the yardstick keeps the rule that it is named for, on cases worked by hand.

Switches cost 10 s: a sleep hook takes 1 s, a wake hook 9 s. Model `a` is asked first and woken at
9 s; it is then kept busy by one request of 3 s every 2 s, as long as the case says.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from bench.rivals import Collation, Exhaustive, Quantum
from bench.scheduling import COSTS, MAKERS, POLICIES, QUEUES, RIVALS, hook_times, serve
from bench.tide import NowOrEmpty, TideBalance, Trip
from bench.v1 import CostAware, TimeSlice

from llmux.policy import PolicyContext, SwitchNow, SwitchPolicy
from llmux.policy.balance import BalancePolicy
from llmux.simulate.engine import simulate
from llmux.simulate.fifo24 import TaskQueue
from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome
from llmux.simulate.workload import Job, OpenLoop, open_loop
from tests.policy.test_balance_formulas import TIE, Reckoned, some_world

HOOKS = HookTimes(cost=10.0)


def beside_a(until: int, *others: Job) -> OpenLoop:
    """`a` is busy until so many seconds, and others are asked for."""
    return open_loop("case", [*(Job(float(t), "a", 3.0) for t in range(0, until, 2)), *others])


def starts(outcome: Outcome, model: str) -> list[float]:
    return [row.start or 0.0 for row in outcome.rows if row.model == model]


def on_our_board(policy: SwitchPolicy, until: int) -> float:
    """When a request for `b`, of the second 1, is served."""
    case = beside_a(until, Job(1.0, "b", 3.0))
    (start,) = starts(simulate(case, policy, HOOKS), "b")
    return start


def on_a_queue(queue: type[TaskQueue], until: int, *arrivals: float) -> list[float]:
    """When the requests for `b` are served."""
    case = beside_a(until, *(Job(t, "b", 3.0) for t in arrivals))
    return starts(queue(case, HOOKS).outcome("case"), "b")


@pytest.mark.parametrize("until", [100, 400])
def test_collation_leaves_a_model_when_it_is_empty_and_never_before(until: int) -> None:
    last_answer = until - 2 + 3
    assert on_our_board(Collation(), until) == pytest.approx(last_answer + 10)


def test_exhaustive_leaves_a_busy_model_at_its_bound() -> None:
    assert on_our_board(Exhaustive(), 100) == pytest.approx(111), "before it, as collation does"
    bound, drain, switch = 60 + 8 * 10, 3, 10
    start = on_our_board(Exhaustive(), 400)
    assert 1 + bound + switch < start <= 1 + bound + 1 + drain + switch


def test_quantum_leaves_a_busy_model_after_two_switches_worth_of_serving() -> None:
    woken, quantum, drain, switch = 9, 2 * 10, 3, 10
    start = on_our_board(Quantum(), 400)
    assert woken + quantum + switch < start <= woken + quantum + 1 + drain + switch


def test_tide_balance_is_balance_without_what_was_added() -> None:
    compared = 0
    for seed in range(400):
        drawn = some_world(Random(seed))
        models = {
            one.name: one._replace(lulls=(), lull_since=None, away=())
            for one in drawn.models.values()
        }
        drawn = replace(drawn, models=models)
        reckoned = Reckoned(drawn)
        rule, target, again = reckoned.verdict()
        if rule == "nobody" or reckoned.ties <= TIE:
            continue
        answer = TideBalance().on_pending_request(PolicyContext("a", snapshot=drawn))
        ours = BalancePolicy().on_pending_request(PolicyContext("a", snapshot=drawn))
        assert type(answer) is type(ours), f"seed {seed}"
        if isinstance(answer, SwitchNow):
            assert answer.target == target, f"seed {seed}"
        else:
            assert getattr(answer, "ask_again", None) == pytest.approx(again), f"seed {seed}"
        compared += 1
    assert compared > 200


def test_now_or_empty_weighs_the_whole_way_where_tide_balance_weighs_one_answer() -> None:
    """Two in flight, answers of 4 s, one arrival in 4 s: g(2) = 0.437, g(1) = 0.718.

    One more answer: 1.5 x 0.25 x (20 + 6.08 - 1) / 0.437 = 21.5 waiters make it too dear. Until it
    is empty newcomers make it 2 x 0.437 + 4 x 0.718 = 3.75 s longer; those of the drain are worth
    0.25 x 6.08 x (20 + 3.04) = 35.0 request-seconds, so 9.4 waiters do.
    """

    def leaves(policy: TideBalance, waiting: float) -> bool:
        trip = Trip(waiting, left=1, fade=1, stay=1, leave=1, outage=20, value=1)
        return policy.may_drain(trip, 2, rate=0.25, service=4.0)

    assert [leaves(TideBalance(), n) for n in (9, 10, 21, 22)] == [False, False, False, True]
    assert [leaves(NowOrEmpty(), n) for n in (9, 10, 21, 22)] == [False, True, True, True]


def test_cost_aware_serves_for_the_cost_of_the_switch_first() -> None:
    """Until 9 + 10 s; then `a` drains until 21 s, with the request of 18 s in it."""
    assert on_a_queue(CostAware, 400, 12.0) == pytest.approx([31])


def test_cost_aware_gathers_for_two_seconds_or_until_there_are_enough() -> None:
    """A switch of 10 s is worth five waiters; fewer wait from 30 to 32 s, and for the drain."""
    assert on_a_queue(CostAware, 400, 30.0, 30.5) == pytest.approx([45, 45])
    crowd = [30.0, 30.1, 30.2, 30.3, 30.4]
    assert on_a_queue(CostAware, 400, *crowd) == pytest.approx([43] * 5)


def test_cost_aware_is_fifo_while_a_switch_runs() -> None:
    """A switch to `b` begins at 19 s; `c`, asked for meanwhile, goes next with no second window."""
    case = beside_a(10, Job(12.0, "b", 3.0), Job(25.0, "c", 3.0))
    outcome = CostAware(case, HOOKS).outcome("case")
    assert starts(outcome, "b") == pytest.approx([29])
    assert starts(outcome, "c") == pytest.approx([42])


def test_time_slice_leaves_at_a_look_that_finds_the_model_empty() -> None:
    """The last answer ends at 101.2 s, and looks are half a second apart."""
    case = beside_a(100, Job(98.2, "a", 3.0), Job(12.0, "b", 3.0))
    assert starts(TimeSlice(case, HOOKS).outcome("case"), "b") == pytest.approx([111.5])


def test_time_slice_looks_at_its_bound_only_when_something_arrives() -> None:
    """One who came at 12 s is late at 27 s; that is seen at 41 s, and `a` drains until 43 s."""
    assert on_a_queue(TimeSlice, 400, 12.0, 41.0) == pytest.approx([53, 53])


def test_the_yardstick_has_a_maker_for_every_column(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(POLICIES + RIVALS) == {*MAKERS, *QUEUES}
    assert not set(POLICIES) & set(RIVALS)
    monkeypatch.setattr("bench.scheduling.POLICIES", POLICIES + RIVALS)
    case = beside_a(20, Job(1.0, "b", 3.0), Job(2.0, "c", 3.0))
    for name in POLICIES + RIVALS:
        for cost in COSTS:
            outcome = serve(name, case, hook_times(cost, case.models, 0.0, 1))
            assert len(outcome.rows) == 12, name
            assert all(
                row.start is not None and row.end - row.start == pytest.approx(3.0)
                for row in outcome.rows
            ), name
