"""Why the switch can be trusted, as commands: the board walked, the driver simulated.

Both look from outside: `tests.core.world`, `proof.books` and `proof.watch` keep books of their own
and hold the invariants against them. Nothing here is part of the package.
"""
