"""Synthetic requests: the same from the same seed, and what their names promise."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean, pstdev

import pytest

from llmux.errors import ConfigError
from llmux.policy import FifoPolicy
from llmux.simulate.engine import simulate
from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome
from llmux.simulate.synthetic import CLOSED, YARDSTICK, workload
from llmux.simulate.workload import Agents, OpenLoop, Users


def serve(users: Users | Agents) -> Outcome:
    return simulate(users, FifoPolicy(), HookTimes(2.0))


@pytest.mark.parametrize("name", YARDSTICK)
def test_a_seed_gives_the_same_requests_and_another_seed_others(name: str) -> None:
    first, again, other = (YARDSTICK[name](seed).jobs for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert all(one.arrival <= two.arrival for one, two in pairwise(first))
    assert all(job.service > 0 for job in first)


def test_poisson_keeps_its_rates_and_the_service_its_mean_and_spread() -> None:
    made = workload("poisson:a=2,b=.5,secs=4000,service=6,cv=1", seed=3)
    assert isinstance(made, OpenLoop)
    counts = {model: sum(job.model == model for job in made.jobs) for model in made.models}
    assert counts["a"] == pytest.approx(8000, rel=0.05)
    assert counts["b"] == pytest.approx(2000, rel=0.1)
    services = [job.service for job in made.jobs]
    assert fmean(services) == pytest.approx(6.0, rel=0.05)
    assert pstdev(services) / fmean(services) == pytest.approx(1.0, rel=0.15)


def test_bursts_are_on_a_fifth_of_the_time() -> None:
    made = workload("bursts:a=2,on=60,off=240,secs=200000", seed=1)
    assert isinstance(made, OpenLoop)
    assert len(made.jobs) / 200000 == pytest.approx(2 * 60 / 300, rel=0.15)


def test_the_batch_comes_within_five_seconds() -> None:
    jobs = [job for job in YARDSTICK["batch"](1).jobs if job.model == "batch"]
    assert len(jobs) == 600
    assert all(any(0 <= job.arrival - at <= 5 for at in (300, 1800, 3300)) for job in jobs)


def test_a_user_asks_again_only_after_the_answer() -> None:
    outcome = serve(Users("users", (("a", 1), ("b", 1)), think=5.0, requests=60))
    assert len(outcome.rows) == 60
    for model in ("a", "b"):
        own = [row for row in outcome.rows if row.model == model]
        assert all(one.end <= two.arrival for one, two in pairwise(own))


def test_two_policies_meet_the_same_users() -> None:
    """How long a user thinks and asks for does not depend on how well others are served."""
    users = Users("users", (("a", 2), ("b", 1)), think=5.0, requests=30)

    def of_user(cost: float, user: int) -> list[float]:
        source, found, ends = users.start(), [], 0.0
        jobs = list(source.first())
        while jobs:
            job = jobs.pop(0)
            ends += cost + job.service
            found += [job.service] if job.user == user else []
            jobs += source.after(job, ends)
        return found

    slow, fast = of_user(10.0, 1), of_user(1.0, 1)
    shared = min(len(slow), len(fast))
    assert slow[:shared] == fast[:shared]


def test_people_with_tools_come_back_at_once_or_after_a_thought() -> None:
    """Half of the pauses are a tool's second, the others are far longer."""
    users = Users("users", (("a", 1),), think=1e6, requests=400, tools=0.5, tool_secs=1.0)
    rows = serve(users).rows
    pauses = [two.arrival - one.end for one, two in pairwise(rows)]
    short = [pause for pause in pauses if pause < 50]
    assert 150 <= len(short) <= 250
    assert 0.7 <= sum(short) / len(short) <= 1.3


def test_an_agent_plans_alone_and_its_workers_ask_at_once() -> None:
    outcome = serve(Agents("agent", requests=50))
    rows = outcome.rows
    assert [row.model for row in rows[:5]] == ["planner", *["worker"] * 4]
    assert len({row.arrival for row in rows[1:5]}) == 1
    assert 0 <= rows[1].arrival - rows[0].end <= 2.0
    assert 0 <= rows[5].arrival - max(row.end for row in rows[1:5]) <= 2.0
    assert len(rows) == 50


def test_every_name_of_the_yardstick_can_be_spelled() -> None:
    for name in (*YARDSTICK, *CLOSED):
        assert workload(name, 4).name == name


@pytest.mark.parametrize(
    ("spelled", "says"),
    [
        ("poison:a=1", "did you mean poisson?"),
        ("poisson", "there is no workload 'poisson'"),
        ("poisson:secs=9", "no model is named"),
        ("poisson:a", "'a' is not NAME=NUMBER"),
        ("poisson:a=x", "'a=x' is not NAME=NUMBER"),
        ("poisson:a=0", "'a=0' is not NAME=NUMBER"),
        ("poisson:=1", "'=1' is not NAME=NUMBER"),
        ("poisson:a=1,a=2", "'a' stands twice"),
        ("poisson:a=1,secs=1,secs=2", "'secs' stands twice"),
        ("poisson:a=1,service=1e308", "'service=1e308' is more than 1,000,000,000"),
        ("poisson:a=3000,b=1", "about 10,803,600 requests; 10,000,000 is the most"),
        ("bursts:a=1,on=1e-9,off=1e-9", "10,000,000 is the most"),
        ("closed:a=1e9,requests=10", "10,000,000 is the most"),
        ("poisson:a=1e-9,secs=1", "no request comes of it"),
        ("closed:a=1.5", "'a=1.5' is not a whole number of users"),
        ("closed:a=1,requests=1.5", "'requests=1.5' is not a whole number of requests"),
        ("closed:tools=0.5", "no model is named; closed:a=12,b=8 names two"),
        ("poisson:a=.1,tools=.5", "'tools' is a setting of closed alone"),
        ("closed:a=1,tools=1.5", "'tools=1.5' is not a share of answers; 0.8 is four of five"),
    ],
)
def test_a_misspelled_workload_says_what_would_do(spelled: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        workload(spelled)
    assert says in str(error.value)


def test_no_answer_calls_a_tool_where_the_share_is_0() -> None:
    none, unsaid = workload("closed:a=1,tools=0"), workload("closed:a=1")
    assert [job.then for job in none.start().first()] == [None]
    assert none.start().first() == unsaid.start().first()
