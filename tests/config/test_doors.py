"""`auth` and `tls`: what may stand there, and that no mistake leaves a door open or shows a key."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from textwrap import dedent, indent

import pytest

from llmux.config import Config, InvalidConfigError, KeyConfig, Kind, parse_config

MODELS = "models: {a: {port: 8001, wake: up, sleep: down, alive: ask}}\n"


def load(folder: Path, auth: str) -> Config:
    text = f"{MODELS}auth:\n{indent(dedent(auth), '  ')}"
    return parse_config(text, folder / "config.yaml").config


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        parse_config(MODELS + dedent(text), folder / "config.yaml")
    return [str(one).removeprefix(f"{folder}/config.yaml:") for one in caught.value.findings]


def test_each_way_to_give_a_key_is_read_with_what_it_carries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text is kept as its digest only, so nothing that shows the config can show it."""
    monkeypatch.setenv("A_KEY", "from the environment")
    (tmp_path / "key").write_text("from a file\n")
    digest = sha256(b"hashed").hexdigest()
    config = load(
        tmp_path,
        f"""\
        keys:
          - plain-text
          - {{env: A_KEY, name: alice, models: [a], priority: 2.5}}
          - {{file: key}}
        admin_keys: [{{sha256: {digest.upper()}}}, {{text: 12345, name: bob}}]
        """,
    )
    assert config.auth.keys == (
        KeyConfig("sha256", sha256(b"plain-text").hexdigest()),
        KeyConfig("env", "A_KEY", "alice", ("a",), 2.5),
        KeyConfig("file", "key"),
    )
    assert config.auth.admin_keys == (
        KeyConfig("sha256", digest),
        KeyConfig("sha256", sha256(b"12345").hexdigest(), "bob"),
    )
    assert config.auth.secret_variables() == {"A_KEY"}
    assert "plain-text" not in repr(config)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("{env: NOT_SET_AT_ALL}", "reads the variable NOT_SET_AT_ALL, and it is not set"),
        ("{env: EMPTY}", "reads the variable EMPTY, and what stands there is empty"),
        ("{file: nowhere}", "/nowhere: no such file or directory"),
        ("{file: .}", ": is a directory"),
        ("{file: blank}", "/blank, and what stands there is empty"),
        ("{file: two}", "/two, and what stands there has a line break or a control character"),
        ("{file: binary}", "/binary, and what stands there is not UTF-8"),
        ("{file: huge}", "/huge, and what stands there is longer than 4096 bytes"),
        ("{sha256: abc}", "has a `sha256` that is not 64 hexadecimal digits"),
        (f"{{sha256: {sha256().hexdigest()}}}", "has the `sha256` of an empty key"),
        ('""', "is empty"),
        ('"  "', "is empty"),
        ("null", "must be a text or a mapping"),
        ("[s3cret]", "must be a text or a mapping"),
        ("{}", "must have exactly one of"),
        ("{text: s3cret, env: PATH}", "must have exactly one of"),
        ("{text: [s3cret]}", "has a `text` that is not a single value"),
        ("{text: s3cret, nmae: x}", "has a key that is not known; did you mean `name`?"),
        ("{text: s3cret, name: ''}", "has a `name` that cannot be printed"),
        ("{text: s3cret, models: []}", "must name at least one model"),
        ("{text: s3cret, models: a}", "must name at least one model"),
        ("{text: s3cret, models: [b]}", "names a model that is not there, found `b`"),
        ("{text: s3cret, priority: 0}", "must have a `priority` above 0"),
        ("{text: s3cret, priority: .inf}", "must have a `priority` above 0"),
        ("{text: s3cret, priority: high}", "must have a `priority` above 0"),
        ("good", "is the same key as `auth.keys.0`"),
    ],
)
def test_a_key_that_cannot_be_used_ends_the_start_with_its_place_and_never_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, told: str
) -> None:
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "blank").write_text(" \n")
    (tmp_path / "two").write_text("s3cret\ns3cret\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "huge").write_text("s3cret" * 1000)
    [finding] = mistakes(tmp_path, f"auth:\n  keys:\n    - good\n    - {key}\n")
    assert finding.startswith("5:")
    assert "`auth.keys.1` " in finding
    assert told in finding
    assert "s3cret" not in finding


@pytest.mark.parametrize(
    "text",
    [
        "auth: s3cret\n",
        "auth: {keys: s3cret}\n",
        "auth: {keys: {s3cret: 1}}\n",
        "auth: {key: [s3cret]}\n",
        "auth: {keys: [s3cret], admin: []}\n",
        "auht: {keys: [s3cret]}\n",
        "keys: [s3cret]\n",
        "tls: {crt: x}\n",
        "tsl: {cert: x}\n",
    ],
)
def test_what_was_meant_to_protect_never_runs_open(tmp_path: Path, text: str) -> None:
    """Elsewhere an unknown key is a warning; here it would be a hole."""
    told = mistakes(tmp_path, text)
    assert told
    assert "s3cret" not in "".join(told)


def test_an_unknown_key_that_means_something_else_is_still_a_warning(tmp_path: Path) -> None:
    [finding] = parse_config(f"{MODELS}surprise: 1\n", tmp_path / "config.yaml").warnings
    assert finding.kind is Kind.UNKNOWN_KEY


@pytest.mark.parametrize(
    "origin", ["'*'", "null", "chat.example.org", "https://x/", "https://x?y", "http://u@x", "''"]
)
def test_only_an_origin_may_stand_among_the_allowed_ones(tmp_path: Path, origin: str) -> None:
    [told] = mistakes(tmp_path, f"auth: {{allowed_origins: ['http://ok:1', {origin}]}}\n")
    assert "`auth.allowed_origins` must name pages by their origins" in told


def test_hooks_are_not_promised_what_is_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "k")
    [told] = mistakes(tmp_path, "auth: {keys: [{env: A_KEY}]}\nhooks: {env: [PATH, A_KEY]}\n")
    assert "`hooks.env` gives hooks what `auth` reads as a secret, found `A_KEY`" in told


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        ("{cert: c}", "`tls` has no `key`"),
        ("{key: k}", "`tls` has no `cert`"),
        ("{cert: c, key: null}", "`tls` has no `key`"),
        ("{cert: nowhere, key: k}", "`tls.cert` reads"),
        ("{cert: junk, key: k}", "and there is no such thing in it as PEM"),
        ("{cert: false_pem, key: false_pem}", "`tls.cert` and `tls.key` cannot be used"),
    ],
)
def test_a_certificate_that_cannot_be_used_ends_the_start(
    tmp_path: Path, tls: str, told: str
) -> None:
    (tmp_path / "junk").write_text("junk")
    (tmp_path / "false_pem").write_text(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    )
    [finding] = mistakes(tmp_path, f"tls: {tls}\n")
    assert told in finding
