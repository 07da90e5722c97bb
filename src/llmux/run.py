"""Gives a gateway its life: it listens, hears signals, and ends well.

No rule of its parts stands here (`llmux.build` makes them, `llmux.follow` changes them).
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
from collections.abc import Callable, Sequence
from functools import partial

from llmux.build import Parts, build
from llmux.config import Config, Finding, Loaded
from llmux.core.news import ConfigReloaded
from llmux.follow import follow
from llmux.reload import Reloader
from llmux.runtime.readiness import beat, notify_systemd
from llmux.runtime.survey import SurveyError

logger = logging.getLogger("llmux")


async def run_gateway(
    config: Config,
    *,
    on_ready: Callable[[str, int], None] | None = None,
    reread: Callable[[], Loaded] | None = None,
    known: Sequence[Finding] = (),
) -> int:
    """Serve until a signal ends it, and return the exit code; OSError if the port is taken.

    StateBusyError if another gateway runs with the same config, SurveyError if it cannot be found
    out at the start which models are awake: nothing may be woken without that.

    SIGTERM and SIGINT stop gracefully within `bounds.shutdown_grace_secs`, a second one at once.
    `on_ready(host, port)` is called once the gateway listens. SIGHUP follows what `reread` gives;
    `known` are the warnings that the present config came with.
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

    async def obey(loaded: Loaded) -> ConfigReloaded:
        if beginning is not None:
            await asyncio.wait({beginning})  # what is awake is known by then
        return await follow(parts, loaded)

    reloader = None if reread is None else Reloader(reread, obey, parts.tell, known)

    def reload() -> None:
        if reloader is None or ending.is_set():
            logger.warning("SIGHUP: the config is not read again, llmux is about to stop")
        else:
            logger.info("SIGHUP: reading the config again")
            reloader.ask()

    for name in ("SIGTERM", "SIGINT"):
        loop.add_signal_handler(getattr(signal, name), stop, name)
    beginning: asyncio.Task[None] | None = None
    heart: asyncio.Task[None] | None = None
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        port = await parts.gateway.start(config.host, config.port, parts.doors.tls)
        if parts.journal is not None:
            parts.journal.start()
        parts.switcher.start()
        beginning = loop.create_task(parts.lives.begin())
        beginning.add_done_callback(partial(_begun, ending))
        heart = loop.create_task(beat(parts.readiness))
        notify_systemd("READY=1")
        if on_ready is not None:
            on_ready(config.host, port)
        await ending.wait()
    finally:
        notify_systemd("STOPPING=1")
        if reloader is not None:
            await reloader.end()
        for task in (beginning, heart):
            if task is not None:
                task.cancel()
        await _shut_down(parts, hurry)
    if beginning is not None and (error := _failure(beginning)) is not None:
        raise SurveyError(
            f"the look at the models at the start failed: {error!r}; nothing was served,"
            " and a new start looks again"
        ) from error
    return 0


def _begun(ending: asyncio.Event, task: asyncio.Task[None]) -> None:
    """End where the look at the models has failed: nothing may be woken without it."""
    if (error := _failure(task)) is not None:
        logger.critical("the look at the models failed: %r", error, exc_info=error)
        ending.set()


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    """Return what the task has raised; None while it runs, or if it was cancelled or is fine."""
    return task.exception() if task.done() and not task.cancelled() else None


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
    if not hurry.is_set():
        await parts.lives.sleep_leaving()
    if parts.config.health.on_shutdown == "sleep" and not hurry.is_set():
        await parts.lives.sleep_all()
    await parts.lives.end()
    if parts.journal is not None:
        parts.journal.close()


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one: each request holds two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        logger.debug("the limit of open files stays at %s: %s", soft, error)
