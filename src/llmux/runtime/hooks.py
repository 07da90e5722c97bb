"""Runs the shell commands that wake a model, put it to sleep, and ask whether it lives.

A hook is believed by its exit code alone, within a deadline; its failure is a result, not an
exception. Its group is ended when it is too slow or no longer wanted, and never after success: the
server it started may live there. This file refuses to know when a hook should run, what its
failure means for a switch, and how it is logged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from llmux.errors import NotRegisteredError
from llmux.runtime.child import GATE, Child, Output

SWEEP = 2.0
"""Seconds between two looks at what servers that hooks left behind have written."""
REASON_LIMIT = 1000
"""Characters of a policy's reason that a hook is told."""

_log = logging.getLogger(__name__)

_EXIT_HINTS = {126: " (found, but cannot be executed)", 127: " (command not found)"}


@dataclass(frozen=True)
class HookSpec:
    """The commands of one model; time-outs in seconds, None for no limit."""

    model: str
    port: int
    wake: str
    sleep: str
    alive: str | None = None
    wake_timeout: float | None = None
    sleep_timeout: float | None = None
    alive_timeout: float | None = 5.0
    kill: str | None = None
    """The last resort when `sleep` fails."""
    kill_timeout: float | None = 30.0

    def command(self, hook: str) -> tuple[str | None, float | None]:
        """Return the shell command and the time-out of `wake`, `sleep`, `kill` or `alive`."""
        if hook == "wake":
            return self.wake, self.wake_timeout
        if hook == "sleep":
            return self.sleep, self.sleep_timeout
        if hook == "kill":
            return self.kill, self.kill_timeout
        return self.alive, self.alive_timeout

    def change_to(self, new: HookSpec) -> Literal["none", "mend", "renew"]:
        """Say whether these commands have to put the model to sleep before the new ones hold.

        `mend`: only what puts it to sleep is new.
        """
        if (self.port, self.wake) != (new.port, new.wake):
            return "renew"
        return "none" if (self.sleep, self.kill) == (new.sleep, new.kill) else "mend"

    def meanwhile(self, new: HookSpec) -> HookSpec:
        """Return these commands with the time-outs of the new ones."""
        return replace(
            self,
            wake_timeout=new.wake_timeout,
            sleep_timeout=new.sleep_timeout,
            alive_timeout=new.alive_timeout,
            kill_timeout=new.kill_timeout,
        )


Fate = Literal["ended", "late", "stopped", "unstarted"]
"""Ended by itself, at its deadline, by us for another cause, or never begun."""


class HookJournal(Protocol):
    """Remembers, for the next life of the gateway, which hook runs; it must not raise."""

    async def intend(self, model: str, hook: str, run_id: str) -> None:
        """Hear, before the spawn, that a hook is going to run under this LLMUX_HOOK_ID."""
        ...

    async def started(self, run_id: str, pid: int) -> None:
        """Hear the pid of its shell, before its first command."""
        ...

    def ended(self, run_id: str) -> None:
        """Hear that it has ended, or was never started."""
        ...


@dataclass(frozen=True)
class HookResult:
    """How one run of a hook ended."""

    model: str
    hook: str
    """wake, sleep, kill or alive."""
    ok: bool
    exit_code: int | None
    """Negative for a signal; None where it was never started or its code was lost."""
    duration: float
    """Seconds from the start to the end, the killing included."""
    tail: str
    """The last 4 KiB of its stdout and stderr."""
    error: str | None
    """What went wrong, for the operator; None if nothing did."""
    fate: Fate = "ended"


