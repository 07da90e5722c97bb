"""Stories of models that take turns, with the real driver on virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from llmux.core import events as ev
from llmux.core.lane import LaneSettings
from llmux.core.news import DrainCut, DrainEnded, ModelActivated, RequestTimedOut, SwitchAbandoned
from llmux.core.view import Active, Idle, Switching
from llmux.errors import DrainingError, DrainTimeoutError, LlmuxError, NotRegisteredError
from llmux.policy import FifoPolicy
from llmux.testing import run_virtual
from tests.runtime.house import Asked, House

TWO = {"a": (1.0, 3.0), "b": (2.0, 5.0)}
THREE = {**TWO, "c": (1.0, 1.0)}


def test_a_cold_start_wakes_and_serves() -> None:
    """The first request wakes its model, and an idle gateway has neither model nor switch."""

    async def story() -> None:
        house = House(TWO)
        assert house.switcher.state() == Idle()
        task = house.send("a")
        await asyncio.sleep(1)
        assert house.switcher.state() == Switching(None, "a")
        assert house.switcher.active_model() is None
        assert house.switcher.queue_depths() == {"a": 1, "b": 0}
        visit = await task
        assert (visit.inside, visit.over, visit.end) == (3.0, 4.0, "served")
        assert house.switcher.state() == Active("a")
        assert house.switcher.active_model() == "a"
        house.assert_nothing_left()

    run_virtual(story())


def test_an_unknown_model_is_refused_by_every_verb() -> None:
    """A name that is not registered has no queue, no port and no switch."""

    async def story() -> None:
        switcher = House(TWO).switcher
        with pytest.raises(NotRegisteredError, match="not found"):
            async with switcher.serving("nobody"):
                raise AssertionError("it was served")
        with pytest.raises(NotRegisteredError):
            await switcher.force_switch("nobody")
        with pytest.raises(NotRegisteredError):
            await switcher.acquire_in_flight("nobody")
        assert not switcher.is_registered("nobody")
        assert switcher.is_registered("b")
        assert switcher.registered_models() == ["a", "b"]
        assert switcher.model_port("nobody") is None
        assert switcher.model_port("b") == 8002
        assert switcher.in_flight_count("nobody") == 0

    run_virtual(story())


def test_a_switch_drains_then_sleeps_then_wakes() -> None:
    """The old model is put to sleep after its last answer, and the whole takes its time."""

    async def story() -> None:
        policy = Asked(FifoPolicy().on_pending_request)
        house = House(TWO, policy)
        first = house.send("a", 10.0)
        await asyncio.sleep(5)
        second = await house.visit("b")
        assert (await first).over == 13.0
        assert second.inside == 13.0 + 2.0 - 1.0 + 5.0
        assert house.hooks.timeline() == [
            (0.0, "wake", "a"),
            (13.0, "sleep", "a"),
            (14.0, "wake", "b"),
        ]
        assert policy.completed == [(None, "a", 3.0), ("a", "b", 14.0)]
        house.assert_nothing_left()

    run_virtual(story())


def test_the_learned_cost_is_the_hooks_alone() -> None:
    """Eight seconds of other people's generation are the drain's, not the switch's (8.10)."""

    async def story() -> None:
        house = House(TWO)
        house.send("a", 10.0)
        await asyncio.sleep(5)
        await house.visit("b")
        switcher = house.switcher
        assert switcher.estimated_switch_cost("a", "b") == 1.0 + 5.0
        assert switcher.estimated_switch_cost(None, "a") == 3.0
        assert switcher.estimated_switch_cost("b", "a") is None
        assert house.heard(DrainEnded) == [DrainEnded("a", "b", 8.0)]
        view = switcher.snapshot().models
        assert (view["a"].sleep_seconds, view["a"].wake_seconds) == (1.0, 3.0)
        assert (view["b"].sleep_seconds, view["b"].wake_seconds) == (None, 5.0)

    run_virtual(story())


