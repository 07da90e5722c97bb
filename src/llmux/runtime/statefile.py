"""What the gateway remembers over its own death: what is awake, which hook runs, what was learned.

A kill -9 at any moment leaves a file from which the next life tells what it may adopt and which
hook it has to wait for. It is written anew as a whole and renamed into place, off the loop, as
often as the disk keeps up; only the intent to run a hook is waited for, and not for ever. No
trouble with the file may ever cost more than a warning. It refuses to know what follows from what
it remembers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import msgspec

from llmux.runtime import processes
from llmux.runtime.statelock import StateBusyError, take_lock
from llmux.runtime.staterecord import (
    FORMAT,
    Memory,
    Note,
    Record,
    Status,
    Woken,
    digest,
    dump,
    read,
    replace,
    state_path,
)
from llmux.runtime.witness import Traits

__all__ = ["Leftover", "StateBusyError", "StateFile", "Status", "Woken", "state_path"]

PATIENCE = 2.0
"""Seconds for which a hook waits until its intent is written; a sick disk must not stop a wake."""

_log = logging.getLogger("llmux.state")


@dataclass(frozen=True, slots=True)
class Leftover:
    """How a hook of the last life was found."""

    model: str
    hook: str
    end: Literal["never ran", "had ended", "waited for", "killed", "cannot be killed"]


class StateFile:
    """The memory of one gateway, held under a lock for the life of its process.

    `path` None remembers nothing beyond this life. `warn` hears a sentence for each thing that is
    wrong with the file, once. `models` are those of the config.
    """

    def __init__(
        self,
        path: Path | None,
        models: Collection[str],
        *,
        config: Path | None = None,
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        self.path = path
        self._models = frozenset(models)
        self._warn = warn
        self._record = Record(
            FORMAT, processes.boot_id(), "" if config is None else str(config.resolve())
        )
        self._leftovers: list[Note] = []
        self._lock = -1
        self._version = self._written = 0
        self._writing = self._sick = False
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def __repr__(self) -> str:
        awake = ",".join(self.awake_order()) or "nothing"
        return f"<StateFile {self.path or 'off'}: {awake} awake, {len(self._record.hooks)} hooks>"

    # ---- one life ------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the lock and read what the last life left; StateBusyError if it still lives."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = take_lock(self.path)
            self._load(self.path)
            replace(self.path, dump(self._record), sync=False)
        except OSError as error:
            self._warn(
                f"the state file {self.path} cannot be written: {error.strerror}; llmux works on,"
                " but will not remember anything after a restart"
            )
            self._let_go()

    def left_running(self) -> list[tuple[str, str]]:
        """Return the hooks, as (model, hook), that `settle` may have to wait for."""
        return [(note.model, note.hook) for note in self._leftovers]

    async def settle(self, bound: Callable[[str, str], float | None]) -> list[Leftover]:
        """Wait for hooks of the last life that still run, or end them past their bound.

        `bound(model, hook)` is in seconds from the hook's start, None for no limit. To be called
        before any hook of this life.
        """
        notes, self._leftovers = self._leftovers, []
        ends = await asyncio.gather(
            *(self._settle(note, bound(note.model, note.hook)) for note in notes)
        )
        for note, end in zip(notes, ends, strict=True):
            if end.end == "never ran" and note.model in self._models:
                if note.was is None:
                    self._record.models.pop(note.model, None)
                else:
                    self._record.models[note.model] = note.was
                if note.was == "asleep":
                    self._record.woken.pop(note.model, None)
        settled = {note.run_id for note in notes}
        self._record.hooks = [note for note in self._record.hooks if note.run_id not in settled]
        self._changed()
        return list(ends)

    async def close(self) -> None:
        """Write what is not yet written, to last, and let go of the lock. Harmless twice."""
        if self._lock < 0:
            return
        await self._flushed()
        if self.path is not None and not self._writing and not self._sick:
            # Synced only here: a crash of the gateway loses nothing without it, and what ran does
            # not survive a crash of the machine.
            with contextlib.suppress(OSError):
                replace(self.path, dump(self._record), sync=True)
        self._let_go()

    # ---- what is awake -------------------------------------------------------------------------

    def last_known_awake(self, model: str) -> bool | None:
        """Return whether the model was awake when last heard of; None where that is not known."""
        status = self._record.models.get(model)
        return None if status in (None, "unsettled") else status == "awake"

    def awake_order(self) -> list[str]:
        """Return the models that are awake, the most recently woken last."""
        return [name for name, status in self._record.models.items() if status == "awake"]

    def unsettled(self) -> list[str]:
        """Return the models of which a hook was interrupted: they may be half awake."""
        return [name for name, status in self._record.models.items() if status == "unsettled"]

    def set_status(self, model: str, status: Status) -> None:
        """Remember how a model stands; one that has come awake is the most recent."""
        models = self._record.models
        if status == "asleep":
            self._record.woken.pop(model, None)
        if models.get(model) == status:
            return
        if status == "awake":
            models.pop(model, None)
        models[model] = status
        self._changed()

    def woken(self) -> dict[str, Woken]:
        """Return by which hooks those were woken that are not known to be asleep."""
        return dict(self._record.woken)

    def set_woken(self, model: str, hooks: Woken) -> None:
        """Remember by which hooks a model is woken, until it is asleep."""
        if self._record.woken.get(model) != hooks:
            self._record.woken[model] = hooks
            self._changed()

    def follow(self, models: Collection[str]) -> None:
        """Take over the names of another config."""
        self._models = frozenset(models)

    def forget(self, model: str) -> None:
        """Drop what is remembered of a model that is gone."""
        for known in (self._record.models, self._record.woken, self._record.witnesses):
            known.pop(model, None)
        self._changed()

    # ---- what was learned ----------------------------------------------------------------------

    def pair_costs(self) -> dict[tuple[str | None, str], float]:
        """Return the learned seconds per (from, to); from is None for a cold start."""
        return {(source, to): seconds for source, to, seconds in self._record.pairs}

    def hook_costs(self) -> dict[tuple[str, str], float]:
        """Return the learned seconds per (model, hook)."""
        return {(model, hook): seconds for model, hook, seconds in self._record.hook_seconds}

    def set_costs(
        self,
        pairs: Mapping[tuple[str | None, str], float],
        hooks: Mapping[tuple[str, str], float],
    ) -> None:
        """Remember the learned costs, all of them, in seconds."""
        self._record.pairs = [(*key, cost) for key, cost in pairs.items() if math.isfinite(cost)]
        self._record.hook_seconds = [
            (*key, cost) for key, cost in hooks.items() if math.isfinite(cost)
        ]
        self._changed()

    def traits(self, model: str, alive: str) -> Traits:
        """Return what was learned of the model's `alive` of this text; blank for another text."""
        known = self._record.witnesses.get(model)
        if known is None or known.alive != digest(alive):
            return Traits()
        return Traits(known.agreed, known.unfit, known.blind, known.port_stays_open)

    def set_traits(self, model: str, alive: str, traits: Traits) -> None:
        """Remember what was learned of the model's `alive` of this text."""
        self._record.witnesses[model] = Memory(digest(alive), **asdict(traits))
        self._changed()

    # ---- the hook that runs (HookJournal) ------------------------------------------------------

    async def intend(self, model: str, hook: str, run_id: str) -> None:
        """Write that a hook is going to run; returns when it is written, or after 2 s."""
        was = self._record.models.get(model)
        self._record.hooks.append(Note(model, hook, run_id, was))
        self._record.models[model] = "unsettled"
        self._changed()
        await self._flushed()

    async def started(self, run_id: str, pid: int) -> None:
        """Write which process it is; returns when it is written, or after 2 s."""
        start = processes.started_at(pid)
        self._record.hooks = [
            msgspec.structs.replace(note, pid=pid, start=start) if note.run_id == run_id else note
            for note in self._record.hooks
        ]
        self._changed()
        await self._flushed()

    def ended(self, run_id: str) -> None:
        """Forget a hook that has ended; the model stays unsettled until its status is set."""
        self._record.hooks = [note for note in self._record.hooks if note.run_id != run_id]
        self._changed()

    # ---- the last life -------------------------------------------------------------------------

    def _load(self, path: Path) -> None:
        try:
            old = read(path)
        except FileNotFoundError:
            return
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            aside = path.with_name(path.name + ".unreadable")
            self._warn(f"the state file {path} counts as absent, it is now {aside}: {error}")
            path.replace(aside)
            return
        known, new = self._models, self._record
        new.pairs = [one for one in old.pairs if one[1] in known and (one[0] or one[1]) in known]
        new.hook_seconds = [one for one in old.hook_seconds if one[0] in known]
        new.witnesses = {name: one for name, one in old.witnesses.items() if name in known}
        if not old.boot_id or old.boot_id != new.boot_id:
            return  # nothing that ran survives a boot
        for name, status in old.models.items():
            if name in known:
                new.models[name] = status
            elif status != "asleep" and name not in old.woken:
                self._warn(f"{name} was awake when last heard of and is not in the config any more")
        new.woken = old.woken
        new.hooks = old.hooks
        self._leftovers = list(old.hooks)

    async def _settle(self, note: Note, bound: float | None) -> Leftover:
        found: list[tuple[int, int]]
        if note.pid is not None and note.start is not None:
            alive = processes.started_at(note.pid) == note.start
            found = [(note.pid, note.start)] if alive else []
            end: Literal["never ran", "had ended"] = "had ended"
        else:
            # Not even a pid: it stood at the gate, or the disk was sick when it was spawned.
            found = processes.leaders_with(f"LLMUX_HOOK_ID={note.run_id}".encode())[:1]
            end = "never ran"
        for pid, start in found:
            left = None if bound is None else max(0.0, bound - processes.age(start))
            if await processes.gone(pid, start, left):
                return Leftover(note.model, note.hook, "waited for")
            gone = await processes.end_group(pid, start)
            return Leftover(note.model, note.hook, "killed" if gone else "cannot be killed")
        return Leftover(note.model, note.hook, end)

    # ---- writing -------------------------------------------------------------------------------

    def _let_go(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _changed(self) -> None:
        self._version += 1
        self._kick()

    def _kick(self) -> None:
        """Write the latest version on a thread, one at a time; a daemon, for disks can hang."""
        if self._lock < 0 or self.path is None or self._writing or self._written == self._version:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # nobody runs yet: the next change from a loop takes this along
            return
        path, data, version = self.path, dump(self._record), self._version

        def work() -> None:
            error: OSError | None = None
            try:
                replace(path, data, sync=False)
            except OSError as trouble:
                error = trouble
            with contextlib.suppress(RuntimeError):  # the loop has gone
                loop.call_soon_threadsafe(self._wrote, version, error)

        self._writing = True
        try:
            threading.Thread(target=work, name="llmux-state", daemon=True).start()
        except RuntimeError:
            self._wrote(version, OSError(0, "no thread could be started"))

    def _wrote(self, version: int, error: OSError | None) -> None:
        self._writing = False
        if error is None:
            self._written, self._sick = version, False
        elif not self._sick:
            self._sick = True
            self._warn(f"the state file {self.path} could not be written: {error.strerror}")
        for wanted, waiter in self._waiters:
            if wanted <= version and not waiter.done():
                waiter.set_result(None)
        self._waiters = [one for one in self._waiters if not one[1].done()]
        if error is None or self._version > version:
            self._kick()

    async def _flushed(self) -> None:
        """Return when what is known now is written, or cannot be, or takes too long."""
        if self._lock < 0 or self._sick or self._written == self._version:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((self._version, waiter))
        done, _ = await asyncio.wait([waiter], timeout=PATIENCE)
        if not done:
            waiter.cancel()
            if not self._sick:
                self._sick = True
                self._warn(f"the state file {self.path} is slow: hooks do not wait for it any more")
