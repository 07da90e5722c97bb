"""The config reference in docs/config.md says what the schema says, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llmux.cli.schema import schema_text
from llmux.config import Config, ModelConfig, parse_config
from llmux.config.model import SECTIONS
from llmux.config.rules import REQUIRED, Inherit, Rule, rules

PAGE = (Path(__file__).parents[2] / "docs/config.md").read_text()
HEADINGS: dict[str, type[Any]] = {
    "The top level": Config,
    "`models.<name>`": ModelConfig,
    **{f"`{name}`": section for name, section in SECTIONS.items()},
}
UNITS = {
    "seconds": "seconds",
    "number": "number above 0",
    "port": "port",
    "bool": "true or false",
    "text": "shell text",
}


def written_default(default: object) -> str:
    if default is REQUIRED:
        return "required"
    if isinstance(default, Inherit):
        return "as above it"
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    return {"()": "[]", "{}": "{}"}.get(str(default), str(default))


def written_kind(name: str, rule: Rule) -> str:
    kind = UNITS.get(rule.kind, "text")
    if rule.kind == "count":
        kind = "bytes" if name.endswith("_bytes") else "number"
    if rule.kind == "choice":
        kind = ", ".join(rule.choices)
    if rule.kind == "options":
        kind = "mapping"
    if rule.kind == "state":
        kind = "auto, off or a path"
    if rule.kind == "alive":
        kind = "shell text or probe"
    if rule.kind == "env":
        kind = "text or list"
    if rule.kind in ("keys", "origins"):
        kind = f"list of {rule.kind}"
    if rule.kind == "path":
        kind = "path"
    return f"{kind} or null" if rule.nullable else kind


def row(name: str, rule: Rule, default: object) -> str:
    return f"| `{name}` | {written_kind(name, rule)} | {written_default(default)} | {rule.why} |"


def section_of(page: str, heading: str) -> str:
    match = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    assert match, f"docs/config.md has no section {heading}"
    return match[1]


@pytest.mark.parametrize("heading", HEADINGS)
def test_each_key_stands_in_its_table_with_kind_default_and_reason(heading: str) -> None:
    table = [line for line in section_of(PAGE, heading).splitlines() if line.startswith("| `")]
    assert table == [row(name, rule, default) for name, rule, default in rules(HEADINGS[heading])]


def test_the_page_has_no_section_with_a_table_that_the_schema_does_not_know() -> None:
    headings = re.findall(r"^## (.*)$", PAGE, re.M)
    tables = {heading for heading in headings if "| `" in section_of(PAGE, heading)}
    assert tables == set(HEADINGS)


def test_the_schema_beside_the_page_is_what_the_command_writes() -> None:
    written = Path(__file__).parents[2] / "docs/config.schema.json"
    assert written.read_text() == schema_text(), "make pictures writes it anew"


def test_every_example_of_the_page_is_a_config_without_a_warning() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    assert examples
    for example in examples:
        assert parse_config(example, "config.yaml").warnings == ()


def test_the_long_example_says_the_defaults() -> None:
    long = max(re.findall(r"```yaml\n(.*?)```", PAGE, re.S), key=len)
    config = parse_config(long, "config.yaml").config
    default = Config()
    assert (config.host, config.port) == (default.host, default.port)
    assert config.policy == default.policy
    assert config.state == default.state
    assert config.bounds == default.bounds
    assert config.health == default.health
    assert config.hooks == default.hooks
    assert config.log == default.log
    assert (config.auth, config.tls) == (default.auth, default.tls)
