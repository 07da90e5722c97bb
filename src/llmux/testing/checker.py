"""`check_policy`: what is wrong with a policy, told to its author before an operator meets it.

The policy is loaded as a config would load it, asked about a dozen moments, and set over two short
stories on virtual time with the real switchboard. What it is measured by are the rules of the
guard that stands around every policy at run time; here they become sentences that also say what
would do. It refuses to judge how good a policy is: `llmux simulate` measures that.
"""

from __future__ import annotations

import inspect
import itertools
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from llmux.errors import PolicyError
from llmux.policy.base import PolicyContext, PolicySettings, SwitchPolicy
from llmux.policy.registry import load_policy
from llmux.runtime.guard import PolicyGuard
from llmux.testing.scenes import SCENES, questions
from llmux.testing.stories import Watched, story_of_a_busy_model, story_of_a_quiet_house
from llmux.testing.virtual import run_virtual

PATIENCE_SECONDS: Final = 20.0
"""How long the whole check may take before the policy counts as one that never comes back."""
_SLOW_TIMES: Final = 3
_SLOW_SECONDS: Final = 1.0
"""A slow answer may be a busy machine's: so many in a row, for so long, are the policy's."""

_WOULD: Final = (
    ("raised", "catch what you expect: whatever was not seen yet is None"),
    ("which is no decision", "return SwitchNow(), Defer(seconds) or Skip()"),
    ("unknown model", "name one of snapshot.models, or None for the model asked about"),
    ("no such time", "a number of seconds from 0 up would do, or None where it may be left out"),
    ("reason is no text", "a reason is a str, a Reason or None"),
    ("did not answer", "decide from the snapshot, and look things up beside it"),
    ("ms of everybody's", "every answer stands still meanwhile, so decide from the snapshot alone"),
)
_Source = str | Path | type[SwitchPolicy] | SwitchPolicy


def check_policy(
    policy: _Source,
    *,
    options: Mapping[str, Any] | None = None,
    config: object = None,
    base_dir: Path | None = None,
    patience: float = PATIENCE_SECONDS,
) -> list[str]:
    """Return what is wrong with a policy, a sentence each with what would do; [] if nothing is.

    `policy` is whatever `policy.name` may be in a config, a path, a class or an instance;
    `options` are its `policy.options`, `base_dir` is where a relative path begins. One that
    blocks is given up after `patience` seconds; its thread is left behind. Takes about a second.
    """
    exam = _Exam(policy, options or {}, config, base_dir)
    thread = threading.Thread(target=exam.run, name="check_policy", daemon=True)
    thread.start()
    thread.join(patience)
    if thread.is_alive():
        exam.find(
            f"it had not come back {patience:g} s after it was asked when {exam.where}; decide "
            "from the snapshot, and never sleep, wait or compute for long in a callback"
        )
    if exam.broken is not None:
        raise exam.broken
    return list(exam.findings)


