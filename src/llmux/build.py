"""Puts the house together: the only file that knows everybody.

A checked config goes in; a switcher with its hooks, policy, metrics and gateway comes out, and
`run_gateway` gives it a life with signals. No rule of any of them stands here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from llmux.config import Config, HttpProbe, Inherit, ModelConfig, TcpProbe, server_context
from llmux.core.lane import LaneSettings
from llmux.core.news import ModelAsleep, News
from llmux.errors import ConfigError, PolicyError
from llmux.http.asgi import App, SwitchLayer
from llmux.http.asgi_app import Lifespan, OwnRoutes
from llmux.http.asgi_doors import DoorLayer
from llmux.http.browser import BrowserGate
from llmux.http.keys import make_keyring
from llmux.http.limits import Limits
from llmux.http.server import Gateway
from llmux.policy.base import PolicySettings, SwitchPolicy
from llmux.policy.registry import load_policy
from llmux.runtime import probes
from llmux.runtime.findings import Finding
from llmux.runtime.hooks import HookRunner, HookSpec
from llmux.runtime.keeper import Keeper
from llmux.runtime.lives import Lives
from llmux.runtime.probes import Probe
from llmux.runtime.readiness import Readiness, beat, notify_systemd
from llmux.runtime.statefile import StateFile, state_path
from llmux.runtime.switcher import ModelSwitcher
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
    readiness: Readiness
    metrics: Metrics
    gateway: Gateway


def build(config: Config) -> Parts:
    """Make all parts of a gateway; nothing runs or listens yet. PolicyError, ConfigError."""
    policy = build_policy(config)
    state = StateFile(state_path(config.state, config.path), config.models, config=config.path)
    hooks = build_hooks(config, state)
    logs = LogNews()
    keeper = Keeper(
        hooks,
        _probes(config, hooks),
        state=state,
        interval=config.health.interval_secs,
        failures=config.health.failures,
        on_sleep_failure="stop" if config.health.on_sleep_failure == "stop" else "continue",
    )
    switcher = ModelSwitcher(
        keeper,
        policy,
        settings=_lanes(config, policy),
        survey=True,
        rescue=config.health.rescue,
        max_buffered=config.bounds.max_buffered_bytes,
    )
    metrics = Metrics(
        switcher.registered_models(),
        queue_depths=switcher.queue_depths,
        in_flight=lambda: {
            name: switcher.in_flight_count(name) for name in switcher.registered_models()
        },
        spent=switcher.spent,
    )
    readiness = Readiness(switcher, _hook_bounds(config))
    gateway = Gateway(
        switcher,
        {name: model.port for name, model in config.models.items()},
        _limits(config),
        metrics.meter_for,
        metrics.render,
        problems=lambda: readiness.problems(asyncio.get_running_loop().time()),
        limits_for=lambda name: _limits_for(config, name),
        keyring=make_keyring(config.auth, config.base),
        browser=BrowserGate(config.host, config.auth.allowed_origins),
        decisions=lambda model, limit: _decisions(switcher, model, limit),
    )

    def flush(news: News) -> None:
        if isinstance(news, ModelAsleep):
            gateway.flush(news.model)

    def found(finding: Finding) -> None:
        metrics(finding)
        logs(finding)

    keeper.listen(found)
    switcher.listeners += [flush, metrics, logs]
    lives = Lives(keeper, switcher, interval=config.health.interval_secs)
    return Parts(config, policy, hooks, keeper, switcher, lives, readiness, metrics, gateway)


def tls_context(config: Config) -> ssl.SSLContext | None:
    """Make what HTTPS needs, None where the config has no `tls`; ConfigError says what is wrong."""
    try:
        return server_context(config.tls, config.base)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _decisions(switcher: ModelSwitcher, model: str | None, limit: int) -> dict[str, object]:
    now = asyncio.get_running_loop().time()
    return decisions(switcher.board, now, time.time(), model=model, limit=limit)


def _hook_bounds(config: Config) -> dict[str, tuple[float | None, float | None]]:
    """Return how long a model's wake may take, and the ladder of its sleep, in seconds."""
    bounds: dict[str, tuple[float | None, float | None]] = {}
    for name in config.models:
        one = config.for_model(name)
        ladder = (one.sleep_timeout, one.sleep_timeout, one.kill_timeout, one.alive_timeout)
        steps = [step for step in ladder if step is not None]
        bounds[name] = (one.wake_timeout, sum(steps) if len(steps) == len(ladder) else None)
    return bounds


def _probes(config: Config, runner: HookRunner) -> dict[str, tuple[Probe | None, Probe, str]]:
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
    settings = PolicySettings(
        config.policy.request_timeout_secs,
        config.policy.drain_before_switch,
        config.policy.min_active_secs,
    )
    base = None if config.path is None else config.path.resolve().parent
    return load_policy(config.policy.name, config, config.policy.options, settings, base)


