"""The hardening page names tests that are there, and every MUST story has its row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/hardening.md").read_text()


def stories_in(folder: str) -> set[str]:
    """Names of all test functions in a folder."""
    found: set[str] = set()
    for file in (ROOT / folder).glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found |= {node.name} if node.name.startswith("test_") else set()
    return found


def test_every_must_of_http_has_a_story_and_every_story_its_row() -> None:
    table = PAGE.partition("## The MUSTs of HTTP")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(test_\w+)`", table))
    assert named <= stories_in("tests/http")
    tree = ast.parse((ROOT / "tests/http/test_musts.py").read_text())
    stories = {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
    assert {one for one in stories if one.startswith("test_")} == named


def test_files_of_tests_that_are_named_exist() -> None:
    for name in re.findall(r"`(test_\w+\.py)`", PAGE):
        assert list((ROOT / "tests").glob(f"*/{name}")), name
