"""Free rides: who may still be admitted while the model drains, because the drain outlasts them.

A request that will have its answer before those who are inside anyway costs nobody a second, and
is spared a round trip. How long it takes is bounded by the tokens that its client allows and the
pace that was learned of the model; where a client names no bound, nobody knows, and it waits. This
file refuses to know why the model drains and whether its target may wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmux.core.lane import Lane
    from llmux.core.plan import Plan
    from llmux.core.ticket import Ticket

WEIGHT = 0.1
"""Weight of a new answer in the usual pace."""
FADING = 0.99
"""What is left of the slowest pace after each answer that was quicker."""


class Pace:
    """Seconds that a model takes for each token that a client allows: as a rule, and at most."""

    __slots__ = ("slowest", "usual")

    def __init__(self, usual: float | None = None, slowest: float = 0.0) -> None:
        self.usual = usual
        self.slowest = slowest

    def learn(self, ticket: Ticket, now: float) -> None:
        """Take in an answer that has just ended."""
        tokens = ticket.most_tokens()
        if not tokens or ticket.admitted is None:
            return
        seen = (now - ticket.admitted) / tokens
        self.usual = seen if self.usual is None else self.usual + WEIGHT * (seen - self.usual)
        self.slowest = max(seen, self.slowest * FADING)

    def copy(self) -> Pace:
        """Return an independent pace that knows the same."""
        return Pace(self.usual, self.slowest)


def may_ride(plan: Plan, lane: Lane, ticket: Ticket, now: float) -> bool:
    """Say whether the answer will have ended before those that are drained for anyway.

    The rider is reckoned at the slowest pace, those inside at the usual one.
    """
    pace = lane.pace
    if pace is None or pace.usual is None or not lane.inside:
        return False
    tokens = ticket.most_tokens()
    if tokens is None:
        return False
    return now + tokens * pace.slowest <= max([_end(plan, lane, one, now) for one in lane.inside])


def _end(plan: Plan, lane: Lane, ticket: Ticket, now: float) -> float:
    """When somebody inside should have an answer; looked up once for each drain."""
    end = plan.ends.get(ticket)
    if end is None:
        tokens = ticket.most_tokens()
        usual = None if lane.pace is None else lane.pace.usual
        if tokens is not None and usual is not None:
            seconds = tokens * usual
        else:
            seconds = lane.service_mean or 0.0
        plan.ends[ticket] = end = seconds + (now if ticket.admitted is None else ticket.admitted)
    return end
