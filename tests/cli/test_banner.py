"""The greeting: where the API is, what stands behind it, and what to think about."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from llmux.cli.banner import api_url, banner, is_loopback, notices, started_fields
from llmux.config import Config, Loaded, TlsConfig, parse_config

TWO = """\
models:
  llama: {port: 8001, wake: x, sleep: y}
  "[red]qwen": {port: 8002, wake: x, sleep: y}
"""


FOUR = """\
models:
  a: {port: 1, wake: x, sleep: y, alive: {http: /health}}
  b: {port: 2, wake: x, sleep: y, alive: {tcp: true}}
  c: {port: 3, wake: x, sleep: y, alive: "curl -sf -H 'Authorization: Bearer s3cret' :3"}
  d: {port: 4, wake: x, sleep: y}
"""


def load(text: str) -> Loaded:
    return parse_config(text, "config.yaml")


def shown(loaded: Loaded) -> str:
    out = io.StringIO()
    told = notices(loaded.config, loaded.warnings, loaded.from_2_4)
    Console(file=out, highlight=False).print(banner(loaded.config, told), soft_wrap=True)
    return out.getvalue()


def test_a_tab_in_a_name_moves_no_column() -> None:
    said = shown(
        load('models: {"a\\tb": {port: 1, wake: x, sleep: y}, c: {port: 2, wake: x, sleep: y}}')
    )
    assert "  models  a\\tb  port 1" in said
    assert "          c     port 2" in said


def test_the_banner_says_where_the_api_is_and_what_is_behind_it() -> None:
    assert shown(load(TWO)).splitlines()[1:] == [
        "  API     http://127.0.0.1:3000/v1",
        "  policy  fifo",
        "  models  llama      port 8001, no alive: its port is asked",
        "          [red]qwen  port 8002, no alive: its port is asked",
        "  lifted  policy.request_timeout_secs is null: no bound",
    ]


def test_the_banner_says_how_each_model_is_asked_and_repeats_no_command() -> None:
    lines = shown(load(FOUR)).splitlines()
    assert [line[10:] for line in lines if ", " in line and "port" in line] == [
        "a  port 1, alive: http /health",
        "b  port 2, alive: tcp",
        "c  port 3, alive: shell",
        "d  port 4, no alive: its port is asked",
    ]


def test_everything_to_think_about_stands_in_the_banner_and_an_open_door_first() -> None:
    text = "colour: red\nhost: 0.0.0.0\nmodels: {a: {port: 1, wake: x, sleep: y, alive: z}}\n"
    lines = [line for line in shown(load(text)).splitlines() if line.startswith("  !")]
    assert "whoever reaches 0.0.0.0:3000 can use the models" in lines[0]
    assert "config.yaml:1:1: `colour` is not a key of the config" in lines[1]
    assert len(lines) == 2


def test_a_file_of_2_4_0_is_told_that_it_is_not_open_to_the_network_any_more() -> None:
    loaded = load("models: {a: {port: 1, wake: x, sleep: y, alive: z}}")
    told = notices(loaded.config, loaded.warnings, loaded.from_2_4)
    assert told[-1].text == "listens on 127.0.0.1 only; `host: 0.0.0.0` is llmux 2.4.0's way"


def test_an_open_door_is_loud_and_nothing_else_is() -> None:
    loaded = load("host: 192.0.2.1\ncolour: red\n" + TWO)
    told = notices(loaded.config, loaded.warnings, loaded.from_2_4)
    assert [notice.loud for notice in told] == [True, False]


def test_keys_close_the_open_door_and_without_tls_they_travel_in_the_clear() -> None:
    loaded = load("host: 192.0.2.1\nauth: {keys: [k]}\n" + TWO)
    [notice] = notices(loaded.config, loaded.warnings, loaded.from_2_4)
    assert notice.text.startswith("keys and answers travel in the clear")
    assert not notice.loud
    admin = load("host: 192.0.2.1\nauth: {admin_keys: [k]}\n" + TWO)
    assert notices(admin.config, admin.warnings, admin.from_2_4)[0].loud, "models are open"


def test_with_a_certificate_the_url_says_https() -> None:
    assert api_url(Config(tls=TlsConfig("c", "k"))) == "https://127.0.0.1:3000/v1"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3000/v1"),
        ("0.0.0.0", "http://127.0.0.1:3000/v1"),
        ("::", "http://[::1]:3000/v1"),
        ("fd00::5", "http://[fd00::5]:3000/v1"),
        ("box.lan", "http://box.lan:3000/v1"),
    ],
)
def test_the_url_can_be_pasted_into_a_client(host: str, url: str) -> None:
    assert api_url(Config(host=host)) == url


def test_loopback_is_known_by_address_and_by_name() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost."]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "box.lan"]))


def test_machines_are_told_the_same_in_fields() -> None:
    fields = started_fields(load(TWO).config, 3001)
    assert fields["url"] == "http://127.0.0.1:3001/v1"
    assert fields["models"] == "llama, [red]qwen"
    assert fields["lifted_bounds"] == "policy.request_timeout_secs"
