"""What may be believed of a model's `alive`: it is a witness, not an oracle.

Files written for 2.4.0, which never asked, hold `alive: "true"`, typing errors, and a `/health`
that a sleeping server answers 200. So each answer is weighed: a command that cannot be run, or
that never agreed while the port was open, is unfit, and the port stands in; one that still agrees
after a successful sleep is blind, and is believed neither at adoption nor when a sleep has failed.
This file refuses to know when a hook runs, and what a death means for a switch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from llmux.runtime.probes import Answer, Look, Probe

ASK_EVERY = 0.5
"""Seconds between two questions after a wake, and after a sleep where the answer is not clear."""
UNFIT_AFTER = 30.0
"""Seconds of an open port after which an `alive` that has never agreed is unfit."""
LAST_LOOKS = 3
"""Looks after a sleep before its answer counts: a process needs a moment to die."""


class Pulse(Enum):
    """What one look at an awake model says; it can be only one of these."""

    ALIVE = "alive"
    DEAD = "dead"
    """The port refuses, and `alive` does not say otherwise."""
    HUNG = "hung"
    """The port accepts, but `alive` fails or does not answer."""
    CLOSED = "closed"
    """The port refuses although `alive` agrees: a few more looks will tell who is wrong."""
    UNSURE = "unsure"
    """Nothing could be asked, for want of something on our side: says nothing of the model."""


@dataclass(slots=True)
class Traits:
    """What has been learned of a witness, and is worth remembering over a restart."""

    agreed: bool = False
    """It has agreed at least once, so it is not unfit by never agreeing."""
    unfit: str | None = None
    """Why it is not believed at all; None while it is."""
    blind: bool = False
    """It agreed after a successful sleep: it cannot tell the two states apart."""
    port_stays_open: bool = False
    """The port accepted after a successful sleep: it cannot tell them apart either."""


def _nothing(_: str) -> None:
    return None


class Witness:
    """Weighs what `alive` and the port say about one model.

    `alive` is None where the config has none; `knock` asks the port. `traits` are what an earlier
    life has learned. Each of `on_unfit(why)`, `on_blind(why)` is called once, when that is found
    out; `on_learned()` when traits have changed. No method raises but for a cancellation.
    """

    def __init__(
        self,
        alive: Probe | None,
        knock: Probe,
        *,
        traits: Traits | None = None,
        on_unfit: Callable[[str], None] = _nothing,
        on_blind: Callable[[str], None] = _nothing,
        on_learned: Callable[[], None] = lambda: None,
    ) -> None:
        self._alive = alive
        self._knock = knock
        self.traits = traits or Traits()
        self._on_unfit = on_unfit
        self._on_blind = on_blind
        self._on_learned = on_learned
        self._warned: set[str] = set()
        self._loads_until: float | None = 0.0
        self.last_error: str | None = None
        """A sentence about the latest look that did not agree; None while it agrees."""

    def __repr__(self) -> str:
        traits = self.traits
        says = "absent" if self._alive is None else "unfit" if traits.unfit else "fit"
        blind = " blind" if traits.blind else ""
        return f"<Witness {says}{blind}{' open port' if traits.port_stays_open else ''}>"

    # ---- the questions -------------------------------------------------------------------------

    async def adoptable(self, last_known_awake: bool | None) -> bool:
        """Say whether the model is awake now, so that it needs no wake.

        Nothing is adopted whose port refuses. Where neither `alive` nor the port can tell the
        states apart, what was last known decides (None: nothing is known).
        """
        port = await self._port()
        if port.answer in (Answer.REFUSES, Answer.UNASKED):
            return False
        alive = await self._ask()
        if alive is not None and not (alive.agrees and self.traits.blind):
            awake = alive.agrees
        elif not self.traits.port_stays_open:
            awake = port.agrees
        else:
            awake = last_known_awake is True
        self._loads_until = 0.0
        return awake

    async def refuses(self) -> bool:
        """Say whether the port refuses: whatever `alive` says, nobody serves there."""
        return (await self._port()).answer is Answer.REFUSES

    async def agrees(self, until: float | None) -> bool:
        """Ask after a wake, every half second, until it agrees; False at the loop time `until`.

        Where the port has accepted for 30 s and `alive` has never agreed, it is found unfit.
        """
        now = asyncio.get_running_loop().time
        self._loads_until = until
        open_since: float | None = None
        while True:
            began = now()
            try:
                async with asyncio.timeout_at(until):
                    alive = await self._ask()
                    port = await self._port()
            except TimeoutError:
                return False
            if port.agrees:
                self._loads_until = 0.0
            if port.agrees if alive is None else alive.agrees:
                return True
            if port.answer is Answer.REFUSES:
                open_since = None
            elif port.agrees and open_since is None:
                open_since = began
            if open_since is not None and not self.traits.agreed and alive is not None:
                opened = now() - open_since
                if opened >= UNFIT_AFTER:
                    self._unfit(f"it never agreed in {opened:.0f} s of an open port: {alive.error}")
                    return True
            pause = max(0.0, began + ASK_EVERY - now())
            if until is not None and now() + pause >= until:
                return False
            await asyncio.sleep(pause)

    async def after_sleep(self) -> None:
        """Find out, right after a sleep hook has succeeded, who can tell the states apart.

        Takes one look where the answer is what was expected; a surprise is looked at three times,
        half a second apart, because a process needs a moment to end.
        """
        traits = self.traits
        for number in range(1, LAST_LOOKS + 1):
            alive = await self._ask()
            port = await self._port()
            agrees = alive is not None and alive.agrees
            surprise = agrees > traits.blind or port.agrees > traits.port_stays_open
            if not surprise or number == LAST_LOOKS:
                break
            await asyncio.sleep(ASK_EVERY)
        silent = port.answer is Answer.UNASKED or (
            alive is not None and alive.answer is Answer.SILENT
        )
        if not silent and port.agrees is not traits.port_stays_open:
            traits.port_stays_open = port.agrees
            self._on_learned()
        if agrees:
            self.found_blind("it still agrees after a successful sleep")
        elif alive is not None and traits.blind:
            traits.blind = False
            self._on_learned()

    async def gone(self) -> bool | None:
        """Say after a failed sleep whether the model is gone: True, False (alive), None (unclear).

        A hang is unclear: what does not answer may still hold the accelerator.
        """
        alive = await self._ask()
        port = await self._port()
        refuses = port.answer is Answer.REFUSES
        if alive is None or self.traits.blind:
            if refuses:
                return True
            clear = port.agrees and not self.traits.port_stays_open
            return False if clear and (alive is None or alive.agrees) else None
        if alive.agrees:
            return None if refuses else False
        # A server that stays up while its model sleeps has shown that its no can be believed.
        asleep = alive.answer is Answer.DENIES and self.traits.port_stays_open
        return True if refuses or asleep else None

    async def pulse(self, *, refused: bool = False) -> Pulse:
        """Take one look at a model that is awake.

        While it still loads (nobody has seen its port open since the wake, and the wake's bound is
        not over) a refusing port is no death as long as `alive` agrees. `refused` says that
        somebody met a refusal after that.
        """
        if refused:
            self._loads_until = 0.0
        # Side by side: one that hangs may take the whole bound of either to be silent.
        alive, port = await asyncio.gather(self._ask(), self._knock())
        if port.agrees and alive is not None and not alive.agrees:
            port = await self._knock()  # it may have died since
        if not port.agrees and self.last_error is None:
            self.last_error = port.error
        if port.agrees:
            self._loads_until = 0.0
        if port.answer is Answer.REFUSES:
            if alive is None or not alive.agrees:
                return Pulse.DEAD
            if self._loads():
                return Pulse.ALIVE
            return Pulse.DEAD if self.traits.blind else Pulse.CLOSED
        if alive is not None:
            return Pulse.ALIVE if alive.agrees else Pulse.HUNG
        if port.answer is Answer.UNASKED:
            return Pulse.UNSURE
        return Pulse.ALIVE if port.agrees else Pulse.HUNG

    def _loads(self) -> bool:
        until = self._loads_until
        return until is None or asyncio.get_running_loop().time() < until

    async def _ask(self) -> Look | None:
        """Ask `alive`; None where the port has to stand in for it this time."""
        if self._alive is None:
            self.last_error = None
            return None
        look = await self._alive()
        self.last_error = look.error
        if look.agrees:
            if not self.traits.agreed or self.traits.unfit is not None:
                self.traits.agreed, self.traits.unfit = True, None
                self._on_learned()
            return look
        if look.answer is Answer.UNFIT:
            self._warn("unfit", look.error or "it cannot be run", self._on_unfit)
            return None
        if look.answer is Answer.UNASKED or self.traits.unfit is not None:
            return None
        return look

    async def _port(self) -> Look:
        look = await self._knock()
        if not look.agrees and self.last_error is None:
            self.last_error = look.error
        return look

    # ---- what is learned -----------------------------------------------------------------------

    def found_blind(self, why: str) -> None:
        """Remember that `alive` cannot tell awake from asleep; said aloud once."""
        if not self.traits.blind:
            self.traits.blind = True
            self._on_learned()
        self._warn("blind", why, self._on_blind)

    def _unfit(self, why: str) -> None:
        if self.traits.unfit != why:
            self.traits.unfit = why
            self._on_learned()
        self._warn("unfit", why, self._on_unfit)

    def _warn(self, what: str, why: str, tell: Callable[[str], None]) -> None:
        if what not in self._warned:
            self._warned.add(what)
            tell(why)
