"""`llmux serve`: load the config, say where the API is, run until a signal, leave with a code.

It refuses to know how the parts are put together (`llmux.build`) and live (`llmux.run`), and
what is worth a warning (`llmux.cli.banner`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, NoReturn

import click
from rich.console import Console

from llmux.cli.banner import banner, notices, started_fields
from llmux.cli.options import EXIT_FAILED, EXIT_OK, EXIT_USAGE, Flags, gathered, say, shared
from llmux.config import Config, Loaded, load_config
from llmux.errors import ConfigError, LlmuxError, PolicyError
from llmux.run import run_gateway
from llmux.telemetry import log

_log = logging.getLogger("llmux")


@click.command("serve", context_settings={"help_option_names": ["-h", "--help"]})
@shared
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Serve the models; what llmux without a verb does."""
    run(gathered(ctx, given))


class _EndedEarly(KeyboardInterrupt):
    """A signal wants the end before there is a loop that hears it.

    No SystemExit: the fence around a policy's file would take that for the file's own.
    """


def run(flags: Flags) -> NoReturn:
    """Serve until a signal ends it, then exit: 0 after a signal, 2 config, 1 all else."""
    try:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, _end_early)  # until the loop has its own
        code = _serve(flags)
    except _EndedEarly:
        code = EXIT_OK
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # it has ended well; one more must not say otherwise
    log.flush()
    sys.exit(code)


def _end_early(*_: object) -> NoReturn:
    raise _EndedEarly


def _serve(flags: Flags) -> int:
    hung_up = False

    def remember(*_: object) -> None:
        nonlocal hung_up
        hung_up = True

    signal.signal(signal.SIGHUP, remember)  # likewise; the file may have been read already

    def read() -> Loaded:
        return with_flags(load_config(flags.path, host=flags.host, port=flags.port), flags)

    try:
        loaded = read()
    except ConfigError as error:
        leave(str(error), EXIT_USAGE)
    config = loaded.config
    log.configure(config.log.format, config.log.level)
    ready = False

    def greet(host: str, port: int) -> None:
        nonlocal ready
        del host
        ready = True
        _greet(loaded, port)
        if hung_up:
            signal.raise_signal(signal.SIGHUP)

    try:
        return _on_a_loop(run_gateway(config, on_ready=greet, reread=read, known=loaded.warnings))
    except (ConfigError, PolicyError) as error:
        leave(f"{flags.path}: {error}", EXIT_USAGE)
    except LlmuxError as error:
        leave(str(error), EXIT_FAILED)
    except OSError as error:
        if ready:
            raise
        leave(_cannot_listen(config, error), EXIT_FAILED)


def with_flags(loaded: Loaded, flags: Flags) -> Loaded:
    """Let the command line rule over the config's `log`."""
    told = loaded.config.log
    told = replace(
        told,
        format=flags.log_format or told.format,
        level="debug" if flags.verbose else told.level,
    )
    return replace(loaded, config=replace(loaded.config, log=told))


def leave(message: str, code: int) -> NoReturn:
    """Say on standard error why it ends, and end."""
    log.flush()
    say(message, err=True)
    sys.exit(code)


def _greet(loaded: Loaded, port: int) -> None:
    config = loaded.config
    told = notices(config, loaded.warnings, loaded.from_2_4)
    if config.log.format == "json":
        fields = started_fields(config, port)
        _log.info("llmux serves", extra={"event": "gateway_started", "fields": fields})
        for notice in told:
            _log.warning("%s", notice.text, extra={"event": "config_notice"})
        return
    log.flush()
    with contextlib.suppress(OSError, ValueError):  # a full log device must not stop the start
        Console(highlight=False).print(banner(config, told, port), soft_wrap=True)
        print(end="", flush=True)


def _on_a_loop(main: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not there on every Python that we run on
    except ImportError:
        return None
    return uvloop.new_event_loop


def _cannot_listen(config: Config, error: OSError) -> str:
    if isinstance(error, socket.gaierror) or not error.errno:
        reason = error.strerror or str(error)
    else:
        reason = os.strerror(error.errno)  # asyncio's own words repeat the address
    way_out = {
        errno.EADDRINUSE: "stop what listens there, or take another port with --port",
        errno.EACCES: "ports below 1024 need more rights; take another with --port",
    }.get(error.errno or 0, "choose an address of this machine with --host")
    where = f"{config.host}:{config.port}"
    return f"llmux cannot listen on {where}: {reason.lower()}; {way_out}"
