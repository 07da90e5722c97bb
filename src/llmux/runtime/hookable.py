"""What the driver needs of whoever runs hooks, so that tests and simulators can stand in."""

from __future__ import annotations

from typing import Protocol


class HookOutcome(Protocol):
    """How one hook ended."""

    @property
    def ok(self) -> bool:
        """Whether it did its work."""
        ...

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None where it has none."""
        ...

    @property
    def duration(self) -> float:
        """Seconds from its start to its end."""
        ...

    @property
    def tail(self) -> str:
        """The end of what it printed."""
        ...

    @property
    def error(self) -> str | None:
        """A sentence for the operator where it failed."""
        ...


class Hooks(Protocol):
    """Wakes models and puts them to sleep; failures are outcomes, not exceptions."""

    def registered_models(self) -> list[str]:
        """Return the names of all models."""
        ...

    def model_port(self, model: str) -> int | None:
        """Return where the model's backend listens."""
        ...

    async def run_wake(
        self, model: str, *, from_model: str | None, to_model: str | None, reason: str
    ) -> HookOutcome:
        """Bring the model up from any state."""
        ...

    async def run_sleep(
        self, model: str, *, from_model: str | None, to_model: str | None, reason: str
    ) -> HookOutcome:
        """Free the model's resources."""
        ...
