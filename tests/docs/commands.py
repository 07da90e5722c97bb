"""The shell commands of the pages, found where they stand: in blocks, and after a prompt.

It refuses to know what they do.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import PAGES

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def of_page(text: str) -> list[str]:
    """The commands that a page shows, one a line; a script that sets variables is one command."""
    found: list[str] = []
    for language, block in _FENCED.findall(text):
        joined = block.replace("\\\n", " ")
        if language == "sh":
            found += [joined.strip()] if joined.startswith("export ") else _lines(joined)
        else:
            found += [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
    return [re.sub(r"  +", " ", command).strip() for command in found]


def _lines(script: str) -> list[str]:
    """The lines of a script without what is said beside them."""
    bare = [re.sub(r"(^|\s)#.*", "", line).strip() for line in script.splitlines()]
    return [line for line in bare if line]


def spans(text: str) -> list[str]:
    """What stands between backticks inside the sentences and tables of a page."""
    return _SPAN.findall(_FENCED.sub("", text))


def everywhere(pages: list[Path] = PAGES) -> set[str]:
    """The commands of all pages."""
    return {command for page in pages for command in of_page(page.read_text())}


def of_llmux(text: str) -> set[tuple[str, str]]:
    """The pairs of a verb (`serve` where none is named) and an option that a page shows."""
    pairs = set()
    for command in [*of_page(text), *spans(text)]:
        words = command.split()
        if words and words[0] == "llmux":
            verb = words[1] if len(words) > 1 and words[1].isalpha() else "serve"
            pairs |= {(verb, word.partition("=")[0]) for word in words if word.startswith("-")}
    return pairs
