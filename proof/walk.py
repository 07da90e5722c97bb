"""Walks the state space of the real board breadth first, and shows a way out of every state.

Two models, so many requests at a time, an operator's order among them; every fact and every fault
in every state, alarms ringing at any time. Each edge is checked by `World`; a broken invariant is
told as the shortest list of events. Afterwards every state has to have a way into one in which
nobody waits, by fair facts alone.

    python -m proof.walk [--requests N] [--states N] [--minutes N] [--processes N] [START...]
    python -m proof.walk START --replay EVENT...
"""

from __future__ import annotations

import argparse
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import inf

from tests.core.world import World

from llmux.core.lane import LaneSettings
from proof.crew import Crew, Find, Level
from proof.forms import Key, KeyOf, key, key_of_twins
from proof.moves import after, fair_moves, faults

Say = Callable[[str], None]
NEVER = sys.maxsize


@dataclass(frozen=True, slots=True)
class Start:
    """Where a walk begins: two models with settings that bring certain rules into play."""

    name: str
    sentence: str
    world: Callable[[], World]
    key_of: KeyOf = key_of_twins
    most: int = 3
    """Requests at a time with which the whole space is walked within the minutes of all walks."""
    least: int = 2
    """With how many the first of its walks is."""


def _deadlines() -> World:
    return World("a", "b", survey=True, request_timeout=30.0, min_active=3.0, drain_timeout=10.0)


def _bare() -> World:
    plain = LaneSettings("a", drain_timeout=None)
    hasty = LaneSettings("b", drain_before_switch=False, drain_timeout=None)
    return World(plain, hasty, survey=True)


def _limits() -> World:
    return World("a", "b", survey=True, drain_timeout=None, max_in_flight=1, max_queue=2)


def _overdue() -> World:
    return World("a", "b", survey=True, drain_timeout=None, max_wait=5.0)


def _bounds() -> World:
    return World("a", "b", survey=True, max_wait=5.0, max_in_flight=1, max_queue=2)


def _hints() -> World:
    """One hint is given at a time, and looked at twice until it is over, not five times."""
    world = World("a", "b", survey=True, drain_timeout=None, min_active=3.0, hint_secs=2.5)
    world.board.looks = 2
    return world


STARTS = [
    Start("deadlines", "deadlines, cool-downs, and drains that are cut", _deadlines),
    Start("bare", "no bound at all; one of the models is not drained", _bare, key),
    Start("limits", "one at a time inside, short queues", _limits),
    Start("overdue", "overdue early, without any other bound", _overdue),
    Start(
        "bounds",
        "overdue early, one inside, short queues, cut drains",
        _bounds,
        most=2,
    ),
    Start("hints", "clients say which they ask for next; cool-downs", _hints, most=1, least=1),
]


class WalkError(AssertionError):
    """What a walk has found, told so that it can be replayed."""


@dataclass(slots=True)
class Walked:
    """What a walk has covered."""

    states: int = 1
    edges: int = 0
    depth: int = 0
    seconds: float = 0.0
    rim: int = 0
    """States that were reached and not walked on from, because the bound was met."""
    parents: array[int] = field(default_factory=lambda: array("I", [0]))
    moves: array[int] = field(default_factory=lambda: array("I", [0]))
    calm: bytearray = field(default_factory=lambda: bytearray([1]))
    words: dict[str, int] = field(default_factory=lambda: {"start": 0})

    def path(self, state: int) -> list[str]:
        """Return the shortest list of events that leads to a state."""
        words = list(self.words)
        names = []
        while state:
            names.append(words[self.moves[state]])
            state = self.parents[state]
        return names[::-1]


def walk(
    start: Start,
    requests: int,
    *,
    states: int = NEVER,
    seconds: float = inf,
    processes: int = 1,
    say: Say = print,
) -> Walked:
    """Walk that many states, hold each edge and each way out; WalkError where one does not hold.

    No level is begun that would not be walked within so many seconds.
    """
    began = time.monotonic()
    done = Walked()
    with Crew(start.world(), start.key_of, requests, processes) as crew:
        while True:
            levels = crew.expand()
            done.edges += sum(level.edges for level in levels)
            for level in levels:
                if level.find is not None:
                    raise WalkError(_told(start, done, level.find))
            first = done.states
            keys, owners = _share(done, levels)
            done.seconds = time.monotonic() - began
            if not keys:
                break
            done.depth += 1
            say(
                f"  {start.name} depth {done.depth:3}: {done.states:9,} states,"
                f" {done.edges:10,} edges, {len(keys):7,} to walk, {done.seconds:6.1f} s"
            )
            walked = max(1, done.states - len(keys))
            ready = done.seconds + len(keys) * done.seconds / walked
            full = done.states >= states or ready > seconds
            crew.settle(keys, first, owners, not full)
            if full:
                done.rim = len(keys)
                break
        _hold_ways_out(start, done, crew.edges())
    done.seconds = time.monotonic() - began
    return done


def _share(done: Walked, levels: Sequence[Level]) -> tuple[list[Key], list[set[Key]]]:
    """Number the new states and give each to one of those who found it, evenly."""
    keys: list[Key] = []
    owners: list[set[Key]] = [set() for _ in levels]
    offered = [set(level.keys) for level in levels]
    taken: set[Key] = set()
    for nth, level in enumerate(levels):
        for where, key_ in enumerate(level.keys):
            if key_ in taken:
                continue
            taken.add(key_)
            keys.append(key_)
            able = [one for one, keys_ in enumerate(offered) if one == nth or key_ in keys_]
            owners[min(able, key=lambda one: len(owners[one]))].add(key_)
            done.parents.append(level.parents[where])
            done.moves.append(done.words.setdefault(level.names[where], len(done.words)))
            done.calm.append(level.calm[where])
    done.states += len(keys)
    return keys, owners


