"""Config files: a grammar drawn from the schema itself, in every spelling that YAML and JSON have.

A file gives a config or a list of what is to be mended, each with its place in the file and a line
that can be shown; what was read can be built from and compared with another. No policy is loaded
but our own, and no file is read but those that are there. This file refuses to know which keys
there are: the schema says so.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from random import Random
from typing import Any, Final

from llmux import build
from llmux.cli.check import summary
from llmux.config import Config, InvalidConfigError, Kind, load_config, script_findings
from llmux.config.changes import compare
from llmux.config.schema import json_schema
from llmux.config.written import written_keys
from llmux.errors import PolicyError
from proof.fuzz.target import Broken, Target

_SCHEMA: Final = json_schema()
_ODD: Final[tuple[object, ...]] = (
    None, True, False, 0, -1, 1, 3000, 70000, 10**30, 1.5, -0.0, 1e-9, 1e400, float("nan"), "", " ",
    "x", "~", "null", "yes", "1e3", "0x10", "0o17", "1_000", "1:30", "2026-01-01", ".inf", "5 s", "10m",
    "a\nb", "é\u2028", "\ud800", "\x1b[31m", "../../x", "~nobody/x", "./" + "d" * 300, "x" * 5000,
    [], {}, [[]], {"": None}, ["x", 1], {"http": "/health"}, {"tcp": True}, {"env": "HOME"},
    {"sha256": "0" * 64}, {"file": "key"}, {"file": "/dev/null"}, {"text": "k", "models": ["a"]},
)  # fmt: skip
_NAMES: Final = (
    "a",
    "llama",
    "123",
    "null",
    "<<",
    "a b",
    "é",
    "a:b",
    "#",
    "-",
    "",
    " ",
    "\t",
    "x" * 200,
)
TOKENS: Final = tuple(
    one.encode("utf-8", "surrogatepass")
    for one in (
        "models:\n", "  a: {port: 1, wake: w, sleep: s}\n", "- ", ": ", ":", "\n", "\r\n", "\t", " ", "#", "&a ",
        "*a", "<<: *a", "<<: [*a, *a]", "!!python/object:os.system ", "!!int ", "! ", "|\n  ", ">-\n", "---\n",
        "...\n", "%YAML 1.1\n", "'", '"', "\\", "{", "}", "[", "]", ",", "? ", "null", "~", "yes", "0x1F",
        "\x00", "\x85", "\ufeff", "\ud800", "\u2028", "policy:\n  name: balance\n", "port: 3000\n", "1e400",
        "options: {x: 1}\n", "auth: {keys: [k]}\n", "  ", "${HOME}", "@", "`", "|", "&a [*a]", "x: &x [*x, *x]\n",
    )
)  # fmt: skip


def draw(dice: Random) -> bytes:
    """Make a file; the first byte says how it is to be read, for the file has a name, too."""
    value = _value(dice, _SCHEMA, 0)
    if dice.random() < 0.15:
        return b"J" + json.dumps(value, indent=dice.choice((None, 1))).encode()
    if dice.random() < 0.05:
        return b"Y" + _laughs(dice)
    text = "\n".join(_block(dice, value, 0)) + dice.choice(("\n", "", "\n...\n", "\n# end"))
    if dice.random() < 0.05:
        text = text.replace("\n", "\r\n")
    return (
        b"Y" + dice.choice((b"", b"", b"", b"\xef\xbb\xbf")) + text.encode("utf-8", "surrogatepass")
    )


def _value(dice: Random, schema: dict[str, Any], depth: int) -> Any:
    """Make a value that fits the schema, mostly."""
    if dice.random() < 0.04:
        return dice.choice(_ODD)
    if "$ref" in schema:
        found: Any = _SCHEMA
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return _value(dice, found, depth)
    for one in ("anyOf", "oneOf"):
        if one in schema:
            return _value(dice, dice.choice(schema[one]), depth)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return dice.choice(schema["enum"])
    kinds = schema.get("type", "string")
    kind = kinds if isinstance(kinds, str) else dice.choice(kinds)
    match kind:
        case "object":
            return _mapping(dice, schema, depth)
        case "array":
            items = schema.get("items", {"type": "string"})
            return [_value(dice, items, depth + 1) for _ in range(dice.randrange(4))]
        case "integer":
            return dice.choice((schema.get("minimum", 0), dice.randrange(1, 65536)))
        case "number":
            return dice.choice((0, 1, 0.5, 30, dice.random() * 100))
        case "boolean":
            return dice.random() < 0.5
        case "null":
            return None
    return dice.choice(
        ("x", "true", "fifo", "balance", "./start.sh a", 'echo "$LLMUX_MODEL" # no', "/p")
    )


def _mapping(dice: Random, schema: dict[str, Any], depth: int) -> dict[str, Any]:
    known: dict[str, Any] = schema.get("properties", {})
    needed = schema.get("required", [])
    made = {
        key: _value(dice, one, depth + 1)
        for key, one in known.items()
        if (key in needed and dice.random() < 0.97) or key == "models" or dice.random() < 0.15
    }
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        for _ in range(dice.randrange(1, 4)):
            made[dice.choice(_NAMES)] = _value(dice, more, depth + 1)
    if dice.random() < 0.05:
        made[dice.choice((*_NAMES, "prot", "wake_timeout", "key", "max_queu"))] = dice.choice(_ODD)
    keys = list(made)
    dice.shuffle(keys)
    return {key: made[key] for key in keys}


def _block(dice: Random, value: Any, depth: int) -> list[str]:
    """Write a value as lines of YAML, each at its place."""
    pad = " " * (2 * depth)
    if not isinstance(value, dict) or not value or dice.random() < 0.1:
        return [pad + _flow(dice, value)]
    lines = []
    for key, one in value.items():
        name = pad + _scalar(dice, key)
        if isinstance(one, dict) and one and dice.random() < 0.8:
            lines += [name + ":", *_block(dice, one, depth + 1)]
        elif isinstance(one, list) and one and dice.random() < 0.5:
            lines += [name + ":", *(f"{pad}- {_flow(dice, item)}" for item in one)]
        elif isinstance(one, str) and "\n" not in one and dice.random() < 0.05:
            lines += [name + dice.choice((": |", ": >-", ": |+")), pad + "  " + one]
        else:
            anchor = dice.choice(("",) * 30 + ("&a ", "*a", "!!str "))
            lines.append(f"{name}: {anchor}{_flow(dice, one)}")
        if dice.random() < 0.02:
            lines.append(dice.choice((lines[-1], "", "  # a remark", pad + "<<: *a", "\t")))
    return lines


def _flow(dice: Random, value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{_scalar(dice, k)}: {_flow(dice, v)}" for k, v in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_flow(dice, one) for one in value) + "]"
    return _scalar(dice, value)


def _scalar(dice: Random, value: Any) -> str:
    if value is None:
        return dice.choice(("null", "~", ""))
    if isinstance(value, bool):
        return dice.choice(("true", "True", "yes", "on")) if value else dice.choice(("false", "no"))
    if isinstance(value, str):
        how = dice.random()
        return json.dumps(value) if how < 0.3 else f"'{value}'" if how < 0.5 else value
    return str(value)


def _laughs(dice: Random) -> bytes:
    """Aliases of aliases: a little text that means very much."""
    key, many = dice.choice(("options", "models", "x")), dice.choice((3, 8, 30))
    lines = ["a0: &a0 {port: 1, wake: w, sleep: s, k: v}"]
    how = dice.choice(("[{}, {}, {}]", "{{<<: [{}, {}, {}], b: {}}}", "{{x: {}, y: {}, z: {}}}"))
    for at in range(1, many):
        alias = f"*a{at - 1}"
        lines.append(f"a{at}: &a{at} " + how.format(alias, alias, alias, alias))
    lines.append(f"policy: {{name: balance, options: {{o: *a{many - 1}}}}}")
    lines.append(f"{key}: *a{many - 1}")
    return "\n".join(lines).encode()


class _Files:
    """A folder in which one config after the other stands, and the last one that was fine."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="llmux-fuzz-")
        self._place = Path(self._folder.name)
        (self._place / "key").write_text("a key\n")
        self._last: Config | None = None

    def run(self, data: bytes, dice: Random) -> str:
        """Read it as `check` and `serve` do."""
        path = self._place / ("config.json" if data[:1] == b"J" else "config.yaml")
        path.write_bytes(data[1:])
        written_keys(path, "keys")
        try:
            loaded = load_config(path)
        except InvalidConfigError as error:
            if not error.findings:
                raise Broken("it cannot be used, and nothing is said to be wrong") from None
            lines = max(data.count(b"\n"), data.count(b"\r")) + 200  # NEL and such count, too
            for one in error.findings:
                _judge(str(one), one.file, path, one.line, lines)
                if one.kind is Kind.ERROR and not one.line and "empty" not in one.message:
                    raise Broken(f"a mistake has no place: {one}") from None
            kinds = sorted({one.message.translate(_SHAPE)[-30:] for one in error.findings})
            return f"no {len(kinds)} {kinds[:2]}"
        config = loaded.config
        odd = [*loaded.warnings, *script_findings(loaded, Path())]
        for one in odd:
            _judge(str(one), one.file, path, one.line, 10**6)
        summary(path, config)
        ours = config.policy.name in {"fifo", "balance"}
        built = self._build(config, loaded) if ours else "other"
        if self._last is not None:
            compare(self._last, config)
        self._last = config
        return f"yes {len(odd)} {built} {len(config.models)} {loaded.from_2_4} {len(str(config)) // 300}"

    def _build(self, config: Config, loaded: Any) -> str:
        try:
            policy = build.build_policy(config)
        except PolicyError as error:
            finding = build.policy_finding(loaded, error)
            _judge(str(finding), finding.file, Path(finding.file), finding.line, 10**6)
            return "a policy that refuses"
        build.lane_settings(config, policy)
        build.hook_specs(config)
        build.hook_env(config)
        for name in config.models:
            build.limits_for(config, name).sweep_interval()
        return config.policy.name

    def close(self) -> None:
        """Put the folder away."""
        self._folder.cleanup()


_SHAPE: Final = {number: None for number in range(128) if not chr(number).isalpha()}


def _judge(said: str, file: str, path: Path, line: int, lines: int) -> None:
    """A finding is one line that can be shown, and its place is in the file."""
    if not said.startswith(os.fspath(path)) or file != str(path):
        raise Broken(f"a finding does not name its file: {said[:300]!r}")
    if not said.isprintable() or len(said) > 1500:
        raise Broken(f"a finding cannot be shown: {said[:300]!r} ({len(said)} characters)")
    if not 0 <= line <= lines:
        raise Broken(f"a finding is in line {line} of {lines}: {said[:300]!r}")


TARGET: Final = Target("configs", draw, _Files, TOKENS, share=6)
