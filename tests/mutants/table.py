"""The planted faults: one small, plausible mistake each, over board, driver and fence.

Each was chosen because somebody could make it: a count that is lost, a gate that is open, an alarm
that is left, a stale word that is heard. `python -m tests.mutants` shows that each is caught.
"""

from __future__ import annotations

from dataclasses import dataclass

BOARD = "core/board.py"
DESK = "core/desk.py"
LEDGER = "core/ledger.py"
WISHES = "core/wishes.py"
HEALTH = "core/health.py"
LANE = "core/lane.py"
SWITCH = "core/switching.py"
CHOOSING = "core/choosing.py"
HOLDING = "core/holding.py"
LIFE = "core/life.py"
PLAN = "core/plan.py"
TIMES = "core/times.py"
RULINGS = "core/rulings.py"
DRIVER = "runtime/driver.py"
SWITCHER = "runtime/switcher.py"
RENEWAL = "core/renewal.py"
RIDE = "core/ride.py"
VIEW = "core/view.py"
COSTS = "core/costs.py"
GUARD = "runtime/guard.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: in `file` under the package, the only `old` becomes `new`."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = [
    # ---- counts ------------------------------------------------------------------------------
    Mutant(
        "leave does not count out who was inside",
        DESK,
        "            lane = ticket.lane\n            del lane.inside[ticket]\n",
        "            lane = ticket.lane\n",
    ),
    Mutant(
        "leave does not take a waiting ticket out of its queue",
        DESK,
        "        if stage == WAITING:\n            self._unqueue(ticket)\n",
        "        if stage == WAITING:\n",
    ),
    Mutant(
        "the total of those who wait is never lowered",
        DESK,
        "        self.waiting_total -= 1\n",
        "",
    ),
    Mutant(
        "a cut leaves the tickets counted",
        SWITCH,
        "            lane.inside.clear()\n",
        "",
    ),
    Mutant(
        "a service that began at time zero counts as none",
        "core/observations.py",
        "0.0 if admitted is None else left - admitted",
        "0.0 if not admitted else left - admitted",
    ),
    # ---- gates -------------------------------------------------------------------------------
    Mutant(
        "a draining model admits",
        DESK,
        "        if (\n            lane.phase is _AWAKE\n            and not self.closed\n",
        "        if (\n            lane.phase in {_AWAKE, Phase.DRAINING}\n            and not self.closed\n",
    ),
    Mutant(
        "a closing gateway admits",
        DESK,
        "        if (\n            lane.phase is _AWAKE\n            and not self.closed\n",
        "        if (\n            lane.phase is _AWAKE\n",
    ),
    Mutant(
        "min_active stops serving",
        HOLDING,
        "            if lane.fresh and not target.overdue:\n",
        "            if lane.fresh and not target.overdue:\n                lane.phase = Phase.DRAINING\n",
    ),
    Mutant(
        "min_active is not kept",
        HOLDING,
        "            if lane.fresh and not target.overdue:\n",
        "            if False:\n",
    ),
    Mutant(
        "the sleep hook does not wait for the requests inside",
        PLAN,
        "            and not any(lane.inside and lane.settings.drain_before_switch"
        " for lane in self.leaving)\n",
        "",
    ),
    Mutant(
        "the sleep hook does not wait for the policy's preparation",
        PLAN,
        "            self.prepared\n            and not any(",
        "            not any(",
    ),
    Mutant(
        "nobody has to make room",
        "core/places.py",
        "            if free >= amount:\n",
        "            if free >= 0:\n",
    ),
    # ---- the switch --------------------------------------------------------------------------
    Mutant(
        "a model is woken for nobody",
        SWITCH,
        "        if self.closed or not self._wanted(plan.target):\n",
        "        if self.closed:\n",
    ),
    Mutant(
        "a closing gateway wakes",
        SWITCH,
        "            other = None if self.closed else self._next_best(now)\n",
        "            other = self._next_best(now) or plan.target\n",
    ),
    Mutant(
        "a drain for nobody goes on",
        SWITCH,
        "        if not self._wanted(plan.target):\n            self._abandon(plan, now)\n",
        "        if False:\n            self._abandon(plan, now)\n",
    ),
    Mutant(
        "the wake hook is ordered twice",
        SWITCH,
        '        self._run(plan, "wake", target, why, now)\n',
        '        self._run(plan, "wake", target, why, now)\n' * 2,
    ),
    Mutant(
        "a stale hook's end is believed",
        SWITCH,
        "        if plan is None or not plan.hook or plan.hook != event.number:\n",
        "        if plan is None or not plan.hook:\n",
    ),
    Mutant(
        "a stale preparation's end is believed",
        BOARD,
        "                if self.plan is not None and self.plan.number == number:\n",
        "                if self.plan is not None:\n",
    ),
    Mutant(
        "an abandoned switch does not admit who came meanwhile",
        SWITCH,
        "        if self._late() is None:\n            self._admit_waiting(lane, now, None)\n",
        "        if self.closed:\n            self._admit_waiting(lane, now, None)\n",
    ),
    Mutant(
        "an abandoned switch leaves the preparation running",
        SWITCH,
        "            self._effects.append(fx.DropPrepare(plan.number))\n            plan.prepared = True\n",
        "            plan.prepared = True\n",
    ),
    Mutant(
        "the youngest waiter goes first",
        WISHES,
        "            found.sort(key=_since)\n",
        "            found.sort(key=_since, reverse=True)\n",
    ),
    Mutant(
        "a failed wake forgets its waiters",
        SWITCH,
        "        self._reject_waiting(lane, error)\n        self._settle_orders(lane, error)\n"
        "        plan.stage",
        "        self._settle_orders(lane, error)\n        plan.stage",
    ),
    Mutant(
        "a failed wake is not cleaned up",
        SWITCH,
        '        self._run(plan, "sleep", lane, "clean up after a failed wake", now)\n',
        "        self._end_cleaning(plan, now)\n",
    ),
    Mutant(
        "a broken model does not rest",
        HEALTH,
        "        lane.resting = True\n",
        "",
    ),
    Mutant(
        "what the backend has proven outlives its sleep",
        LANE,
        "        self.inside.clear()\n        self.proven = False\n",
        "",
    ),
    Mutant(
        "the learned cost contains the drain",
        SWITCH,
        "self.costs.record(source, lane.name, plan.hook_seconds)",
        "self.costs.record(source, lane.name, duration)",
    ),
    # ---- alarms ------------------------------------------------------------------------------
    Mutant(
        "the deadline of an admitted request is not cancelled",
        DESK,
        '            self._effects.append(fx.CancelAlarm(("deadline", ticket)))\n',
        "            pass\n",
    ),
    Mutant(
        "the deadline counts from the queue, not from the arrival",
        DESK,
        "            left = ticket.arrived + timeout - now\n",
        "            left = timeout\n",
    ),
    Mutant(
        "the bound of a drain is not set",
        SWITCH,
        '                self._effects.append(fx.SetAlarm(("drain", source.name), bound))\n',
        "                pass\n",
    ),
    Mutant(
        "the bound of a drain is not cancelled",
        SWITCH,
        '            self._effects.append(fx.CancelAlarm(("drain", plan.source.name)))\n',
        "            pass\n",
    ),
    Mutant(
        "what a Defer waited for beside its time is left behind",
        WISHES,
        '            self._effects.append(fx.CancelAlarm(("defer", lane.name)))\n'
        "            lane.wish = Wish.MATURED\n",
        "            lane.wish = Wish.MATURED\n",
    ),
    Mutant(
        "a Defer outlives its last waiter",
        DESK,
        "            lane.reason = None\n            self._forget_wish(lane)\n",
        "            lane.reason = None\n",
    ),
    # ---- the policy --------------------------------------------------------------------------
    Mutant(
        "a Skip is never reconsidered by itself",
        WISHES,
        "                self._ask_later(lane, again)\n",
        "                pass\n",
    ),
    Mutant(
        "a new Defer prolongs the one that runs",
        WISHES,
        "keep_earlier=running",
        "keep_earlier=False",
    ),
    Mutant(
        "an end inside does not ask the policy again",
        DESK,
        "                lane.pace.learn(ticket, now)\n            self.dirty = True\n            return True\n",
        "                lane.pace.learn(ticket, now)\n            return True\n",
    ),
    Mutant(
        "a wish outlives the switch to another model",
        SWITCH,
        "            if other.wish is Wish.NOW:\n                other.wish = Wish.NONE\n",
        "            pass\n",
    ),
    Mutant(
        "an answer to an old question is heard",
        WISHES,
        "        if asked.asked != number or asked.name not in self.asking:\n",
        "        if asked.name not in self.asking:\n",
    ),
    Mutant(
        "a switch begins before all have been asked about",
        CHOOSING,
        "        if self.asking:\n            return None\n",
        "",
    ),
    # ---- orders and the end --------------------------------------------------------------------
    Mutant(
        "an order is not settled by the activation",
        SWITCH,
        "        self._admit_waiting(lane, now, plan.source_name)\n"
        "        self._settle_orders(lane, None)\n",
        "        self._admit_waiting(lane, now, plan.source_name)\n",
    ),
    Mutant(
        "an order is not settled by the failure",
        SWITCH,
        "        self._settle_orders(lane, error)\n        plan.stage",
        "        plan.stage",
    ),
    Mutant(
        "a withdrawn order stands",
        BOARD,
        "                self.orders.pop(number, None)\n",
        "                pass\n",
    ),
    Mutant(
        "closing forgets those who wait",
        BOARD,
        '            self._reject_waiting(lane, DrainingError("the gateway is shutting down"))\n',
        "",
    ),
    # ---- life and death, breakers, quarantine ---------------------------------------------------
    Mutant(
        "a model that hangs is not put to sleep",
        LIFE,
        "        if not event.hung:\n",
        "        if True:\n",
    ),
    Mutant(
        "a death in a drain is not heard",
        LIFE,
        "            plan.leaving.remove(lane)\n",
        "            return\n",
    ),
    Mutant(
        "a hang in a drain ends no drain",
        LIFE,
        "            self._end_hung_drain(lane, now)\n",
        "            pass\n",
    ),
    Mutant(
        "nobody inside is told that the model hangs",
        LIFE,
        "            self._effects.append(fx.Lose(ticket, why))\n",
        "            pass\n",
    ),
    Mutant(
        "a death without an answer opens no breaker",
        LIFE,
        "        if not lane.proven:\n            self._trip(lane, now)\n",
        "",
    ),
    Mutant(
        "every death opens the breaker",
        LIFE,
        "        if not lane.proven:\n            self._trip",
        "        if lane.phase is Phase.AWAKE:\n            self._trip",
    ),
    Mutant(
        "a dead model is still believed to have answered",
        LIFE,
        "        lane.proven = False\n        if not event.hung",
        "        if not event.hung",
    ),
    Mutant(
        "those held back by an unproven death wait on",
        LIFE,
        "        if lane.resting:\n            self._reject_waiting",
        "        if False:\n            self._reject_waiting",
    ),
    Mutant(
        "two models found awake both serve",
        LIFE,
        "            if victims(name, kept, self.needs, self.capacities):\n",
        "            if False:\n",
    ),
    Mutant(
        "the oldest that was found awake serves",
        LIFE,
        "        for name in reversed(awake):\n",
        "        for name in awake:\n",
    ),
    Mutant(
        "a model found in between is taken for asleep",
        LIFE,
        "        extra: list[Lane] = [self.lanes[name] for name in unclear]\n",
        "        extra: list[Lane] = []\n",
    ),
    Mutant(
        "the look at the start is heard twice",
        LIFE,
        "        if not self.surveying:\n            return\n",
        "",
    ),
    Mutant(
        "a quarantined model serves beside another",
        LIFE,
        "        if victims(lane.name, others, self.needs, self.capacities):\n            return\n",
        "",
    ),
    Mutant(
        "quarantine is never tried again",
        LIFE,
        "        if self.plan is None:\n            self._recover([lane], now)\n        else:\n            self._get_stuck",
        "        if self.plan is not None:\n            self._get_stuck",
    ),
    Mutant(
        "a hook runs for the quarantined after closing",
        LIFE,
        "        if lane.phase is not Phase.QUARANTINED or self.closed:\n",
        "        if lane.phase is not Phase.QUARANTINED:\n",
    ),
    Mutant(
        "whoever falls due is not noticed",
        LIFE,
        "            lane.late.add(ticket)\n",
        "            pass\n",
    ),
    Mutant(
        "a wake forgives all failures",
        SWITCH,
        "        lane.owed = len(lane.late)\n",
        "        lane.level = 0\n        lane.owed = len(lane.late)\n",
    ),
    Mutant(
        "an answer forgives nothing",
        HEALTH,
        "        lane.proven = True\n        lane.level = 0\n",
        "        lane.proven = True\n",
    ),
    Mutant(
        "the pause of a breaker never grows",
        HEALTH,
        "        lane.settings.breaker_min * 2 ** max(0, level - 1), ",
        "        lane.settings.breaker_min, ",
    ),
    Mutant(
        "the pause of a breaker grows without bound",
        HEALTH,
        "        lane.settings.breaker_min * 2 ** max(0, level - 1), lane.settings.breaker_max\n",
        "        lane.settings.breaker_min * 2 ** max(0, level - 1), 1e9\n",
    ),
    Mutant(
        "a stuck model is never tried again",
        HEALTH,
        '        self._effects.append(fx.SetAlarm(("stuck", lane.name), seconds))\n',
        "",
    ),
    Mutant(
        "a stuck model is left at once",
        HOLDING,
        "            if lane.phase is Phase.QUARANTINED or lane.stuck:\n",
        "            if lane.phase is Phase.QUARANTINED:\n",
    ),
    Mutant(
        "another wakes in the place of the quarantined",
        SWITCH,
        "        awake = [lane.name for lane in (*self.quarantined, *self.awake)]\n",
        "        awake = [lane.name for lane in self.awake]\n",
    ),
    Mutant(
        "a sleep that failed counts as asleep",
        SWITCH,
        '            if event.left != "asleep":\n',
        "            if False:\n",
    ),
    Mutant(
        "what cannot be tidied away lets the others serve",
        SWITCH,
        "            self._sleep_or_wake(plan, now)\n            return\n        self.plan = None",
        "            for other in plan.leaving:\n                self._serve_on(other, now)\n            self.plan = None\n            return\n        self.plan = None",
    ),
    Mutant(
        "the end of a quarantine by sleep is not told",
        SWITCH,
        "        if plan.recovering and lane.stuck_level:\n",
        "        if False:\n",
    ),
    Mutant(
        "the model that a failed wake evicted does not come back",
        SWITCH,
        "        self.restore = None if lane is self.restore else plan.source\n",
        "        self.restore = None\n",
    ),
    Mutant(
        "a model comes back although its breaker is open",
        CHOOSING,
        " or back.phase is not _ASLEEP or back.resting:\n",
        " or back.phase is not _ASLEEP:\n",
    ),
    Mutant(
        "a model comes back before those who wait",
        CHOOSING,
        "        return None if self._anybody_askable() else back\n",
        "        return back\n",
    ),
    Mutant(
        "a given-up switch admits before the overdue",
        SWITCH,
        "        if self._late() is None:\n            self._admit_waiting",
        "        if True:\n            self._admit_waiting",
    ),
    Mutant(
        "the overdue wait for the cool-down",
        HOLDING,
        "            if lane.fresh and not target.overdue:\n",
        "            if lane.fresh:\n",
    ),
    Mutant(
        "among the overdue the first in the config goes first",
        CHOOSING,
        "            if may_go and (first is None or _due(lane) < _due(first)):\n",
        "            if may_go and first is None:\n",
    ),
    Mutant(
        "a model is left before the overdue it holds back",
        SWITCH,
        "            if self._owes(lane, target):\n",
        "            if False:\n",
    ),
    Mutant(
        "those held back go before everybody overdue",
        CHOOSING,
        "        return lane.owed > 0 or _due(lane) <= _due(target)\n",
        "        return True\n",
    ),
    Mutant(
        "who was overdue when the model was woken is left behind",
        CHOOSING,
        "        return lane.owed > 0 or _due(lane) <= _due(target)\n",
        "        return _due(lane) <= _due(target)\n",
    ),
    Mutant(
        "nobody is overdue any more as soon as one of them is admitted",
        LANE,
        "            self.late.remove(ticket)\n            self.owed -= self.owed > 0\n",
        "            self.late.clear()\n            self.owed = 0\n",
    ),
    Mutant(
        "a priority goes before the overdue of its model",
        DESK,
        "        if lane.limit is None or lane.overdue:\n",
        "        if lane.limit is None:\n",
    ),
    Mutant(
        "within a model the heaviest goes first for ever",
        LANE,
        "key=lambda one: (one.weight * (now - one.arrived), one.weight))\n",
        "key=lambda one: one.weight)\n",
    ),
    Mutant(
        "between models priorities count for nothing",
        CHOOSING,
        "    return lanes[0] if len(lanes) == 1 else max(lanes, key=lambda lane: lane.pull(now))\n",
        "    return lanes[0]\n",
    ),
    Mutant(
        "the watch does not follow the oldest",
        DESK,
        "            self.stale.add(lane)\n        self.waiting_total",
        "        self.waiting_total",
    ),
    Mutant(
        "max_in_flight lets one too many in",
        LANE,
        "        return self.limit is None or len(self.inside) < self.limit\n",
        "        return self.limit is None or len(self.inside) <= self.limit\n",
    ),
    Mutant(
        "who comes overtakes those held back",
        DESK,
        "len(lane.inside) < lane.limit and not lane.waiting",
        "len(lane.inside) < lane.limit",
    ),
    Mutant(
        "a full queue refuses nobody",
        LEDGER,
        "        if bound is not None and len(lane.waiting) >= bound:",
        "        if bound is not None and len(lane.waiting) > bound:",
    ),
    Mutant(
        "a rescued request goes to the end of its queue",
        DESK,
        "            lane.sort()\n",
        "",
    ),
    Mutant(
        "a rescued request is counted inside for ever",
        DESK,
        "        if ticket.stage == INSIDE:\n            del lane.inside[ticket]\n",
        "        if ticket.stage == INSIDE:\n            pass\n",
    ),
    Mutant(
        "a rescued request is refused like a newcomer",
        DESK,
        "self._forbidden(lane) if again else self.refusal(",
        "self.refusal(",
    ),
    Mutant(
        "bytes that waited are never taken off",
        DESK,
        "        self.buffered -= ticket.size\n",
        "",
    ),
    Mutant(
        "bytes of bodies bind nobody",
        LEDGER,
        "self.buffered + size > most",
        "self.buffered > most + size",
    ),
    Mutant(
        "requests of a dead backend take places in its next life",
        LIFE,
        "            lane.end_life(died=True)\n",
        "",
    ),
    Mutant(
        "a lost request is remembered for ever",
        DESK,
        "        if stage in {LOST, BEREFT}:\n            ticket.lane.lost.discard(ticket)\n",
        "",
    ),
    # ---- the driver ----------------------------------------------------------------------------
    Mutant(
        "a request cancelled in the queue is never counted out",
        SWITCHER,
        "        try:\n            await self.admission(ticket)\n            yield",
        "        await self.admission(ticket)\n        try:\n            yield",
    ),
    Mutant(
        "a lease cancelled in the queue is never given back",
        SWITCHER,
        "        except BaseException:\n            self.leave(ticket)\n",
        "        except Exception:\n            self.leave(ticket)\n",
    ),
    Mutant(
        "an order outlives the operator who gave it",
        SWITCHER,
        "            if future.cancelled() or not future.done():\n",
        "            if not future.done():\n",
    ),
    Mutant(
        "a fact told from inside is handled inside",
        DRIVER,
        "        if self._busy:\n            return\n",
        "",
    ),
    Mutant(
        "an arrival at the awake model does not ask the policy again",
        SWITCHER,
        "            self.tell(ev.Looked())\n            return True\n",
        "            return True\n",
    ),
    Mutant(
        "an alarm that is set again rings twice",
        DRIVER,
        "            old.cancel()\n",
        "",
    ),
    Mutant(
        "an alarm that is cancelled rings",
        DRIVER,
        "        if handle is not None:\n            handle.cancel()\n",
        "        if handle is not None:\n            pass\n",
    ),
    Mutant(
        "a drain that never ran a step is kept for ever",
        DRIVER,
        "            self._drains.pop(number, None)\n",
        "",
    ),
    Mutant(
        "prepare_switch never hears that the drain is over",
        DRIVER,
        "                    drain.look()\n",
        "                    pass\n",
    ),
    Mutant(
        "a runner of hooks that raises stops the switch",
        DRIVER,
        "        except (Exception, asyncio.CancelledError) as error:\n",
        "        except ValueError as error:\n",
    ),
    Mutant(
        "who left while others were told is told too",
        DRIVER,
        "                if ticket.stage == INSIDE:  #",
        "                if True:  #",
    ),
    Mutant(
        "stop forgets what its own end orders",
        DRIVER,
        "        while tasks := list(self._tasks):",
        "        if tasks := list(self._tasks):",
    ),
    # ---- the fence -----------------------------------------------------------------------------
    Mutant(
        "a policy that stumbles over a cancellation is never heard again",
        GUARD,
        "_FAULTS = (Exception, asyncio.CancelledError, SystemExit, KeyboardInterrupt)\n",
        "_FAULTS = (Exception, SystemExit, KeyboardInterrupt)\n",
    ),
    Mutant(
        "slow calls add up for ever",
        GUARD,
        "            self._slow.pop(callback, None)\n",
        "",
    ),
    Mutant(
        "a policy has all the time in the world",
        GUARD,
        "            async with asyncio.timeout(self._deadline) as deadline:\n"
        "                return",
        "            async with asyncio.timeout(None) as deadline:\n                return",
    ),
    Mutant(
        "a future that a policy shares is cancelled for it",
        GUARD,
        "asyncio.shield(until) if asyncio.isfuture(until) else until",
        "until",
    ),
    Mutant(
        "an unknown model is passed on",
        GUARD,
        "        if target is not None and not (isinstance(target, str)"
        " and target in self._models):\n            return",
        "        if False:\n            return",
    ),
    # ---- why, and where the time went ---------------------------------------------------------
    Mutant(
        "why: min_active holds a switch back and nobody is told",
        HOLDING,
        '                self._note("min_active", target, lane.name, active, bound, again=again)\n',
        "",
    ),
    Mutant(
        "why: staying on another model is taken for the same decision",
        RULINGS,
        " or ruling.active != active",
        "",
    ),
    Mutant(
        "times: a spell reaches back beyond the stretch",
        TIMES,
        "            high, low = ended, max(since, began)\n",
        "            high, low = ended, began\n",
    ),
    Mutant(
        "times: an answer beside a hook is serving too",
        TIMES,
        "            self._switching += now - since\n            return\n",
        "            self._switching += now - since\n",
    ),
    Mutant(
        "times: a switch to whoever was just put to sleep is one from itself",
        PLAN,
        "        if target is self.source:\n",
        "        if False:\n",
    ),
    Mutant(
        "renewal: a known head brings requests to a model that was taken out",
        SWITCHER,
        "        if lane is None or lane.change is _REMOVE:\n",
        "        if lane is None:\n",
    ),
    Mutant(
        "renewal: a model that was taken out can be asked for until it sleeps",
        LEDGER,
        "        if lane is None or lane.change is Change.REMOVE:\n            raise",
        "        if lane is None:\n            raise",
    ),
    # ---- a config that is read anew ----------------------------------------------------------
    Mutant(
        "a changed model is put to sleep in the middle of a switch",
        RENEWAL,
        "lane.phase is Phase.AWAKE and not busy and not lane.stuck",
        "lane.phase is Phase.AWAKE and not lane.stuck",
    ),
    Mutant(
        "who waits for a model that was taken out is never told",
        RENEWAL,
        "        self._reject_waiting(lane, removed(lane.name))\n",
        "",
    ),
    Mutant(
        "a model that was taken out and sleeps stays",
        RENEWAL,
        "        if lane.phase is Phase.ASLEEP and lane.change is not Change.REMOVE:\n",
        "        if lane.phase is Phase.ASLEEP:\n",
    ),
    Mutant(
        "a new model that is awake is adopted beside another",
        RENEWAL,
        "            if unwanted or self.plan is not None or self._in_the_way(lane, up):\n",
        "            if unwanted or self.plan is not None:\n",
    ),
    Mutant(
        "a new deadline counts from the reload",
        RENEWAL,
        "ticket.arrived, new.request_timeout, now)",
        "now, new.request_timeout, now)",
    ),
    Mutant(
        "a model that the config wants back as it was is put to sleep all the same",
        RENEWAL,
        "(self.closed or plan.target.change is Change.NONE)",
        "self.closed",
    ),
    Mutant(
        "new hooks inherit the breaker of the old ones",
        RENEWAL,
        "        if lane.resting:\n            lane.resting = False\n",
        "        if False:\n            lane.resting = False\n",
    ),
    Mutant(
        "rides: whoever would make the drain longer rides too",
        RIDE,
        "    return now + tokens * pace.slowest <= max(",
        "    return now <= max(",
    ),
    Mutant(
        "rides: somebody is overdue, and the drain is still shared",
        SWITCH,
        "        if self.closed or plan.cut or any(lane.overdue for lane in self.lanes.values()):\n",
        "        if self.closed or plan.cut:\n",
    ),
    Mutant(
        "rides: a full model takes a rider",
        SWITCH,
        "            while lane.has_place and (ticket := self._next(lane, now)):\n"
        "                if not may_ride",
        "            while ticket := self._next(lane, now):\n                if not may_ride",
    ),
    Mutant(
        "rides: they are given to a policy that did not ask for them",
        SWITCH,
        "        plan.rides = target.rides and target.wish is Wish.NOW and not target.overdue\n",
        "        plan.rides = target.wish is Wish.NOW and not target.overdue\n",
    ),
    Mutant(
        "rides: those inside are reckoned from now, not from when they came in",
        RIDE,
        "seconds + (now if ticket.admitted is None else ticket.admitted)",
        "seconds + now",
    ),
    Mutant(
        "snapshot: two numbers of a view change places",
        VIEW,
        "                sleep,\n                wake,\n",
        "                wake,\n                sleep,\n",
    ),
    Mutant(
        "snapshot: sums fade and nobody notes until when",
        VIEW,
        "            lane.sums_at = now\n",
        "",
    ),
    Mutant(
        "costs: what a hook took is learned and the old answer is given",
        COSTS,
        "        self._join(model)\n\n    def hook_seconds",
        "\n    def hook_seconds",
    ),
]
