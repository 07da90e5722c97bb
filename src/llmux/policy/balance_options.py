"""The options of `balance`: every constant that has a unit, read from a config and checked.

This file refuses to know the rules that use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import isfinite
from typing import Any, Self

from llmux.errors import PolicyError


@dataclass(frozen=True, slots=True)
class BalanceOptions:
    """Every constant of the policy that has a unit, so that a run on scaled time can scale it."""

    service_prior_secs: float = 5.0
    """Service time expected before anything was answered."""
    sleep_prior_secs: float = 1.0
    """Duration of a sleep hook before any was seen."""
    wake_prior_secs: float = 9.0
    """Duration of a wake hook before any was seen."""
    rate_windows_secs: tuple[float, ...] = (30.0, 300.0)
    """Time constants over which arrival rates are averaged."""
    rate_span_secs: float = 1.0
    """Shortest history from which a rate is read."""
    silence_secs: float = 0.001
    """Shortest silence of the awake model that caps its rate."""
    patience_base_secs: float = 5.0
    """Patience with a waiter when switching is free."""
    patience_most_secs: float = 60.0
    """Largest part of the patience that grows with the cost of a round trip."""
    lull_most_secs: float = 300.0
    """Longest time to the next lull that is reckoned with."""
    linger_secs: float = 30.0
    """How long an empty model may be held for callers who come back at once."""
    absence_prior_secs: float = 1.0
    """How long such a caller is expected to stay away before any has come back."""
    hint_secs: float = 2.5
    """How long a client's hint at its next model counts after its answer."""
    age_value_secs: float = 20.0
    """Seconds waited that count as one more waiter when the target is chosen."""
    ask_least_secs: float = 0.25
    """Soonest that a balance not yet tipped is looked at again."""
    ask_most_secs: float = 5.0
    """Latest that a balance not yet tipped is looked at again."""
    ask_tipped_secs: float = 2.0
    """When a tipped balance that waits for a better moment is looked at again."""
    ask_floor_secs: float = 0.05
    """Soonest that anything is looked at again."""

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """Check `policy.options`; PolicyError names every wrong one and what would do."""
        known = [option.name for option in fields(cls)]
        wrong: list[str] = []
        values: dict[str, Any] = {}
        for name, value in options.items():
            if name not in known:
                near = get_close_matches(str(name), known, n=1)
                would = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
                wrong.append(f"policy.options.{name}: balance has no such option; {would}")
            elif name == "rate_windows_secs":
                if isinstance(value, (list, tuple)) and value and all(map(_positive, value)):
                    values[name] = tuple(float(window) for window in value)
                else:
                    wrong.append(
                        f"policy.options.{name}: {value!r} is not a list of seconds above 0; "
                        "[30, 300] would do"
                    )
            elif _positive(value):
                values[name] = float(value)
            else:
                default = next(option.default for option in fields(cls) if option.name == name)
                wrong.append(
                    f"policy.options.{name}: {value!r} is not a number of seconds above 0; "
                    f"{default:g} would do"
                )
        if wrong:
            raise PolicyError("\n".join(wrong))
        read = cls(**values)
        if read.ask_least_secs > read.ask_most_secs:
            raise PolicyError(
                f"policy.options.ask_least_secs: {read.ask_least_secs:g} is above ask_most_secs, "
                f"{read.ask_most_secs:g}; at most that would do"
            )
        return read


def _positive(value: object) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and isfinite(value)
        and value > 0
    )
