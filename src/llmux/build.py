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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from llmux.config import Config, HttpProbe, Inherit, ModelConfig, TcpProbe
from llmux.core.lane import LaneSettings
from llmux.core.news import ModelAsleep, News
from llmux.errors import PolicyError
from llmux.http.limits import Limits
from llmux.http.server import Gateway
from llmux.policy.base import PolicySettings, SwitchPolicy
from llmux.policy.registry import load_policy
from llmux.runtime.hooks import HookRunner, HookSpec
from llmux.runtime.switcher import ModelSwitcher
from llmux.telemetry.log import LogNews
from llmux.telemetry.metrics import Metrics

logger = logging.getLogger("llmux")


@dataclass(slots=True)
class Parts:
    """Everything that one config becomes."""

    config: Config
    policy: SwitchPolicy
    hooks: HookRunner
    switcher: ModelSwitcher
    metrics: Metrics
    gateway: Gateway


def build(config: Config) -> Parts:
    """Make all parts of a gateway; nothing runs or listens yet. PolicyError, ConfigError."""
    policy = build_policy(config)
    hooks = build_hooks(config)
    switcher = ModelSwitcher(hooks, policy, settings=_lanes(config, policy))
    metrics = Metrics(
        switcher.registered_models(),
        queue_depths=switcher.queue_depths,
        in_flight=lambda: {
            name: switcher.in_flight_count(name) for name in switcher.registered_models()
        },
    )
    gateway = Gateway(
        switcher,
        {name: model.port for name, model in config.models.items()},
        _limits(config),
        metrics.meter_for,
        metrics.render,
    )

    def flush(news: News) -> None:
        if isinstance(news, ModelAsleep):
            gateway.flush(news.model)

    switcher.listeners += [flush, metrics, LogNews()]
    return Parts(config, policy, hooks, switcher, metrics, gateway)


def build_policy(config: Config) -> SwitchPolicy:
    """Load the policy that the config names; PolicyError says what is wrong with it."""
    settings = PolicySettings(
        config.policy.request_timeout_secs,
        config.policy.drain_before_switch,
        config.policy.min_active_secs,
    )
    base = None if config.path is None else config.path.resolve().parent
    return load_policy(config.policy.name, config, config.policy.options, settings, base)


def build_hooks(config: Config) -> HookRunner:
    """Make the runner for the config's hooks, with the directory and environment they get."""
    cwd: Path | None = None
    if config.hooks.cwd == "config" and config.path is not None:
        cwd = config.path.resolve().parent
    env: Mapping[str, str] | None = None
    if not isinstance(config.hooks.env, str):
        env = {name: os.environ[name] for name in config.hooks.env if name in os.environ}
    specs = []
    for name in config.models:
        one = config.for_model(name)
        alive = None if isinstance(one.alive, HttpProbe | TcpProbe) else one.alive
        specs.append(
            HookSpec(
                name, one.port, one.wake, one.sleep, alive, one.wake_timeout, one.sleep_timeout
            )
        )
    return HookRunner(specs, cwd=cwd, env=env)


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
            wake_timeout=one.wake_timeout,
        )
    return lanes


def _own(model: ModelConfig, key: str, otherwise: float | None) -> float | None:
    value: float | Inherit | None = getattr(model, key)
    return otherwise if isinstance(value, Inherit) else value


def _limits(config: Config) -> Limits:
    return Limits(**{one.name: getattr(config.bounds, one.name) for one in fields(Limits)})


async def run_gateway(config: Config, *, on_ready: Callable[[str, int], None] | None = None) -> int:
    """Serve until a signal ends it, and return the exit code; OSError if the port is taken.

    SIGTERM and SIGINT stop gracefully within `bounds.shutdown_grace_secs`, a second one at once.
    `on_ready(host, port)` is called once the gateway listens.
    """
    raise_descriptor_limit()
    parts = build(config)
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
    try:
        port = await parts.gateway.start(config.host, config.port)
        parts.switcher.start()
        if on_ready is not None:
            on_ready(config.host, port)
        await ending.wait()
    finally:
        await _shut_down(parts, hurry)
    return 0


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


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one: each request holds two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        logger.debug("the limit of open files stays at %s: %s", soft, error)
