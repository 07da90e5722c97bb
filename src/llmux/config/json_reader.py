"""Reads JSON into nodes that know their lines and columns, strictly as RFC 8259 has it.

The standard library's parser forgets where values stood and keeps the last of two equal keys in
silence. This one refuses to know the schema, and accepts nothing that `json.loads` would not.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from json.decoder import scanstring  # type: ignore[attr-defined] # typeshed lacks it

from llmux.config.nodes import (
    Entries,
    ListNode,
    Mark,
    Node,
    Problem,
    Scalar,
    UnreadableError,
)

_DEEPEST = 50
_SPACE = re.compile(r"[ \t\n\r]*")
_LITERAL = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[^\s,:\[\]{}]*")


def read_json(text: str) -> tuple[Node | None, list[Problem]]:
    """Read one value; None where the text is empty.

    Raises `UnreadableError` at the first place where the text is no JSON at all.
    """
    reader = _Reader(text)
    if not reader.rest():
        return None, []
    node = reader.value(0)
    if reader.rest():
        raise reader.wrong("the file should end here")
    return node, reader.problems


class _Reader:
    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._lines = [0, *(newline.end() for newline in re.finditer("\n", text))]
        self._at = 0

    def rest(self) -> str:
        """Step over white space and tell the next character, "" at the end."""
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        return self._text[self._at : self._at + 1]

    def value(self, depth: int) -> Node:
        first = self.rest()
        if depth > _DEEPEST:
            raise self.wrong(f"this is nested more than {_DEEPEST} levels deep")
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._array(depth)
        if first == '"':
            return self._string()
        literal = _LITERAL.match(self._text, self._at)
        if literal is None:
            raise self.wrong("a value should stand here", "texts stand in double quotes")
        mark = self._mark()
        self._at = literal.end()
        return Scalar(literal.group(), mark, literal=True, text=False)

    def _object(self, depth: int) -> Node:
        mark = self._mark()
        entries = Entries(self.problems)
        self._at += 1
        if self.rest() == "}":
            self._at += 1
            return entries.node(mark)
        while True:
            if self.rest() != '"':
                hint = "keys stand in double quotes, no comma after the last entry, no comments"
                raise self.wrong("a key should stand here", hint)
            key = self._string()
            self._expect(":")
            entries.add(key, self.value(depth + 1))
            if self._more("}"):
                return entries.node(mark)

    def _array(self, depth: int) -> Node:
        mark = self._mark()
        items: list[Node] = []
        self._at += 1
        if self.rest() == "]":
            self._at += 1
            return ListNode((), mark)
        while True:
            items.append(self.value(depth + 1))
            if self._more("]"):
                return ListNode(tuple(items), mark)

    def _more(self, end: str) -> bool:
        """Step over a comma (False) or the closing bracket (True)."""
        if self.rest() not in (",", end) or not self.rest():
            raise self.wrong(f"`,` or `{end}` should stand here")
        self._at += 1
        return self._text[self._at - 1] == end

    def _expect(self, character: str) -> None:
        if self.rest() != character:
            raise self.wrong(f"`{character}` should stand here")
        self._at += 1

    def _string(self) -> Scalar:
        mark = self._mark()
        try:
            value, end = scanstring(self._text, self._at + 1, True)
        except ValueError as error:
            self._at = getattr(error, "pos", self._at)
            said = str(getattr(error, "msg", error)).removesuffix(" at").lower()
            raise self.wrong(f"this text is not JSON ({said})") from None
        self._at = end
        return Scalar(value, mark, literal=False)

    def wrong(self, message: str, hint: str = "") -> UnreadableError:
        word = _WORD.match(self._text, self._at)
        found = (word.group() if word else "") or self._text[self._at : self._at + 1]
        return UnreadableError(Problem(self._mark(), message, found or "the end of the file", hint))

    def _mark(self) -> Mark:
        line = bisect_right(self._lines, self._at)
        return Mark(line, self._at - self._lines[line - 1] + 1)
