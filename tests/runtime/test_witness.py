"""Stories of what `alive` may be believed, in virtual time: the backend is a table of answers."""

from __future__ import annotations

import asyncio

import pytest

from llmux.runtime.probes import Look
from llmux.runtime.witness import Pulse, Traits
from llmux.testing import run_virtual
from tests.runtime.stage import NO, REFUSES, SILENT, UNASKED, UNFIT, YES, Stage, timed

# ---- after a wake ------------------------------------------------------------------------------


def test_after_a_wake_it_is_asked_every_half_second_until_it_agrees() -> None:
    """A server that loads for 3 s after its hook is waited for, and no longer."""
    stage = Stage({0.0: NO, 3.0: YES}, YES)
    assert timed(stage.witness().agrees(100.0)) == (True, 3.0)
    assert stage.asked == 7
    assert stage.warnings == []


def test_slow_answers_do_not_stretch_the_rhythm() -> None:
    """The half second is from question to question."""
    stage = Stage({0.0: NO, 2.0: YES}, YES, seconds=0.3)
    assert timed(stage.witness().agrees(100.0)) == (True, 2.3)


@pytest.mark.parametrize("seconds", [0.0, 0.3, 60.0])
def test_the_bound_of_the_wake_holds_whatever_the_answers_take(seconds: float) -> None:
    stage = Stage(NO, REFUSES, seconds=seconds)
    agreed, took = timed(stage.witness().agrees(10.0))
    assert not agreed
    assert 9.0 < took <= 10.0


def test_a_model_without_alive_is_awake_when_its_port_accepts() -> None:
    stage = Stage(None, {0.0: REFUSES, 2.0: YES})
    assert timed(stage.witness().agrees(100.0)) == (True, 2.0)
    assert stage.warnings == []


@pytest.mark.parametrize("times", [1, 3])
def test_a_command_that_cannot_be_run_is_replaced_by_the_port_with_one_warning(times: int) -> None:
    """A typing error in a file that 2.4.0 never tried costs a warning, not the model."""
    stage = Stage(UNFIT, {0.0: REFUSES, 2.0: YES})
    witness = stage.witness()

    async def story() -> None:
        for _ in range(times):
            assert await witness.agrees(100.0)

    assert timed(story()) == (None, 2.0)
    assert stage.warnings == ["unfit: unfit"]


def test_one_that_never_agrees_with_an_open_port_is_unfit_after_30_seconds() -> None:
    """The half minute begins when the port opens, and the wake then counts as done."""
    stage = Stage(NO, {0.0: REFUSES, 5.0: YES})
    assert timed(stage.witness().agrees(1000.0)) == (True, 35.0)
    assert stage.warnings == ["unfit: it never agreed in 30 s of an open port: denies"]
    assert stage.traits.unfit is not None
    assert stage.learned == 1


def test_one_that_has_agreed_before_is_never_found_unfit() -> None:
    """A slow load behind an open port, answered 503 meanwhile, does not spoil a good witness."""
    stage = Stage({0.0: NO, 300.0: YES}, YES, Traits(agreed=True))
    assert timed(stage.witness().agrees(1000.0)) == (True, 300.0)
    assert stage.warnings == []


def test_a_port_that_closes_again_starts_the_half_minute_anew() -> None:
    stage = Stage(NO, {0.0: YES, 20.0: REFUSES, 22.0: YES})
    assert timed(stage.witness().agrees(1000.0)) == (True, 52.0)


def test_an_unfit_one_needs_the_port_only_and_may_come_to_honour_again() -> None:
    """The next wake does not wait 30 s once more; the first yes ends the distrust."""
    stage = Stage({0.0: NO, 10.0: YES}, YES, Traits(unfit="never agreed"))
    witness = stage.witness()
    assert timed(witness.agrees(1000.0)) == (True, 0.0)

    async def later() -> Pulse:
        await asyncio.sleep(10)
        return await witness.pulse()

    assert run_virtual(later()) is Pulse.ALIVE
    assert stage.traits == Traits(agreed=True)


# ---- after a sleep -----------------------------------------------------------------------------


