"""The tree that both readers build: scalars, lists and mappings that know where they stand.

It keeps the text of each scalar as written, because only the schema knows what the text is
meant to be. It refuses to know the keys, and which language the file was written in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Mark(NamedTuple):
    """A place in the file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text as it stands in the file.

    `literal` says that it may be read as a number, a bool or null (plain in YAML, unquoted in
    JSON); `text` that it may be read as text (always in YAML, quoted in JSON).
    """

    value: str
    mark: Mark
    literal: bool
    text: bool = True

    @property
    def is_null(self) -> bool:
        """Whether it says nothing: `null`, `~`, or no value at all."""
        return self.literal and self.value in ("", "null", "Null", "NULL", "~")


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list of the file."""

    items: tuple[Node, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping of the file, keys in order, each key once."""

    entries: tuple[tuple[Scalar, Node], ...]
    mark: Mark


Node = Scalar | ListNode | MappingNode


class Problem(NamedTuple):
    """A mistake of form that a reader found; the loader adds the file's name."""

    mark: Mark
    message: str
    excerpt: str = ""
    hint: str = ""


class UnreadableError(Exception):
    """The text is not what its extension says, so nothing after this place can be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def shown(node: Node, depth: int = 0) -> str:
    """Write a node in one line, as far as an excerpt needs it."""
    if isinstance(node, Scalar):
        return node.value[:80]
    if depth > 2:
        return "…"
    if isinstance(node, ListNode):
        return "[" + ", ".join(shown(item, depth + 1) for item in node.items[:8]) + "]"
    pairs = (f"{key.value[:80]}: {shown(value, depth + 1)}" for key, value in node.entries[:8])
    return "{" + ", ".join(pairs) + "}"


class Entries:
    """Collects the entries of one mapping and reports keys that come twice."""

    def __init__(self, problems: list[Problem]) -> None:
        self._entries: dict[str, tuple[Scalar, Node]] = {}
        self._problems = problems

    def add(self, key: Scalar, value: Node) -> None:
        """Keep the first entry of a key; a second one is a mistake that names both lines."""
        first = self._entries.setdefault(key.value, (key, value))[0]
        if first is not key:
            self._problems.append(
                Problem(
                    key.mark,
                    f"this key stands twice, first in line {first.mark.line}",
                    key.value,
                    "keep one of the two",
                )
            )

    def inherit(self, entries: tuple[tuple[Scalar, Node], ...]) -> None:
        """Add what a merge key (`<<`) brings, where the mapping does not say it itself."""
        for key, value in entries:
            self._entries.setdefault(key.value, (key, value))

    def node(self, mark: Mark) -> MappingNode:
        """Close the mapping."""
        return MappingNode(tuple(self._entries.values()), mark)
