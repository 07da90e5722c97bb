"""Stories of tide-balance: one snapshot in, one decision out, the numbers worked by hand."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from math import e, exp, isinf, log, sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmux.errors import PolicyError
from llmux.policy import ModelView, PolicyContext, Reason, Skip, Snapshot, SwitchNow
from llmux.policy.balance import (
    BalanceOptions,
    BalancePolicy,
    Verdict,
    Weighed,
    Weighing,
    harmonic,
    newcomers,
)


def view(name: str, ages: tuple[float, ...] = (), *, weight: float = 1.0, **more: Any) -> ModelView:
    """A model whose waiters have these ages, with hooks of 1 s and 10 s seen."""
    known: dict[str, Any] = {"sleep_seconds": 1.0, "wake_seconds": 10.0}
    return ModelView(
        name=name,
        waiting=len(ages),
        oldest_wait=max(ages, default=0.0),
        sum_wait=sum(ages),
        weighted_waiting=weight * len(ages),
        weighted_sum_wait=weight * sum(ages),
        urgency=weight * max(ages, default=0.0),
        **{"phase": "asleep", **known, **more},
    )


def world(active: str | None, *views: ModelView, now: float = 1000.0) -> Snapshot:
    """Everything was learned: services take 4 s, arrivals are counted since 0."""
    return Snapshot(
        now=now,
        phase="idle" if active is None else "active",
        active=active,
        first_arrival=0.0,
        overall_service=4.0,
        overall_prior=0.0,
        models={one.name: one for one in views},
    )


def busy(name: str, k: int, per_second: float) -> ModelView:
    """An awake model with k in flight that has been asked at this rate for a long time."""
    return view(
        name,
        phase="awake",
        in_flight=k,
        arrivals=(per_second * 30.0, per_second * 300.0),
        last_arrival=1000.0,
    )


def weigh(snapshot: Snapshot) -> Verdict:
    return BalancePolicy().weigh(snapshot)


def only(verdict: Verdict) -> Weighed:
    (one,) = verdict.weighed
    return one


def test_nobody_awake_most_waiters_for_the_least_wake_goes_first() -> None:
    slow = view("slow", (9.0, 9.0, 9.0), wake_seconds=60.0)
    quick = view("quick", (1.0, 1.0), wake_seconds=2.0)
    verdict = weigh(world(None, slow, quick))
    assert (verdict.rule, verdict.target) == ("cold", "quick")  # 2/(2+4) against 3/(60+4)


def test_a_lull_of_a_model_that_nobody_asks_for_ends_at_once() -> None:
    verdict = weigh(world("a", busy("a", 0, 0.0), view("b", (0.0,))))
    assert (verdict.rule, verdict.target) == ("lull", "b")


def test_a_lull_lasts_until_those_who_wait_have_paid_for_the_trip() -> None:
    a = busy("a", 0, 0.5)._replace(arrivals=(15.0, 150.0))

    def at(age: float) -> Verdict:
        return weigh(world("a", a, view("b", (age,))))

    # By hand: S = 4, one waiter V = 4 H(1), c = 11 both ways, silence caps nothing.
    v = 4 * (0.577 + 0.5)
    rate = (0.5 / (1 - exp(-1000 / 30)) + 0.5 / (1 - exp(-1000 / 300))) / 2
    patience = max(60 + 4 * 22, 2.5 * (11 + v))
    lull = exp(rate * 4) / rate / 2
    stay = 5.0 + (11 + lull)
    leave = sqrt((patience - 5 - 11) / patience) * rate * (22 + v) ** 2 / 2
    one = only(at(5.0))
    assert one.stay == pytest.approx(stay)
    assert one.leave == pytest.approx(leave)
    assert at(5.0).target is None
    assert at(5.0).ask_again == 5.0  # (leave - stay)/1 is far above the longest look
    assert at(100.0).target == "b"


def test_a_tipped_balance_waits_for_a_busy_model_without_newcomers() -> None:
    """Where no newcomer can lengthen the drain, waiting for the next answer is free."""
    a = busy("a", 3, 0.02)._replace(last_arrival=990.0)
    verdict = weigh(world("a", a, view("b", (20.0,))))
    one = only(verdict)
    assert one.stay >= one.leave
    assert newcomers(0.02 * 4, 3) < one.gate
    assert (verdict.rule, verdict.target, verdict.ask_again) == ("stay", None, 2.0)


def test_a_busy_model_is_drained_when_newcomers_would_cost_more_than_they_gain() -> None:
    a = busy("a", 1, 2.0)
    many = view("b", (30.0,) * 40)
    verdict = weigh(world("a", a, many))
    assert (verdict.rule, verdict.target) == ("busy", "b")


def test_a_late_waiter_goes_before_the_better_value() -> None:
    a = busy("a", 2, 5.0)
    crowd = view("crowd", (40.0,) * 200)
    lone = view("lone", (400.0,))
    verdict = weigh(world("a", a, crowd, lone))
    assert (verdict.rule, verdict.target) == ("late", "lone")


def test_a_models_own_bound_ends_patience_sooner() -> None:
    a = busy("a", 2, 5.0)
    calm = weigh(world("a", a, view("b", (20.0,))))
    bounded = world("a", a, view("b", (20.0,), max_wait=30.0))
    bound = weigh(bounded)
    assert calm.target is None
    assert (bound.rule, bound.target) == ("late", "b")
    said = Weighing(bounded, bound).sentence("b")
    assert said.startswith("left a for b: its oldest request has waited 20 s, the trip costs 11 s")
    assert f"before b can be awake patience is over by {-bound.weighed[0].left:.3g} s" in said


def test_patience_grows_with_the_round_trip() -> None:
    """A round trip of 0.2 s allows 8 s of waiting, one of 22 s 148 s."""

    def patience(sleep: float, wake: float) -> float:
        hooks: dict[str, Any] = {
            "sleep_seconds": sleep,
            "wake_seconds": wake,
            "service_seconds": 0.0,
        }
        a = view("a", phase="awake", service_samples=20, **hooks)
        b = view("b", (1.0,), service_samples=20, **hooks)
        snapshot = replace(world("a", a, b), overall_service=0.0)
        return only(weigh(snapshot)).left + 1.0 + sleep + wake

    assert patience(0.05, 0.05) == pytest.approx(5 + 12 * 0.2 + 4 * 0.2)
    assert patience(1.0, 10.0) == pytest.approx(60 + 4 * 22)


def test_priority_counts_in_number_age_and_urgency_but_not_in_the_batch() -> None:
    a = busy("a", 0, 0.5)
    plain = only(weigh(world("a", a, view("b", (10.0,)))))
    heavy = only(weigh(world("a", a, view("b", (10.0,), weight=3.0))))
    assert heavy.stay == pytest.approx(3 * plain.stay)
    assert heavy.left == pytest.approx(plain.left - 20.0)
    assert heavy.value == pytest.approx(3 * plain.value)


def test_silence_of_the_awake_model_lowers_what_leaving_costs() -> None:
    fresh = busy("a", 0, 0.5)
    silent = fresh._replace(last_arrival=900.0)  # at most one arrival in 100 s
    loud, quiet = (only(weigh(world("a", a, view("b", (10.0,))))) for a in (fresh, silent))
    assert quiet.leave < loud.leave / 20


def test_hooks_not_seen_yet_are_taken_from_the_other_models_and_at_first_from_the_options() -> None:
    unseen: dict[str, Any] = {"sleep_seconds": None, "wake_seconds": None}
    a = view("a", phase="awake", sleep_seconds=3.0, wake_seconds=20.0)
    b, c = view("b", (1.0,), **unseen), view("c", sleep_seconds=5.0, wake_seconds=40.0)
    assert only(weigh(world("a", a, b, c))).trip == 3.0 + (20.0 + 40.0) / 2
    blank = view("a", phase="awake", **unseen)
    assert only(weigh(world("a", blank, b))).trip == 1.0 + 9.0


def test_few_samples_are_pulled_to_the_mean_over_all_models() -> None:
    def value(samples: int) -> float:
        b = view("b", (0.0,), service_seconds=24.0, service_samples=samples)
        return weigh(world(None, b)).weighed[0].value

    assert value(1) == pytest.approx(1 / (10 + (24 + 3 * 4) / 4))
    assert value(500) == pytest.approx(1 / (10 + (20 * 24 + 3 * 4) / 23))


def test_the_same_snapshot_gets_the_same_answer_for_each_model_asked_about() -> None:
    policy = BalancePolicy()
    snapshot = world("a", busy("a", 0, 0.0), view("b", (1.0,)), view("c", (2.0,)))
    first, second = (
        policy.on_pending_request(PolicyContext(target_model=name, snapshot=snapshot))
        for name in ("b", "c")
    )
    assert first is second
    assert isinstance(first, SwitchNow)
    assert first.target == "c"


def test_a_stay_says_why_and_when_it_will_look_again() -> None:
    a = busy("llama", 2, 0.5)._replace(arrivals=(15.0, 150.0))
    snapshot = world("llama", a, view("mistral", (5.0, 4.0)))
    answer = BalancePolicy().on_pending_request(PolicyContext("mistral", snapshot=snapshot))
    assert isinstance(answer, Skip)
    assert isinstance(answer.reason, Reason)
    assert answer.ask_again == 5.0
    assert answer == Skip(ask_again=5.0, reason=answer.reason)
    with pytest.raises(FrozenInstanceError):
        answer.ask_again = 0.0  # type: ignore[misc]
    assert answer.reason.sentence("mistral") == (
        "stayed on llama: 2 waiting for mistral have waited 9 s together, the trip costs 11 s "
        "and llama is busy"
    )


def test_a_switch_that_runs_is_left_alone() -> None:
    snapshot = replace(world(None, view("a"), view("b", (1.0,))), phase="waking", target="a")
    answer = BalancePolicy().on_pending_request(PolicyContext("b", snapshot=snapshot))
    assert isinstance(answer, Skip)


def test_a_quarantined_model_is_no_target() -> None:
    snapshot = world(None, view("a", (9.0,), phase="quarantined"), view("b", (1.0,)))
    assert weigh(snapshot).target == "b"


def test_newcomers_of_load_one_sum_to_e_less_two() -> None:
    assert newcomers(1.0, 1) == pytest.approx(e - 2, abs=1e-5)  # sum of 1/(1+m)!
    assert newcomers(0.0, 4) == 0.0
    assert isinf(newcomers(1e308, 1))


def test_harmonic_is_near_the_sum_it_stands_for() -> None:
    for k in range(1, 60):
        assert harmonic(k) == pytest.approx(sum(1 / m for m in range(1, k + 1)), abs=0.08)
    assert harmonic(0) == 0.0
    assert harmonic(50) == pytest.approx(0.577 + log(50) + 0.01)


def test_an_option_scales_every_second() -> None:
    """A run on a thousandth of the time decides as the run in full."""
    options = BalanceOptions()
    small = {
        name: [x / 1000 for x in value] if isinstance(value, tuple) else value / 1000
        for name in BalanceOptions.__slots__
        for value in [getattr(options, name)]
    }
    policy = BalancePolicy.from_config(None, small)
    assert policy.rate_windows == (0.03, 0.3)
    a = busy("a", 2, 0.5)._replace(
        sleep_seconds=0.001,
        wake_seconds=0.01,
        last_arrival=1.0,
        arrivals=(15.0, 150.0),
    )
    b = view("b", (0.005, 0.004), sleep_seconds=0.001, wake_seconds=0.01)
    scaled = replace(world("a", a, b, now=1.0), overall_service=0.004)
    full = world("a", busy("a", 2, 0.5), view("b", (5.0, 4.0)))
    ours, theirs = policy.weigh(scaled), weigh(full)
    assert (ours.rule, ours.target) == (theirs.rule, theirs.target)
    assert only(ours).left * 1000 == pytest.approx(only(theirs).left)
    assert only(ours).leave * 1000 == pytest.approx(only(theirs).leave)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patience_base_sec": 5}, "did you mean patience_base_secs?"),
        ({"colour": 1}, "policy.options.colour: balance has no such option"),
        ({"lull_most_secs": -1}, "-1 is not a number of seconds above 0; 300 would do"),
        ({"lull_most_secs": True}, "lull_most_secs: True"),
        ({"rate_windows_secs": []}, "[30, 300] would do"),
        ({"ask_least_secs": 9}, "above ask_most_secs"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_do(options: dict[str, object], says: str) -> None:
    with pytest.raises(PolicyError) as error:
        BalancePolicy.from_config(None, options)
    assert says in str(error.value)


def test_all_wrong_options_are_named_at_once() -> None:
    with pytest.raises(PolicyError) as error:
        BalancePolicy.from_config(None, {"lull": 3, "age_value_secs": "x"})
    assert len(str(error.value).splitlines()) == 2


AGES = st.lists(st.floats(0.0, 1e4), max_size=5).map(tuple)
SECONDS = st.none() | st.floats(0.0, 1e3)


@given(
    k=st.integers(0, 300),
    rate=st.floats(0.0, 1e4),
    ages=st.lists(AGES, min_size=1, max_size=6),
    sleep=SECONDS,
    wake=SECONDS,
    bound=SECONDS,
    active=st.booleans(),
)
def test_whatever_the_world_the_answer_is_a_waiting_model_or_a_later_look(
    k: int,
    rate: float,
    ages: list[tuple[float, ...]],
    sleep: float | None,
    wake: float | None,
    bound: float | None,
    active: bool,
) -> None:
    others = [
        view(f"m{n}", one, sleep_seconds=sleep, wake_seconds=wake, max_wait=bound)
        for n, one in enumerate(ages)
    ]
    snapshot = world("a" if active else None, busy("a", k, rate), *others)
    answer = BalancePolicy().on_pending_request(PolicyContext("m0", snapshot=snapshot))
    if isinstance(answer, SwitchNow):
        assert answer.target is not None
        assert snapshot.models[answer.target].waiting
    else:
        assert isinstance(answer, Skip)
        assert answer.ask_again is not None
        assert 0.05 <= answer.ask_again <= 5.0
    assert isinstance(answer.reason, Reason)
    assert answer.reason.sentence("m0")


def test_an_empty_model_is_held_for_callers_whose_answers_call_a_tool() -> None:
    """They came back a second after each such answer: b waits so long, not a's callers."""
    a = busy("a", 0, 0.01)._replace(
        absences=(1.0,) * 8,
        away=((999.5, 1.0),),
        lull_since=999.5,
        last_arrival=990.0,
        service_seconds=1.0,
        service_samples=50,
    )
    b = view("b", (60.0,))
    verdict = weigh(world("a", a, b))
    assert (verdict.rule, verdict.target) == ("linger", None)
    assert verdict.ask_again == 0.5
    why = Weighing(world("a", a, b), verdict).sentence("b")
    assert "a is held for callers whose answers call a tool" in why
    late = weigh(world("a", a._replace(away=((997.0, 1.0),), lull_since=997.0), b))
    assert (late.rule, late.target) == ("lull", "b")  # nobody has stayed away for so long
    crowd = weigh(world("a", a, view("b", (60.0,) * 19)))
    assert crowd.target == "b"  # many who wait are worth more than one who comes
    nobody = weigh(world("a", a._replace(away=()), b))
    assert nobody.target == "b"


