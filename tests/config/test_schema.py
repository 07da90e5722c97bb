"""The schema for editors and the loader agree: about every key, and about every value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from llmux.config import Config, ConfigError, ModelConfig, parse_config
from llmux.config.model import SECTIONS, PolicyConfig
from llmux.config.rules import REQUIRED, Rule, rules
from llmux.config.schema import json_schema

SCHEMA = json_schema()
JUDGE = Draft202012Validator(SCHEMA)
MODEL = {"port": 8001, "wake": "up", "sleep": "down"}
SMALLEST = {"models": {"a": MODEL}}
PARTS = {"": Config, "models": ModelConfig, **SECTIONS}


def loads(config: Any, name: str = "config.json") -> bool:
    """Whether `llmux check` would find nothing wrong with the keys and values."""
    text = json.dumps(config) if name.endswith("json") else yaml.safe_dump(config)
    try:
        return not parse_config(text, name).warnings
    except ConfigError:
        return False


def read(config: Any) -> Config:
    return parse_config(json.dumps(config), "config.json").config


def with_value(section: str, name: str, value: Any) -> dict[str, Any]:
    """The smallest config that says this."""
    if section == "models":
        return {"models": {"a": MODEL | {name: value}}}
    return SMALLEST | ({section: {name: value}} if section else {name: value})


def part_of_schema(section: str) -> dict[str, Any]:
    part = SCHEMA["$defs"]["model"] if section == "models" else SCHEMA
    found: dict[str, Any] = part["properties"]
    return found[section]["properties"] if section in SECTIONS else found


def every_key() -> Iterator[Any]:
    for section, keys in PARTS.items():
        for name, rule, default in rules(keys):
            yield pytest.param(section, name, rule, default, id=f"{section}.{name}".strip("."))


KEYS = list(every_key())


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    json.dumps(SCHEMA, allow_nan=False)


@pytest.mark.parametrize("section", PARTS)
def test_the_schema_has_the_keys_that_the_loader_reads_and_no_other(section: str) -> None:
    sections = () if section else ("models", *SECTIONS)
    known = [name for name, _, _ in rules(PARTS[section])]
    assert sorted(part_of_schema(section)) == sorted([*known, *sections])


@pytest.mark.parametrize(("section", "name", "rule", "default"), KEYS)
def test_a_key_is_explained_with_its_reason_and_its_default(
    section: str, name: str, rule: Rule, default: Any
) -> None:
    key = part_of_schema(section)[name]
    assert key["description"].startswith(rule.why)
    assert ("In seconds." in key["description"]) == name.endswith("_secs")
    assert ("In bytes." in key["description"]) == name.endswith("_bytes")
    if "default" in key:
        said = with_value(section, name, key["default"])
        assert JUDGE.is_valid(said)
        assert read(said) == read(SMALLEST)
    elif default is not REQUIRED:
        assert f".{name}` holds." in key["description"]


def test_every_kind_of_value_is_tried_here() -> None:
    kinds = {rule.kind for keys in PARTS.values() for _, rule, _ in rules(keys)}
    assert kinds == set(get_args(get_type_hints(Rule)["kind"]))


EDGES: list[Any] = [
    *(None, True, False, 0, 1, -1, 65535, 65536, 0.5, -0.5, 2**64 - 1, 2**64, 2**70, 1e300),
    *("", " ", "x", " x", "x ", "a\0b", "a\nb", "é", "off", "auto", "no", "inherit", "config"),
    *("process", "keep", "cut", "stop", "json", "debug", "DEBUG", "A=B", "https://a.example"),
    *([], {}, [""], ["PATH"], ["A=B"], [1], [None], [{}], [[]], {"x": 1}),
    *(["https://a.example"], ["https://a.example:99/path"], ["*"], ["http://[::1]:80"]),
    *({"http": "/health"}, {"http": "health"}, {"http": "/a b"}, {"tcp": True}, {"tcp": False}),
    *({"tcp": True, "http": "/"}, {"tcp": "true"}, [{"text": "k"}], [{"text": "k", "env": "E"}]),
    *([{"text": "k", "name": ""}], [{"text": "k", "name": "n", "models": ["a"], "priority": 2}]),
    *([{"sha256": "0" * 64}], [{"sha256": "0" * 63}], [{"text": "k", "models": []}], ["key"]),
    *([{"text": "k", "models": None}], [{"text": "k", "priority": 0}], [{"text": "k", "x": 1}]),
    *([{"env": "A=B"}], [{"env": " "}], [{"file": ""}], [{"text": 5}], [{"name": "x"}]),
]
WORLD = {"policy.name", "health.breaker_min_secs", "health.breaker_max_secs", "tls.cert", "tls.key"}
"""Keys whose value may be good by itself, and still not fit another key, or what is there."""


@pytest.mark.parametrize(("section", "name", "rule", "default"), KEYS)
def test_both_say_the_same_of_every_odd_value_at_every_key(
    section: str, name: str, rule: Rule, default: Any
) -> None:
    del rule, default
    for value in EDGES:
        config = with_value(section, name, value)
        if loads(config):
            assert JUDGE.is_valid(config), (value, *JUDGE.iter_errors(config))
        elif f"{section}.{name}" not in WORLD:
            assert not JUDGE.is_valid(config), value


@pytest.mark.parametrize("value", EDGES)
def test_both_say_the_same_of_what_stands_for_a_section_or_a_model(value: Any) -> None:
    for config in (value, {"models": value}, {"models": {"a": value}}):
        assert JUDGE.is_valid(config) == loads(config)
    for section in SECTIONS:
        config = SMALLEST | {section: value}
        assert JUDGE.is_valid(config) == loads(config), section


FITTING = {"breaker_min_secs", "breaker_max_secs", "admin_keys", "cert", "key"}
"""Keys whose value has to fit another key, or a file."""


def good(rule: Rule) -> st.SearchStrategy[Any]:
    """Values that a key may have."""
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)
    said = text.filter(str.strip)
    word = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=9)
    lowest = 0.001 if rule.above_zero or rule.kind == "number" else 0
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "port": st.integers(1, 2999),
        "count": st.integers(1, 2**64 - 1),
        "seconds": st.integers(1, 10**9) | st.floats(lowest, 1e9),
        "number": st.integers(1, 10**9) | st.floats(lowest, 1e9),
        "bool": st.booleans(),
        "text": said,
        "path": said,
        "name": word,
        "choice": st.sampled_from(rule.choices or ("",)),
        "state": st.sampled_from(["auto", "off"]) | said,
        "alive": said | st.builds(lambda path: {"http": "/" + path}, word) | st.just({"tcp": True}),
        "env": st.just("inherit") | st.lists(word.filter(lambda name: "=" not in name), max_size=3),
        "options": st.dictionaries(word, st.integers() | st.booleans() | text, max_size=3),
        "origins": st.lists(
            st.sampled_from(["https://a.example", "http://[::1]:8080"]), max_size=2
        ),
        "keys": st.lists(word.map(lambda key: {"text": "x" + key}), max_size=1) | st.just([]),
    }
    values = kinds[rule.kind]
    return values | st.none() if rule.nullable else values


def section_of(keys: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    known = {name: good(rule) for name, rule, _ in rules(keys) if name not in FITTING}
    if keys is PolicyConfig:
        known["name"] = st.sampled_from(["fifo", "balance"])
    needed = [name for name, _, default in rules(keys) if default is REQUIRED]
    return st.fixed_dictionaries({name: known.pop(name) for name in needed}, optional=known)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=9)
CONFIGS = st.fixed_dictionaries(
    {
        "models": st.dictionaries(
            NAMES.filter(str.strip), section_of(ModelConfig), min_size=1, max_size=2
        )
    },
    optional={
        "host": good(Rule("name", "")),
        "state": good(Rule("state", "")),
        **{name: section_of(keys) for name, keys in SECTIONS.items()},
    },
)


@given(CONFIGS, st.sampled_from(["config.json", "config.yaml"]))
@example(SMALLEST, "config.json")
def test_a_config_that_is_meant_well_is_one_for_both(config: dict[str, Any], name: str) -> None:
    text = json.dumps(config) if name.endswith("json") else yaml.safe_dump(config)
    parse_config(text, name)
    JUDGE.validate(config)


@given(CONFIGS, st.data())
def test_a_key_that_is_not_there_is_one_for_neither(config: dict[str, Any], data: Any) -> None:
    places = [config, *(config[name] for name in SECTIONS if name in config)]
    places += config["models"].values()
    place = data.draw(st.sampled_from(range(len(places))))
    places[place]["no_such_key"] = 1
    assert not JUDGE.is_valid(config)
    assert not loads(config)
