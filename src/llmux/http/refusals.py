"""What a request is told about the model that it names, where it gets no other answer.

A client's own text comes back escaped and cut. This file refuses to know who asks and which models
there are.
"""

from __future__ import annotations

from llmux.errors import ForbiddenError, NotRegisteredError


def unknown_model(model: str | None) -> NotRegisteredError:
    """Say that there is no such model, or that none was named."""
    if model is None:
        return NotRegisteredError(
            "Model not found: the request has no JSON body with a text field `model`."
        )
    return NotRegisteredError(
        f"Model {_shown(model)} not found: GET /v1/models lists those that are here."
    )


def refuse_model(model: str) -> ForbiddenError:
    """Say that a key does not open a model, whether or not there is such a model."""
    return ForbiddenError(f"This key may not use the model {_shown(model)}.")


def _shown(model: str) -> str:
    return ascii(model if len(model) <= 100 else model[:100] + "...")
