"""Books of one life of the gateway: what it was told, and what clients, hooks and looks have told.

It refuses to know what must be true of them: that is the watch's, which stands on this floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core.board import Switchboard
from llmux.core.lane import LaneSettings
from llmux.core.ticket import Ticket
from proof.announced import Announced
from proof.chance import Chance
from proof.failures import Failures
from proof.following import Following

if TYPE_CHECKING:
    from proof.watched import WatchedSwitcher

OPERATOR = ev.OrderGiven(0, "").by
_NOTHING_NEW = frozenset(
    {ev.Looked, ev.TurnEnded, ev.AlarmRang, ev.RequestWaits, ev.RequestArrived, ev.PrepareEnded}
)
"""Facts of which the books have no line: the most frequent ones."""


class Books:
    """Who waits, who is inside, and what is known of each model, from facts alone."""

    def __init__(
        self,
        chance: Chance,
        lanes: Mapping[str, LaneSettings],
        max_buffered: int | None = None,
        hint_secs: float | None = None,
    ) -> None:
        self._chance = chance
        self._lanes = dict(lanes)
        self._config = Following(chance)
        self._hints = Announced(hint_secs)
        self._max_buffered = max_buffered
        self.waiting: dict[str, dict[Ticket, float]] = {name: {} for name in lanes}
        """Who waits for each model, in the order of arrival, and since when."""
        self.inside: dict[str, dict[Ticket, None]] = {name: {} for name in lanes}
        self._lost: set[Ticket] = set()
        """Who was inside when their model died or fell asleep, and has not left."""
        self._orphans: set[Ticket] = set()
        self._returned: set[Ticket] = set()
        self._told: dict[str, str] = dict.fromkeys(lanes, "unknown")
        """What hooks and looks have told of each model."""
        self._hook: fx.RunHook | None = None
        self._heard: set[str] = set()
        """Models that somebody waits for, and of which the policy has said something since then."""
        self._orders: dict[int, str] = {}
        self._operators: set[int] = set()
        """Orders that somebody waits for, as nobody does for those of a policy's scheduler."""
        self._restore: str | None = None
        self._failures = Failures()
        self._drain: tuple[str, float] | None = None
        """Which model is drained, and since when."""
        self._adopted: set[str] = set()
        self._started: tuple[str, str] | None = None
        self._closed = False
        self.over = False
        """The life has ended: what is still told is told to nobody."""
        self._heads: dict[str, tuple[Ticket | None, float]] = dict.fromkeys(lanes, (None, 0.0))
        """Who waits longest for each model, and since when that is so."""
        self._moment = (0.0, 0)
        self._beaten: float | None = None
        self._late_at = -1.0
        """When alarms are late by no fault of the gateway: the clock jumped, or bounds changed."""
        self._crowds: dict[str, int] = {}
        """How many were inside when another limit came."""
        self._board: Switchboard
        self._switcher: WatchedSwitcher

    def look_at(self, switcher: WatchedSwitcher, board: Switchboard) -> None:
        """Say whom the books are held against."""
        self._switcher = switcher
        self._board = board

    def jumped(self, now: float) -> None:
        """Hear that the clock has just jumped."""
        self._late_at = now
        self._beaten = None
        self._hints.jumped(now)

    # ---- facts ---------------------------------------------------------------------------------

    def before(self, event: ev.Event, now: float) -> None:
        """Hear a fact before the board does."""
        if type(event) in _NOTHING_NEW:
            return
        match event:
            case ev.HookEnded(number=number) if self._hook and number == self._hook.number:
                self._hook_ended(event, now)
            case ev.PolicyAnswered(model, _, decision, for_all):
                named = self.waiting if for_all else [getattr(decision, "target", None) or model]
                self._heard.update([one for one in named if self.waiting.get(one)])
            case ev.BackendDied(model, hung):
                if self._told[model] == "awake":
                    self._failures.dies(self._lanes[model], now)
                    self._told[model] = "hung" if hung else "dead"
                    self._orphans.update(self.inside[model])
                    if not hung:
                        self._adopted.discard(model)
                        self._lose(model)
            case ev.Recovered(model):
                if self._told[model] in {"hung", "unclear"}:
                    self._told[model] = "awake"
                    self._failures.found([model])
            case ev.Surveyed(awake, unclear):
                for name in self._told:
                    known = "awake" if name in awake else "unclear" if name in unclear else "dead"
                    self._told[name] = known
                self._adopted = {*awake, *unclear}
                self._failures.found(awake)
            case ev.RequestReturned(ticket):
                if self.inside[ticket.lane.name].pop(ticket, 0) is None or ticket in self._lost:
                    self._lost.discard(ticket)
                    self._orphans.discard(ticket)
                    self._returned.add(ticket)
            case ev.OrderGiven(number, model, by):
                self._orders[number] = model
                if by == OPERATOR:
                    self._operators.add(number)
            case ev.OrderWithdrawn(number):
                self._orders.pop(number, None)
            case ev.Announced(model) if not self._closed:
                self._hints.told(model, now)
            case ev.Reconfigured():
                self._follow(event, now)
            case ev.GatewayClosing():
                self._closed = True

    def _follow(self, event: ev.Reconfigured, now: float) -> None:
        """Hear of another config: other bounds hold from now on, what they end has a moment."""
        new = {one.name: one for one in event.models}
        self._config.begins(event, self._board.lanes, self._told)
        if event.rate_windows is not None:
            self._hints.listens(event.hint_secs, now)
        for name in self._config.gone:
            self._hints.over(name)
        for name in new.keys() - self._board.lanes.keys():
            self._told[name] = "unclear" if name in event.unclear else "asleep"
            self.waiting.setdefault(name, {})
            self.inside.setdefault(name, {})
            self._heads[name] = (None, now)
        self._told |= dict.fromkeys(event.awake, "awake")
        self._adopted |= {*event.awake, *event.unclear}
        self._failures.found(event.awake)
        self._lanes |= new
        self._max_buffered = event.max_buffered
        self._late_at = now
        for name, queue in self.waiting.items():
            self._returned |= queue.keys()
            self._heads[name] = (self._heads[name][0], now)
            for ticket in queue:
                queue[ticket] = now
        self._crowds = {name: len(inside) for name, inside in self.inside.items()}

    def _hook_ended(self, event: ev.HookEnded, now: float) -> None:
        hook, self._hook = self._hook, None
        assert hook is not None
        model = hook.model
        if hook.hook == "wake":
            self._hints.over(model)
            self._told[model] = "awake" if event.ok else "broken"
            self._failures.wakes(model)
            if not event.ok:
                self._failures.fails(self._lanes[model], now)
                self._restore = None if model == self._restore else hook.source
            else:
                self._restore = None
            return
        cleaning = hook.model == hook.target and hook.reason.startswith("clean up")
        self._told[model] = "asleep" if event.ok or cleaning else event.left
        if self._told[model] == "awake":
            self._failures.found([model])
        if self._told[model] == "asleep":
            self._adopted.discard(model)
            if not cleaning:
                self._lose(model)
        if cleaning:  # the rest begins when the clean-up is over
            self._failures.rests(self._lanes[model], now)

    def _lose(self, model: str) -> None:
        """Whoever is inside has lost the backend, and is counted no more."""
        self._lost.update(self.inside[model])
        self.inside[model].clear()

    def answered(self, ticket: Ticket) -> None:
        """Hear that a backend has answered somebody inside: its failures are forgiven."""
        if ticket in self.inside[ticket.lane.name]:
            self._failures.answers(ticket.lane.name)
