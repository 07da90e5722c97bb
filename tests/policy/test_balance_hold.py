"""Stories of an empty model that is held, and of callers who only say that they come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from llmux.core.lane import LaneSettings
from llmux.policy import Snapshot
from llmux.policy.balance import BalancePolicy, Verdict
from llmux.policy.balance_hold import hold_for
from llmux.simulate.engine import simulate
from llmux.simulate.hooks import HookTimes
from llmux.simulate.workload import Job

SERVICE = 0.5
HOOKS = HookTimes(sleep={"a": 1.0, "b": 1.0}, wake={"a": 10.0, "b": 10.0})
PATIENCE = 60.0 + 4 * 22.0
"""Of one who waits for b: two trips of 11 s weigh more than the flat part can grow."""


def held(*away: tuple[float, float], crowd: float = 1.0) -> float:
    """Callers come back after a second or after five; the trip costs 20 s."""
    return hold_for(away, (1.0, 5.0), most=30.0, outage=20.0, crowd=crowd, growing=0.0, service=0.0)


def test_whoever_comes_back_counts_with_the_priority_of_its_requests() -> None:
    assert held((0.0, 1.0)) == 5.0
    assert held((0.0, 0.3)) == 1.0
    assert held((0.0, 0.1)) == 0.0
    assert held((0.0, 10.0), crowd=10.0) == 5.0
    assert held((0.0, 1.0), crowd=2.0) == 1.0
    assert held((0.0, 1.0), (0.0, 1.0), crowd=2.0) == 5.0


@dataclass(frozen=True)
class Liar:
    """Calls a tool with each answer and comes back after each of `pauses`, again and again, until
    b is served, which is asked for once."""

    pauses: tuple[float, ...]
    asked: float
    name: str = "liar"
    models: tuple[str, ...] = ("a", "b")

    def start(self) -> Tale:
        return Tale(self)


@dataclass
class Tale:
    liar: Liar
    steps: int = 0
    over: bool = False

    def first(self) -> Sequence[Job]:
        return Job(0.0, "a", SERVICE, then="a"), Job(self.liar.asked, "b", SERVICE)

    def after(self, job: Job, end: float) -> Sequence[Job]:
        self.over = self.over or job.model == "b"
        if self.over:
            return ()
        pause = self.liar.pauses[self.steps % len(self.liar.pauses)]
        self.steps += 1
        return (replace(job, arrival=end + pause),)


class Noted(BalancePolicy):
    """Keeps each verdict that holds a model."""

    def __init__(self) -> None:
        super().__init__()
        self.holding: list[tuple[Snapshot, Verdict]] = []

    def weigh(self, snapshot: Snapshot) -> Verdict:
        verdict = super().weigh(snapshot)
        if verdict.rule == "linger":
            self.holding.append((snapshot, verdict))
        return verdict


@settings(max_examples=40)
@given(
    pauses=st.lists(st.sampled_from((0.0, 0.3, 1.0, 4.0, 29.0, 31.0)), min_size=1, max_size=8),
    asked=st.floats(20.0, 60.0),
    bound=st.sampled_from((None, 20.0, 40.0)),
)
def test_whoever_lies_about_coming_back_keeps_nobody_waiting_beyond_patience(
    pauses: list[float], asked: float, bound: float | None
) -> None:
    """b goes first as soon as it is late, whatever its neighbour promises."""
    policy = Noted()
    lanes = {"a": LaneSettings("a"), "b": LaneSettings("b", max_wait=bound)}
    outcome = simulate(Liar(tuple(pauses), asked), policy, HOOKS, settings=lanes)
    (row,) = [row for row in outcome.rows if row.model == "b"]
    assert row.start is not None
    assert row.start - row.arrival <= (bound or PATIENCE) + SERVICE + 0.1
    for world, verdict in policy.holding:
        lefts = [one.left for one in verdict.weighed]
        assert min(lefts) > 0
        assert verdict.ask_again <= max(min(lefts), 0.001)
        last = world.models["a"].away[-1][0]
        assert world.now + verdict.ask_again <= last + policy.options.linger_secs + 0.1
