# ruff: noqa: RUF009 - the calls make dataclass fields; the rule cannot see through them
"""What a config file can say: frozen data, and beside each key how it is read and why it is there.

These classes are the schema. The reader walks their fields, and the reference in
`docs/config.md` is held equal to them, so a key is declared in one place only. They refuse to
know files and lines. Durations are float seconds, None where a bound is lifted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

REQUIRED: Final = MISSING


class Inherit(Enum):
    """The value of a model's key that says nothing: the key above it rules."""

    INHERIT = "as above"


INHERIT: Final = Inherit.INHERIT
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Rule:
    """How a key is read: which kind of value, and whether `null` may stand there."""

    kind: Literal[
        "port", "count", "seconds", "bool", "text", "name", "choice", "alive", "env", "options"
    ]
    why: str
    """One sentence for the reference."""
    nullable: bool = False
    choices: tuple[str, ...] = ()
    since_2_4: bool = False
    """Whether llmux 2.4.0 knew the key."""


def _key(rule: Rule, default: Any = MISSING) -> Any:
    return field(default=default, metadata={"rule": rule})


def _secs(
    default: float | Inherit | None, why: str, *, nullable: bool = True, old: bool = False
) -> Any:
    return _key(Rule("seconds", why, nullable=nullable, since_2_4=old), default)


def _count(default: int, why: str) -> Any:
    return _key(Rule("count", why, nullable=True), default)


def rules(section: type[Any]) -> Iterator[tuple[str, Rule, Any]]:
    """Each key of a section with its rule and its default (`REQUIRED` if it has none)."""
    entry: Field[Any]
    for entry in fields(section):
        if "rule" in entry.metadata:
            made = entry.default_factory
            default = entry.default if made is MISSING else made()
            yield entry.name, entry.metadata["rule"], default


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """Alive means: a GET of `path` on the model's port is answered 2xx."""

    path: str


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """Alive means: the model's port accepts a connection."""


