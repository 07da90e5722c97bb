"""Puts the house together: the only file that knows everybody.

A checked config goes in; a switcher with its hooks, policy, metrics and gateway comes out
(`llmux.run` gives it a life, `llmux.follow` lets it follow another config). No rule of any of them
stands here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from llmux.config import (
    Config,
    Finding,
    HttpProbe,
    Inherit,
    Loaded,
    ModelConfig,
    TcpProbe,
)
from llmux.core.board import Switchboard
from llmux.core.lane import LaneSettings
from llmux.core.news import ModelAsleep, ModelRemoved, ModelRenewed, News
from llmux.core.recorded import RecordedBoard
from llmux.errors import PolicyError
from llmux.http.asgi import SwitchLayer
from llmux.http.asgi_app import Lifespan, OwnRoutes
from llmux.http.asgi_doors import DoorLayer
from llmux.http.asgi_messages import App
from llmux.http.config_doors import ConfigDoors, read_doors
from llmux.http.limits import Limits
from llmux.http.server import Gateway
from llmux.policy.base import PolicySettings, SwitchPolicy
from llmux.policy.registry import load_policy
from llmux.runtime import probes
from llmux.runtime.hooks import HookRunner, HookSpec
from llmux.runtime.keeper import LADDER_LOOKS, Keeper
from llmux.runtime.lives import Lives
from llmux.runtime.probes import Probe
from llmux.runtime.readiness import Readiness
from llmux.runtime.statefile import StateFile, state_path
from llmux.runtime.switcher import ModelSwitcher
from llmux.telemetry.journal import Journal
from llmux.telemetry.log import LogNews
from llmux.telemetry.metrics import Metrics
from llmux.telemetry.why import decisions

logger = logging.getLogger("llmux")


@dataclass(slots=True)
class Parts:
    """Everything that one config becomes."""

    config: Config
    policy: SwitchPolicy
    hooks: HookRunner
    keeper: Keeper
    switcher: ModelSwitcher
    lives: Lives
    tell: Callable[[News], None]
    readiness: Readiness
    metrics: Metrics
    gateway: Gateway
    doors: ConfigDoors
    """The doors that it starts with; those of a reload hang in the gateway alone."""
    journal: Journal | None = None
    policy_code: bytes = b""
    """The text of the policy's file, where it has one."""


def build(config: Config) -> Parts:
    """Make all parts of a gateway; nothing runs or listens yet. PolicyError, ConfigError."""
    doors = read_doors(config)
    policy = build_policy(config)
    state = StateFile(state_path(config.state, config.path), config.models, config=config.path)
    hooks = build_hooks(config, state)
    logs = LogNews()
    keeper = Keeper(
        hooks,
        model_probes(config, hooks),
        state=state,
        interval=config.health.interval_secs,
        failures=config.health.failures,
        on_sleep_failure="stop" if config.health.on_sleep_failure == "stop" else "continue",
    )
    switcher = ModelSwitcher(
        keeper,
        policy,
        settings=lane_settings(config, policy),
        survey=True,
        rescue=config.health.rescue,
        max_buffered=config.bounds.max_buffered_bytes,
        board=Switchboard if config.journal is None else RecordedBoard,
    )
    metrics = Metrics(
        switcher.registered_models(),
        queue_depths=switcher.queue_depths,
        in_flight=lambda: {name: switcher.in_flight_count(name) for name in switcher.board.lanes},
        spent=switcher.spent,
    )

    def found(finding: News) -> None:
        metrics(finding)
        logs(finding)

    readiness = Readiness(switcher, hook_bounds(config), lambda: lives.waits)
    gateway = Gateway(
        switcher,
        {name: model.port for name, model in config.models.items()},
        limits(config),
        metrics.meter_for,
        metrics.render,
        problems=lambda: readiness.problems(asyncio.get_running_loop().time()),
        troubles=lambda: readiness.troubles(asyncio.get_running_loop().time()),
        limits_for=lambda name: limits_for(parts.config, name),
        keyring=doors.keyring,
        browser=doors.browser,
        decisions=lambda model, limit: _decisions(switcher, model, limit),
        tell=found,
        reads_tool_calls=lambda: parts.policy.reads_tool_calls,
    )

    def flush(news: News) -> None:
        if isinstance(news, ModelAsleep):
            gateway.flush(news.model)
        elif isinstance(news, ModelRenewed):
            gateway.follow(ports(switcher), gateway.limits)
        elif isinstance(news, ModelRemoved):
            metrics.follow(switcher.board.lanes)

    keeper.listen(found)
    switcher.listeners += [flush, metrics, logs]
    lives = Lives(keeper, switcher, interval=config.health.interval_secs)
    parts = Parts(
        config, policy, hooks, keeper, switcher, lives, found, readiness, metrics, gateway, doors
    )
    parts.policy_code = policy_code(config)
    parts.journal = _journal(config, switcher.board)
    return parts


