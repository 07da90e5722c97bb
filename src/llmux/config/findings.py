"""What is wrong or odd in a config file, said so that the reader can go there and mend it.

A finding is data: where, what, the text that offends and what would do. This file refuses to
know YAML, JSON and the schema; it only words and orders what others have found.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from llmux.errors import ConfigError

_LONGEST_EXCERPT = 60


class Kind(StrEnum):
    """How much a finding weighs."""

    ERROR = "error"
    """The file cannot be used."""
    UNKNOWN_KEY = "unknown key"
    """`serve` warns and goes on, as llmux 2.4.0 did in silence; `check` fails."""
    WARNING = "warning"
    """The file can be used and probably does not say what was meant."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend: `str()` of it reads `config.yaml:7:5: what, found `this`; do that`.

    `line` and `column` count from 1; a line of 0 means the file as a whole.
    """

    file: str
    line: int
    column: int
    message: str
    excerpt: str = ""
    hint: str = ""
    kind: Kind = Kind.ERROR

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        shown = not self.excerpt or f"`{self.excerpt}`" in self.message
        found = "" if shown else f", found `{self.excerpt}`"
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}: {self.message}{found}{hint}"


class InvalidConfigError(ConfigError):
    """The config cannot be used; `findings` holds every mistake, in the order of the file."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = in_file_order(findings)
        super().__init__("\n".join(map(str, self.findings)))


def in_file_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings by line and column and drop those said twice (an alias is read twice)."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda f: (f.file, f.line, f.column)))


def dotted(path: Iterable[str]) -> str:
    """Name a key for a sentence: `models.llama.port`, printable whatever the model is called."""
    return "`" + ".".join(map(excerpt, path)) + "`"


def excerpt(text: str) -> str:
    """Cut a text of the file to one printable line of at most 60 characters."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: _LONGEST_EXCERPT + 1])
    return shown if len(shown) <= _LONGEST_EXCERPT else shown[: _LONGEST_EXCERPT - 1] + "…"


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that somebody who wrote `word` most likely meant, None if there is none.

    Keys share long endings (`_timeout_secs`), so likeness as a whole is not enough: each part
    of the word has to be like some part of the candidate.
    """
    for candidate in difflib.get_close_matches(word, list(candidates), n=5, cutoff=0.6):
        parts = candidate.split("_")
        if all(difflib.get_close_matches(part, parts, n=1, cutoff=0.6) for part in word.split("_")):
            return candidate
    return None
