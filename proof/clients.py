"""Those who want to be served: by calls as the relay does it, by tasks as users of the library do.

A visitor is told by calls and may be ended at any moment; a guest is a task and may be cancelled at
each of its awaits. Both hold their end of I4: each is told once, and ends once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmux.core.ticket import Ticket
from llmux.errors import LlmuxError, NotReadyError
from proof.chance import Chance
from proof.engines import Engine, Truth
from proof.watch import Watch
from proof.watched import WatchedSwitcher

RETRY = 0.25
"""Seconds between two tries at a backend that still loads."""
SILENCE = 15.0
"""Seconds for which a client waits for the next byte."""


class Visitor:
    """One request as the relay carries it: enter, forward, be broken, be rescued, leave."""

    def __init__(
        self,
        chance: Chance,
        engine: Engine,
        switcher: WatchedSwitcher,
        watch: Watch,
        service: float,
        weight: float = 1.0,
        size: int = 0,
        announces: str | None = None,
    ) -> None:
        self._chance = chance
        self._engine = engine
        self._switcher = switcher
        self._watch = watch
        self._service = service
        self._weight = weight
        self._size = size
        self._announces = announces
        self._loop = asyncio.get_running_loop()
        self._ticket: Ticket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inside = False
        self._rescued = False
        self._first_byte = False
        self.end = ""
        """How it ended; empty while it has not."""
        self.retry_after: float | None = None
        self.then: Callable[[], None] = lambda: None

    def come(self) -> None:
        """Arrive at the gate; the visit may be over when this returns."""
        switcher = self._switcher
        try:
            if self._announces is not None:
                switcher.board.lane(self._announces)  # the gateway judges the field at the start
            ticket = self._ticket = switcher.ticket(self._engine.name)
            ticket.on_admitted, ticket.on_rejected = self._admitted, self._rejected
            ticket.on_cut = self._cut
            ticket.on_lost = self._lost
            ticket.weight *= self._weight
            ticket.size = self._size
            admitted = switcher.enter(ticket)
        except LlmuxError as error:
            self._over(f"refused {error.status}", error)
            return
        if admitted:
            self._inside = True
            self._send()

    def go(self) -> None:
        """Hang up, wherever it stands."""
        self._over("left")

    def lost(self) -> None:
        """Lose the gateway: it was killed."""
        if not self.end:
            self.end = "lost"
            self._forget()

    def _admitted(self) -> None:
        if self.end:
            self._chance.violated(f"I4: admitted after it had {self.end}")
            return
        if self._inside:
            self._chance.violated("I4: admitted twice")
        self._inside = True
        self._send()

    def _rejected(self, error: LlmuxError) -> None:
        if self.end:
            self._chance.violated(f"I4: rejected after it had {self.end}")
            return
        if self._inside:
            self._chance.violated("I4: rejected while it was served")
        self._over(f"rejected {error.status}", error)

    def _cut(self, error: LlmuxError) -> None:
        if self.end or not self._inside:
            self._chance.violated("I4: cut, and was not served")
            return
        self._over("cut", error)

    def _lost(self, error: LlmuxError) -> None:
        del error
        if self.end or not self._inside:
            self._chance.violated("I4: lost, and was not served")
            return
        self._broken()

    # ---- at the backend --------------------------------------------------------------------------

    def _send(self) -> None:
        self._timer = None
        engine = self._engine
        if engine.truth is Truth.UP:
            engine.forwards[self._broken] = None
            first = self._service / 2
            self._timer = self._loop.call_later(first, self._answers)
        elif engine.truth is Truth.HUNG:
            self._in_vain()
        elif self._ticket is not None and self._switcher.loading(self._ticket) > 0:
            self._timer = self._loop.call_later(RETRY, self._send)
        elif engine.truth is Truth.ASLEEP:
            self._over("answered 503")
        else:
            self._broken()

    def _in_vain(self) -> None:
        """Wait for an answer that does not come, as long as a stream may be silent."""
        self._engine.forwards[self._broken] = None
        self._timer = self._loop.call_later(SILENCE, self._over, "timed out")

    def _answers(self) -> None:
        if self._engine.truth is Truth.HUNG:
            self._in_vain()
            return
        self._first_byte = True
        if self._ticket is not None:
            self._switcher.answered(self._ticket)
            self._watch.answered(self._ticket)
        self._timer = self._loop.call_later(self._service / 2, self._served)

    def _served(self) -> None:
        if self._engine.truth is Truth.HUNG:
            self._in_vain()
            return
        self._over("served")

    def _broken(self) -> None:
        self._forget()
        ticket = self._ticket
        if self.end or ticket is None:
            return
        if self._first_byte or self._rescued:
            self._over("broken")
            return
        self._rescued = True
        self._switcher.suspect(ticket, self._told)

    def _told(self, dead: bool) -> None:
        if self.end or self._ticket is None:
            return
        if not dead:
            self._over("unreachable")
            return
        self._inside = False
        self._switcher.rejoin(self._ticket)

    def _over(self, end: str, error: LlmuxError | None = None) -> None:
        if self.end:
            return
        self.end = end
        self.retry_after = error.retry_after if isinstance(error, NotReadyError) else None
        self._forget()
        switcher, ticket, next_ = self._switcher, self._ticket, None
        if end == "served" and self._announces and switcher.is_registered(self._announces):
            next_ = self._announces
        if ticket is not None:
            if next_ == self._engine.name:
                switcher.returning(ticket)
            switcher.leave(ticket)
        self._chance.note(f"visitor of {self._engine.name} {end}")
        if next_ is not None and next_ != self._engine.name:
            self._chance.note(f"announces {next_}")
            switcher.announce(next_)
        self.then()

    def _forget(self) -> None:
        self._engine.forwards.pop(self._broken, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def guest(switcher: WatchedSwitcher, model: str, seconds: float, kind: str) -> None:
    """Be served as a user of the library, by a block, by a lease, or with a second try."""
    try:
        if kind == "block":
            async with switcher.serving(model):
                await asyncio.sleep(seconds)
        elif kind == "lease":
            ticket = await switcher.acquire_in_flight(model)
            try:
                await asyncio.sleep(seconds)
            finally:
                switcher.leave(ticket)
        else:
            await _again(switcher, model, seconds)
    except LlmuxError:
        return


async def _again(switcher: WatchedSwitcher, model: str, seconds: float) -> None:
    ticket = switcher.ticket(model)
    try:
        await switcher.admission(ticket)
        await asyncio.sleep(seconds)
        if await switcher.dead(ticket):
            await switcher.readmission(ticket)
            await asyncio.sleep(seconds)
    finally:
        switcher.leave(ticket)


async def operator(switcher: WatchedSwitcher, model: str) -> None:
    """Force a switch and wait for it."""
    try:
        await switcher.force_switch(model)
    except LlmuxError:
        return
