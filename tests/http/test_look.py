"""The model and the tokens that a client allows are read from its body, and never guessed."""

from __future__ import annotations

import pytest

from llmux.http.look import model_in, most_tokens_in


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model": "a", "model": "b"}', "b"),
        (b'{"model": 1e400, "model": "m"}', "m"),
        (b'{"model": NaN, "model": "m"}', "m"),
        (b'{"model": "m", "x": "\xff"}', "m"),
        (b'{"model": "\\ud800"}', None),
        (b'{"model": 1e400}', None),
        (b'["model"]', None),
        (b'{"model": "m"', None),
        (b'{"x": ' + b"[" * 100_000, None),
    ],
)
def test_the_last_model_of_a_body_counts_whatever_stands_beside_it(
    body: bytes, model: str | None
) -> None:
    assert model_in(body) == model


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b'{"model": "a", "max_tokens": 16}', 16),
        (b'{"max_completion_tokens": 9, "max_tokens": 16}', 9),
        (b'{"max_output_tokens": 7, "input": "hi"}', 7),
        (b'{"model": "a"}', None),
        (b'{"max_tokens": null}', None),
        (b'{"max_tokens": 0}', None),
        (b'{"max_tokens": -3}', None),
        (b'{"max_tokens": true}', None),
        (b'{"max_tokens": "16"}', None),
        (b'{"max_tokens": 1e3}', None),
        (b"[16]", None),
        (b"\xff", None),
        (b"", None),
        (b'{"max_tokens": 16, "pad": "%s"}' % (b"x" * 300_000), None),
    ],
)
def test_a_limit_is_a_whole_number_above_zero_under_one_of_three_names(
    body: bytes, tokens: int | None
) -> None:
    assert most_tokens_in(body) == tokens
