"""Where the gateway is when it is killed: how each phase is reached, and which one it was.

A kill is aimed: its phase is chosen first, brought about and waited for. What was hit is then read
from what is left: the state file, the log and the history. It refuses to know what has to hold.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from proof.crash_history import Event, begun, running
from proof.crash_site import PATIENCE, Site, StuckError, until


@dataclass(slots=True)
class Approach:
    """One way into a phase: what was done, and what is open meanwhile."""

    site: Site
    dice: Random
    awake: str
    """The model that serves when it begins."""
    linger: float = 0.3
    """Seconds up to which the kill waits once the phase is seen."""
    streams: list[socket.socket] = field(default_factory=list)
    changed: str = ""
    """The model whose hooks the config that was read anew does not have any more."""
    both: bool = False
    """The awake model's server dies with the gateway."""
    _first: int = 0
    _logged: int = 0

    def other(self) -> str:
        """Choose a model that does not serve."""
        return self.dice.choice([one for one in self.site.models if one != self.awake])

    def stream(self) -> None:
        """Open a stream at the model that serves."""
        self.streams.append(self.site.stream(self.awake))

    def may_be_slow(self, model: str) -> None:
        """Let the next hook of a model run on into the next life, or not."""
        if self.dice.random() < 0.5:
            self.site.order(f"slow.{model}")

    def close(self) -> None:
        """Hang up."""
        for one in self.streams:
            one.close()

    def __post_init__(self) -> None:
        self._first = len(self.site.history())
        self._logged = len(self.site.logged())

    def wait_hook(self, what: str, hook: str, model: str) -> None:
        """Wait until a hook of this approach has noted that."""

        def there() -> bool:
            return any(
                (one.who, one.what, one.model) == ("hook", what, model) and one.hook == hook
                for one in self.site.history()[self._first :]
            )

        until(there, f"the {hook} hook of {model}: {what}")

    def wait_logged(self, event: str) -> None:
        """Wait until the gateway has logged that in this approach."""

        def there() -> bool:
            return any(one["event"] == event for one in self.site.logged()[self._logged :])

        until(there, f"the log has {event}")


def _idle(way: Approach) -> None:
    way.both = way.dice.random() < 0.3


def _streaming(way: Approach) -> None:
    way.stream()


def _draining(way: Approach) -> None:
    way.stream()
    target = way.other()
    way.site.send(target)
    way.wait_logged("switch_started")


def _gate(way: Approach) -> None:
    target = way.other()
    hook, model = way.dice.choice([("sleep", way.awake), ("wake", target)])
    way.site.send(target)
    end = time.monotonic() + PATIENCE
    while not _intended(way.site, hook, model):
        if time.monotonic() > end:
            raise StuckError(f"the {hook} hook of {model} is never written down")
    way.linger = 0.0


def _intended(site: Site, hook: str, model: str) -> bool:
    notes = site.remembered().get("hooks", [])
    return any((one["hook"], one["model"]) == (hook, model) for one in notes)


def _sleeping(way: Approach) -> None:
    way.may_be_slow(way.awake)
    way.site.send(way.other())
    way.wait_hook("begin", "sleep", way.awake)
    way.linger = 2.5 * way.site.models[way.awake].seconds


def _waking(way: Approach) -> None:
    target = way.other()
    way.may_be_slow(target)
    way.site.send(target)
    way.wait_hook("begin", "wake", target)
    way.linger = 2.5 * way.site.models[target].seconds


def _loading(way: Approach) -> None:
    target = "b" if way.awake == "c" else "c"
    way.site.send(target)
    way.wait_hook("end", "wake", target)
    way.linger = way.site.models[target].load


def _cleaning(way: Approach) -> None:
    target = way.other()
    way.site.order(f"fail-wake.{target}")
    way.site.send(target)
    way.wait_hook("failed", "wake", target)
    way.wait_hook("begin", "sleep", target)
    way.linger = 2 * way.site.models[target].seconds


def _restoring(way: Approach) -> None:
    target = way.other()
    way.site.order(f"fail-wake.{target}")
    way.site.send(target)
    way.wait_hook("failed", "wake", target)
    way.wait_hook("begin", "wake", way.awake)
    way.linger = 2 * way.site.models[way.awake].seconds


