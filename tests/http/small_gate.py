"""A gate small enough to be seen through: one dict of awake models, one list of waiters.

It stands in for the switching core where a test is about HTTP. It never decides anything: the
test says `wake`, `reject` or `cut`, as the world would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmux.core.lane import Lane, LaneSettings
from llmux.core.ticket import Ticket
from llmux.errors import LlmuxError, NotRegisteredError


class SmallGate:
    """Admits to models that are awake, and keeps the books."""

    def __init__(self, *models: str) -> None:
        self.lanes = {name: Lane(LaneSettings(name)) for name in models}
        self.awake = set(models)
        self.inside: list[Ticket] = []
        self.waiting: list[Ticket] = []
        self.left = 0
        self.announced: list[str] = []
        self.back: list[str] = []
        self.loading_secs = 0.0
        self.dead: bool | None = False
        """What a look at a backend that broke finds; None: the look lasts until `tell`."""
        self.tell: Callable[[bool], None] = lambda dead: None
        self.suspected = 0
        self.refusal: LlmuxError | None = None
        self.changed = asyncio.Event()

    def ticket(self, model: str) -> Ticket:
        """Make a ticket."""
        if model not in self.lanes:
            raise NotRegisteredError(f"{model} not found")
        return Ticket(self.lanes[model], asyncio.get_running_loop().time())

    def enrol(self, ticket: Ticket, model: str) -> None:
        """Make the ticket one for this model."""
        if model not in self.lanes:
            raise NotRegisteredError(f"{model} not found")
        ticket.begin(self.lanes[model], asyncio.get_running_loop().time())

    def arrive(self, ticket: Ticket, model: str, size: int) -> bool:
        """Make the ticket one for this model, and enter."""
        self.enrol(ticket, model)
        ticket.size = size
        return self.enter(ticket)

    def is_registered(self, model: str) -> bool:
        """Whether there is such a model."""
        return model in self.lanes

    def registered_models(self) -> list[str]:
        """All models, in no order."""
        return list(self.lanes)

    def enter(self, ticket: Ticket) -> bool:
        """Admit to an awake model; keep others waiting."""
        if self.refusal is not None:
            raise self.refusal
        admitted = ticket.model in self.awake
        (self.inside if admitted else self.waiting).append(ticket)
        self.changed.set()
        return admitted

    def leave(self, ticket: Ticket) -> None:
        """Strike the ticket from the books."""
        for book in (self.inside, self.waiting):
            if ticket in book:
                book.remove(ticket)
                self.left += 1
        self.changed.set()

    def loading(self, ticket: Ticket) -> float:
        """The same for all tickets."""
        return 0.0 if ticket.proven else self.loading_secs

    def answered(self, ticket: Ticket) -> None:
        """Remember that the backend has answered."""
        ticket.lane.proven = True

    def suspect(self, ticket: Ticket, told: Callable[[bool], None]) -> None:
        """Look at a backend that refused or broke: it is as dead as the test says."""
        self.suspected += 1
        self.tell = told
        if self.dead is not None:
            asyncio.get_running_loop().call_soon(told, self.dead)

    def returning(self, ticket: Ticket) -> None:
        """Remember whose client comes back."""
        assert ticket in self.inside
        self.back.append(ticket.model)

    def announce(self, model: str) -> None:
        """Remember what a client asks next."""
        self.announced.append(model)

    def rejoin(self, ticket: Ticket) -> None:
        """Let a request wait again, for a model that is awake no more."""
        self.awake.discard(ticket.model)
        self.inside.remove(ticket)
        self.waiting.append(ticket)
        self.changed.set()

    def model_status(self, model: str) -> str:
        """Awake is loaded, all else unloaded."""
        return "loaded" if model in self.awake else "unloaded"

    # What the test says.

    def wake(self, model: str) -> None:
        """Admit everybody who waits for this model."""
        self.awake.add(model)
        for ticket in [one for one in self.waiting if one.model == model]:
            self.waiting.remove(ticket)
            self.inside.append(ticket)
            ticket.on_admitted()

    def reject(self, error: LlmuxError) -> None:
        """Send everybody away who waits."""
        waiting, self.waiting = self.waiting, []
        for ticket in waiting:
            ticket.on_rejected(error)

    def cut(self, error: LlmuxError) -> None:
        """Count everybody out who is inside, as a drain does at its bound."""
        inside, self.inside = self.inside, []
        for ticket in inside:
            ticket.on_cut(error)

    def lose(self, error: LlmuxError) -> None:
        """Tell everybody who is inside that the backend hangs."""
        for ticket in list(self.inside):
            ticket.on_lost(error)

    async def until(self, *, inside: int | None = None, waiting: int | None = None) -> None:
        """Return as soon as the books say so; a test that never gets there runs out of time."""
        async with asyncio.timeout(20):
            while not (
                (inside is None or len(self.inside) == inside)
                and (waiting is None or len(self.waiting) == waiting)
            ):
                self.changed.clear()
                await self.changed.wait()


class Counter:
    """A meter that remembers."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.answers: list[int] = []

    @property
    def at_once(self) -> int:
        """None so far: each one is remembered as a wait of no time."""
        return 0

    @at_once.setter
    def at_once(self, more: int) -> None:
        self.waits += [0.0] * more

    def waited(self, seconds: float) -> None:
        """Remember a wait."""
        self.waits.append(seconds)

    def answered(self, status: int, seconds: float) -> None:
        """Remember a status."""
        assert seconds >= 0
        self.answers.append(status)
