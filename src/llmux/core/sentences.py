"""How a ruling is put into words: one sentence for each rule, with the numbers that it compared.

Names stand as they are; whoever shows them to a terminal makes them harmless. This file decides
nothing, and knows neither clocks nor how a sentence gets to whom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from llmux.core.rulings import Ruling
from llmux.policy.base import Reason

LONGEST: Final = 1000
"""Characters of a policy's own words that are shown."""


class Rule(NamedTuple):
    """What a rule decides, what its facts are called, and how it is said."""

    decision: str
    """switch, stay, wait, refuse, end, fail, sleep, serve or lost."""
    facts: tuple[str, ...]
    words: Callable[[Ruling], str]


def said(reason: str | Reason | None, model: str) -> str | None:
    """Return a policy's own words; a reason that cannot be said says that, None is no reason."""
    if reason is None:
        return None
    try:
        text = reason if isinstance(reason, str) else str(reason.sentence(model))
    except Exception as error:  # a policy's own code: it must not take the answer with it
        text = f"the policy gave a reason that cannot be said: {error!r}"
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def sentence(ruling: Ruling, now: float | None = None) -> str:
    """Say a ruling; with `now`, what is left until it is looked at again counts from then."""
    text = RULES[ruling.rule].words(ruling)
    if ruling.until is None:
        return text
    left = max(0.0, ruling.until - (ruling.last if now is None else now))
    verb = _NEXT.get(ruling.rule, "will look again")
    return f"{text}; {verb} in {secs(left)}"


def decision(ruling: Ruling) -> str:
    """Say in one word what was decided."""
    return RULES[ruling.rule].decision


def numbers(ruling: Ruling) -> dict[str, Any]:
    """Return what was compared, by name: who waited, the rule's facts, and the policy's own."""
    waited = ruling.waited
    told: dict[str, Any] = {
        "waiting": waited.waiting,
        "oldest_wait_secs": waited.oldest,
        "waited_together_secs": waited.together,
    }
    told |= zip(RULES[ruling.rule].facts, ruling.facts, strict=True)
    if isinstance(ruling.reason, Reason):
        told |= _asked(lambda reason: reason.numbers(ruling.model), ruling.reason)
    return told


def alternatives(ruling: Ruling) -> dict[str, dict[str, Any]]:
    """Return what was known of each other model that might have been gone to."""
    told: dict[str, dict[str, Any]] = {
        one.model: {
            "waiting": one.waiting,
            "oldest_wait_secs": one.oldest,
            "waited_together_secs": one.together,
        }
        for one in ruling.alternatives
    }
    if isinstance(ruling.reason, Reason):
        for model, weighed in _asked(lambda reason: reason.alternatives(), ruling.reason).items():
            if model != ruling.model and isinstance(weighed, Mapping):
                told[model] = told.get(model, {}) | dict(weighed)
    return told


def policy_rule(ruling: Ruling) -> str | None:
    """Return the name of the policy's own rule; None where there is none to name."""
    return str(ruling.reason.rule) if isinstance(ruling.reason, Reason) else None


def secs(seconds: float) -> str:
    """Write seconds for people: three digits that count."""
    return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:.3g} s"


def _asked(question: Callable[[Reason], Mapping[str, Any]], reason: Reason) -> dict[str, Any]:
    """Ask a policy's reason; what raises has no numbers."""
    try:
        return dict(question(reason))
    except Exception:  # as in `said`
        return {}


# ---- the words -------------------------------------------------------------------------------


def _waiting(ruling: Ruling) -> str:
    """Who waits, and for how long."""
    count, model = ruling.waited.waiting, ruling.model
    if count == 0:
        return f"nobody waits for {model}"
    if count == 1:
        return f"1 waiting for {model} has waited {secs(ruling.waited.oldest)}"
    return f"{count} waiting for {model} have waited {secs(ruling.waited.together)} together"


def _stayed(ruling: Ruling) -> str:
    if ruling.active is None:
        return f"did not wake {ruling.model} yet"
    return f"stayed on {ruling.active}"


def _left(ruling: Ruling) -> str:
    if ruling.active is None:
        return f"woke {ruling.model}"
    return f"left {ruling.active} for {ruling.model}"


