"""What a door of llmux is to the fuzzer: a grammar for what comes in, and a run that judges it.

This file refuses to know what is behind the doors, and how often they are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

LARGEST: Final = 20_000
"""Bytes that mutation lets an input grow to; stretching goes beyond it on purpose."""


class Broken(Exception):  # noqa: N818 -- it is a finding
    """A promise was broken; the text says which."""


class Door(Protocol):
    """One life of what is tried; built anew for each chunk of cases, closed after it."""

    def run(self, data: bytes, dice: Random) -> str:
        """Try one input; gives a short signature of how it behaved.

        `dice` say what else may differ (where it is cut, what was asked before). Raises `Broken`,
        or whatever the code behind the door raises although it promised not to.
        """
        ...

    def close(self) -> None:
        """Put away what was used."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A door, and what to try it with."""

    name: str
    draw: Callable[[Random], bytes]
    """Makes an input from the grammar."""
    open: Callable[[], Door]
    tokens: Sequence[bytes]
    """Pieces that mean something here; mutation puts them anywhere."""
    share: int
    """How many of a hundred cases are for this door."""
    floor_secs: float = 0.25
    """Seconds of CPU that any input may cost, however small it is."""
    stretches: bool = True
    """Whether its cost is also measured on inputs that are stretched to 32 and 64 KiB."""


def some(dice: Random, options: Sequence[bytes], most: int = 3) -> bytes:
    """Put some of these behind each other."""
    return b"".join(dice.choice(options) for _ in range(dice.randrange(most + 1)))


def pieces(dice: Random, data: bytes) -> list[bytes]:
    """Cut bytes where a network might: mostly not, else anywhere, now and then everywhere."""
    how = dice.random()
    if how < 0.5 or len(data) < 2:
        return [data] if data else []
    if how < 0.55 and len(data) < 600:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted({dice.randrange(1, len(data)) for _ in range(dice.randrange(1, 5))})
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def mutate(data: bytes, other: bytes, tokens: Sequence[bytes], dice: Random) -> bytes:
    """Change an input in some places, with pieces of itself, of another and of the tokens."""
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(data) + 1)
        stop = min(len(data), at + int(dice.expovariate(0.08)))
        match dice.randrange(9):
            case 0:
                data = data[:at] + data[stop:]
            case 1:
                data = data[:stop] + data[at:]
            case 2 | 3:
                data = data[:at] + dice.choice(tokens) + data[at:]
            case 4:
                data = data[:at] + dice.choice(tokens) + data[stop:]
            case 5:
                begin = dice.randrange(len(other) + 1)
                data = data[:at] + other[begin : begin + stop - at + 8] + data[stop:]
            case 6:
                data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
            case 7:
                data = data[:at]
            case _:
                piece = data[at:stop] if dice.random() < 0.5 else dice.choice(tokens)
                data = data[:at] + piece * dice.choice((2, 3, 10, 100)) + data[at:]
    return data[:LARGEST]


def stretch(data: bytes, size: int, dice: Random) -> tuple[bytes, bytes]:
    """Repeat one piece of an input until it has about `size` bytes, and twice as many."""
    at = dice.randrange(len(data))
    piece = data[at : at + dice.choice((1, 1, 2, 4, 8, 16, 32, 64))]
    times = max(1, size // len(piece))
    return (
        data[:at] + piece * times + data[at:],
        data[:at] + piece * (2 * times) + data[at:],
    )
