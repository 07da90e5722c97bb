"""Shows that a key forgets nothing: makes every move also in each state that is met again.

    python -m proof.twice [--requests N] [--minutes N] [START...]

A walk goes on from a state the first time it is met and never again. Here each later world with
the same key is tried as well, and has to have the same successors, by the same kind of fact. The
exit code is 1 where one has not: then its key forgets something that opens a gate.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.core.world import World

from proof.forms import Key
from proof.moves import after, fair_moves, faults
from proof.walk import STARTS, Start

Ways = frozenset[tuple[bool, Key]]


@dataclass(slots=True)
class Compared:
    """How many states there were, and how many worlds were compared with the first of their key."""

    states: int = 1
    worlds: int = 0
    whole: bool = False
    differs: str = ""


def ways(start: Start, world: World, requests: int) -> Ways:
    """Return the keys of all states that can come next, and whether by a fair fact."""
    fair = {(True, start.key_of(after(world, move))) for _, move in fair_moves(world)}
    foul = {(False, start.key_of(after(world, move))) for _, move in faults(world, requests)}
    return frozenset(fair | foul)


def compare(start: Start, requests: int, seconds: float) -> Compared:
    """Walk and compare, until the end of the space or of the time, or until two worlds differ."""
    ends = time.monotonic() + seconds
    world = start.world()
    first = {start.key_of(world): ways(start, world, requests)}
    done, level = Compared(), [world]
    while level:
        fresh = []
        for world in level:
            if time.monotonic() > ends:
                return done
            for moves in (fair_moves(world), faults(world, requests)):
                for name, move in moves:
                    new = after(world, move)
                    key, there = start.key_of(new), ways(start, new, requests)
                    if key not in first:
                        first[key] = there
                        fresh.append(new)
                        done.states += 1
                        continue
                    done.worlds += 1
                    if there != first[key]:
                        done.differs = f"after {name!r}: {new.board} {new.form()}"
                        return done
        level = fresh
    done.whole = True
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m proof.twice", description=(__doc__ or "").split("\n\n")[0]
    )
    names = [one.name for one in STARTS]
    parser.add_argument("starts", nargs="*", metavar="START", help=", ".join(names))
    parser.add_argument("--requests", type=int, default=1, help="at a time")
    parser.add_argument("--minutes", type=float, default=5.0, help="for each start")
    args = parser.parse_args(arguments)
    if unknown := set(args.starts) - set(names):
        parser.error(f"no start is called {', '.join(sorted(unknown))}: {', '.join(names)}")
    for start in STARTS:
        if args.starts and start.name not in args.starts:
            continue
        done = compare(start, args.requests, args.minutes * 60.0)
        whole = "the whole space" if done.whole else "not the whole space"
        print(
            f"{start.name}, {args.requests} requests: {done.worlds:,} worlds go on as the first of"
            f" their {done.states:,} states did; {whole}",
            flush=True,
        )
        if done.differs:
            print(f"but one does not, {done.differs}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
