"""Real llama.cpp servers behind a real gateway, or a word about why not.

Where the packages of the extra `llamacpp` or the clients are missing, these stories skip; where
`LLMUX_REQUIRE_TOOLS=1` is set, they fail instead, so that CI never goes without them.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmux.demo import engine
from tests.e2e.house import House

ENGINE = Path(__file__).with_name("engine.py")
PACKAGES = ("xllamacpp", "gguf", "numpy", "openai", "anthropic")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real: needs real engines and clients")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models: `quick` answers at once in words with q, `slow` takes its time, with s."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        why = f"not installed: {', '.join(missing)} (extra `llamacpp`, group `real`)"
        if os.environ.get("LLMUX_REQUIRE_TOOLS") == "1":
            pytest.fail(why)
        pytest.skip(why)
    from llmux.demo.tiny import make_model  # noqa: PLC0415 -- needs what may be missing

    folder = tmp_path_factory.mktemp("models")
    return {
        "quick": make_model(folder / "quick.gguf", "q"),
        "slow": make_model(folder / "slow.gguf", "s", hidden=512, layers=8),
    }


@pytest.fixture
def llamas(tmp_path: Path, models: dict[str, Path]) -> Iterator[House]:
    """A house whose backends are llama.cpp; the gateway is not started yet."""
    house = House(tmp_path, *models)
    for name, path in models.items():
        port = house.ports[name]
        pid = f"'{tmp_path}/{port}.pid'"
        start = f"'{sys.executable}' '{ENGINE}' '{name}' '{path}' {port} {pid}"
        house.models[name]["wake"] = (
            f"{house.noted('wake-begin')}\n{start} || exit 1\n{house.noted('wake-end')}"
        )
        gone = f"'{sys.executable}' -P '{engine.__file__}' --port {port} --wait-gone"
        house.models[name]["sleep"] = (
            f"{house.noted('sleep-begin')}\n[ -e {pid} ] && kill $(cat {pid}) 2>/dev/null\n"
            f"{gone} || exit 1\nrm -f {pid}\n{house.noted('sleep-end')}"
        )
    yield house
    house.close()
