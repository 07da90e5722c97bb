"""The operator's page and the code tell of the same metrics, events, errors, routes and options."""

from __future__ import annotations

import importlib
import logging
import re
import types
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmux import errors
from llmux.core import events, sentences
from llmux.core import news as told
from llmux.core.board import Switchboard
from llmux.core.lane import LaneSettings
from llmux.telemetry import why
from llmux.telemetry.lines import JsonLines
from llmux.telemetry.log import LogNews
from llmux.telemetry.metrics import Metrics
from tests.docs.pages import ROOT, blocks, read, rows, section, ticked

PAGE = read("docs/operations.md")
SOURCES = {path: path.read_text() for path in Path(ROOT / "src/llmux").rglob("*.py")}

SAMPLES: dict[Any, Any] = {str: "a", float: 1.0, int: 1, bool: False}


def sample(kind: Any, **given: Any) -> Any:
    """An instance of a news class with some value in every field."""
    values = {}
    for name, hint in get_type_hints(kind).items():
        plain = get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
        values[name] = SAMPLES[plain]
    return kind(**(values | given))


def all_news() -> list[Any]:
    kinds = get_args(told.News)
    return [sample(kind) for kind in kinds] + [sample(told.HookEnded, ok=True, hook="wake")]


def test_the_page_lists_every_metric_with_its_type_and_labels() -> None:
    metrics = Metrics(["a"], version="3")
    for news in all_news():
        metrics(news)
    metrics.meter_for("a").waited(1.0)
    metrics.meter_for("a").answered(200, 1.0)
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        if family.name.startswith("llmux_"):
            suffix = "_total" if family.type == "counter" else ""
            labels = {name for one in family.samples for name in one.labels} - {"le"}
            found[family.name + suffix] = (family.type, labels)
    table = rows(section(PAGE, "Metrics"))
    assert {ticked(row[0])[0]: (row[1], set(ticked(row[2]))) for row in table} == found


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.events: dict[str, tuple[str, list[str]]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        given = vars(record)
        self.events[given["event"]] = (record.levelname, list(given["fields"]))


@pytest.fixture
def heard() -> Any:
    logger = logging.getLogger("llmux")
    handler, level = Heard(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_the_page_lists_every_log_event_with_its_level_and_fields(heard: Heard) -> None:
    tell = LogNews()
    for news in all_news():
        tell(news)
    table = {ticked(row[0])[0]: (row[1], ticked(row[2])) for row in rows(events_section())}
    assert {event: table.get(event) for event in heard.events} == heard.events
    elsewhere = {
        event for text in SOURCES.values() for event in re.findall(r'"event": "([a-z_]+)"', text)
    }
    assert set(table) == set(heard.events) | elsewhere


def events_section() -> str:
    return section(PAGE, "Log events")


def all_tests() -> set[str]:
    """The names of all tests that there are."""
    texts = [path.read_text() for path in Path(ROOT / "tests").rglob("test_*.py")]
    return {
        name for text in texts for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.M)
    }


def test_every_fault_names_events_metrics_and_tests_that_exist() -> None:
    """Those that operators meet, then the sixteen of 2.4.0 in their order."""
    events = {ticked(row[0])[0] for row in rows(events_section())} | {"log"}
    metrics = {ticked(row[0])[0] for row in rows(section(PAGE, "Metrics"))}
    tests = all_tests()
    text = section(PAGE, "When something fails")
    first, _, sixteen = text.partition("The sixteen faults of 2.4.0")
    faults, old = rows(first), rows(sixteen)
    assert len(faults) >= 30
    assert [row[0] for row in old] == [str(number) for number in range(1, 17)]
    for _, _, event, metric, held in faults + old:
        named = [name for name in ticked(event) if name not in {"hung", "stderr"}]
        assert set(named) <= events, event
        assert {name for name in ticked(metric) if "kind=" not in name} <= metrics, metric
        assert ticked(held), "nothing holds it"
        assert set(ticked(held)) <= tests, held


def test_the_example_of_a_log_line_looks_like_a_real_one() -> None:
    [example] = blocks(PAGE, "json")
    fields_of_it = {"model": "qwen-32b", "from": "llama-8b", "duration_secs": 7.3}
    record = logging.makeLogRecord(
        {
            "levelname": "INFO",
            "created": 1772366400.25,
            "msg": "qwen-32b is active",
            "event": "model_activated",
            "fields": fields_of_it,
        }
    )
    assert JsonLines().format(record) == example.strip()


def test_the_page_lists_every_error_that_a_client_can_meet_and_no_other() -> None:
    not_for_clients = {errors.LlmuxError, errors.ConfigError, errors.PolicyError}
    family = [
        thing
        for thing in vars(errors).values()
        if isinstance(thing, type)
        and issubclass(thing, errors.LlmuxError)
        and thing not in not_for_clients
    ]
    text = "\n".join(text for path, text in SOURCES.items() if path.name != "errors.py")
    used = {(str(one.status), one.code) for one in family if f"{one.__name__}(" in text}
    table = rows(section(PAGE, "Errors of its own"))
    assert {(row[0], ticked(row[1])[0]) for row in table} == used


def test_the_page_lists_every_route_of_the_gateways_own() -> None:
    routes = importlib.import_module("llmux.http.routes").Routes
    made = routes(None, lambda: b"", b"text/plain", lambda: False)
    table = rows(section(PAGE, "Routes of its own"))
    paths = {path for row in table for path in ticked(row[0])}
    assert paths == {path.decode() for path in made._table} | {"/v1/models/{id}"}


def test_the_page_lists_every_verb_and_option() -> None:
    command = importlib.import_module("llmux.cli.verbs").command
    text = section(PAGE, "The command")
    for verb in importlib.import_module("llmux.cli.main").VERBS:
        assert f"`llmux {verb}`" in text
    for option in command.params:
        for name in option.opts:
            assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), name


def test_every_piece_of_news_is_frozen_data_with_a_docstring() -> None:
    for kind in get_args(told.News):
        assert kind.__doc__
        assert fields(kind)


def test_the_page_lists_every_rule_and_field_of_a_decision() -> None:
    text = section(PAGE, "Why did it switch?")
    tables = [rows(part) for part in re.split(r"\n\n(?=\|)", text)[1:]]
    named, rules = ({name for row in one for name in ticked(row[0])} for one in tables)
    assert rules == set(sentences.RULES)
    decisions = {rule.decision for rule in sentences.RULES.values()}
    [shown] = [row[1] for row in tables[0] if row[0] == "`decision`"]
    assert set(ticked(shown)) == decisions
    board = Switchboard([LaneSettings("a")])
    board.handle(events.OrderGiven(1, "a"), 0.0)
    [one] = why.decisions(board, 0.0, 0.0)["decisions"]
    assert named == set(one)
