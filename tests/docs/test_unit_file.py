"""The unit file of the repository is one that systemd takes, and says what the pages say."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import Need
from tests.docs.pages import ROOT, read

UNIT = ROOT / "packaging/llmux.service"


def settings() -> dict[str, str]:
    """What is set in the unit file, comments left out."""
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


def test_systemd_takes_the_unit_file(tmp_path: Path, need: Need) -> None:
    """With a program that is there, for llmux may be installed anywhere."""
    analyze = need("systemd-analyze")
    copy = tmp_path / "llmux.service"
    text = UNIT.read_text().replace("/usr/local/bin/llmux", "/bin/true")
    copy.write_text(text.replace("User=llmux", "User=daemon"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    assert "llmux.service" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


def test_models_outlive_the_gateway_and_its_state_is_kept() -> None:
    """What makes a restart of the service harmless."""
    told = settings()
    assert told["Type"] == "notify"
    assert told["KillMode"] == "process"
    assert told["ExecReload"] == "kill -HUP $MAINPID"
    assert told["User"] != "root"
    assert told["Environment"] == "XDG_STATE_HOME=/var/lib"
    assert told["StateDirectory"] == "llmux"
    assert int(told["TimeoutStopSec"]) > 30, "the grace of the answers that run"


def test_what_may_break_hooks_is_there_and_turned_off() -> None:
    """Each of them in a comment that says what it breaks."""
    for name in ("NoNewPrivileges", "ProtectSystem"):
        assert f"#{name}=" in UNIT.read_text()
        assert name not in settings()


def test_the_page_for_operators_leads_to_it() -> None:
    """It is not said twice."""
    page = read("docs/operations.md")
    assert "packaging/llmux.service" in page
    assert "KillMode=process" not in page.replace("`KillMode=process`", "")
