"""What hooks, servers and the matrix itself have written down, and what may never stand there.

A history is a list of lines in the order in which they were written, each with the seconds since
the boot (the clock that only goes on). Pure: it refuses to know processes and files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One line: `who` is hook, engine or gateway."""

    at: float
    who: str
    what: str
    model: str = ""
    rest: tuple[str, ...] = ()

    @property
    def hook(self) -> str:
        """Which hook a hook's line tells of."""
        return self.rest[0]

    @property
    def run_id(self) -> str:
        """The LLMUX_HOOK_ID of a hook's line."""
        return self.rest[1]

    @property
    def more(self) -> str:
        """What a line says beside, in words."""
        return " ".join(self.rest[2:] if self.who == "hook" else self.rest[1:])

    def __str__(self) -> str:
        return f"{self.at:.2f} {self.who} {self.what} {self.model} {' '.join(self.rest)}".rstrip()


def read(text: str) -> list[Event]:
    """Return the events of a history; a line that is being written is left out."""
    lines = text[: text.rfind("\n") + 1].splitlines()
    found = []
    for line in lines:
        at, who, what, *rest = line.split(" ")
        model = rest.pop(0) if rest else ""
        found.append(Event(float(at), who, what, model, tuple(word for word in rest if word)))
    return found


def begun(events: Iterable[Event]) -> list[Event]:
    """Return the begins of hooks."""
    return [one for one in events if one.who == "hook" and one.what == "begin"]


def running(events: Iterable[Event]) -> dict[str, Event]:
    """Return the hooks that have begun and not ended, by their id."""
    there: dict[str, Event] = {}
    for one in events:
        if one.who != "hook":
            continue
        if one.what == "begin":
            there[one.run_id] = one
        elif one.what in {"end", "failed", "ended"}:
            there.pop(one.run_id, None)
    return there


def violations(events: Sequence[Event], since: int = 0) -> list[str]:
    """Return what may never be, from the event numbered `since` on.

    Two hooks at once; two models in memory at once; a wake of what is up and well; and whatever
    hooks and servers have found out themselves by their locks.
    """
    found: list[str] = []
    hooks: dict[str, Event] = {}
    holds: dict[tuple[str, str], Event] = {}
    ready: set[str] = set()
    for number, one in enumerate(events):
        said = ""
        if one.what == "violation":
            said = one.more
        elif one.who == "hook":
            if one.what == "begin":
                if hooks:
                    said = f"beside {next(iter(hooks.values()))}"
                elif one.hook == "wake" and one.model in ready:
                    said = "it is up and well"
                hooks[one.run_id] = one
                if one.hook != "wake":
                    ready.discard(one.model)
            else:
                hooks.pop(one.run_id, None)
        elif one.who == "engine":
            place = one.model, one.rest[0]
            if one.what == "holds":
                if holds:
                    said = f"beside {next(iter(holds.values()))}"
                holds[place] = one
            elif one.what == "ready":
                ready.add(one.model)
            else:  # it lets go, or died
                holds.pop(place, None)
                ready.discard(one.model)
        if said and number >= since:
            found.append(f"{one}: {said}")
    return found


def woken_for_nobody(events: Iterable[Event], asked: Iterable[str]) -> list[str]:
    """Return wakes of models that nobody has asked for."""
    wanted = frozenset(asked)
    wakes = [one for one in begun(events) if one.hook == "wake"]
    return [f"{one}: nobody has asked for it" for one in wakes if one.model not in wanted]


def hook_time(events: Sequence[Event], begin: float, end: float) -> float:
    """Return the seconds between two moments in which a hook ran or a model loaded."""
    spans: list[tuple[float, float]] = []
    opened: dict[str, float] = {}
    for one in events:
        key = one.run_id if one.who == "hook" else f"load {one.model}"
        if one.what in {"begin", "holds"}:
            opened[key] = one.at
        elif one.what in {"end", "failed", "ended", "ready", "lets-go", "died"} and key in opened:
            spans.append((opened.pop(key), one.at))
    spans += [(at, end) for at in opened.values()]
    total, reached = 0.0, begin
    for first, last in sorted(spans):
        total += max(0.0, min(last, end) - max(first, reached))
        reached = max(reached, min(last, end))
    return total
