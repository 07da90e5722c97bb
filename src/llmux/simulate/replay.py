"""Plays a journal through the real board and says where it decides otherwise.

Every recorded fact is told at its recorded moment, and what the board orders is compared with what
it ordered then. The policy is asked beside it: where it answers otherwise that is told, and its
recorded answer is taken all the same, so that one difference does not hide the next. A journal is
played from the starts of the gateway that are in it; what stands before the first one, or behind a
gap up to the next start, cannot be played. This file refuses to know how a policy is found.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmux.core import effects as fx
from llmux.core.board import Switchboard
from llmux.core.lane import Lane, LaneSettings
from llmux.core.plain import decision, event, orders
from llmux.core.ticket import Ticket
from llmux.core.view import policy_context, snapshot
from llmux.policy.base import Decision, PolicyDecision, SwitchPolicy
from llmux.runtime.guard import PolicyGuard
from llmux.simulate.journal import Line, files, lines

PolicyFor = Callable[[str, Mapping[str, Any]], SwitchPolicy | None]
"""Gives the policy of this name with these options; None where it cannot be asked."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is decided otherwise now; `when` is in seconds since 1970."""

    path: Path
    line: int
    when: float
    then: str
    now: str


@dataclass(slots=True)
class Played:
    """What came of a replay."""

    starts: int = 0
    facts: int = 0
    orders: int = 0
    answers: int = 0
    """Answers of the policy that were compared."""
    passed_over: int = 0
    """Lines that belong to no start in these files, or stand behind a gap."""
    differences: list[Difference] = field(default_factory=list)


def replay(paths: Sequence[Path], policy_for: PolicyFor) -> Played:
    """Play journals, each with its predecessors; TraceError where one cannot be read."""
    played = Played()
    for path in paths:
        whole = files(path)
        player = _Player(played, policy_for, _tokens(lines(whole)))
        for line in lines(whole):
            player.take(line)
    return played


def _tokens(all_lines: Iterable[Line]) -> list[dict[int, int]]:
    """Return, for each start, how many tokens its requests allowed: it stands at their end."""
    starts: list[dict[int, int]] = []
    for line in all_lines:
        said = line.said
        if isinstance(said, dict):
            if not said.get("continues"):
                starts.append({})
        elif said[1] == "leave" and starts and said[-1] is not None:
            starts[-1][said[2]] = said[-1]
    return starts


class _Seat(Ticket):
    """A request as it was."""

    __slots__ = ("most", "number")

    def __init__(self, lane: Lane, arrived: float, number: int, most: int | None) -> None:
        super().__init__(lane, arrived)
        self.number = number
        self.most = most

    def most_tokens(self) -> int | None:
        return self.most


def _number(ticket: Ticket) -> int:
    assert isinstance(ticket, _Seat)
    return ticket.number


