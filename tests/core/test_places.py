"""Who has to sleep so that another fits: one pure function, asked by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmux.core.places import victims

GPUS = {"gpu0": 24.0, "gpu1": 24.0}


def test_by_default_everybody_needs_the_one_place() -> None:
    """Whoever is awake goes, and from idle nobody has to."""
    assert victims("b", ["a"], {}) == ("a",)
    assert victims("b", [], {}) == ()


def test_a_model_never_makes_room_for_itself() -> None:
    """It is already there."""
    assert victims("a", ["a"], {}) == ()


def test_models_that_fit_together_stay() -> None:
    """Eight and twelve of twenty-four leave room for four."""
    needs = {"a": {"gpu0": 8.0}, "b": {"gpu0": 12.0}, "c": {"gpu0": 4.0}}
    assert victims("c", ["a", "b"], needs, GPUS) == ()


def test_as_few_go_as_are_needed_in_the_given_order() -> None:
    """The first in the list is given up most willingly."""
    needs = {"a": {"gpu0": 8.0}, "b": {"gpu0": 8.0}, "c": {"gpu0": 8.0}, "d": {"gpu0": 10.0}}
    assert victims("d", ["b", "a", "c"], needs, GPUS) == ("b", "a")


def test_a_model_on_another_place_is_left_alone() -> None:
    """What it holds would not help."""
    needs = {"a": {"gpu1": 24.0}, "b": {"gpu0": 24.0}, "c": {"gpu0": 1.0}}
    assert victims("c", ["a", "b"], needs, GPUS) == ("b",)


def test_a_model_over_two_places_makes_room_on_both() -> None:
    """Each place is looked at, and who goes for one counts as gone for the other."""
    needs = {
        "a": {"gpu0": 20.0, "gpu1": 20.0},
        "b": {"gpu1": 4.0},
        "c": {"gpu0": 10.0, "gpu1": 20.0},
    }
    assert victims("c", ["a", "b"], needs, GPUS) == ("a",)


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.dictionaries(st.sampled_from(list(GPUS)), st.integers(0, 24).map(float)),
    ),
    st.permutations("abcdef"),
)
def test_after_the_victims_have_gone_the_target_fits(
    needs: dict[str, dict[str, float]], order: list[str]
) -> None:
    """On every place that it needs, whatever was awake; and only awake models go."""
    target, *awake = order
    needs = {name: needs.get(name, {}) for name in order}
    going = victims(target, awake, needs, GPUS)
    assert set(going) <= set(awake)
    assert len(set(going)) == len(going)
    for place, amount in needs[target].items():
        held = sum(needs[name].get(place, 0.0) for name in awake if name not in going)
        assert held + amount <= GPUS[place]
