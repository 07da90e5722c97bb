"""The real gateway is killed with -9 in every phase; what must never be in a history is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from signal import SIGINT

import pytest
from proof.crash import BOUND, Matrix, Run, crash, main, told
from proof.crash_history import hook_time, read, running, violations, woken_for_nobody
from proof.crash_phases import AIMS, Moment, phase_of
from proof.crash_site import MARK, OWNER, until

from tests.mutants.__main__ import PACKAGE, planted
from tests.mutants.table import Mutant

RUNS = 20
SLACK = 3
"""The bound holds on a machine of its own; here others work beside."""


@pytest.mark.timeout(300)
def test_killed_in_every_phase_it_comes_back_to_what_there_is() -> None:
    """Never two in memory, never two hooks, nothing woken that was up and well."""
    heard: list[Run] = []
    matrix = crash(RUNS, 7, heard=heard.append)
    assert not matrix.wrong, "\n".join(told(matrix, list(AIMS)))
    assert matrix.runs == heard
    for phase in AIMS.keys() - matrix.phases.keys() - {"gate"}:  # that one lasts milliseconds
        more = crash(4, 8, phases=[phase])
        assert not more.wrong, "\n".join(told(more, [phase]))
        assert phase in more.phases
    assert sum(one.adopted for one in matrix.runs) >= 3
    assert matrix.worst <= SLACK * BOUND


FAULTS = [
    (
        Mutant(
            "the intent to run a hook is not written down",
            "runtime/statefile.py",
            "        self._record.hooks.append(Note(model, hook, run_id, was))\n",
            "",
        ),
        ["settling"],
    ),
    (
        Mutant(
            "what old hooks have woken is left alone",
            "runtime/lives.py",
            "        await retire(keeper, self._knocks, self._wait_for)\n",
            "",
        ),
        ["reloading"],
    ),
]


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("fault", "phases"), FAULTS, ids=lambda one: getattr(one, "name", ""))
def test_a_planted_fault_is_found(tmp_path: Path, fault: Mutant, phases: list[str]) -> None:
    """In a copy of the package, by the process that runs it."""
    shutil.copytree(PACKAGE, tmp_path / "llmux")
    file = tmp_path / "llmux" / fault.file
    file.write_text(planted(fault, file.read_text()))
    for seed in range(8):
        matrix = crash(1, seed, phases=phases, package=tmp_path)
        if matrix.wrong:
            break
    assert matrix.wrong
    assert matrix.wrong[0].story, "the history is told with it"


def test_ctrl_c_leaves_nothing_behind() -> None:
    """Neither the gateway nor the servers that its hooks have started."""
    matrix = subprocess.Popen(
        [sys.executable, "-m", "proof.crash", "50"], stdout=subprocess.PIPE, text=True
    )
    assert matrix.stdout is not None
    with matrix.stdout:
        assert matrix.stdout.readline().startswith("seed ")
        mine = f"{MARK}=".encode()
        until(lambda: _descendants(mine, matrix.pid), "a server of its own runs")
        there = _descendants(mine, matrix.pid)
        matrix.send_signal(SIGINT)
        assert matrix.wait(30) == 130
    until(lambda: not any(_lives(pid) for pid in there), "everything has ended")


def _descendants(mark: bytes, parent: int) -> list[int]:
    """Processes with the mark whose folder names what this matrix has started."""
    owner = f"{OWNER}={parent}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if owner in environ and any(one.startswith(mark) for one in environ):
            found.append(int(entry.name))
    return found if len(found) >= 2 else []


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


HISTORY = """\
1.00 gateway starts life-1
1.10 hook begin a wake 11 requested
1.20 engine holds a 1000
1.30 engine ready a 1000
1.40 hook end a wake 11
2.00 hook begin a sleep 12 make room for b
2.10 engine lets-go a 1000
2.20 hook end a sleep 12
2.30 hook begin b wake 13 requested
2.40 engine holds b 2000
2.50 hook end b wake 13
2.90 engine ready b 2000
"""


def test_a_history_in_which_everything_holds() -> None:
    events = read(HISTORY + "3.00 hook beg")
    assert len(events) == HISTORY.count("\n"), "a line that is being written is none yet"
    assert violations(events) == []
    assert running(events) == {}
    assert woken_for_nobody(events, ["a", "b"]) == []
    assert [one[:10] for one in woken_for_nobody(events, ["a"])] == ["2.30 hook "]
    assert hook_time(events, 1.0, 3.0) == pytest.approx(0.3 + 0.2 + 0.6)
    assert hook_time(events, 2.1, 2.35) == pytest.approx(0.1 + 0.05)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("3.0 hook begin b sleep 14 x\n3.1 hook begin a wake 15 x", "beside 3.00 hook begin b"),
        ("3.0 engine holds a 1000", "beside 2.40 engine holds b"),
        ("3.0 hook begin b wake 14 x", "it is up and well"),
        ("3.0 engine violation a 1000 two in memory", "two in memory"),
        ("3.0 hook violation a wake 14 two hooks at once", "two hooks at once"),
    ],
)
def test_what_may_never_be_in_a_history(wrong: str, said: str) -> None:
    events = read(f"{HISTORY}{wrong}\n")
    (found,) = violations(events)
    assert said in found
    assert violations(events, len(events)) == []


def moment(text: str, *log: str, hooks: list[str] | None = None, **models: str) -> Moment:
    """What is left of a gateway whose life began with the last `starts`."""
    events = read(text)
    life = max(number for number, one in enumerate(events) if one.what == "starts")
    notes = [{"run_id": one} for one in hooks or []]
    return Moment(
        events, life, [{"event": one} for one in log], {"hooks": notes, "models": models}, False
    )


READY = "1.0 gateway starts life-1\n1.1 gateway ready life-1\n"
CLEANING = "2.1 hook begin b sleep 22 clean up after a failed wake\n"


@pytest.mark.parametrize(
    ("phase", "left"),
    [
        ("starting", moment("1.0 gateway starts life-1\n")),
        ("settling", moment("0.9 hook begin a wake 9 x\n1.0 gateway starts life-2\n")),
        (
            "starting",
            moment("0.9 hook begin a wake 9 x\n1.0 gateway starts 2\n1.1 hook end a wake 9\n"),
        ),
        ("idle", moment(READY)),
        ("idle", moment("1.0 gateway starts life-1\n", "model_activated")),
        ("draining", moment(READY, "switch_started")),
        ("idle", moment(READY, "switch_started", "model_activated")),
        ("gate", moment(READY, hooks=["21"])),
        ("sleeping", moment(READY + "2.0 hook begin a sleep 21 make room for b\n", hooks=["21"])),
        ("waking", moment(READY + "2.0 hook begin b wake 21 requested\n", hooks=["21"])),
        (
            "loading",
            moment(READY + "2.0 hook begin b wake 21 x\n2.1 hook end b wake 21\n", b="unsettled"),
        ),
        ("cleaning", moment(READY + CLEANING)),
        (
            "restoring",
            moment(READY + CLEANING + "2.2 hook end b sleep 22\n2.3 hook begin a wake 23 x\n"),
        ),
        ("quarantine", moment(READY, "model_quarantined")),
        ("stopping", moment(READY + "2.0 gateway gets SIGTERM\n", "switch_started")),
        ("reloading", moment(READY + "2.0 gateway gets SIGHUP\n", "switch_started")),
    ],
)
def test_the_phase_is_read_from_what_is_left(phase: str, left: Moment) -> None:
    assert phase_of(left) == phase


def test_the_report_names_what_does_not_hold() -> None:
    """And says whether the way back was short enough."""
    good = Run(1, "idle", True, 0.5, 0.4, ())
    bad = Run(2, "waking", False, BOUND + 1, 0.4, ("two in memory",), ("1.00 engine holds a",))
    said = "\n".join(told(Matrix(5, [good]), ["idle"]))
    assert "1 kills, 1 times what was awake is adopted" in said
    assert "0.50 s after its hooks (bound 3 s: met)" in said
    assert "0 violations, seed 5" in said
    said = "\n".join(told(Matrix(5, [good, bad]), ["idle", "waking"]))
    assert "4.00 s after its hooks (bound 3 s: missed)" in said
    assert "run 2, killed in the phase waking:\n    two in memory\n      1.00 engine" in said


@pytest.mark.parametrize("wrong", [["0"], ["5", "--phases", "nowhere"], ["x"]])
def test_wrong_arguments_are_named(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(wrong)
    assert end.value.code == 2
    assert "error" in capsys.readouterr().err
