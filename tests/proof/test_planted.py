"""The faults for the simulation stay plantable, and one of them is found from end to end."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from proof.faults import CHOSEN, Planted
from proof.planted import BEGIN, END, Found, look_for, main, write
from proof.simulate import PHASES

from tests.mutants.__main__ import PACKAGE, planted


@pytest.mark.parametrize("fault", CHOSEN, ids=lambda one: one.mutant.name)
def test_each_fault_fits_the_code_as_it_is(fault: Planted) -> None:
    """Its text stands exactly once, and what it becomes is still Python."""
    source = (PACKAGE / fault.mutant.file).read_text()
    assert ast.dump(ast.parse(planted(fault.mutant, source))) != ast.dump(ast.parse(source))


def test_there_are_faults_for_every_phase() -> None:
    """Not only where the switch is easy to see."""
    phases = {one.phase for one in CHOSEN}
    assert phases >= set(PHASES) - {"idle"}
    assert len({one.mutant.name for one in CHOSEN}) == len(CHOSEN) >= 40


def test_a_planted_fault_is_found_and_told() -> None:
    """In a copy of the package, by a process of its own."""
    fault = next(one for one in CHOSEN if one.mutant.name == "nobody has to make room")
    found = look_for(fault, 20_000)
    assert found.events is not None
    assert found.events <= 20_000
    assert "I1: " in found.said


def test_the_table_of_the_page_is_written_anew(tmp_path: Path) -> None:
    """What stands around it stays."""
    page = tmp_path / "trust.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write([Found(CHOSEN[0], 1234, "I1: two"), Found(CHOSEN[1], None, "")], 5000, page)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n1 of 2 are found within 5,000 events")
    assert "| 1,234 | I1: two |" in text
    assert "| not found |" in text
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text


def test_words_choose_faults() -> None:
    """A word that no fault has is a mistake."""
    with pytest.raises(SystemExit):
        main(["no such words"])
