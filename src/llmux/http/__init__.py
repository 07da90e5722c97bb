"""The data plane: reads requests, relays them to the model's backend, streams the answer back."""

from llmux.http.gate import Gate, Meter, Ticket
from llmux.http.limits import Limits
from llmux.http.server import Gateway

__all__ = ["Gate", "Gateway", "Limits", "Meter", "Ticket"]