class _Exam:
    """One check in a thread of its own; `where` says what the policy is asked about just now."""

    def __init__(
        self, policy: _Source, options: Mapping[str, Any], config: object, base: Path | None
    ) -> None:
        self.findings: dict[str, None] = {}
        self.where = "it was loaded"
        self.broken: BaseException | None = None
        """What has gone wrong in the check itself."""
        self._policy = policy
        self._options = options
        self._config = config
        self._base = base
        self._place = ""
        self._slow = False

    def find(self, finding: str) -> None:
        """Note a finding, once."""
        self.findings[finding] = None

    def run(self) -> None:
        """Go through everything, as far as the policy lets us."""
        try:
            self._run()
        except BaseException as error:
            self.broken = error

    def _run(self) -> None:
        try:
            policy = self._fresh()
        except PolicyError as error:
            self.find(error.message)
            return
        if type(policy).on_pending_request is SwitchPolicy.on_pending_request:
            self.find(
                f"{type(policy).__name__} does not override on_pending_request; "
                "`def on_pending_request(self, context): return SwitchNow()` would be the simplest"
            )
        self._settings(policy)
        if self.findings:
            return
        for when, build in SCENES:
            self.where = when
            self._scene(policy, build)
            if self._slow:
                return  # the rest would take minutes
        for title, story in (
            ("a busy model is beside a quiet one", story_of_a_busy_model),
            ("a few requests come and then none", story_of_a_quiet_house),
        ):
            self.where = title
            watched = Watched(self._fresh())
            for complaint in run_virtual(story(watched)):
                self._complain(complaint)

    def _fresh(self) -> SwitchPolicy:
        """Build the policy anew, as a config would; one that was given as it is stays so."""
        given = self._policy
        if isinstance(given, SwitchPolicy):
            return given
        if isinstance(given, type):
            name = f"{given.__module__}:{given.__qualname__}"
            try:
                made = given.from_config(self._config, self._options)
            except PolicyError:
                raise
            except (Exception, SystemExit) as error:
                raise PolicyError(f"the policy {name} could not be built: {error!r}") from error
            made.settings = PolicySettings()
            return made
        name = str(given)
        return load_policy(name, self._config, self._options, PolicySettings(), self._base)

    def _settings(self, policy: SwitchPolicy) -> None:
        for ask, good, wanted in _SETTINGS:
            method: Callable[[], object] = getattr(policy, ask)
            try:
                said = method()
            except (Exception, SystemExit) as error:
                self.find(f"{ask}() raised {error!r}{_place_of(error)}; {wanted} would do")
                continue
            if not good(said):
                self.find(f"{ask}() returned {said!r}; {wanted} would do")
        windows: object = policy.rate_windows
        if not isinstance(windows, (tuple, list)) or not all(map(_above_zero, windows)):
            self.find(f"rate_windows is {windows!r}; a tuple of seconds above 0 would do")
        hint: object = policy.hint_secs
        if hint is not None and not _above_zero(hint):
            self.find(f"hint_secs is {hint!r}; None or seconds above 0 would do")

    def _scene(self, policy: SwitchPolicy, build: Callable[..., Any]) -> None:
        snapshot = build(policy.rate_windows)
        before = repr(snapshot)
        for context in questions(snapshot):
            if self._slow:
                return
            self._ask(policy, context, list(snapshot.models))
        if repr(snapshot) != before:
            self.find(
                f"it changed the snapshot when {self.where}; every callback of that moment shares "
                "it, so keep what you need in the policy"
            )

    def _ask(self, policy: SwitchPolicy, context: PolicyContext, models: list[str]) -> None:
        complaints: list[str] = []
        began = perf_counter()
        for attempt in itertools.count(1):
            complaints.clear()
            self._place = ""
            guard = PolicyGuard(
                _Placed(policy, self), models, lambda name, error: complaints.append(error)
            )
            answer = guard.decide(context)
            if inspect.isawaitable(answer):
                run_virtual(_awaited(answer))
            if not complaints or "ms of everybody's" not in complaints[0]:
                break
            if attempt >= _SLOW_TIMES and perf_counter() - began > _SLOW_SECONDS:
                break
        for complaint in complaints:
            if "replaced by FIFO" not in complaint:
                self._complain(f"{complaint}{self._place} when {self.where}")
            if "ms of everybody's" in complaint:
                self._slow = True
                return

    def note(self, error: BaseException) -> None:
        """Remember where the policy's own code has raised."""
        self._place = _place_of(error)

    def _complain(self, complaint: str) -> None:
        would = next((says for sign, says in _WOULD if sign in complaint), "")
        told = complaint.partition(" when ")[0]
        if not any(found.startswith(told) for found in self.findings):
            self.find(f"{complaint}; {would}" if would else complaint)


class _Placed(SwitchPolicy):
    """The policy itself, but that whoever examines it sees where it raises."""

    def __init__(self, policy: SwitchPolicy, exam: _Exam) -> None:
        self._policy = policy
        self._exam = exam

    def on_pending_request(self, context: PolicyContext) -> Any:
        try:
            answer = self._policy.on_pending_request(context)
        except (Exception, SystemExit) as error:
            self._exam.note(error)
            raise
        return self._later(answer) if inspect.iscoroutine(answer) else answer

    async def _later(self, answer: Any) -> Any:
        try:
            return await answer
        except (Exception, SystemExit) as error:
            self._exam.note(error)
            raise


async def _awaited(answer: Any) -> None:
    await answer


def _place_of(error: BaseException) -> str:
    """Say where an error was raised, in the author's code."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(str(_HERE))]
    return f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""


_HERE: Final = Path(__file__).parent


def _above_zero(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _seconds(value: object) -> bool:
    return value == 0 or _above_zero(value)


_SETTINGS: Final = (
    (
        "request_timeout",
        lambda said: said is None or _seconds(said),
        "None or a number of seconds from 0 up",
    ),
    ("min_active_duration", _seconds, "a number of seconds from 0 up"),
    ("drain_before_switch", lambda said: isinstance(said, bool), "True or False"),
    (
        "scheduler_interval",
        lambda said: said is None or _above_zero(said),
        "None or a number of seconds above 0",
    ),
)
