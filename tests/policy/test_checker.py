"""`check_policy`: a good policy is left in peace, and each kind of mistake has its sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmux.policy import Decision, FifoPolicy, PolicyContext, Skip, SwitchNow, SwitchPolicy
from llmux.testing import check_policy

HEAD = """
import asyncio
from llmux.policy import Defer, PolicyContext, Skip, SwitchNow, SwitchPolicy

class Mine(SwitchPolicy):
"""
FAIR = "    def on_pending_request(self, context):\n        return SwitchNow()\n"


def written(folder: Path, body: str) -> Path:
    """Write a policy with this body, as its author would."""
    path = folder / "mine.py"
    path.write_text(HEAD + body)
    return path


def answering(expression: str, *, later: bool = False) -> str:
    """Write `on_pending_request` with one line in it."""
    prefix = "async " if later else ""
    return f"    {prefix}def on_pending_request(self, context):\n        {expression}\n"


@pytest.mark.parametrize("name", ["fifo", "balance"])
def test_the_built_in_policies_have_no_finding(name: str) -> None:
    assert check_policy(name) == []


def test_a_class_an_instance_and_a_file_may_be_checked(tmp_path: Path) -> None:
    assert check_policy(FifoPolicy) == []
    assert check_policy(FifoPolicy()) == []
    assert check_policy(written(tmp_path, FAIR)) == []
    assert check_policy("./mine.py", base_dir=tmp_path) == []


def test_a_good_policy_that_thinks_for_a_while_has_no_finding(tmp_path: Path) -> None:
    """`async`, with a Defer, a preparation and a background scheduler: all of it is allowed."""
    body = (
        "    async def on_pending_request(self, context):\n"
        "        await asyncio.sleep(0.5)\n"
        "        return Defer(2.0) if context.active_in_flight else SwitchNow()\n"
        "    async def prepare_switch(self, context):\n"
        "        await context.wait_for_in_flight()\n"
        "    def scheduler_interval(self):\n"
        "        return 5.0\n"
    )
    assert check_policy(written(tmp_path, body)) == []


STAYS = "return Skip(60.0) if context.active_model else SwitchNow()"
TAMPERS = "object.__setattr__(context.snapshot, 'now', 0.0); return SwitchNow()"


@pytest.mark.parametrize(
    ("body", "says", "would"),
    [
        ("    x = 1/0\n", "cannot be loaded: ZeroDivisionError", "mine.py:6"),
        ("    def __init__(self, patience):\n        pass\n", "could not be built", "patience"),
        (answering("return 1 / context.active_in_flight"), "raised ZeroDivisionError", "mine.py:7"),
        (answering("return 1 / 0", later=True), "raised ZeroDivisionError", "mine.py:7"),
        (
            answering("return 1.0 + context.estimated_switch_cost"),
            "when the first request of all waits",
            "whatever was not seen yet is None",
        ),
        (answering("raise SystemExit(3)"), "raised SystemExit(3)", "mine.py:7"),
        ("    pass\n", "Mine does not override on_pending_request", "would be the simplest"),
        (answering("return 'llama'"), "which is no decision", "return SwitchNow()"),
        (answering("pass"), "returned None, which is no decision", "Skip()"),
        (answering("return SwitchNow('gpt')"), "unknown model, 'gpt'", "one of snapshot.models"),
        (answering("return Skip(-1)"), "no such time", "from 0 up"),
        (answering("return Defer(float('nan'))"), "no such time", "from 0 up"),
        (
            answering("return SwitchNow(reason=5)"),
            "the reason is no text",
            "a str, a Reason or None",
        ),
        (answering("await asyncio.sleep(60)", later=True), "within 5 s", "from the snapshot"),
        (answering(TAMPERS), "changed the snapshot", "keep what you need in the policy"),
        (
            answering("context.snapshot.models['llama'] = 1"),
            "'mappingproxy' object does not support item assignment",
            "mine.py:7",
        ),
        (answering("return Skip(0)"), "it was asked 10000 times", "ask_again=0.25"),
        (answering(STAYS), "waited more than 10 minutes", "policy.max_wait_secs"),
        (answering("return Skip(1e8)"), "waiting for an hour", "answer SwitchNow()"),
        (
            FAIR
            + "    async def prepare_switch(self, context):\n        await asyncio.sleep(1e6)\n",
            "held a switch up for 60 s",
            "return as soon as",
        ),
        (
            FAIR + "    async def prepare_switch(self, context):\n        raise KeyError('x')\n",
            "prepare_switch raised KeyError('x')",
            "catch what you expect",
        ),
        (
            FAIR + "    def on_switch_complete(self, *told):\n        self.gone\n",
            "on_switch_complete raised AttributeError",
            "catch what you expect",
        ),
        (
            FAIR + "    def scheduler_interval(self):\n        return 0\n",
            "scheduler_interval() returned 0",
            "above 0",
        ),
        (
            FAIR + "    def request_timeout(self):\n        return 'soon'\n",
            "request_timeout() returned 'soon'",
            "None or a number of seconds",
        ),
        (
            FAIR + "    def min_active_duration(self):\n        raise OSError('no')\n",
            "min_active_duration() raised OSError('no')",
            "a number of seconds",
        ),
        (
            FAIR + "    def drain_before_switch(self):\n        return None\n",
            "drain_before_switch() returned None",
            "True or False",
        ),
        (FAIR + "    rate_windows = (0,)\n", "rate_windows is (0,)", "above 0"),
        (FAIR + "    hint_secs = 0\n", "hint_secs is 0", "above 0"),
        (
            FAIR
            + "    def scheduler_interval(self):\n        return 1.0\n"
            + "    def schedule_tick(self, context):\n        return 'gpt'\n",
            "schedule_tick named an unknown model: 'gpt'",
            "one of snapshot.models",
        ),
        (
            FAIR
            + "    def scheduler_interval(self):\n        return 1.0\n"
            + "    def schedule_tick(self, context):\n"
            + "        return 'qwen' if context.active_model == 'llama' else 'llama'\n",
            "it switched",
            "only while somebody waits",
        ),
    ],
)
def test_each_mistake_is_told_with_what_would_do(
    tmp_path: Path, body: str, says: str, would: str
) -> None:
    findings = check_policy(written(tmp_path, body))
    assert any(says in finding and would in finding for finding in findings), findings


def test_a_policy_that_stands_in_everybodys_way_is_told_so_and_not_pursued(tmp_path: Path) -> None:
    body = answering("__import__('time').sleep(0.06); return SwitchNow()")
    (finding,) = check_policy(written(tmp_path, body))
    assert "ms of everybody's" in finding
    assert "every answer stands still meanwhile" in finding


def test_a_policy_that_never_comes_back_is_given_up(tmp_path: Path) -> None:
    """It blocks until the test lets it go, so that no thread is left behind."""
    gate = tmp_path / "go"
    body = answering(
        f"import pathlib, time\n        while not pathlib.Path({str(gate)!r}).exists():"
    )
    body += "            time.sleep(0.01)\n        return SwitchNow()\n"
    (finding,) = check_policy(written(tmp_path, body), patience=0.5)
    gate.touch()
    assert "it had not come back 0.5 s after it was asked when the first request of all" in finding
    assert "never sleep" in finding


def test_a_mistake_is_told_once_however_often_it_shows() -> None:
    class Wrong(SwitchPolicy):
        def on_pending_request(self, context: PolicyContext) -> Decision:
            return SwitchNow("nobody")

    assert len(check_policy(Wrong)) == 1


def test_options_reach_the_policy_as_a_config_would_hand_them(tmp_path: Path) -> None:
    class Patient(SwitchPolicy):
        def __init__(self, patience: float) -> None:
            self.patience = patience

        def on_pending_request(self, context: PolicyContext) -> Decision:
            if context.active_in_flight and context.oldest_waiting < self.patience:
                return Skip(ask_again=self.patience - context.oldest_waiting)
            return SwitchNow()

    assert check_policy(Patient, options={"patience": 20.0}) == []
    (starves,) = check_policy(Patient, options={"patience": 5000.0})
    assert "waited more than 10 minutes" in starves
    (refused,) = check_policy(Patient, options={"patient": 20.0})
    assert "could not be built" in refused