def _journal(config: Config, board: Switchboard) -> Journal | None:
    if config.journal is None or not isinstance(board, RecordedBoard):
        return None
    path = config.base / config.journal
    return Journal(path, board, named_policy(config), config.bounds.max_journal_bytes)


def named_policy(config: Config) -> tuple[str, Mapping[str, object]]:
    """Return the policy's name and options, as a journal tells them."""
    return config.policy.name, config.policy.options


def _decisions(switcher: ModelSwitcher, model: str | None, limit: int) -> dict[str, object]:
    now = asyncio.get_running_loop().time()
    return decisions(switcher.board, now, time.time(), model=model, limit=limit)


def hook_bounds(config: Config) -> dict[str, tuple[float | None, float | None]]:
    """Return how long a model's wake may take, and the ladder of its sleep, in seconds."""
    bounds: dict[str, tuple[float | None, float | None]] = {}
    for name in config.models:
        one = config.for_model(name)
        looks = (one.alive_timeout,) * LADDER_LOOKS
        ladder = (one.sleep_timeout, one.sleep_timeout, one.kill_timeout, *looks)
        steps = [step for step in ladder if step is not None]
        bounds[name] = (one.wake_timeout, sum(steps) if len(steps) == len(ladder) else None)
    return bounds


def model_probes(config: Config, runner: HookRunner) -> dict[str, tuple[Probe | None, Probe, str]]:
    """Return for each model how it is asked whether it lives, and how its port is asked."""
    made: dict[str, tuple[Probe | None, Probe, str]] = {}
    for name in config.models:
        one = config.for_model(name)
        knock = probes.tcp(one.port, one.alive_timeout)
        alive: Probe | None = None
        if isinstance(one.alive, HttpProbe):
            alive = probes.http(one.port, one.alive.path, one.alive_timeout)
        elif isinstance(one.alive, str):
            alive = probes.shell(runner, name)
        made[name] = (alive, knock, repr(one.alive))
    return made


def build_policy(config: Config) -> SwitchPolicy:
    """Load the policy that the config names; PolicyError says what is wrong with it."""
    base = None if config.path is None else config.path.resolve().parent
    settings = policy_settings(config)
    return load_policy(config.policy.name, config, config.policy.options, settings, base)


def policy_code(config: Config) -> bytes:
    """Return the text of the policy's file, empty where it has none or cannot be read."""
    if not config.policy.name.endswith(".py"):
        return b""
    base = Path() if config.path is None else config.path.resolve().parent
    try:
        return (base / config.policy.name).read_bytes()
    except OSError:
        return b""


def policy_finding(loaded: Loaded, error: PolicyError) -> Finding:
    """Say where in its file the policy stands that could not be built."""
    places = loaded.places
    mark = places.get(("policy", "options")) or places.get(("policy", "name")) or (0, 0)
    return Finding(str(loaded.config.path), *mark, str(error))


def policy_settings(config: Config) -> PolicySettings:
    """Return what the config says for every policy."""
    return PolicySettings(
        config.policy.request_timeout_secs,
        config.policy.drain_before_switch,
        config.policy.min_active_secs,
    )


def ports(switcher: ModelSwitcher) -> dict[str, int]:
    """Return where the backend of each model listens now, whatever a newer config says."""
    return {name: switcher.model_port(name) or 0 for name in switcher.registered_models()}


def build_hooks(config: Config, state: StateFile | None = None) -> HookRunner:
    """Make the runner for the config's hooks, with the directory and environment they get."""
    cwd: Path | None = None
    if config.hooks.cwd == "config" and config.path is not None:
        cwd = config.path.resolve().parent
    return HookRunner(hook_specs(config), cwd=cwd, env=hook_env(config), journal=state)


