"""A journal tells what was asked and what hooks took, and is played on the board that wrote it."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llmux.cli import replay as replay_verb
from llmux.cli import simulate as simulate_verb
from llmux.core.events import Surveyed
from llmux.core.recorded import RecordedBoard
from llmux.core.ticket import Ticket
from llmux.policy import FifoPolicy
from llmux.policy.balance import BalancePolicy
from llmux.policy.base import Decision, PolicyContext, Skip, SwitchPolicy
from llmux.runtime.switcher import ModelSwitcher
from llmux.simulate.hooks import HookTimes
from llmux.simulate.journal import files, is_journal, read_history
from llmux.simulate.replay import Played, replay
from llmux.simulate.traces import TraceError
from llmux.telemetry.journal import Journal, predecessor
from llmux.testing import FakeHooks, run_virtual

Record = Callable[..., Path]


class Asked(Ticket):
    """A request that allows 50 tokens."""

    def most_tokens(self) -> int | None:
        return 50


async def serve(switcher: ModelSwitcher, requests: int) -> None:
    """Let requests come at random, some of them so impatient that they leave early."""
    dice = Random(7)

    async def one(model: str, seconds: float, patience: float) -> None:
        ticket = Asked(switcher.board.lane(model), asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(patience):
                await switcher.admission(ticket)
            await asyncio.sleep(seconds)
        except TimeoutError:
            pass
        finally:
            if seconds > 10.0 and ticket.admitted is not None:
                switcher.returning(ticket)
            switcher.leave(ticket)
            if seconds < 1.0:
                switcher.announce("b")

    async with asyncio.TaskGroup() as group:
        for _ in range(requests):
            await asyncio.sleep(dice.expovariate(0.3))
            patience = dice.choice([5.0, 1000.0, 1000.0])
            group.create_task(one(dice.choice("ab"), dice.expovariate(0.2), patience))


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Let a policy serve on virtual time, with the real driver, and keep its journal."""

    def make(policy: SwitchPolicy, name: str, requests: int = 200) -> Path:
        path = tmp_path / "journal"

        async def live() -> None:
            hooks = FakeHooks({"a": (1.0, 9.0), "b": (1.0, 9.0)})
            switcher = ModelSwitcher(hooks, policy, survey=True, board=RecordedBoard)
            assert isinstance(switcher.board, RecordedBoard)
            journal = Journal(path, switcher.board, (name, {}), 10**9)
            switcher.tell(Surveyed(()))
            await serve(switcher, requests)
            await switcher.stop()
            journal._turn()
            journal.close()

        run_virtual(live())
        return path

    return make


def play(path: Path, policy: SwitchPolicy | None = None) -> Played:
    return replay([path], lambda name, options: policy)


@pytest.mark.parametrize("kind", [FifoPolicy, BalancePolicy])
def test_the_board_decides_again_as_it_did(record: Record, kind: type[SwitchPolicy]) -> None:
    played = play(record(kind(), "?"), kind())
    assert played.differences == []
    assert played.starts == 1
    assert played.orders > 100
    assert played.answers > 20


class Never(SwitchPolicy):
    """Leaves everybody waiting."""

    def on_pending_request(self, context: PolicyContext) -> Decision:
        return Skip()


def test_another_policy_is_told_apart_and_the_story_goes_on(record: Record) -> None:
    """Its answers are compared one by one; the board still gets those of then."""
    played = play(record(FifoPolicy(), "fifo"), Never())
    assert len(played.differences) == played.answers > 20
    first = played.differences[0]
    assert first.then.startswith("for ")
    assert "SwitchNow" in first.then
    assert "Skip" in first.now


def test_a_line_that_was_changed_is_told_with_its_place(record: Record) -> None:
    """As a board that decides otherwise would be: by file, line and both stories."""
    path = record(FifoPolicy(), "fifo", 20)
    before = path.read_text().splitlines()
    at = next(number for number, line in enumerate(before, 1) if '["hook",' in line)
    path.write_text(path.read_text().replace('"wake"', '"sleep"', 1))
    [one, *_] = play(path).differences
    assert (one.path, one.line) == (path, at)
    assert (one.then[:6], one.now[:5]) == ("sleep ", "wake ")


