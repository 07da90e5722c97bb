"""Says whether the switch path makes progress, and if not, which model, phase and hook it is.

A static page would say `ready` while a queue stands still. Here every stage of a switch has the
bound that the config gives it, and a stage that has outlived its bound is a stall. It refuses to
mend anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping

from llmux.core.lane import Phase
from llmux.core.plan import Stage
from llmux.runtime.guard import DEADLINE_SECONDS
from llmux.runtime.survey import Waits
from llmux.runtime.switcher import ModelSwitcher

SLACK = 6.0
"""Seconds that a stage may outlive its bound: ending a hook's group takes up to two."""
BEAT = 1.0
"""Seconds between two looks of the heartbeat."""

logger = logging.getLogger("llmux.readiness")


class Readiness:
    """Looks at a switcher's progress; `bounds` gives the seconds a wake and a sleep may take.

    `waits` says what a start still waits for. A bound of None is never outlived. Stages are timed
    by the looks of `beat`, so a stall shows within `SLACK` and a beat of its bound.
    """

    def __init__(
        self,
        switcher: ModelSwitcher,
        bounds: Mapping[str, tuple[float | None, float | None]],
        waits: Callable[[], Iterable[Waits]] = tuple,
    ) -> None:
        self._switcher = switcher
        self._bounds = bounds
        self._waits = waits
        self._seen: tuple[object, ...] = ()
        self._since = 0.0

    def follow(self, bounds: Mapping[str, tuple[float | None, float | None]]) -> None:
        """Hold stages to other bounds from now on."""
        self._bounds = bounds

    def look(self, now: float) -> None:
        """Note which stage the switch path is in; to be called about once a second."""
        board = self._switcher.board
        plan = board.plan
        seen: tuple[object, ...]
        if plan is not None:
            seen = (plan.number, plan.stage, plan.hook)
        elif board.asking:
            seen = ("asking", *sorted(board.asking))
        else:
            seen = ()
        if seen != self._seen:
            self._seen, self._since = seen, now

    def problems(self, now: float) -> list[dict[str, object]]:
        """Return what stands in the way of serving; each with model, phase and a sentence."""
        board = self._switcher.board
        found: list[dict[str, object]] = []
        if board.surveying:
            found += [_problem(one.model, "starting", one.hook, one.why) for one in self._waits()]
            if not found:
                found.append(_problem(None, "starting", None, "looking which models are awake"))
        for lane in board.quarantined:
            why = "neither alive nor provably asleep: nothing wakes in its place"
            found.append(_problem(lane.name, "quarantined", None, why))
        self.look(now)
        seconds = now - self._since
        plan = board.plan
        if plan is None:
            if board.asking and seconds > DEADLINE_SECONDS + SLACK:
                model = min(board.asking)
                found.append(_problem(model, "asking", None, f"no answer for {seconds:.0f} s"))
            return found
        lane = plan.leaving[0] if plan.leaving else plan.target
        hook: str | None = None
        wake, sleep = self._bounds.get(lane.name, (None, None))
        if plan.stage is Stage.DRAINING:
            bound = lane.settings.drain_timeout if lane.settings.cut_drain else None
        elif plan.stage is Stage.WAKING:
            hook, bound = "wake", wake
        else:
            hook, bound = "sleep", sleep
        if bound is not None and seconds > bound + SLACK:
            why = f"no progress for {seconds:.0f} s, its bound is {bound:g} s"
            found.append(_problem(lane.name, plan.stage.value, hook, why))
        return found

    def troubles(self, now: float) -> list[dict[str, object]]:
        """Return which models fail while others are served; the same fields as `problems`."""
        found = []
        for lane in self._switcher.board.lanes.values():
            if lane.resting and lane.phase is not Phase.AWAKE:
                left = max(0.0, (lane.rest_until or now) - now)
                why = f"failed {lane.level} times in a row; it is tried again in {left:.1f} s"
                found.append(_problem(lane.name, "resting", "wake", why))
            if lane.stuck and lane.phase is not Phase.QUARANTINED:
                left = max(0.0, (lane.stuck_until or now) - now)
                why = f"cannot be put to sleep and serves on; it is tried again in {left:.1f} s"
                found.append(_problem(lane.name, "stuck", "sleep", why))
        return found


def _problem(model: str | None, phase: str, hook: str | None, why: str) -> dict[str, object]:
    return {"model": model, "phase": phase, "hook": hook, "why": why}


def notify_systemd(state: str) -> None:
    """Tell the service manager, where there is one; a manager that is gone is nobody's fault."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.setblocking(False)
        channel.connect(address)
        channel.sendall(state.encode())


async def beat(readiness: Readiness) -> None:
    """Look once a second, and keep systemd's watchdog quiet while there is progress."""
    loop = asyncio.get_running_loop()
    told = False
    while True:
        now = loop.time()
        readiness.look(now)
        problems = readiness.problems(now)
        stalled = [one for one in problems if one["phase"] not in {"starting", "quarantined"}]
        if stalled and not told:
            logger.error("the switch path stands still: %s", stalled[0])
        told = bool(stalled)
        if not stalled and os.environ.get("WATCHDOG_USEC"):
            notify_systemd("WATCHDOG=1")
        await asyncio.sleep(BEAT)
