"""Mistakes in a config: all at once, each with its place, what was there, and what would do."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from llmux.config import ConfigError, InvalidConfigError, Kind, load_config, parse_config

GOOD = "models: {a: {port: 8001, wake: up, sleep: down, alive: ask}}\n"


def mistakes(text: str, name: str = "config.yaml") -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        parse_config(dedent(text), name)
    return [str(finding) for finding in caught.value.findings]


def warnings(text: str, name: str = "config.yaml") -> list[str]:
    return [str(finding) for finding in parse_config(dedent(text), name).warnings]


def test_every_mistake_of_a_file_is_told_in_its_order() -> None:
    told = mistakes(
        """\
        port: 70000
        models:
          a:
            port: eighty
            wake: ""
          b: {port: 8002, wake: x, sleep: y, wake_timeout_secs: -1}
        policy: {drain_before_switch: yes}
        log: {format: jsno}
        """
    )
    assert told == [
        "config.yaml:1:7: `port` must be a whole number from 1 to 65535, found `70000`",
        "config.yaml:3:3: `models.a` has no `sleep`; add `sleep:` below it",
        "config.yaml:4:11: `models.a.port` must be a whole number from 1 to 65535, found `eighty`",
        "config.yaml:5:11: `models.a.wake` must not be empty",
        "config.yaml:6:57: `models.b.wake_timeout_secs` must not be negative, found `-1`; "
        "null lifts the bound",
        "config.yaml:7:31: `policy.drain_before_switch` must be true or false, found `yes`; "
        "did you mean `true`?",
        "config.yaml:8:15: `log.format` must be console or json, found `jsno`; "
        "did you mean `json`?",
    ]


def test_the_error_reads_as_all_its_findings() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config("port: 0\n", "c.yaml")
    assert str(caught.value) == (
        "c.yaml:1:1: there are no models; add `models:` with at least one\n"
        "c.yaml:1:7: `port` must be a whole number from 1 to 65535, found `0`"
    )


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("policy: {request_timeout_sec: 3}", "did you mean `request_timeout_secs`?"),
        ("policy: {request_timeout: 3}", "did you mean `request_timeout_secs`?"),
        ("polcy: {}", "did you mean `policy`?"),
        ("max_body_bytes: 3", "`max_body_bytes` belongs under `bounds`"),
        (
            "bounds: {min_active_secs: 3}",
            "`min_active_secs` belongs under a model or under `policy`",
        ),
        ("wake: x", "`wake` belongs under a model"),
        ("log: {host: x}", "`host` belongs at the top level"),
        ("max_body_byte: 3", "did you mean `max_body_bytes` under `bounds`?"),
        ("log: {colour: x}", "the keys here are format, level"),
    ],
)
def test_an_unknown_key_is_a_warning_that_says_what_was_meant(line: str, hint: str) -> None:
    (finding,) = parse_config(GOOD + line, "config.yaml").warnings
    assert finding.kind is Kind.UNKNOWN_KEY
    assert finding.line == 2
    assert finding.hint.startswith(hint)


def test_a_key_of_a_later_issue_is_unknown_and_no_other_key_is_guessed_for_it() -> None:
    (told,) = warnings(GOOD + "default_model: {name: x}")
    assert "did you mean" not in told


def test_a_bound_under_a_model_that_cannot_have_it_is_sent_to_its_home() -> None:
    (told,) = warnings("models: {a: {port: 1, wake: x, sleep: y, max_connections: 3, alive: z}}")
    assert told.endswith(
        "`max_connections` is not a key of `models.a`; `max_connections` belongs under `bounds`"
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("models:\n  a: {port: 1, wake: x, sleep: y}\n  a: {port: 2, wake: x, sleep: y}", "c.yaml"),
        (
            '{"models":\n{"a": {"port": 1, "wake": "x", "sleep": "y"},\n'
            ' "\\u0061": {"port": 2, "wake": "x", "sleep": "y"}}}',
            "c.json",
        ),
    ],
)
def test_a_model_that_stands_twice_is_an_error_that_names_both_lines(text: str, name: str) -> None:
    (told,) = mistakes(text, name)
    assert "this key stands twice, first in line 2, found `a`" in told
    assert told.startswith(f"{name}:3:")


def test_a_port_that_is_the_gateways_own_is_a_loop() -> None:
    (told,) = mistakes("port: 8001\n" + GOOD)
    assert told.startswith("config.yaml:2:20: `models.a.port` is the gateway's own (port)")


def test_a_loop_made_on_the_command_line_is_found_too() -> None:
    with pytest.raises(ConfigError, match="gateway's own \\(--port\\)"):
        parse_config(GOOD, "config.yaml", port=8001)


def test_two_models_on_one_port_are_allowed_with_a_word() -> None:
    (told,) = warnings("models: {a: {port: 1, wake: x, sleep: y}, b: {port: 1, wake: x, sleep: y}}")
    assert "`models.b.port` is that of `a` too" in told


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("", "c.yaml", "c.yaml: the file is empty; it needs at least `models`"),
        ("# nothing\n", "c.yaml", "c.yaml: the file is empty"),
        (" \n", "c.json", "c.json: the file is empty"),
        ("- a\n- b", "c.yaml", "c.yaml:1:1: a config must be a mapping, found `[a, b]`"),
        ("[1]", "c.json", "c.json:1:1: a config must be a mapping, found `[1]`"),
        ("models", "c.yaml", "c.yaml:1:1: a config must be a mapping, found `models`"),
        ("models:", "c.yaml", "c.yaml:1:1: there are no models"),
        ("models: {}", "c.yaml", "c.yaml:1:1: there are no models"),
        ("models: [a]", "c.yaml", "c.yaml:1:9: `models` must be a mapping of names to models"),
        ("models: {a: 8001}", "c.yaml", "c.yaml:1:13: `models.a` must be a mapping, found `8001`"),
        ("a: [1", "c.yaml", "c.yaml:2:1: this is not YAML"),
        ("a:\n\tb: 1", "c.yaml", "c.yaml:2:1: this is not YAML"),
        ("a: \x01", "c.yaml", "c.yaml:1:4: this character may not stand in YAML, found `U+0001`"),
        (GOOD + "---\nx: 1", "c.yaml", "c.yaml:2:1: a second document begins here, found `---`"),
        ("a: &x [*x]", "c.yaml", "c.yaml:1:8: this alias stands inside what it repeats"),
        ("a: *x", "c.yaml", "c.yaml:1:4: this alias has no anchor above it, found `*x`"),
        ("a: " + "[" * 99, "c.yaml", "this is nested more than 50 levels deep"),
        ("[" * 99999, "c.json", "this is nested more than 50 levels deep"),
        ('{"a": 1,}', "c.json", "c.json:1:9: a key should stand here, found `}`"),
        ('{"a": nope}', "c.json", "c.json:1:7: a value should stand here, found `nope`"),
        ('{"a": NaN}', "c.json", "c.json:1:7: a value should stand here, found `NaN`"),
        ('{"a": 01}', "c.json", "c.json:1:8: `,` or `}` should stand here, found `1`"),
        ('{"a" 1}', "c.json", "c.json:1:6: `:` should stand here, found `1`"),
        ('{"a": 1', "c.json", "found `the end of the file`"),
        ('{"a": 1} 2', "c.json", "c.json:1:10: the file should end here, found `2`"),
        ('{\n "a": "x\ty"}', "c.json", "c.json:2:9: this text is not JSON (invalid control char"),
    ],
)
def test_a_file_that_is_no_config_gets_one_clear_line(text: str, name: str, told: str) -> None:
    (line,) = mistakes(text, name)
    assert told in line


def test_a_tag_that_could_mean_code_is_refused() -> None:
    (told,) = mistakes(GOOD + "policy: {options: {x: !!python/object/apply:os.system [id]}}")
    assert "tags are not obeyed here, found `!!python/object/apply:os.system`" in told


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ('"a\\u0007b"', "a control character, found `a\\x07b`"),
        ('"\\u001b[2J"', "a control character, found `\\x1b[2J`"),
        ('"a\\u009bm"', "a control character, found `a\\x9bm`"),
        ('"a\\ud800"', "half of a surrogate pair, found `a\\ud800`"),
        ('" "', "a model needs a name"),
    ],
)
def test_a_model_name_that_cannot_be_told_is_refused(name: str, why: str) -> None:
    told = mistakes('{"models": {' + name + ': {"port": 1, "wake": "x", "sleep": "y"}}}', "c.json")
    assert why in told[0]
    assert told[0].isprintable()


@pytest.mark.parametrize(
    "alive",
    ["{http: health}", "{http: /a b}", "{tcp: false}", "{tcp: true, http: /}", "{udp: 1}", "[x]"],
)
def test_alive_has_three_forms_and_no_other(alive: str) -> None:
    (told,) = mistakes(f"models: {{a: {{port: 1, wake: x, sleep: y, alive: {alive}}}}}")
    assert "`models.a.alive` must" in told


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("bounds: {wake_timeout_secs: .inf}", "must be a number of seconds, found `.inf`"),
        ("bounds: {wake_timeout_secs: true}", "must be a number of seconds, found `true`"),
        ("bounds: {wake_timeout_secs: '5'}", "found `5`; write it without quotes"),
        ("bounds: {wake_timeout_secs: 007}", "must be a number of seconds, found `007`"),
        ("bounds: {wake_timeout_secs: 1_000}", "must be a number of seconds, found `1_000`"),
        ("bounds: {wake_timeout_secs: 1e300}", "must be below 2^64 seconds"),
        (f"bounds: {{wake_timeout_secs: {'9' * 5000}}}", "must be below 2^64"),
        ("bounds: {max_body_bytes: 1.5}", "must be a whole number, found `1.5`"),
        ("bounds: {max_connections: 0}", "must be at least 1, found `0`"),
        ("bounds: {shutdown_grace_secs: null}", "cannot be null"),
        ("policy: {min_active_secs: ~}", "cannot be null"),
        ("policy: {options: [1]}", "`policy.options` must be a mapping, found `[1]`"),
        ("policy: [fifo]", "`policy` must be a mapping, found `[fifo]`"),
        ("policy: {name: fiffo}", "there is no such policy, found `fiffo`; did you mean `fifo`?"),
        ("policy: {max_wait_secs: -1}", "must not be negative, found `-1`"),
        ("bounds: {max_queue: 0}", "must be at least 1, found `0`; null lifts the bound"),
        ("health: {interval_secs: 0}", "`health.interval_secs` must be above 0, found `0`"),
        ("health: {interval_secs: null}", "must be a number of seconds and cannot be null"),
        ("health: {failures: 0}", "`health.failures` must be at least 1, found `0`"),
        ("health: {failures: null}", "must be a whole number and cannot be null"),
        ("health: {breaker_min_secs: 0}", "`health.breaker_min_secs` must be above 0"),
        ("health: {rescue: no}", "must be true or false, found `no`; did you mean `false`?"),
        ("health: {on_sleep_failure: go}", "must be stop or continue, found `go`"),
        ("health: {on_drain_timeout: cutt}", "found `cutt`; did you mean `cut`?"),
        ("health: {on_shutdown: null}", "must be a text and cannot be null"),
        ("state: no", "`state` must be auto, off or a path, found `no`; did you mean `off`?"),
        ("state: true", "must be auto, off or a path, found `true`; did you mean `auto`?"),
        ("state: null", "must be auto, off or a path and cannot be null"),
        ("state: ''", "`state` must not be empty"),
        ("state: [x]", "`state` must be auto, off or a path, found `[x]`"),
        ("host: null", "`host` must be a text and cannot be null"),
        ("host: ' x'", "`host` must be printable, with no space around it"),
        ("hooks: {cwd: here}", "`hooks.cwd` must be config or process, found `here`"),
        ("hooks: {env: [A, B=1]}", "must be `inherit` or a list of names of variables"),
        ("hooks: {env: all}", "must be `inherit` or a list of names of variables, found `all`"),
    ],
)
def test_a_value_of_the_wrong_kind_says_which_is_right(line: str, what: str) -> None:
    (told,) = mistakes(GOOD + line)
    assert what in told


@pytest.mark.parametrize(
    ("keys", "place", "found"),
    [
        ("breaker_max_secs: 1", "2:28", "1 < 2"),
        ("breaker_min_secs: 90", "2:28", "60 < 90"),
        ("breaker_min_secs: 5, breaker_max_secs: 4.5", "2:49", "4.5 < 5"),
    ],
)
def test_a_breaker_that_would_end_before_it_begins_is_a_mistake(
    keys: str, place: str, found: str
) -> None:
    (told,) = mistakes(f"{GOOD}health: {{{keys}}}")
    assert told == (
        f"config.yaml:{place}: `health.breaker_max_secs` must not be below "
        f"`health.breaker_min_secs`, found `{found}`; make one fit the other"
    )


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("kill: ''", "`models.a.kill` must not be empty"),
        ("kill: [x]", "`models.a.kill` must be a text"),
        ("max_in_flight: 0", "`models.a.max_in_flight` must be at least 1, found `0`"),
        ("max_in_flight: 1.5", "`models.a.max_in_flight` must be a whole number"),
        ("max_wait_secs: soon", "`models.a.max_wait_secs` must be a number of seconds"),
        ("alive_timeout_secs: '5'", "found `5`; write it without quotes"),
    ],
)
def test_a_wrong_value_of_a_model_is_named_with_the_model(key: str, what: str) -> None:
    (told,) = mistakes(f"models: {{a: {{port: 1, wake: x, sleep: y, {key}}}}}")
    assert what in told


@pytest.mark.parametrize("line", ["state: false", "state: 0"])
def test_json_has_no_other_word_for_a_state_that_is_off(line: str) -> None:
    key, value = line.split(": ")
    told = mistakes(f'{{"{key}": {value}, "models": {json.dumps(MODELS)}}}', "c.json")
    assert told == [
        f"c.json:1:11: `state` must be auto, off or a path, found `{value}`; did you mean `off`?"
    ]


def test_a_key_that_is_not_obeyed_yet_is_not_taken_in_silence() -> None:
    (finding,) = parse_config(GOOD + "default_model: a", "config.yaml").warnings
    assert finding.kind is Kind.UNKNOWN_KEY


def test_a_billion_laughs_are_not_laughed() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    told = mistakes(GOOD + "\n".join(lines) + "\npolicy: {options: {all: *a11}}")
    assert any("`policy.options` must be below 10000 values" in line for line in told)


def test_a_long_or_wild_text_is_cut_to_a_printable_line() -> None:
    (told,) = mistakes(GOOD + 'port: "\\e[2J' + "x" * 500 + '"')
    assert told.isprintable()
    assert len(told) < 200


def test_missing_directory_and_undecodable_files_are_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"# ok\nmodels: {\xe9: 1}")
    for name, why in [
        ("none.yaml", "there is no such file; name another with -c"),
        (".", "this is a directory"),
        ("latin.yaml", ":2:10: the file is not UTF-8, found `byte 0xE9`; save it as UTF-8"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path / name)
        assert why in str(caught.value)
        assert str(tmp_path) in str(caught.value)


def test_a_byte_order_mark_is_not_a_mistake(tmp_path: Path) -> None:
    for name, text in [("c.yaml", GOOD), ("c.json", json.dumps({"models": MODELS}))]:
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert list(load_config(tmp_path / name).config.models) == ["a"]


MODELS = {"a": {"port": 8001, "wake": "up", "sleep": "down", "alive": "ask"}}
