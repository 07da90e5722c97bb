"""Each shell command of the pages is run as it stands, or a table says why not.

Ports and two paths are exchanged for ones that are free here, and engines of the demo stand where
a GPU would be; nothing else. A new command on a page belongs into one of the tables.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from llmux.cli.main import VERBS
from tests.conftest import Need
from tests.docs.commands import everywhere, of_llmux, spans
from tests.docs.desk import Desk
from tests.docs.pages import PAGES, ROOT, blocks, names, read
from tests.e2e.house import until

SERVE = "llmux -c config.yaml"

WITH_A_GATEWAY = {
    "curl -H 'x-llmux-priority: 0.1' http://127.0.0.1:3000/v1/chat/completions"
    " -d @nightly.json": "I am llama-8b, ",
    "curl http://127.0.0.1:3000/v1/chat/completions -H 'content-type: application/json'"
    ' -d \'{"model": "qwen-32b", "stream": true,'
    ' "messages": [{"role": "user", "content": "Hello!"}]}\'': "data: [DONE]",
    "llmux why mistral": "switch  left llama-8b for qwen-32b: ",
}
"""What is asked of the gateway of the README, in this order, and words of the answer."""

BY_THEMSELVES = {
    "llmux check -c config.yaml": "config.yaml is fine",
    "llmux schema --output llmux.schema.json": "",
    "llmux check --policy ./patient.py": (
        "./patient.py is fine: it was asked about a dozen moments and set over two short stories"
    ),
    "llmux simulate --workload poisson:a=.15,b=.15 --policy fifo,balance,fifo-2.4 --cost 11": (
        "fifo-2.4"
    ),
    "llmux simulate --trace monday.csv.gz --policy fifo,balance --wake-secs llama=40,qwen=9"
    " --limit-secs 30": "balance",
    "llmux simulate --trace monday.csv.gz --config config.yaml --policy ./patient.py,balance"
    " --json figures.json": "./patient.py",
    "llmux simulate --workload bursts3 --policy fifo,balance --cost 11 --report report.html": (
        "idle"
    ),
    "llmux replay /var/lib/llmux/journal": "decided the same",
    "llmux simulate --trace /var/lib/llmux/journal --policy fifo,balance": "as it was",
}
"""What needs no gateway, and words of the answer."""

ELSEWHERE = {
    "curl -H 'x-llmux-next: mistral' http://127.0.0.1:3000/v1/chat/completions"
    " -d @plan.json": "tests/e2e/test_switching.py",
    "make demo": "tests/e2e/test_demo.py",
    "make test": ".ci/run",
    "python3 -m venv ~/llmux-venv && ~/llmux-venv/bin/pip install .": (
        "test_the_package_installs_from_the_source_tree"
    ),
    "make bench": "15 minutes, and nginx",
    "make bench-quick": "a minute, and nginx",
    'make bench-scheduling ARGS="--first-seed 501 --reference least.jsonl'
    " --trace TRACES/azure2023_first_half.csv.gz:5 TRACES/azure2023_first_half.csv.gz:16"
    ' TRACES/servegen4_busy.csv.gz TRACES/servegen4_home.csv.gz"': "minutes, and traces",
    "make profile": "a minute of a quiet machine",
    "uv tool install .": "asks a package index; what it builds is what pip builds",
}
"""What would take too long here, or needs a network, and where it is tried or why nowhere."""

SCRIPT = "export LLMUX_MODEL=llama-8b LLMUX_PORT=8001"
ENGINES = "VLLM_SERVER_DEV_MODE=1 vllm serve"
"""Starts the real thing; `test_example_files` has a stand-in for it."""


def test_each_command_of_a_page_is_run_or_has_its_reason() -> None:
    found = {one for one in everywhere() if not one.startswith((SCRIPT, ENGINES))}
    assert found == {SERVE, *WITH_A_GATEWAY, *BY_THEMSELVES, *ELSEWHERE}


def test_a_reason_that_names_a_place_names_one_that_is_there() -> None:
    for place in ELSEWHERE.values():
        assert " " in place or (ROOT / place).exists() or place in globals()


@pytest.mark.parametrize("page", names(PAGES))
def test_a_program_that_a_sentence_names_is_there(page: str) -> None:
    """`python FILE` and `python -m MODULE`, of the source tree."""
    for words in (span.split() for span in spans(read(page))):
        if words[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(words[2]), words
        elif words[0:1] == ["python"] and len(words) > 1:
            assert (ROOT / words[1]).exists(), words


class House(Desk):
    """The folder of somebody who follows the pages."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for file in (*self.examples.glob("hooks/*llama.sh"), self.examples / "patient.py"):
            shutil.copy(file, folder)
        message = {"role": "user", "content": "Hello!"}
        (folder / "nightly.json").write_text(
            json.dumps({"model": "llama-8b", "messages": [message]})
        )
        text = blocks(read("README.md"), "yaml")[0]
        text = text.replace("min_active_secs: 5", "min_active_secs: 0")
        self.write(text + "journal: ./journal\n")

    def write(self, config: str) -> None:
        """Write `config.yaml`, with ports that are free here."""
        ports = zip(("3000", "8001", "8002"), (self.port, *self.ports), strict=True)
        for old, new in ports:
            config = config.replace(f"port: {old}", f"port: {new}")
        (self.folder / "config.yaml").write_text(config)

    def shell(self, command: str) -> str:
        """Run a command of a page; gives what it said, and fails where it failed."""
        for old, new in (
            ("127.0.0.1:3000", f"127.0.0.1:{self.port}"),
            ("LLMUX_PORT=8001", f"LLMUX_PORT={self.ports[0]}"),
            ("/var/lib/llmux/journal", "./journal"),
            ("why mistral", "why qwen-32b"),
        ):
            command = command.replace(old, new)
        done = self.run("sh", "-e", "-c", command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("reader"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def journal(house: House) -> Path:
    """What the gateway of the README has written, after it was asked what the pages ask."""
    with house.running(*SERVE.split()) as process:
        for command, words in WITH_A_GATEWAY.items():
            assert words in house.shell(command)
        process.send_signal(signal.SIGHUP)
        until(lambda: "config_reloaded" in (house.folder / "output").read_text(), "it is followed")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    return house.folder / "journal"


def test_the_gateway_of_the_readme_answers_as_the_pages_say(journal: Path) -> None:
    """The fixture has asked; what it was told stands in its journal."""
    assert journal.stat().st_size > 0


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("command", BY_THEMSELVES)
def test_a_command_that_needs_no_gateway(house: House, command: str) -> None:
    """`monday.csv.gz` is a trace of the two models of a config."""
    lines = "t,model,prompt_tokens,output_tokens\n0,llama,9,80\n1,qwen,9,80\n20,llama,9,80\n"
    with gzip.open(house.folder / "monday.csv.gz", "wt") as trace:
        trace.write(lines)
    house.write(
        "models:\n"
        "  llama: {port: 8001, wake: ./wake-llama.sh, sleep: ./sleep-llama.sh}\n"
        "  qwen: {port: 8002, wake: ./wake-llama.sh, sleep: ./sleep-llama.sh}\n"
    )
    assert BY_THEMSELVES[command] in house.shell(command)
    for written in re.findall(r"\S+\.json\b", command):
        json.loads((house.folder / written).read_text())


def test_hooks_that_are_tried_by_hand_say_so(house: House, need: Need) -> None:
    need("curl")
    [script] = [one for one in everywhere() if one.startswith(SCRIPT)]
    assert house.shell(script).splitlines() == [
        f"{hook}: 0" for hook in ("wake", "wake again", "sleep", "sleep again")
    ]


def test_the_package_installs_from_the_source_tree(tmp_path: Path) -> None:
    """`pip install .`, here without an index, into a folder."""
    tree = tmp_path / "tree"
    leave_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", tree / "src", ignore=leave_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    desk = Desk(tmp_path)
    bare = ("--no-index", "--no-deps", "--no-build-isolation", "--target", str(tmp_path / "site"))
    done = desk.run(sys.executable, "-m", "pip", "install", "--quiet", *bare, str(tree))
    assert done.returncode == 0, done.stderr
    said = desk.run(
        str(tmp_path / "site/bin/llmux"), "--version", PYTHONPATH=str(tmp_path / "site")
    )
    assert said.stdout == "llmux 3.0.0\n"


def verbs() -> dict[str, click.Command]:
    return {verb: importlib.import_module(f"llmux.cli.{verb}").command for verb in VERBS}


def options(command: click.Command) -> list[list[str]]:
    """The spellings of each option of a verb."""
    kept = [one for one in command.params if isinstance(one, click.Option)]
    return [one.opts + one.secondary_opts for one in kept]


@pytest.mark.parametrize("page", names(PAGES))
def test_every_option_that_a_page_shows_with_a_verb_is_one_of_it(page: str) -> None:
    known = {
        verb: {name for one in options(command) for name in one}
        for verb, command in verbs().items()
    }
    wrong = {
        (verb, name)
        for verb, name in of_llmux(read(page))
        if name not in known.get(verb, set()) | {"-h", "--help", "-V", "--version"}
    }
    assert wrong == set()


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_stands_on_its_page(verb: str) -> None:
    page = read("docs/simulate.md" if verb == "simulate" else "docs/operations.md")
    shared = {name for one in options(verbs()["serve"]) for name in one}
    for spellings in options(verbs()[verb]):
        if shared.isdisjoint(spellings):
            long = [name for name in spellings if name.startswith("--")]
            assert all(re.search(rf"{re.escape(name)}(?![\w-])", page) for name in long), spellings
