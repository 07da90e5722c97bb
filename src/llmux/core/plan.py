"""A switch as a plan: one target, the models that go to sleep for it, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from llmux.core.lane import Lane
from llmux.core.ticket import Ticket

IDLE = "idle"
"""The source of a cold start in labels and events."""


class Stage(Enum):
    """Where a switch stands. Before the first stage it is only a wish; after the last, settled."""

    DRAINING = "draining"
    SLEEPING = "sleeping"
    WAKING = "waking"
    CLEANING = "cleaning"
    """The wake failed and the target's own sleep hook cleans up."""


@dataclass(slots=True)
class Plan:
    """The one switch that runs. `leaving` shrinks as its models fall asleep."""

    number: int
    target: Lane
    source: Lane | None
    leaving: list[Lane]
    prepared: bool
    started: float
    stage: Stage = Stage.DRAINING
    hook: int = 0
    recovering: bool = False
    """Nobody is switched to: a model that should not be awake is put to sleep."""
    renewal: str = ""
    """Why a model that serves has to be put to sleep although nobody is switched to."""
    cut: bool = False
    """The drain has reached its bound: nobody is waited for any more."""
    rides: bool = False
    """Whoever will be answered before the drain ends may still be admitted."""
    ends: dict[Ticket, float] = field(default_factory=dict)
    """When those inside should have their answers, as far as somebody asked."""
    hook_seconds: float = field(default=0.0)
    wake_started: float = field(default=0.0)

    def retarget(self, target: Lane, now: float) -> None:
        """Go to another model than was begun for: a switch of its own that begins now.

        Where the model that was just put to sleep is wanted again, it is woken from idle.
        """
        self.target = target
        self.started = now
        if target is self.source:
            self.source = None
            self.hook_seconds = 0.0

    @property
    def source_name(self) -> str:
        """The model that is left, or `idle`."""
        return IDLE if self.source is None else self.source.name

    @property
    def drained(self) -> bool:
        """Whether the sleep hook may run: requests done and policy prepared, or cut."""
        return self.cut or (
            self.prepared
            and not any(lane.inside and lane.settings.drain_before_switch for lane in self.leaving)
        )