def test_an_alive_that_still_agrees_after_a_sleep_is_blind_and_says_so_once() -> None:
    """`alive: "true"`: it was looked at three times, because a process needs a moment to die."""
    stage = Stage(YES, REFUSES)
    witness = stage.witness()
    assert timed(witness.after_sleep()) == (None, 1.0)
    assert stage.traits.blind
    assert not stage.traits.port_stays_open
    assert timed(witness.after_sleep()) == (None, 0.0), "the second time nothing surprises"
    assert stage.warnings == ["blind: it still agrees after a successful sleep"]


def test_a_server_that_takes_a_moment_to_end_does_not_make_its_witness_blind() -> None:
    stage = Stage({0.0: YES, 0.4: REFUSES}, {0.0: YES, 0.4: REFUSES})
    assert timed(stage.witness().after_sleep()) == (None, 0.5)
    assert stage.traits == Traits(agreed=True)
    assert stage.warnings == []


def test_a_server_that_stays_up_while_its_model_sleeps_is_known_by_its_port() -> None:
    stage = Stage(NO, YES)
    run_virtual(stage.witness().after_sleep())
    assert stage.traits == Traits(port_stays_open=True)
    assert stage.warnings == []


def test_a_hang_after_a_sleep_teaches_nothing_about_the_port() -> None:
    stage = Stage(SILENT, YES)
    run_virtual(stage.witness().after_sleep())
    assert stage.traits == Traits()


def test_blindness_is_healed_by_a_no_after_a_sleep() -> None:
    """The script was repaired: what was remembered does not stick."""
    stage = Stage(NO, REFUSES, Traits(agreed=True, blind=True))
    run_virtual(stage.witness().after_sleep())
    assert not stage.traits.blind
    assert stage.learned == 1


# ---- at start ----------------------------------------------------------------------------------

BLIND = Traits(agreed=True, blind=True)
OPEN = Traits(agreed=True, blind=True, port_stays_open=True)


@pytest.mark.parametrize(
    ("alive", "port", "traits", "last", "adopted"),
    [
        (YES, YES, Traits(), None, True),
        (YES, YES, Traits(), False, True),  # somebody woke it by hand
        (NO, YES, Traits(), True, False),
        (SILENT, YES, Traits(), True, False),
        (YES, REFUSES, Traits(), True, False),  # nothing is adopted whose port refuses
        (YES, UNASKED, Traits(), True, False),
        (None, YES, Traits(), None, True),
        (None, REFUSES, Traits(), True, False),
        (UNFIT, YES, Traits(), None, True),
        (UNFIT, REFUSES, Traits(), True, False),
        (NO, YES, Traits(unfit="never agreed"), None, True),
        (YES, YES, BLIND, None, True),  # the port can tell them apart
        (YES, REFUSES, BLIND, True, False),
        (NO, YES, BLIND, True, False),
        (YES, YES, OPEN, True, True),  # a sleeping vLLM answers 200: memory decides
        (YES, YES, OPEN, False, False),
        (YES, YES, OPEN, None, False),
        (None, YES, Traits(port_stays_open=True), True, True),
        (None, YES, Traits(port_stays_open=True), None, False),
    ],
)
def test_what_is_adopted_at_start(
    alive: Look | None, port: Look, traits: Traits, last: bool | None, adopted: bool
) -> None:
    assert run_virtual(Stage(alive, port, traits).witness().adoptable(last)) is adopted


# ---- after a failed sleep ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alive", "port", "traits", "gone"),
    [
        (YES, YES, Traits(), False),
        (REFUSES, REFUSES, Traits(), True),
        (NO, REFUSES, Traits(), True),
        (SILENT, YES, Traits(), None),  # a hang may hold the accelerator
        (NO, YES, Traits(), None),
        (NO, YES, Traits(port_stays_open=True), True),  # its no was seen to be right before
        (SILENT, YES, Traits(port_stays_open=True), None),
        (YES, REFUSES, Traits(), None),  # one of them is wrong
        (YES, REFUSES, BLIND, True),
        (YES, YES, BLIND, False),
        (SILENT, YES, BLIND, None),
        (YES, YES, OPEN, None),
        (None, YES, Traits(), False),
        (None, REFUSES, Traits(), True),
        (None, SILENT, Traits(), None),
        (None, UNASKED, Traits(), None),
        (UNFIT, REFUSES, Traits(), True),
        (UNASKED, UNASKED, Traits(), None),
    ],
)
def test_what_a_failed_sleep_has_left(
    alive: Look | None, port: Look, traits: Traits, gone: bool | None
) -> None:
    assert run_virtual(Stage(alive, port, traits).witness().gone()) is gone


