"""A report as text: it stands alone, takes every name for text, and is the same every time."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmux.cli.simulate import command
from llmux.simulate.page import MARK

WORKLOAD = "poisson:a=.15,b=.15,secs=300"
HOSTILE = "</style></script><img src=x onerror=alert(1)>\"'&amp;"


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words)


def written(to: Path, *words: str) -> str:
    result = run(*words, "--report", str(to))
    assert result.exit_code == 0, result.stderr
    return to.read_text()


def hostile_trace(to: Path, *, models: int = 2, requests: int = 40) -> Path:
    """A trace whose models have names that would like to be markup."""
    lines = ["t,model,prompt_tokens,output_tokens"]
    name = HOSTILE.replace('"', '""')
    lines += [f'{2 * n},"{name}{n % models}",0,80' for n in range(requests)]
    to.write_text("\n".join(lines) + "\n")
    return to


class Tags(HTMLParser):
    """The tags of a page, and whether each is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_same_command_makes_the_same_bytes(tmp_path: Path) -> None:
    words = ("--workload", WORKLOAD, "--policy", "fifo,balance", "--jitter", "0.3")
    first = written(tmp_path / "page.html", *words)
    assert written(tmp_path / "page.html", *words) == first
    assert first.startswith(MARK)
    assert f"llmux simulate --workload {WORKLOAD} --policy" in first


def test_the_page_may_load_nothing_and_holds_all_it_needs(tmp_path: Path) -> None:
    text = written(tmp_path / "page.html", "--workload", WORKLOAD, "--limit-secs", "30")
    tags = Tags(text)
    assert not tags.open
    assert not {tag for tag, _ in tags.seen} & {"script", "link", "img", "iframe", "object"}
    assert not [attrs for _, attrs in tags.seen if attrs.keys() & {"src", "style", "onload"}]
    [policy] = [a["content"] for _, a in tags.seen if "http-equiv" in a]
    assert policy and policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "within 30 s" in text


def test_names_are_text_whatever_they_hold(tmp_path: Path) -> None:
    trace = hostile_trace(tmp_path / f"<img src=y>{os.extsep}csv", models=12)
    text = written(tmp_path / "page.html", "--trace", str(trace), "--policy", "fifo,balance")
    tags = Tags(text)
    assert not tags.open
    assert not [tag for tag, _ in tags.seen if tag in ("img", "script")]
    assert "4 others" in text


def test_a_long_course_is_drawn_in_columns_and_says_so(tmp_path: Path) -> None:
    short = written(tmp_path / "short.html", "--workload", WORKLOAD)
    trace = hostile_trace(tmp_path / "t.csv", models=3, requests=3000)
    words = ("--trace", str(trace), "--policy", "fifo", "--cost", "0.2", "--decode-rate", "400")
    long = written(tmp_path / "long.html", *words)
    assert "in 360 columns of" in long
    assert "Close up" in long
    assert "in 360 columns of" not in short
    assert len(long) < 300_000


def test_ten_requests_and_one_policy_are_enough(tmp_path: Path) -> None:
    trace = tmp_path / "one.csv"
    trace.write_text("t,model,prompt_tokens,output_tokens\n5,a,0,40\n")
    text = written(tmp_path / "page.html", "--trace", str(trace), "--policy", "fifo")
    assert re.search(r'id="verdict"><b>fifo</b> begins to answer after 9.9\s?s', text)


def test_what_is_no_report_is_not_written_over(tmp_path: Path) -> None:
    trace = hostile_trace(tmp_path / "trace.csv")
    before = trace.read_text()
    result = run("--trace", str(trace), "--report", str(trace))
    assert result.exit_code == 2
    assert "is no report of llmux" in result.stderr
    assert trace.read_text() == before


@pytest.mark.parametrize(
    ("name", "says"), [(".", "is a folder"), ("none/page.html", "cannot be written: No such file")]
)
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, name: str, says: str
) -> None:
    """The trace is not even looked for."""
    result = run("--trace", "nowhere.csv", "--report", str(tmp_path / name))
    assert result.exit_code == 2
    assert says in result.stderr
    assert "nowhere.csv" not in result.stderr


def test_a_look_at_the_place_leaves_nothing_behind(tmp_path: Path) -> None:
    assert run("--trace", "nowhere.csv", "--report", str(tmp_path / "page.html")).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_dash_is_the_standard_output() -> None:
    result = run("--workload", WORKLOAD, "--policy", "fifo", "--report", "-")
    assert result.stdout.startswith(MARK)
    assert result.stdout.endswith("</html>\n")
