"""Walks the nodes of a file along the schema: config out, and every mistake found on the way.

It never stops at the first mistake. A value that cannot be read is reported and replaced by
something harmless, so that the rest can be judged; a config with a finding of kind ERROR is
never handed out by the loader. It refuses to know YAML, JSON and the file system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from llmux.config import scalars
from llmux.config.findings import Finding, Kind, closest, dotted, excerpt
from llmux.config.keys_reader import take_keys, take_origins
from llmux.config.model import (
    SECTIONS,
    Alive,
    Config,
    HttpProbe,
    ModelConfig,
    PolicyConfig,
    TcpProbe,
)
from llmux.config.nodes import ListNode, MappingNode, Mark, Node, Scalar, shown
from llmux.config.rules import REQUIRED, Rule, rules
from llmux.config.values import remedy, value_of, variable, wanted

_DOORS: Final = frozenset(("auth", "tls"))
"""Sections that protect: what is misspelt there, or for one of them, must not run open."""
_MOST_OPTIONS: Final = 10_000
_MOST_TOLD: Final = 500
"""Findings of one kind: whoever has more of them mends these first."""
_DEEPEST_OPTIONS: Final = 50


class SchemaReader:
    """Reads one file's tree. `findings` and `places` (dotted key to mark) fill on the way."""

    def __init__(self, file: str) -> None:
        self.findings: list[Finding] = []
        self.places: dict[tuple[str, ...], Mark] = {}
        self.new_keys = False
        """Whether the file says anything that llmux 2.4.0 did not know."""
        self._file = file
        self._budget = _MOST_OPTIONS
        self._told: Counter[Kind] = Counter()

    def config(self, root: Node) -> Config:
        """Read the whole file, as far as it can be read."""
        if not isinstance(root, MappingNode):
            hint = "it begins with `models:` and the models below it"
            self.report(root.mark, "a config must be a mapping", shown(root), hint)
            return Config()
        values: dict[str, Any] = {}
        top = {name: rule for name, rule, _ in rules(Config)}
        for key, node in root.entries:
            name = key.value
            if name in top:
                values.update(self._entry((name,), key, node, top[name]))
            elif name in SECTIONS:
                values[name] = self._section((name,), node, SECTIONS[name])
            elif name == "models":
                values["models"] = self._models(key, node)
            else:
                self._unknown((), key, {*top, *SECTIONS, "models"})
        if "models" not in values:
            self.report(root.mark, "there are no models", hint="add `models:` with at least one")
        config: Config = _built(Config, values)
        return config

    def report(
        self,
        mark: Mark,
        message: str,
        found: str = "",
        hint: str = "",
        kind: Kind = Kind.ERROR,
    ) -> None:
        """Add a finding at a place of this file; of each kind only so many are told."""
        self._told[kind] += 1
        if self._told[kind] > _MOST_TOLD:
            return
        if self._told[kind] == _MOST_TOLD:
            message, found = f"the first {_MOST_TOLD} are told, and here is the next", ""
            hint = "mend those before it first"
        self.findings.append(
            Finding(self._file, mark.line, mark.column, message, excerpt(found), hint, kind)
        )

    def _models(self, key: Scalar, node: Node) -> Mapping[str, ModelConfig]:
        if not isinstance(node, MappingNode) or not node.entries:
            message = "`models` must be a mapping of names to models"
            if _empty(node):
                self.report(
                    key.mark, "there are no models", hint="add one: name, port, wake, sleep"
                )
            else:
                self.report(node.mark, message, shown(node))
            return {}
        models: dict[str, ModelConfig] = {}
        for name, body in node.entries:
            self._check_model_name(name)
            models[name.value] = self._section(("models", name.value), body, ModelConfig, name.mark)
        return models

    def _check_model_name(self, name: Scalar) -> None:
        if not name.value.strip():
            self.report(name.mark, "a model needs a name", hint="clients ask for it by that name")
        for character in name.value:
            code = ord(character)
            if (
                (code < 0x20 and character != "\t")
                or 0x7F <= code < 0xA0
                or 0xD800 <= code < 0xE000
            ):
                kind = "half of a surrogate pair" if code >= 0xD800 else "a control character"
                self.report(name.mark, f"a model's name contains {kind}", name.value, "take it out")
                return

    def _section(
        self,
        path: tuple[str, ...],
        node: Node,
        section: type[Any],
        start: Mark | None = None,
    ) -> Any:
        known = {name: rule for name, rule, _ in rules(section)}
        values: dict[str, Any] = {}
        if section is not ModelConfig:
            self.new_keys |= section is not PolicyConfig
            if _empty(node):
                return section()
        if not isinstance(node, MappingNode):
            keys = ", ".join(known)
            message = f"{dotted(path)} must be a mapping"
            there = "" if path[0] in _DOORS else shown(node)  # it may be a key
            self.report(node.mark, message, there, f"with some of the keys {keys}")
            return _built(section, values)
        for key, child in node.entries:
            if key.value in known:
                values.update(self._entry((*path, key.value), key, child, known[key.value]))
            else:
                self._unknown(path, key, set(known))
        present = {key.value for key, _ in node.entries}
        for name, _, default in rules(section):
            if default is REQUIRED and name not in present:
                message = f"{dotted(path)} has no `{name}`"
                self.report(start or node.mark, message, hint=f"add `{name}:` below it")
        if section is ModelConfig and not isinstance(values.get("alive"), str):
            self.new_keys = True
        return _built(section, values)

    def _entry(self, path: tuple[str, ...], key: Scalar, node: Node, rule: Rule) -> dict[str, Any]:
        """Read one key: its name and value, or nothing (and a finding) if it cannot be read."""
        self.new_keys |= not rule.since_2_4
        self.places[path] = node.mark
        if rule.kind == "keys":
            return {key.value: take_keys(path, node, self)}
        try:
            return {key.value: self._value(path, node, rule)}
        except ValueError as error:
            message = f"{dotted(path)} {error}"
            self.report(node.mark, message, shown(node), remedy(node, rule))
            return {}

    def _value(self, path: tuple[str, ...], node: Node, rule: Rule) -> Any:
        if rule.kind == "options":
            return self._options(path, node)
        if rule.kind == "alive":
            return self._alive(path, node)
        if rule.kind == "origins":
            return take_origins(path, node, self)
        if rule.kind == "env" and isinstance(node, ListNode):
            return tuple(variable(item) for item in node.items)
        if not isinstance(node, Scalar):
            raise ValueError(wanted(rule))  # noqa: TRY004 - caught as one kind
        return value_of(node, rule)

    def _alive(self, path: tuple[str, ...], node: Node) -> Alive | None:
        if isinstance(node, Scalar):
            return None if node.is_null else scalars.text(node) or None
        entries = node.entries if isinstance(node, MappingNode) else ()
        if len(entries) == 1:
            key, value = entries[0]
            if key.value == "http" and isinstance(value, Scalar):
                where = scalars.text(value)
                if _is_path(where):
                    return HttpProbe(where)
                raise ValueError("must name a path on the model's port, such as `{http: /health}`")
            if key.value == "tcp" and isinstance(value, Scalar) and scalars.boolean(value):
                return TcpProbe()
        raise ValueError("must be a shell line, `{http: /path}` or `{tcp: true}`")

    def _options(self, path: tuple[str, ...], node: Node) -> dict[str, Any]:
        if _empty(node):
            return {}
        if not isinstance(node, MappingNode):
            raise ValueError("must be a mapping")  # noqa: TRY004 - caught as one kind
        plain = self._plain(node, 0)
        assert isinstance(plain, dict)
        return plain

    def _plain(self, node: Node, depth: int) -> Any:
        self._budget -= 1
        if self._budget < 0 or depth > _DEEPEST_OPTIONS:
            raise ValueError(f"must be below {_MOST_OPTIONS} values and {_DEEPEST_OPTIONS} levels")
        if isinstance(node, MappingNode):
            return {key.value: self._plain(value, depth + 1) for key, value in node.entries}
        if isinstance(node, ListNode):
            return [self._plain(item, depth + 1) for item in node.items]
        return scalars.plain(node)

    def _unknown(self, path: tuple[str, ...], key: Scalar, known: set[str]) -> None:
        name = key.value
        here = dotted(path) if path else "the config"
        if homes := _homes(name, path[0] if path else ""):
            hint = f"`{name}` belongs {homes}"
        elif guess := closest(name, known):
            hint = f"did you mean `{guess}`?"
        elif (guess := closest(name, _EVERY_KEY)) and guess not in known:
            hint = f"did you mean `{guess}` {_homes(guess)}?"
        else:
            hint = f"the keys here are {', '.join(sorted(known))}"
        message = f"{dotted([name])} is not a key of {here}"
        protects = path[:1] in {("auth",), ("tls",)} or (not path and _means_doors(name))
        kind = Kind.ERROR if protects else Kind.UNKNOWN_KEY
        self.report(key.mark, message, name, hint, kind)


