"""The picture of the floors shows the rooms that are there and the imports between them."""

from __future__ import annotations

import re

from tools.floors import drawn, floors, imports, reduced

from tests.docs.pages import ROOT, read


def test_the_picture_is_that_of_the_imports_that_are_there() -> None:
    assert read("docs/architecture.md") == drawn(), "make pictures draws it anew"


def test_every_room_has_a_floor_and_a_word_in_the_table() -> None:
    rooms = {room for row in floors() for room in row}
    package = ROOT / "src/llmux"
    there = {path.stem for path in package.glob("[!_]*.py")}
    there |= {path.parent.name for path in package.glob("*/__init__.py")}
    assert rooms == there == set(imports())
    told = set(re.findall(r"`(\w+)(?:/|\.py)`", read("docs/architecture.md")))
    assert rooms <= told


def test_an_arrow_that_others_say_is_left_out() -> None:
    arrows = {"roof": {"room", "ground"}, "room": {"ground"}, "ground": set[str]()}
    assert reduced(arrows) == {"roof": {"room"}, "room": {"ground"}, "ground": set()}
