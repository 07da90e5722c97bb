"""Journals and traces: real ones changed, and made-up ones, through `simulate` and `replay`.

What cannot be read is named by file and line in one error; anything else is played to its end.
The journals that are changed come from the real driver on virtual time. This file refuses to know
what a simulation finds out.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any, Final

from llmux.cli import replay as replay_verb
from llmux.cli import simulate as simulate_verb
from llmux.core.events import Surveyed
from llmux.core.recorded import RecordedBoard
from llmux.core.ticket import Ticket
from llmux.policy.balance import BalancePolicy
from llmux.policy.fifo import FifoPolicy
from llmux.runtime.switcher import ModelSwitcher
from llmux.telemetry.journal import Journal
from llmux.testing import FakeHooks, run_virtual
from proof.fuzz.target import Broken, Target

_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 7, 1.5, -0.5, 1e9, 1e300, -1e300, 2**63, 10**30, "", "a", "zz", "é", "\ud800", [],
    {}, [[]], [1], ["a"], {"a": 1}, "enter", "leave", "told", "gap", "policy", "HookEnded", "RequestWaits",
    "AlarmRang", "PolicyAnswered", "SwitchNow", "Defer", "Skip", "Surveyed", "Reconfigured", "x" * 3000,
)  # fmt: skip
TOKENS: Final = (
    *(json.dumps(one).encode() for one in _VALUES),
    b"[", b"]", b"{", b"}", b",", b":", b"\n", b"\r\n", b"\0", b"\xff", b"NaN", b"Infinity", b"1e999", b"9" * 400,
    b'[1.0,"enter",1,"a",false,1.0,10]\n', b'[2.0,"leave",1,null]\n', b'[3.0,"gap"]\n', b'{"llmux_journal":1}\n',
    b'[4.0,"told",["HookEnded",1,true,1.0,"",0,false],[]]\n', b"t,model,prompt_tokens,output_tokens\n",
    b'"', b"1,a,10,10\n", b"-1,a,1e9,1\n", b",,,,\n", b"2026-01-01 00:00:00,5,5\n",
)  # fmt: skip
_HEADS: Final = (
    b"t,model,prompt_tokens,output_tokens\n", b"t,model,prompt_tokens,output_tokens,max_tokens,priority\n",
    b"TIMESTAMP,ContextTokens,GeneratedTokens\n", b"Timestamp,Model,Request tokens,Response tokens\n", b"t,model\n",
)  # fmt: skip
_CELLS: Final = (
    b"0", b"1", b"2.5", b"10", b"-1", b"1e3", b"1e400", b"nan", b"inf", b"", b" ", b"a", b"b", b'"a,b"', b'"', b"\xff",
    b"2026-01-01 00:00:01.5", b"2026-13-01", b"9" * 400, b"0x1", b"\0", b"1_0", b"\xd9\xa3",
)  # fmt: skip


class _Asked(Ticket):
    """A request that allows 50 tokens."""

    def most_tokens(self) -> int | None:
        return 50


@functools.cache
def _real() -> tuple[bytes, ...]:
    """Two journals that were really written: of fifo, and of balance."""
    return tuple(
        _written(kind(), name) for kind, name in ((FifoPolicy, "fifo"), (BalancePolicy, "balance"))
    )


def _written(policy: FifoPolicy | BalancePolicy, name: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="llmux-fuzz-") as folder:
        path = Path(folder) / "journal"

        async def live() -> None:
            hooks = FakeHooks({"a": (1.0, 9.0), "b": (1.0, 9.0)})
            switcher = ModelSwitcher(hooks, policy, survey=True, board=RecordedBoard)
            assert isinstance(switcher.board, RecordedBoard)
            journal = Journal(path, switcher.board, (name, {}), 10**9)
            switcher.tell(Surveyed(()))
            dice = Random(7)

            async def one(model: str, seconds: float, patience: float) -> None:
                ticket = _Asked(switcher.board.lane(model), asyncio.get_running_loop().time())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        await switcher.admission(ticket)
                    await asyncio.sleep(seconds)
                switcher.leave(ticket)

            async with asyncio.TaskGroup() as group:
                for _ in range(25):
                    await asyncio.sleep(dice.expovariate(0.3))
                    patience = dice.choice((5.0, 1000.0))
                    group.create_task(one(dice.choice("ab"), dice.expovariate(0.2), patience))
            await switcher.stop()
            journal._turn()
            journal.close()

        run_virtual(live())
        return path.read_bytes()


def draw(dice: Random) -> bytes:
    """Make a journal, or a CSV."""
    if dice.random() < 0.25:
        rows = [
            b",".join(
                dice.choice(_CELLS[:4] if dice.random() < 0.8 else _CELLS)
                for _ in range(dice.choice((3, 4, 4, 6)))
            )
            for _ in range(dice.randrange(12))
        ]
        return dice.choice((b"", b"\xef\xbb\xbf")) + dice.choice(_HEADS) + b"\n".join(rows)
    lines = dice.choice(_real()).splitlines()
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(lines))
        match dice.randrange(6):
            case 0:
                del lines[at : at + dice.randrange(1, 4)]
            case 1:
                lines.insert(dice.randrange(len(lines)), lines[at])
            case 2:
                lines[at] = lines[at][: dice.randrange(len(lines[at]) + 1)]
            case _:
                with contextlib.suppress(ValueError):
                    lines[at] = json.dumps(_changed(dice, json.loads(lines[at]))).encode()
        if not lines:
            break
    return b"\n".join(lines) + dice.choice((b"\n", b"\n", b""))


def _changed(dice: Random, value: Any) -> Any:
    """Change one thing somewhere in a value."""
    if isinstance(value, list) and value and dice.random() < 0.85:
        at = dice.randrange(len(value))
        if dice.random() < 0.1:
            return [*value[:at], *value[at + 1 :]]
        return [*value[:at], _changed(dice, value[at]), *value[at + 1 :]]
    if isinstance(value, dict) and value and dice.random() < 0.85:
        key = dice.choice(list(value))
        if dice.random() < 0.1:
            return {one: value[one] for one in value if one != key}
        return value | {key: _changed(dice, value[key])}
    if isinstance(value, int | float) and dice.random() < 0.4:
        return value + dice.choice((-10, -1, 0.001, 1, 10, 1e6))
    return dice.choice(_VALUES)


class _Verbs:
    """The two verbs, called as the command line calls them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="llmux-fuzz-")
        self._path = Path(self._folder.name) / "trace"

    def run(self, data: bytes, dice: Random) -> str:
        """Simulate it, or replay it."""
        self._path.write_bytes(data)
        if dice.random() < 0.5:
            policy = dice.choice(("fifo", "balance", "fifo-2.4"))
            return "s" + self._call(
                simulate_verb.command, ["--trace", str(self._path), "--policy", policy]
            )
        return "r" + self._call(replay_verb.command, [str(self._path)])

    def _call(self, verb: Any, arguments: list[str]) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                verb.main(arguments, standalone_mode=False)
                code: object = 0
            except SystemExit as end:
                code = end.code
        said = err.getvalue()
        if code not in (0, 1, 2) or (code == 2 and not said.strip()):
            raise Broken(f"it ends with {code!r} and says {said[:300]!r}")
        if (
            any(not one.isprintable() for one in said.rstrip("\n").split("\n"))
            or len(said) > 20_000
        ):
            raise Broken(f"it says {said[:300]!r}")
        if "Traceback" in said:
            raise Broken(f"it says {said[-300:]!r}")
        shape = "".join(one for one in said.partition(": ")[2] if one.isalpha() or one == " ")
        return f"{code} {shape[:60]} {out.getvalue().count(chr(10)) if code else ''}"

    def close(self) -> None:
        """Put the folder away."""
        self._folder.cleanup()


TARGET: Final = Target("journals", draw, _Verbs, TOKENS, share=2, floor_secs=2.0, stretches=False)
