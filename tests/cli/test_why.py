"""What `llmux why` writes, and what it makes of whoever answers in the gateway's place."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llmux.cli.verbs import command
from llmux.cli.why import lines
from llmux.config.written import written_keys

NOON = datetime(2026, 3, 1, 12, 4, 31)


def decided(**given: Any) -> dict[str, Any]:
    one = {"time": NOON.timestamp(), "count": 1, "decision": "stay", "sentence": "stayed on a: x"}
    return one | given


def page(*decisions: dict[str, Any], **why: str) -> dict[str, Any]:
    told = [{"model": model, "sentence": text} for model, text in why.items()]
    return {"time": NOON.timestamp(), "why": told, "decisions": list(decisions)}


def test_how_things_stand_comes_first_then_what_was_decided_newest_first() -> None:
    """A sentence that begins with the model's name needs no other word before it."""
    yesterday = NOON.replace(month=2, day=28).timestamp()
    written = lines(
        page(
            decided(count=14),
            decided(time=yesterday, decision="switch", sentence="left b for a: y"),
            a="a has been active for 3 s",
            b="stayed on a: x",
        )
    )
    assert written == [
        "a has been active for 3 s",
        "b: stayed on a: x",
        "",
        "12:04:31  (x14) stay    stayed on a: x",
        "2026-02-28 12:04:31        switch  left b for a: y",
    ]


def test_nothing_awake_and_nothing_decided_is_a_line_too() -> None:
    assert lines(page()) == ["nothing is awake, nobody waits"]


def test_no_name_and_no_reason_moves_a_terminals_cursor() -> None:
    """Names are their authors', and a policy may say anything."""
    hostile = "\x1b[2J\u202e\r\n"
    written = lines(page(decided(sentence=hostile, decision=hostile), **{hostile: hostile}))
    assert all(line.isprintable() for line in written)


class Stranger(http.server.BaseHTTPRequestHandler):
    """Something else that listens where the gateway should be."""

    said = b""

    def do_GET(self) -> None:
        self.wfile.write(self.said)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    "said",
    [
        b"220 mail.example.org ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\n\r\n[]",
        b"HTTP/1.1 404 Not Found\r\n\r\n{}",
        b"",
    ],
)
def test_a_stranger_in_the_gateways_place_is_told_from_it(
    port: int, said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1 and one line, whatever it says."""
    monkeypatch.setattr(Stranger, "said", said)
    config = tmp_path / "config.yaml"
    config.write_text("models: {a: {port: 1, wake: 'true', sleep: 'true'}}\n")
    done = CliRunner().invoke(command, ["why", "-c", str(config), "-p", str(port)])
    assert done.exit_code == 1
    assert done.output.startswith("llmux why: ")
    assert done.output.count("\n") == 1


def test_keys_that_stand_in_the_file_are_found_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("auth: {keys: [k], admin_keys: [{env: E}, {text: t, name: n}, plain]}\n")
    assert written_keys(path, "admin_keys") == ["t", "plain"]
    assert written_keys(path, "keys") == ["k"]
    other = tmp_path / "config.json"
    other.write_text(json.dumps({"auth": {"keys": ["j"]}}))
    assert written_keys(other, "keys") == ["j"]
    assert written_keys(other, "admin_keys") == []
    assert written_keys(tmp_path / "nowhere.yaml", "keys") == []
