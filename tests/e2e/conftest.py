"""Fixtures of the stories: a house that is empty again afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.house import House

Build = Callable[..., House]
"""Takes the models' names and gives a house with a config for them; nothing runs yet."""


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Build houses; whatever runs in them is ended after the test."""
    made: list[House] = []

    def one(*models: str) -> House:
        folder = tmp_path / f"house-{len(made)}"
        folder.mkdir()
        made.append(House(folder, *models))
        return made[-1]

    yield one
    for house in made:
        house.close()


@pytest.fixture
def house(build: Build) -> House:
    """Three models; the gateway is not started yet."""
    return build("a", "b", "c")
