"""Heads that were read before and come again, but for the digits of their `Content-Length`.

Clients and model servers send the same head again and again. One that is equal to the byte means
the same, so only its length is read anew. Which heads may be remembered is the business of those
who parsed them; this file knows no fields but that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

Meaning = TypeVar("Meaning")

_MOST: Final = 128
_LARGEST: Final = 4096
_MOST_DIGITS: Final = 15
ZERO: Final = 0x30
"""The digit with which no plain length begins, so that its text can be sent on as it came."""


class Known(Generic[Meaning]):
    """A head that was read before, in two halves around the digits of its length.

    The same head stands at the start of `data` if `data` starts with `before`, the next `after`
    within `reach` bytes from `at` begins at `stop`, and `data[at:stop]` is
    digits alone of which the first is not `ZERO`. Lengths tend to
    be as long as the last one, so `stop` is looked for at `guess` first.
    """

    __slots__ = ("after", "at", "before", "era", "guess", "meaning", "reach", "size")

    def __init__(self, before: bytes, after: bytes, meaning: Meaning, era: int) -> None:
        self.before = before
        self.after = after
        self.at = len(before)
        self.guess = self.at + 1
        self.size = len(after)
        self.reach = _MOST_DIGITS + len(after)
        self.meaning = meaning
        self.era = era
        """It holds only in this era of its memo."""


class Memo(Generic[Meaning]):
    """Remembers what heads mean; bounded in number and size.

    Only heads that were parsed and found plain may be put in; `worth` may refuse more of them.
    """

    __slots__ = ("_heads", "_worth", "era", "latest")

    def __init__(self, worth: Callable[[Meaning], bool] = lambda meaning: True) -> None:
        self._heads: dict[bytes, Known[Meaning]] = {}
        self._worth = worth
        self.latest: Known[Meaning] | None = None
        """The head that was put in or found last."""
        self.era = 0
        """Whoever keeps a `Known` asks whether it is still of this era."""

    def put(self, before: bytes, after: bytes, meaning: Meaning) -> None:
        """Remember a head; a full memo begins anew."""
        if len(before) + len(after) <= _LARGEST and self._worth(meaning):
            if len(self._heads) >= _MOST:
                self._heads.clear()
            self.latest = self._heads[before + after] = Known(before, after, meaning, self.era)

    def find(self, before: bytes, after: bytes) -> Known[Meaning] | None:
        """Give the head with these halves, if it is remembered."""
        known = self._heads.get(before + after)
        if known is None or known.before != before:
            return None
        self.latest = known
        return known

    def forget(self) -> None:
        """Begin anew: what was remembered means something else now."""
        self._heads.clear()
        self.latest = None
        self.era += 1


def halves(data: bytes, end: int) -> tuple[bytes, bytes, bytes] | None:
    """Cut a head that ends at `end` around the digits of its `Content-Length`; None if not plain.

    Only the usual spelling is plain: a name at the start of a line, one space, digits alone that
    begin with no zero. Gives what stands before the digits, the digits, and the rest of the head.
    """
    at = data.find(b"ength: ", 0, end) + 7
    stop = data.find(b"\r\n", at, end)
    digits = data[at:stop]
    if (
        at == 6
        or data[at - 18 : at - 7].lower() != b"\r\ncontent-l"
        or not digits.isdigit()
        or digits[0] == ZERO
        or len(digits) > _MOST_DIGITS
    ):
        return None
    return data[:at], digits, data[stop:end]
