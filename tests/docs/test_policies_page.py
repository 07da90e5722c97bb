"""The page about policies: its example is loaded as a config would load it, and asked."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from llmux.errors import PolicyError
from llmux.policy import (
    ModelView,
    PolicyContext,
    PolicySettings,
    Reason,
    Skip,
    Snapshot,
    SwitchNow,
    SwitchPolicy,
)
from llmux.policy.registry import load_policy
from llmux.testing import check_policy
from tests.docs.pages import blocks, read, rows, section, ticked

PAGE = read("docs/policies.md")
EXAMPLE, ITS_REASON, ITS_TEST = blocks(PAGE, "python")


def load(folder: Path, options: dict[str, object]) -> SwitchPolicy:
    (folder / "patient.py").write_text(EXAMPLE)
    return load_policy("./patient.py", None, options, PolicySettings(), folder)


def test_the_example_stays_while_the_active_model_is_busy_and_nobody_has_waited_long(
    tmp_path: Path,
) -> None:
    policy = load(tmp_path, {"patience": 10})
    busy = PolicyContext("qwen", "llama", oldest_waiting=4.0, active_in_flight=2)
    answer = policy.on_pending_request(busy)
    assert isinstance(answer, Skip)
    assert answer.ask_again == pytest.approx(6.0)


def test_the_example_leaves_when_somebody_has_waited_long_enough_or_nothing_runs(
    tmp_path: Path,
) -> None:
    policy = load(tmp_path, {"patience": 10})
    late = PolicyContext("qwen", "llama", oldest_waiting=10.0, active_in_flight=2)
    free = PolicyContext("qwen", "llama", oldest_waiting=0.1, active_in_flight=0)
    assert isinstance(policy.on_pending_request(late), SwitchNow)
    assert isinstance(policy.on_pending_request(free), SwitchNow)


def test_the_example_refuses_an_option_that_it_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="patients"):
        load(tmp_path, {"patients": 10})


def test_the_test_on_the_page_passes() -> None:
    space: dict[str, object] = {}
    exec(compile(EXAMPLE + ITS_TEST, "docs/policies.md", "exec"), space)
    tests = [thing for name, thing in space.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        assert callable(test)
        test()


def test_the_page_names_every_field_of_the_context() -> None:
    table = section(PAGE, "What it is asked, and when")
    assert [ticked(row[0])[0] for row in rows(table)] == [one.name for one in fields(PolicyContext)]


def test_the_page_names_every_field_of_a_models_view() -> None:
    table = section(PAGE, "The snapshot")
    told = [name for row in rows(table) for name in ticked(row[0])]
    assert sorted(told) == sorted(ModelView._fields)


def test_the_page_names_every_field_of_the_snapshot() -> None:
    """In the words before the table of a model's view."""
    before = section(PAGE, "The snapshot").partition("| `ModelView`")[0]
    told = {name for span in ticked(before) for name in re.findall(r"\w+", span)}
    assert {one.name for one in fields(Snapshot)} <= told


def test_the_command_on_the_page_finds_nothing_wrong_with_the_example(tmp_path: Path) -> None:
    (tmp_path / "patient.py").write_text(EXAMPLE)
    assert "llmux check --policy ./patient.py" in section(PAGE, "A policy in one file")
    assert check_policy("./patient.py", base_dir=tmp_path) == []


def test_the_page_names_every_method_that_may_be_overridden() -> None:
    table = section(PAGE, "What else it may say")
    told = {name.partition("(")[0] for row in rows(table) for name in ticked(row[0])}
    public = {
        name
        for name, thing in vars(SwitchPolicy).items()
        if callable(thing) and not name.startswith("_")
    }
    assert told | {"on_pending_request"} == public


def test_the_reason_of_the_page_is_said_as_the_page_says() -> None:
    made: dict[str, Any] = {"__name__": "a page"}
    exec(compile(ITS_REASON, "docs/policies.md", "exec"), made)
    reason = made["StillBusy"]("llama", 1)
    assert isinstance(reason, Reason)
    assert reason.sentence("qwen") == "stayed on llama: it is still answering 1, and qwen can wait"
    assert (reason.rule, reason.numbers("qwen")) == ("busy", {"answers": 1})
