"""`python -m bench.profile`: where the time of the whole llmux goes under load.

Function by function with cProfile, which makes calls look dearer than they are; and, where
`perf` is installed and allowed, how much of it is the interpreter, the parser, uvloop, libc and
the kernel, without cProfile.
"""

from __future__ import annotations

import argparse
import pstats
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import house
from bench.load import Asker, body
from bench.relay import CONNECTIONS


def main() -> None:
    """Run the gateway under load and print two tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument(
        "--stream", action="store_true", help="streams of chunks, not short answers"
    )
    parser.add_argument("--lines", type=int, default=40)
    args = parser.parse_args()
    content = body("m0", "paced" if args.stream else "at once")
    with tempfile.TemporaryDirectory(prefix="llmux-profile-") as name:
        folder = Path(name)
        asker = Asker(folder)
        with house.backend(folder) as ports:
            config = folder / "one.yaml"
            house.write_config(config, {"m0": {"port": ports[0]}})
            by_library(folder, config, asker, content, args.seconds)
            by_function(folder, config, asker, content, args.seconds, args.lines)


def by_function(
    folder: Path, config: Path, asker: Asker, content: bytes, seconds: int, lines: int
) -> None:
    """Print the functions that took longest."""
    port = house.free_port()
    out = folder / "profile"
    command = [sys.executable, "-m", "cProfile", "-o", str(out), "-m", "llmux"]
    with house.running([*command, "-c", str(config), "-p", str(port)], port, folder):
        asker.ask(port, content, CONNECTIONS, seconds)
    pstats.Stats(str(out)).strip_dirs().sort_stats("tottime").print_stats(lines)


def by_library(folder: Path, config: Path, asker: Asker, content: bytes, seconds: int) -> None:
    """Print the share of each library and of the kernel, if `perf` can be used."""
    perf = shutil.which("perf")
    if perf is None:
        print("perf is not installed: no table by library")
        return
    data = folder / "perf.data"
    with house.ours(folder, config) as gateway:
        asker.ask(gateway.port, content, CONNECTIONS, 1)
        command = [perf, "record", "-q", "-o", str(data), "-p", str(gateway.pid)]
        with subprocess.Popen(
            [*command, "--", "sleep", str(seconds)], stderr=subprocess.DEVNULL
        ) as recording:
            asker.ask(gateway.port, content, CONNECTIONS, seconds)
            recording.wait()
    done = subprocess.run(
        [perf, "report", "-q", "-i", str(data), "--no-children", "--sort", "dso"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout.strip() or f"perf may not look at processes here: {done.stderr.strip()}")


if __name__ == "__main__":
    main()
