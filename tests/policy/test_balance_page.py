"""The page about balance names every option with its default."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from llmux.policy.balance import BalanceOptions
from tests.docs.pages import read, rows, section, ticked


def test_the_page_names_every_option_with_its_default() -> None:
    def told(value: Any) -> str:
        return str([int(one) for one in value]) if isinstance(value, tuple) else f"{value:g}"

    table = rows(section(read("docs/balance.md"), "Options"))
    assert [(ticked(row[0])[0], row[1]) for row in table] == [
        (option.name, told(option.default)) for option in fields(BalanceOptions)
    ]
