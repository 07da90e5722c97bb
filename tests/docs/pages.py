"""The pages that people read, and the pieces of them that a test can hold to the truth."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "examples/README.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
)


def read(name: str) -> str:
    return (ROOT / name).read_text()


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def blocks(page: str, language: str) -> list[str]:
    """The fenced pieces of a page in one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


def section(page: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    assert found, f"the page has no section {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of the rows of the first table, without its head."""
    table = re.search(r"(?:^\|.*\n?)+", text, re.M)
    assert table, "there is no table"
    lines = table[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def ticked(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)
