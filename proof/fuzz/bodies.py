"""Bodies of requests, and the look into them: JSON as clients send it, and as nobody should.

The judge is the standard library's decoder: where it reads a body, llmux has to find the same
model. This file refuses to know connections.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

from llmux.http import dialects
from llmux.http.look import model_in, most_tokens_in
from llmux.http.refusals import refuse_model, unknown_model
from proof.fuzz.target import Broken, Target, some

_SPACE: Final = (b" ", b"\n", b"\t", b"\r\n", b"\x0b", b"\xc2\xa0", b"\xef\xbb\xbf", b"\0", b"")
_TEXTS: Final = (
    b'"m"',
    b'""',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\ud83d\\ude00"',
    b'"\\u0000"',
    b'"\xed\xa0\x80"',
    b'"\xff"',
    b'"\xc3\xa9"',
    b'"a\nb"',
    b'"a\\nb"',
    b'"\\x"',
    b'"\\u12"',
    b'"it\'s"',
    b'"' + b"n" * 300 + b'"',
    b'"..%2f/x"',
    b'"\x1b[31m"',
    b"'m'",
)
_NUMBERS: Final = (
    b"0",
    b"-0",
    b"1",
    b"-1",
    b"16",
    b"1.0",
    b"1e400",
    b"-1e-400",
    b"1E5",
    b"01",
    b"+1",
    b".5",
    b"5.",
    b"0x10",
    b"NaN",
    b"-Infinity",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"9" * 400,
    b"9" * 5000,
    b"1" + b"0" * 40 + b".5e-3",
)
_WORDS: Final = (b"true", b"false", b"null", b"True", b"undefined", b"nul", b"")
_KEYS: Final = (
    b'"model"',
    b'"model"',
    b'"model"',
    b'"Model"',
    b'"mode\\u006c"',
    b'"\\u006dodel"',
    b'"max_tokens"',
    b'"max_completion_tokens"',
    b'"max_output_tokens"',
    b'"stream"',
    b'"messages"',
    b'"x"',
    b'""',
    b'"\\ud800"',
    b"model",
    b"1",
)
TOKENS: Final = (
    *_TEXTS,
    *_NUMBERS,
    *_WORDS[:4],
    *_KEYS,
    *(bytes([one]) for one in b"{}[],:"),
    b'{"model":',
    b"\\",
    b'"',
)


def draw(dice: Random) -> bytes:
    """Make a body: mostly an object, mostly whole."""
    how = dice.random()
    if how < 0.06:
        return _form(dice)
    if how < 0.12:
        return _deep(dice)
    body = _gap(dice) + _object(dice, 0) + _gap(dice)
    if how < 0.2:
        body = body[: dice.randrange(len(body) + 1)]
    elif how < 0.25:
        body = body.decode("utf-8", "replace").encode(
            dice.choice(("utf-16", "utf-16-le", "utf-32"))
        )
    return body


def _gap(dice: Random) -> bytes:
    return some(dice, _SPACE, 2) if dice.random() < 0.1 else b""


def _object(dice: Random, depth: int) -> bytes:
    entries = [
        _gap(dice)
        + dice.choice(_KEYS[: 3 if depth == 0 and at == 0 else None])
        + _gap(dice)
        + b":"
        + _value(dice, depth)
        for at in range(dice.randrange(5))
    ]
    return b"{" + b",".join(entries) + (b"," if dice.random() < 0.03 else b"") + b"}"


def _value(dice: Random, depth: int) -> bytes:
    how = dice.random()
    if how < 0.45:
        return dice.choice(_TEXTS)
    if how < 0.7:
        return dice.choice(_NUMBERS)
    if how < 0.8 or depth > 4:
        return dice.choice(_WORDS)
    if how < 0.9:
        return _object(dice, depth + 1)
    return b"[" + b",".join(_value(dice, depth + 1) for _ in range(dice.randrange(4))) + b"]"


def _deep(dice: Random) -> bytes:
    """Nest far deeper than a stack of calls would bear."""
    many = dice.choice((50, 500, 1000, 1100, 5000, 9000))
    left, right = dice.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"model":', b"}]")))
    inner = left * many + dice.choice(_TEXTS) + right * dice.choice((many, many, many - 1, 0))
    key = dice.choice((b'"model"', b'"x"'))
    last = dice.choice((b"", b',"model":"m"'))
    return b"{" + key + b":" + inner[:18_000] + last + b"}"


def _form(dice: Random) -> bytes:
    """A form as uploads of files come."""
    edge = b"--" + dice.choice((b"edge", b"", b"x" * 80, b"model"))
    part = b'\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (
        dice.choice((b"model", b"file", b'mo"del')),
        some(dice, _TEXTS),
    )
    body = (edge + part) * dice.randrange(1, 4)
    return body + dice.choice((edge + b"--\r\n", edge, b""))


class _Look:
    def run(self, data: bytes, dice: Random) -> str:
        """Look for the model and the length, and word the refusal of what is not there."""
        model = model_in(data)
        most = most_tokens_in(data)
        if most is not None and (type(most) is not int or most <= 0):
            raise Broken(f"the length of the answer is {most!r}")
        if model is not None:
            if type(model) is not str:
                raise Broken(f"the model is {model!r}")
            model.encode()
        _compare(data, model)
        for error in (unknown_model(model), refuse_model(model or "")):
            for path in (b"/v1/chat/completions", b"/v1/messages", b"/api/chat"):
                said = dialects.error_body(path, error)
                if len(said) > 1000 or not said.isascii():
                    raise Broken(f"the refusal has {len(said)} bytes: {said[:100]!r}")
        kind = "none" if model is None else "empty" if not model else str(model.isascii())
        return f"{kind} {most is not None} {_shape(data)}"

    def close(self) -> None:
        """Nothing is open."""


def _compare(data: bytes, model: str | None) -> None:
    """Hold the look against the standard library's decoder, which is the more lenient one."""
    try:
        value: Any = _decoded(data)
    except (ValueError, RecursionError) as error:
        if model is not None and not isinstance(error, RecursionError) and _fits(data):
            raise Broken(f"{model[:80]!r} stands in what json does not read: {error}") from None
        return
    there = value.get("model") if isinstance(value, dict) else None
    if not isinstance(there, str) or not _encodes(there):
        there = None
    if model != there and (model is not None or (data.lstrip()[:1] == b"{" and _is_utf8(data))):
        raise Broken(f"the model is {there!r}, found was {model!r}")


def _decoded(data: bytes) -> object:
    """Read JSON, also such that has bytes in it which are no UTF-8: they are not ours to judge."""
    try:
        return json.loads(data)
    except UnicodeDecodeError:
        return json.loads(data.decode("utf-8", "surrogateescape"))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _fits(data: bytes) -> bool:
    """Whether json would read it but for a number that it finds too long to read."""
    return max(map(len, data.translate(_DIGITS).split()), default=0) < 4000


_DIGITS: Final = bytes(one if chr(one).isdigit() else 32 for one in range(128)) + b" " * 128


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shape(data: bytes) -> str:
    """What the body is made of, roughly."""
    marks = "".join(chr(one) for one in b'{[":,\\' if one in data)
    return f"{marks}{min(data.count(b'model'), 3)}{len(data).bit_length() // 3}"


TARGET: Final = Target("bodies", draw, _Look, TOKENS, share=40)