class HookRunner:
    """Runs the hooks of all models, each as `sh -c` in a session of its own.

    `cwd` is where they run (None: where the process is), `env` what they inherit (None: the
    process's environment). `listener` hears of each hook that ended, on the loop. With a
    `journal` no hook that changes a model begins before its pid was written there.
    """

    def __init__(
        self,
        specs: Iterable[HookSpec],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        listener: Callable[[HookResult], None] | None = None,
        journal: HookJournal | None = None,
    ) -> None:
        self._specs = {spec.model: spec for spec in specs}
        self._next: dict[str, HookSpec] = {}
        """Commands that hold once what is up of their model has been put to sleep."""
        self._cwd = cwd
        self._env = env
        self._listener = listener
        self._journal = journal
        self._outputs: dict[tuple[str, str], Output] = {}
        self._running: set[Child] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<HookRunner {len(self._specs)} models, {len(self._running)} running>"

    def registered_models(self) -> list[str]:
        """Return the names of all models, in the order in which they were given."""
        return list(self._specs)

    def model_port(self, model: str) -> int | None:
        """Return the port on which the model's backend listens; None for an unknown model."""
        spec = self._specs.get(model)
        return None if spec is None else spec.port

    def timeout(self, model: str, hook: str) -> float | None:
        """Return the bound of one hook in seconds, None for no limit or an unknown model."""
        spec = self._specs.get(model)
        return None if spec is None else spec.command(hook)[1]

    def spec(self, model: str) -> HookSpec | None:
        """Return the commands of a model as they hold now; None for an unknown model."""
        return self._specs.get(model)

    def has(self, model: str, hook: str) -> bool:
        """Say whether the model has a command for this hook."""
        spec = self._specs.get(model)
        return spec is not None and spec.command(hook)[0] is not None

    def follow(
        self, specs: Iterable[HookSpec], env: Mapping[str, str] | None
    ) -> dict[str, Literal["mend", "renew"]]:
        """Take over other commands; returns those that hold only after `renew`, and why.

        Models that are not among them stay until `forget`.
        """
        self._env = env
        self._next.clear()
        later: dict[str, Literal["mend", "renew"]] = {}
        for spec in specs:
            old = self._specs.get(spec.model)
            change = "none" if old is None else old.change_to(spec)
            if old is None or change == "none":
                self._specs[spec.model] = spec
                continue
            later[spec.model] = change
            self._next[spec.model] = spec
            self._specs[spec.model] = old.meanwhile(spec)
        return later

    def recall(self, old: HookSpec) -> None:
        """Let earlier commands of a model hold until `renew`, or until it is forgotten."""
        if old.model in self._specs:
            self._next[old.model] = self._specs[old.model]
        self._specs[old.model] = old

    def renew(self, model: str) -> None:
        """Let the new commands of a model hold from now on."""
        if model in self._next:
            self._specs[model] = self._next.pop(model)

    def forget(self, model: str) -> None:
        """Drop a model that is gone."""
        self._specs.pop(model, None)
        self._next.pop(model, None)
        for key in [key for key in self._outputs if key[0] == model]:
            self._outputs.pop(key).close()

    async def run_wake(
        self,
        model: str,
        *,
        from_model: str | None = None,
        to_model: str | None = None,
        reason: str = "",
    ) -> HookResult:
        """Run the model's wake hook; raises NotRegisteredError for an unknown model."""
        return await self._run(model, "wake", from_model, to_model, reason)

    async def run_sleep(
        self,
        model: str,
        *,
        from_model: str | None = None,
        to_model: str | None = None,
        reason: str = "",
    ) -> HookResult:
        """Run the model's sleep hook; raises NotRegisteredError for an unknown model."""
        return await self._run(model, "sleep", from_model, to_model, reason)

    async def run_kill(
        self,
        model: str,
        *,
        from_model: str | None = None,
        to_model: str | None = None,
        reason: str = "",
    ) -> HookResult:
        """Run the model's kill hook; raises NotRegisteredError for an unknown model."""
        return await self._run(model, "kill", from_model, to_model, reason)

    async def run_alive(self, model: str) -> HookResult:
        """Run the model's alive hook; raises NotRegisteredError for an unknown model."""
        return await self._run(model, "alive")

    async def end_all(self) -> None:
        """End every running hook with its group, within about two seconds; for the shutdown."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        await asyncio.gather(*(child.end() for child in tuple(self._running)))

    def close(self) -> None:
        """Kill what still runs and let go of the output files. Harmless when said twice."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for child in tuple(self._running):
            child.kill()
        for output in self._outputs.values():
            output.close()
        self._outputs.clear()

    async def _run(
        self,
        model: str,
        hook: str,
        from_model: str | None = None,
        to_model: str | None = None,
        reason: str = "",
    ) -> HookResult:
        spec = self._specs.get(model)
        if spec is None:
            raise NotRegisteredError(f"model {model!r} not found")
        command, timeout = spec.command(hook)
        if command is None:
            error = "no such hook is configured"
            return HookResult(model, hook, False, None, 0.0, "", error, "unstarted")
        env = self._environment(spec, hook)
        env["LLMUX_FROM"] = from_model or ""
        env["LLMUX_TO"] = to_model or ""
        # A reason is a policy's free text; what an environment cannot carry must not fail a wake.
        plain = reason[:REASON_LIMIT].replace("\0", " ")
        env["LLMUX_REASON"] = plain.encode(errors="replace").decode()
        journal = self._journal
        if journal is None or hook == "alive":
            return await self._attempt(model, hook, command=command, timeout=timeout, env=env)
        try:
            await journal.intend(model, hook, env["LLMUX_HOOK_ID"])
            return await self._attempt(
                model, hook, command=command, timeout=timeout, env=env, journal=journal
            )
        finally:
            journal.ended(env["LLMUX_HOOK_ID"])

    async def _attempt(
        self,
        model: str,
        hook: str,
        *,
        command: str,
        timeout: float | None,
        env: Mapping[str, str],
        journal: HookJournal | None = None,
    ) -> HookResult:
        loop = asyncio.get_running_loop()
        started = loop.time()
        output = self._output(model, hook)

        def ended(ok: bool, code: int | None, error: str | None, fate: Fate) -> HookResult:
            duration = loop.time() - started
            result = HookResult(model, hook, ok, code, duration, output.tail(), error, fate)
            self._tell(result)
            return result

        gated = journal is not None
        argv = ["sh", "-c", GATE, "sh", command] if gated else ["sh", "-c", command]
        try:
            child = Child(argv, cwd=self._cwd, env=env, output=output, gated=gated)
        except (OSError, ValueError) as error:
            return ended(False, None, f"could not be started: {error}", "unstarted")
        self._running.add(child)
        self._sweep_later(loop)
        try:
            if journal is not None:
                await journal.started(env["LLMUX_HOOK_ID"], child.pid)
                child.open_gate()
            if not await child.wait(timeout):
                gone = await child.end()
                dead = "killed" if gone else "killed, but the system has not ended it yet"
                return ended(False, child.exit_code, f"no end within {timeout:g} s, {dead}", "late")
        except asyncio.CancelledError:
            # One that had ended by itself is left alone: its server may live in the group.
            try:
                if not child.gone():
                    await child.end()
            finally:
                ended(*_verdict(child, "cancelled"))
            raise
        finally:
            self._running.discard(child)
        return ended(*_verdict(child, "ended because llmux stops"))

    def _environment(self, spec: HookSpec, hook: str) -> dict[str, str]:
        env = dict(os.environ if self._env is None else self._env)
        env["LLMUX_MODEL"] = spec.model
        env["LLMUX_PORT"] = str(spec.port)
        env["LLMUX_HOOK"] = hook
        env["LLMUX_HOOK_ID"] = secrets.token_hex(16)
        return env

    def _output(self, model: str, hook: str) -> Output:
        output = self._outputs.get((model, hook))
        if output is None:
            output = self._outputs[model, hook] = Output()
        output.begin()
        return output

    def _tell(self, result: HookResult) -> None:
        if self._listener is None:
            return
        try:
            self._listener(result)
        except Exception:
            _log.exception("a listener of hooks failed")

    def _sweep_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._sweeping = loop.call_later(SWEEP, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        for output in self._outputs.values():
            output.trim()
        self._sweep_later(loop)


def _verdict(child: Child, ended_by_us: str) -> tuple[bool, int | None, str | None, Fate]:
    """Say whether the hook succeeded, its exit code, what went wrong, and how it came to it."""
    code = child.exit_code
    if child.ended_by_us:
        return False, code, ended_by_us, "stopped"
    if code is None:
        lost = "its exit code was lost: something else waits for our children"
        return False, None, lost, "ended"
    if code == 0:
        return True, 0, None, "ended"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:  # a real-time signal has no name
            name = f"signal {-code}"
        return False, code, f"killed by {name}", "ended"
    return False, code, f"exit code {code}{_EXIT_HINTS.get(code, '')}", "ended"
