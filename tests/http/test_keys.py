"""The keyring: whose a key is, and that a key in a file can be replaced while it is in use."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from llmux.config import AuthConfig, ConfigError, parse_config
from llmux.http.keys import Keyring, make_keyring

MODELS = "models: {a: {port: 8001, wake: up, sleep: down, alive: ask}}\n"


def auth(folder: Path, text: str) -> AuthConfig:
    return parse_config(f"{MODELS}auth: {text}\n", folder / "config.yaml").config.auth


def ring(folder: Path, text: str) -> Keyring:
    return make_keyring(auth(folder, text), folder)


def name(keyring: Keyring, *keys: str) -> str | None:
    caller = keyring.find([key.encode() for key in keys])
    return None if caller is None else caller.name


def test_a_key_names_its_caller_and_what_it_may(tmp_path: Path) -> None:
    keyring = ring(
        tmp_path,
        "{keys: [{text: one, name: alice, models: [a], priority: 3}, {text: zwei-ü, name: bob}],"
        " admin_keys: [{text: three, name: root}]}",
    )
    alice = keyring.find([b"one"])
    assert alice is not None
    assert (alice.name, alice.priority, alice.admin) == ("alice", 3.0, False)
    assert alice.may_use("a")
    assert not alice.may_use("b")
    assert name(keyring, "zwei-ü") == "bob"
    assert name(keyring, "three") == "root"
    assert name(keyring, "wrong", "one") == "alice"
    assert name(keyring, "one", "three") == "root", "the one that opens more counts"
    for wrong in ("", "on", "one ", "ONE", "oneone", "zwei-u"):
        assert name(keyring, wrong) is None


def test_a_ring_knows_which_kinds_of_keys_it_has(tmp_path: Path) -> None:
    assert not ring(tmp_path, "{}").api
    assert (ring(tmp_path, "{keys: [x]}").api, ring(tmp_path, "{keys: [x]}").admin) == (True, False)
    only_admin = ring(tmp_path, "{admin_keys: [x]}")
    assert (only_admin.api, only_admin.admin) == (False, True)


def test_a_replaced_key_file_is_noticed_and_the_old_key_ends(tmp_path: Path) -> None:
    """Replaced in one step, as secrets are mounted, and written in place; once a second at most."""
    file = tmp_path / "key"
    file.write_text("old")
    keyring = ring(tmp_path, "{keys: [{file: key, name: alice}]}")
    assert not keyring.look(100.0)
    (tmp_path / "new").write_text("new\n")
    (tmp_path / "new").replace(file)
    assert not keyring.look(100.9)
    assert name(keyring, "old") == "alice"
    assert keyring.look(101.0)
    assert (name(keyring, "old"), name(keyring, "new")) == (None, "alice")
    file.write_text("neu")
    assert keyring.look(102.0), "the same length, perhaps in the same tick of the file's clock"
    assert name(keyring, "neu") == "alice"
    assert not keyring.look(103.0)


def test_a_file_that_changed_twice_in_one_tick_of_its_clock_is_read_again(tmp_path: Path) -> None:
    """Its length and time are those of the first change, and that was a moment ago."""
    file = tmp_path / "key"
    file.write_text("old")
    keyring = ring(tmp_path, "{keys: [{file: key, name: alice}]}")
    assert not keyring.look(1.0)
    then = file.stat().st_mtime_ns
    file.write_text("new")
    os.utime(file, ns=(then, then))
    assert keyring.look(2.0)
    assert name(keyring, "new") == "alice"


def test_one_look_is_at_all_files(tmp_path: Path) -> None:
    for file in ("a", "b"):
        (tmp_path / file).write_text(f"old-{file}")
    keyring = ring(tmp_path, "{keys: [{file: a, name: alice}, {file: b, name: bob}]}")
    for file in ("a", "b"):
        (tmp_path / file).write_text(f"new-{file}")
    assert keyring.look(1.0)
    assert (name(keyring, "new-a"), name(keyring, "new-b")) == ("alice", "bob")


def test_a_file_that_was_left_alone_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    keyring = ring(tmp_path, "{keys: [{file: key}]}")
    keyring.look(1.0)
    file.write_text("new")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    assert not keyring.look(2.0)


@pytest.mark.parametrize("trouble", ["gone", "empty", "binary", "pipe"])
def test_a_key_file_that_goes_bad_keeps_its_last_key_and_is_told_of_once(
    tmp_path: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "key"
    file.write_text("s3cret")
    keyring = ring(tmp_path, "{keys: [{file: key, name: alice}]}")
    keyring.look(1.0)
    if trouble in {"gone", "pipe"}:
        file.unlink()
    if trouble == "pipe":
        os.mkfifo(file)  # nobody writes: to read it would hold up every request
    elif trouble != "gone":
        file.write_bytes(b"" if trouble == "empty" else b"s3cret\xff")
    with caplog.at_level(logging.INFO, "llmux"):
        for second in range(2, 6):
            assert not keyring.look(float(second))
        assert name(keyring, "s3cret") == "alice"
        [warning] = [vars(record) for record in caplog.records]
        assert warning["event"] == "key_unreadable"
        file.unlink(missing_ok=True)
        file.write_text("better")
        assert keyring.look(9.0)
    assert name(keyring, "better") == "alice"
    assert vars(caplog.records[-1])["event"] == "key_changed"
    assert "s3cret" not in caplog.text
    assert "better" not in caplog.text


def test_a_ring_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k")
    given = auth(tmp_path, "{keys: [x, {file: key}]}")
    (tmp_path / "key").unlink()
    with pytest.raises(ConfigError, match=r"`auth\.keys\.1` reads the file .*: no such file"):
        make_keyring(given, tmp_path)
