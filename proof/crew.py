"""Walkers that share the work: each expands its part of a level, and the lead says whose is new.

Mostly only keys travel: whoever found a state first goes on from it, and gives it away only where
another would have too little to do. So each walker keeps the keys of all, and the worlds of its own
part of the newest level alone. It refuses to know what is printed and what is shown of the edges.
"""

from __future__ import annotations

import gc
import multiprocessing
import pickle
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection

from tests.core.world import World

from proof.forms import Key, KeyOf
from proof.moves import after, fair_moves, faults, nobody_waits


@dataclass(frozen=True, slots=True)
class Find:
    """A broken invariant: at which state, by which move, and what was said."""

    state: int
    move: str
    said: str


@dataclass(slots=True)
class Level:
    """What one walker found in one level: keys that were new to it, in the order of finding."""

    keys: list[Key] = field(default_factory=list)
    parents: array[int] = field(default_factory=lambda: array("I"))
    names: list[str] = field(default_factory=list)
    calm: bytearray = field(default_factory=bytearray)
    edges: int = 0
    find: Find | None = None


class Walker:
    """One pair of hands: expands the worlds it holds, a level at a time."""

    def __init__(self, start: World, key_of: KeyOf, requests: int) -> None:
        self._key_of = key_of
        self._requests = requests
        self._known: dict[Key, int] = {key_of(start): 0}
        self._mine: list[tuple[int, World]] = [(0, start)]
        self._fresh: dict[Key, World] = {}
        self._loose: list[tuple[int, Key]] = []
        self.sources = array("I")
        self.targets = array("I")

    @property
    def breadth(self) -> int:
        """How many states of the newest level are this walker's."""
        return len(self._mine)

    def keep(self, nth: int, of: int) -> None:
        """Be the nth of so many who all are copies of one: keep a share of what it holds."""
        self._mine = self._mine[nth::of]
        if nth:
            self.sources, self.targets = array("I"), array("I")

    def expand(self) -> Level:
        """Make every move in every world of this level; stops at the first broken invariant."""
        level = Level()
        known, fresh, key_of = self._known, self._fresh, self._key_of
        while self._mine:
            number, world = self._mine.pop()
            for fair, moves in ((True, fair_moves(world)), (False, faults(world, self._requests))):
                for name, move in moves:
                    try:
                        new = after(world, move)
                    except Exception as error:
                        level.find = Find(number, name, f"{type(error).__name__}: {error}")
                        return level
                    level.edges += 1
                    key = key_of(new)
                    there = known.get(key)
                    if there is not None:
                        if fair:
                            self.sources.append(number)
                            self.targets.append(there)
                        _let_go(new)
                        continue
                    if fair:
                        self._loose.append((number, key))
                    if key in fresh:
                        _let_go(new)
                        continue
                    fresh[key] = new
                    level.keys.append(key)
                    level.parents.append(number)
                    level.names.append(name)
                    level.calm.append(nobody_waits(new))
            _let_go(world)
        return level

    def settle(
        self, keys: Iterable[Key], first: int, mine: set[Key], gifts: Mapping[Key, int], go_on: bool
    ) -> dict[int, bytes]:
        """Hear which keys are new, numbered from `first`, and which of them are this walker's.

        Of its own it returns the `gifts`, packed for whom they name.
        """
        given: dict[int, list[tuple[int, World]]] = {}
        for number, key in enumerate(keys, first):
            self._known[key] = number
            world = self._fresh.pop(key, None)
            if world is None:
                continue
            if key in gifts and go_on:
                given.setdefault(gifts[key], []).append((number, world))
            elif key in mine and go_on:
                self._mine.append((number, world))
            else:
                _let_go(world)
        for source, key in self._loose:
            self.sources.append(source)
            self.targets.append(self._known[key])
        self._loose.clear()
        packed = {taker: pickle.dumps(worlds, -1) for taker, worlds in given.items()}
        for worlds in given.values():
            for _, world in worlds:
                _let_go(world)
        return packed

    def take(self, packed: bytes) -> None:
        """Go on also from what another has given away."""
        self._mine += pickle.loads(packed)


