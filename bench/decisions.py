"""What a decision of `balance` costs, its snapshot and question included, and a replay of requests.

Processor time, so that what else runs on the machine counts little; the best of several rounds.
"""

from __future__ import annotations

from random import Random
from time import process_time

from llmux.core import events as ev
from llmux.core.board import Switchboard
from llmux.core.lane import LaneSettings
from llmux.core.ticket import Ticket
from llmux.core.view import policy_context, snapshot
from llmux.policy.balance import BalancePolicy
from llmux.simulate.engine import simulate
from llmux.simulate.hooks import HookTimes
from llmux.simulate.synthetic import workload

MODELS = 8
INSIDE = 4
WAITERS = 3
"""Of each model that is waited for."""
ROUNDS = 15
DECISIONS = 1000
REPLAYED = {
    "two models, somebody waits nearly always": "poisson:a=.15,b=.15,secs=33600",
    "five models, somebody waits nearly always": "poisson:a=.06,b=.06,c=.06,d=.06,e=.06,secs=33600",
    "three models that are asked in bursts": "bursts:a=.6,b=.6,c=.6,secs=28000",
}


def busy_board(waited_for: int) -> Switchboard:
    """A board whose first model serves and whose next ones are waited for."""
    dice = Random(1)
    names = [f"m{number}" for number in range(MODELS)]
    board = Switchboard([LaneSettings(name) for name in names], rate_windows=(30.0, 300.0))
    first = board.lanes[names[0]]
    hooks: dict[tuple[str, str], float] = {}
    for name in names:
        hooks[name, "sleep"], hooks[name, "wake"] = 1.0 + dice.random(), 9.0 + dice.random()
        lane = board.lanes[name]
        lane.service_mean, lane.service_samples = 4.0 + dice.random(), 9
        lane.arrival_sums, lane.last_arrival = (5.0 * dice.random(), 30.0 * dice.random()), 1.0
    board.costs.restore({}, hooks)
    board.handle(ev.OrderGiven(1, first.name), 0.0)
    plan = board.plan
    assert plan is not None
    board.handle(ev.HookEnded(plan.hook, ok=True, duration=9.0), 0.0)
    for number in range(INSIDE):
        board.enter(Ticket(first, 1.0 + number), 1.0 + number)
    for place in range(1, waited_for + 1):
        for number in range(WAITERS):
            ticket = Ticket(board.lanes[names[place]], 6.0 + 0.3 * number + 0.01 * place)
            board.enter(ticket, ticket.arrived)
            board.handle(ev.RequestWaits(ticket), ticket.arrived)
    return board


def decision_micros(waited_for: int) -> tuple[float, float]:
    """Return microseconds for a whole decision, and for the snapshot alone."""
    board, policy, now = busy_board(waited_for), BalancePolicy(), 10.0
    asked = board.lanes["m1"]
    whole = alone = float("inf")
    for _ in range(ROUNDS):
        began = process_time()
        for _ in range(DECISIONS):
            now += 1e-6
            policy.on_pending_request(policy_context(board, snapshot(board, now), asked))
        between = process_time()
        for _ in range(DECISIONS):
            now += 1e-6
            snapshot(board, now)
        whole = min(whole, between - began)
        alone = min(alone, process_time() - between)
    return whole / DECISIONS * 1e6, alone / DECISIONS * 1e6


def replay_seconds(spelled: str) -> tuple[int, float]:
    """Return how many requests were replayed, and in how many seconds."""
    asked, best = workload(spelled, 1), float("inf")
    count = 0
    for _ in range(3):
        began = process_time()
        count = len(simulate(asked, BalancePolicy(), HookTimes(11.0)).rows)
        best = min(best, process_time() - began)
    return count, best


def tell_speed() -> None:
    """Print what decisions and replays cost."""
    for waited_for in (1, 3, 7):
        whole, alone = decision_micros(waited_for)
        print(
            f"a decision with {MODELS} models, {waited_for} waited for: {whole:.0f} us, "
            f"of which the snapshot is {alone:.0f} us"
        )
    for name, spelled in REPLAYED.items():
        count, seconds = replay_seconds(spelled)
        print(f"{name}: {count:,} requests in {seconds:.2f} s, {count / seconds:,.0f}/s")
