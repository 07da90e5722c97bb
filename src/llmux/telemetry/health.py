"""How lives and deaths of backends are told in the log."""

from __future__ import annotations

import logging

from llmux.core import news as told

Line = tuple[int, str, str, dict[str, object]]
"""Level, event, a sentence for people, and the event's fields."""


def health_line(news: told.News) -> Line | None:
    """Return the line for news of a model's health, None for any other news."""
    line: Line | None = None
    match news:
        case told.Adopted(model):
            fields: dict[str, object] = {"model": model, "from": "idle", "duration_secs": 0.0}
            line = logging.INFO, "model_activated", f"{model} was awake and is adopted", fields
        case told.BackendDied(model, hung, error):
            fields = {"model": model, "hung": hung, "error": error}
            text = f"the backend of {model} {'hangs' if hung else 'is dead'}"
            line = logging.ERROR, "backend_died", text, fields
        case told.BreakerOpened(model, failures, seconds):
            fields = {"model": model, "failures": failures, "open_secs": seconds}
            text = f"{model} is left alone for {seconds:g} s after {failures} failures in a row"
            line = logging.WARNING, "breaker_opened", text, fields
        case told.Quarantined(model, error):
            fields = {"model": model, "error": error}
            text = f"{model} is neither alive nor provably asleep: nothing wakes in its place"
            line = logging.ERROR, "model_quarantined", text, fields
        case told.QuarantineEnded(model):
            line = logging.INFO, "quarantine_ended", f"{model} left quarantine", {"model": model}
        case told.AliveFailed(model, error):
            fields = {"model": model, "error": error}
            line = logging.WARNING, "alive_failed", f"{model} does not look alive: {error}", fields
        case told.WitnessUnfit(model, why):
            fields = {"model": model, "why": why}
            text = f"`alive` of {model} is not believed ({why}); a connect to its port stands in"
            line = logging.WARNING, "alive_unfit", text, fields
        case told.WitnessBlind(model):
            text = f"`alive` of {model} cannot tell awake from asleep: it is asked for less"
            line = logging.WARNING, "alive_blind", text, {"model": model}
        case told.HookLeftOver(model, hook, end):
            fields = {"model": model, "hook": hook, "end": end}
            text = f"a {hook} hook of {model} from an earlier life: {end}"
            line = logging.WARNING, "hook_left_over", text, fields
        case _:
            pass
    return line
