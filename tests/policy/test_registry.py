"""Policies enter by name, by reference or by file, and what breaks in them is one sentence."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from llmux.errors import PolicyError
from llmux.policy import FifoPolicy, PolicySettings, SwitchPolicy
from llmux.policy.registry import load_policy, names_code, policy_names

SETTINGS = PolicySettings(request_timeout=5.0, drain_before_switch=False, min_active=2.0)


def load(name: str, base: Path | None = None, **options: object) -> SwitchPolicy:
    return load_policy(name, object(), options, SETTINGS, base)


def write(directory: Path, text: str) -> str:
    (directory / "mine.py").write_text(text)
    return "./mine.py"


def refused(name: str, base: Path | None = None, **options: object) -> str:
    with pytest.raises(PolicyError) as caught:
        load(name, base, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_built_in_policy_gets_the_settings_of_the_config() -> None:
    policy = load("fifo")
    assert isinstance(policy, FifoPolicy)
    assert policy.request_timeout() == 5.0
    assert policy.drain_before_switch() is False
    assert policy.min_active_duration() == 2.0


def test_a_reference_names_module_and_class() -> None:
    assert isinstance(load("llmux.policy.fifo:FifoPolicy"), FifoPolicy)


def test_our_own_policies_stand_among_the_names() -> None:
    assert "fifo" in policy_names()
    assert {point.name for point in entry_points(group="llmux.policies")} <= set(policy_names())


def test_a_name_that_nobody_has_is_refused_with_those_there_are() -> None:
    assert "there are balance, fifo" in refused("fastest")


def test_a_file_gives_the_one_policy_that_is_defined_in_it(tmp_path: Path) -> None:
    name = write(
        tmp_path,
        "from llmux.policy import FifoPolicy, SwitchPolicy\n"
        "class Mine(FifoPolicy):\n"
        "    @classmethod\n"
        "    def from_config(cls, config, options):\n"
        "        made = cls()\n"
        "        made.options = dict(options)\n"
        "        return made\n",
    )
    policy = load(name, tmp_path, patience=3)
    assert type(policy).__name__ == "Mine"
    assert vars(policy)["options"] == {"patience": 3}
    assert policy.settings is SETTINGS


def test_a_dataclass_can_be_a_policy_in_a_file(tmp_path: Path) -> None:
    name = write(
        tmp_path,
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from llmux.policy import SwitchPolicy\n"
        "@dataclass\n"
        "class Mine(SwitchPolicy):\n"
        "    patience: float = 1.0\n",
    )
    assert vars(load(name, tmp_path, patience=3))["patience"] == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1", "defines no subclass of SwitchPolicy"),
        ("from llmux.policy import FifoPolicy", "defines no subclass of SwitchPolicy"),
        (
            "from llmux.policy import SwitchPolicy\n"
            "class B(SwitchPolicy): pass\nclass A(SwitchPolicy): pass",
            "defines A, B, and there must be one",
        ),
        ("def broken(:", "mine.py:1)"),
        ("\nimport no_such_module_anywhere", "mine.py:2)"),
        ("def f():\n    return 1 / 0\nf()", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_file_that_gives_no_policy_says_why(tmp_path: Path, text: str, why: str) -> None:
    name = write(tmp_path, text)
    before = set(sys.modules)
    assert why in refused(name, tmp_path)
    assert set(sys.modules) - before <= {"llmux_policy_mine"}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"there is no file {tmp_path / 'none.py'}" in refused("none.py", tmp_path)


def test_the_error_of_a_file_names_the_line_that_raised(tmp_path: Path) -> None:
    name = write(tmp_path, "def f():\n    return 1 / 0\nf()")
    assert f"({tmp_path / 'mine.py'}:2)" in refused(name, tmp_path)


def test_options_that_a_policy_does_not_take_are_named() -> None:
    assert "the policy fifo takes no options" in refused("fifo", speed=1)


def test_a_constructor_that_raises_is_a_sentence_with_its_place(tmp_path: Path) -> None:
    name = write(
        tmp_path,
        "from llmux.policy import SwitchPolicy\n"
        "class Mine(SwitchPolicy):\n"
        "    def __init__(self, speed):\n"
        "        raise ValueError(f'{speed} is too fast')\n",
    )
    told = refused(name, tmp_path, speed=9)
    assert "could not be built with the options speed: ValueError: 9 is too fast" in told
    assert told.endswith("mine.py:4)")


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("no_such_module_anywhere:X", "No module named 'no_such_module_anywhere'"),
        ("llmux.policy:Nothing", "llmux.policy has no Nothing"),
        ("llmux.policy:SwitchNow", "is a type, not a SwitchPolicy class"),
        ("llmux.policy:", "is not of the form package.module:Class"),
        (":X", "is not of the form package.module:Class"),
        ("a b:X", "is not of the form package.module:Class"),
    ],
)
def test_a_reference_that_leads_nowhere_says_where_it_ends(reference: str, why: str) -> None:
    assert why in refused(reference)


def test_from_config_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    name = write(
        tmp_path,
        "from llmux.policy import SwitchPolicy\n"
        "class Mine(SwitchPolicy):\n"
        "    @classmethod\n"
        "    def from_config(cls, config, options):\n"
        "        return None\n",
    )
    assert "from_config gave a NoneType" in refused(name, tmp_path)


def test_a_name_says_by_its_form_where_the_code_is() -> None:
    assert names_code("./mine.py")
    assert names_code("package.module:Class")
    assert not names_code("fifo")
