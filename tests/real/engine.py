"""Starts a real llama.cpp HTTP server, the way a wake hook does that does not wait for it.

    engine.py NAME MODEL PORT PID_FILE     returns when the port is open, which is not yet awake

What `/health` says then is noted beside the pid file: 503 while the model still loads.
"""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
from pathlib import Path

from llmux.demo import llama


def start(name: str, model: str, port: str, pid_file: Path) -> int:
    command = [sys.executable, "-P", llama.__file__, "--name", name, "--model", model]
    with pid_file.with_suffix(".log").open("ab") as log:
        child = subprocess.Popen([*command, "--port", port], stdout=log, stderr=log)
    pid_file.write_text(str(child.pid))
    while child.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            pid_file.with_suffix(".health").write_text(str(connection.getresponse().status))
            return 0
        time.sleep(0.01)
    return 1


if __name__ == "__main__":
    sys.exit(start(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])))
