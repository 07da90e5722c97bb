"""How large a chunked body will be at least, by the sizes that its chunks claim.

llhttp says that a chunk has begun, but not how long it says it is, so that one which claims more
than may come would be read until somebody loses patience. The size is read back out of the bytes:
at the end of a read all that stands behind an open chunk's size line is a piece of its body. This
file refuses to know which size is too large.
"""

from __future__ import annotations

import re
from typing import Final

_KEPT: Final = 40
"""Bytes of a read that are kept for a size line that goes on in the next."""
_SIZE: Final = re.compile(rb"([0-9a-fA-F]+)[ \t]*[;\r]")


class Claims:
    """Follows the reads of one chunked body, from its first chunk on."""

    __slots__ = ("_before", "_tail")

    def __init__(self) -> None:
        self._before = -1
        self._tail = b""

    def begins(self, received: int) -> None:
        """Hear that a chunk's size line is read, behind so many bytes of the body."""
        self._before = received

    def ends(self) -> None:
        """Hear that the chunk is whole."""
        self._before = -1

    def read(self, data: bytes, received: int) -> int:
        """Give how many bytes the body has at least, after a read and with so many received.

        A size line behind more than 40 bytes of itself in an earlier read is not found; what has
        come already is the answer then, as for a chunk that is whole or known.
        """
        before, self._before = self._before, -1
        seen = self._tail + data
        self._tail = seen[-_KEPT:]
        stop = len(seen) - (received - before)
        line = seen.rfind(b"\n", 0, stop - 1) + 1
        if before < 0 or not line or seen[stop - 2 : stop] != b"\r\n":
            return received
        size = _SIZE.match(seen, line, stop)
        return received if size is None else max(received, before + int(size[1], 16))