def test_the_cost_of_a_pair_is_a_moving_average() -> None:
    """The first observation is taken as it is, each later one counts three tenths."""

    async def story() -> None:
        times = {"a": (1.0, 3.0), "b": (2.0, 5.0)}
        house = House(times)
        await house.visit("a")
        await house.visit("b")
        times["b"] = (2.0, 15.0)
        await house.visit("a")
        await house.visit("b")
        assert house.switcher.estimated_switch_cost("a", "b") == pytest.approx(6 + 0.3 * 10)

    run_virtual(story())


def test_three_busy_models_are_served_oldest_first() -> None:
    """With many waiting for each, the model of the oldest request goes next (8.1)."""

    async def story() -> None:
        house = House(THREE)
        await house.visit("a")
        tasks = []
        for model in ["b", "c", "b", "b", "c", "a", "b", "c", "a"]:
            tasks.append(house.send(model))
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)
        wakes = [model for _, hook, model in house.hooks.timeline() if hook == "wake"]
        assert wakes == ["a", "b", "c", "a"]

    run_virtual(story())


def test_a_cool_down_bounds_leaving_not_serving() -> None:
    """During `min_active_secs` the active model goes on admitting, until its drain (8.2)."""

    async def story() -> None:
        house = House(TWO, FifoPolicy(min_active_duration=20.0))
        await house.visit("a")
        waiting = house.send("b")
        for second in range(5, 22):
            await asyncio.sleep(second - house.now)
            before = house.now
            assert house.switcher.state() == Active("a"), "it is only planned to leave"
            assert (await house.visit("a", 0.5)).inside == before
        assert (await waiting).inside == 3.0 + 20.0 + 1.0 + 5.0
        house.assert_one_at_a_time()

    run_virtual(story())


def test_a_client_that_leaves_takes_its_switch_along() -> None:
    """A disconnect during the cool-down, and a switch for nobody is never started (8.3)."""

    async def story() -> None:
        house = House(TWO, FifoPolicy(min_active_duration=20.0))
        await house.visit("a")
        waiting = house.send("b")
        await asyncio.sleep(2)
        waiting.cancel()
        await asyncio.sleep(0)
        assert house.switcher.queue_depths() == {"a": 0, "b": 0}
        await asyncio.sleep(100)
        assert house.hooks.timeline() == [(0.0, "wake", "a")]
        house.assert_nothing_left()

    run_virtual(story())


def test_a_drain_is_given_up_when_nobody_waits_any_more() -> None:
    """Who waits for the old model meanwhile is admitted by it at once."""

    async def story() -> None:
        house = House(TWO)
        running = house.send("a", 100.0)
        await asyncio.sleep(10)
        wanted = house.send("b")
        await asyncio.sleep(1)
        held = house.send("a")
        await asyncio.sleep(1)
        assert house.switcher.state() == Switching("a", "b")
        assert house.switcher.queue_depths() == {"a": 1, "b": 1}
        wanted.cancel()
        assert (await held).inside == 12.0
        assert house.switcher.state() == Active("a")
        assert house.heard(SwitchAbandoned) == [SwitchAbandoned("a", "b")]
        assert (await running).end == "served"
        assert [hook for _, hook, _ in house.hooks.timeline()] == ["wake"]
        house.assert_nothing_left()

    run_virtual(story())


def test_a_switch_given_up_in_the_turn_of_its_birth_leaves_nothing() -> None:
    """The preparation that never ran a step is forgotten like any other."""

    async def story() -> None:
        house = House(TWO)
        await house.visit("a")
        switcher = house.switcher
        for number in range(1000, 1005):
            switcher.tell(ev.OrderGiven(number, "b"))
            assert switcher.state() == Switching("a", "b")
            switcher.tell(ev.OrderWithdrawn(number))
            assert switcher.state() == Active("a")
        await asyncio.sleep(0.1)
        house.assert_nothing_left()

    run_virtual(story())


