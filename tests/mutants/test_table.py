"""The planted faults stay plantable: a rule that is rewritten takes its fault along."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.__main__ import PACKAGE, planted
from tests.mutants.table import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_each_fault_fits_the_code_as_it_is(mutant: Mutant) -> None:
    """Its text stands exactly once, and what it becomes is still Python."""
    source = (PACKAGE / mutant.file).read_text()
    assert ast.dump(ast.parse(planted(mutant, source))) != ast.dump(ast.parse(source))


def test_no_two_faults_have_the_same_name() -> None:
    """The table that is printed names each once."""
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)
