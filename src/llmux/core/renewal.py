"""The board follows a config that was read anew: models come, change and go while others run.

What is up of a model was woken by its old hooks and is put to sleep by them; only then do the new
ones hold, or does the model go. This floor refuses to know what a config is and who keeps hooks.
"""

from __future__ import annotations

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core import news as n
from llmux.core.lane import Change, Lane, LaneSettings, Phase
from llmux.core.ledger import removed
from llmux.core.life import Life
from llmux.core.places import victims
from llmux.core.plan import Plan, Stage


class Renewal(Life):
    """The rules for models that come, change and go with the config."""

    def _reconfigure(self, event: ev.Reconfigured, now: float) -> None:
        """Take over a whole new set of models; what has not changed does not notice."""
        self.max_buffered = event.max_buffered
        if event.rate_windows is not None:
            self._ask_anew(event.rate_windows)
            self.hint_secs = event.hint_secs
            if event.hint_secs is None:
                self._drop_hints()
        order: dict[str, Lane] = {}
        new: list[Lane] = []
        for settings in event.models:
            lane = self.lanes.get(settings.name)
            if lane is None:
                lane = Lane(settings, self.rate_windows)
                new.append(lane)
            else:
                lane.change = _change(lane.name, event)
                self._resettle(lane, settings, now)
            order[lane.name] = lane
        gone = {name: lane for name, lane in self.lanes.items() if name not in order}
        for lane in gone.values():
            self._give_notice(lane)
        self.lanes.clear()  # the same mapping: others look into it
        self.lanes.update(order | gone)
        self.bounded = any(lane.settings.max_wait is not None for lane in self.lanes.values())
        self._settle_in(new, event, now)
        self._count_changes()
        self._admit_more(now)  # who has room now is inside before anybody is left

    def _ask_anew(self, rate_windows: tuple[float, ...]) -> None:
        """Forget what an earlier policy wanted: a new one is asked about everybody who waits."""
        self.dirty = True
        self.asking.clear()
        for lane in self.lanes.values():
            self._forget_wish(lane)
            lane.reason = None
            if lane.rate_windows != rate_windows:
                lane.rate_windows = rate_windows
                lane.arrival_sums = (0.0,) * len(rate_windows)
                lane.arrival_log.clear()
        self.rate_windows = rate_windows

    def _resettle(self, lane: Lane, new: LaneSettings, now: float) -> None:
        """Let other settings hold at once, also for those who wait and for a drain that runs."""
        old, lane.settings = lane.settings, new
        if new == old:
            return
        self.dirty = True
        lane.limit = new.max_in_flight
        if new.request_timeout != old.request_timeout:
            for ticket in lane.waiting:
                self._set_bound(("deadline", ticket), ticket.arrived, new.request_timeout, now)
        if new.max_wait != old.max_wait:
            lane.late.clear()
            lane.owed = 0
            if lane.watched is not None:
                lane.watched = None
                self._effects.append(fx.CancelAlarm(("overdue", lane.name)))
            self._watch(lane, now)
        if lane.fresh and new.min_active != old.min_active and lane.activated_at is not None:
            self._set_bound(("min_active", lane.name), lane.activated_at, new.min_active, now)
        plan = self.plan
        draining = plan is not None and plan.stage is Stage.DRAINING and plan.source is lane
        drain = new.drain_timeout, new.cut_drain
        if draining and plan is not None and drain != (old.drain_timeout, old.cut_drain):
            self._set_bound(("drain", lane.name), plan.started, new.drain_timeout, now)

    def _set_bound(self, key: fx.AlarmKey, since: float, seconds: float | None, now: float) -> None:
        if seconds is None:
            self._effects.append(fx.CancelAlarm(key))
        else:
            self._effects.append(fx.SetAlarm(key, max(0.0, since + seconds - now)))

    def _give_notice(self, lane: Lane) -> None:
        """Admit nobody to the model any more; who is inside may stay."""
        lane.change = Change.REMOVE
        self.dirty = True
        self._drop_hint(lane)
        self._reject_waiting(lane, removed(lane.name))
        self._settle_orders(lane, removed(lane.name))

    def _mend(self, lane: Lane, now: float) -> None:
        """Try new hooks at once on a model that the old ones could not put to sleep."""
        self._effects.append(fx.CancelAlarm(("stuck", lane.name)))
        self._renew(lane)
        self._unstick(lane, now)

    def _settle_in(self, new: list[Lane], event: ev.Reconfigured, now: float) -> None:
        """Adopt a new model that was found awake if there is room for it; else it has to sleep."""
        unwanted = [lane for lane in new if lane.name in event.unclear]
        for lane in new:
            if lane.name not in event.awake:
                continue
            up = [one.name for one in self.lanes.values() if one.phase is not Phase.ASLEEP]
            if unwanted or self.plan is not None or self._in_the_way(lane, up):
                unwanted.append(lane)
                continue
            lane.activated_at = now
            lane.proven = True
            self.news.append(n.Adopted(lane.name))
            self._serve_on(lane, now)
        if unwanted and self.plan is None:
            for lane in unwanted:
                lane.phase = Phase.DRAINING
            self._recover(unwanted, now)
        else:
            for lane in unwanted:
                self._quarantine(lane, "it was not asleep when it came into the config")

    def _in_the_way(self, lane: Lane, up: list[str]) -> bool:
        return bool(victims(lane.name, up, self.needs, self.capacities))

    # ---- one step after the other -----------------------------------------------------------

    def _step(self, now: float) -> bool:
        return (self.changing and self._follow(now)) or super()._step(now)

    def _follow(self, now: float) -> bool:
        """Bring one change about that can be had now; True if there was one."""
        if self.restore is not None and self.restore.change is Change.REMOVE:
            self.restore = None
        plan = self.plan
        drains = plan is not None and plan.renewal and plan.stage is Stage.DRAINING
        if plan is not None and drains and (self.closed or plan.target.change is Change.NONE):
            self._keep(plan, now)
            return True
        changes = [lane for lane in self.lanes.values() if lane.change is not Change.NONE]
        return any(self._bring_about(lane, now) for lane in changes)

    def _bring_about(self, lane: Lane, now: float) -> bool:
        """Do for one model what can be done now; False if its time has not come."""
        busy = self.plan is not None or self.closed or self.surveying
        if lane.phase is Phase.ASLEEP and lane.change is not Change.REMOVE:
            self._renew(lane)
        elif lane.phase is Phase.ASLEEP and self.plan is None:
            self._forget(lane, now)
        elif lane.change is Change.MEND and lane.stuck:
            self._mend(lane, now)
        elif lane.phase is Phase.AWAKE and not busy and not lane.stuck:
            self._let_go(lane, now)
        else:
            return False
        return True

    def _let_go(self, lane: Lane, now: float) -> None:
        """Put a model to sleep that serves: its answers end first, as in a switch."""
        self._number += 1
        why = "its config has changed"
        if lane.change is Change.REMOVE:
            why = "it was taken out of the config"
        self.plan = Plan(
            self._number,
            lane,
            lane,
            [lane],
            prepared=True,
            started=now,
            recovering=True,
            renewal=why,
        )
        self._come_loose(lane)
        lane.phase = Phase.DRAINING
        self.awake.remove(lane)
        bound = lane.settings.drain_timeout
        if bound is not None:
            self._effects.append(fx.SetAlarm(("drain", lane.name), bound))

    def _keep(self, plan: Plan, now: float) -> None:
        """Let a model serve on after all: the config wants it back as it is, or llmux stops."""
        self._stop_drain(plan)
        self.plan = None
        self.dirty = True
        for lane in plan.leaving:
            self._serve_on(lane, now)
        self._count_changes()

    def _run(self, plan: Plan, hook: str, lane: Lane, reason: str, now: float) -> None:
        if hook == "wake" and lane.change is not Change.NONE:
            self._renew(lane)  # it fell asleep in this very step
        super()._run(plan, hook, lane, reason, now)

    def _renew(self, lane: Lane) -> None:
        """Let the new hooks hold; the failures of the old ones are forgiven."""
        lane.change = Change.NONE
        lane.level = 0
        if lane.resting:
            lane.resting = False
            self._effects.append(fx.CancelAlarm(("rest", lane.name)))
        self.dirty = True
        self._effects.append(fx.Renew(lane.name))
        self.news.append(n.ModelRenewed(lane.name))
        self._count_changes()

    def _forget(self, lane: Lane, now: float) -> None:
        name = lane.name
        self.fold(now)
        del self.lanes[name]
        self.asking.discard(name)
        self._come_loose(lane)
        for kind, pending in (("min_active", lane.fresh), ("rest", lane.resting)):
            if pending:
                self._effects.append(fx.CancelAlarm((kind, name)))
        self.costs.forget(name)
        self.dirty = True
        self._effects.append(fx.Forget(name))
        self.news.append(n.ModelRemoved(name))
        self._count_changes()

    def _count_changes(self) -> None:
        renewing = self.plan is not None and bool(self.plan.renewal)
        self.changing = renewing or any(
            lane.change is not Change.NONE for lane in self.lanes.values()
        )


def _change(model: str, event: ev.Reconfigured) -> Change:
    if model in event.mended:
        return Change.MEND
    return Change.RENEW if model in event.renewed else Change.NONE