def test_one_deadline_counts_from_the_arrival() -> None:
    """A request that came during a long drain is told after its time-out, no later (8.16)."""

    async def story() -> None:
        house = House(TWO, FifoPolicy(request_timeout=10.0))
        running = house.send("a", 60.0)
        await asyncio.sleep(5)
        visit = await house.visit("b")
        assert (visit.end, visit.over) == ("504", 15.0)
        assert house.heard(RequestTimedOut) == [RequestTimedOut("b", 10.0)]
        assert house.switcher.state() == Active("a")
        assert (await running).end == "served"
        house.assert_nothing_left()

    run_virtual(story())


@pytest.mark.parametrize("deadline", [3.0, 3.0 - 1e-9, 3.0 + 1e-9])
def test_a_timeout_in_the_tick_of_the_activation_ends_exactly_once(deadline: float) -> None:
    """The wake takes 3 s and so does the patience: one of them wins, never both."""

    async def story() -> None:
        house = House(TWO, FifoPolicy(request_timeout=deadline))
        visit = await house.visit("a")
        assert visit.end in {"served", "504"}
        if deadline != 3.0:
            assert visit.end == ("served" if deadline > 3.0 else "504")
        await asyncio.sleep(10)
        house.assert_nothing_left()
        assert [item.model for item in house.heard(ModelActivated)] == ["a"]

    run_virtual(story())


def test_a_failed_wake_tells_its_own_waiters_only_and_rests() -> None:
    """Others are served meanwhile; two seconds later the broken model may be tried again (8.8)."""

    async def story() -> None:
        house = House(TWO, failing={("wake", "b")})
        first = house.send("b")
        await asyncio.sleep(1)
        other = house.send("a")
        assert (await first).end == "500"
        assert first.result().over == 5.0
        assert (await other).inside == 5.0 + 2.0 + 3.0, "cleaned up, then the healthy one"
        early = house.send("b")
        house.failing.clear()
        assert (await early).end == "served", "its breaker closed 2 s after the clean-up"
        house.assert_one_at_a_time()
        house.assert_nothing_left()

    run_virtual(story())


def test_a_broken_model_alone_is_not_hammered() -> None:
    """Its breaker opens for 2 s, then 4 s, then 8 s after each clean-up."""

    async def story() -> None:
        house = House(TWO, failing={("wake", "b")})
        ends = []
        while asyncio.get_running_loop().time() < 60.0:
            ends.append((await house.visit("b")).end)
            await asyncio.sleep(0.25)
        assert ends.count("500") == 5, "each real try fails with its own error"
        assert set(ends) == {"500", "503"}, "between them the breaker answers at once"
        wakes = [when for when, hook, _ in house.hooks.timeline() if hook == "wake"]
        pauses = [later - earlier - 7.0 for earlier, later in pairwise(wakes)]
        assert [round(pause) for pause in pauses] == [2, 4, 8, 16]

    run_virtual(story())


def test_a_failed_sleep_goes_on_to_the_wake() -> None:
    """As in 2.4.0, until the lifecycle knows better."""

    async def story() -> None:
        house = House(TWO, failing={("sleep", "a")})
        await house.visit("a")
        assert (await house.visit("b")).end == "served"
        assert house.switcher.state() == Active("b")

    run_virtual(story())


def test_a_drain_has_a_bound_after_which_answers_are_cut() -> None:
    """Whoever still runs is told, counted out, and may say that it leaves, too (8.7)."""

    async def story() -> None:
        house = House(TWO, settings={"a": LaneSettings("a", drain_timeout=4.0)})
        ticket = await house.switcher.acquire_in_flight("a")
        cut: list[LlmuxError] = []
        ticket.on_cut = cut.append
        visit = await house.visit("b")
        assert visit.inside == 3.0 + 4.0 + 1.0 + 5.0
        assert len(cut) == 1
        assert isinstance(cut[0], DrainTimeoutError)
        assert house.switcher.in_flight_count("a") == 0
        house.switcher.leave(ticket)
        house.switcher.leave(ticket)
        assert house.switcher.in_flight_count("a") == 0
        house.assert_nothing_left()

    run_virtual(story())


