"""A request's stake in the board: which model it wants, where it stands, whom to tell.

It is the one object allocated for a request, so it is bare: slots and no behaviour. It refuses
to know what a request looks like; whoever made the ticket is told through three callables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from llmux.core.lane import Lane
    from llmux.errors import LlmuxError

NEW: Final = 0
WAITING: Final = 1
INSIDE: Final = 2
GONE: Final = 3
LOST: Final = 4
"""Inside a life of its backend that is over: not counted for the next one, and not left yet."""
BEREFT: Final = 5
"""Lost because its backend was found dead or hung: it may be sent again, in the next life."""


def _ignore() -> None:
    """Do nothing: the owner did not ask to be told."""


def _ignore_error(error: LlmuxError) -> None:
    """Do nothing: the owner did not ask to be told."""


class Ticket:
    """One request at the board, from its arrival until `leave`.

    `arrived` and `admitted` are on the driver's clock, in seconds; `size` is what the request
    holds in memory while it waits, in bytes. Once it waits, exactly one of `on_admitted` and
    `on_rejected` is called, unless it leaves first; `on_cut` is called when a drain reached its
    bound and the board has already counted the request out; `on_lost` when its backend hangs and
    is ended: it may come back if it has had nothing of an answer. `weight` is its model's
    priority; an owner that knows more sets it before `enter` (`core.priority.weight`).
    """

    __slots__ = (
        "admitted",
        "arrived",
        "lane",
        "on_admitted",
        "on_cut",
        "on_lost",
        "on_rejected",
        "size",
        "stage",
        "switched_from",
        "weight",
    )

    def __init__(self, lane: Lane, arrived: float = 0.0) -> None:
        self.begin(lane, arrived)
        self.on_admitted: Callable[[], None] = _ignore
        self.on_rejected: Callable[[LlmuxError], None] = _ignore_error
        self.on_cut: Callable[[LlmuxError], None] = _ignore_error
        self.on_lost: Callable[[LlmuxError], None] = _ignore_error

    def begin(self, lane: Lane, arrived: float) -> None:
        """Stand as a request for this model; whom to tell stays as it is."""
        self.lane = lane
        self.stage: int = NEW
        self.arrived = arrived
        self.admitted: float | None = None
        self.weight = lane.settings.priority
        self.size = 0
        self.switched_from: str | None = None

    def most_tokens(self) -> int | None:
        """Return how many tokens its client allows for the answer; None where it names no bound.

        Asked only while the model is left, never for a request whose model is awake.
        """
        return None

    @property
    def model(self) -> str:
        """The model that the request names."""
        return self.lane.name

    @property
    def proven(self) -> bool:
        """Whether the backend has answered with anything but 503 since its wake."""
        return self.lane.proven

    def __repr__(self) -> str:
        stage = ("new", "waiting", "inside", "gone", "lost")[self.stage]
        return f"<Ticket {self.lane.name} {stage}>"
