"""Pieces of SVG: a picture whose shapes stretch with the page while its words keep their size.

Shapes stand in a layer of 1,000 units a width, words in percent of the width, and heights in
pixels, so one picture fits a telephone and a wide screen. Colours are classes; the style sheet of
the page knows them. It refuses to know what is drawn, and escapes every word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH = 1000
"""Units from the left edge of a picture to the right one."""


@dataclass(slots=True)
class Picture:
    """A picture that grows while it is drawn; `describe` says what somebody sees who cannot see."""

    key: str
    title: str
    description: str
    height: float
    _shapes: list[str] = field(default_factory=list)
    _words: list[str] = field(default_factory=list)

    def path(self, classes: str, data: str) -> None:
        """Draw a path; an empty one is left out."""
        if data:
            self._shapes.append(f'<path class="{classes}" d="{data}"/>')

    def line(self, classes: str, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw a line from one point (units, pixels) to another."""
        self.path(
            classes, f"M{number(begin[0])},{number(begin[1])}L{number(end[0])},{number(end[1])}"
        )

    def box(self, classes: str, x: float, y: float, width: float, height: float) -> None:
        """Fill a rectangle."""
        self.path(classes, rectangle(x, y, width, height))

    def words(
        self,
        classes: str,
        x: float,
        y: float,
        text: str,
        *,
        anchor: str = "start",
        shift: float = 0,
    ) -> None:
        """Write words, their baseline at y, `shift` pixels beside x (units)."""
        told = "" if anchor == "start" else f' text-anchor="{anchor}"'
        moved = f' dx="{number(shift)}"' if shift else ""
        at = f'x="{number(100 * x / WIDTH)}%" y="{number(y)}"'
        self._words.append(f'<text class="{classes}" {at}{moved}{told}>{escape(text)}</text>')

    def swatch(self, classes: str, y: float) -> None:
        """Put a small square at the left edge, in front of words whose baseline is at y."""
        self._words.append(
            f'<rect class="{classes}" x="0" y="{number(y - 9)}" width="10" height="10" rx="2"/>'
        )

    def render(self) -> str:
        """Return the picture as SVG that stands in a page."""
        tall = number(self.height)
        return (
            f'<svg id="{self.key}" class="picture" role="img" height="{tall}" '
            f'aria-labelledby="{self.key}-title {self.key}-desc">'
            f'<title id="{self.key}-title">{escape(self.title)}</title>'
            f'<desc id="{self.key}-desc">{escape(self.description)}</desc>'
            f'<svg width="100%" height="{tall}" viewBox="0 0 {WIDTH} {tall}" '
            f'preserveAspectRatio="none">{"".join(self._shapes)}</svg>'
            f"{''.join(self._words)}</svg>"
        )


def number(value: float) -> str:
    """Write a coordinate, to a tenth, as short as it goes."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def rectangle(x: float, y: float, width: float, height: float) -> str:
    """Return the path of a rectangle."""
    return f"M{number(x)},{number(y)}h{number(width)}v{number(height)}h{number(-width)}z"


def columns(heights: Sequence[float], base: float, *, outline: bool = False) -> str:
    """Return the path of columns that stand side by side on a base, over the whole width.

    Heights are pixels. Neighbours of the same height become one; none at all gives no path.
    """
    if not any(heights):
        return ""
    width = WIDTH / len(heights)
    parts = [f"M0,{number(base)}"]
    last = base
    for index, height in enumerate(heights):
        top = base - height
        if number(top) != number(last):
            parts.append(f"H{number(index * width)}V{number(top)}")
            last = top
    parts.append(f"H{WIDTH}" if outline else f"H{WIDTH}V{number(base)}z")
    return "".join(parts)


def polyline(points: Iterable[tuple[float, float]]) -> str:
    """Return the path through these points."""
    return "".join(
        f"{'L' if index else 'M'}{number(x)},{number(y)}" for index, (x, y) in enumerate(points)
    )
