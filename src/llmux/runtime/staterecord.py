"""The state file's form: what stands in it, where it lies, how it is read and replaced.

It refuses to know locks, loops and lives; `statefile` keeps those.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

FORMAT = 1
SIZE_LIMIT = 4 * 1024 * 1024
"""A file of more bytes is not ours."""

Status = Literal["awake", "asleep", "unsettled"]
"""`unsettled`: a hook has begun and nobody has yet seen how the model came out of it."""


class Note(msgspec.Struct, frozen=True):
    """A hook that runs, or was about to: pid and start time are None until it was spawned."""

    model: str
    hook: str
    run_id: str
    was: Status | None = None
    """The model's status before it."""
    pid: int | None = None
    start: int | None = None


class Memory(msgspec.Struct):
    """What was learned of the `alive` whose text this is: another text has to be learned anew."""

    alive: str
    agreed: bool = False
    unfit: str | None = None
    blind: bool = False
    port_stays_open: bool = False


class Woken(msgspec.Struct, frozen=True):
    """By which hooks a model was woken: only their `sleep` is sure to put it to sleep again."""

    port: int
    wake: str
    """Its digest: it is never run again."""
    sleep: str
    kill: str | None = None
    sleep_timeout: float | None = None
    kill_timeout: float | None = None


class Record(msgspec.Struct):
    """The file's content."""

    llmux_state: int
    boot_id: str = ""
    config: str = ""
    models: dict[str, Status] = {}
    """Those that came awake most recently stand last; who is missing was never seen."""
    hooks: list[Note] = []
    woken: dict[str, Woken] = {}
    """Of those that are not asleep, also where the config does not have them any more."""
    pairs: list[tuple[str | None, str, float]] = []
    """Learned costs: from, to, seconds."""
    hook_seconds: list[tuple[str, str, float]] = []
    """Learned costs: model, hook, seconds."""
    witnesses: dict[str, Memory] = {}


def state_path(
    setting: str, config: Path | None, environ: Mapping[str, str] = os.environ
) -> Path | None:
    """Return where the state file of a config lies; None where there is none.

    `setting` is `auto` (the user's state directory, the name a hash of the config's real path),
    `off`, or a path relative to the config's directory.
    """
    if setting == "off" or (setting == "auto" and config is None):
        return None
    if setting != "auto" or config is None:
        base = Path() if config is None else config.resolve().parent
        return base / Path(setting).expanduser()
    home = environ.get("XDG_STATE_HOME", "")
    if not Path(home).is_absolute():  # the standard says: ignore it then
        home = str(Path(environ.get("HOME") or Path.home()) / ".local/state")
    name = hashlib.sha256(os.fsencode(config.resolve())).hexdigest()[:16]
    return Path(home) / "llmux" / f"{name}.json"


def read(path: Path) -> Record:
    """Return the file's content; ValueError or msgspec.MsgspecError where it is not ours."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > SIZE_LIMIT:
            raise ValueError("it is too large")
        data = file.read(size + 1)  # room is made for as much as is asked for
    record = msgspec.json.decode(data, type=Record)
    if record.llmux_state != FORMAT:
        raise ValueError(f"it has format {record.llmux_state}, this llmux knows {FORMAT}")
    return record


def dump(record: Record) -> bytes:
    """Return the record as the file holds it; a model's name may be any text."""
    text = json.dumps(msgspec.to_builtins(record), separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def replace(path: Path, data: bytes, *, sync: bool) -> None:
    """Replace the file as a whole; `sync` waits for the disk. Raises OSError."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    fresh.replace(path)


def digest(text: str) -> str:
    """Return a short name for a text, to see whether it is still the same."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
