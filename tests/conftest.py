"""What every test may lean on: tools of the machine that are there, or a loud word.

A tool that is not ours (promtool, nginx) may be missing on a developer's machine: its test skips
and says so. Where `LLMUX_REQUIRE_TOOLS=1` is set, as `.ci/run` sets it, the same test fails, so
that nothing is skipped for good without anybody noticing. It refuses to know what a tool is for.
No gateway of a test writes into the state directory of whoever runs the tests.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

# A test has neighbours on its machine, so how long one example takes says nothing of the code.
settings.register_profile(
    "beside others", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("beside others")

Need = Callable[[str], str]
"""Takes a tool's name, gives its path; skips the test (or fails it) where there is none."""


def find_tool(name: str) -> str | None:
    """Say where a tool is, also in the system's own folders; None where it is nowhere."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    return shutil.which(name, path=path)


@pytest.fixture
def need() -> Need:
    """Ask for a tool of the machine: `path = need("promtool")`."""

    def ask(name: str) -> str:
        found = find_tool(name)
        if found is not None:
            return found
        if os.environ.get("LLMUX_REQUIRE_TOOLS") == "1":
            pytest.fail(f"{name} is not installed, and LLMUX_REQUIRE_TOOLS=1 says it has to be")
        pytest.skip(f"{name} is not installed on this machine")

    return ask


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """Let a report travel between processes although it quotes what cannot be encoded."""
    return _encodable((yield))


def _encodable(value: object) -> object:
    """The same with lone surrogates escaped, however deep they lie."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _encodable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_encodable(one) for one in value]
    if isinstance(value, tuple):
        return tuple(_encodable(one) for one in value)
    return value


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let every gateway, in this process or another, keep its state in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let SIGINT end what a test starts, also where the tests run in the background of a shell.

    A shell without job control lets its background jobs ignore SIGINT, and so do their children.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
