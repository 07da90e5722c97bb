"""Lets a running gateway follow a config that was read anew: all of it, or nothing.

Whatever can fail is made, read or asked before anything is changed; then every part takes over its
share in one step. It refuses to know when a config is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from llmux.build import (
    Parts,
    build_hooks,
    build_policy,
    hook_bounds,
    hook_env,
    hook_specs,
    lane_settings,
    limits,
    model_probes,
    named_policy,
    policy_code,
    policy_finding,
    policy_settings,
    ports,
)
from llmux.config import Config, InvalidConfigError, Loaded
from llmux.config.changes import asked_otherwise, compare, obeyed
from llmux.config.load import check_own_port
from llmux.core.events import Reconfigured
from llmux.core.lane import LaneSettings, Phase
from llmux.core.news import ConfigReloaded
from llmux.errors import ConfigError, PolicyError
from llmux.http.config_doors import ConfigDoors, read_doors
from llmux.policy.base import SwitchPolicy
from llmux.runtime.probes import Probe
from llmux.runtime.survey import Standing, look_at
from llmux.telemetry.log import reconfigure

LOOK_SECONDS = 20.0
"""How long the look at a new model may take, whatever bounds are lifted."""


async def follow(parts: Parts, loaded: Loaded) -> ConfigReloaded:
    """Let a running gateway obey a config that was read anew, and say what has changed.

    InvalidConfigError or PolicyError where it cannot be obeyed; then nothing has changed.
    """
    changes = compare(parts.config, loaded.config)
    config = obeyed(parts.config, loaded.config)
    check_own_port(loaded, parts.config.port)
    if parts.switcher.board.surveying:
        raise ConfigError("the look at the models at the start has not ended well")
    policy: SwitchPolicy | None = None
    code = policy_code(config)
    if changes.policy or code != parts.policy_code:
        try:
            policy = build_policy(config)
        except PolicyError as error:
            raise InvalidConfigError([policy_finding(loaded, error)]) from error
    doors = read_doors(config)
    found = await _look_at_new(parts, config)
    apply(parts, config, policy, doors, found)
    parts.policy_code = code
    if policy is not None and not changes.policy:
        changes = replace(changes, changed=(*changes.changed, "the policy's file"))
    return ConfigReloaded(
        added=", ".join(changes.added),
        removed=", ".join(changes.removed),
        changed=", ".join(changes.changed),
        restart=", ".join(changes.restart),
    )


async def _look_at_new(parts: Parts, config: Config) -> dict[str, Standing]:
    """Find out which of the models that are new are awake already.

    One whose port belongs to a model that is up is taken for asleep.
    """
    lanes = parts.switcher.board.lanes
    up = {
        parts.hooks.model_port(name)
        for name, lane in lanes.items()
        if lane.phase is not Phase.ASLEEP
    }
    runner = build_hooks(config)
    asked = {
        name: probe
        for name, probe in model_probes(config, runner).items()
        if name not in lanes and config.models[name].port not in up
    }

    async def look(name: str, probe: tuple[Probe | None, Probe, str]) -> Standing:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await look_at(parts.keeper, name, probe)
        except TimeoutError:
            return "unclear"

    try:
        looks = (look(name, probe) for name, probe in asked.items())
        return dict(zip(asked, await asyncio.gather(*looks), strict=True))
    finally:
        runner.close()


def apply(
    parts: Parts,
    config: Config,
    policy: SwitchPolicy | None,
    doors: ConfigDoors,
    found: Mapping[str, Standing],
) -> None:
    """Make every part follow the config, in one step; a new policy comes with it.

    `found` says how models that are new were found. PolicyError comes before anything is changed.
    """
    old, board = parts.config, parts.switcher.board
    lanes = _new_lanes(parts.policy if policy is None else policy, config)
    health = config.health
    parts.config = config
    parts.policy = parts.policy if policy is None else policy
    later = parts.hooks.follow(hook_specs(config), hook_env(config))
    parts.keeper.follow(
        model_probes(config, parts.hooks),
        fresh=asked_otherwise(old, config),
        later=later,
        interval=health.interval_secs,
        failures=health.failures,
        on_sleep_failure="stop" if health.on_sleep_failure == "stop" else "continue",
    )
    parts.metrics.follow([*board.lanes, *config.models])
    parts.gateway.limits = limits(config)
    parts.switcher.rescue = health.rescue
    parts.switcher.reconfigure(
        Reconfigured(
            tuple(lanes.values()),
            renewed=frozenset(name for name, change in later.items() if change == "renew"),
            mended=frozenset(name for name, change in later.items() if change == "mend"),
            awake=tuple(name for name, standing in found.items() if standing == "awake"),
            unclear=tuple(name for name, standing in found.items() if standing == "unclear"),
            rate_windows=None if policy is None else tuple(policy.rate_windows),
            max_buffered=config.bounds.max_buffered_bytes,
            hint_secs=None if policy is None else policy.hint_secs,
        ),
        policy,
    )
    parts.metrics.follow(board.lanes)
    parts.gateway.follow(ports(parts.switcher), limits(config))
    doors.hang(parts.gateway)
    parts.readiness.follow(hook_bounds(config))
    parts.lives.follow(health.interval_secs)
    if parts.journal is not None:
        parts.journal.follow(named_policy(config), config.bounds.max_journal_bytes)
    if config.log != old.log:
        reconfigure(config.log.format, config.log.level)


def _new_lanes(policy: SwitchPolicy, config: Config) -> dict[str, LaneSettings]:
    """Return what is fixed per model; a policy that cannot say it keeps its settings."""
    before = policy.settings
    policy.settings = policy_settings(config)
    try:
        return lane_settings(config, policy)
    except PolicyError:
        policy.settings = before
        raise
