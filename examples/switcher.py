"""Asks two models the same question, one after the other, without a gateway.

    python examples/switcher.py 'Who are you?'

`serving` waits until a model has its turn, holds it awake for the block, and gives its port.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from pathlib import Path

from llmux.build import build_hooks, build_policy, lane_settings
from llmux.config import load_config
from llmux.errors import LlmuxError
from llmux.runtime.switcher import ModelSwitcher


def complete(port: int, model: str, question: str) -> str:
    """Ask the server on this port, and return its answer."""
    messages = [{"role": "user", "content": question}]
    body = {"model": model, "messages": messages, "max_tokens": 200}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


async def ask(switcher: ModelSwitcher, model: str, question: str) -> None:
    """Ask one model, and say what it said, or why it did not."""
    try:
        async with switcher.serving(model) as port:
            print(f"{model}: {await asyncio.to_thread(complete, port, model, question)}")
    except LlmuxError as error:
        print(f"{model}: {error.message}", file=sys.stderr)


async def main(question: str) -> None:
    """Ask all models at once: each waits for its turn."""
    config = load_config(Path(__file__).with_name("models.yaml")).config
    policy = build_policy(config)
    hooks = build_hooks(config)
    switcher = ModelSwitcher(hooks, policy, settings=lane_settings(config, policy))
    await asyncio.gather(*(ask(switcher, model, question) for model in config.models))
    awake = switcher.active_model()
    await switcher.stop()
    if awake is not None:
        await hooks.run_sleep(awake)


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]) or "Who are you?"))