def _switched(ruling: Ruling, why: str | None = None) -> str:
    """Say a switch, what it was held back by, and what it has to wait for."""
    inside, held_by, held = ruling.facts[:3]
    text = f"{_left(ruling)}: {why}" if why else str(said(ruling.reason, ruling.model))
    if held_by and isinstance(held, float):
        text += f"; it was held back for {secs(held)} by {_HELD.get(str(held_by), held_by)}"
    if inside and ruling.active is not None:
        text += f"; {_count(inside, 'answer')} of {ruling.active} {_ends(inside)} first"
    return text


def _policy(ruling: Ruling) -> str:
    if ruling.facts[3]:
        return _switched(ruling, f"{_waiting(ruling)}, and the policy's delay is over")
    if isinstance(ruling.reason, Reason):
        return _switched(ruling)
    own = said(ruling.reason, ruling.model)
    return _switched(ruling, own or f"{_waiting(ruling)}, and the policy says now")


def _overdue(ruling: Ruling) -> str:
    bound = ruling.facts[3]
    limit = secs(bound) if isinstance(bound, int | float) else "its bound"
    oldest = secs(ruling.waited.oldest)
    return _switched(
        ruling,
        f"its oldest request has waited {oldest}, which is max_wait_secs ({limit}) or more, "
        "and goes before every wish",
    )


def _skip(ruling: Ruling) -> str:
    if isinstance(ruling.reason, Reason):
        return str(said(ruling.reason, ruling.model))
    own = said(ruling.reason, ruling.model)
    return f"{_stayed(ruling)}: {own or f'{_waiting(ruling)}, and the policy says not yet'}"


def _defer(ruling: Ruling) -> str:
    own = said(ruling.reason, ruling.model)
    if own is None:
        own = f"{_waiting(ruling)}, and the policy wants to wait"
    text = own if isinstance(ruling.reason, Reason) else f"{_stayed(ruling)}: {own}"
    return text if ruling.until is not None else f"{text}; will go when what it waits for comes"


def _preferred(ruling: Ruling) -> str:
    other = str(ruling.facts[0])
    own = said(ruling.reason, other)
    why = f" ({own})" if own else ""
    return f"{_waiting(ruling)}, but the policy decided for {other} first{why}"


def _min_active(ruling: Ruling) -> str:
    active, since, bound = ruling.facts
    return (
        f"stayed on {active}: it has been active for {_time(since)} of its min_active_secs "
        f"({_time(bound)}), and {_waiting(ruling)}"
    )


def _stuck(ruling: Ruling) -> str:
    return (
        f"stayed on {ruling.facts[0]}: it could not be put to sleep the last time, "
        f"and {_waiting(ruling)}"
    )


def _quarantine(ruling: Ruling) -> str:
    return (
        f"did not wake {ruling.model} yet: {ruling.facts[0]} is in quarantine, neither alive nor "
        f"provably asleep, so nothing is woken in its place; {_waiting(ruling)}"
    )


def _max_in_flight(ruling: Ruling) -> str:
    active, count, limit = ruling.facts
    return (
        f"stayed on {active}: max_in_flight ({limit}) holds {_count(count, 'request')} for it "
        f"back, and the overdue go first; {_waiting(ruling)}"
    )


def _abandoned(ruling: Ruling) -> str:
    rest = (
        "nothing is awake now"
        if ruling.facts[0] or ruling.active is None
        else (f"{ruling.active} serves on")
    )
    return f"gave up the switch to {ruling.model}: nobody waits for it any more, {rest}"


def _sleep_failed(ruling: Ruling) -> str:
    model, error = ruling.facts
    return (
        f"stayed on {model}: it could not be put to sleep for {ruling.model} ({error}), "
        "so it serves on"
    )


def _wake_failed(ruling: Ruling) -> str:
    error, back = ruling.facts
    after = f", then {back} comes back" if back else ""
    return f"{ruling.model} could not be woken ({error}): its sleep hook cleans up{after}"


def _breaker(ruling: Ruling) -> str:
    times = ruling.facts[0]
    often = "once" if times == 1 else f"{times} times in a row"
    return f"leaves {ruling.model} alone: it has failed {often}, and requests for it hear 503"


