"""Reads the config anew while the gateway runs: one at a time, all of it or nothing.

It knows when to read, and when a file is not good enough to be followed; it refuses to know how a
running gateway follows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable

from llmux.config import Finding, InvalidConfigError, Kind, Loaded
from llmux.core.news import ConfigRejected, ConfigReloaded
from llmux.errors import ConfigError, PolicyError
from llmux.runtime.guard import interrupted
from llmux.runtime.readiness import notify_systemd

logger = logging.getLogger("llmux")

READ_SECONDS = 20.0
"""How long the reading of a config may take; then it counts as one that cannot be read."""


class Reloader:
    """Follows the file each time it is asked to.

    `reread` reads it (in a thread); `follow` lets the gateway obey it, or raises ConfigError or
    PolicyError before anything has changed; `tell` hears how it went. `known` are the warnings that
    the present config came with.
    """

    def __init__(
        self,
        reread: Callable[[], Loaded],
        follow: Callable[[Loaded], Awaitable[ConfigReloaded]],
        tell: Callable[[ConfigReloaded | ConfigRejected], None],
        known: Iterable[Finding] = (),
    ) -> None:
        self._reread = reread
        self._follow = follow
        self._tell = tell
        self._known = _unknown(known)
        self._again = False
        self._task: asyncio.Task[None] | None = None
        self._reading = False

    def ask(self) -> None:
        """Read the file soon; asked while it is being followed, it is read once more after that."""
        self._again = True
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Give up what has not been decided yet. Harmless twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._again:
                self._again = False
                now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
                notify_systemd(f"RELOADING=1\nMONOTONIC_USEC={now}")
                await self._once()
                notify_systemd("READY=1")
        finally:
            self._task = None

    async def _once(self) -> None:
        try:
            loaded = await self._read()
            self._judge(loaded)
            news = await self._follow(loaded)
        except InvalidConfigError as error:
            self._tell(ConfigRejected("; ".join(map(str, error.findings))))
        except (ConfigError, PolicyError) as error:
            self._tell(ConfigRejected(str(error)))
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            if interrupted(error):
                raise
            # A policy's file may raise anything while it is loaded.
            logger.exception("the config could not be followed")
            self._tell(ConfigRejected(repr(error)))
        else:
            self._known = _unknown(loaded.warnings)
            self._tell(news)

    async def _read(self) -> Loaded:
        """Read the file in a thread of its own, which may not hold up anything, not even the end.

        A file system that is gone, or a pipe without a writer, lets nobody read on.
        """
        if self._reading:
            raise ConfigError("the last reading of the config has not ended yet")
        loop = asyncio.get_running_loop()
        read: asyncio.Future[Loaded] = loop.create_future()

        def settle(loaded: Loaded | None, error: Exception | None) -> None:
            self._reading = False
            if not read.done():
                if loaded is not None:
                    read.set_result(loaded)
                elif error is not None:
                    read.set_exception(error)

        def work() -> None:
            loaded, failed = None, None
            try:
                loaded = self._reread()
            except Exception as error:
                failed = error
            with contextlib.suppress(RuntimeError):  # the loop is gone
                loop.call_soon_threadsafe(settle, loaded, failed)

        threading.Thread(target=work, name="config", daemon=True).start()
        self._reading = True
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await read
        except TimeoutError:
            raise ConfigError(f"the config was not read within {READ_SECONDS:g} s") from None

    def _judge(self, loaded: Loaded) -> None:
        """Refuse unknown keys, but for those that the gateway has started with."""
        new = [one for one in loaded.warnings if one.kind is Kind.UNKNOWN_KEY]
        new = [one for one in new if _key(one) not in self._known]
        if new:
            raise InvalidConfigError(new)
        for finding in loaded.warnings:
            if finding.kind is not Kind.UNKNOWN_KEY:
                logger.warning("%s", finding, extra={"event": "config_notice"})


def _unknown(warnings: Iterable[Finding]) -> frozenset[str]:
    return frozenset(_key(one) for one in warnings if one.kind is Kind.UNKNOWN_KEY)


def _key(finding: Finding) -> str:
    return finding.message + finding.excerpt
