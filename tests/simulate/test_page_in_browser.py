"""A report in a real browser: on a wide screen and on a telephone, in the light and in the dark."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Need, find_tool
from tests.simulate.browser import Browser, Tab, browsing
from tests.simulate.test_page import HOSTILE, hostile_trace, written

SIZES = {"wide": (1400, 900), "telephone": (360, 640)}
SCHEMES = ("light", "dark")
WHOLE_SENTENCE = """(() => {
  const box = document.querySelector('#verdict').getBoundingClientRect();
  return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight && box.right <= innerWidth;
})()"""
FAINTEST = """(() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  let worst = 21;
  for (const one of document.querySelectorAll('main *')) {
    const own = [...one.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || one.localName === 'title' || one.localName === 'desc') continue;
    const style = getComputedStyle(one);
    const ink = light(one.localName === 'text' ? style.fill : style.color);
    const [low, high] = [ink, paper].sort((a, b) => a - b);
    worst = Math.min(worst, (high + 0.05) / (low + 0.05));
  }
  return worst;
})()"""
UNNAMED = """[...document.querySelectorAll('svg')].filter(one =>
  !one.parentElement.closest('svg') && !one.hasAttribute('aria-hidden')
  && !(one.querySelector('title')?.textContent && one.querySelector('desc')?.textContent)).length"""


@pytest.fixture
def browser(need: Need, tmp_path: Path) -> Iterator[Browser]:
    """Chromium; where there is none, Chrome, which is the same to us."""
    found = find_tool("google-chrome") if find_tool("chromium") is None else None
    folder = tmp_path / "profile"
    folder.mkdir()
    with browsing(found or need("chromium"), folder) as browser:
        yield browser


def test_the_first_screen_says_which_policy_is_better(browser: Browser, tmp_path: Path) -> None:
    words = ("--workload", "poisson5", "--policy", "fifo,balance")
    page = tmp_path / "page.html"
    written(page, *words)
    papers = {}
    for (width, height), scheme in itertools.product(SIZES.values(), SCHEMES):
        tab = Tab(browser, page, width, height, scheme)
        assert tab.ask(WHOLE_SENTENCE)
        verdict = tab.ask("document.querySelector('#verdict').innerText")
        assert "balance begins to answer after" in verdict
        assert "% less often" in verdict
        assert tab.ask("document.documentElement.scrollWidth") <= width
        assert tab.ask(FAINTEST) >= 4.5
        papers[scheme] = tab.ask("getComputedStyle(document.body).backgroundColor")
        assert tab.requested() == [tab.url]
        assert tab.complaints() == []
        assert tab.ask("document.querySelectorAll('svg.picture').length") == 3
        assert tab.ask(UNNAMED) == 0
        tab.close()
    assert papers["light"] != papers["dark"]


def test_hostile_names_stay_text_and_nothing_is_loaded(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    written(page, "--trace", str(hostile_trace(tmp_path / "trace.csv", models=12)))
    tab = Tab(browser, page, *SIZES["telephone"], "light")
    names = tab.ask("[...document.querySelectorAll('#models th[rowspan]')].map(t => t.innerText)")
    assert sorted(names) == sorted(f"{HOSTILE}{number}" for number in range(12))
    assert tab.ask("document.querySelectorAll('img, script').length") == 0
    assert tab.ask("document.documentElement.scrollWidth") <= SIZES["telephone"][0]
    assert tab.requested() == [tab.url]
    assert tab.complaints() == []


def test_the_page_would_refuse_what_somebody_writes_into_it(
    browser: Browser, tmp_path: Path
) -> None:
    """What stands guard is the page's own policy, should a name ever slip through."""
    page = tmp_path / "page.html"
    text = written(page, "--workload", "poisson5", "--policy", "fifo")
    added = "<script>document.title = 'mine'</script><img src='https://example.org/x.png'>"
    page.write_text(text.replace("</main>", f"{added}</main>"))
    tab = Tab(browser, page, *SIZES["wide"], "light")
    assert tab.ask("document.title") != "mine"
    assert len(tab.complaints()) == 2
