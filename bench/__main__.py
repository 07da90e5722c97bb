"""`python -m bench`: measures everything in one run, prints the table and writes the page.

`--quick` takes few short rounds and writes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import resource
import shlex
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

from bench import growth, house, relay, report
from bench.load import Asker
from bench.machine import load_average


def say(line: str) -> None:
    """Tell what has just been measured."""
    print(line, flush=True)


def main() -> None:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="rounds that count (8)")
    parser.add_argument("--seconds", type=int, default=2, help="of each turn (2)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 s, no growth")
    parser.add_argument("--own-load", action="store_true", help="do not use wrk")
    parser.add_argument("--no-original", action="store_true", help=f"without {report.ORIGINAL}")
    parser.add_argument("--no-write", action="store_true", help="leave docs/performance.md alone")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds, args.no_write = 2, 1, True
    many_files()
    with tempfile.TemporaryDirectory(prefix="llmux-bench-") as name:
        results = measure(
            Path(name),
            rounds=args.rounds,
            seconds=args.seconds,
            use_wrk=not args.own_load,
            original=None if args.no_original else house.find_original(),
            sizes=() if args.quick else (2, 20, 200),
            crowds=() if args.quick else (10, 100, 1000, 10_000),
            command=shlex.join(
                ["make", "bench"]
                if len(sys.argv) == 1
                else ["python", "-m", "bench", *sys.argv[1:]]
            ),
        )
    measured = report.text(results)
    print(f"\n{measured}")
    if not args.no_write:
        report.write(measured)


def many_files() -> int:
    """Allow as many open files as may be, here and in all that is started; gives how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (max(hard, 65_536), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        except (ValueError, OSError):
            continue
        return most
    return soft


def measure(
    folder: Path,
    *,
    rounds: int,
    seconds: float,
    use_wrk: bool,
    original: str | None,
    sizes: tuple[int, ...],
    crowds: tuple[int, ...],
    command: str,
) -> report.Results:
    """Measure everything; `original` is the program of 2.4.0, None leaves it out."""
    asker = Asker(folder, use_wrk=use_wrk)
    before = load_average()
    gc.freeze()
    with contextlib.ExitStack() as stack:
        stack.callback(asker.close)
        ports = stack.enter_context(house.backend(folder, 2))
        config = folder / "one.yaml"
        house.write_config(config, {"m0": {"port": ports[0]}}, bounds=growth.NO_BOUNDS)
        found = [
            stack.enter_context(house.nginx(folder, ports[0])),
            stack.enter_context(house.original(original, folder, config)) if original else None,
            stack.enter_context(house.bare(folder, ports[0])),
            stack.enter_context(house.ours(folder, config)),
        ]
        contenders = [one for one in found if one is not None]
        for missing, there in zip(("nginx", report.ORIGINAL), found, strict=False):
            if there is None:
                say(f"{missing} is not there: the table goes without it")

        def counted() -> int:
            with urlopen(f"http://127.0.0.1:{ports[0]}/count") as page:
                return int(page.read())

        stream_bytes = {one.name: relay.Series() for one in contenders}
        for one in contenders:
            stream_bytes[one.name].values.append(relay.stream_bytes(one, asker))
            say(f"{one.name:12} {stream_bytes[one.name].middle / 1024:.1f} KiB/open stream")
        request_cost, request_rate = relay.requests(contenders, asker, rounds, seconds, say)
        chunk_cost, chunk_rate = relay.chunks(contenders, asker, counted, rounds, seconds, say)
        flood_cost, flood_rate = relay.chunks(
            contenders, asker, counted, rounds, min(seconds, 1), say, "flood"
        )
        direct = house.Contender(report.BACKEND, ports[0], contenders[0].pid)
        latency = relay.latencies([direct, *contenders], asker, rounds, min(seconds, 1), say)
        switch = _switches(folder, ports, original, rounds * 3)
        models_cost, models_switch = (
            growth.models(folder, ports, sizes, asker, rounds, say) if sizes else ({}, {})
        )
        waiting = [growth.waiting(folder, ports, size, asker, seconds, say) for size in crowds]
    return report.Results(
        request_cost, request_rate, chunk_cost, chunk_rate, flood_cost, flood_rate, latency,
        stream_bytes, switch, models_cost, models_switch, waiting, rounds, before,
        load_average(), asker.name, command,
    )  # fmt: skip


def _switches(folder: Path, ports: list[int], original: str | None, rounds: int) -> relay.Table:
    models = {f"m{at}": {"port": port} for at, port in enumerate(ports)}
    with contextlib.ExitStack() as stack:
        pairs = []
        if original is not None:
            config = folder / "switch-original.yaml"
            ended = house.write_config(config, models)
            pairs.append((stack.enter_context(house.original(original, folder, config)), ended))
        config = folder / "switch-ours.yaml"
        ended = house.write_config(config, models)
        pairs.append((stack.enter_context(house.ours(folder, config)), ended))
        return growth.switches(pairs, rounds, say)


if __name__ == "__main__":
    main()
