"""Feeds one door, case after case, and holds the rules that are the same for every door.

Half of the cases come fresh from the grammar, half are mutations of inputs that have behaved in a
way not seen before. A chunk of cases is told by its seed alone, so that each can be played again.
This file refuses to know which doors there are.
"""

from __future__ import annotations

import signal
import time
import tracemalloc
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final

from proof.fuzz.target import Door, Target, mutate, stretch

CHUNK: Final = 2000
"""Cases that are told by one seed."""
MEMORY_EVERY: Final = 40
STRETCH_EVERY: Final = 400
"""Every so many cases the memory is measured, or the input is stretched: both cost time."""
MOST_TIMES: Final = 100
MEMORY_FLOOR: Final = 1 << 20
"""Bytes that any input may cost; above it, a hundred times its size."""
SECS_PER_BYTE: Final = 20e-6
"""Seconds of CPU that an input may cost for each of its bytes, above its door's floor."""
STRETCHED: Final = 32_768
SQUARE: Final = 3.2
"""Twice the size may cost so many times as much: 2 is linear, 4 is its square."""
_SLOW: Final = 0.05
"""Seconds of CPU below which nobody asks how the cost grows."""
_HUNG: Final = 60.0
_KEPT: Final = 400
"""Inputs with a behaviour of their own that are kept for mutation."""


class Hung(BaseException):
    """A case has not ended within a minute."""


@dataclass(frozen=True, slots=True)
class Find:
    """An input that breaks a rule."""

    target: str
    seed: int
    """Of its chunk."""
    case: int
    """Its number in the chunk."""
    what: str
    data: bytes


@dataclass(slots=True)
class Hunted:
    """What a chunk came to."""

    target: str
    cases: int = 0
    seconds: float = 0.0
    behaviours: set[str] = field(default_factory=set)
    finds: list[Find] = field(default_factory=list)


def hunt(target: Target, seed: int, cases: int = CHUNK, most_finds: int = 3) -> Hunted:
    """Try one chunk of cases; ends early at so many finds."""
    done = Hunted(target.name)
    began = time.perf_counter()
    dice = Random(f"{target.name} {seed}")
    corpus: list[bytes] = []
    door = target.open()
    try:
        for case in range(cases):
            if corpus and dice.random() < 0.5:
                data = mutate(dice.choice(corpus), dice.choice(corpus), target.tokens, dice)
            else:
                data = target.draw(dice)
            done.cases += 1
            tried = dice.getrandbits(64)
            signature, what = _try(target, door, data, tried, measured=case % MEMORY_EVERY == 0)
            if not what and target.stretches and data and case % STRETCH_EVERY == 0:
                data, what = _stretched(target, door, data, dice)
            if what:
                done.finds.append(Find(target.name, seed, case, what, data))
                door.close()
                door = target.open()
                if len(done.finds) >= most_finds:
                    break
            elif signature not in done.behaviours:
                done.behaviours.add(signature)
                if len(corpus) < _KEPT:
                    corpus.append(data)
                else:
                    corpus[dice.randrange(_KEPT)] = data
    finally:
        door.close()
    done.seconds = time.perf_counter() - began
    return done


def once(target: Target, data: bytes, tried: int = 0) -> str:
    """Try one input by itself, its memory measured; gives what is wrong with it, or nothing."""
    door = target.open()
    try:
        return _try(target, door, data, tried, measured=True)[1]
    finally:
        door.close()


def _try(target: Target, door: Door, data: bytes, tried: int, *, measured: bool) -> tuple[str, str]:
    """Run one case; gives its signature and what is wrong, if anything is."""
    dice = Random(tried)
    if measured:
        tracemalloc.start()
    began = time.thread_time()
    try:
        with _bounded():
            signature = door.run(data, dice)
    except (Exception, Hung) as error:
        return "", _words(error)
    finally:
        spent = time.thread_time() - began
        peak = 0
        if measured:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    if peak > max(MEMORY_FLOOR, MOST_TIMES * len(data)):
        return "", f"{len(data):,} bytes cost {peak:,} bytes of memory"
    if not measured and spent > target.floor_secs + SECS_PER_BYTE * len(data):
        return "", f"{len(data):,} bytes cost {spent:.2f} s of CPU"
    return signature, ""


def _stretched(target: Target, door: Door, data: bytes, dice: Random) -> tuple[bytes, str]:
    """Measure an input that is stretched, and stretched twice as far."""
    short, long = stretch(data, STRETCHED, dice)
    tried = dice.getrandbits(64)
    _, what = _try(target, door, long, tried, measured=True)
    if what:
        return long, what
    for _ in range(3):  # twice by chance is possible, three times is not
        once_, twice = (_seconds(door, one, tried) for one in (short, long))
        if twice < _SLOW or twice < SQUARE * once_:
            return long, ""
    return long, (
        f"{len(short):,} bytes cost {once_:.3f} s of CPU, {len(long):,} bytes {twice:.3f} s"
    )


def _seconds(door: Door, data: bytes, tried: int) -> float:
    best = float("inf")
    for _ in range(2):
        began = time.thread_time()
        with _bounded():
            door.run(data, Random(tried))
        best = min(best, time.thread_time() - began)
        if best < _SLOW / 2:
            break
    return best


@contextmanager
def _bounded() -> Iterator[None]:
    def ring(number: int, frame: types.FrameType | None) -> None:
        raise Hung(f"no end within {_HUNG:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _HUNG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _words(error: BaseException) -> str:
    """Say what was raised and where."""
    at = error.__traceback__
    place = ""
    while at is not None:
        code = at.tb_frame.f_code
        place = f"{code.co_filename.rpartition('/')[2]}:{at.tb_lineno}"
        at = at.tb_next
    text = str(error)
    return f"{type(error).__name__} at {place}: {text[:300]}"