class _Player:
    def __init__(
        self, played: Played, policy_for: PolicyFor, tokens: Sequence[Mapping[int, int]]
    ) -> None:
        self._played = played
        self._policy_for = policy_for
        self._tokens = tokens
        self._start = -1
        self._board: Switchboard | None = None
        self._guard: PolicyGuard | None = None
        self._since = 0.0
        self._seats: dict[int, _Seat] = {}
        self._answers: dict[tuple[str, int], Decision] = {}

    def take(self, line: Line) -> None:
        """Play one line."""
        said = line.said
        try:
            if isinstance(said, dict):
                self._since = said["wall"] - said["clock"]
                if not said["continues"]:
                    self._begin(said)
            elif said[1] == "gap":
                self._board = None
            elif self._board is None:
                self._played.passed_over += 1
            else:
                self._played.facts += 1
                self._play(self._board, line, *said)
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            line.fail_as("it cannot be played", error)

    def _begin(self, said: Mapping[str, Any]) -> None:
        self._start += 1
        self._played.starts += 1
        self._seats.clear()
        self._answers.clear()
        self._board = Switchboard(
            [LaneSettings(**one) for one in said["models"]],
            rate_windows=tuple(said["rate_windows"]),
            hint_secs=said.get("hint_secs"),
            survey=True,
            max_buffered=said["max_buffered"],
        )
        self._follow(said["policy"]["name"], said["policy"]["options"])

    def _follow(self, name: str, options: Mapping[str, Any]) -> None:
        policy = self._policy_for(name, options)
        self._guard = None
        if policy is not None and self._board is not None:
            self._guard = PolicyGuard(policy, self._board.lanes, _no_complaint, stopwatch=float)

    def _play(self, board: Switchboard, line: Line, when: float, kind: str, *rest: Any) -> None:
        match kind:
            case "enter":
                number, model, inside, weight, size, *late = rest
                most = self._tokens[self._start].get(number)
                seat = _Seat(board.lanes[model], when - sum(late), number, most)
                seat.weight, seat.size = weight, size
                self._seats[number] = seat
                admitted = board.enter(seat, when)
                if admitted is not inside:
                    self._differ(line, when, _entry(number, inside), _entry(number, admitted))
            case "leave":
                board.leave(self._seats.pop(rest[0]), when)
            case "answered":
                board.answered(board.lanes[rest[0]])
            case "learned":
                pairs, hooks = rest
                board.costs.restore(
                    {(source, target): cost for source, target, cost in pairs},
                    {(model, hook): cost for model, hook, cost in hooks},
                )
            case "policy":
                self._follow(*rest)
            case "told":
                self._tell(board, line, when, *rest)
            case _:
                raise ValueError(f"there is no {kind!r}")

    def _tell(
        self,
        board: Switchboard,
        line: Line,
        when: float,
        fact: Sequence[Any],
        ordered: Sequence[Sequence[Any]] = (),
    ) -> None:
        told = event(fact, self._seats.__getitem__)
        if fact[0] == "PolicyAnswered":
            self._compare_answer(line, when, fact)
        try:
            effects = board.handle(told, when)
        except Exception as error:  # a board that fails is what one is looking for
            self._differ(line, when, _words(ordered), f"it failed with {error!r}")
            self._board = None
            return
        board.take_news()
        mine = orders(effects, _number)
        self._played.orders += len(ordered)
        if _without_reasons(mine) != _without_reasons(ordered):
            self._differ(line, when, _words(ordered), _words(mine))
        self._consult(board, effects, when)

    def _consult(self, board: Switchboard, effects: Sequence[fx.Effect], when: float) -> None:
        guard = self._guard
        if guard is None:
            return
        world = None
        for effect in effects:
            if isinstance(effect, fx.TellPolicy):
                guard.completed(effect.source, effect.target, effect.duration)
            elif isinstance(effect, fx.Consult):
                world = world or snapshot(board, when)
                answer = guard.decide(policy_context(board, world, board.lanes[effect.model]))
                if isinstance(answer, PolicyDecision):
                    self._answers[effect.model, effect.number] = answer
                elif inspect.iscoroutine(answer):
                    answer.close()

    def _compare_answer(self, line: Line, when: float, fact: Sequence[Any]) -> None:
        _, model, number, kind, about, target, reason, *for_all = fact
        then = (kind, about, target, reason)
        answer = self._answers.pop((model, number), None)
        if for_all:
            self._answers.clear()  # those about the others are not told one by one
        if answer is None:
            return
        self._played.answers += 1
        now = decision(answer)
        if _essence(now) != _essence(then):
            self._differ(line, when, _answer(model, then), _answer(model, now))

    def _differ(self, line: Line, when: float, then: str, now: str) -> None:
        found = Difference(line.path, line.number, when + self._since, then, now)
        self._played.differences.append(found)


def _no_complaint(policy: str, error: str) -> None:
    """Pass over what a policy does wrong: its answer is compared all the same."""


def _without_reasons(plain: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    return [one[:-1] if one[0] == "hook" else one for one in plain]


def _essence(answer: Sequence[Any]) -> tuple[Any, ...]:
    """What of a policy's answer is compared: its kind and target, not how long it would wait."""
    kind, about, target, _ = answer
    return (kind, target, about if kind == "SwitchNow" else None)


def _entry(number: int, inside: object) -> str:
    return f"request {number} {'is admitted at once' if inside else 'has to wait'}"


def _answer(model: str, answer: Sequence[Any]) -> str:
    kind, about, target, reason = answer
    parts = [f"for {model} the policy says {kind}"]
    if about is not None:
        parts.append(f"({about})" if isinstance(about, bool) else f"({about:.3f} s)")
    if target is not None:
        parts.append(f"to {target}")
    return " ".join(parts) + (f": {reason}" if reason else "")


def _words(plain: Iterable[Sequence[Any]]) -> str:
    """Put orders into words, in order."""
    words = []
    for kind, about, *rest in plain:
        match kind:
            case "hook":
                words.append(f"{rest[0]} {rest[1]}")
            case "admit":
                words.append(f"admit request {about}")
            case "settle":
                words.append(f"end order {about}" + (f" with {rest[0]}" if rest[0] else ""))
            case "reject" | "cut":
                words.append(f"{kind} request {about} with {rest[0]}")
            case _:
                words.append(f"{kind} {about}")
    return ", ".join(words) or "nothing"