def _hold_ways_out(
    start: Start, done: Walked, parts: Sequence[tuple[array[int], array[int]]]
) -> None:
    """Go backwards over the fair edges from where nobody waits; all have to be met.

    A state on the rim of a bounded walk is not judged.
    """
    rim = range(done.states - done.rim, done.states)
    met = bytearray(done.states)
    begin, into = _backwards(done.states, parts)
    todo = array("I", chain((one for one, calm in enumerate(done.calm) if calm), rim))
    for one in todo:
        met[one] = 1
    while todo:
        target = todo.pop()
        for at in range(begin[target], begin[target + 1]):
            source = into[at]
            if not met[source]:
                met[source] = 1
                todo.append(source)
    stuck = met.find(0)
    if stuck >= 0:
        said = f"{met.count(0)} states have no way into one in which nobody waits; the first:"
        raise WalkError(f"{said}\n{_events(start, done.path(stuck))}")


def _backwards(
    states: int, parts: Sequence[tuple[array[int], array[int]]]
) -> tuple[array[int], array[int]]:
    """Sort edges by their target: the sources of `t` stand at begin[t]:begin[t + 1]."""
    begin = array("I", bytes(4 * (states + 2)))
    for _, targets in parts:
        for target in targets:
            begin[target + 2] += 1
    for one in range(2, states + 2):
        begin[one] += begin[one - 1]
    into = array("I", bytes(4 * sum(len(sources) for sources, _ in parts)))
    for sources, targets in parts:
        for source, target in zip(sources, targets, strict=True):
            into[begin[target + 1]] = source
            begin[target + 1] += 1
    return begin, into


def _told(start: Start, done: Walked, find: Find) -> str:
    return f"{find.said}\n{_events(start, [*done.path(find.state), find.move])}"


def _events(start: Start, events: Sequence[str]) -> str:
    lines = [f"  {nth:3}  {event}" for nth, event in enumerate(events, 1)]
    quoted = " ".join(f'"{event}"' for event in events)
    again = f"python -m proof.walk {start.name} --replay {quoted}"
    return "\n".join([*lines, f"again: {again}"])


def replay(start: Start, events: Iterable[str], say: Say = print) -> World:
    """Let these events happen one after the other; WalkError where one cannot, or breaks."""
    world = start.world()
    for nth, event in enumerate(events, 1):
        moves = dict(chain(fair_moves(world), faults(world, NEVER)))
        if event not in moves:
            raise WalkError(f"{event!r} cannot happen here, but {', '.join(map(repr, moves))}")
        try:
            world = after(world, moves[event])
        except Exception as error:
            raise WalkError(f"{nth:3}  {event}: {type(error).__name__}: {error}") from error
        say(f"{nth:3}  {event:24} {world.board}")
    return world


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 1 where something does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m proof.walk", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("starts", nargs="*", metavar="START", help=", ".join(_names()))
    parser.add_argument("--requests", type=int, help="at a time (else 1 to 3)")
    parser.add_argument("--states", type=int, default=NEVER, help="stop after so many states")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=20.0, help="for all walks together")
    parser.add_argument("--replay", nargs="+", metavar="EVENT", help="let these events happen")
    args = parser.parse_args(arguments)
    if unknown := set(args.starts) - set(_names()):
        parser.error(f"no start is called {', '.join(sorted(unknown))}: {', '.join(_names())}")
    if args.processes < 1 or args.states < 1 or (args.requests or 1) < 1:
        parser.error("numbers of requests, states and processes are 1 or more")
    chosen = [one for one in STARTS if not args.starts or one.name in args.starts]
    try:
        if args.replay:
            replay(chosen[0], args.replay)
            return 0
        rounds = (args.requests,) if args.requests else (1, 2, 3)
        todo = [
            (start, requests)
            for requests in rounds
            for start in chosen
            if args.requests or start.least <= requests <= (3 if args.starts else start.most)
        ]
        ends = time.monotonic() + args.minutes * 60.0
        for nth, (start, requests) in enumerate(todo):
            seconds = (ends - time.monotonic()) / (len(todo) - nth)
            _walk_aloud(start, requests, args.states, seconds, args.processes)
    except WalkError as error:
        print(error)
        return 1
    return 0


def _walk_aloud(start: Start, requests: int, states: int, seconds: float, processes: int) -> None:
    print(f"{start.name}, {requests} requests: {start.sentence}", flush=True)
    done = walk(
        start,
        requests,
        states=states,
        seconds=seconds,
        processes=processes,
        say=lambda line: print(line, flush=True),
    )
    whole = "the whole space" if not done.rim else f"{done.rim:,} states on the rim not walked on"
    print(
        f"{start.name}, {requests} requests: {done.states:,} states, {done.edges:,} edges,"
        f" depth {done.depth}, {done.seconds:.0f} s: {whole}; no invariant broken,"
        " a way out of every state that was walked",
        flush=True,
    )


def _names() -> list[str]:
    return [one.name for one in STARTS]


if __name__ == "__main__":
    sys.exit(main())
