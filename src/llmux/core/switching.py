"""The switch, in the order in which it happens: choose, drain, sleep, wake, settle.

This floor moves only when facts allow; it is told of them by the table in `board`. Who is chosen,
and what holds a switch back, is said on the floors below.
"""

from __future__ import annotations

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core import news as n
from llmux.core.choosing import Choosing
from llmux.core.lane import Lane, Phase, Wish
from llmux.core.places import victims
from llmux.core.plan import Plan, Stage
from llmux.core.ride import may_ride
from llmux.core.sentences import said
from llmux.core.ticket import GONE
from llmux.errors import DrainTimeoutError, HookFailedError

# An enum's member costs several times what a name does, and this is asked for at each fact.
_DRAINING = Stage.DRAINING


class Switching(Choosing):
    """The rules of one switch."""

    # ---- the switch, in the order in which it happens --------------------------------------

    def _advance(self, now: float) -> None:
        """Go on as far as the facts allow, then ask for a turn if the policy has to be asked."""
        while True:
            if self.stale:
                self._renew_watches(now)
            if self._step(now):
                continue
            self._hold()
            if not self._admit_more(now):
                break
        if self.plan is None and self.dirty and not self.turn_asked and not self.asking:
            if self._anybody_askable():
                self.turn_asked = True
                self._effects.append(fx.AskTurn())
            else:
                self.dirty = False

    def _step(self, now: float) -> bool:
        plan = self.plan
        if plan is None:
            return self._begin(now)
        if plan.stage is not _DRAINING:
            return False
        if not self._wanted(plan.target):
            self._abandon(plan, now)
            return True
        if plan.rides and self._give_rides(plan, now):
            return True
        if not plan.drained:
            return False
        self._end_drain(plan, now)
        return True

    def _give_rides(self, plan: Plan, now: float) -> bool:
        """Admit who will be answered before the drain ends, in order, unless anybody is overdue."""
        if self.closed or plan.cut or any(lane.overdue for lane in self.lanes.values()):
            return False
        before = self.waiting_total
        for lane in plan.leaving:
            while lane.has_place and (ticket := self._next(lane, now)):
                if not may_ride(plan, lane, ticket, now):
                    break
                self._admit(ticket, now, None)
        return self.waiting_total < before

    def _admit_more(self, now: float) -> bool:
        """Admit who was held back, as far as there is room; while others are held, who is owed."""
        before = self.waiting_total
        late = self._late() if self.held else None
        for lane in self.awake:
            if not lane.waiting:
                continue
            if late is None:
                self._admit_waiting(lane, now, None)
                continue
            while lane.has_place and self._owes(lane, late) and (owed := lane.oldest):
                self._admit(owed, now, None)
        return self.waiting_total < before

    def _begin(self, now: float) -> bool:
        target = None if self.closed or self.surveying else self._choose(now)
        if target is None:
            return False
        awake = [lane.name for lane in (*self.quarantined, *self.awake)]
        going = victims(target.name, awake, self.needs, self.capacities)
        leaving = [self.lanes[name] for name in going]
        if self._blocked(target, leaving, now):
            return False
        for lane in leaving:
            if self._owes(lane, target):
                self._note("max_in_flight", target, lane.name, len(lane.waiting), lane.limit)
                return False
        self._number += 1
        source = leaving[0] if leaving else None
        plan = Plan(self._number, target, source, leaving, prepared=source is None, started=now)
        plan.rides = target.rides and target.wish is Wish.NOW and not target.overdue
        self.plan = plan
        self._note_start(plan)
        self.restore = target if target is self.restore else None
        self.news.append(n.SwitchStarted(plan.source_name, target.name))
        for lane in leaving:
            lane.phase = Phase.DRAINING
            self.awake.remove(lane)
        if source is not None:
            self._effects.append(fx.Prepare(plan.number, source.name, target.name))
            bound = source.settings.drain_timeout
            if bound is not None:
                self._effects.append(fx.SetAlarm(("drain", source.name), bound))
        return True

    def _abandon(self, plan: Plan, now: float) -> None:
        self._stop_drain(plan)
        self._note("abandoned", plan.target, False)
        self.plan = None
        self.dirty = True
        self.news.append(n.SwitchAbandoned(plan.source_name, plan.target.name))
        for lane in plan.leaving:
            self._serve_on(lane, now)

    def _stop_drain(self, plan: Plan) -> None:
        if plan.source is None:
            return
        if plan.source.settings.drain_timeout is not None:
            self._effects.append(fx.CancelAlarm(("drain", plan.source.name)))
        if not plan.prepared:
            self._effects.append(fx.DropPrepare(plan.number))
            plan.prepared = True

    def _cut(self, source: Lane) -> None:
        """End the drain at its bound: answers that still run are cut and counted out."""
        plan = self.plan
        if plan is None or plan.stage is not Stage.DRAINING or source is not plan.source:
            return
        plan.cut = True
        if not plan.prepared:
            plan.prepared = True
            self._effects.append(fx.DropPrepare(plan.number))
        for lane in plan.leaving:
            if not lane.settings.drain_before_switch:
                continue
            if not lane.settings.cut_drain:
                plan.cut = False
                continue
            bound = lane.settings.drain_timeout or 0.0
            why = plan.renewal or f"for {plan.target.name}"
            error = DrainTimeoutError(
                f"{lane.name} was put to sleep, {why}: "
                f"the answer still ran after {bound:g} s of draining"
            )
            for ticket in list(lane.inside):
                ticket.stage = GONE
                self._effects.append(fx.Cut(ticket, error))
            if lane.inside:
                self.news.append(n.DrainCut(lane.name, len(lane.inside)))
                self._note("drain_cut", lane, len(lane.inside), bound, plan.target.name)
            lane.inside.clear()

    def _end_drain(self, plan: Plan, now: float) -> None:
        self._stop_drain(plan)
        if plan.source is not None and not plan.recovering:
            seconds = now - plan.started
            self.news.append(n.DrainEnded(plan.source.name, plan.target.name, seconds))
        for lane in plan.leaving:
            since = lane.activated_at
            self.news.append(n.ModelDeactivated(lane.name, 0.0 if since is None else now - since))
        self._sleep_or_wake(plan, now)

    def _sleep_or_wake(self, plan: Plan, now: float) -> None:
        if plan.leaving:
            lane = plan.leaving[0]
            plan.stage = Stage.SLEEPING
            lane.phase = Phase.SLEEPING
            reason = f"make room for {plan.target.name}"
            if plan.recovering:
                reason = plan.renewal or "recover"
            self._run(plan, "sleep", lane, reason, now)
            return
        if plan.recovering:
            self.plan = None
            self.dirty = True
            return
        if self._barred(plan.target):
            self.news.append(n.SwitchAbandoned(plan.source_name, plan.target.name))
            self.plan = None
            self.dirty = True
            return
        if self.closed or not self._wanted(plan.target):
            self.news.append(n.SwitchAbandoned(plan.source_name, plan.target.name))
            other = None if self.closed else self._next_best(now)
            if other is None:
                self._note("abandoned", plan.target, True)
                self.plan = None
                self.dirty = True
                return
            self._note("retargeted", other, plan.target.name)
            plan.retarget(other, now)
            self.news.append(n.SwitchStarted(plan.source_name, other.name))
        plan.stage = Stage.WAKING
        plan.target.phase = Phase.WAKING
        plan.wake_started = now
        target = plan.target
        why = said(target.reason, target.name)
        asked = "requested" if target.waiting else "ordered"
        why = why or ("announced" if target in self.hints and not target.waiting else asked)
        self._run(plan, "wake", target, why, now)

    def _run(self, plan: Plan, hook: str, lane: Lane, reason: str, now: float) -> None:
        self.fold(now)
        self.times.hook = lane.name
        self._number += 1
        plan.hook = self._number
        source = None if plan.source is None else plan.source.name
        self._effects.append(
            fx.RunHook(plan.hook, hook, lane.name, source, plan.target.name, reason)
        )

    def _end_hook(self, event: ev.HookEnded, now: float) -> None:
        plan = self.plan
        if plan is None or not plan.hook or plan.hook != event.number:
            return
        plan.hook = 0
        self.fold(now)
        self.times.hook = None
        lane = plan.leaving[0] if plan.stage is Stage.SLEEPING else plan.target
        hook = "wake" if plan.stage is Stage.WAKING else "sleep"
        self.news.append(
            n.HookEnded(
                lane.name, hook, event.ok, event.exit_code, event.duration, event.tail, event.error
            )
        )
        if event.ok and plan.stage is not Stage.CLEANING:  # that one sleep is not like others
            self.costs.record_hook(lane.name, hook, event.duration)
        plan.hook_seconds += event.duration
        match plan.stage:
            case Stage.SLEEPING:
                self._fell_asleep(plan, event, now)
            case Stage.WAKING if event.ok:
                self._activate(plan, now)
            case Stage.WAKING:
                self._fail(plan, event, now)
            case _:
                self._end_cleaning(plan, now)

    def _fell_asleep(self, plan: Plan, event: ev.HookEnded, now: float) -> None:
        lane = plan.leaving.pop(0)
        if not event.ok:
            self.news.append(n.SleepHookFailed(lane.name, plan.target.name, event.error))
            if event.left != "asleep":
                self._stay(plan, lane, event, now)
                return
        if plan.recovering and lane.stuck_level:
            self.news.append(n.QuarantineEnded(lane.name))
            self._note("released", lane)
        self._come_loose(lane)
        lane.phase = Phase.ASLEEP
        lane.end_life(died=plan.recovering and not plan.renewal)
        self.news.append(n.ModelAsleep(lane.name))
        self._sleep_or_wake(plan, now)

    def _stay(self, plan: Plan, lane: Lane, event: ev.HookEnded, now: float) -> None:
        """Give the switch up: the model could not be put to sleep, so nothing wakes in its place.

        One that is alive goes on serving; of one that is neither alive nor asleep nobody knows.
        Where nobody is switched to, the others that should not be awake still go to sleep.
        """
        if plan.recovering:
            if plan.renewal and event.left == "awake":
                self._get_stuck(lane)
                lane.proven = True
                lane.activated_at = now
                self._serve_on(lane, now)
            else:
                self._quarantine(lane, event.error)
            self._sleep_or_wake(plan, now)
            return
        self.plan = None
        self.dirty = True
        self.news.append(n.SwitchFailed(plan.target.name, plan.source_name, event.error))
        error = HookFailedError(f"{lane.name} could not be put to sleep: {event.error}")
        self._settle_orders(plan.target, error)
        if event.left == "awake":
            self._get_stuck(lane)
            again = self._stuck_for(lane)
            self._note("sleep_failed", plan.target, lane.name, event.error, again=again)
            lane.proven = True
            self._serve_on(lane, now)
        else:
            self._quarantine(lane, event.error)
        for other in plan.leaving:
            self._serve_on(other, now)
        for one in (lane, *plan.leaving):
            one.activated_at = now  # its time until the drain ended was told already

    def _serve_on(self, lane: Lane, now: float) -> None:
        lane.phase = Phase.AWAKE
        self.awake.append(lane)
        if self._late() is None:
            self._admit_waiting(lane, now, None)
        self._settle_orders(lane, None)

    def _activate(self, plan: Plan, now: float) -> None:
        lane = plan.target
        source = None if plan.source is None else plan.source.name
        duration = now - plan.started
        lane.phase = Phase.AWAKE
        lane.activated_at = now
        lane.owed = len(lane.late)
        bound = lane.settings.wake_timeout
        lane.loading_until = None if bound is None else plan.wake_started + bound
        self.awake.append(lane)
        self._drop_hint(lane)
        self.plan = None
        self.restore = None
        average = self.costs.record(source, lane.name, plan.hook_seconds)
        self.news.append(n.ModelActivated(lane.name, plan.source_name, duration))
        self.news.append(n.CostLearned(plan.source_name, lane.name, average))
        self._effects.append(fx.TellPolicy(source, lane.name, duration))
        self._admit_waiting(lane, now, plan.source_name)
        self._settle_orders(lane, None)
        if lane.settings.min_active > 0:
            lane.fresh = True
            self._effects.append(fx.SetAlarm(("min_active", lane.name), lane.settings.min_active))
        for other in self.lanes.values():
            if other.wish is Wish.NOW:
                other.wish = Wish.NONE
        self.dirty = True

    def _fail(self, plan: Plan, event: ev.HookEnded, now: float) -> None:
        lane = plan.target
        lane.last_failure = now
        self._drop_hint(lane)
        self.restore = None if lane is self.restore else plan.source
        self.news.append(n.SwitchFailed(lane.name, plan.source_name, event.error))
        back = None if self.restore is None else self.restore.name
        self._note("wake_failed", lane, event.error, back)
        error = HookFailedError(f"the wake hook of {lane.name} failed: {event.error}")
        self._reject_waiting(lane, error)
        self._settle_orders(lane, error)
        plan.stage = Stage.CLEANING
        lane.phase = Phase.SLEEPING
        self._run(plan, "sleep", lane, "clean up after a failed wake", now)

    def _end_cleaning(self, plan: Plan, now: float) -> None:
        lane = plan.target
        lane.phase = Phase.ASLEEP
        self.plan = None
        self.dirty = True
        self.news.append(n.ModelAsleep(lane.name))
        self._trip(lane, now)
        self._reject_waiting(lane, self.refusal(lane, now))
