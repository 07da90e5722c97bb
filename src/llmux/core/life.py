"""Life and death of backends as the board is told of them: survey at the start, death, recovery."""

from __future__ import annotations

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core import news as n
from llmux.core.lane import Change, Lane, Phase
from llmux.core.places import victims
from llmux.core.plan import Plan, Stage
from llmux.core.switching import Switching
from llmux.core.ticket import BEREFT, INSIDE, Ticket
from llmux.errors import BackendUnreachableError


class Life(Switching):
    """The rules for models whose state changes without a switch."""

    def _survey(self, awake: tuple[str, ...], unclear: tuple[str, ...], now: float) -> None:
        """Adopt what was found awake, the most recent first; what does not fit has to sleep."""
        if not self.surveying:
            return
        self.surveying = False
        for lane in self.lanes.values():
            lane.phase = Phase.ASLEEP
        kept: list[str] = []
        extra: list[Lane] = [self.lanes[name] for name in unclear]
        for lane in extra:
            lane.phase = Phase.DRAINING
        for name in reversed(awake):
            lane = self.lanes[name]
            if victims(name, kept, self.needs, self.capacities):
                lane.phase = Phase.DRAINING
                extra.append(lane)
            else:
                kept.append(name)
        for name in reversed(kept):
            lane = self.lanes[name]
            lane.phase = Phase.AWAKE
            lane.activated_at = now
            lane.proven = True
            self.awake.append(lane)
            self.news.append(n.Adopted(name))
            self._note("adopted", lane)
            self._admit_waiting(lane, now, None)
            self._settle_orders(lane, None)
        self.dirty = True
        if extra:
            self._recover(extra, now)

    def _recover(self, lanes: list[Lane], now: float) -> None:
        """Put models to sleep that should not be awake; whoever is wanted is woken afterwards."""
        self._number += 1
        plan = Plan(
            self._number, lanes[0], None, lanes, prepared=True, started=now, recovering=True
        )
        for lane in lanes:
            self._note("recover", lane)
        self.plan = plan
        self._sleep_or_wake(plan, now)

    def _die(self, event: ev.BackendDied, now: float) -> None:
        """Stop admitting to a backend that is dead or hangs; it is woken when somebody waits.

        One that dies while it drains has left; for the answers of one that hangs nobody waits.
        """
        lane = self.lanes[event.model]
        plan = self.plan
        self.fold(now)
        if lane.phase is Phase.AWAKE:
            self.awake.remove(lane)
        elif plan is None or plan.stage is not Stage.DRAINING or lane not in plan.leaving:
            return
        elif not event.hung:
            plan.leaving.remove(lane)
        self.dirty = True
        since = lane.activated_at
        self.news.append(n.BackendDied(lane.name, event.hung, event.error))
        self._note("died", lane, event.hung, event.error)
        if plan is None or lane not in plan.leaving:  # else the end of its drain tells it
            self.news.append(n.ModelDeactivated(lane.name, 0.0 if since is None else now - since))
        if lane.fresh:
            lane.fresh = False
            self._effects.append(fx.CancelAlarm(("min_active", lane.name)))
        self._come_loose(lane)
        if not lane.proven:
            self._trip(lane, now)
        lane.proven = False
        if not event.hung:
            lane.phase = Phase.ASLEEP
            lane.end_life(died=True)
            self.news.append(n.ModelAsleep(lane.name))
        elif lane.phase is Phase.DRAINING:
            self._lose_inside(lane, event.error)
            self._end_hung_drain(lane, now)
        elif self.plan is None and not self.closed:
            self._lose_inside(lane, event.error)
            self._recover([lane], now)
        else:
            self._quarantine(lane, event.error)
        if lane.resting:
            self._reject_waiting(lane, self.refusal(lane, now))

    def _lose_inside(self, lane: Lane, error: str) -> None:
        """Wait no more for the answers of a backend that hangs: it is about to be ended."""
        lost = list(lane.inside)
        lane.end_life(died=True)
        why = BackendUnreachableError(f"The model's backend hangs: {error or 'no answer'}")
        for ticket in lost:
            self._effects.append(fx.Lose(ticket, why))

    def _end_hung_drain(self, lane: Lane, now: float) -> None:
        """Put the model to sleep at once, whatever the policy still prepares."""
        plan = self.plan
        if plan is None:
            return
        others = [one for one in plan.leaving if one is not lane]
        if any(one.inside and one.settings.drain_before_switch for one in others):
            return  # those are waited for, and it goes with them
        self._end_drain(plan, now)

    def bereft(self, ticket: Ticket) -> bool:
        """Whether its backend died or hung while it was inside: it may be sent again."""
        plan = self.plan
        if ticket.stage == INSIDE and plan is not None and ticket.lane in plan.leaving:
            return plan.recovering and not plan.renewal
        return ticket.stage == BEREFT

    def _recovered(self, lane: Lane, now: float) -> None:
        """Let a quarantined model that was seen alive serve again."""
        if lane.phase is not Phase.QUARANTINED or lane.change is Change.REMOVE:
            return
        if self.plan is not None:  # a switch began before it was known of; it is seen again
            return
        settled = (Phase.ASLEEP, Phase.QUARANTINED)
        others = [one.name for one in self.lanes.values() if one.phase not in settled]
        if victims(lane.name, others, self.needs, self.capacities):
            return
        self._release(lane)
        lane.proven = True
        lane.activated_at = now
        self.dirty = True
        self._serve_on(lane, now)

    def _unstick(self, lane: Lane, now: float) -> None:
        """Try again what failed: a quarantined model is put to sleep, another may be left."""
        lane.stuck = False
        self.dirty = True
        if lane.phase is not Phase.QUARANTINED or self.closed:
            return
        if self.plan is None:
            self._recover([lane], now)
        else:
            self._get_stuck(lane)

    def _fall_due(self, lane: Lane, now: float) -> None:
        """Note who is overdue: whoever was watched, and who came in the same moment."""
        watched = lane.watched
        if watched is None:
            return
        for ticket in lane.waiting:
            if ticket.arrived > watched.arrived:
                break
            lane.late.add(ticket)
        self._watch(lane, now)
        self.dirty = True
