"""How many tokens a client allows is read from its body, and never guessed."""

from __future__ import annotations

import pytest

from llmux.http.look import most_tokens_in


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
