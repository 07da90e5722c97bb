"""Ports for the tests, which run beside each other: a port is given once, and nobody else has it.

A port that was found by binding to 0 and closing again is anybody's a moment later: a neighbour's,
or that of an outgoing connection. So each process keeps a block of ports to itself, below the range
from which systems give ports away, by holding the block's first port for as long as it lives, and
hands the others out in turn. This refuses to know what a port is for.
"""

from __future__ import annotations

import functools
import itertools
import socket
from collections.abc import Iterator

SIZE = 400
"""Ports in a block: more than a run uses within the minute that a closed connection keeps one."""
BLOCKS = range(12_000, 32_000, SIZE)


@functools.cache
def _block() -> tuple[socket.socket, Iterator[int]]:
    for first in BLOCKS:
        held = _bind(first)
        if held is not None:
            return held, itertools.cycle(range(first + 1, first + SIZE))
    raise RuntimeError(f"every block of {SIZE} ports from {BLOCKS[0]} to {BLOCKS.stop} is taken")


def _bind(port: int) -> socket.socket | None:
    one = socket.socket()
    try:
        one.bind(("127.0.0.1", port))
    except OSError:
        one.close()
        return None
    return one


def free_port() -> int:
    """A port on which nobody listens, and that no test beside this one is given."""
    for port in itertools.islice(_block()[1], SIZE):
        one = _bind(port)
        if one is not None:
            one.close()
            return port
    raise RuntimeError(f"none of the {SIZE} ports of this process is free")


def free_ports(count: int) -> list[int]:
    """As many different ones."""
    return [free_port() for _ in range(count)]