def _died(ruling: Ruling) -> str:
    how = "hangs" if ruling.facts[0] else "is dead"
    error = f" ({ruling.facts[1]})" if ruling.facts[1] else ""
    return f"the backend of {ruling.model} {how}{error}: it is woken again when somebody waits"


def _count(number: object, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ends(number: object) -> str:
    return "ends" if number == 1 else "end"


def _time(value: object) -> str:
    return secs(value) if isinstance(value, int | float) else "no time"


_START: Final = ("in_flight", "held_by", "held_secs")
_HELD: Final = {"min_active": "min_active_secs", "stuck": "a sleep that failed"}
_NEXT: Final = {
    "breaker": "will try again",
    "quarantined": "will try again",
    "sleep_failed": "will try again",
    "stuck": "will try again",
    "quarantine": "will try again",
    "defer": "will go",
}

RULES: Final[Mapping[str, Rule]] = {
    "policy": Rule("switch", (*_START, "after_delay"), _policy),
    "overdue": Rule("switch", (*_START, "max_wait_secs"), _overdue),
    "order": Rule(
        "switch",
        (*_START, "by"),
        lambda one: _switched(one, f"{one.facts[3]} ordered it"),
    ),
    "restore": Rule(
        "switch",
        _START,
        lambda one: _switched(one, "it was active before a wake that failed, and comes back"),
    ),
    "announced": Rule(
        "switch",
        _START,
        lambda one: _switched(one, "a client has announced that it comes next, and nobody waits"),
    ),
    "retargeted": Rule(
        "switch",
        ("instead_of",),
        lambda one: (
            f"woke {one.model} instead of {one.facts[0]}, for whom nobody waits any more: "
            f"{_waiting(one)}"
        ),
    ),
    "skip": Rule("stay", (), _skip),
    "defer": Rule("wait", (), _defer),
    "preferred": Rule("stay", ("for",), _preferred),
    "min_active": Rule("stay", ("of", "active_secs", "min_active_secs"), _min_active),
    "stuck": Rule("stay", ("of",), _stuck),
    "quarantine": Rule("stay", ("of",), _quarantine),
    "max_in_flight": Rule("stay", ("of", "overdue", "max_in_flight"), _max_in_flight),
    "abandoned": Rule("stay", ("asleep",), _abandoned),
    "sleep_failed": Rule("stay", ("of", "error"), _sleep_failed),
    "wake_failed": Rule("fail", ("error", "restores"), _wake_failed),
    "breaker": Rule("refuse", ("failures",), _breaker),
    "quarantined": Rule(
        "refuse",
        ("error",),
        lambda one: (
            f"{one.model} is in quarantine, neither alive nor provably asleep ({one.facts[0]}): "
            "nothing is woken in its place, and requests for it hear 503"
        ),
    ),
    "released": Rule(
        "serve", (), lambda one: f"{one.model} left quarantine: it is alive, or asleep, again"
    ),
    "adopted": Rule(
        "serve", (), lambda one: f"{one.model} was found awake at the start and serves on"
    ),
    "recover": Rule(
        "sleep",
        (),
        lambda one: f"puts {one.model} to sleep: it should not be awake, or nobody knows if it is",
    ),
    "died": Rule("lost", ("hangs", "error"), _died),
    "rescue": Rule(
        "wait",
        (),
        lambda one: (
            f"a request for {one.model} waits again: its backend died before the first byte of "
            "an answer"
        ),
    ),
    "drain_cut": Rule(
        "end",
        ("answers", "drain_timeout_secs", "for"),
        lambda one: (
            f"ended {_count(one.facts[0], 'answer')} of {one.model}: the drain for "
            f"{one.facts[2]} had reached drain_timeout_secs ({_time(one.facts[1])})"
        ),
    ),
    "timeout": Rule(
        "refuse",
        ("request_timeout_secs",),
        lambda one: (
            f"a request for {one.model} gave up: it was not ready within request_timeout_secs "
            f"({_time(one.facts[0])})"
        ),
    ),
}
"""Every rule of the board; `docs/operations.md` has the same table."""
