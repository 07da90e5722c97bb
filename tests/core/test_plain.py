"""Facts go into plain lists and come back, through JSON, as the board would have had them."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from llmux.core import effects as fx
from llmux.core import events as ev
from llmux.core.lane import Lane, LaneSettings
from llmux.core.plain import decided, decision, event, fact, orders
from llmux.core.ticket import Ticket
from llmux.errors import QueueTimeoutError
from llmux.policy.base import Defer, Reason, Skip, SwitchNow

TICKET = Ticket(Lane(LaneSettings("a")))
FACTS: list[ev.Event] = [
    ev.RequestWaits(TICKET),
    ev.RequestReturned(TICKET),
    ev.Returning(TICKET),
    ev.Looked(),
    ev.TurnEnded(),
    ev.PolicyAnswered("a", 4, SwitchNow("b", "its oldest", free_ride=True)),
    ev.PolicyAnswered("a", 4, Defer(2.5, None, "later")),
    ev.PolicyAnswered("a", 4, Skip(None, "a")),
    ev.PolicyAnswered("a", 4, Skip(2.5), for_all=True),
    ev.DeferEnded("a"),
    ev.PrepareEnded(7),
    ev.HookEnded(3, ok=False, duration=1.25, error="exit code 1", exit_code=1, left="awake"),
    ev.AlarmRang(("ask", "a")),
    ev.AlarmRang(("deadline", TICKET)),
    ev.OrderGiven(2, "a", "an operator"),
    ev.OrderWithdrawn(2),
    ev.Announced("b"),
    ev.Surveyed(("a", "b"), ("c",)),
    ev.BackendDied("a", True, "refused"),
    ev.Recovered("a"),
    ev.Reconfigured(
        (LaneSettings("a", port=8001, max_wait=5.0), LaneSettings("b")),
        frozenset({"a"}),
        awake=("b",),
        rate_windows=(30.0, 300.0),
    ),
    ev.GatewayClosing(),
]


def there_and_back(one: ev.Event) -> ev.Event:
    plain = json.loads(json.dumps(fact(one, {TICKET: 9}.__getitem__)))
    return event(plain, {9: TICKET}.__getitem__)


@pytest.mark.parametrize("one", FACTS, ids=lambda one: type(one).__name__)
def test_a_fact_comes_back_as_it_was(one: ev.Event) -> None:
    assert there_and_back(one) == one


def test_every_fact_that_a_driver_tells_has_its_plain_form() -> None:
    """A new kind of fact needs a line here, and with it a thought about what may be written."""
    by_calls = {ev.RequestArrived, ev.RequestLeft}
    assert {type(one) for one in FACTS} == set(get_args(ev.Event)) - by_calls


def test_what_a_hook_printed_stays_behind() -> None:
    ended = ev.HookEnded(3, True, 1.0, tail="the password is 1234")
    assert there_and_back(ended) == ev.HookEnded(3, True, 1.0)
    assert "1234" not in repr(fact(ended, {TICKET: 9}.__getitem__))


class Because(Reason):
    rule = "lull"


async def something() -> None:
    """What a Defer may wait for."""


def test_what_cannot_be_written_becomes_what_a_board_needs() -> None:
    """A reason becomes the name of its rule; who waits for something still waits, for a fact."""
    assert decided(decision(SwitchNow(reason=Because()))) == SwitchNow(reason="lull")
    waits = something()
    again = decided(decision(Defer(waits)))
    waits.close()
    assert isinstance(again, Defer)
    assert not isinstance(again.wait, int | float)


@pytest.mark.parametrize("plain", [["Nonsense"], ["DeferEnded"], ["PolicyAnswered", "a", 1, "x"]])
def test_what_is_no_fact_is_refused(plain: list[Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        event(plain, {9: TICKET}.__getitem__)


def test_orders_are_those_that_somebody_outside_notices() -> None:
    late = QueueTimeoutError("too late")
    told: list[fx.Effect] = [
        fx.Admit(TICKET),
        fx.AskTurn(),
        fx.Reject(TICKET, late),
        fx.SetAlarm(("ask", "a"), 1.0),
        fx.RunHook(3, "wake", "a", None, "a", "somebody waits"),
        fx.SettleOrder(2, None),
    ]
    assert orders(told, {TICKET: 9}.__getitem__) == [
        ["admit", 9],
        ["reject", 9, "queue_timeout"],
        ["hook", 3, "wake", "a", None, "a", "somebody waits"],
        ["settle", 2, None],
    ]
