"""A real llama.cpp HTTP server as a process, the way a wake hook starts one.

    engine.py start MODEL PORT PID_FILE     returns when the port is open, which is not yet awake
    engine.py MODEL PORT PID_FILE           lives until SIGTERM

What `/health` says when `start` returns is noted beside the pid file: 503 while the model still
loads. It knows nothing of llmux.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def start(model: str, port: str, pid_file: Path) -> int:
    with pid_file.with_suffix(".log").open("ab") as log:
        command = [sys.executable, __file__, model, port, str(pid_file)]
        child = subprocess.Popen(command, stdout=log, stderr=log)
    pid_file.write_text(str(child.pid))
    while child.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            pid_file.with_suffix(".health").write_text(str(connection.getresponse().status))
            return 0
        time.sleep(0.01)
    return 1


def live(model: str, port: str, pid_file: Path) -> int:
    import xllamacpp  # noqa: PLC0415 -- `start` has no use for 30 MB

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port = int(port)
    params.n_ctx = 8192
    params.n_parallel = 2
    params.cpuparams.n_threads = 1
    params.endpoint_slots = True
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    server = xllamacpp.Server(params)
    over.wait()
    del server
    pid_file.unlink()
    return 0


def main() -> int:
    *verb, model, port, pid_file = sys.argv[1:]
    return (start if verb == ["start"] else live)(model, port, Path(pid_file))


if __name__ == "__main__":
    sys.exit(main())
