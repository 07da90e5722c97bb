"""The heap engine: the real switchboard and a real policy in virtual time.

It does what the driver does, effect by effect, with a heap in place of a loop: nothing waits, so
a day is over in seconds. Hooks always succeed and last as long as the dice say; answers last as
long as their request says. No rule of switching stands here. It refuses policies that need a
loop: those that answer later, or run a background scheduler.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping
from heapq import heappop, heappush
from typing import Any

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core.board import Switchboard
from llmux.core.lane import LaneSettings
from llmux.core.news import ModelActivated
from llmux.core.view import policy_context, snapshot
from llmux.errors import PolicyError
from llmux.policy.base import Decision, Defer, PolicyDecision, Snapshot, SwitchPolicy
from llmux.runtime.drain import Drain
from llmux.runtime.guard import PolicyGuard
from llmux.simulate.hooks import HookTimes
from llmux.simulate.outcome import Outcome, Row, Spell
from llmux.simulate.seat import Seat
from llmux.simulate.untold import UntoldBoard
from llmux.simulate.workload import Job, Workload

PATIENCE = 1e6
"""Virtual seconds without an arrival, an answer or a hook after which a simulation is given up."""

_LOOKED, _TURN_ENDED = ev.Looked(), ev.TurnEnded()
"""Two facts without numbers, which are told thousands of times a second."""

_NOT_THE_DRAIN = "its prepare_switch awaits something other than the drain"

Progress = Callable[[int], None]
"""Told now and then how many requests are over."""


class NeedsLoopError(PolicyError):
    """The policy can only be simulated by the driver engine."""


class _Empty:
    """What `wait_for_in_flight` awaits: the engine resumes it when the old model is empty."""

    def __await__(self) -> Generator[_Empty, None, None]:
        yield self


class _Drain(Drain):
    """The drain as a policy's `prepare_switch` sees it, which waits without a loop."""

    async def wait_for_in_flight(self) -> None:
        while self.in_flight_count():
            await _Empty()


def _arrival(seat: Seat) -> float:
    return seat.arrived


def lane_settings(name: str, policy: SwitchPolicy) -> LaneSettings:
    """Return a model's settings where no config says more: drains are never cut."""
    return LaneSettings(
        name,
        request_timeout=policy.request_timeout(),
        min_active=policy.min_active_duration(),
        drain_before_switch=policy.drain_before_switch(),
        drain_timeout=None,
    )


