"""The set-up script says what is missing, and does nothing where nothing is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT

SCRIPT = ROOT / "tools/venv.sh"
TOOLS = ["sh", "id", "uname", "cat", "rm"]


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def machine(folder: Path) -> dict[str, str]:
    """An environment whose PATH has a shell and its companions, and no Python."""
    path = folder / "path"
    path.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (path / tool).symlink_to(found)
    return {"PATH": str(path)}


def set_up(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), str(folder / "venv"), "some.lock"]
    return subprocess.run(
        command, cwd=folder, env=env, text=True, capture_output=True, timeout=60, check=False
    )


def test_a_machine_without_python_is_told_which_one_is_needed(tmp_path: Path) -> None:
    done = set_up(tmp_path, machine(tmp_path))
    assert done.returncode == 1
    assert "needs a Python from 3.11 to 3.14" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    env = machine(tmp_path)
    executable(tmp_path / "path/python3", "case $2 in *print*) echo 3.9 ;; *) exit 1 ;; esac")
    done = set_up(tmp_path, env)
    assert done.returncode == 1
    assert "python3 is 3.9" in done.stderr


def test_a_python_without_venv_is_told_which_package_brings_it(tmp_path: Path) -> None:
    env = machine(tmp_path)
    answers = "*ensurepip*) exit 1 ;; *print*) echo python3.12-venv ;; *) exit 0 ;;"
    executable(tmp_path / "path/python3", f"case $2 in {answers} esac")
    done = set_up(tmp_path, env)
    assert done.returncode == 1
    assert "venv module is missing" in done.stderr


def test_a_second_start_runs_no_pip_and_so_needs_no_network(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    shim = (
        f'case "$*" in "-m pip"*) echo "$*" >>{calls}; exit 0 ;; esac\nexec {sys.executable} "$@"'
    )
    executable(tmp_path / "venv/bin/python", shim)
    (tmp_path / "some.lock").write_text("")
    (tmp_path / "pyproject.toml").write_text("")
    env = {"PATH": os.environ["PATH"]}
    assert set_up(tmp_path, env).returncode == 0
    first = calls.read_text().splitlines()
    assert ["--require-hashes" in call for call in first] == [True, False]
    assert "--no-index" in first[1]
    assert set_up(tmp_path, env).returncode == 0
    assert calls.read_text().splitlines() == first

    (tmp_path / "pyproject.toml").write_text("# a new version")
    assert set_up(tmp_path, env).returncode == 0
    [again] = calls.read_text().splitlines()[2:]
    assert "--no-index" in again
