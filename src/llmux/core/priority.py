"""What one request counts beside others: the one place where three wishes become one number.

A model, the client's key and the request itself may each say a priority. Whoever holds a key may
lower what its key grants and never raise it. It refuses to know headers, keys and queues.
"""

from __future__ import annotations

import re
from typing import Final

from llmux.errors import BadRequestError

LEAST: Final = 0.01
MOST: Final = 100.0
"""Between these a request's own priority is taken; what is beyond counts as the nearer one."""

_NUMBER: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")


def weight(model: float = 1.0, asked: str | None = None, key: float | None = None) -> float:
    """Return what a request counts: its model's priority times its own.

    Its own is what it `asked` for, else its key's, else 1, never more than its key's (None: no
    key says anything) and between `LEAST` and `MOST`. It is rounded to two digits, so that a
    queue never has more than a few hundred kinds of requests. BadRequestError if `asked` is no
    number above 0.
    """
    own = 1.0 if key is None else key
    if asked is not None:
        own = _read(asked)
        if key is not None:
            own = min(own, key)
    return model * float(f"{min(max(own, LEAST), MOST):.2g}")


def _read(asked: str) -> float:
    number = float(asked) if _NUMBER.fullmatch(asked.strip(" \t")) else 0.0
    if number == 0:
        shown = ascii(asked if len(asked) <= 40 else asked[:40] + "...")
        raise BadRequestError(
            f"x-llmux-priority must be one number above 0 without an exponent, not {shown}; "
            "2 counts twice as much as usual, 0.5 half as much."
        )
    return number
