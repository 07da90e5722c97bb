"""The picture of the demo in the README, and the terminal and the drawing behind it."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

from tools.demo_picture import PICTURE, picture, spans
from tools.terminal import Screen, record

from llmux.demo.cast import MODELS, QUESTION
from tests.docs.pages import ROOT, read

SVG = "{http://www.w3.org/2000/svg}"


def texts(drawn: str) -> list[str]:
    return ["".join(one.itertext()) for one in ElementTree.fromstring(drawn).iter(f"{SVG}text")]


def test_the_picture_shows_the_demo_of_today() -> None:
    """Made anew by `make pictures`; a line that the demo no longer says is found here."""
    rows = texts(PICTURE.read_text())
    assert any(row.endswith(f"{', '.join(MODELS)}, all at once: {QUESTION}") for row in rows)
    for model in MODELS:
        assert any(f"{model}: I am {model}, process " in row for row in rows)
        assert any(f"awake   {model}, the switch took " in row for row in rows)
    assert max(map(len, rows)) <= 100
    assert str(PICTURE.relative_to(ROOT)) in read("README.md")


def test_the_picture_is_small_and_asks_for_nothing() -> None:
    text = PICTURE.read_text()
    assert len(text) < 60_000
    for query in ("prefers-color-scheme:dark", "prefers-reduced-motion:no-preference"):
        assert f"@media({query})" in text
    assert "<script" not in text
    assert text.count("://") == 1 + text.count("http://127.0.0.1:")


def test_a_screen_wraps_goes_up_and_is_erased() -> None:
    screen = Screen(8)
    screen.feed("\x1b[1;36mswitch\x1b[0m on and on\r\nfour\r\n\x1b[1A\x1b[2Kfive\x1b[?25l")
    rows = ["".join(letter for letter, _ in row) for row in screen.rows()]
    assert rows == ["switch o", "n and on", "five"]
    assert [screen.rows()[0][place][1] for place in (0, 6)] == ["1;36", ""]


def test_a_row_is_drawn_for_as_long_as_it_stood_there() -> None:
    loading, done = ((letter, "32") for letter in "<-"), ((letter, "") for letter in "ok")
    first, second = tuple(loading), tuple(done)
    frames = [(0.0, [first]), (1.0, [second, first])]
    assert spans(frames, 4.0) == [(0, first, 0.0, 1.0), (0, second, 1.0, 4.0), (1, first, 1.0, 4.0)]
    drawn = picture(frames, "a & b")
    assert texts(drawn) == ["$ make demo", "<-", "ok", "<-"]
    assert "0%{opacity:1}0.00%{opacity:1}14.29%{opacity:0}" in drawn


def test_what_a_command_shows_is_remembered_with_its_time() -> None:
    said = "import sys; print('one'); sys.stdin.isatty() and print('two')"
    frames = record([sys.executable, "-c", said], 80, 0.0)
    last = ["".join(letter for letter, _ in row) for row in frames[-1][1]]
    assert last == ["one", "two"]
    assert frames[0][0] == 0.0