def build_hooks(config: Config, state: StateFile | None = None) -> HookRunner:
    """Make the runner for the config's hooks, with the directory and environment they get."""
    cwd: Path | None = None
    if config.hooks.cwd == "config" and config.path is not None:
        cwd = config.path.resolve().parent
    env: Mapping[str, str] | None = None
    secret = config.auth.secret_variables()
    if not isinstance(config.hooks.env, str):
        env = {name: os.environ[name] for name in config.hooks.env if name in os.environ}
    elif secret:
        env = {name: value for name, value in os.environ.items() if name not in secret}
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
    return HookRunner(specs, cwd=cwd, env=env, journal=state)


def _lanes(config: Config, policy: SwitchPolicy) -> dict[str, LaneSettings]:
    """Return what is fixed per model: its own key first, else what the policy says."""
    try:
        timeout = policy.request_timeout()
        min_active = policy.min_active_duration()
        drain = policy.drain_before_switch()
    except Exception as error:
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


def _limits(config: Config) -> Limits:
    return Limits(**{one.name: getattr(config.bounds, one.name) for one in fields(Limits)})


def _limits_for(config: Config, name: str) -> Limits:
    """Return the limits for one model's backend: its own silences, all else as for everybody."""
    one = config.for_model(name)
    return replace(
        _limits(config),
        first_byte_timeout_secs=one.first_byte_timeout,
        stream_idle_timeout_secs=one.stream_idle_timeout,
    )


async def run_gateway(config: Config, *, on_ready: Callable[[str, int], None] | None = None) -> int:
    """Serve until a signal ends it, and return the exit code; OSError if the port is taken.

    StateBusyError if another gateway runs with the same config.

    SIGTERM and SIGINT stop gracefully within `bounds.shutdown_grace_secs`, a second one at once.
    `on_ready(host, port)` is called once the gateway listens.
    """
    raise_descriptor_limit()
    parts = build(config)
    parts.keeper.state.open()
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    hurry = asyncio.Event()

    def stop(name: str) -> None:
        if ending.is_set():
            logger.warning("%s again: ending at once", name)
            hurry.set()
        else:
            logger.info("%s: finishing what runs, admitting nothing new", name)
            ending.set()

    def ignore() -> None:
        logger.warning("SIGHUP: reloading is not supported, restart to read the config again")

    for name in ("SIGTERM", "SIGINT"):
        loop.add_signal_handler(getattr(signal, name), stop, name)
    loop.add_signal_handler(signal.SIGHUP, ignore)
    beginning: asyncio.Task[None] | None = None
    heart: asyncio.Task[None] | None = None
    try:
        port = await parts.gateway.start(config.host, config.port, tls_context(config))
        parts.switcher.start()
        beginning = loop.create_task(parts.lives.begin())
        beginning.add_done_callback(_begun)
        heart = loop.create_task(beat(parts.readiness))
        notify_systemd("READY=1")
        if on_ready is not None:
            on_ready(config.host, port)
        await ending.wait()
    finally:
        notify_systemd("STOPPING=1")
        for task in (beginning, heart):
            if task is not None:
                task.cancel()
        await _shut_down(parts, hurry)
    return 0


def _begun(task: asyncio.Task[None]) -> None:
    """Tell of a look at the models that failed: nothing is woken without it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the look at the models failed: %r", error, exc_info=error)


async def _shut_down(parts: Parts, hurry: asyncio.Event) -> None:
    grace = parts.config.bounds.shutdown_grace_secs
    parts.gateway.stop_accepting()
    parts.switcher.close()
    graceful = asyncio.create_task(parts.gateway.stop(grace))
    hurried = asyncio.create_task(hurry.wait())
    await asyncio.wait({graceful, hurried}, return_when=asyncio.FIRST_COMPLETED)
    if not graceful.done():
        graceful.cancel()
        await asyncio.gather(graceful, return_exceptions=True)
        await parts.gateway.stop(0.0)
    hurried.cancel()
    await parts.switcher.stop()
    await parts.hooks.end_all()
    if parts.config.health.on_shutdown == "sleep" and not hurry.is_set():
        await parts.lives.sleep_all()
    await parts.lives.end()


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one: each request holds two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        logger.debug("the limit of open files stays at %s: %s", soft, error)


def build_app(config: Config) -> tuple[App, ModelSwitcher]:
    """Make the gateway as an ASGI app with lifespan, and its switcher.

    The app answers the gateway's own routes and relays what names a model. Its lifespan adopts
    what is awake and stops everything at the end; a server has to run it.
    """
    parts = build(config)
    layer = SwitchLayer(
        OwnRoutes(parts.gateway.routes, parts.metrics.meter_for("")),
        parts.switcher,
        limits=_limits(config),
        meter_for=parts.metrics.meter_for,
        limits_for=lambda name: _limits_for(config, name),
    )

    def flush(news: News) -> None:
        if isinstance(news, ModelAsleep):
            layer.flush(news.model)

    parts.switcher.listeners.append(flush)

    async def begin() -> None:
        parts.keeper.state.open()
        parts.switcher.start()
        await parts.lives.begin()

    async def end() -> None:
        await parts.switcher.stop()
        await parts.hooks.end_all()
        if config.health.on_shutdown == "sleep":
            await parts.lives.sleep_all()
        await parts.lives.end()
        await layer.close()

    return Lifespan(DoorLayer(layer, parts.gateway.doors), begin, end), parts.switcher
