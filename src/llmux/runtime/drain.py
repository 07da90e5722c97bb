"""The drain as a policy's `prepare_switch` sees it."""

from __future__ import annotations

import asyncio

from llmux.core.lane import Lane
from llmux.policy.base import Snapshot


class Drain:
    """Implements `SwitchContext` over the lane that is left; the driver calls `look`."""

    def __init__(self, lane: Lane, target: str, world: Snapshot) -> None:
        self._lane = lane
        self._target = target
        self._world = world
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def from_model(self) -> str | None:
        """The model that is left."""
        return self._lane.name

    @property
    def to_model(self) -> str:
        """The model that is switched to."""
        return self._target

    @property
    def snapshot(self) -> Snapshot:
        """The world when the drain began."""
        return self._world

    @property
    def drain_before_switch(self) -> bool:
        """Whether this model's requests in flight are to be waited for."""
        return self._lane.settings.drain_before_switch

    def in_flight_count(self) -> int:
        """Requests of the old model still in flight."""
        return len(self._lane.inside)

    async def wait_for_in_flight(self) -> None:
        """Return when no request of the old model is in flight any more."""
        if not self._lane.inside:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def look(self) -> None:
        """Wake those who wait if the drain is done."""
        if not self._lane.inside:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()
