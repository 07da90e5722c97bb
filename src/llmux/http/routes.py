"""The gateway's own paths, one table: they never wake a model and never wait for one.

The seam for more lies in `Routes.find`: what it claims is answered here, all else is relayed. It
refuses to know connections; a handler turns a request into an `Answer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote

import msgspec

from llmux.errors import BadRequestError, MethodNotAllowedError
from llmux.http.doors import Scope
from llmux.http.gate import Gate
from llmux.http.keys import STRANGER
from llmux.http.refusals import refuse_model, unknown_model
from llmux.http.request import Request

JSON: Final = b"application/json"
_MODELS: Final = b"/v1/models"
METRICS: Final = b"/metrics"
DECISIONS: Final = b"/llmux/decisions"
_SCOPES: Final = {
    METRICS: Scope.INSPECT,
    DECISIONS: Scope.INSPECT,
    **dict.fromkeys((b"/health", b"/healthz", b"/livez", b"/ready", b"/readyz"), Scope.OPEN),
}
_READING: Final = frozenset((b"GET", b"HEAD"))
_DECISIONS_SHOWN: Final = 20
"""Decisions that are told where nobody says how many."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler answers; `fields` are further header lines, each with its CRLF."""

    status: int
    body: bytes
    content_type: bytes = JSON
    fields: bytes = b""


Handler = Callable[[Request], Answer]


def no_decisions(model: str | None, limit: int) -> dict[str, object]:
    """Tell of no decision: for a gateway that nobody has given any."""
    del model, limit
    return {"why": [], "decisions": []}


@dataclass(frozen=True, slots=True)
class Routes:
    """The table of own paths; `stopping` says whether the gateway is going down.

    For `/ready`, `problems` says what stands in the way of serving, `troubles` which models fail
    while others are served; `decisions` says of a model (None: of all) why things stand as they do,
    with so many of the last decisions at most.
    """

    gate: Gate
    render_metrics: Callable[[], bytes]
    metrics_type: bytes
    stopping: Callable[[], bool]
    problems: Callable[[], list[dict[str, object]]] = list
    decisions: Callable[[str | None, int], dict[str, object]] = no_decisions
    troubles: Callable[[], list[dict[str, object]]] = list
    _table: dict[bytes, Handler] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._table.update(
            {
                b"/": self._root,
                _MODELS: self._models,
                METRICS: self._metrics,
                b"/health": self._health,
                b"/healthz": self._health,
                b"/livez": self._health,
                b"/ready": self._ready,
                b"/readyz": self._ready,
                DECISIONS: self._decisions,
            }
        )

    def scope(self, path: bytes) -> Scope:
        """Say what a path opens; everything that is relayed is for using models."""
        if path in _SCOPES:
            return _SCOPES[path]
        return Scope.USE if self.find(path) is None else Scope.LIST

    def find(self, path: bytes) -> Handler | None:
        """Give the handler of an own path, None for a path that is relayed."""
        handler = self._table.get(path)
        if handler is None and path.startswith(b"/v1/models/"):
            return self._model
        return handler

    def answer(self, handler: Handler, request: Request) -> Answer:
        """Run a handler; a method that only reads is needed, else 405 is raised."""
        if request.method == b"OPTIONS":
            return Answer(204, b"", fields=b"allow: GET, HEAD, OPTIONS\r\n")
        if request.method not in _READING:
            raise MethodNotAllowedError("This path of the gateway's own is only read: GET or HEAD.")
        return handler(request)

    def _root(self, request: Request) -> Answer:
        del request
        return _json(
            {
                "name": "llmux",
                "about": "many models take turns behind one OpenAI-compatible address",
                "models": "/v1/models",
                "metrics": "/metrics",
                "health": "/health",
                "ready": "/ready",
                "decisions": "/llmux/decisions",
            }
        )

    def _models(self, request: Request) -> Answer:
        names = sorted(self.gate.registered_models())
        if request.caller is not None:
            names = [name for name in names if request.caller.may_use(name)]
        return _json({"object": "list", "data": [self._entry(name) for name in names]})

    def _model(self, request: Request) -> Answer:
        raw = request.path[len(_MODELS) + 1 :]
        name = unquote(raw.decode("utf-8", "replace"))
        if request.caller is not None and not request.caller.may_use(name):
            raise refuse_model(name)
        if not self.gate.is_registered(name):
            raise unknown_model(name)
        return _json(self._entry(name))

    def _entry(self, name: str) -> dict[str, object]:
        return {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "llmux",
            "status": {"value": self.gate.model_status(name)},
        }

    def _metrics(self, request: Request) -> Answer:
        del request
        return Answer(200, self.render_metrics(), self.metrics_type)

    def _decisions(self, request: Request) -> Answer:
        query = request.target.partition(b"?")[2].decode("utf-8", "replace")
        asked = parse_qs(query, keep_blank_values=True, errors="replace")
        model = asked["model"][-1] if "model" in asked else None
        limit = asked["limit"][-1] if "limit" in asked else str(_DECISIONS_SHOWN)
        if not (limit.isascii() and limit.isdecimal() and len(limit) < 7):
            raise BadRequestError(f"limit is no number of decisions: {limit[:40]!r}; 20 would do")
        if model is not None and not self.gate.is_registered(model):
            raise unknown_model(model)
        return _json(self.decisions(model, int(limit)))

    def _health(self, request: Request) -> Answer:
        del request
        return _json({"status": "ok"})

    def _ready(self, request: Request) -> Answer:
        if self.stopping():
            return _json({"status": "stopping"}, 503)
        problems = self.problems()
        said: dict[str, object] = {"status": "not ready" if problems else "ready"}
        if request.caller is not STRANGER:
            told = {"problems": problems, "troubles": self.troubles()}
            said |= {name: found for name, found in told.items() if found}
        return _json(said, 503 if problems else 200)


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode(value))