Alive = str | HttpProbe | TcpProbe


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model: where it listens and how it is woken and put to sleep."""

    port: int = _key(Rule("port", "Where the backend listens on 127.0.0.1.", since_2_4=True))
    wake: str = _key(
        Rule(
            "text",
            "Brings the model up from any state; exit code 0 means that it can serve.",
            since_2_4=True,
        )
    )
    sleep: str = _key(
        Rule("text", "Frees its resources; exit code 0 means that it is asleep.", since_2_4=True)
    )
    alive: Alive | None = _key(
        Rule(
            "alive",
            "How to see that the model can answer: a shell line whose exit code 0 says yes, "
            "`{http: /path}` or `{tcp: true}`. Checked for form; not asked yet.",
            nullable=True,
            since_2_4=True,
        ),
        None,
    )
    wake_timeout_secs: float | Inherit | None = _secs(
        INHERIT, "This model's own bound for its wake hook."
    )
    sleep_timeout_secs: float | Inherit | None = _secs(
        INHERIT, "This model's own bound for its sleep hook."
    )
    drain_timeout_secs: float | Inherit | None = _secs(
        INHERIT, "This model's own bound for the drain before it is put to sleep."
    )
    request_timeout_secs: float | Inherit | None = _secs(
        INHERIT, "How long a request may wait for this model."
    )
    min_active_secs: float | Inherit = _secs(
        INHERIT, "How long this model is kept before it may be left.", nullable=False
    )
    drain_before_switch: bool | Inherit = _key(
        Rule("bool", "Whether this model's requests in flight are waited for."), INHERIT
    )


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """Who decides when the accelerator changes hands, and what holds under every policy."""

    name: str = _key(
        Rule(
            "name",
            "A built-in policy, an entry point of the group `llmux.policies`, "
            "`package.module:Class`, or a `.py` file beside the config.",
        ),
        "fifo",
    )
    request_timeout_secs: float | None = _secs(
        None, "How long a request may wait for its model; `null` is for ever.", old=True
    )
    drain_before_switch: bool = _key(
        Rule("bool", "Whether requests in flight are waited for.", since_2_4=True), True
    )
    min_active_secs: float = _secs(
        0.0, "How long a model is kept before it may be left.", nullable=False, old=True
    )
    options: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={"rule": Rule("options", "The policy's own settings, checked by the policy.")},
    )


@dataclass(frozen=True, slots=True)
class BoundsConfig:
    """Every wait and every buffer has a bound; `null` lifts it."""

    wake_timeout_secs: float | None = _secs(
        1800.0, "A wake hook; large models start cold in 10 to 20 minutes."
    )
    sleep_timeout_secs: float | None = _secs(120.0, "A sleep hook.")
    drain_timeout_secs: float | None = _secs(
        600.0, "Waiting for the requests in flight before a model is put to sleep."
    )
    connect_timeout_secs: float | None = _secs(5.0, "Connecting to a backend.")
    header_timeout_secs: float | None = _secs(10.0, "A client's sending of a request's head.")
    body_timeout_secs: float | None = _secs(30.0, "A pause within a client's sending of a body.")
    keepalive_timeout_secs: float | None = _secs(
        75.0, "An idle connection of a client; idle ones to backends are kept 4 s."
    )
    shutdown_grace_secs: float = _secs(
        30.0, "Time that running answers get after SIGTERM.", nullable=False
    )
    max_header_bytes: int | None = _count(65536, "The head of a request, or of a backend's answer.")
    max_body_bytes: int | None = _count(100_000_000, "The body of a request.")
    max_connections: int | None = _count(4096, "Connections of clients at the same time.")


@dataclass(frozen=True, slots=True)
class HooksConfig:
    """What every hook finds around it."""

    cwd: str = _key(
        Rule(
            "choice",
            "Where hooks run: the config file's directory, or the `process`'s as in 2.4.0.",
            choices=("config", "process"),
        ),
        "config",
    )
    env: str | tuple[str, ...] = _key(
        Rule("env", "`inherit` gives hooks the gateway's environment; a list gives those names."),
        "inherit",
    )


@dataclass(frozen=True, slots=True)
class LogConfig:
    """How the gateway tells what it does, on standard output."""

    format: str = _key(
        Rule("choice", "Lines for people, or JSON.", choices=("console", "json")), "console"
    )
    level: str = _key(
        Rule("choice", "The least that is told.", choices=("debug", "info", "warning", "error")),
        "info",
    )


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """One model with everything that holds for it; durations in seconds, None without a bound."""

    name: str
    port: int
    wake: str
    sleep: str
    alive: Alive | None
    wake_timeout: float | None
    sleep_timeout: float | None
    drain_timeout: float | None
    request_timeout: float | None
    min_active: float
    drain_before_switch: bool


@dataclass(frozen=True, slots=True)
class Config:
    """A whole config, checked. `path` is the file that it came from."""

    host: str = _key(
        Rule("name", "The address to listen on; `0.0.0.0` opens it to the network."), "127.0.0.1"
    )
    port: int = _key(Rule("port", "Where the gateway listens.", since_2_4=True), 3000)
    models: Mapping[str, ModelConfig] = field(default_factory=dict)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    bounds: BoundsConfig = field(default_factory=BoundsConfig)
    hooks: HooksConfig = field(default_factory=HooksConfig)
    log: LogConfig = field(default_factory=LogConfig)
    path: Path | None = None

    def for_model(self, name: str) -> ResolvedModel:
        """Everything that holds for one model, its own keys before those above it.

        Raises `KeyError` for a model that the config does not have.
        """
        model = self.models[name]
        return ResolvedModel(
            name=name,
            port=model.port,
            wake=model.wake,
            sleep=model.sleep,
            alive=model.alive,
            wake_timeout=_own(model.wake_timeout_secs, self.bounds.wake_timeout_secs),
            sleep_timeout=_own(model.sleep_timeout_secs, self.bounds.sleep_timeout_secs),
            drain_timeout=_own(model.drain_timeout_secs, self.bounds.drain_timeout_secs),
            request_timeout=_own(model.request_timeout_secs, self.policy.request_timeout_secs),
            min_active=_own(model.min_active_secs, self.policy.min_active_secs),
            drain_before_switch=_own(model.drain_before_switch, self.policy.drain_before_switch),
        )

    def lifted_bounds(self) -> list[str]:
        """The names of the bounds that are null, in the order of the reference."""
        sections: list[tuple[str, object]] = [("policy", self.policy), ("bounds", self.bounds)]
        sections += [(f"models.{name}", model) for name, model in self.models.items()]
        return [
            f"{prefix}.{name}"
            for prefix, section in sections
            for name, rule, _ in rules(type(section))
            if rule.kind in ("seconds", "count") and getattr(section, name) is None
        ]


def _own(own: _T | Inherit, above: _T) -> _T:
    return above if isinstance(own, Inherit) else own


SECTIONS: Final[Mapping[str, type[Any]]] = {
    "policy": PolicyConfig,
    "bounds": BoundsConfig,
    "hooks": HooksConfig,
    "log": LogConfig,
}
"""The sections of fixed keys, by name; `models` has names that its author chooses."""
