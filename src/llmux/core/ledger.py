"""What the board knows, and what can be told from it: the state that all its floors share.

Here stands why a request would be sent away, how long one has to wait, and the note of each ruling.
Nothing here moves a request or a model; that is for the floors above.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmux.core import effects as fx
from llmux.core import news as n
from llmux.core.costs import SwitchCostTracker
from llmux.core.lane import Change, Lane, LaneSettings, Phase
from llmux.core.observations import Services
from llmux.core.places import EXCLUSIVE, Needs
from llmux.core.plan import Plan
from llmux.core.rulings import Ruling, Rulings, waiters
from llmux.core.times import Times
from llmux.errors import (
    DrainingError,
    LlmuxError,
    NotReadyError,
    NotRegisteredError,
    QueueFullError,
)
from llmux.policy.base import Reason

_AWAKE = Phase.AWAKE


class Ledger:
    """The state of the board, and questions about it."""

    def __init__(
        self,
        models: Iterable[LaneSettings],
        *,
        rate_windows: tuple[float, ...] = (),
        hint_secs: float | None = None,
        needs: Needs | None = None,
        capacities: Mapping[str, float] = EXCLUSIVE,
        survey: bool = False,
        max_buffered: int | None = None,
    ) -> None:
        self.lanes = {one.name: Lane(one, rate_windows) for one in models}
        self.rate_windows = rate_windows
        self.needs: Needs = needs or {}
        self.capacities = capacities
        self.awake: list[Lane] = []
        """Models that are awake and admit, longest awake first."""
        self.plan: Plan | None = None
        self.orders: dict[int, Lane] = {}
        self.hint_secs = hint_secs
        """How long a hint counts; None: hints are not listened to."""
        self.hints: dict[Lane, int] = {}
        """Models that clients have announced, oldest first, and how often each is looked at yet."""
        self.bounded = any(lane.settings.max_wait is not None for lane in self.lanes.values())
        """Some model has a bound of its waits: without one nobody is ever overdue."""
        self.asking: set[str] = set()
        """Models about which the policy was asked and has not answered yet."""
        self.dirty = False
        """Something has changed since the policy was asked last."""
        self.turn_asked = False
        self.closed = False
        self.stale: set[Lane] = set()
        """Models in which another request is to be watched since this turn of `handle`."""
        self.held = False
        """Somebody is overdue: the active model admits nothing new."""
        self.restore: Lane | None = None
        """The model that a failed wake took the accelerator from."""
        self.waiting_total = 0
        self.buffered = 0
        """Bytes of all requests that wait."""
        self.max_buffered = max_buffered
        self.costs = SwitchCostTracker()
        self.services = Services()
        self.times = Times()
        self.rulings = Rulings()
        self.first_arrival: float | None = None
        self.news: list[n.News] = []
        self._effects: list[fx.Effect] = []
        self._number = 0
        self.changing = False
        """Some model is up that the config has changed or does not have any more."""
        self.surveying = survey
        """The look at every model at the start is not over yet."""
        if survey:
            for lane in self.lanes.values():
                lane.phase = Phase.UNKNOWN

    # ---- what is looked up and told ------------------------------------------------------

    def lane(self, model: str) -> Lane:
        """Return the lane of a model; NotRegisteredError if there is none."""
        lane = self.lanes.get(model)
        if lane is None or lane.change is Change.REMOVE:
            raise NotRegisteredError(f"model not found: {model!r}")
        return lane

    def fold(self, now: float) -> None:
        """Work the exits that were logged into the times and the averages."""
        exits = self.services.log
        self.times.settle(self.lanes.values(), exits, now)
        for lane in (exits[0][0],) if len(exits) == 1 else {one[0] for one in exits}:
            if lane.rate_windows:
                oldest = next(iter(lane.inside), None)  # who came first stands first
                mine = [(admitted, left) for one, admitted, left in exits if one is lane]
                lane.lulls.read_exits(mine, None if oldest is None else oldest.admitted or 0.0)
        self.services.fold()

    def take_news(self) -> list[n.News]:
        """Hand over what has become worth telling since the last call."""
        out, self.news = self.news, []
        return out

    def _note(
        self,
        rule: str,
        lane: Lane,
        *facts: object,
        again: float | None = None,
        reason: str | Reason | None = None,
    ) -> Ruling:
        """Remember what was decided about a model, and why; it changes nothing."""
        if self.plan is not None:
            active = self.plan.source
        else:
            active = self.awake[-1] if self.awake else None
        rulings, name = self.rulings, None if active is None else active.name
        ruling = rulings.note(rule, lane, name, facts, again, reason)
        if ruling.count == 1 and self.waiting_total > len(lane.waiting):
            ruling.alternatives = tuple(
                waiters(other, rulings.now)
                for other in self.lanes.values()
                if other.waiting and other is not lane
            )
        return ruling

    # ---- who may not wait ----------------------------------------------------------------

    def refusal(self, lane: Lane, now: float, size: int = 0) -> LlmuxError | None:
        """Say why a request of so many bytes is not even queued for this model, None if it is."""
        if self.closed:
            return DrainingError("the gateway is shutting down", retry_after=1.0)
        if lane.resting and lane.phase is not _AWAKE and lane.change is not Change.REMOVE:
            left = 0.0 if lane.rest_until is None else max(0.0, lane.rest_until - now)
            return NotReadyError(
                f"{lane.name} failed to wake; it is tried again in {left:.1f} s", retry_after=left
            )
        return self._forbidden(lane) or self._crowded(lane, now, size)

    def _forbidden(self, lane: Lane) -> LlmuxError | None:
        """Say why not even a request that was inside already may wait for this model."""
        if self.closed:
            return DrainingError("the gateway is shutting down", retry_after=1.0)
        if lane.change is Change.REMOVE:
            return removed(lane.name)
        if lane.phase is Phase.QUARANTINED:
            return NotReadyError(
                f"{lane.name} is in quarantine: it is neither alive nor provably asleep",
                retry_after=lane.settings.breaker_max,
            )
        return None

    def _crowded(self, lane: Lane, now: float, size: int) -> LlmuxError | None:
        """Say which bound of those who wait one more request would pass."""
        if self.has_room(lane):
            return None
        bound, most = lane.settings.max_queue, self.max_buffered
        if bound is not None and len(lane.waiting) >= bound:
            return QueueFullError(
                f"{bound} requests wait for {lane.name} already",
                retry_after=self.estimate(lane, now),
            )
        if most is not None and size > most:
            error = QueueFullError(
                f"the request's {size} bytes may not wait: max_buffered_bytes is {most}"
            )
            error.retryable = False
            return error
        if most is not None and self.buffered + size > most:
            return QueueFullError(
                f"the requests that wait hold {self.buffered} bytes already: "
                f"{size} more would pass max_buffered_bytes, which is {most}",
                retry_after=self.estimate(lane, now),
            )
        return None

    def has_room(self, lane: Lane) -> bool:
        """Say whether the model admits one more request now."""
        return lane.phase is _AWAKE and not self.held and not self.closed and lane.has_place

    def estimate(self, lane: Lane, now: float) -> float:
        """Guess in how many seconds the model may serve, from learned costs and the backlog."""
        self.fold(now)
        costs = self.costs
        turns = 0.0 if lane.limit is None else (len(lane.waiting) + 1) / lane.limit
        ahead = turns * (lane.service_mean or 0.0)
        if lane.phase is _AWAKE:
            return max(1.0, ahead)
        seconds = (costs.hook_seconds(lane.name, "wake") or 5.0) + ahead
        for other in self.lanes.values():
            if other is lane:
                continue
            if other.phase in {Phase.AWAKE, Phase.DRAINING}:
                seconds += costs.hook_seconds(other.name, "sleep") or 1.0
                seconds += (other.service_mean or 0.0) * bool(other.inside)
            elif other.waiting:
                seconds += costs.hook_seconds(other.name, "wake") or 5.0
        plan = self.plan
        if plan is not None and plan.target is lane:
            seconds = max(1.0, seconds - (now - plan.started))
        return seconds


def removed(model: str) -> NotRegisteredError:
    """Say to whoever still comes for it that the model was taken out of the config."""
    return NotRegisteredError(f"model not found: {model!r} was taken out of the config")
