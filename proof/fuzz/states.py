"""State files: any bytes, and real ones changed, as the next life of a gateway finds them.

Reading one never raises: a file that is not ours counts as absent, which is told once, and what is
written after it can be read. No hook is settled here, for a made-up pid is somebody's. This file
refuses to know what is done with what was remembered.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

from llmux.core.costs import SwitchCostTracker
from llmux.runtime import processes
from llmux.runtime.statefile import StateFile
from llmux.runtime.staterecord import SIZE_LIMIT, read
from proof.fuzz.target import Broken, Target

_BOOT: Final = processes.boot_id()
_MODELS: Final = ("m", "n", "é")
_NUMBERS: Final = (
    "0", "1", "-1", "1.5", "1e400", "-0.0", "NaN", "Infinity", "9" * 30, "9223372036854775808",
    "1e-400", "true", "null", '"1"', "[]", "{}", "99999999999",
)  # fmt: skip
_NAMES: Final = ('"m"', '"n"', '"é"', '"gone"', '""', '"\\ud800"', '"\\u0000"', "null", "1", "[]")
_STATUSES: Final = ('"awake"', '"asleep"', '"unsettled"', '"?"', "null", "1")
TOKENS: Final = tuple(
    one.encode("utf-8", "surrogatepass")
    for one in (
        *_NUMBERS, *_NAMES, *_STATUSES, "{", "}", "[", "]", ",", ":", '"models":', '"hooks":', '"pairs":',
        '"hook_seconds":', '"witnesses":', '"boot_id":', '"llmux_state":', '"pid":', '"\ud800"', "\0",
        '"llmux_state":1,', '"llmux_state":2,',
    )
)  # fmt: skip


def draw(dice: Random) -> bytes:
    """Make a state file: the form is right, what stands in it is so mostly."""
    sane = dice.random() < 0.4

    def of(right: str, options: tuple[str, ...]) -> str:
        return right if sane or dice.random() < 0.7 else dice.choice(options)

    def number() -> str:
        return of(f"{dice.uniform(0, 99):.3f}", _NUMBERS)

    def name() -> str:
        return of(dice.choice(_NAMES[:4]), _NAMES)

    def rows(*parts: Any) -> str:
        many = range(dice.randrange(4))
        return "[" + ",".join("[" + ",".join(one() for one in parts) + "]" for _ in many) + "]"

    models = ",".join(
        f"{name()}:{of(dice.choice(_STATUSES[:3]), _STATUSES)}" for _ in range(dice.randrange(4))
    )
    hooks = ",".join(
        f'{{"model":{name()},"hook":{of(chr(34) + "wake" + chr(34), _NAMES)},"run_id":{name()},'
        f'"was":{of("null", _STATUSES)},"pid":{of("null", _NUMBERS)},"start":{of("null", _NUMBERS)}}}'
        for _ in range(dice.choice((0, 0, 1, 2)))
    )
    witness = f'{{"alive":"x","agreed":{of("true", _NUMBERS)},"unfit":{of("null", _NAMES)}}}'
    text = (
        f'{{"llmux_state":{of("1", _NUMBERS)},"boot_id":{of(json.dumps(_BOOT), _NAMES)},'
        f'"config":{of(chr(34) * 2, _NAMES)},"models":{{{models}}},"hooks":[{hooks}],'
        f'"pairs":{rows(lambda: of("null", _NAMES), name, number)},'
        f'"hook_seconds":{rows(name, lambda: of(chr(34) + "wake" + chr(34), _NAMES), number)},'
        f'"witnesses":{{{name()}:{witness}}}}}\n'
    )
    data = text.encode("utf-8", "surrogatepass")
    if dice.random() < 0.02:
        return b"[" * dice.choice((1000, 20_000))
    return data[: dice.randrange(len(data) + 1)] if dice.random() < 0.1 else data


class _Lives:
    """A place for a state file that one life after the other finds."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="llmux-fuzz-")
        self._path = Path(self._folder.name) / "state.json"

    def run(self, data: bytes, dice: Random) -> str:
        """Begin a life with this file, ask all that it is asked, and let another life read it."""
        path = self._path
        path.write_bytes(data)
        warned: list[str] = []
        first = self._life(warned)
        told = _asked(first)
        first.set_status(dice.choice(_MODELS), dice.choice(("awake", "asleep", "unsettled")))
        first.set_costs(first.pair_costs(), first.hook_costs())
        first._let_go()
        read(path)  # what a life leaves, the next one reads
        again: list[str] = []
        second = self._life(again)
        if again or _asked(second) != told:
            raise Broken(f"the next life has {_asked(second)!r} instead of {told!r}: {again}")
        second._let_go()
        aside = path.with_name(path.name + ".unreadable")
        unreadable = aside.exists()
        if unreadable != any("counts as absent" in word for word in warned):
            raise Broken(f"it was put aside: {unreadable}, told was {warned}")
        aside.unlink(missing_ok=True)
        return f"{unreadable} {len(warned)} {len(data) > SIZE_LIMIT} {told!r:.60}{len(str(told)) // 40}"

    def _life(self, warned: list[str]) -> StateFile:
        state = StateFile(self._path, _MODELS, warn=warned.append)
        state.open()
        return state

    def close(self) -> None:
        """Put the place away."""
        self._folder.cleanup()


def _asked(state: StateFile) -> tuple[object, ...]:
    """Ask a state file all that a life asks it; what it learned goes where it is used."""
    costs = SwitchCostTracker()
    costs.restore(state.pair_costs(), state.hook_costs())
    for note in state._leftovers:
        if note.pid is not None and note.start is not None:
            processes.started_at(note.pid)
            processes.age(note.start)
    last: Mapping[str, object] = {name: state.last_known_awake(name) for name in _MODELS}
    return (
        state.awake_order(), state.unsettled(), state.pair_costs(), state.hook_costs(), last,
        [state.traits(name, "x") for name in _MODELS], repr(state),
    )  # fmt: skip


TARGET: Final = Target("states", draw, _Lives, TOKENS, share=4)
