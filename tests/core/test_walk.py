"""Every order of facts, walked breadth first on the real board as far as a test can afford.

`make model-check` walks on from here; what a walk is and what it holds stands in `proof/walk.py`.
"""

from __future__ import annotations

import os

import pytest
from proof.walk import STARTS, Start, walk

STATES = int(os.environ.get("LLMUX_WALK_STATES", "1000"))
"""How many states each test walks, to the end of the level in which they are reached."""


SMALL = [one for one in STARTS if one.least > 1]
"""Starts whose space is small with one request; that of `hints` is for `make model-check`."""


@pytest.mark.parametrize("start", SMALL, ids=lambda one: one.name)
def test_one_request_at_a_time_is_walked_to_the_end_of_the_space(start: Start) -> None:
    """An order may stand in its place: no invariant breaks, nobody waits for ever."""
    done = walk(start, 1)
    assert done.rim == 0
    assert done.states >= 1000


@pytest.mark.parametrize("start", STARTS, ids=lambda one: one.name)
def test_every_order_of_facts_keeps_the_invariants_and_has_a_way_out(start: Start) -> None:
    """Three requests at a time, from each start: no invariant breaks, nobody waits for ever."""
    assert walk(start, 3, states=STATES).states >= min(STATES, 1000)