def _quarantine(way: Approach) -> None:
    if way.site.models[way.awake].shell:  # it asks who holds a lock, and a stopped server does
        way.awake = way.other()
        way.site.served(way.awake)
    way.site.order(f"fail-sleep.{way.awake}")
    way.site.send(way.other())
    way.wait_logged("model_quarantined")


def _starting(way: Approach) -> None:
    way.site.kill()
    way.site.launch()
    way.linger = 0.6


def _settling(way: Approach) -> None:
    target = way.other()
    model, hook = way.dice.choice([(way.awake, "sleep"), (target, "wake")])
    way.site.order(f"slow.{model}")
    way.site.send(target)
    way.wait_hook("begin", hook, model)
    way.site.kill()
    way.site.launch()
    way.linger = 0.8


def _stopping(way: Approach) -> None:
    if way.dice.random() < 0.5:
        way.stream()
    else:
        target = way.other()
        model, hook = way.dice.choice([(way.awake, "sleep"), (target, "wake")])
        way.site.send(target)
        way.wait_hook("begin", hook, model)
    way.site.tell(signal.SIGTERM)
    way.linger = 0.15


def _reloading(way: Approach) -> None:
    site, kind = way.site, way.dice.choice(["change", "remove", "nothing"])
    if way.dice.random() < 0.7:
        way.stream()
    if kind == "change":
        site.change(way.awake)
    elif kind == "remove":
        site.gone.add(way.awake)
    else:
        site.more_room += 1
    way.changed = "" if kind == "nothing" else way.awake
    site.write()
    site.tell(signal.SIGHUP)
    if way.dice.random() < 0.7:
        way.wait_logged("config_reloaded")


AIMS: dict[str, Callable[[Approach], None]] = {
    "idle": _idle,
    "streaming": _streaming,
    "draining": _draining,
    "gate": _gate,
    "sleeping": _sleeping,
    "waking": _waking,
    "loading": _loading,
    "cleaning": _cleaning,
    "restoring": _restoring,
    "quarantine": _quarantine,
    "starting": _starting,
    "settling": _settling,
    "stopping": _stopping,
    "reloading": _reloading,
}
"""Each phase, and what leads into it from a gateway that serves one model."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What is left of a gateway that was killed."""

    events: Sequence[Event]
    """The history up to the kill."""
    life: int
    """The number of the first event of the life that was killed."""
    log: Sequence[dict[str, Any]]
    state: dict[str, Any]
    streams: bool
    """A stream was open."""


def phase_of(moment: Moment) -> str:
    """Say in which phase the gateway was."""
    mine = moment.events[moment.life :]
    signals = {one.model for one in mine if one.what == "gets"}
    told = [one["event"] for one in moment.log]
    if "SIGTERM" in signals:
        return "stopping"
    if "model_activated" not in told and "ready" not in {
        one.what for one in mine if one.who == "gateway"
    }:
        earlier = {one.run_id for one in begun(moment.events[: moment.life])}
        return "settling" if earlier & running(moment.events).keys() else "starting"
    if "SIGHUP" in signals:
        return "reloading"
    there = running(mine)
    for note in moment.state.get("hooks", []):
        if note["run_id"] not in {one.run_id for one in begun(moment.events)}:
            return "gate"
    if there:
        return _hook_phase(mine, next(iter(there.values())))
    if "model_quarantined" in told and "quarantine_ended" not in told:
        return "quarantine"
    hooks = [one for one in mine if one.who == "hook"]
    last = hooks[-1] if hooks else None
    models = moment.state.get("models", {})
    if last and (last.hook, last.what, models.get(last.model)) == ("wake", "end", "unsettled"):
        return "loading"
    switching = [one for one in told if one in SWITCHING]
    if switching and switching[-1] == "switch_started":
        return "draining"
    return "streaming" if moment.streams else "idle"


SWITCHING = frozenset({"switch_started", "switch_abandoned", "switch_failed", "model_activated"})


def _hook_phase(mine: Sequence[Event], hook: Event) -> str:
    before = [one for one in begun(mine) if one.run_id != hook.run_id]
    if hook.hook == "sleep":
        return "cleaning" if hook.more.startswith("clean up") else "sleeping"
    cleaned = bool(before) and before[-1].more.startswith("clean up")
    return "restoring" if cleaned and before[-1].model != hook.model else "waking"
