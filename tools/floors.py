"""Draws the floors of the house into docs/architecture.md, from the imports that are really there.

The rows are the floors that import-linter holds (pyproject.toml); an arrow says that a room imports
from another, and is left out where a way of other arrows says it already. It refuses to draw a
room that has no floor.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/architecture.md"
FENCE = re.compile(
    r"(?<=<!-- floors: made by `make pictures` -->\n)```mermaid\n.*?^```\n", re.M | re.S
)
UNSEEN = {"__main__"}
"""`python -m llmux` is the command, called by another name."""

Arrows = dict[str, set[str]]


def floors() -> list[list[str]]:
    """Return the rooms of each floor, the top floor first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    [layers] = [one["layers"] for one in contracts if one["type"] == "layers"]
    return [re.findall(r"llmux\.(\w+)", layer) for layer in layers]


def imports() -> Arrows:
    """Return for each room those from which any module in it imports."""
    graph = grimp.build_graph("llmux", cache_dir=None)
    found: Arrows = {}
    for module in graph.modules:
        room = _room(module)
        others = {_room(one) for one in graph.find_modules_directly_imported_by(module)}
        found.setdefault(room, set()).update(others - {room, ""})
    return {room: others for room, others in found.items() if room and room not in UNSEEN}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def reduced(arrows: Arrows) -> Arrows:
    """Leave out each arrow whose end is reached by other arrows, too."""

    def reached(room: str) -> set[str]:
        return set().union(*({one} | reached(one) for one in arrows[room]))

    return {
        room: {one for one in others if not any(one in reached(other) for other in others - {one})}
        for room, others in arrows.items()
    }


def picture() -> str:
    """Return the picture as a fenced piece of Mermaid; ValueError for a room without a floor."""
    rows, arrows = floors(), imports()
    if homeless := arrows.keys() - {room for row in rows for room in row}:
        raise ValueError(f"no floor in pyproject.toml names {', '.join(sorted(homeless))}")
    lines = ["```mermaid", "flowchart TB"]
    for number, row in enumerate(rows):
        lines += [f'    subgraph floor{number}[" "]', "        direction LR"]
        lines += [f"        {room}" for room in row]
        lines += ["    end"]
    for room, others in sorted(reduced(arrows).items()):
        lines += [f"    {room} --> {other}" for other in sorted(others)]
    return "\n".join([*lines, "```", ""])


def drawn() -> str:
    """Return the whole page with the picture as it should be."""
    page, count = FENCE.subn(picture(), PAGE.read_text())
    if count != 1:
        raise ValueError(f"{PAGE.name} has {count} places for the picture of the floors")
    return page


if __name__ == "__main__":
    PAGE.write_text(drawn())