def test_the_bound_of_a_drain_given_up_does_not_cut_the_next() -> None:
    """Each drain has its whole time."""

    async def story() -> None:
        house = House(TWO, settings={"a": LaneSettings("a", drain_timeout=10.0)})
        running = house.send("a", 15.0)
        await asyncio.sleep(4)
        gone = house.send("b")
        await asyncio.sleep(1)
        gone.cancel()
        await asyncio.sleep(5)
        wanted = house.send("b")
        await asyncio.sleep(6)
        assert house.now > 4.0 + 10.0, "the first bound would be over"
        assert house.switcher.in_flight_count("a") == 1
        assert (await running).over == 18.0
        assert (await wanted).inside == 18.0 + 1.0 + 5.0
        assert house.heard(DrainCut) == []
        house.assert_nothing_left()

    run_virtual(story())


def test_without_the_drain_the_sleep_hook_does_not_wait() -> None:
    """With `drain_before_switch` off a running answer holds nobody up."""

    async def story() -> None:
        house = House(TWO, FifoPolicy(drain_before_switch=False))
        running = house.send("a", 50.0)
        await asyncio.sleep(10)
        assert (await house.visit("b")).inside == 10.0 + 1.0 + 5.0
        assert house.switcher.in_flight_count("a") == 1
        await running
        house.assert_nothing_left()

    run_virtual(story())


def test_the_loading_window_ends_with_the_first_answer() -> None:
    """A refused connect may mean loading until then, within the wake's bound and the deadline."""

    async def story() -> None:
        bounds = LaneSettings("a", request_timeout=60.0, wake_timeout=10.0)
        house = House(TWO, settings={"a": bounds})
        switcher = house.switcher
        ticket = await switcher.acquire_in_flight("a")
        assert switcher.loading(ticket) == 10.0 - 3.0
        await asyncio.sleep(4)
        assert switcher.loading(ticket) == 3.0
        switcher.answered(ticket)
        assert switcher.loading(ticket) == 0.0
        switcher.leave(ticket)
        again = await switcher.acquire_in_flight("a")
        assert switcher.loading(again) == 0.0
        switcher.leave(again)
        await house.visit("b")
        woken = await switcher.acquire_in_flight("a")
        assert switcher.loading(woken) == 7.0, "a new wake opens a new window"
        switcher.leave(woken)
        assert switcher.loading(woken) == 0.0

    run_virtual(story())


def test_the_loading_window_keeps_the_requests_own_deadline() -> None:
    """Retries never outlast the deadline that counts from the arrival."""

    async def story() -> None:
        bounds = LaneSettings("a", request_timeout=5.0, wake_timeout=None)
        switcher = House(TWO, settings={"a": bounds}).switcher
        ticket = await switcher.acquire_in_flight("a")
        assert switcher.loading(ticket) == 2.0
        switcher.leave(ticket)

    run_virtual(story())


def test_closing_tells_those_who_wait_and_lets_the_others_end() -> None:
    """The request inside is served to its end, the waiting and the coming are refused."""

    async def story() -> None:
        house = House(TWO)
        inside = house.send("a", 30.0)
        await asyncio.sleep(5)
        waiting = house.send("b")
        order = asyncio.create_task(house.switcher.force_switch("b"))
        await asyncio.sleep(1)
        house.switcher.close()
        assert (await waiting).end == "503"
        with pytest.raises(DrainingError):
            await order
        assert (await house.visit("a")).end == "503"
        assert (await inside).end == "served"
        assert house.hooks.timeline() == [(0.0, "wake", "a")]
        house.assert_nothing_left()

    run_virtual(story())


