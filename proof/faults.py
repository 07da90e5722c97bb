"""The faults that are planted for the simulation, over every phase of the switch.

Those of the board and the driver come from the table of `tests.mutants`, by their names; those of
the keeper, the lives and the state file stand here, because only a whole life shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutants.table import MUTANTS, Mutant

from proof.faults_of_hints import HINTS

KEEPER = "runtime/keeper.py"
SURVEY = "runtime/survey.py"
LIVES = "runtime/lives.py"
STATE = "runtime/statefile.py"
RENEWAL = "core/renewal.py"


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault, and the phase of the switch in which it shows."""

    mutant: Mutant
    phase: str


_BY_PHASE = {
    "start": [
        "two models found awake both serve",
        "a model found in between is taken for asleep",
    ],
    "awake": [
        "leave does not count out who was inside",
        "max_in_flight lets one too many in",
        "a rescued request goes to the end of its queue",
        "a rescued request is counted inside for ever",
        "requests of a dead backend take places in its next life",
        "a lease cancelled in the queue is never given back",
        "an order outlives the operator who gave it",
    ],
    "waiting": [
        "leave does not take a waiting ticket out of its queue",
        "the total of those who wait is never lowered",
        "bytes that waited are never taken off",
        "bytes of bodies bind nobody",
        "the deadline counts from the queue, not from the arrival",
        "a Skip is never reconsidered by itself",
        "a policy has all the time in the world",
        "among the overdue the first in the config goes first",
    ],
    "draining": [
        "a cut leaves the tickets counted",
        "a draining model admits",
        "a death in a drain is not heard",
        "the sleep hook does not wait for the requests inside",
        "the bound of a drain is not set",
        "an abandoned switch does not admit who came meanwhile",
        "a drain that never ran a step is kept for ever",
    ],
    "sleeping": [
        "nobody has to make room",
        "a sleep that failed counts as asleep",
    ],
    "waking": [
        "a model is woken for nobody",
        "the wake hook is ordered twice",
        "an order is not settled by the activation",
    ],
    "cleaning": [
        "a failed wake is not cleaned up",
        "a broken model does not rest",
        "the pause of a breaker never grows",
        "a model comes back although its breaker is open",
    ],
    "recovering": ["a model that hangs is not put to sleep"],
    "quarantine": [
        "a quarantined model serves beside another",
        "quarantine is never tried again",
        "another wakes in the place of the quarantined",
    ],
    "stopping": ["a closing gateway admits", "a closing gateway wakes"],
}

_OWN = [
    Planted(
        Mutant(
            "a look at a model begins while its hook runs",
            KEEPER,
            " and self._running[model] == 0 and self._may_probe(model)\n",
            "\n",
        ),
        "sleeping",
    ),
    Planted(
        Mutant(
            "whatever a failed sleep leaves counts as asleep",
            KEEPER,
            '"asleep" if gone else await self._last_resort(model, kill)',
            '"asleep"',
        ),
        "sleeping",
    ),
    Planted(
        Mutant(
            "new hooks hold while the model is up",
            RENEWAL,
            "        if lane.phase is Phase.ASLEEP and lane.change is not Change.REMOVE:\n",
            "        if lane.change is not Change.REMOVE:\n",
        ),
        "reload",
    ),
    Planted(
        Mutant(
            "a removed model is forgotten while it is up",
            RENEWAL,
            "        elif lane.phase is Phase.ASLEEP and self.plan is None:\n",
            "        elif self.plan is None:\n",
        ),
        "reload",
    ),
    Planted(
        Mutant(
            "a new model that is unclear is taken for asleep",
            RENEWAL,
            "        unwanted = [lane for lane in new if lane.name in event.unclear]\n",
            "        unwanted: list[Lane] = []\n",
        ),
        "reload",
    ),
    Planted(
        Mutant(
            "an order for a removed model stands",
            RENEWAL,
            "        self._settle_orders(lane, removed(lane.name))\n",
            "",
        ),
        "reload",
    ),
    Planted(
        Mutant(
            "who waits for a removed model is not told",
            RENEWAL,
            "        self._reject_waiting(lane, removed(lane.name))\n",
            "",
        ),
        "reload",
    ),
    Planted(
        Mutant(
            "a model whose hook was interrupted is taken for asleep",
            SURVEY,
            "    elif model not in unsettled and (\n",
            "    elif (\n",
        ),
        "restart",
    ),
    Planted(
        Mutant(
            "what is unclear at the start is taken for asleep",
            LIVES,
            '        unclear = tuple(name for name in names if found[name] == "unclear")\n',
            "        unclear = ()\n",
        ),
        "restart",
    ),
    Planted(
        Mutant(
            "a new life does not wait for the hooks of the last one",
            LIVES,
            "        await settle(keeper)\n",
            "",
        ),
        "restart",
    ),
    Planted(
        Mutant(
            "what old hooks have woken is left alone",
            LIVES,
            "        await retire(keeper, self._knocks, self._wait_for)\n",
            "",
        ),
        "restart",
    ),
    Planted(
        Mutant(
            "the intent to run a hook is not written down",
            STATE,
            "        self._record.hooks.append(Note(model, hook, run_id, was))\n",
            "",
        ),
        "restart",
    ),
]


def _chosen() -> list[Planted]:
    table = {one.name: one for one in MUTANTS}
    found = [Planted(table[name], phase) for phase, names in _BY_PHASE.items() for name in names]
    return [*found, *_OWN, *(Planted(one, "hints") for one in HINTS)]


CHOSEN = _chosen()
