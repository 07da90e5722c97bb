"""How a config that was read anew is told in the log."""

from __future__ import annotations

import logging

from llmux.core import news as told
from llmux.telemetry.health import Line


def renewal_line(news: told.News) -> Line | None:
    """Return the line for news of a reload and what followed from it, None for any other news."""
    line: Line | None = None
    match news:
        case told.ConfigReloaded(added, removed, changed, restart):
            fields: dict[str, object] = {
                "added": added,
                "removed": removed,
                "changed": changed,
                "restart": restart,
            }
            parts = [f"{name}: {what}" for name, what in fields.items() if what]
            if restart:
                parts[-1] = f"restart to change: {restart}"
            text = f"the config was read anew: {'; '.join(parts) or 'nothing has changed'}"
            line = logging.INFO, "config_reloaded", text, fields
        case told.ConfigRejected(error):
            text = f"the config was read anew and nothing has changed, it has mistakes: {error}"
            line = logging.ERROR, "config_rejected", text, {"error": error}
        case told.ModelRenewed(model):
            text = f"the new hooks and port of {model} hold from now on"
            line = logging.INFO, "model_renewed", text, {"model": model}
        case told.ModelRemoved(model):
            text = f"{model} sleeps and is gone: it was taken out of the config"
            line = logging.INFO, "model_removed", text, {"model": model}
        case told.Retired(model, error):
            how = f"does not sleep by them: {error}" if error else "sleeps by them now"
            text = f"{model} was woken by hooks that the config does not have any more, and {how}"
            line = logging.WARNING, "model_retired", text, {"model": model, "error": error}
        case _:
            pass
    return line
