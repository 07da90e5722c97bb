"""The pages name every option of balance with its default, and every rule that it may name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

from llmux.policy.balance import BalanceOptions
from llmux.policy.balance_words import UNASKED, Rule
from tests.docs.pages import read, rows, section, ticked


def test_the_page_names_every_option_with_its_default() -> None:
    def told(value: Any) -> str:
        return str([int(one) for one in value]) if isinstance(value, tuple) else f"{value:g}"

    table = rows(section(read("docs/balance.md"), "Options"))
    assert [(ticked(row[0])[0], row[1]) for row in table] == [
        (option.name, told(option.default)) for option in fields(BalanceOptions)
    ]


def test_the_page_for_operators_names_every_rule() -> None:
    tables = section(read("docs/operations.md"), "Why did it switch?")
    [told] = [row[1] for row in rows(tables) if "policy_rule" in row[0]]
    assert set(ticked(told)) == {"oldest", "fifo", "balance", "announced"} | (
        {*get_args(Rule)} - {*UNASKED}
    )
