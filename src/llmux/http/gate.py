"""What the relay asks of the switching core and of the metrics, and nothing beyond it.

The real ones are `llmux.runtime` and `llmux.telemetry`; whoever has these few methods can stand
in for them. This file holds no behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from llmux.core.ticket import Ticket

__all__ = ["Gate", "Meter", "Ticket"]


class Gate(Protocol):
    """Admits requests to the models that are awake and lets the others wait."""

    def ticket(self, model: str) -> Ticket:
        """Make a ticket; `NotRegisteredError` for a model that is not in the config."""
        ...

    def is_registered(self, model: str) -> bool:
        """Whether the config has this model."""
        ...

    def registered_models(self) -> list[str]:
        """All models of the config."""
        ...

    def enrol(self, ticket: Ticket, model: str) -> None:
        """Make the ticket one for this model that arrives now; else as `ticket`."""
        ...

    def arrive(self, ticket: Ticket, model: str, size: int) -> bool:
        """`enrol` and `enter` in one, for a request of so many bytes that says nothing more."""
        ...

    def enter(self, ticket: Ticket) -> bool:
        """Admit at once (True) or let it wait (False).

        Who waits hears exactly one of `on_admitted` and `on_rejected` later, never inside this
        call, unless it leaves first. Raises a `LlmuxError` where waiting would be in vain.
        """
        ...

    def leave(self, ticket: Ticket) -> None:
        """The one exit, for waiting and for admitted tickets, harmless twice."""
        ...

    def announce(self, model: str) -> None:
        """Hear of a client that was answered just now and says that it asks for `model` next."""
        ...

    def returning(self, ticket: Ticket) -> None:
        """Hear, before it leaves, that its client asks the same model again at once."""
        ...

    def loading(self, ticket: Ticket) -> float:
        """Seconds for which a refused connect or a 503 may be retried after the wake."""
        ...

    def answered(self, ticket: Ticket) -> None:
        """Hear that the backend gave its first answer other than 503 since its wake."""
        ...

    def suspect(self, ticket: Ticket, told: Callable[[bool], None]) -> None:
        """Look whether the ticket's backend is dead, because it refused or broke.

        `told` hears once, never inside this call, whether the ticket may `rejoin`.
        """
        ...

    def rejoin(self, ticket: Ticket) -> None:
        """Let a request wait again that was inside, because its backend is dead."""
        ...

    def model_status(self, model: str) -> str:
        """One of unloaded, loading, loaded and sleeping, for lists of models."""
        ...


class Meter(Protocol):
    """Counts one model's requests in plain numbers, without a look-up a request."""

    at_once: int
    """Requests whose model was awake; the relay adds them up here, and calls no `waited`."""

    def waited(self, seconds: float) -> None:
        """Record the time from arrival to admission or refusal."""
        ...

    def answered(self, status: int, seconds: float) -> None:
        """Record an answer's status and the time from arrival to its first byte."""
        ...
