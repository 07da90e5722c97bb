"""Listening under TLS, with a bound on the clients whose handshake still runs.

asyncio's own server tells nobody of a connection before its handshake is done, and each costs
about 50 KiB until then: silent clients could fill the memory. Here they are counted from the
moment they are accepted. This file refuses to know what is spoken under TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("llmux")

_AT_ONCE: Final = 64
"""Clients that are accepted before others get a turn of the loop."""
_PAUSE_SECONDS: Final = 0.5
"""How long nobody is accepted when there is no descriptor left."""


class TlsListener:
    """Accepts clients, shakes hands with them, and hands them to protocols of `factory`.

    `room` says how many more may come in besides those that shake hands; who is too many is
    closed at once, since nothing can be said before a handshake.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        room: Callable[[], int | None],
        *,
        handshake_secs: float | None,
        goodbye_secs: float,
    ) -> None:
        self.sockets: list[socket.socket] = []
        self._factory = factory
        self._context = context
        self._room = room
        self._handshake = handshake_secs
        self._goodbye = goodbye_secs
        self._refusing = False
        self._shaking: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop

    async def start(self, host: str, port: int, backlog: int) -> None:
        """Listen at every address of `host`. OSError if one is taken."""
        loop = self._loop = asyncio.get_running_loop()
        flags = socket.AI_PASSIVE
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
        try:
            for family, address in dict.fromkeys((info[0], info[4]) for info in found):
                self.sockets.append(_listening(family, address, backlog))
        except OSError:
            self.close()
            raise
        for one in self.sockets:
            loop.add_reader(one, self._accept, one)

    def close(self) -> None:
        """Accept nobody any more, and let go of those that shake hands. Harmless twice."""
        for one in self.sockets:
            if one.fileno() >= 0:
                self._loop.remove_reader(one)
                one.close()
        for task in self._shaking:
            task.cancel()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                client, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if not self._refusing:
                    logger.warning("no client can be accepted for now: %s", error.strerror)
                self._refusing = True
                self._loop.remove_reader(listening)
                self._loop.call_later(_PAUSE_SECONDS, self._go_on, listening)
                return
            self._refusing = False
            room = self._room()
            if room is not None and len(self._shaking) >= room:
                client.close()
                continue
            client.setblocking(False)
            task = self._loop.create_task(self._shake(client))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)

    def _go_on(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening, self._accept, listening)

    async def _shake(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a handshake that fails is the client's affair
            await self._loop.connect_accepted_socket(
                self._factory,
                client,
                ssl=self._context,
                ssl_handshake_timeout=self._handshake,
                ssl_shutdown_timeout=self._goodbye,
            )


def _listening(family: int, address: tuple[object, ...], backlog: int) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.setblocking(False)
        one.bind(address)
        one.listen(backlog)
    except OSError:
        one.close()
        raise
    return one
