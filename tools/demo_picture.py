"""Draws the demo: runs it in a terminal and writes what it shows as an animated SVG.

    python -m tools.demo_picture [FILE]

The picture needs no script: each row is shown while it stood there, by CSS. Whoever wants no motion
sees the end, and colours follow the reader's light or dark. What a terminal is knows `terminal`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from tools.terminal import Frame, Row, record

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs/demo.svg"
COLUMNS = 100
PAUSE = 0.06
"""Seconds between two frames at least."""
HOLD = 6.0
"""Seconds for which the end stands before it begins anew."""
FONT, LETTER, LINE, MARGIN = 14, 8.45, 19, 16

COLOURS = {  # of a terminal's eight: on light, on dark
    "31": ("#cf222e", "#ff7b72"),
    "32": ("#116329", "#7ee787"),
    "33": ("#8a5a00", "#e3b341"),
    "34": ("#0550ae", "#79c0ff"),
    "35": ("#8250df", "#d2a8ff"),
    "36": ("#0a6c74", "#56d4dd"),
}
PLAIN, PAPER, EDGE = ("#1f2328", "#e6edf3"), ("#f6f8fa", "#0d1117"), ("#d0d7de", "#30363d")

Shown = tuple[int, Row, float, float]
"""Where a row stands, what it is, and from when to when."""


def spans(frames: list[Frame], end: float) -> list[Shown]:
    """Say for each row of each frame how long it stood there."""
    found: list[Shown] = []
    standing: dict[int, tuple[Row, float]] = {}
    for at, rows in [*frames, (end, [])]:
        for number in range(max(len(rows), *standing, 0) + 1):
            now = rows[number] if number < len(rows) else ()
            was, since = standing.get(number, ((), 0.0))
            if now != was:
                if was:
                    found.append((number, was, since, at))
                standing[number] = (now, at)
    return found


def drawn(row: Row) -> str:
    """One row as SVG text, in its colours."""
    parts = []
    for style, cells in groupby(row, key=lambda cell: cell[1]):
        text = escape("".join(letter for letter, _ in cells))
        numbers = style.split(";")
        classes = [f"c{one}" for one in numbers if one in COLOURS] + ["b"] * ("1" in numbers)
        parts.append(f'<tspan class="{" ".join(classes)}">{text}</tspan>' if classes else text)
    return "".join(parts).rstrip()


def colours(side: int) -> str:
    """The colours on light (0) or on dark (1)."""
    rules = [f".c{number}{{fill:{pair[side]}}}" for number, pair in COLOURS.items()]
    paper = f".p{{fill:{PAPER[side]};stroke:{EDGE[side]}}}"
    return f"text{{fill:{PLAIN[side]}}}{paper}{''.join(rules)}"


def picture(frames: list[Frame], said: str) -> str:
    """Draw the frames below the command that made them; `said` is told to who cannot see."""
    last = frames[-1][0]
    length = last + HOLD
    rows = 2 + max(len(rows) for _, rows in frames)
    width, height = COLUMNS * LETTER + 2 * MARGIN, rows * LINE + 2 * MARGIN
    moments: dict[tuple[float, float], str] = {}
    texts = [
        f'<text x="{MARGIN}" y="{MARGIN + FONT}"><tspan class="c32">$</tspan> make demo</text>'
    ]
    for number, row, since, until in spans(frames, length):
        name = moments.setdefault((since, until), f"k{len(moments)}")
        stays = " l" if until == length else ""
        y = MARGIN + FONT + (number + 1) * LINE
        texts.append(f'<text x="{MARGIN}" y="{y}" class="f {name}{stays}">{drawn(row)}</text>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" role="img">',
            f"<title>llmux demo</title><desc>{escape(said)}</desc>",
            "<style>",
            f"text{{font:{FONT}px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',"
            "monospace;white-space:pre}.b{font-weight:bold}.f{opacity:0}.l{opacity:1}",
            colours(0),
            f"@media(prefers-color-scheme:dark){{{colours(1)}}}",
            "@media(prefers-reduced-motion:no-preference){",
            f".f{{animation:{length:.1f}s step-end infinite}}",
            *keyframes(moments, length),
            "}",
            "</style>",
            f'<rect class="p" x=".5" y=".5" width="{width - 1:g}" height="{height - 1}" rx="8"/>',
            *texts,
            "</svg>",
            "",
        ]
    )


def keyframes(moments: dict[tuple[float, float], str], length: float) -> Iterable[str]:
    """The rules by which rows come and go."""
    for (since, until), name in moments.items():
        come, go = (f"{100 * at / length:.2f}%" for at in (since, until))
        gone = "" if until == length else f"{go}{{opacity:0}}"
        yield (
            f"@keyframes {name}{{0%{{opacity:{int(since == 0)}}}{come}{{opacity:1}}{gone}}}"
            f".{name}{{animation-name:{name}}}"
        )


def main() -> int:
    """Run the demo and write its picture."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    frames = record([sys.executable, "-m", "llmux", "demo", "--once"], COLUMNS, PAUSE)
    said = "\n".join("".join(letter for letter, _ in row).rstrip() for row in frames[-1][1])
    path.write_text(picture(frames, said))
    print(f"{path}: {len(path.read_bytes())} bytes, {len(frames)} frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())
