"""An agent and its tools: its model is held for it while somebody waits for another one."""

from __future__ import annotations

import pytest

from tests.e2e.house import House

OPTIONS = {
    "absence_prior_secs": 5,
    "sleep_prior_secs": 20,
    "service_prior_secs": 0.1,
    "rate_span_secs": 1000,
}
"""A switch seems to cost 40 s, so an agent is waited for; nobody else is expected soon."""
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]


@pytest.mark.parametrize("stream", [False, True])
def test_two_calls_of_an_agent_cost_no_switch_between_them(house: House, stream: bool) -> None:
    house.policy = {"name": "balance", "options": OPTIONS}
    house.start()
    call = house.open("a", tag="one", hold="one", tools=TOOLS, finish="tool_calls", stream=stream)
    house.wait_seen("a got one")
    other = house.queue("b", "other")
    house.release("one")
    call.read_until(b"tool_calls")
    assert house.ask("a", tag="two", tools=TOOLS).who == "a"
    assert house.wakes() == ["a"]
    assert other.result().who == "b"
    assert house.wakes() == ["a", "b"]
    call.leave()


def test_an_answer_that_calls_no_tool_holds_nobody_up(house: House) -> None:
    house.policy = {"name": "balance", "options": OPTIONS}
    house.start()
    call = house.send("a", tag="one", hold="one", tools=TOOLS)
    house.wait_seen("a got one")
    other = house.queue("b", "other")
    house.release("one")
    assert call.result().who == "a"
    assert other.result().who == "b"
    assert house.ask("a", tag="two", tools=TOOLS).who == "a"
    assert house.wakes() == ["a", "b", "a"]


def test_the_decision_says_whom_it_is_held_for(house: House) -> None:
    house.policy = {"name": "balance", "options": OPTIONS}
    house.start()
    call = house.send("a", tag="one", hold="one", tools=TOOLS, finish="tool_calls")
    house.wait_seen("a got one")
    other = house.queue("b", "other")
    house.release("one")
    assert call.result().who == "a"
    told = house.get("/llmux/decisions?model=b").body.decode()
    assert "a is held for callers whose answers call a tool" in told
    assert other.result().who == "b"  # the agent has not come back, and b is not starved