def _let_go(world: World) -> None:
    """Break the circles of a world that nobody needs, so that its memory is free at once."""
    for lane in world.board.lanes.values():
        for tickets in (lane.waiting, lane.inside, lane.lost, lane.late, lane.ranks):
            tickets.clear()
        lane.watched = None


ENOUGH = 64
"""States in a level from which on the work is shared: each gets a part of them to begin with."""


class Crew:
    """One walker, and so many processes as soon as there is enough to share; a context manager.

    They are forks of the first, for a walker has its worlds only where it found them.
    """

    def __init__(self, start: World, key_of: KeyOf, requests: int, processes: int) -> None:
        self._lines: list[Connection] = []
        self._hands: list[multiprocessing.process.BaseProcess] = []
        self._processes = processes
        self._alone: Walker | None = Walker(start, key_of, requests)

    def _share_out(self, walker: Walker) -> None:
        fork = multiprocessing.get_context("fork")  # they share the worlds, and hash alike
        for nth in range(self._processes):
            here, there = fork.Pipe()
            hand = fork.Process(
                target=_serve, args=(walker, nth, self._processes, there), daemon=True
            )
            hand.start()
            there.close()
            self._lines.append(here)
            self._hands.append(hand)
        self._alone = None

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for hand in self._hands:
            hand.terminate()
            hand.join()

    def expand(self) -> list[Level]:
        """Let all walk one level and return what each found."""
        if self._alone is not None and self._processes > 1 and self._alone.breadth >= ENOUGH:
            self._share_out(self._alone)
        if self._alone is not None:
            return [self._alone.expand()]
        for line in self._lines:
            line.send(("expand", None))
        return [line.recv() for line in self._lines]

    def settle(self, keys: list[Key], first: int, owners: list[set[Key]], go_on: bool) -> None:
        """Tell all which keys are new, and who goes on from which."""
        if self._alone is not None:
            self._alone.settle(keys, first, owners[0], {}, go_on)
            return
        gifts = _gifts(owners)
        for line, mine, given in zip(self._lines, owners, gifts, strict=True):
            line.send(("settle", (keys, first, mine, given, go_on)))
        for packed in [line.recv() for line in self._lines]:
            for taker, worlds in packed.items():
                self._lines[taker].send(("take", worlds))

    def edges(self) -> list[tuple[array[int], array[int]]]:
        """Return all fair edges, as (sources, targets) of each walker."""
        if self._alone is not None:
            return [(self._alone.sources, self._alone.targets)]
        for line in self._lines:
            line.send(("edges", None))
        return [line.recv() for line in self._lines]


def _gifts(owners: Sequence[set[Key]]) -> list[dict[Key, int]]:
    """Say what each gives to whom, so that all have about as much to walk on from."""
    gifts: list[dict[Key, int]] = [{} for _ in owners]
    share = sum(len(mine) for mine in owners) // len(owners)
    has = [len(mine) for mine in owners]
    for giver, mine in enumerate(owners):
        spare = iter(mine)
        for taker in range(len(owners)):
            count = min(has[giver] - share, share - has[taker])
            if taker == giver or count <= share // 20:
                continue
            gifts[giver] |= dict.fromkeys(islice(spare, count), taker)
            has[giver] -= count
            has[taker] += count
    return gifts


def _serve(walker: Walker, nth: int, of: int, line: Connection) -> None:
    """Do what the lead says until the line is closed."""
    gc.disable()  # worlds are let go by hand
    walker.keep(nth, of)
    while True:
        try:
            what, about = line.recv()
        except (EOFError, KeyboardInterrupt):
            return
        if what == "expand":
            line.send(walker.expand())
        elif what == "settle":
            line.send(walker.settle(*about))
        elif what == "take":
            walker.take(about)
        else:
            line.send((walker.sources, walker.targets))
