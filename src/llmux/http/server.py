"""The data plane as a whole: it listens, and holds what all its connections share.

Timers are one sweep over all connections. This file refuses to know what a request is: `front`
reads them and `relay` answers them.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import Callable, Mapping
from typing import Final

from llmux.core.news import AnswerCut
from llmux.errors import DrainingError
from llmux.http import wire
from llmux.http.announce import announcing
from llmux.http.backend import Backend
from llmux.http.browser import BrowserGate
from llmux.http.doors import Doors
from llmux.http.front import Front
from llmux.http.gate import Gate, Meter
from llmux.http.keys import Keyring
from llmux.http.known import Memo
from llmux.http.limits import Limits
from llmux.http.relay import Exchange, both
from llmux.http.request import KnownRequest
from llmux.http.routes import Routes, no_decisions
from llmux.http.timed import exchange_for
from llmux.http.tools import WatchingExchange

_LOOK_SECONDS: Final = 0.02
"""How often it is looked, during a stop, whether all answers are out."""
_GOODBYE_SECONDS: Final = 2.0
"""How long a client under TLS may take to say goodbye."""
_CUT_SECONDS: Final = 0.5
"""How long the last words of cut answers may take to go out."""


class Gateway:
    """The data plane: give it a gate and the backends' ports, start it, stop it.

    `limits_for` gives what holds for one model's backend, where that is not `limits`;
    `meter_for("")` counts what names no known model. Must be made inside a running loop's thread;
    the loop is the one that `start` runs on.
    """

    def __init__(  # noqa: PLR0917  (the parts of a gateway, each once)
        self,
        gate: Gate,
        backends: Mapping[str, int],
        limits: Limits,
        meter_for: Callable[[str], Meter],
        render_metrics: Callable[[], bytes],
        metrics_type: bytes = b"text/plain; version=0.0.4; charset=utf-8",
        problems: Callable[[], list[dict[str, object]]] = list,
        limits_for: Callable[[str], Limits] | None = None,
        keyring: Keyring | None = None,
        browser: BrowserGate | None = None,
        decisions: Callable[[str | None, int], dict[str, object]] = no_decisions,
        tell: Callable[[AnswerCut], None] = lambda news: None,
        troubles: Callable[[], list[dict[str, object]]] = list,
        reads_tool_calls: Callable[[], bool] = lambda: False,
    ) -> None:
        self.gate = gate
        self.tell = tell
        """Hears of each answer that ends before its end."""
        self._reads_tool_calls = reads_tool_calls
        self.limits = limits
        self.limits_for = limits_for or (lambda _: limits)
        self.exchange: type[Exchange] = Exchange
        """What answers a request; `start` chooses it."""
        self.announcing: type[Exchange] = announcing(Exchange)
        """The same for a request that says what its client asks next."""
        self.stopping = False
        self.fronts: set[Front] = set()
        self.backends: dict[str, Backend] = {}
        self._former: weakref.WeakSet[Backend] = weakref.WeakSet()
        """Backends of models that are gone or moved, as long as a connection to them lives."""
        self.unknown = meter_for("")
        self.routes = Routes(
            gate,
            render_metrics,
            metrics_type,
            lambda: self.stopping,
            problems,
            decisions,
            troubles,
        )
        self.known: Memo[KnownRequest] = Memo(lambda known: self.routes.find(known.path) is None)
        """Heads of requests to relay that were read before, for all connections."""
        self.doors = Doors(keyring, browser, self.routes.scope)
        self._tls: ssl.SSLContext | None = None
        self.loop: asyncio.AbstractEventLoop
        self._ports = dict(backends)
        self._meter_for = meter_for
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._date = b""
        self._empty: asyncio.Event | None = None

    @property
    def connections(self) -> int:
        """Clients' connections that are open now."""
        return len(self.fronts)

    def date(self) -> bytes:
        """The value for `Date`, at most a second old."""
        return self._date

    def change_doors(self, keyring: Keyring, browser: BrowserGate) -> None:
        """Let other keys and pages in from now on; requests that came before stay as they are."""
        self.doors.change(keyring, browser)
        self.known.forget()

    def renew_certificate(self, tls: ssl.SSLContext | None) -> None:
        """Greet new connections with another certificate; ignored where TLS is not spoken."""
        if self._tls is not None and tls is not None:
            # Loading it into the context that listens could fail in the middle.
            self._tls.sni_callback = lambda one, name, context: setattr(one, "context", tls)

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen; gives the port, which is a free one where 0 was asked. OSError if taken.

        With `tls` clients speak HTTPS; a handshake has to be done within the bound of a head.
        """
        loop = self.loop = asyncio.get_running_loop()
        self._tls = tls
        for model in self._ports:
            self._add_backend(model)
        self._choose_exchange()
        self._sweep()
        backlog = 1024 if type(loop).__module__.startswith("uvloop") else 128
        try:
            self._server = await loop.create_server(
                lambda: Front(self),
                host,
                port,
                backlog=backlog,
                ssl=tls,
                ssl_handshake_timeout=self.limits.header_timeout_secs if tls else None,
                ssl_shutdown_timeout=_GOODBYE_SECONDS if tls else None,
            )
        except BaseException:
            self._cancel_sweep()
            raise
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    def follow(self, ports: Mapping[str, int], limits: Limits) -> None:
        """Dial these ports and hold these limits from now on; answers that run do not notice.

        Connections that clients have open keep the bounds of heads and bodies that they began with.
        """
        self.limits = limits
        self._ports = dict(ports)
        if not self.backends:  # it has not started: others serve
            return
        for model in list(self.backends):
            if self.backends[model].port != ports.get(model):
                old = self.backends.pop(model)
                old.flush()
                self._former.add(old)
        for model in ports:
            self._add_backend(model)
        self._choose_exchange()

    def _choose_exchange(self) -> None:
        self.exchange = exchange_for(one.limits for one in self.backends.values())
        if self._reads_tool_calls():
            self.exchange = both(WatchingExchange, self.exchange)
        self.announcing = announcing(self.exchange)

    def _add_backend(self, model: str) -> None:
        limits, backend = self.limits_for(model), self.backends.get(model)
        if backend is None:
            meter = self._meter_for(model)
            self.backends[model] = Backend(self.loop, model, self._ports[model], limits, meter)
        else:
            backend.limits = limits

    def flush(self, model: str) -> None:
        """Close the idle connections to a model that goes to sleep."""
        backend = self.backends.get(model)
        if backend is not None:
            backend.flush()

    def stop_accepting(self) -> None:
        """Close idle connections, and each other one after its answer.

        The port stays open until `stop` is done with what runs, so that who comes meanwhile is
        told that the gateway goes, rather than refused.
        """
        self.stopping = True
        for front in list(self.fronts):
            front.close_if_idle()

    async def stop(self, grace_seconds: float) -> None:
        """Give running answers `grace_seconds`, then cut them; at the end nothing is open."""
        self.stop_accepting()
        in_time = await self._done(grace_seconds)
        if self._server is not None:
            self._server.close()
        if not in_time:
            for front in list(self.fronts):
                front.cut(DrainingError("The gateway is shutting down."))
            await self._done(_CUT_SECONDS)
        for front in list(self.fronts):
            front.close_if_idle()
        if not await self._drained(_CUT_SECONDS):
            for front in list(self.fronts):
                front.abort()
            await self._drained(_CUT_SECONDS)
        for backend in (*self.backends.values(), *self._former):
            await backend.shut()
        self._cancel_sweep()

    async def _done(self, seconds: float) -> bool:
        """Wait until no request is being read or answered."""
        until = self.loop.time() + seconds
        while any(front.busy for front in self.fronts):
            if self.loop.time() >= until:
                return False
            await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, until - self.loop.time())))
        return True

    async def _drained(self, seconds: float) -> bool:
        if self.fronts:
            self._empty = asyncio.Event()
            try:
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
            except TimeoutError:
                return False
        return True

    def forget(self, front: Front) -> None:
        """Drop a connection that is closed."""
        self.fronts.discard(front)
        if self._empty is not None and not self.fronts:
            self._empty.set()

    def _sweep(self) -> None:
        """Look once over all connections; the only timer that clients have."""
        now = self.loop.time()
        self._date = wire.http_date()
        self._sweeper = self.loop.call_later(self.limits.sweep_interval(), self._sweep)
        if self.doors.look(now):
            self.known.forget()
        for front in list(self.fronts):
            front.sweep(now)
        for backend in (*self.backends.values(), *self._former):
            backend.expire(now)

    def _cancel_sweep(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
