"""What a seed draws for its story: a config, how it is changed, engines and policies.

It refuses to know what happens to them.
"""

from __future__ import annotations

from dataclasses import replace

from llmux.core.lane import LaneSettings
from llmux.policy import FifoPolicy
from llmux.policy.balance import BalancePolicy
from llmux.policy.base import SwitchPolicy
from llmux.runtime.hooks import HookSpec
from proof.chance import Chance
from proof.engines import Engine, Truth
from proof.life import Alive, Setting
from proof.moods import Moody

LONGEST_REST = 15.0
"""Seconds for which a breaker stays open at most."""


class Draw:
    """Draws from a story's dice."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.names = list("abcd"[: chance.one([2, 2, 3, 4])])
        """All models that any config of this story may have."""
        self._specs: dict[str, HookSpec] = {}
        self._read = 0
        """How often the config was changed."""

    def setting(self) -> Setting:
        """Draw a config."""
        one = self._chance.one
        lanes = {name: self.lane(name) for name in self.names}
        alive: list[Alive] = ["none", "http", "http", "shell"]
        specs = tuple(
            HookSpec(
                name,
                8001 + nth,
                "wake",
                "sleep",
                alive="alive",
                wake_timeout=6.0,
                sleep_timeout=4.0,
                alive_timeout=1.0,
                kill=one([None, "kill"]),
                kill_timeout=3.0,
            )
            for nth, name in enumerate(self.names)
        )
        self._specs = {spec.model: spec for spec in specs}
        return Setting(
            lanes=lanes,
            specs=specs,
            alive={name: one(alive) for name in self.names},
            interval=one([2.0, 5.0]),
            failures=one([1, 3]),
            remembers=one([True, True, True, False]),
            on_sleep_failure=one(["stop", "stop", "stop", "continue"]),
            rescue=one([True, True, False]),
            heart=one([True, False, False]),
            max_buffered=one([None, None, 150]),
        )

    def lane(self, name: str) -> LaneSettings:
        """Draw what the config says of a model."""
        one = self._chance.one
        return LaneSettings(
            name,
            request_timeout=one([None, 4.0, 20.0]),
            min_active=one([0.0, 0.0, 3.0]),
            drain_before_switch=one([True, True, True, False]),
            drain_timeout=one([6.0, 6.0, None]),
            cut_drain=one([True, True, False]),
            wake_timeout=6.0,
            max_wait=one([None, None, 3.0, 12.0]),
            max_queue=one([None, None, 4]),
            max_in_flight=one([None, None, 1, 2]),
            breaker_min=one([1.0, 1.0, 1.0, LONGEST_REST]),
            breaker_max=one([8.0, LONGEST_REST]),
            priority=one([1.0, 1.0, 1.0, 4.0, 0.25]),
        )

    def another(self, old: Setting) -> Setting:
        """Draw what a config says after somebody has changed it: models come, change and go."""
        one = self._chance.one
        before = {spec.model: spec for spec in old.specs}
        names = [name for name in self.names if one([True, True, True, False])]
        self._read += 1
        lanes, specs = {}, []
        for name in names or [one(self.names)]:
            kept = name in before and one([True, True, False])
            lanes[name] = old.lanes[name] if kept else self.lane(name)
            spec = before.get(name) or replace(self._specs[name])
            other = f"another {self._read}"
            match one(["none", "none", "none", "wake", "sleep", "kill"]):
                case "wake":
                    spec = replace(spec, wake=other)
                case "sleep":
                    spec = replace(spec, sleep=other)
                case "kill" if spec.kill:
                    spec = replace(spec, kill=other)
            specs.append(spec)
        bytes_, interval = one([None, None, 150]), one([old.interval, 2.0, 5.0])
        return replace(old, lanes=lanes, specs=tuple(specs), max_buffered=bytes_, interval=interval)

    def engine(self, name: str) -> Engine:
        """Draw what a model's server is like, and how the story finds it."""
        one = self._chance.one
        stays = one([True, False])
        blind = stays and one([True, False, False])
        found = one([Truth.DOWN] * 6 + [Truth.UP, Truth.UP, Truth.HUNG, Truth.HALF])
        # Who woke it before the story, perhaps beside another, nobody knows.
        excused = found is not Truth.DOWN
        wake, sleep = one([0.0, 1.0, 2.0]), one([0.0, 0.5, 1.0])
        return Engine(name, wake, sleep, stays, blind, found, excused)

    def policy(self) -> SwitchPolicy:
        """Draw a policy."""
        one = self._chance.one
        kind = one(["moody", "moody", "fifo", "balance"])
        if kind == "fifo":
            return FifoPolicy()
        if kind == "balance":
            return BalancePolicy()
        return Moody(self._chance, self.names, one([None, None, 2.0]), one([None, 2.0, 6.0]))
