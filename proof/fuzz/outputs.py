"""What hooks print: any bytes, through the file that keeps their end, into both kinds of log lines.

Whatever a hook prints, its line stays one JSON object, people's terminals get no control
character, and neither grows with the output. This file refuses to know how hooks are run.
"""

from __future__ import annotations

import json
import logging
import os
from random import Random
from typing import Final

from llmux.core.news import HookEnded
from llmux.runtime.child import OUTPUT_LIMIT, TAIL_BYTES, Output
from llmux.telemetry.lines import ConsoleLines, JsonLines
from llmux.telemetry.log import _line
from proof.fuzz.target import Broken, Target, pieces, some

_LINES: Final = (
    b"loading\n", b"done\r\n", b"10%\r20%\r", b"\x1b[31mred\x1b[0m\n", b"\x1b]0;title\x07", b"\0\0",
    b"\xff\xfe", "ünïcödé \u4f60\u597d\n".encode(), b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xe2\x80\xae",
    b"\xe2\x80\xa8", b"\x85", b"\x0b\x0c", b"\x08\x08\x08", b'{"json": "\\n"}\n', b'" = \' \\', b"\n" * 50,
    b"x" * 300, b"%s %d {0} {}", b"Traceback (most recent call last):\n", b"\xef\xbb\xbf", b"\x7f",
)  # fmt: skip
TOKENS: Final = _LINES
_MOST: Final = 60_000
"""Characters that a line may have: 8,000 of output, each escaped at worst."""


def draw(dice: Random) -> bytes:
    """Make an output: words, colours, broken text, and now and then much of it."""
    made = some(dice, _LINES, dice.choice((2, 10, 60)))
    if dice.random() < 0.2:
        made += bytes(dice.randrange(256) for _ in range(dice.randrange(200)))
    if dice.random() < 0.05:
        made *= dice.choice((20, 200))
    return made[:20_000]


class _Outputs:
    """One output file, used by run after run of the hook as in life."""

    def __init__(self) -> None:
        self._output = Output()
        self._formats = (JsonLines(), ConsoleLines())

    def run(self, data: bytes, dice: Random) -> str:
        """Print it, perhaps behind what an earlier run left; look at its end and at the lines."""
        output = self._output
        if dice.random() < 0.3:
            os.write(output.descriptor, data[: dice.randrange(len(data) + 1)])
        output.begin()
        for piece in pieces(dice, data):
            os.write(output.descriptor, piece)
            output.trim()
        if output.size > OUTPUT_LIMIT:
            raise Broken(f"the file has {output.size:,} bytes")
        tail = output.tail()
        if tail != data[-TAIL_BYTES:].decode(errors="replace"):
            raise Broken(f"the end of it is {tail[-80:]!r}")
        ended = HookEnded(
            "m", dice.choice(("wake", "sleep", "alive")), False, 1, 1.5, tail, "exit code 1"
        )
        level, event, message, fields = _line(ended)
        record = logging.LogRecord("llmux", level, "", 0, "%s", (message,), None)
        record.event, record.fields = event, fields
        machine, people = (one.format(record) for one in self._formats)
        read = json.loads(machine)
        if read["event"] != "hook_failed" or "\n" in machine or not machine.isascii():
            raise Broken(f"a line of JSON is {machine[:200]!r}")
        if any(not row.isprintable() for row in people.split("\n")):
            raise Broken(f"a line for people is {people[:200]!r}")
        if max(len(machine), len(people)) > _MOST:
            raise Broken(f"a line has {len(machine):,} characters")
        return (
            f"{len(data).bit_length()} {tail.isprintable()} {people.count(chr(10))} {'�' in tail}"
        )

    def close(self) -> None:
        """Let go of the file."""
        self._output.close()


TARGET: Final = Target("outputs", draw, _Outputs, TOKENS, share=5)
