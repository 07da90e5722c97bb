"""A simulated request's stake in the board, the same for both engines.

What a policy may know of a request goes through here, and nothing else: its real length stays
hidden. This file refuses to know how time passes.
"""

from __future__ import annotations

from llmux.core.lane import Lane
from llmux.core.ticket import Ticket
from llmux.simulate.workload import Job


class Seat(Ticket):
    """A ticket that remembers its request."""

    __slots__ = ("index", "job")

    def __init__(self, lane: Lane, job: Job, index: int) -> None:
        super().__init__(lane, job.arrival)
        self.weight *= job.priority
        self.job = job
        self.index = index

    def most_tokens(self) -> int | None:
        """Return the request's own limit; its real length stays hidden."""
        return self.job.max_tokens
