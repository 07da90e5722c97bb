"""A real llama.cpp HTTP server as a process: what the demo and the tests start as an engine.

It is the server of the wheel `xllamacpp`, for whoever has no `llama-server`; it says 503 while its
model loads, as that one does. It knows no hooks and no gateway.

    python llama.py --name NAME --port PORT --model FILE [--owner PID]
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from llmux.demo.engine import runs

LOOK_SECONDS = 1.0
"""Between two looks at whether the owner is still there."""


def serve(name: str, port: int, model: Path, owner: int | None) -> None:
    """Be the server of one model until SIGTERM, or until the process `owner` is gone."""
    import xllamacpp  # noqa: PLC0415 -- 30 MB, of the extra `llamacpp`

    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {name}
    params.port = port
    params.sampling.temp = 2.0  # random weights are dull without
    params.n_ctx = 8192
    params.n_parallel = 2
    params.cpuparams.n_threads = 1
    params.endpoint_slots = True
    server = xllamacpp.Server(params)
    while not over.wait(LOOK_SECONDS) and (owner is None or runs(owner)):
        pass
    del server


def main() -> int:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="llmux.demo.llama", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--owner", type=int, help="end when this process is gone")
    options = parser.parse_args()
    serve(options.name, options.port, options.model, options.owner)
    return 0


if __name__ == "__main__":
    sys.exit(main())
