"""Our relay with a gate that lets everybody pass: what the data plane costs by itself.

The difference to the whole llmux is the price of switching, metrics and the rest of the house.
Runs as a process of its own: `python -m bench.bare PORT BACKEND_PORT`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import uvloop

from llmux.core.lane import Lane, LaneSettings
from llmux.core.ticket import Ticket
from llmux.errors import NotRegisteredError
from llmux.http import Gateway, Limits


class OpenGate:
    """Has one model, which is always awake; keeps no books."""

    def __init__(self, model: str) -> None:
        self._lane = Lane(LaneSettings(model))
        self._lane.proven = True
        self._now = asyncio.get_running_loop().time

    def ticket(self, model: str) -> Ticket:
        """Make a ticket."""
        if model != self._lane.name:
            raise NotRegisteredError(f"model not found: {model!r}")
        return Ticket(self._lane, self._now())

    def enrol(self, ticket: Ticket, model: str) -> None:
        """Make it a ticket for the one model."""
        ticket.begin(self._lane, self._now())

    def arrive(self, ticket: Ticket, model: str, size: int) -> bool:
        """Admit."""
        ticket.begin(self._lane, self._now())
        return True

    def is_registered(self, model: str) -> bool:
        """Whether it is the one."""
        return model == self._lane.name

    def registered_models(self) -> list[str]:
        """The one model."""
        return [self._lane.name]

    def enter(self, ticket: Ticket) -> bool:
        """Admit."""
        return True

    def leave(self, ticket: Ticket) -> None:
        """Forget."""

    def loading(self, ticket: Ticket) -> float:
        """Never."""
        return 0.0

    def answered(self, ticket: Ticket) -> None:
        """Hear nothing new."""

    def suspect(self, ticket: Ticket, told: Callable[[bool], None]) -> None:
        """Suspect nothing."""
        asyncio.get_running_loop().call_soon(told, False)

    def returning(self, ticket: Ticket) -> None:
        """Nobody looks."""

    def announce(self, model: str) -> None:
        """Hear nothing new."""

    def rejoin(self, ticket: Ticket) -> None:
        """Never asked: nothing is ever found dead."""

    def model_status(self, model: str) -> str:
        """Always loaded."""
        return "loaded"


class NoMeter:
    """Counts nothing."""

    at_once = 0

    def waited(self, seconds: float) -> None:
        """Ignore it."""

    def answered(self, status: int, seconds: float) -> None:
        """Ignore it."""


async def serve(port: int, backend_port: int) -> None:
    """Relay until the process is ended."""
    meter = NoMeter()
    gateway = Gateway(
        OpenGate("m0"), {"m0": backend_port}, Limits(), lambda model: meter, lambda: b""
    )
    await gateway.start("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
