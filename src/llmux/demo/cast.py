"""Who takes the stage: the demo's models, how each is started, and how it is known by its answer.

The toys need nothing. The llamas are real llama.cpp servers with models that are made on the spot,
tiny and random, each with words of one letter; what they need comes with the extra `llamacpp`.
Nothing is started here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llmux.demo import engine, llama

QUESTION = "Who are you?"
MODELS = ("llama-8b", "qwen-7b", "mistral-7b")
_NEEDED = ("xllamacpp", "gguf", "numpy")


class CastError(Exception):
    """The models cannot play; the message says what to install."""


@dataclass(frozen=True)
class Cast:
    """The engine that plays the models, and each one's arguments for it.

    `prepare` puts what they need into the demo's folder. `knows` says whether a model could have
    given this answer to `QUESTION`, and whole. `asking` is what a request carries beside it, `note`
    what a visitor should know of the answers.
    """

    engine: Path
    arguments: Mapping[str, str]
    prepare: Callable[[Path], None]
    knows: Callable[[str, str], bool]
    asking: Mapping[str, object] = field(default_factory=dict)
    note: str = ""


def _no_props(folder: Path) -> None:
    """Put nothing there: a toy is its file."""


def _says_its_name(model: str, answer: str) -> bool:
    return answer.startswith(f"I am {model},") and QUESTION in answer


TOYS = Cast(
    Path(engine.__file__),
    {
        "llama-8b": "--load-secs 1.5",
        "qwen-7b": "--load-secs 2.0",
        "mistral-7b": "--load-secs 1.0",
    },
    _no_props,
    _says_its_name,
)


def llamas() -> Cast:
    """Return the llamas; CastError where what they need is not installed."""
    for package in _NEEDED:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise CastError(
                f"real llama.cpp servers need {', '.join(_NEEDED)} ({error}); what brings them: "
                "pip install '.[llamacpp]' in the source tree, or make demo-llamacpp"
            ) from None
    return Cast(
        Path(llama.__file__),
        {model: f"--model {model}.gguf" for model in MODELS},
        _make_models,
        _has_its_letter,
        {"max_tokens": 8},
        "Real llama.cpp servers, and models of random weights: they speak in words that nobody "
        "knows, each in words of its own letter.",
    )


def _make_models(folder: Path) -> None:
    from llmux.demo.tiny import make_model  # noqa: PLC0415 -- gguf and numpy, of the extra

    for model in MODELS:
        make_model(folder / f"{model}.gguf", model[0], hidden=256, layers=4)


def _has_its_letter(model: str, answer: str) -> bool:
    words = answer.split()
    return bool(words) and all(word.startswith(model[0]) for word in words)