def simulate(
    workload: Workload,
    policy: SwitchPolicy,
    hooks: HookTimes,
    *,
    name: str = "",
    settings: Mapping[str, LaneSettings] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Serve the workload under a policy and return what became of each request.

    `settings` names all models; without them there are the workload's, with the policy's own
    settings. Raises NeedsLoopError where the policy needs a loop, and PolicyError where it starves
    somebody for good.
    """
    name = name or type(policy).__name__
    if policy.scheduler_interval() is not None:
        raise NeedsLoopError(f"{name} needs a loop: it has a background scheduler")
    if inspect.iscoroutinefunction(policy.on_pending_request):
        raise NeedsLoopError(f"{name} needs a loop: its on_pending_request is async")
    given = settings or {model: lane_settings(model, policy) for model in workload.models}
    engine = _Engine(workload, policy, hooks, given, progress)
    engine.run()
    return Outcome(
        name, engine.rows(), engine.hooks, engine.switches, engine.reasons, list(engine.complaints)
    )


class _Engine:
    def __init__(
        self,
        workload: Workload,
        policy: SwitchPolicy,
        hooks: HookTimes,
        settings: Mapping[str, LaneSettings],
        progress: Progress | None,
    ) -> None:
        self.board: Switchboard = UntoldBoard(
            settings.values(),
            rate_windows=tuple(policy.rate_windows),
            hint_secs=policy.hint_secs,
        )
        self.hooks: list[Spell] = []
        self.switches = 0
        self.reasons: list[tuple[float, str, str]] = []
        self.complaints: dict[str, None] = {}
        """What the policy did wrong, each once; the gateway reads it as FIFO, and so do we."""
        self._policy = policy
        self._guard = PolicyGuard(policy, settings, self._complain, stopwatch=float)
        self._dice = hooks.start()
        self._source = workload.start()
        self._progress = progress
        self._now = 0.0
        self._lively = 0.0
        """When something other than an alarm happened last."""
        self._number = 0
        self._heap: list[tuple[float, int, Callable[[Any, int], None], Any]] = []
        """When, in which order of those at one moment, what is done, and with what."""
        self._facts: deque[ev.Event] = deque()
        self._alarms: dict[fx.AlarmKey, tuple[float, int]] = {}
        """When each rings, and its number among what happens at one moment."""
        self._bells: dict[fx.AlarmKey, tuple[float, int]] = {}
        """The same of what stands on the heap for it, which comes no later: an alarm that is set
        anew for later, as most are again and again, is looked up when that comes."""
        self._prepare: tuple[int, Coroutine[Any, Any, None]] | None = None
        self._world: Snapshot | None = None
        self._decision: Decision | None = None
        """What the policy has answered for everybody who waits in this world."""
        self._seats: list[Seat] = []
        self._coming: list[Seat] = []
        """Those whose arrival does not depend on any answer, the next one last."""
        self._ends: dict[int, float] = {}
        self._over = 0
        self._verbs: dict[type[fx.Effect], Callable[[Any], None]] = {
            fx.Admit: self._admit,
            fx.Reject: self._turn_away,
            fx.Cut: self._turn_away,
            fx.AskTurn: self._ask_turn,
            fx.Consult: self._consult,
            fx.SetAlarm: self._set_alarm,
            fx.CancelAlarm: self._cancel_alarm,
            fx.RunHook: self._run_hook,
            fx.Prepare: self._begin_prepare,
            fx.DropPrepare: self._drop_prepare,
            fx.TellPolicy: self._tell_policy,
            fx.AwaitDefer: self._refuse_await,
        }
        """What to do for each effect; orders are never given here, so none has to be settled."""

    def rows(self) -> list[Row]:
        """Return one row a request, in the order in which they were issued."""
        return [
            Row(seat.job.model, seat.arrived, seat.admitted, self._ends[seat.index])
            for seat in self._seats
        ]

    def run(self) -> None:
        """Serve every request of the source."""
        self._seats = [self._seat(job, index) for index, job in enumerate(self._source.first())]
        coming = self._coming = sorted(self._seats, key=_arrival)
        coming.reverse()
        heap, seats = self._heap, self._seats
        while self._over < len(seats):
            if coming and not (heap and heap[0][0] < coming[-1].arrived):
                seat = coming.pop()
                self._now = seat.arrived
                self._arrive(seat, 0)
            else:
                self._now, number, happens, about = heappop(heap)
                happens(about, number)
        if self._progress is not None:
            self._progress(self._over)

    def _at(self, when: float, happens: Callable[[Any, int], None], about: object) -> int:
        self._number += 1
        heappush(self._heap, (when, self._number, happens, about))
        return self._number

    def _end_hook(self, ended: ev.HookEnded, number: int) -> None:
        del number
        self._lively = self._now
        self._tell(ended)

    def _ring(self, key: fx.AlarmKey, number: int) -> None:
        bells = self._bells
        bell = bells.get(key)
        if bell is None or bell[1] != number:
            return  # one that came sooner was put before it
        alarm = self._alarms.get(key)
        if alarm is None:
            del bells[key]
        elif alarm[1] == number:
            del bells[key], self._alarms[key]
            self._tell(ev.AlarmRang(key))
            self._watch()
        else:
            bells[key] = alarm
            heappush(self._heap, (*alarm, self._ring, key))

    def _end_turn(self, about: None, number: int) -> None:
        del about, number
        self._tell(_TURN_ENDED)

    def _watch(self) -> None:
        if self._now - self._lively > PATIENCE:
            waiting = [lane.name for lane in self.board.lanes.values() if lane.waiting]
            raise PolicyError(
                f"{type(self._policy).__name__} leaves {', '.join(waiting)} waiting for ever"
            )

    # ---- requests ------------------------------------------------------------------------

    def _issue(self, job: Job) -> None:
        seat = self._seat(job, len(self._seats))
        self._seats.append(seat)
        self._at(job.arrival, self._arrive, seat)

    def _seat(self, job: Job, index: int) -> Seat:
        return Seat(self.board.lane(job.model), job, index)

    def _arrive(self, seat: Seat, number: int) -> None:
        del number
        self._lively = self._now
        if self.board.enter(seat, self._now):
            self._at(self._now + seat.job.service, self._answer, seat)
            if self.board.dirty:
                self._tell(_LOOKED)
        else:
            self._tell(ev.RequestWaits(seat))

    def _answer(self, seat: Seat, number: int) -> None:
        del number
        if seat.index in self._ends:
            return
        self._lively = self._now
        then = seat.job.then
        if then is not None and then == seat.job.model:
            self._tell(ev.Returning(seat))
            then = None
        if self.board.leave(seat, self._now):
            self._tell(_LOOKED)
            if self._prepare is not None:
                self._go_on()
        if then is not None:
            self._tell(ev.Announced(then))
        self._end(seat)

    def _end(self, seat: Seat) -> None:
        self._ends[seat.index] = self._now
        self._over += 1
        for job in self._source.after(seat.job, self._now):
            self._issue(job)
        if self._progress is not None and self._over % 500 == 0:
            self._progress(self._over)

    # ---- facts in, effects out -----------------------------------------------------------

    def _tell(self, fact: ev.Event) -> None:
        facts = self._facts
        facts.append(fact)
        handle, verbs = self.board.handle, self._verbs
        while facts:
            self._world = self._decision = None
            for effect in handle(facts.popleft(), self._now):
                verbs[type(effect)](effect)
        if self.board.news:
            for item in self.board.take_news():
                if isinstance(item, ModelActivated):
                    self.switches += 1

    def _admit(self, effect: fx.Admit) -> None:
        seat = effect.ticket
        assert isinstance(seat, Seat)
        self._at(self._now + seat.job.service, self._answer, seat)

    def _turn_away(self, effect: fx.Reject | fx.Cut) -> None:
        assert isinstance(effect.ticket, Seat)
        self._end(effect.ticket)

    def _ask_turn(self, effect: fx.AskTurn) -> None:
        del effect
        self._at(self._now, self._end_turn, None)

    def _set_alarm(self, effect: fx.SetAlarm) -> None:
        key, rings = effect.key, self._now + effect.seconds
        if effect.keep_earlier:
            old = self._alarms.get(key)
            if old is not None and old[0] <= rings:
                return
        self._number += 1
        alarm = self._alarms[key] = (rings, self._number)
        bell = self._bells.get(key)
        if bell is None or rings < bell[0]:
            self._bells[key] = alarm
            heappush(self._heap, (*alarm, self._ring, key))

    def _cancel_alarm(self, effect: fx.CancelAlarm) -> None:
        self._alarms.pop(effect.key, None)

    def _run_hook(self, effect: fx.RunHook) -> None:
        seconds = self._dice.seconds(effect.hook, effect.model)
        ends = self._now + seconds
        self.hooks.append(Spell(self._now, ends, effect.hook, effect.model))
        if effect.hook == "wake":
            self.reasons.append((self._now, effect.model, effect.reason))
        self._at(ends, self._end_hook, ev.HookEnded(effect.number, ok=True, duration=seconds))

    def _begin_prepare(self, effect: fx.Prepare) -> None:
        world = snapshot(self.board, self._now)
        drain = _Drain(self.board.lanes[effect.source], effect.target, world)
        self._prepare = (effect.number, self._policy.prepare_switch(drain))
        self._at(self._now, self._go_on, None)

    def _tell_policy(self, effect: fx.TellPolicy) -> None:
        self._guard.completed(effect.source, effect.target, effect.duration)

    def _refuse_await(self, effect: fx.AwaitDefer) -> None:
        del effect
        raise self._needs_loop("its Defer awaits something")

    def _consult(self, effect: fx.Consult) -> None:
        if self._decision is None:  # else it was told for all
            model = effect.model
            answer = self._decide(model)
            told = ev.PolicyAnswered(model, effect.number, answer, self._decision is not None)
            self._facts.append(told)

    def _decide(self, model: str) -> Decision:
        if self._world is None:
            self._world = snapshot(self.board, self._now)
        context = policy_context(self.board, self._world, self.board.lanes[model])
        answer = self._guard.decide(context)
        if not isinstance(answer, PolicyDecision):
            if inspect.iscoroutine(answer):
                answer.close()
            raise self._needs_loop("its on_pending_request answers later")
        if self._guard.same_for_all and not isinstance(answer, Defer):
            self._decision = answer
        return answer

    def _go_on(self, about: None = None, number: int = 0) -> None:
        """Run `prepare_switch` until it waits for the drain, or is over."""
        del about, number
        if self._prepare is None:
            return
        number, coroutine = self._prepare
        try:
            if isinstance(coroutine.send(None), _Empty):
                return
        except StopIteration:
            pass
        except Exception as error:
            if isinstance(error, RuntimeError) and "event loop" in str(error):
                raise self._needs_loop(_NOT_THE_DRAIN) from error
            self._complain(self._guard.name, f"prepare_switch raised {error!r}")
        else:
            self._drop_prepare()
            raise self._needs_loop(_NOT_THE_DRAIN)
        self._prepare = None
        self._tell(ev.PrepareEnded(number))

    def _drop_prepare(self, effect: fx.DropPrepare | None = None) -> None:
        del effect
        if self._prepare is not None:
            self._prepare[1].close()
            self._prepare = None

    def _complain(self, policy: str, error: str) -> None:
        self.complaints[f"{policy}: {error}"] = None

    def _needs_loop(self, why: str) -> NeedsLoopError:
        return NeedsLoopError(f"{type(self._policy).__name__} needs a loop: {why}")
