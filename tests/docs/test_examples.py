"""Examples are true: configs load, scripts parse, links lead somewhere, commands exist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from llmux.config import parse_config, scalars
from llmux.config.nodes import ListNode, MappingNode, Node, Scalar
from llmux.config.schema import json_schema
from llmux.config.yaml_reader import read_yaml
from tests.docs.pages import PAGES, ROOT, blocks, names, read

CONFIGS = [
    pytest.param(text, id=f"{page}-{number}")
    for page in names(PAGES)
    for number, text in enumerate(blocks(read(page), "yaml"))
]
SCRIPTS = [
    pytest.param(text, id=f"{page}-{number}")
    for page in names(PAGES)
    for number, text in enumerate(blocks(read(page), "sh"))
]


@pytest.mark.parametrize("text", CONFIGS)
def test_every_config_on_a_page_loads_without_a_warning(text: str) -> None:
    assert parse_config(text, "config.yaml").warnings == ()


def seen(node: Node | None) -> Any:
    """What an editor sees in YAML 1.2."""
    if isinstance(node, MappingNode):
        return {key.value: seen(value) for key, value in node.entries}
    if isinstance(node, ListNode):
        return [seen(item) for item in node.items]
    assert isinstance(node, Scalar)
    return scalars.plain(node)


@pytest.mark.parametrize("text", CONFIGS)
def test_every_config_on_a_page_is_one_for_an_editor_too(text: str) -> None:
    Draft202012Validator(json_schema()).validate(seen(read_yaml(text)[0]))


@pytest.mark.parametrize("text", SCRIPTS)
def test_every_script_on_a_page_can_be_read_by_the_shell(text: str) -> None:
    done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", names(PAGES))
def test_every_json_on_a_page_is_json(page: str) -> None:
    for text in blocks(read(page), "json"):
        json.loads(text)


@pytest.mark.parametrize("page", names(PAGES))
def test_every_relative_link_leads_to_a_file(page: str) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", read(page))
    local = [target.partition("#")[0] for target in targets if "://" not in target]
    here = (ROOT / page).parent
    missing = [target for target in local if target and not (here / target).exists()]
    assert missing == []


def test_the_readme_leads_to_every_page_that_an_operator_needs() -> None:
    linked = set(re.findall(r"\]\((docs/[^)\s]+)\)", read("README.md")))
    assert linked >= {"docs/config.md", "docs/hooks.md", "docs/operations.md", "docs/migration.md"}


LOCKS = ["requirements.lock", "requirements-llamacpp.lock", "requirements-dev.lock"]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", read("Makefile"), re.M))


def commands(pages: list[Path]) -> set[str]:
    return {
        target
        for page in pages
        for target in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", page.read_text(), re.M)
        for target in target
        if target
    }


def test_every_make_command_on_a_page_is_a_target_of_the_makefile() -> None:
    assert {"demo", "test"} <= commands(PAGES) <= make_targets()


def test_no_page_tells_anybody_to_install_the_package_of_somebody_else() -> None:
    wrong = re.compile(r"(?:pip|pipx|uv|uvx)\b[^\n`|]*\b(?:install|run|add)\s+llmux(?![-\w])")
    assert wrong.search("pip install llmux")
    assert [page for page in names(PAGES) if wrong.search(read(page))] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_hashes_and_no_host(lock: str) -> None:
    text = read(lock)
    assert "://" not in text
    for entry in re.split(r"\n(?=[a-z])", text.strip()):
        assert re.match(r"[a-z0-9-]+==", entry), entry
        assert "--hash=sha256:" in entry


def test_the_locks_agree_and_hold_every_direct_dependency() -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^([a-z0-9-]+==[^ ;]+)", read(lock), re.M))

    first, llamacpp, dev = (pins(lock) for lock in LOCKS)
    assert first <= llamacpp <= dev
    direct = re.findall(r'^    "([A-Za-z0-9_-]+)>=', read("pyproject.toml"), re.M)
    locked = {pin.partition("==")[0] for pin in dev}
    assert {name.lower().replace("_", "-") for name in direct} <= locked