def hook_env(config: Config) -> Mapping[str, str] | None:
    """Return what hooks inherit; None for all that the process has."""
    secret = config.auth.secret_variables()
    if not isinstance(config.hooks.env, str):
        return {name: os.environ[name] for name in config.hooks.env if name in os.environ}
    if secret:
        return {name: value for name, value in os.environ.items() if name not in secret}
    return None


def hook_specs(config: Config) -> list[HookSpec]:
    """Return the commands of each model, with their bounds."""
    specs = []
    for name in config.models:
        one = config.for_model(name)
        alive = None if isinstance(one.alive, HttpProbe | TcpProbe) else one.alive
        specs.append(
            HookSpec(
                name,
                one.port,
                one.wake,
                one.sleep,
                alive,
                one.wake_timeout,
                one.sleep_timeout,
                one.alive_timeout,
                kill=one.kill,
                kill_timeout=one.kill_timeout,
            )
        )
    return specs


def lane_settings(config: Config, policy: SwitchPolicy) -> dict[str, LaneSettings]:
    """Return what is fixed per model: its own key first, else what the policy says."""
    try:
        timeout = policy.request_timeout()
        min_active = policy.min_active_duration()
        drain = policy.drain_before_switch()
    except (Exception, SystemExit) as error:
        raise PolicyError(
            f"policy {type(policy).__name__}: asking its settings raised {error!r}"
        ) from error
    lanes = {}
    for name, model in config.models.items():
        one = config.for_model(name)
        lanes[name] = LaneSettings(
            name,
            port=one.port,
            request_timeout=_own(model, "request_timeout_secs", timeout),
            min_active=_own(model, "min_active_secs", min_active) or 0.0,
            drain_before_switch=bool(_own(model, "drain_before_switch", drain)),
            drain_timeout=one.drain_timeout,
            cut_drain=config.health.on_drain_timeout == "cut",
            wake_timeout=one.wake_timeout,
            max_wait=one.max_wait,
            max_queue=one.max_queue,
            max_in_flight=one.max_in_flight,
            breaker_min=config.health.breaker_min_secs,
            breaker_max=config.health.breaker_max_secs,
            priority=one.priority,
        )
    return lanes


def _own(model: ModelConfig, key: str, otherwise: float | None) -> float | None:
    value: float | Inherit | None = getattr(model, key)
    return otherwise if isinstance(value, Inherit) else value


def limits(config: Config) -> Limits:
    """Return the bounds of the data plane."""
    return Limits(**{one.name: getattr(config.bounds, one.name) for one in fields(Limits)})


def limits_for(config: Config, name: str) -> Limits:
    """Return the limits for one model's backend: its own silences, all else as for everybody."""
    one = config.for_model(name)
    return replace(
        limits(config),
        first_byte_timeout_secs=one.first_byte_timeout,
        stream_idle_timeout_secs=one.stream_idle_timeout,
    )


def build_app(config: Config) -> tuple[App, ModelSwitcher]:
    """Make the gateway as an ASGI app with lifespan, and its switcher.

    The app answers the gateway's own routes and relays what names a model. Its lifespan adopts
    what is awake and stops everything at the end; a server has to run it.
    """
    parts = build(config)
    layer = SwitchLayer(
        OwnRoutes(parts.gateway.routes, parts.metrics.meter_for("")),
        parts.switcher,
        limits=limits(config),
        meter_for=parts.metrics.meter_for,
        limits_for=lambda name: limits_for(config, name),
        tell=parts.tell,
    )

    def flush(news: News) -> None:
        if isinstance(news, ModelAsleep):
            layer.flush(news.model)

    parts.switcher.listeners.append(flush)

    async def begin() -> None:
        parts.keeper.state.open()
        if parts.journal is not None:
            parts.journal.start()
        parts.switcher.start()
        await parts.lives.begin()

    async def end() -> None:
        await parts.switcher.stop()
        await parts.hooks.end_all()
        if config.health.on_shutdown == "sleep":
            await parts.lives.sleep_all()
        await parts.lives.end()
        await layer.close()
        if parts.journal is not None:
            parts.journal.close()

    return Lifespan(DoorLayer(layer, parts.gateway.doors), begin, end), parts.switcher