@pytest.mark.parametrize("moment", [0.0, 1.0, 3.0, 4.5, 6.0, 7.5, 10.0, 11.0])
def test_stop_leaves_no_task_and_no_timer(moment: float) -> None:
    """Whatever runs when the gateway stops, nothing of it is left a moment later."""

    async def story() -> None:
        policy = FifoPolicy(request_timeout=100.0, min_active_duration=1.0)
        house = House(TWO, policy)
        house.send("a", 2.0)
        house.send("b", 2.0)
        await asyncio.sleep(moment)
        others = asyncio.all_tasks() - house.switcher._tasks
        await house.switcher.stop()
        assert asyncio.all_tasks() <= others, "a task outlived the stop"
        await asyncio.sleep(10)
        house.assert_nothing_left()
        house.assert_one_at_a_time()

    run_virtual(story())


def test_a_request_that_enters_while_others_are_told_is_asked_about_too() -> None:
    """An owner who brings the next request when he hears of his turn does not lose it."""

    async def story() -> None:
        policy = Asked(FifoPolicy().on_pending_request)
        house = House(TWO, policy)
        switcher = house.switcher
        first, second = switcher.ticket("a"), switcher.ticket("a")
        other = switcher.ticket("b")
        first.on_admitted = lambda: (switcher.enter(second), switcher.enter(other), None)[-1]
        switcher.enter(first)
        await asyncio.sleep(4)
        assert second in switcher.board.lanes["a"].inside
        switcher.leave(first)
        switcher.leave(second)
        await asyncio.sleep(10)
        assert other in switcher.board.lanes["b"].inside
        switcher.leave(other)
        house.assert_nothing_left()

    run_virtual(story())


def test_what_an_owner_tells_when_he_is_told_waits_its_turn() -> None:
    """The drain that he takes back is first begun, then given up: no bound of it is left."""

    async def story() -> None:
        house = House(TWO, settings={"a": LaneSettings("a", drain_timeout=10.0)})
        switcher = house.switcher
        ticket = switcher.ticket("a")
        ticket.on_admitted = lambda: switcher.tell(ev.OrderWithdrawn(1000))
        switcher.enter(ticket)
        await asyncio.sleep(1)
        switcher.tell(ev.OrderGiven(1000, "b"))  # goes next, as soon as `a` is awake
        await asyncio.sleep(20)
        assert switcher.state() == Active("a")
        assert switcher.in_flight_count("a") == 1
        switcher.leave(ticket)
        house.assert_nothing_left()

    run_virtual(story())


def test_a_ticket_that_left_while_others_were_told_is_not_told() -> None:
    """Two are admitted in one step; the first takes the second with it."""

    async def story() -> None:
        switcher = House(TWO).switcher
        first, second = switcher.ticket("a"), switcher.ticket("a")
        told: list[str] = []
        first.on_admitted = lambda: switcher.leave(second)
        second.on_admitted = lambda: told.append("second")
        switcher.enter(first)
        switcher.enter(second)
        await asyncio.sleep(4)
        assert told == []
        assert switcher.in_flight_count("a") == 1
        switcher.leave(first)

    run_virtual(story())


def test_owners_and_listeners_that_raise_do_not_stop_the_switch() -> None:
    """What strangers do when they are told is their affair."""

    async def story() -> None:
        house = House(TWO)

        def fall_over(_: object = None) -> None:
            raise ValueError("stranger")

        house.switcher.listeners.insert(0, fall_over)
        ticket = house.switcher.ticket("a")
        ticket.on_admitted = fall_over
        house.switcher.enter(ticket)
        assert (await house.visit("a")).end == "served"
        house.switcher.leave(ticket)
        assert (await house.visit("b")).end == "served"
        house.assert_nothing_left()

    run_virtual(story())


def test_the_status_of_a_model_is_told_in_words() -> None:
    """Unloaded, loading, loaded, sleeping: what the page and `/v1/models` show."""

    async def story() -> None:
        house = House(TWO)
        switcher = house.switcher
        assert switcher.model_status("a") == "unloaded"
        task = house.send("a")
        await asyncio.sleep(1)
        assert switcher.model_status("a") == "loading"
        await task
        assert switcher.model_status("a") == "loaded"
        await house.visit("b")
        assert switcher.model_status("a") == "sleeping"

    run_virtual(story())
