"""Writes Prometheus's text format: a page of families, each with its samples.

A page of 3,000 models has 56,000 lines, and the loop stands still while they are written. So a line
is one template filled in, and a label's value is escaped once, however many lines carry it. It
refuses to know what is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite, isnan
from typing import Literal

from llmux.telemetry.meters import Tally


class Escaped(dict[str, str]):
    """Values of labels as the format has them, worked out when one is asked for first.

    It keeps what it was asked for, so nothing that a client may choose belongs in it.
    """

    def __missing__(self, value: str) -> str:
        """Escape a value; what no encoding can carry (a lone surrogate) becomes `?`."""
        text = value.encode(errors="replace").decode()
        text = text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        self[value] = text
        return text


class Page:
    """A page that is written from top to bottom; `escaped` may be kept for the next one."""

    def __init__(self, escaped: Escaped) -> None:
        self._escaped = escaped
        self._lines: list[str] = []

    def family(
        self,
        kind: Literal["counter", "gauge"],
        name: str,
        text: str,
        labels: Sequence[str],
        rows: Iterable[tuple[Sequence[str], float]],
    ) -> None:
        """Write a family with a sample for each row: the values of its labels, and its number."""
        self._head(kind, name, text)
        line = _template(name, labels)
        shown = self._escaped.__getitem__
        self._lines += [
            line % (*map(shown, values), _number(value) if value else "0.0")  # most are zero
            for values, value in rows
        ]

    def histogram(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        tallies: Iterable[tuple[Sequence[str], Tally]],
    ) -> None:
        """Write a histogram; of a tally without a count not a line: zeros help nobody."""
        self._head("histogram", name, text)
        bucket = _template(f"{name}_bucket", [*labels, "le"])
        count, total = _template(f"{name}_count", labels), _template(f"{name}_sum", labels)
        for values, tally in tallies:
            number = tally.count()
            if not number:
                continue
            shown = tuple(map(self._escaped.__getitem__, values))
            self._lines += [
                bucket % (*shown, bound, _number(upto)) for bound, upto in tally.buckets()
            ]
            self._lines.append(count % (*shown, _number(number)))
            self._lines.append(total % (*shown, _number(tally.total)))

    def text(self) -> bytes:
        """Return what was written."""
        return "".join(self._lines).encode()

    def _head(self, kind: str, name: str, text: str) -> None:
        self._lines.append(f"# HELP {name} {text}\n# TYPE {name} {kind}\n")


def _template(name: str, labels: Sequence[str]) -> str:
    inner = ",".join(f'{label}="%s"' for label in labels)
    return f"{name}{{{inner}}} %s\n" if labels else f"{name} %s\n"


def _number(value: float) -> str:
    if isfinite(value):
        return repr(float(value))
    return "NaN" if isnan(value) else f"{value:+}".title()
