"""What everybody outside asks of a switch: to enter and leave, to be served, to hear how it stands.

`enter` and `leave` are the awake path: two plain calls that touch neither deque nor effects of the
driver while nothing needs them. This file refuses to know how effects are carried out (`driver`)
and when a switch is right (the board, and the policy).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from llmux.core import events as ev
from llmux.core.lane import Change, Phase
from llmux.core.ticket import INSIDE, LOST, Ticket
from llmux.core.times import Spent
from llmux.core.view import Active, SwitcherState, snapshot, state
from llmux.errors import LlmuxError
from llmux.policy.base import Snapshot
from llmux.runtime.driver import Driver
from llmux.runtime.witness import Pulse

_REMOVE = Change.REMOVE  # members of enums are looked up slowly


class ModelSwitcher(Driver):
    """Admits requests to models that take turns, and switches when the policy says so.

    `settings` holds what the config fixes per model; a model without them takes what the policy
    says. Listeners hear all news, synchronously, and must not raise. `board` is the kind of board:
    a journal needs one that keeps what it is told. Everything runs on the loop on which it is
    first used.
    """

    # ---- the awake path --------------------------------------------------------------------

    def ticket(self, model: str) -> Ticket:
        """Make a ticket for a request that arrives now; NotRegisteredError for unknown models."""
        return Ticket(self.board.lane(model), self._now())

    def enrol(self, ticket: Ticket, model: str) -> None:
        """Make it a ticket for this model that arrives now, as `ticket` makes a new one."""
        ticket.begin(self.board.lane(model), self._now())

    def arrive(self, ticket: Ticket, model: str, size: int) -> bool:
        """`enrol` and `enter` in one, for a request of so many bytes that says nothing more."""
        board = self.board
        now = self._now()
        lane = board.lanes.get(model)
        if lane is None or lane.change is _REMOVE:
            lane = board.lane(model)
        ticket.begin(lane, now)
        ticket.size = size
        if board.enter(ticket, now) and not board.dirty:
            return True
        return self._look(ticket, now)

    def enter(self, ticket: Ticket) -> bool:
        """Admit the ticket if its model is awake (True), else let it wait (False).

        A waiting ticket hears `on_admitted` or `on_rejected` later, once, unless it leaves
        first. Raises LlmuxError where the request would not even be queued.
        """
        board = self.board
        now = self._now()
        if board.enter(ticket, now) and not board.dirty:
            return True
        return self._look(ticket, now)

    def _look(self, ticket: Ticket, now: float) -> bool:
        """Let the policy look again at an arrival beside others that wait, or let it wait."""
        if ticket.stage == INSIDE:
            self.tell(ev.Looked())
            return True
        error = self.board.refusal(ticket.lane, now, ticket.size)
        if error is not None:
            raise error
        self.tell(ev.RequestWaits(ticket))
        return False

    def leave(self, ticket: Ticket) -> None:
        """Count the ticket out: served, failed, cancelled or timed out; harmless twice."""
        if self.board.leave(ticket, self._now()):
            self.tell(ev.Looked())

    def announce(self, model: str) -> None:
        """Hear of a client that was answered just now and says that it asks for `model` next."""
        self.tell(ev.Announced(model))

    def returning(self, ticket: Ticket) -> None:
        """Hear, before it leaves, that its client asks the same model again at once."""
        self.tell(ev.Returning(ticket))

    def answered(self, ticket: Ticket) -> None:
        """Hear that the backend has given an answer other than 503: it has finished loading."""
        if ticket.stage == INSIDE:
            self.board.answered(ticket.lane)

    def suspect(self, ticket: Ticket, told: Callable[[bool], None]) -> None:
        """Look whether the backend of this request lives, because it refused or broke.

        `told` hears once, later, whether it is dead and the request may `rejoin`. Nobody is asked
        about a backend that was found dead or hung while the request was inside.
        """
        look = getattr(self.hooks, "suspect", None)
        bereft = self.board.bereft(ticket)
        if look is None or bereft:
            self._get_loop().call_soon(told, self.rescue and bereft)
            return

        async def run() -> None:
            pulse = await look(ticket.model)
            dead = pulse is Pulse.DEAD and ticket.stage in {INSIDE, LOST}
            told(self.rescue and (dead or self.board.bereft(ticket)))

        self._spawn(run())

    def rejoin(self, ticket: Ticket) -> None:
        """Let a request wait again: its backend died before it gave a byte of an answer."""
        self.tell(ev.RequestReturned(ticket))

    def loading(self, ticket: Ticket) -> float:
        """Seconds for which a refused connect or a 503 may still mean that the model loads."""
        lane = ticket.lane
        if lane.proven or ticket.stage != INSIDE:
            return 0.0
        now = self._now()
        ends = [float("inf") if lane.loading_until is None else lane.loading_until]
        if lane.settings.request_timeout is not None:
            ends.append(ticket.arrived + lane.settings.request_timeout)
        return max(0.0, min(ends) - now)

    # ---- verbs of the library --------------------------------------------------------------

    @asynccontextmanager
    async def serving(self, model: str) -> AsyncIterator[int]:
        """Hold the model awake for the block and give the port of its backend.

        Waits for its turn first; raises LlmuxError where the model does not become ready.
        """
        ticket = self.ticket(model)
        try:
            await self.admission(ticket)
            yield self.model_port(model) or 0
        finally:
            self.leave(ticket)

    async def acquire_in_flight(self, model: str) -> Ticket:
        """Wait for the model and return a lease on it, to be given back with `leave`."""
        ticket = self.ticket(model)
        try:
            await self.admission(ticket)
        except BaseException:
            self.leave(ticket)
            raise
        return ticket

    async def admission(self, ticket: Ticket) -> None:
        """Enter with a ticket and return when it is admitted; LlmuxError where it never is.

        Whoever calls it has to `leave` afterwards, whatever happens.
        """
        await self._told(ticket, self.enter)

    async def readmission(self, ticket: Ticket) -> None:
        """As `admission`, for a request whose backend is `dead`: it waits for another wake."""

        def rejoin(again: Ticket) -> bool:
            self.rejoin(again)
            return again.stage == INSIDE

        await self._told(ticket, rejoin)

    async def dead(self, ticket: Ticket) -> bool:
        """Look whether the backend of this request is dead, so that it may be readmitted."""
        verdict: asyncio.Future[bool] = self._get_loop().create_future()
        self.suspect(ticket, lambda dead: None if verdict.done() else verdict.set_result(dead))
        return await verdict

    async def _told(self, ticket: Ticket, begin: Callable[[Ticket], bool]) -> None:
        future: asyncio.Future[None] = self._get_loop().create_future()

        def admitted() -> None:
            if not future.done():
                future.set_result(None)

        def rejected(error: LlmuxError) -> None:
            if not future.done():
                future.set_exception(error)

        ticket.on_admitted, ticket.on_rejected = admitted, rejected
        if not begin(ticket):
            await future

    async def force_switch(self, model: str) -> None:
        """Make the model active without asking the policy; returns when it is.

        NotRegisteredError for an unknown model, HookFailedError if its wake fails. Already active
        is a no-op. A cool-down (`min_active_secs`) still holds.
        """
        self.board.lane(model)
        self._order_number += 1
        number = self._order_number
        future: asyncio.Future[None] = self._get_loop().create_future()
        self._orders[number] = future
        self.tell(ev.OrderGiven(number, model))
        try:
            await future
        finally:
            self._orders.pop(number, None)
            if future.cancelled() or not future.done():
                self.tell(ev.OrderWithdrawn(number))

    def state(self) -> SwitcherState:
        """Return Idle, Active(model) or Switching(from_model, to_model)."""
        return state(self.board)

    def active_model(self) -> str | None:
        """Return the active model, None while idle or switching."""
        now = state(self.board)
        return now.model if isinstance(now, Active) else None

    def registered_models(self) -> list[str]:
        """Return the names of all models, in the order of the config."""
        return [name for name in self.board.lanes if self.is_registered(name)]

    def is_registered(self, model: str) -> bool:
        """Say whether the model is known."""
        lane = self.board.lanes.get(model)
        return lane is not None and lane.change is not Change.REMOVE

    def model_port(self, model: str) -> int | None:
        """Return the port of the model's backend, None for an unknown model."""
        return self.hooks.model_port(model)

    def in_flight_count(self, model: str) -> int:
        """Return how many requests of the model are in flight; 0 for an unknown model."""
        lane = self.board.lanes.get(model)
        return 0 if lane is None else len(lane.inside) + len(lane.lost)

    def queue_depths(self) -> dict[str, int]:
        """Return how many requests wait, per model."""
        return {name: len(lane.waiting) for name, lane in self.board.lanes.items()}

    def estimated_switch_cost(self, from_model: str | None, to_model: str) -> float | None:
        """Return the learned cost of this very switch in seconds, None if never seen."""
        return self.board.costs.estimate(from_model, to_model)

    def snapshot(self) -> Snapshot:
        """Return the world as policies see it."""
        return snapshot(self.board, self._now())

    def spent(self) -> Spent:
        """Return what the time since the start was spent on, exact at this moment."""
        self.board.fold(self._now())
        return self.board.times.spent()

    def model_status(self, model: str) -> str:
        """Return `loaded`, `loading`, `sleeping` (it was awake before) or `unloaded`."""
        lane = self.board.lanes[model]
        if lane.phase in {Phase.AWAKE, Phase.DRAINING}:
            return "loaded"
        if lane.phase is Phase.WAKING:
            return "loading"
        return "unloaded" if lane.activated_at is None else "sleeping"
