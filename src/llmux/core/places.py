"""Which models have to sleep so that another one fits: one pure function of needs and places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Needs = Mapping[str, Mapping[str, float]]
"""For each model what it takes of each place while it is awake."""

EXCLUSIVE: Mapping[str, float] = {"accelerator": 1.0}
"""The first and default answer: everybody needs the one place, which holds one model."""


def victims(
    target: str,
    awake: Sequence[str],
    needs: Needs,
    capacities: Mapping[str, float] = EXCLUSIVE,
) -> tuple[str, ...]:
    """Return which of `awake` have to go before `target` fits, in the order of leaving.

    `awake` is ordered by how willingly a model is given up (longest awake first). A model that
    `needs` does not name takes the whole exclusive place. Only models that take something of a
    place that is too full are chosen.
    """
    going: list[str] = []
    wanted = needs.get(target, EXCLUSIVE)
    for place, amount in wanted.items():
        free = capacities.get(place, 0.0)
        holders = [name for name in awake if name != target and name not in going]
        free -= sum(needs.get(name, EXCLUSIVE).get(place, 0.0) for name in holders)
        for name in holders:
            if free >= amount:
                break
            held = needs.get(name, EXCLUSIVE).get(place, 0.0)
            if held > 0:
                going.append(name)
                free += held
    return tuple(going)
