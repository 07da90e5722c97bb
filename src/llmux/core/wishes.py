"""What the policy wants, as far as the board has to remember it.

Answers become wishes; a wish never moves anything by itself. This floor refuses to know what a
switch is.
"""

from __future__ import annotations

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core.desk import Desk
from llmux.core.lane import Lane, Phase, Wish
from llmux.core.ride import Pace
from llmux.policy.base import Decision, Defer, Skip, SwitchNow

ASK_AGAIN_SECONDS = 5.0
"""When a policy is asked again at the latest after a Skip that names no time."""
SHORTEST_ASK = 0.001

# An enum's member costs several times what a name does, and these are asked for at each decision.
_ASLEEP = Phase.ASLEEP
_new = tuple.__new__  # so are the names of a tuple's fields
_NONE, _NOW, _DEFERRED, _MATURED = Wish.NONE, Wish.NOW, Wish.DEFERRED, Wish.MATURED


class Wishes(Desk):
    """The rules for asking the policy and for what its answers mean."""

    # ---- the policy ----------------------------------------------------------------------

    def askable(self) -> list[Lane]:
        """Return the inactive models that somebody waits for, oldest waiter first.

        Where nobody waits or is served: those that a client has announced, oldest hint first.
        """
        if not self.waiting_total:
            return self.hinted() if self.hints else []
        found = [
            lane
            for lane in self.lanes.values()
            if lane.waiting and lane.phase is _ASLEEP and not lane.resting
        ]
        if len(found) > 1:
            found.sort(key=_since)
        return found

    def _anybody_askable(self) -> bool:
        """Say whether `askable` names any model."""
        if self.waiting_total:
            for lane in self.lanes.values():
                if lane.waiting and lane.phase is _ASLEEP and not lane.resting:
                    return True
        return bool(self.hints and not self.waiting_total and self.hinted())

    def _wished(self) -> list[Lane]:
        """Return those of the askable models that the policy wants now, oldest waiter first."""
        for lane in self.lanes.values():
            if lane.wish is _NOW or lane.wish is _MATURED:
                return [one for one in self.askable() if one.wish is _NOW or one.wish is _MATURED]
        return []

    def hinted(self) -> list[Lane]:
        """Return the announced models that may be woken, unless somebody is served."""
        if any(lane.inside for lane in self.awake):
            return []
        return [one for one in self.hints if one.phase is _ASLEEP and not one.resting]

    def _end_turn(self) -> None:
        self.turn_asked = False
        if self.plan is not None or self.asking:
            return
        self.dirty = False
        for lane in self.askable():
            name = lane.name
            self._number += 1
            lane.asked = self._number
            self.asking.add(name)
            self._effects.append(_new(fx.Consult, (name, self._number)))

    def _take_answer(self, told: ev.PolicyAnswered) -> None:
        """Hear an answer, for all who were asked about where it holds for all.

        Then the model that it was given about may be gone; the others still wait for it.
        """
        if not told.for_all:
            self._hear(self.lanes[told.model], told.number, told.decision)
            return
        asking, since = self.asking, told.number
        asked = [one for one in self.lanes.values() if one.name in asking and one.asked >= since]
        asked.sort(key=_asked)
        for lane in asked:
            self._hear(lane, lane.asked, told.decision)

    def _hear(self, asked: Lane, number: int, decision: Decision) -> None:
        if asked.asked != number or asked.name not in self.asking:
            return
        self.asking.discard(asked.name)
        lane = self.lanes.get(decision.target, asked) if decision.target else asked
        if lane is not asked and asked.waiting:
            if asked.wish is _NOW:
                asked.wish = _NONE
            self._ask_later(asked, ASK_AGAIN_SECONDS)
            again = ASK_AGAIN_SECONDS
            self._note("preferred", asked, lane.name, again=again, reason=decision.reason)
        if not (lane.waiting or lane in self.hints) or lane.phase is not _ASLEEP:
            return
        lane.reason = decision.reason
        match decision:
            case Skip():
                again = ASK_AGAIN_SECONDS if decision.ask_again is None else decision.ask_again
                if lane.wish is _DEFERRED:
                    self._effects.append(fx.CancelAlarm(("defer", lane.name)))
                lane.wish = _NONE
                self._ask_later(lane, again)
                self._note("skip", lane, again=again, reason=decision.reason)
            case SwitchNow():
                if lane.wish is _DEFERRED:
                    self._effects.append(fx.CancelAlarm(("defer", lane.name)))
                lane.wish = _NOW
                lane.rides = decision.free_ride
                if decision.free_ride:
                    self._learn_paces()
            case Defer(wait):
                self._defer(lane, wait)

    def _learn_paces(self) -> None:
        for lane in self.lanes.values():
            if lane.pace is None:
                lane.pace = Pace()

    def _defer(self, lane: Lane, wait: object) -> None:
        if lane.wish is Wish.MATURED:
            return
        running = lane.wish is Wish.DEFERRED
        lane.wish = Wish.DEFERRED
        self._note_defer(lane, wait, running)
        if isinstance(wait, int | float):
            alarm = fx.SetAlarm(("defer", lane.name), max(0.0, wait), keep_earlier=running)
            self._effects.append(alarm)
        else:
            self._effects.append(fx.AwaitDefer(lane.name, wait))  # type: ignore[arg-type]

    def _note_defer(self, lane: Lane, wait: object, running: bool) -> None:
        before = self.rulings.last.get(lane.name) if running else None
        ends = before.until if before is not None and before.rule == "defer" else None
        again = max(0.0, wait) if isinstance(wait, int | float) else None
        ruling = self._note("defer", lane, again=again, reason=lane.reason)
        if ends is not None and (ruling.until is None or ends < ruling.until):
            ruling.until = ends

    def _mature(self, lane: Lane) -> None:
        if lane.wish is Wish.DEFERRED:
            # A time and an awaitable may run side by side; the first to end ends both.
            self._effects.append(fx.CancelAlarm(("defer", lane.name)))
            lane.wish = Wish.MATURED

    def _ask_later(self, lane: Lane, seconds: float) -> None:
        soon = seconds if seconds > SHORTEST_ASK else SHORTEST_ASK
        self._effects.append(_new(fx.SetAlarm, (("ask", lane.name), soon, False)))


def _asked(lane: Lane) -> int:
    return lane.asked


def _since(lane: Lane) -> float:
    return next(iter(lane.waiting)).arrived