def test_without_its_start_a_journal_cannot_be_played_and_says_so(record: Record) -> None:
    """A start may have been rotated away; what is asked for is still there for `simulate`."""
    path = record(FifoPolicy(), "fifo", 20)
    path.write_text(path.read_text().replace('"continues":false', '"continues":true', 1))
    played = play(path)
    assert played.starts == 0
    assert played.passed_over == len(path.read_text().splitlines()) - 1
    assert len(read_history([path]).requests) == 20


def test_requests_and_hooks_are_read_as_they_were(record: Record) -> None:
    past = read_history([record(FifoPolicy(), "fifo")])
    asked = past.workload()
    assert len(asked.jobs) == 200
    assert set(asked.models) == {"a", "b"}
    assert {job.max_tokens for job in asked.jobs} == {50}
    assert {(job.model, job.then) for job in asked.jobs} == {
        ("a", None),
        ("b", None),
        ("a", "a"),
        ("b", "b"),
        ("a", "b"),
    }
    times = past.times(HookTimes(), cost_is_given=False)
    assert times.mean("wake", "a") == pytest.approx(9.0)
    assert times.mean("sleep", "b") == pytest.approx(1.0)
    was = past.outcome()
    gone = [row for row in was.rows if row.start is None]
    assert gone
    assert all(4.9 < row.wait <= 5.1 for row in gone)


def test_a_sleep_that_made_room_for_nobody_is_not_taken_for_a_switch(record: Record) -> None:
    """At a start what may be half awake is put to sleep; how long that took says nothing here."""
    path = record(FifoPolicy(), "fifo", 20)
    begin, *facts = path.read_text().splitlines()
    number, clock = 1_000_000, json.loads(begin)["clock"]
    order = ["hook", number, "sleep", "b", None, "a", "recover"]
    slow = ["HookEnded", number, True, 400.0, "", 0, "asleep"]
    start = [[clock - 500.0, "told", ["Looked"], [order]], [clock - 100.0, "told", slow]]
    path.write_text("\n".join([begin, *map(json.dumps, start), *facts, ""]))
    past = read_history([path])
    assert past.hooks[0].model == "b" and not past.hooks[0].made_room
    assert past.times(HookTimes(), cost_is_given=False).mean("sleep", "b") == pytest.approx(1.0)


def test_predecessors_are_read_first_and_may_be_packed(record: Record) -> None:
    path = record(FifoPolicy(), "fifo")
    whole = read_history([path])
    begin, *facts = path.read_text().splitlines()
    again = begin.replace('"continues":false', '"continues":true')
    half = len(facts) // 2
    packed = Path(f"{predecessor(path, 1)}.gz")
    packed.write_bytes(gzip.compress("\n".join([begin, *facts[:half], ""]).encode()))
    path.write_text("\n".join([again, *facts[half:], ""]))
    assert files(path) == [packed, path]
    assert is_journal(packed)
    assert read_history([path]) == whole
    assert play(path, FifoPolicy()).differences == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"llmux_journal":2}\n', ":1: its version is 2; this llmux reads 1"),
        ('[1.0,"enter",1]\n', ":1: it is no line of a journal"),
        ('nonsense\n[1.0,"gap"]\n', ":1: it is no line of a journal"),
        ("", ": there is no request in it"),
    ],
)
def test_what_is_no_journal_is_named_by_file_and_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "journal"
    path.write_text(text)
    with pytest.raises(TraceError) as error:
        read_history([path])
    assert str(error.value).startswith(f"{path}{told}")


