"""Which news become log lines, and where all lines go.

It knows events under the names that operators' queries already use, their fields and levels, and
nothing of how a line looks or gets out (`llmux.telemetry.lines`).
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Final

from llmux.core import news as told
from llmux.telemetry.health import Line, health_line
from llmux.telemetry.lines import ConsoleLines, JsonLines, LineHandler
from llmux.telemetry.renewal import renewal_line

_log = logging.getLogger("llmux")

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


def configure(format: str = "console", level: str = "info", descriptor: int | None = None) -> None:  # noqa: A002
    """Send log lines to stdout (or another descriptor) from now on; may be called again.

    `format` is console or json, `level` is debug, info, warning or error, for llmux's own lines;
    other libraries' are shown from warning on. Raises ValueError for other names.
    """
    if format not in ("console", "json"):
        raise ValueError(f"log format {format!r} is neither console nor json")
    if level.lower() not in _LEVELS:
        raise ValueError(f"log level {level!r} is none of {', '.join(_LEVELS)}")
    logging.raiseExceptions = False
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, LineHandler)]:
        root.removeHandler(handler)
        handler.close()
    handler = LineHandler(_stdout() if descriptor is None else descriptor)
    handler.setFormatter(JsonLines() if format == "json" else ConsoleLines())
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("llmux").setLevel(_LEVELS[level.lower()])


def reconfigure(format: str, level: str) -> None:  # noqa: A002
    """Write lines of another format or level from now on, to where they went before."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            handler.setFormatter(JsonLines() if format == "json" else ConsoleLines())
    logging.getLogger("llmux").setLevel(_LEVELS[level.lower()])


def flush(seconds: float = 1.0) -> None:
    """Wait until all lines are written, for `seconds` at most."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            handler.flush(seconds)


class LogNews:
    """A listener that writes one log line for each piece of news worth a line."""

    def __repr__(self) -> str:
        return "<LogNews>"

    def __call__(self, news: told.News) -> None:
        """Log one piece of news."""
        level, event, message, fields = _line(news)
        if _log.isEnabledFor(level):
            _log.log(level, "%s", message, extra={"event": event, "fields": fields})


def _line(news: told.News) -> Line:
    match news:
        case told.HookEnded():
            line = _hook(news)
        case told.SwitchStarted(source, target):
            fields: dict[str, object] = {"from": source, "to": target}
            line = logging.INFO, "switch_started", f"switching from {source} to {target}", fields
        case told.SwitchAbandoned(source, target):
            fields = {"from": source, "to": target}
            text = f"the switch to {target} was given up: nobody waits for it any more"
            line = logging.INFO, "switch_abandoned", text, fields
        case told.ModelActivated(model, source, duration):
            fields = {"model": model, "from": source, "duration_secs": duration}
            line = logging.INFO, "model_activated", f"{model} is active", fields
        case told.SwitchFailed(model, source, error):
            fields = {"model": model, "from": source, "error": error}
            line = logging.ERROR, "switch_failed", f"{model} could not be woken: {error}", fields
        case told.SleepHookFailed(model, target, error):
            fields = {"model": model, "to": target, "error": error}
            text = f"{model} could not be put to sleep: {error}"
            line = logging.WARNING, "sleep_hook_failed", text, fields
        case told.RequestTimedOut(model, timeout):
            fields = {"model": model, "timeout_secs": timeout}
            text = f"a request waited {timeout:g} s for {model} in vain"
            line = logging.WARNING, "request_timeout", text, fields
        case told.DrainCut(model, requests):
            fields = {"model": model, "requests": requests}
            text = f"the drain of {model} took too long: {requests} answers were cut"
            line = logging.WARNING, "drain_cut", text, fields
        case told.AnswerCut(model, reason, request_id):
            fields = {"model": model, "reason": reason, "request_id": request_id}
            text = f"an answer of {model} was cut: {reason}"
            line = logging.WARNING, "answer_cut", text, fields
        case told.PolicyFault(policy, error):
            fields = {"policy": policy, "error": error}
            text = f"the policy {policy} failed, first come first served decides: {error}"
            line = logging.WARNING, "policy_fault", text, fields
        case _:
            line = health_line(news) or renewal_line(news) or _quiet(news)
    return line


def _hook(news: told.HookEnded) -> Line:
    fields: dict[str, object] = {"model": news.model, "hook": news.hook}
    if news.ok:
        fields["duration_secs"] = news.duration
        level = logging.DEBUG if news.hook == "alive" else logging.INFO
        return level, "hook_completed", f"{news.hook} of {news.model} succeeded", fields
    fields |= {
        "exit_code": news.exit_code,
        "duration_secs": news.duration,
        "error": news.error,
        "stderr": news.tail,
    }
    text = f"{news.hook} of {news.model} failed: {news.error}"
    return logging.WARNING, "hook_failed", text, fields


def _quiet(news: told.News) -> Line:
    """Tell what only somebody who looks for a fault wants to read; and when a model stopped."""
    match news:
        case told.ModelDeactivated(model, seconds):
            fields: dict[str, object] = {"model": model, "duration_secs": seconds}
            text = f"{model} is not active any more"
            line = logging.INFO, "model_deactivated", text, fields
        case told.DrainEnded(source, target, duration):
            fields = {"from": source, "to": target, "duration_secs": duration}
            line = logging.DEBUG, "drain_ended", f"{source} has no request left", fields
        case told.CostLearned(source, target, seconds):
            fields = {"from": source, "to": target, "cost_secs": seconds}
            line = logging.DEBUG, "cost_learned", f"{source} to {target}: {seconds:.3f} s", fields
        case told.ModelAsleep(model):
            line = logging.DEBUG, "model_asleep", f"{model} is asleep", {"model": model}
        case _:
            line = logging.DEBUG, type(news).__name__, repr(news), {}
    return line


def _stdout() -> int | None:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return sys.stdout.fileno()
    return None
