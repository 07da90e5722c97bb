"""Facts and orders as plain lists, which any file can hold, and facts back from them.

A ticket becomes its number, which is the caller's to give. What a hook printed and what a request
holds are left out. Anything that cannot be read back as it was (what a Defer awaits, a reason's
numbers) becomes the little that a board needs to go on. It refuses to know files.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core.lane import LaneSettings
from llmux.core.ticket import Ticket
from llmux.policy.base import Decision, Defer, Reason, Skip, SwitchNow

NumberOf = Callable[[Ticket], int]
TicketOf = Callable[[int], Ticket]

_LONGEST: Final = 500
"""Characters of a reason or an error that are kept."""
_BY_NAME: Final = {
    kind.__name__: kind
    for kind in (
        ev.Looked,
        ev.TurnEnded,
        ev.DeferEnded,
        ev.PrepareEnded,
        ev.OrderGiven,
        ev.OrderWithdrawn,
        ev.Announced,
        ev.Surveyed,
        ev.BackendDied,
        ev.Recovered,
        ev.GatewayClosing,
    )
}
"""Facts whose fields are plain as they stand."""


class Later:
    """Stands for what a Defer waited for: its end is a fact of its own."""

    def __await__(self) -> Generator[None, None, None]:
        yield None


def fact(event: ev.Event, number: NumberOf) -> list[Any]:
    """Return the fact as a list: its name, then its fields. KeyError for an unknown ticket."""
    name = type(event).__name__
    match event:
        case ev.RequestWaits(ticket) | ev.RequestReturned(ticket) | ev.Returning(ticket):
            return [name, number(ticket)]
        case ev.AlarmRang((kind, about)):
            return [name, kind, about if isinstance(about, str) else number(about)]
        case ev.PolicyAnswered(model, consultation, answer, for_all):
            return [name, model, consultation, *decision(answer), *([True] if for_all else [])]
        case ev.HookEnded():
            end = event.error[:_LONGEST]
            told = (event.number, event.ok, event.duration, end, event.exit_code, event.left)
            return [name, *told]
        case ev.Reconfigured():
            return [name, settings_of(event)]
        case _:
            return [name, *(getattr(event, one.name) for one in fields(event))]


def event(plain: Sequence[Any], ticket: TicketOf) -> ev.Event:  # noqa: PLR0911 -- a table
    """Return the fact that `fact` has made plain; ValueError or KeyError if it is none."""
    name, *rest = plain
    match name:
        case "RequestWaits":
            return ev.RequestWaits(ticket(*rest))
        case "RequestReturned":
            return ev.RequestReturned(ticket(*rest))
        case "Returning":
            return ev.Returning(ticket(*rest))
        case "AlarmRang":
            alarm, about = rest
            key = (alarm, about) if isinstance(about, str) else (alarm, ticket(about))
            return ev.AlarmRang(key)
        case "PolicyAnswered":
            model, number, kind, about, target, reason, *for_all = rest
            answer = decided((kind, about, target, reason))
            return ev.PolicyAnswered(model, number, answer, *for_all)
        case "HookEnded":
            number, ok, duration, error, code, left = rest
            return ev.HookEnded(number, ok, duration, error, code, left=left)
        case "Reconfigured":
            (settings,) = rest
            return _reconfigured(settings)
        case "Surveyed":
            awake, unclear = rest
            return ev.Surveyed(tuple(awake), tuple(unclear))
        case _ if name in _BY_NAME:
            made: ev.Event = _BY_NAME[name](*rest)
            return made
    raise ValueError(f"there is no fact {name!r}")


def decision(answer: Decision) -> list[Any]:
    """Return a policy's answer as a list: kind, its number or word, target, reason."""
    reason = answer.reason.rule if isinstance(answer.reason, Reason) else answer.reason
    said = None if reason is None else reason[:_LONGEST]
    match answer:
        case SwitchNow(target, _, free_ride):
            return ["SwitchNow", free_ride, target, said]
        case Defer(wait, target):
            return ["Defer", wait if isinstance(wait, int | float) else None, target, said]
        case Skip(ask_again, target):
            return ["Skip", ask_again, target, said]


def decided(plain: Sequence[Any]) -> Decision:
    """Return the answer that `decision` has made plain; ValueError if it is none."""
    kind, about, target, reason = plain
    match kind:
        case "SwitchNow":
            return SwitchNow(target, reason, about)
        case "Defer":
            return Defer(Later() if about is None else about, target, reason)
        case "Skip":
            return Skip(about, target, reason)
    raise ValueError(f"there is no decision {kind!r}")


def orders(effects: Sequence[fx.Effect], number: NumberOf) -> list[list[Any]]:
    """Return those of the effects that somebody outside notices, each as a list."""
    plain: list[list[Any]] = []
    for effect in effects:
        match effect:
            case fx.Admit(ticket):
                plain.append(["admit", number(ticket)])
            case fx.Reject(ticket, error):
                plain.append(["reject", number(ticket), error.code])
            case fx.Cut(ticket, error):
                plain.append(["cut", number(ticket), error.code])
            case fx.Lose(ticket, error):
                plain.append(["lose", number(ticket), error.code])
            case fx.RunHook(order, hook, model, source, target, reason):
                plain.append(["hook", order, hook, model, source, target, reason[:_LONGEST]])
            case fx.SettleOrder(order, error):
                plain.append(["settle", order, None if error is None else error.code])
            case fx.Renew(model):
                plain.append(["renew", model])
            case fx.Forget(model):
                plain.append(["forget", model])
            case _:
                pass  # alarms, turns and consultations are between the board and its driver
    return plain


def settings_of(new: ev.Reconfigured) -> dict[str, Any]:
    """Return everything that a reload told the board."""
    told = {one.name: getattr(new, one.name) for one in fields(new)}
    told["models"] = [asdict(one) for one in new.models]
    told["renewed"], told["mended"] = sorted(new.renewed), sorted(new.mended)
    return told


def _reconfigured(plain: dict[str, Any]) -> ev.Reconfigured:
    windows = plain["rate_windows"]
    return ev.Reconfigured(
        tuple(LaneSettings(**one) for one in plain["models"]),
        frozenset(plain["renewed"]),
        frozenset(plain["mended"]),
        tuple(plain["awake"]),
        tuple(plain["unclear"]),
        None if windows is None else tuple(windows),
        plain["max_buffered"],
        plain.get("hint_secs"),
    )