# ---- while awake -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alive", "port", "traits", "pulse"),
    [
        (YES, YES, Traits(), Pulse.ALIVE),
        (REFUSES, REFUSES, Traits(), Pulse.DEAD),
        (NO, REFUSES, Traits(), Pulse.DEAD),
        (NO, YES, Traits(), Pulse.HUNG),
        (SILENT, YES, Traits(), Pulse.HUNG),
        (SILENT, SILENT, Traits(), Pulse.HUNG),
        (YES, REFUSES, Traits(), Pulse.CLOSED),
        (YES, REFUSES, BLIND, Pulse.DEAD),  # a refused connect is death by itself
        (SILENT, YES, BLIND, Pulse.HUNG),  # blind for sleep, not for a hang
        (NO, REFUSES, Traits(unfit="never agreed"), Pulse.DEAD),
        (NO, YES, Traits(unfit="never agreed"), Pulse.ALIVE),
        (UNFIT, YES, Traits(), Pulse.ALIVE),
        (UNFIT, REFUSES, Traits(), Pulse.DEAD),
        (None, YES, Traits(), Pulse.ALIVE),
        (None, REFUSES, Traits(), Pulse.DEAD),
        (None, SILENT, Traits(), Pulse.HUNG),
        (UNASKED, YES, Traits(), Pulse.ALIVE),
        (UNASKED, UNASKED, Traits(), Pulse.UNSURE),
        (None, UNASKED, Traits(), Pulse.UNSURE),
    ],
)
def test_the_pulse(alive: Look | None, port: Look, traits: Traits, pulse: Pulse) -> None:
    assert run_virtual(Stage(alive, port, traits).witness().pulse()) is pulse


def test_a_hang_that_answers_neither_question_is_known_after_one_bound_of_alive() -> None:
    """A server that stands still with a full backlog is silent for both of them."""
    stage = Stage(SILENT, SILENT, seconds=5.0)
    assert timed(stage.witness().pulse()) == (Pulse.HUNG, 5.0)


def test_a_server_that_loads_behind_a_yes_is_not_dead() -> None:
    """`alive: "true"` and a server that needs a minute to open its port: no second start.

    Once the port was seen open, or the wake's bound is over, a refusal counts.
    """
    stage = Stage(YES, {0.0: REFUSES, 60.0: YES, 70.0: REFUSES})
    witness = stage.witness()

    async def story() -> list[Pulse]:
        assert await witness.agrees(1800.0)
        seen = []
        for when in (10.0, 60.0, 70.0):
            await asyncio.sleep(when - asyncio.get_running_loop().time())
            seen.append(await witness.pulse())
        return seen

    assert run_virtual(story()) == [Pulse.ALIVE, Pulse.ALIVE, Pulse.CLOSED]


def test_a_server_that_never_opens_its_port_is_loading_for_the_wakes_bound_only() -> None:
    witness = Stage(YES, REFUSES).witness()

    async def story() -> list[Pulse]:
        assert await witness.agrees(100.0)
        before = await witness.pulse()
        await asyncio.sleep(100)
        return [before, await witness.pulse()]

    assert run_virtual(story()) == [Pulse.ALIVE, Pulse.CLOSED]


def test_a_refusal_that_a_request_met_after_loading_counts_at_once() -> None:
    witness = Stage(YES, REFUSES).witness()

    async def story() -> Pulse:
        assert await witness.agrees(100.0)
        return await witness.pulse(refused=True)

    assert run_virtual(story()) is Pulse.CLOSED


def test_the_latest_trouble_can_be_told() -> None:
    stage = Stage({0.0: NO, 1.0: YES}, YES)
    witness = stage.witness()

    async def story() -> list[str | None]:
        await witness.pulse()
        first = witness.last_error
        await asyncio.sleep(1)
        await witness.pulse()
        return [first, witness.last_error]

    assert run_virtual(story()) == ["denies", None]
    assert repr(witness) == "<Witness fit>"
