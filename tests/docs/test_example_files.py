"""The files of `examples/`, run as their readers run them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from llmux.build import build_policy
from llmux.config import load_config
from tests.conftest import Need
from tests.docs.desk import MODELS, Desk
from tests.docs.pages import ROOT, blocks, read, ticked
from tests.e2e.house import until

CONFIGS = sorted((ROOT / "examples").rglob("*.yaml"))
WITH_HOOKS = [str(path.relative_to(ROOT)) for path in CONFIGS if path.parent.name == "hooks"]


@pytest.fixture
def desk(tmp_path: Path, need: Need) -> Iterator[Desk]:
    need("curl")
    need("ps")
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_is_without_a_mistake_and_finds_its_policy(path: Path) -> None:
    loaded = load_config(path)
    assert loaded.warnings == ()
    assert build_policy(loaded.config).settings


@pytest.mark.parametrize("config", WITH_HOOKS)
def test_every_set_of_hooks_lets_two_models_take_turns(desk: Desk, config: str) -> None:
    if "vllm" in config:
        desk.vllms()
    with desk.running("llmux", "-c", config, "-p", str(desk.port)) as process:
        for model in (*MODELS, MODELS[0]):
            assert f"I am {model}, " in desk.ask(model)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_the_app_has_its_own_page_and_the_models_behind_one_port(desk: Desk) -> None:
    """Under uvicorn, asked by the openai client; when it ends, so does the model."""
    uvicorn = (sys.executable, "-m", "uvicorn", "--port", str(desk.port))
    with desk.running(*uvicorn, "--app-dir", "examples", "inside_your_app:app") as process:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{desk.port}/v1", api_key="any")
        for model in MODELS:
            stream = client.chat.completions.create(
                model=model, stream=True, messages=[{"role": "user", "content": "Who are you?"}]
            )
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            assert f"I am {model}, " in text
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="nobody", messages=[])
        page = desk.run("curl", "-s", f"http://127.0.0.1:{desk.port}/")
        assert page.stdout == "qwen-7b is awake\n"
        client.close()
        process.send_signal(signal.SIGINT)
        process.wait(20)
    until(lambda: not any(map(desk.listens, desk.ports)), "both models sleep")


def test_the_switcher_asks_both_models_and_leaves_none_awake(desk: Desk) -> None:
    done = desk.run(sys.executable, "examples/switcher.py", "Anybody there?")
    assert done.stderr == ""
    for model in MODELS:
        assert f"{model}: I am {model}, " in done.stdout
    assert done.stdout.count("You said: Anybody there?") == len(MODELS)
    assert not any(map(desk.listens, desk.ports))


def hook(desk: Desk, name: str, model: str = "llama-8b") -> int:
    path = desk.examples / "hooks" / name
    known = {"LLMUX_MODEL": model, "LLMUX_PORT": str(desk.ports[0])}
    return desk.run(str(path), **known).returncode


def test_the_llama_scripts_are_harmless_when_repeated(desk: Desk) -> None:
    pidfile = desk.folder / f"llama-{desk.ports[0]}.pid"
    assert hook(desk, "sleep-llama.sh") == 0
    assert hook(desk, "wake-llama.sh") == 0
    first = pidfile.read_text()
    assert hook(desk, "wake-llama.sh") == 0
    assert pidfile.read_text() == first
    assert desk.listens(desk.ports[0])
    assert hook(desk, "sleep-llama.sh") == 0
    assert not desk.listens(desk.ports[0])
    assert hook(desk, "sleep-llama.sh") == 0


def test_a_server_that_ended_and_that_nobody_buried_is_gone(desk: Desk) -> None:
    """As in a container whose first process is no init: this test does not wait for its child."""
    server = [str(desk.folder / "bin/llama-server"), "--model", "llama-8b.gguf", "--host", "x"]
    child = subprocess.Popen([*server, "--port", str(desk.ports[0])], env=desk.env)
    pidfile = desk.folder / f"llama-{desk.ports[0]}.pid"
    pidfile.write_text(str(child.pid))
    assert hook(desk, "wake-llama.sh") == 0
    assert pidfile.read_text() == str(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not buried
    assert hook(desk, "wake-llama.sh") == 0
    assert pidfile.read_text().strip() != str(child.pid)
    assert hook(desk, "sleep-llama.sh") == 0
    child.wait()


def test_the_wake_script_fails_when_its_server_ends_while_it_loads(desk: Desk) -> None:
    assert hook(desk, "wake-llama.sh", "broken") != 0
    assert hook(desk, "sleep-llama.sh", "broken") == 0


def test_the_policy_of_the_page_is_the_file() -> None:
    """Less its first line, which says where the page is."""
    _, code = read("examples/patient.py").split('"""\n\n', 1)
    assert code == blocks(read("docs/policies.md"), "python")[0]
    config = read("examples/patient.yaml")
    assert all(line in config for line in ("name: ./patient.py", "patience: 10"))


def test_the_list_of_examples_names_each_of_them() -> None:
    page = read("examples/README.md")
    folder = ROOT / "examples"
    made = {".pyc"}  # what running them leaves behind
    there = [one for one in folder.rglob("*") if one.is_file() and one.suffix not in made]
    files = {str(path.relative_to(folder)) for path in there}
    scripts = {name for name in files if name.endswith(".sh")}
    linked = {target for target in files if f"]({target})" in page}
    named = {Path(command.split()[-1]).name for command in ticked(page) if "-c " in command}
    assert linked | {name for name in files if Path(name).name in named} == (
        files - scripts - {"README.md"}
    )


def test_every_script_is_called_by_a_config_and_has_a_word_on_the_page() -> None:
    page = read("docs/hooks.md")
    configs = "".join(path.read_text() for path in (ROOT / "examples/hooks").glob("*.yaml"))
    for path in (ROOT / "examples/hooks").glob("*.sh"):
        assert f"./{path.name}" in configs
        assert path.name in page or "stopped" in path.name
