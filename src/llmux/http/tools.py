"""Answers that call a tool: their clients ask again as soon as the tool has run.

Where the policy wants to know, an answer to a request that offers tools is read for it on its way
to the client, in the words of the dialects. Text that a model writes cannot be taken for it:
within a string of JSON each quotation mark has a backslash before it. Chunks of HTTP are read with
their size lines, which may stand in the middle of a word, and are passed over. What is compressed
is not read. This file refuses to know what is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from llmux.http.relay import Exchange
from llmux.http.upstream import Upstream

_OFFER: Final = b'"tools"'
_LARGEST: Final = 4_194_304
"""Bytes of a request above which nobody looks whether it offers tools."""
_CALL: Final = re.compile(
    rb'"(?:finish|stop)_reason"\s*:\s*"(?:tool_calls|tool_use|function_call)"'
    rb'|"tool_calls"\s*:\s*\[\s*\{'
    rb'|"type"\s*:\s*"(?:function|custom_tool)_call"'
)
_SIZE_LINE: Final = re.compile(rb"\r\n[0-9a-fA-F]+(?:;[^\r\n]*)?\r\n")
"""Between two chunks; JSON and its streams have no such line of their own."""
_WHOLE: Final = b"\n\n\r\n"
"""How a chunk ends that ends with an event: no word goes on behind it."""
_KEPT: Final = 64
"""Bytes of a piece that are looked at again with the next: a call may lie across both."""


def offers_tools(body: bytes) -> bool:
    """Say whether a request names tools that its model may call."""
    return len(body) <= _LARGEST and _OFFER in body


class ToolWatch:
    """Hands an answer's bytes on, and knows whether they call a tool."""

    __slots__ = ("_last", "_on_data", "found")

    def __init__(self, on_data: Callable[[bytes], None]) -> None:
        self._on_data = on_data
        self._last = b""
        self.found = False

    def __call__(self, data: bytes) -> None:
        """Take the next bytes, whatever they are cut at."""
        if not self.found:
            whole = data.endswith(_WHOLE)
            if self._last or not whole or data.count(b"\r") != 2:  # not one event in one chunk
                text = _SIZE_LINE.sub(b"", self._last + data)
                self._last = b"" if whole else text[-_KEPT:]
                self.found = _CALL.search(text) is not None
            elif b"tool_" in data or b"function_call" in data:
                self.found = _CALL.search(data) is not None
        self._on_data(data)


class WatchingExchange(Exchange):
    """An exchange that tells the gate, just before it leaves, that its client comes back."""

    __slots__ = ()

    def on_head(self, upstream: Upstream) -> bytes | None:
        """Begin to read, if there is anything to look for."""
        offered = offers_tools(self._request.body)
        head = super().on_head(upstream)
        if offered and head is not None and upstream.answer.status < 300:
            self.on_data = ToolWatch(self.on_data)
        return head

    def on_end(self) -> None:
        """Tell what was found, unless the client itself has said what it asks next."""
        watch = self.on_data
        if (
            type(watch) is ToolWatch
            and watch.found
            and self._listed
            and not self._over
            and self._request.next_model is None
        ):
            self._front.gateway.gate.returning(self)
        super().on_end()
