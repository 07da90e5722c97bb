"""What a good config says: 2.4.0's files read as 2.4.0 read them, defaults, overrides, scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmux.config import (
    Config,
    ConfigError,
    HttpProbe,
    InvalidConfigError,
    Loaded,
    TcpProbe,
    load_config,
    parse_config,
    script_findings,
)

OLD = """\
models:
  llama:
    port: 8001
    wake: ./scripts/wake-llama.sh
    sleep: |
      kill $(cat llama.pid)
      rm llama.pid
    alive: curl -sf http://localhost:8001/health
policy:
  request_timeout_secs: 60
port: 4000
"""


def config(text: str, name: str = "config.yaml") -> Config:
    return parse_config(dedent(text), name).config


def test_a_file_of_2_4_0_is_read_as_it_was() -> None:
    loaded = parse_config(OLD, "config.yaml")
    assert loaded.from_2_4
    assert loaded.warnings == ()
    assert loaded.config.port == 4000
    llama = loaded.config.for_model("llama")
    assert llama.sleep == "kill $(cat llama.pid)\nrm llama.pid\n"
    assert llama.alive == "curl -sf http://localhost:8001/health"
    assert llama.request_timeout == 60.0
    assert llama.drain_before_switch is True


@pytest.mark.parametrize(
    "more",
    [
        "host: 0.0.0.0",
        "state: off",
        "health: {}",
        "bounds: {}",
        "log: {level: debug}",
        "hooks: {cwd: process}",
    ],
)
def test_a_file_that_uses_anything_new_is_not_taken_for_one_of_2_4_0(more: str) -> None:
    assert not parse_config(OLD + more, "config.yaml").from_2_4


def test_a_file_without_alive_is_not_one_of_2_4_0() -> None:
    text = "models: {a: {port: 1, wake: x, sleep: y}}"
    assert not parse_config(text, "config.yaml").from_2_4


def test_a_minimal_file_gets_the_defaults_of_the_reference() -> None:
    minimal = config("models: {a: {port: 8001, wake: up, sleep: down}}")
    assert (minimal.host, minimal.port) == ("127.0.0.1", 3000)
    model = minimal.for_model("a")
    assert (model.wake_timeout, model.sleep_timeout, model.drain_timeout) == (1800, 120, 600)
    assert (model.request_timeout, model.min_active, model.alive) == (None, 0, None)
    assert minimal.policy.name == "fifo"
    assert minimal.bounds.max_body_bytes == 100_000_000
    assert minimal.hooks.cwd == "config"
    assert minimal.lifted_bounds() == ["policy.request_timeout_secs"]


@pytest.mark.parametrize("name", ["123", "off", "7b", "null", "1e3", "~", "facebook/opt-125m", "é"])
def test_a_model_keeps_the_name_that_was_written(name: str) -> None:
    text = f"models: {{{name}: {{port: 1, wake: x, sleep: y}}}}"
    assert list(config(text).models) == [name]


def test_a_tab_is_a_part_of_a_name_as_a_space_is() -> None:
    """2.4.0 took any text; what a terminal would obey is refused, and this is not."""
    text = 'models: {"a\\tb c": {port: 1, wake: x, sleep: y}}'
    assert list(config(text).models) == ["a\tb c"]


@pytest.mark.parametrize("wake", ["true", "123", "null", "~", "0x10", "yes", "2001-01-01"])
def test_a_hook_is_the_text_that_was_written(wake: str) -> None:
    text = f"models: {{a: {{port: 1, wake: {wake}, sleep: y}}}}"
    assert config(text).models["a"].wake == wake


@pytest.mark.parametrize(
    ("written", "read"),
    [("8001", 8001), ("+80", 80), ("0x1F", 31), ("0o17", 15), ("0b11", 3), ('!!int "80"', 80)],
)
def test_ports_are_written_as_2_4_0_took_them(written: str, read: int) -> None:
    assert config(f"models: {{a: {{port: {written}, wake: x, sleep: y}}}}").models["a"].port == read


@pytest.mark.parametrize(
    ("written", "read"), [("5", 5.0), ("2.5", 2.5), (".5", 0.5), ("1e3", 1000.0), ("null", None)]
)
def test_durations_take_whole_and_broken_seconds_and_null(written: str, read: float | None) -> None:
    text = (
        f"bounds: {{wake_timeout_secs: {written}}}\nmodels: {{a: {{port: 1, wake: x, sleep: y}}}}"
    )
    assert config(text).for_model("a").wake_timeout == read


def test_a_models_own_key_beats_the_one_above_it() -> None:
    both = config(
        """\
        models:
          a: {port: 1, wake: x, sleep: y, wake_timeout_secs: 5, request_timeout_secs: null,
              min_active_secs: 2, drain_before_switch: false, sleep_timeout_secs: null}
          b: {port: 2, wake: x, sleep: y}
        policy: {request_timeout_secs: 30, min_active_secs: 9}
        bounds: {wake_timeout_secs: 50, drain_timeout_secs: null}
        """
    )
    a, b = both.for_model("a"), both.for_model("b")
    assert (a.wake_timeout, a.sleep_timeout, a.request_timeout) == (5, None, None)
    assert (a.min_active, a.drain_before_switch) == (2, False)
    assert (b.wake_timeout, b.sleep_timeout, b.request_timeout) == (50, 120, 30)
    assert (b.min_active, b.drain_before_switch) == (9, True)
    assert both.lifted_bounds() == [
        "bounds.drain_timeout_secs",
        "models.a.sleep_timeout_secs",
        "models.a.request_timeout_secs",
    ]


def test_the_lifecycle_of_a_minimal_file_is_that_of_the_reference() -> None:
    minimal = config("models: {a: {port: 8001, wake: up, sleep: down}}")
    model = minimal.for_model("a")
    assert (model.kill, model.kill_timeout, model.alive_timeout) == (None, 30, 5)
    assert (model.max_queue, model.max_in_flight, model.max_wait) == (1024, None, None)
    health = minimal.health
    assert (health.interval_secs, health.failures, health.rescue) == (10, 3, True)
    assert (health.breaker_min_secs, health.breaker_max_secs) == (2, 60)
    assert (health.on_sleep_failure, health.on_drain_timeout) == ("stop", "cut")
    assert (health.on_shutdown, minimal.state) == ("keep", "auto")


def test_what_the_lifecycle_allows_a_model_beats_what_it_allows_all() -> None:
    both = config(
        """\
        models:
          a: {port: 1, wake: x, sleep: y, kill: pkill a, kill_timeout_secs: 3, max_in_flight: 4,
              alive_timeout_secs: 0.5, max_queue: 10, max_wait_secs: 20}
          b: {port: 2, wake: x, sleep: y, kill: null, max_in_flight: null}
        policy: {max_wait_secs: 60}
        bounds: {kill_timeout_secs: 9, alive_timeout_secs: 8, max_queue: 7}
        """
    )
    a, b = both.for_model("a"), both.for_model("b")
    assert (a.kill, a.kill_timeout, a.alive_timeout) == ("pkill a", 3, 0.5)
    assert (a.max_queue, a.max_in_flight, a.max_wait) == (10, 4, 20)
    assert (b.kill, b.kill_timeout, b.alive_timeout) == (None, 9, 8)
    assert (b.max_queue, b.max_in_flight, b.max_wait) == (7, None, 60)


def test_a_limit_that_nobody_asked_for_is_not_a_lifted_bound() -> None:
    wished = config(
        """\
        models:
          a: {port: 1, wake: x, sleep: y, max_in_flight: null, max_queue: null}
          b: {port: 2, wake: x, sleep: y, max_wait_secs: null}
        policy: {request_timeout_secs: 9}
        bounds: {kill_timeout_secs: null}
        """
    )
    assert wished.lifted_bounds() == ["bounds.kill_timeout_secs", "models.a.max_queue"]


def test_a_model_that_takes_back_the_bound_on_waiting_lifts_it() -> None:
    text = "models: {a: {port: 1, wake: x, sleep: y, max_wait_secs: null}}\n"
    taken_back = config(text + "policy: {request_timeout_secs: 9, max_wait_secs: 60}")
    assert taken_back.for_model("a").max_wait is None
    assert taken_back.lifted_bounds() == ["models.a.max_wait_secs"]


@pytest.mark.parametrize("state", ["auto", "off", "./run/state.json", "/var/lib/llmux/s", "./no"])
def test_the_state_file_is_kept_as_it_was_written(state: str) -> None:
    model = {"a": {"port": 1, "wake": "x", "sleep": "y"}}
    assert config(f"state: {state}\nmodels: {json.dumps(model)}").state == state
    assert config(json.dumps({"state": state, "models": model}), "c.json").state == state


def test_alive_is_a_shell_line_or_a_probe() -> None:
    models = config(
        """\
        models:
          a: {port: 1, wake: x, sleep: y, alive: {http: /health}}
          b: {port: 2, wake: x, sleep: y, alive: {tcp: true}}
          c: {port: 3, wake: x, sleep: y, alive: true}
          d: {port: 4, wake: x, sleep: y, alive: null}
        """
    ).models
    assert models["a"].alive == HttpProbe("/health")
    assert models["b"].alive == TcpProbe()
    assert models["c"].alive == "true"
    assert models["d"].alive is None


def test_anchors_and_merge_keys_save_typing_and_keep_what_is_said_below() -> None:
    models = config(
        """\
        models:
          a: &base {port: 1, wake: up, sleep: down}
          b: {<<: *base, port: 2}
          c: {port: 3, <<: [*base, {alive: ask}]}
        """
    ).models
    assert [(m.port, m.wake) for m in models.values()] == [(1, "up"), (2, "up"), (3, "up")]
    assert models["c"].alive == "ask"


def test_options_reach_the_policy_as_plain_values() -> None:
    text = "policy: {options: {a: 1, b: -2, c: 2.5, d: true, e: yes, f: [null, '5'], g: {h: -.5}}}"
    options = config(text + "\nmodels: {a: {port: 1, wake: x, sleep: y}}").policy.options
    assert options == {
        "a": 1,
        "b": -2,
        "c": 2.5,
        "d": True,
        "e": "yes",
        "f": [None, "5"],
        "g": {"h": -0.5},
    }


def test_the_environment_of_hooks_can_be_a_list_of_names() -> None:
    text = "hooks: {env: [PATH, HOME]}\nmodels: {a: {port: 1, wake: x, sleep: y}}"
    assert config(text).hooks.env == ("PATH", "HOME")


def test_the_command_line_rules_over_the_file() -> None:
    ruled = parse_config(OLD, "config.yaml", host="::1", port=5000).config
    assert (ruled.host, ruled.port) == ("::1", 5000)


def test_any_other_extension_is_json_and_json_says_the_same(tmp_path: Path) -> None:
    data = {
        "port": 4000,
        "models": {"m/é": {"port": 1, "wake": "w\t\n", "sleep": "s", "alive": {"tcp": True}}},
        "bounds": {"max_body_bytes": None},
    }
    (tmp_path / "c.conf").write_text(json.dumps(data))
    (tmp_path / "c.yml").write_text(json.dumps(data, ensure_ascii=False))
    as_json = load_config(tmp_path / "c.conf").config
    as_yaml = load_config(tmp_path / "c.yml").config
    assert as_json.models == as_yaml.models
    assert as_json.bounds == as_yaml.bounds
    assert as_json.models["m/é"].wake == "w\t\n"


def test_json_does_not_read_a_bool_as_text() -> None:
    with pytest.raises(ConfigError, match="must be a text, in double quotes"):
        parse_config('{"models": {"a": {"port": 1, "wake": true, "sleep": "y"}}}', "c.json")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**14), 10**18) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), _JSON, max_size=4), st.sampled_from([None, 0, 3]))
def test_any_json_value_comes_through_as_json_loads_has_it(
    options: Mapping[str, object], indent: int | None
) -> None:
    models = {"a": {"port": 1, "wake": "x", "sleep": "y"}}
    text = json.dumps({"models": models, "policy": {"options": options}}, indent=indent)
    assert config(text, "c.json").policy.options == options


@given(
    st.text() | st.binary().map(lambda b: b.decode("latin-1")), st.sampled_from(["yaml", "json"])
)
def test_no_text_does_worse_than_a_config_error(text: str, extension: str) -> None:
    try:
        loaded = parse_config(text, f"c.{extension}")
    except ConfigError as error:
        assert str(error)
    else:
        assert loaded.config.models


@given(st.data())
def test_a_broken_config_does_no_worse_than_a_config_error(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([OLD, json.dumps({"models": {"a": {"port": 1}}})]))
    at = data.draw(st.integers(0, len(text)))
    junk = data.draw(st.text(alphabet="{}[]:,&*!|>%@`\"'#\t\n -?~\\x0", max_size=4))
    for extension in ("yaml", "json"):
        try:
            parse_config(text[:at] + junk + text[at + 1 :], f"c.{extension}")
        except ConfigError as error:
            assert str(error)


def _scripts(tmp_path: Path, cwd: str, where: str) -> tuple[Loaded, Path]:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "c.yaml").write_text(
        f"hooks: {{cwd: {cwd}}}\nmodels: {{a: {{port: 1, wake: ./up.sh now, sleep: echo ./up.sh}}}}"
    )
    (tmp_path / where / "up.sh").touch(0o755)
    return load_config(home / "c.yaml"), elsewhere


@pytest.mark.parametrize(
    ("cwd", "where", "way"),
    [("config", "elsewhere", "process"), ("process", "home", "config")],
)
def test_a_script_that_stands_only_in_the_other_place_is_warned_of(
    tmp_path: Path, cwd: str, where: str, way: str
) -> None:
    loaded, process_dir = _scripts(tmp_path, cwd, where)
    (finding,) = script_findings(loaded, process_dir)
    assert finding.line == 2
    assert finding.excerpt == "./up.sh"
    assert finding.hint.endswith(f"`hooks: {{cwd: {way}}}` runs it there")


def test_a_kill_script_is_looked_for_as_the_other_hooks_are(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (elsewhere / "end.sh").touch()
    (home / "c.yaml").write_text("models: {a: {port: 1, wake: x, sleep: y, kill: ./end.sh}}")
    (finding,) = script_findings(load_config(home / "c.yaml"), elsewhere)
    assert finding.message.startswith("`models.a.kill` runs in ")


def test_thousands_of_mistakes_are_told_by_the_first_ones(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("x: 1\n" * 3000)
    with pytest.raises(InvalidConfigError) as error:
        load_config(tmp_path / "c.yaml")
    twice = [one for one in error.value.findings if "twice" in one.message]
    assert len(twice) == 499
    assert "the first 500 are told" in error.value.findings[-1].message


def test_a_script_with_a_name_that_no_file_can_have_stands_nowhere(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"models: {{a: {{port: 1, wake: ./{'x' * 300}, sleep: y}}}}")
    (finding,) = script_findings(load_config(tmp_path / "c.yaml"), tmp_path)
    assert finding.message.endswith("the script is not there")


def test_a_script_in_the_right_place_is_not_warned_of(tmp_path: Path) -> None:
    loaded, process_dir = _scripts(tmp_path, "config", "home")
    assert script_findings(loaded, process_dir) == []


def test_a_script_that_is_nowhere_or_no_program_is_warned_of(tmp_path: Path) -> None:
    """A `chmod +x` that was forgotten costs a newcomer an hour otherwise."""
    loaded, process_dir = _scripts(tmp_path, "config", "home")
    script = tmp_path / "home" / "up.sh"
    script.chmod(0o644)
    (finding,) = script_findings(loaded, process_dir)
    assert (finding.line, finding.hint) == (2, "`chmod +x` lets it")
    script.unlink()
    (finding,) = script_findings(loaded, process_dir)
    assert finding.message.endswith("and the script is not there")


@pytest.mark.parametrize("name", ["config.yaml", "config.json"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_no_mistakes(
    tmp_path: Path, name: str
) -> None:
    text = '{"models":\r\n {"a": {"port": 8001, "wake": "w", "sleep": "s"}}}\r\n'
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert list(load_config(tmp_path / name).config.models) == ["a"]