def _built(section: type[Any], values: dict[str, Any]) -> Any:
    """Build a section, with harmless stand-ins for what is required and could not be read."""
    for name, rule, default in rules(section):
        if default is REQUIRED and name not in values:
            values[name] = 0 if rule.kind == "port" else "false"
    return section(**values)


def _empty(node: Node) -> bool:
    if isinstance(node, Scalar):
        return node.is_null
    return isinstance(node, MappingNode) and not node.entries


def _is_path(where: str) -> bool:
    """Whether a text can stand as the path in an HTTP request line."""
    return where.startswith("/") and all("!" <= c <= "~" for c in where)


def _homes(name: str, but: str = "") -> str:
    """Where a key belongs, as the end of a sentence; "" if it is no key or only belongs here."""
    sections = {"": Config, "models": ModelConfig, **SECTIONS}
    places = [
        {"": "at the top level", "models": "under a model"}.get(section, f"under `{section}`")
        for section, keys in sections.items()
        if section != but and any(name == key for key, _, _ in rules(keys))
    ]
    return " or ".join(places)


def _means_doors(name: str) -> bool:
    """Whether an unknown key of the top level was meant to protect."""
    return closest(name, (*SECTIONS, "models")) in _DOORS or any(
        name == key for section in _DOORS for key, _, _ in rules(SECTIONS[section])
    )


_EVERY_KEY: Final = {
    key for section in (Config, ModelConfig, *SECTIONS.values()) for key, _, _ in rules(section)
}
