"""Plant one fault after the other in a copy of the package and show which test finds it.

`python -m tests.mutants [--with stories|property|walk] [WORD...]` runs the tests of core and driver
against each fault whose name has all the words; the exit code is 1 unless every one is caught.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "llmux"
STORIES = [
    "tests/core/test_board_switch.py",
    "tests/core/test_board_life.py",
    "tests/core/test_board_policy.py",
    "tests/core/test_board_renewal.py",
    "tests/core/test_places.py",
    "tests/core/test_costs.py",
    "tests/core/test_priority.py",
    "tests/core/test_ride.py",
    "tests/core/test_rulings.py",
    "tests/core/test_times.py",
    "tests/runtime/test_guard.py",
    "tests/runtime/test_removed.py",
    "tests/runtime/test_switcher_turns.py",
    "tests/runtime/test_switcher_policies.py",
    "tests/runtime/test_switcher_orders.py",
    "tests/runtime/test_switcher_cancel.py",
]
PROPERTY = [
    "tests/core/test_board_property.py",
    "tests/runtime/test_switcher_property.py",
    "tests/runtime/test_promise.py",
    "tests/runtime/test_times.py",
]
WALK = ["tests/core/test_walk.py"]
WITH = {"stories": STORIES, "property": PROPERTY, "walk": WALK, "all": STORIES + PROPERTY + WALK}
PATIENCE = 300.0
"""Seconds after which a run that does not end counts as caught: the fault made it hang."""


def planted(mutant: Mutant, source: str) -> str:
    """Return the source with the fault in it; ValueError if it does not fit any more."""
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: its text stands {source.count(mutant.old)} times")
    return source.replace(mutant.old, mutant.new)


def snapshot(folder: Path) -> None:
    """Copy what the runs need, so that whoever works here meanwhile does not disturb them."""
    caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, folder / "src" / "llmux", ignore=caches)
    for part in ("core", "runtime"):
        shutil.copytree(ROOT / "tests" / part, folder / "tests" / part, ignore=caches)
    shutil.copytree(ROOT / "proof", folder / "proof", ignore=caches)
    for name in ("pyproject.toml", "tests/__init__.py", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)


def run(folder: Path, tests: list[str]) -> tuple[bool, str]:
    """Run the tests in this copy; says whether one failed, and the output.

    RuntimeError if the run says nothing of the fault: another package was used, or no test ran.
    """
    env = dict(os.environ)
    env["PYTHONPATH"] = f"{folder / 'src'}{os.pathsep}{folder}"
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "--timeout=60"]
    probe = "import llmux, sys, pytest; print(llmux.__file__); sys.exit(pytest.main(sys.argv[1:]))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", probe, *options, *tests],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True, "it hung"
    used = (done.stdout.splitlines() or ["nothing"])[0]
    if Path(used).parent != folder / "src" / "llmux":
        raise RuntimeError(f"the tests used {used}, not the copy:\n{done.stderr}")
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"no test ran:\n{done.stdout}{done.stderr}")
    return done.returncode == 1, done.stdout


def caught_by(output: str) -> str:
    """Return the test that failed, shortened to file and name."""
    for line in output.splitlines():
        if line.startswith("FAILED "):
            return line.split()[1].removeprefix("tests/")
    return output.strip().splitlines()[-1] if output.strip() else "?"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--with", dest="subset", choices=list(WITH), default="all")
    parser.add_argument("words", nargs="*", help="only faults whose name has all these words")
    args = parser.parse_args()
    tests = WITH[args.subset]
    chosen = [one for one in MUTANTS if all(word in one.name for word in args.words)]
    if not chosen:
        parser.error("no planted fault has these words in its name")
    missed = 0
    with tempfile.TemporaryDirectory(prefix="llmux-mutants-") as name:
        folder = Path(name).resolve()
        snapshot(folder)
        failed, output = run(folder, tests)
        if failed:
            print(f"the tests fail without any fault: {caught_by(output)}")
            return 1
        for number, mutant in enumerate(chosen, 1):
            file = folder / "src" / "llmux" / mutant.file
            sound = file.read_text()
            file.write_text(planted(mutant, sound))
            try:
                failed, output = run(folder, tests)
            finally:
                file.write_text(sound)
            missed += not failed
            found = caught_by(output) if failed else "MISSED"
            print(f"{number:3}  {mutant.name:62}  {found}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} planted faults caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
