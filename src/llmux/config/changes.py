"""What differs between two configs, by the names that stand in the file.

Pure comparison: what follows from a change is for those to say whom it touches. It refuses to know
files, and which models are awake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from llmux.config.findings import excerpt
from llmux.config.model import Config

RESTART = ("host", "port", "state", "journal", "hooks.cwd")
"""Keys that are read at the start only; `tls` is too where it comes or goes."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between two configs; names in the order of the new file."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    """Keys that hold at once, as `bounds.max_queue` or `models.llama.wake`."""
    restart: tuple[str, ...]
    """Keys that differ and stay as they were until a restart."""

    @property
    def policy(self) -> bool:
        """Whether the policy is another one, or has other options."""
        return bool({"policy.name", "policy.options"} & set(self.changed))


def compare(old: Config, new: Config) -> Changes:
    """Return what has changed from `old` to `new`."""
    differing = [*_differing(old, new, "")]
    fixed = [*RESTART, *(("tls.cert", "tls.key") if _begins_or_ends_tls(old, new) else ())]
    for name, model in new.models.items():
        if name in old.models:
            differing += _differing(old.models[name], model, f"models.{excerpt(name)}.")
    return Changes(
        added=tuple(name for name in new.models if name not in old.models),
        removed=tuple(name for name in old.models if name not in new.models),
        changed=tuple(key for key in differing if key not in fixed),
        restart=tuple(key for key in differing if key in fixed),
    )


def obeyed(old: Config, new: Config) -> Config:
    """Return the config that holds after a reload: `new`, less what needs a restart."""
    hooks = replace(new.hooks, cwd=old.hooks.cwd)
    tls = old.tls if _begins_or_ends_tls(old, new) else new.tls
    fixed = {name: getattr(old, name) for name in ("host", "port", "state", "journal")}
    return replace(new, **fixed, hooks=hooks, tls=tls)


def _begins_or_ends_tls(old: Config, new: Config) -> bool:
    return (old.tls.cert is None) != (new.tls.cert is None)


def asked_otherwise(old: Config, new: Config) -> frozenset[str]:
    """Return the models of both that are asked in another way whether they live."""
    both = [name for name in new.models if name in old.models]
    return frozenset(name for name in both if _asking(old, name) != _asking(new, name))


def _asking(config: Config, name: str) -> tuple[object, ...]:
    one = config.for_model(name)
    return one.port, one.alive, one.alive_timeout


def _differing(old: Any, new: Any, prefix: str) -> Iterator[str]:
    """Name the keys of one section whose values differ, those of its own sections too."""
    for entry in fields(new):
        before, after = getattr(old, entry.name), getattr(new, entry.name)
        if "rule" in entry.metadata:
            if before != after:
                yield prefix + entry.name
        elif is_dataclass(after) and is_dataclass(before):
            yield from _differing(before, after, f"{prefix}{entry.name}.")