def test_before_anybody_has_come_back_a_second_is_taken_for_granted() -> None:
    a = busy("a", 0, 0.01)._replace(away=((1000.0, 1.0),), lull_since=1000.0, last_arrival=990.0)
    assert weigh(world("a", a, view("b", (60.0,)))).ask_again == 1.0
    policy = BalancePolicy(BalanceOptions(absence_prior_secs=0.25))
    assert policy.weigh(world("a", a, view("b", (60.0,)))).ask_again == 0.25


def test_no_model_is_held_for_longer_than_linger_secs() -> None:
    a = busy("a", 0, 0.01)._replace(
        absences=(8.0,) * 8, away=((1000.0, 1.0),), lull_since=1000.0, last_arrival=990.0
    )
    costly = view("b", (30.0,), wake_seconds=60.0)
    assert weigh(world("a", a, costly)).rule == "linger"
    short = BalancePolicy(BalanceOptions(linger_secs=7.0))
    assert short.weigh(world("a", a, costly)).rule == "lull"
    a = a._replace(absences=(40.0,) * 8, away=((985.0, 1.0),), lull_since=985.0)
    assert weigh(world("a", a, costly)).rule == "lull"
    a = a._replace(lull_since=None)  # whoever had it woken has given up: it has no lull yet
    assert weigh(world("a", a, costly)).rule == "lull"


def test_a_model_that_is_left_in_peace_for_long_is_not_expected_to_be_busy_soon() -> None:
    a = busy("a", 0, 0.2)._replace(lulls=(100.0,) * 8, lull_since=1000.0)
    waiting = view("b", (1.0,))
    learned, unknown = (
        weigh(world("a", a, waiting)),
        weigh(world("a", a._replace(lulls=()), waiting)),
    )
    assert only(learned).stay > 3 * only(unknown).stay
