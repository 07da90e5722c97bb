"""The demo: three engines take turns behind a real gateway, for whoever is new here.

Importing this costs nothing; what the demo needs is loaded when it runs.
"""

from __future__ import annotations


def run(once: bool = False, port: int | None = None, *, llamacpp: bool = False) -> int:
    """Show the demo and return its exit code; until Ctrl-C, or one round if `once`.

    `port` is where its gateway should listen (3000 if None); the next free one is taken.
    With `llamacpp` the models are real llama.cpp servers, of the extra of that name.
    """
    from llmux.demo.show import run as show  # noqa: PLC0415 - rich and asyncio load only here

    return show(once, port, llamacpp=llamacpp)
