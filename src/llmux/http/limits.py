"""Every bound of the data plane, by the names of the config's section `bounds`.

Plain numbers, so that the front can be built without a config file. This file refuses to know
where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Waits in seconds and buffers in bytes; None lifts a bound."""

    connect_timeout_secs: float | None = 5.0
    header_timeout_secs: float | None = 10.0
    body_timeout_secs: float | None = 30.0
    """Pause within a client's sending of a body."""
    keepalive_timeout_secs: float | None = 75.0
    first_byte_timeout_secs: float | None = None
    """From the sending of a request to the first byte of its backend's answer."""
    stream_idle_timeout_secs: float | None = None
    """Between two pieces of a backend's answer."""
    client_stall_timeout_secs: float | None = 300.0
    """While an answer waits for a client that takes nothing of it."""
    max_header_bytes: int | None = 65536
    """Of a request's head, and of a backend's."""
    max_body_bytes: int | None = 100_000_000
    max_connections: int | None = 4096

    def sweep_interval(self) -> float:
        """Seconds between two looks at the connections: one, or less where a bound is short."""
        waits = (
            self.header_timeout_secs,
            self.body_timeout_secs,
            self.keepalive_timeout_secs,
            self.client_stall_timeout_secs,
        )
        return min([1.0, *(max(wait / 4, 0.01) for wait in waits if wait is not None)])