@pytest.mark.parametrize(
    "line",
    [
        [1.0, "enter", 1, "a", False, "1", 10],
        [1.0, "enter", 1, "a", False, 0.0, 10],
        [1e300, "gap"],
        [1.0, "leave", 1, "fifty"],
        [1.0, "told", []],
        [1.0, "told", ["HookEnded", 1, True, -1.0]],
        [1.0, "told", ["Surveyed", "ab"]],
        [1.0, "told", ["Looked"], [["admit"]]],
        [1.0, "told", ["Looked"], [["hook", 1, "wake", "a", None, "a", None]]],
        [1.0, "policy", "fifo", []],
        [1.0, "learned", [["a", "b", None]], []],
        [1.0, {}],
    ],
    ids=json.dumps,
)
def test_a_line_of_another_form_is_named_whoever_reads_it(record: Record, line: list[Any]) -> None:
    path = record(FifoPolicy(), "fifo", 5)
    begin, *facts = path.read_text().splitlines()
    path.write_text("\n".join([begin, json.dumps(line), *facts, ""]))
    for reads in (lambda: read_history([path]), lambda: play(path, FifoPolicy())):
        with pytest.raises(TraceError) as error:
            reads()
        assert str(error.value).startswith(f"{path}:2: it is no line of a journal: ")


@pytest.mark.parametrize("key", ["policy", "models", "rate_windows", "wall", "continues"])
def test_a_begin_of_another_form_is_named(record: Record, key: str) -> None:
    path = record(FifoPolicy(), "fifo", 5)
    begin, *facts = path.read_text().splitlines()
    for begins in (json.loads(begin) | {key: "?"}, {**json.loads(begin), key: None}):
        path.write_text("\n".join([json.dumps(begins), *facts, ""]))
        with pytest.raises(TraceError, match=r":1: it is no line of a journal: "):
            read_history([path])


def test_a_torn_last_line_is_passed_over(record: Record) -> None:
    path = record(FifoPolicy(), "fifo", 20)
    with path.open("a") as journal:
        journal.write('[17.25,"ent')
    assert len(read_history([path]).requests) == 20
    assert play(path, FifoPolicy()).differences == []


def simulate(*words: str) -> Result:
    return CliRunner().invoke(simulate_verb.command, words)


def figures(*words: str) -> list[dict[str, Any]]:
    done = simulate(*words, "--json", "-")
    assert done.exit_code == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_what_would_have_been_stands_beside_what_was(record: Record) -> None:
    """Hooks as they took; `--cost` asks what dearer ones would have come to."""
    path = str(record(FifoPolicy(), "fifo"))
    was, fifo, balance = figures("--trace", path, "--policy", "fifo,balance")
    assert [one["policy"] for one in (was, fifo, balance)] == [
        "as it was (fifo)",
        "fifo",
        "balance",
    ]
    assert was["requests"] == fifo["requests"] == 200
    _, dear = figures("--trace", path, "--policy", "fifo", "--cost", "60")
    assert dear["mean_wait"] > fifo["mean_wait"]
    _, cheap = figures("--trace", path, "--policy", "fifo", "--wake-secs", "a=0,b=0")
    assert cheap["mean_wait"] < fifo["mean_wait"]


def test_a_journal_and_a_csv_are_not_mixed(record: Record, tmp_path: Path) -> None:
    csv = tmp_path / "trace.csv"
    csv.write_text("t,model,prompt_tokens,output_tokens\n0,a,0,40\n")
    done = simulate("--trace", str(record(FifoPolicy(), "fifo", 5)), "--trace", str(csv))
    assert done.exit_code == 2
    assert "trace.csv is no journal; journals stand alone" in done.stderr


def test_the_verb_says_what_it_has_played(record: Record, tmp_path: Path) -> None:
    path = str(record(BalancePolicy(), "balance"))
    done = CliRunner().invoke(replay_verb.command, [path])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "decided the same" in done.stdout
    other = CliRunner().invoke(replay_verb.command, [path, "--policy", "fifo"])
    assert other.exit_code == 1
    assert "decided otherwise" in other.stdout
    gone = CliRunner().invoke(replay_verb.command, [path, "--policy", "./gone.py"])
    assert gone.exit_code == 0
    assert "the policy is not asked" in gone.stderr
    for words in ([], [str(tmp_path / "nowhere")]):
        assert CliRunner().invoke(replay_verb.command, words).exit_code == 2
