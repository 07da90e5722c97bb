"""The config as a JSON Schema, for editors: completion, hover and a red line under a mistake.

It is made of the declarations that the reader walks (`llmux.config.model`), so a key is declared
in one place only. The schema describes what a config says, not how YAML spells it. What only the
world can tell (whether a port is another's, a file is there, a policy takes its options) it
leaves to `llmux check`; it refuses to know files and editors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmux.config.model import SECTIONS, BoundsConfig, Config, ModelConfig, PolicyConfig
from llmux.config.rules import REQUIRED, Inherit, Rule, rules

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_LARGEST: Final = 2**64 - 1
_Schema = dict[str, Any]

_SAYS_SOMETHING: Final = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
_ONE_LINE: Final = r"^(?!\s)[^\u0000-\u001f\u007f-\u009f]+(?<!\s)$"
_SHOWN: Final = r"[^\u0000-\u0008\u000a-\u001f\u007f-\u009f]"
_MODEL_NAME: Final = rf"^{_SHOWN}*(?!\s){_SHOWN}+$"
_VARIABLE: Final = r"^[^=\u0000]+$"
_ORIGIN: Final = r"^[A-Za-z][A-Za-z0-9+.\-]*://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)(:[0-9]{1,5})?$"
_ABOVE: Final[Mapping[str, type[Any]]] = {"bounds": BoundsConfig, "policy": PolicyConfig}
"""Sections whose keys hold for a model that does not say them itself."""


def json_schema() -> _Schema:
    """Return the schema of a whole config, ready for `json.dumps`."""
    properties = {name: _key(name, rule, default) for name, rule, default in rules(Config)}
    properties["models"] = {
        "type": "object",
        "description": "The models, by the names that clients send as `model`.",
        "minProperties": 1,
        "propertyNames": {"pattern": _MODEL_NAME},
        "additionalProperties": {"$ref": "#/$defs/model"},
    }
    for name, section in SECTIONS.items():
        properties[name] = _section(section) | {"type": ["object", "null"]}
    return {
        "$schema": DIALECT,
        "title": "The config of llmux",
        "type": "object",
        "properties": properties,
        "required": ["models"],
        "additionalProperties": False,
        "$defs": {"model": _section(ModelConfig), "key": _door_key()},
    }


def _section(section: type[Any]) -> _Schema:
    required = [name for name, _, default in rules(section) if default is REQUIRED]
    about = (section.__doc__ or "").strip().partition("\n")[0]
    made = {
        "type": "object",
        "description": about,
        "properties": {name: _key(name, rule, default) for name, rule, default in rules(section)},
        "additionalProperties": False,
    }
    return made | ({"required": required} if required else {})


def _key(name: str, rule: Rule, default: object) -> _Schema:
    """Describe one key: its reason, its unit and its default in words, then its values."""
    words = [rule.why]
    if unit := _unit(name, rule):
        words.append(f"In {unit}.")
    if rule.nullable and rule.kind in ("seconds", "count") and "`null`" not in rule.why:
        words.append("`null`: no limit." if rule.wish else "`null` lifts the bound.")
    made = _values(rule)
    if isinstance(default, Inherit):
        home = next(
            one for one, keys in _ABOVE.items() if name in {key for key, _, _ in rules(keys)}
        )
        words.append(f"Without it, `{home}.{name}` holds.")
    elif default is not REQUIRED:
        made["default"] = _plain(default)
    return {"description": " ".join(words), **made}


def _home(name: str) -> str:
    """Name the section whose key of this name holds for models that do not say it."""
    return next(
        one for one, keys in _ABOVE.items() if any(name == key for key, _, _ in rules(keys))
    )


def _plain(default: object) -> object:
    if isinstance(default, tuple):
        return list(default)
    return int(default) if isinstance(default, float) and default.is_integer() else default


def _unit(name: str, rule: Rule) -> str:
    if rule.kind == "seconds":
        return "seconds"
    return "bytes" if rule.kind == "count" and name.endswith("_bytes") else ""


def _values(rule: Rule) -> _Schema:
    made = dict(_KINDS[rule.kind])
    if rule.kind == "choice":
        made["enum"] = list(rule.choices)
    if rule.above_zero:
        made["exclusiveMinimum"] = made.pop("minimum")
    if not rule.nullable:
        return made
    if "type" in made:
        return made | {"type": [made["type"], "null"]}
    return made | {"anyOf": [*made["anyOf"], {"type": "null"}]}


_TEXT: Final = {"type": "string", "pattern": _SAYS_SOMETHING}
_KINDS: Final[Mapping[str, _Schema]] = {
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "count": {"type": "integer", "minimum": 1, "maximum": _LARGEST},
    "seconds": {"type": "number", "minimum": 0, "maximum": _LARGEST},
    "number": {"type": "number", "exclusiveMinimum": 0, "maximum": _LARGEST},
    "bool": {"type": "boolean"},
    "text": _TEXT,
    "path": _TEXT,
    "name": {"type": "string", "pattern": _ONE_LINE},
    "choice": {"type": "string"},
    "state": {"anyOf": [{"enum": ["auto", "off"]}, _TEXT]},
    "alive": {
        "anyOf": [
            {"type": "string", "pattern": r"^[^\u0000]*$", "description": "A shell line."},
            {
                "type": "object",
                "description": "A GET of this path on the model's port is answered 2xx.",
                "properties": {"http": {"type": "string", "pattern": r"^/[!-~]*$"}},
                "required": ["http"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "description": "The model's port accepts a connection.",
                "properties": {"tcp": {"const": True}},
                "required": ["tcp"],
                "additionalProperties": False,
            },
        ]
    },
    "env": {
        "anyOf": [
            {"const": "inherit"},
            {"type": "array", "items": {"type": "string", "pattern": _VARIABLE}},
        ]
    },
    "options": {"type": ["object", "null"]},
    "keys": {"type": ["array", "null"], "items": {"$ref": "#/$defs/key"}},
    "origins": {"type": ["array", "null"], "items": {"type": "string", "pattern": _ORIGIN}},
}
"""What may stand at a key of each kind; `null` comes in by the rule."""


def _door_key() -> _Schema:
    """Describe one key of a door: a text, or where it is found and what it opens."""
    sources = {
        "text": (_SAYS_SOMETHING, "The key itself."),
        "env": (r"^[^=\u0000]*[^=\s\u0000][^=\u0000]*$", "The variable that holds it."),
        "file": (_SAYS_SOMETHING, "The file that holds it."),
        "sha256": (r"^\s*[0-9A-Fa-f]{64}\s*$", "Its digest: `printf %s KEY | sha256sum`."),
    }
    properties: _Schema = {
        name: {"type": "string", "pattern": pattern, "description": why}
        for name, (pattern, why) in sources.items()
    }
    properties["name"] = {**_TEXT, "description": "Whose it is, for people."}
    properties["models"] = {
        "type": ["array", "null"],
        "items": {"type": "string"},
        "minItems": 1,
        "description": "The models that it opens; all of them without it.",
    }
    properties["priority"] = {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": _LARGEST,
        "description": "The default and the ceiling of its requests' priority.",
    }
    full = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "oneOf": [{"required": [name]} for name in sources],
    }
    return {"anyOf": [_TEXT, full]}
