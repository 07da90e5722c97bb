"""Reads YAML into nodes, event by event, so that nothing is built that was not asked for.

PyYAML's parser gives events with lines and columns; composing them here (and not by its
constructors) keeps every scalar as the text that was written, bounds the depth, refuses tags
that could mean code, and finds keys that stand twice. It refuses to know the schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from llmux.config.nodes import (
    Entries,
    ListNode,
    MappingNode,
    Mark,
    Node,
    Problem,
    Scalar,
    UnreadableError,
)

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 50
_STANDARD = "tag:yaml.org,2002:"
_LITERAL_TAGS = {_STANDARD + name for name in ("int", "float", "bool", "null")}
_SCALAR_TAGS = _LITERAL_TAGS | {_STANDARD + "str", "!"}


def read_yaml(text: str) -> tuple[Node | None, list[Problem]]:
    """Read one document; None where the text is empty.

    Raises `UnreadableError` at the first place where the text is no YAML at all.
    """
    composer = _Composer(text)
    try:
        node = composer.document()
    except yaml.MarkedYAMLError as error:
        raise UnreadableError(_syntax(error, text)) from None
    except yaml.reader.ReaderError as error:
        raise UnreadableError(_character(error, text)) from None
    return node, composer.problems


class _Composer:
    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, Node] = {}
        self._open: set[str] = set()

    def document(self) -> Node | None:
        node: Node | None = None
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            if node is not None:
                problem = Problem(_mark(event), "a second document begins here", "---")
                raise UnreadableError(problem._replace(hint="a config is one document"))
            node = self._node(next(self._events), 0)
        return node

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > _DEEPEST:
            problem = Problem(_mark(event), f"this is nested more than {_DEEPEST} levels deep")
            raise UnreadableError(problem)
        anchor: str | None = event.anchor
        if anchor is not None:
            self._open.add(anchor)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event, {_STANDARD + "seq", "!"})
            node = ListNode(tuple(self._items(depth)), _mark(event))
        else:
            self._check_tag(event, {_STANDARD + "map", "!"})
            node = self._mapping(event, depth)
        if anchor is not None:
            self._open.discard(anchor)
            self._anchors[anchor] = node
        return node

    def _alias(self, event: Any) -> Node:
        if event.anchor in self._open:
            problem = Problem(_mark(event), "this alias stands inside what it repeats")
        elif event.anchor not in self._anchors:
            problem = Problem(_mark(event), "this alias has no anchor above it")
        else:
            return self._anchors[event.anchor]
        raise UnreadableError(problem._replace(excerpt=f"*{event.anchor}"))

    def _scalar(self, event: Any) -> Scalar:
        self._check_tag(event, _SCALAR_TAGS)
        plain = not event.style  # None from PyYAML's parser, "" from libyaml's
        literal = event.tag in _LITERAL_TAGS or (event.tag is None and plain)
        return Scalar(event.value, _mark(event), literal)

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _mapping(self, start: Any, depth: int) -> MappingNode:
        entries = Entries(self.problems)
        merged: list[MappingNode] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            merge = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and not event.style
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if merge:
                merged.extend(self._merge(value))
            elif isinstance(key, Scalar):
                entries.add(key, value)
            else:
                self.problems.append(Problem(key.mark, "a key must be a text"))
        for mapping in merged:
            entries.inherit(mapping.entries)
        return entries.node(_mark(start))

    def _merge(self, value: Node) -> Iterator[MappingNode]:
        for node in value.items if isinstance(value, ListNode) else (value,):
            if isinstance(node, MappingNode):
                yield node
            else:
                hint = "give it the alias of a mapping, or a list of them"
                self.problems.append(
                    Problem(node.mark, "`<<` can only take in mappings", hint=hint)
                )

    def _check_tag(self, event: Any, allowed: set[str]) -> None:
        if event.tag is not None and event.tag not in allowed:
            tag = event.tag.replace(_STANDARD, "!!")
            problem = Problem(_mark(event), "tags are not obeyed here", tag, "leave it out")
            self.problems.append(problem)


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _syntax(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    assert mark is not None
    lines = text.splitlines()
    line = lines[mark.line].strip() if mark.line < len(lines) else ""
    said = " ".join(part for part in (error.context, error.problem) if part)
    hint = "indent with spaces" if line and "\t" in lines[mark.line] else ""
    return Problem(Mark(mark.line + 1, mark.column + 1), f"this is not YAML: {said}", line, hint)


def _character(error: yaml.reader.ReaderError, text: str) -> Problem:
    code = error.character if isinstance(error.character, int) else ord(error.character[:1])
    position = text.find(chr(code))
    before = text[: max(position, 0)]
    mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
    return Problem(mark, "this character may not stand in YAML", f"U+{code:04X}")
