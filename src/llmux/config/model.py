# ruff: noqa: RUF009 - the calls make dataclass fields; the rule cannot see through them
"""What a config file can say: frozen data, and beside each key how it is read and why it is there.

These classes are the schema. The reader walks their fields, and the reference in
`docs/config.md` is held equal to them, so a key is declared in one place only. They refuse to
know files and lines. Durations are float seconds, None where a bound is lifted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from llmux.config.doors import AuthConfig, TlsConfig
from llmux.config.rules import INHERIT, Inherit, Rule, choice, count, key, rules, secs

_T = TypeVar("_T")


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

    port: int = key(Rule("port", "Where the backend listens on 127.0.0.1.", since_2_4=True))
    wake: str = key(
        Rule(
            "text",
            "Brings the model up from any state; exit code 0 means that it can serve.",
            since_2_4=True,
        )
    )
    sleep: str = key(
        Rule("text", "Frees its resources; exit code 0 means that it is asleep.", since_2_4=True)
    )
    alive: Alive | None = key(
        Rule(
            "alive",
            "How to see that the model can answer: a shell line whose exit code 0 says yes, "
            "`{http: /path}` or `{tcp: true}`; without one, its port is asked for a connection.",
            nullable=True,
            since_2_4=True,
        ),
        None,
    )
    kill: str | None = key(
        Rule(
            "text",
            "The last resort where sleep fails twice; exit code 0 means that it is gone.",
            nullable=True,
        ),
        None,
    )
    wake_timeout_secs: float | Inherit | None = secs(
        INHERIT, "This model's own bound for its wake hook."
    )
    sleep_timeout_secs: float | Inherit | None = secs(
        INHERIT, "This model's own bound for its sleep hook."
    )
    kill_timeout_secs: float | Inherit | None = secs(
        INHERIT, "This model's own bound for its kill hook."
    )
    alive_timeout_secs: float | Inherit | None = secs(
        INHERIT, "This model's own bound for one asking of `alive`."
    )
    drain_timeout_secs: float | Inherit | None = secs(
        INHERIT, "This model's own bound for the drain before it is put to sleep."
    )
    request_timeout_secs: float | Inherit | None = secs(
        INHERIT, "How long a request may wait for this model."
    )
    max_wait_secs: float | Inherit | None = secs(
        INHERIT, "How long requests for this model wait before they go first.", wish=True
    )
    first_byte_timeout_secs: float | Inherit | None = secs(
        INHERIT,
        "How long this model's backend may take for an answer's first byte.",
        wish=True,
    )
    stream_idle_timeout_secs: float | Inherit | None = secs(
        INHERIT, "How long this model's backend may pause within an answer.", wish=True
    )
    max_queue: int | Inherit | None = count(
        INHERIT, "How many requests may wait for this model; above it 429."
    )
    max_in_flight: int | None = count(
        None,
        "How many requests the backend gets at the same time; more wait inside llmux, in order.",
        wish=True,
    )
    priority: float = key(
        Rule(
            "number",
            "What a request for this model counts beside one for another; a request multiplies it "
            "with its `x-llmux-priority`.",
        ),
        1.0,
    )
    min_active_secs: float | Inherit = secs(
        INHERIT, "How long this model is kept before it may be left.", nullable=False
    )
    drain_before_switch: bool | Inherit = key(
        Rule("bool", "Whether this model's requests in flight are waited for."), INHERIT
    )


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """Who decides when the accelerator changes hands, and what holds under every policy."""

    name: str = key(
        Rule(
            "name",
            "A built-in policy, an entry point of the group `llmux.policies`, "
            "`package.module:Class`, or a `.py` file beside the config.",
        ),
        "fifo",
    )
    request_timeout_secs: float | None = secs(
        None, "How long a request may wait for its model; `null` is for ever.", old=True
    )
    drain_before_switch: bool = key(
        Rule("bool", "Whether requests in flight are waited for.", since_2_4=True), True
    )
    min_active_secs: float = secs(
        0.0, "How long a model is kept before it may be left.", nullable=False, old=True
    )
    max_wait_secs: float | None = secs(
        None,
        "A model whose oldest request has waited this long goes first under every policy; "
        "`null` leaves it to the policy.",
        wish=True,
    )
    options: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={"rule": Rule("options", "The policy's own settings, checked by the policy.")},
    )


@dataclass(frozen=True, slots=True)
class BoundsConfig:
    """Every wait and every buffer has a bound; `null` lifts it."""

    wake_timeout_secs: float | None = secs(
        1800.0, "A wake hook; large models start cold in 10 to 20 minutes."
    )
    sleep_timeout_secs: float | None = secs(120.0, "A sleep hook.")
    kill_timeout_secs: float | None = secs(30.0, "A kill hook.")
    alive_timeout_secs: float | None = secs(5.0, "One asking of `alive`, or of the port.")
    drain_timeout_secs: float | None = secs(
        600.0, "Waiting for the requests in flight before a model is put to sleep."
    )
    connect_timeout_secs: float | None = secs(5.0, "Connecting to a backend.")
    header_timeout_secs: float | None = secs(10.0, "A client's sending of a request's head.")
    body_timeout_secs: float | None = secs(30.0, "A pause within a client's sending of a body.")
    keepalive_timeout_secs: float | None = secs(
        75.0, "An idle connection of a client; idle ones to backends are kept 4 s."
    )
    first_byte_timeout_secs: float | None = secs(
        None,
        "A backend's first byte after the request was sent, then 504; reasoning takes minutes.",
        wish=True,
    )
    stream_idle_timeout_secs: float | None = secs(
        None, "Between two pieces of a backend's answer, then it is cut with an error.", wish=True
    )
    client_stall_timeout_secs: float | None = secs(
        300.0, "A client that takes nothing while its answer waits for it, then both sides are cut."
    )
    shutdown_grace_secs: float = secs(
        30.0, "Time that running answers get after SIGTERM.", nullable=False
    )
    max_header_bytes: int | None = count(65536, "The head of a request, or of a backend's answer.")
    max_body_bytes: int | None = count(100_000_000, "The body of a request.")
    max_queue: int | None = count(
        1024, "Requests that wait for one model; above it 429 with `Retry-After`."
    )
    max_buffered_bytes: int | None = count(
        1_000_000_000,
        "The bodies of all requests that wait, for all models together; above it 429 with "
        "`Retry-After`.",
    )
    max_connections: int | None = count(4096, "Connections of clients at the same time.")
    max_journal_bytes: int = count(
        256_000_000,
        "The journal and its three predecessors together; the oldest goes first.",
        nullable=False,
    )


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """How backends that die, hang or fail are noticed, and what is done about it."""

    interval_secs: float = secs(
        10.0,
        "How often `alive` is asked while a model is awake and no hook of it runs.",
        nullable=False,
        above_zero=True,
    )
    failures: int = count(
        3,
        "So many failures in a row, with a port that accepts, make a model hung.",
        nullable=False,
    )
    breaker_min_secs: float = secs(
        2.0,
        "How long a model whose wake failed is left alone; it doubles with each failure in a row.",
        nullable=False,
        above_zero=True,
    )
    breaker_max_secs: float = secs(
        60.0,
        "Where that doubling ends; a wake followed by one answer starts it over.",
        nullable=False,
    )
    rescue: bool = key(
        Rule(
            "bool",
            "Sends a request once more, after a new wake, when its backend died before the first "
            "byte of an answer.",
        ),
        True,
    )
    on_sleep_failure: Literal["stop", "continue"] = choice(
        "stop",
        "continue",
        "`stop` keeps the accelerator for a model that will not sleep; `continue` wakes the next "
        "one beside it, as 2.4.0 did.",
    )
    on_drain_timeout: Literal["cut", "wait"] = choice(
        "cut",
        "wait",
        "`cut` ends answers that run longer than the drain may last, with an error; `wait` waits "
        "for them.",
    )
    on_shutdown: Literal["keep", "sleep"] = choice(
        "keep",
        "sleep",
        "`keep` leaves the awake model awake for the next start; `sleep` puts it to sleep.",
    )


@dataclass(frozen=True, slots=True)
class HooksConfig:
    """What every hook finds around it."""

    cwd: str = key(
        Rule(
            "choice",
            "Where hooks run: the config file's directory, or the `process`'s as in 2.4.0.",
            choices=("config", "process"),
        ),
        "config",
    )
    env: str | tuple[str, ...] = key(
        Rule(
            "env",
            "`inherit` gives hooks the gateway's environment, less what `auth` reads as a secret; "
            "a list gives those names.",
        ),
        "inherit",
    )


@dataclass(frozen=True, slots=True)
class LogConfig:
    """How the gateway tells what it does, on standard output."""

    format: str = key(
        Rule("choice", "Lines for people, or JSON.", choices=("console", "json")), "console"
    )
    level: str = key(
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
    kill: str | None
    wake_timeout: float | None
    sleep_timeout: float | None
    kill_timeout: float | None
    alive_timeout: float | None
    drain_timeout: float | None
    request_timeout: float | None
    max_wait: float | None
    first_byte_timeout: float | None
    stream_idle_timeout: float | None
    max_queue: int | None
    max_in_flight: int | None
    priority: float
    min_active: float
    drain_before_switch: bool


@dataclass(frozen=True, slots=True)
class Config:
    """A whole config, checked. `path` is the file that it came from."""

    host: str = key(
        Rule("name", "The address to listen on; `0.0.0.0` opens it to the network."), "127.0.0.1"
    )
    port: int = key(Rule("port", "Where the gateway listens.", since_2_4=True), 3000)
    state: str = key(
        Rule(
            "state",
            "The file that remembers over restarts what is awake, what was learned and which hook "
            "runs: `auto` is the user's state directory, `off` none, else a path.",
        ),
        "auto",
    )
    journal: str | None = key(
        Rule(
            "path",
            "A file for arrivals, decisions and hooks, to be played again by `llmux simulate`; no "
            "prompt and no key is ever in it.",
            nullable=True,
        ),
        None,
    )
    models: Mapping[str, ModelConfig] = field(default_factory=dict)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    bounds: BoundsConfig = field(default_factory=BoundsConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    hooks: HooksConfig = field(default_factory=HooksConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    log: LogConfig = field(default_factory=LogConfig)
    path: Path | None = None

    @property
    def base(self) -> Path:
        """The directory at which relative paths of the config begin."""
        return Path() if self.path is None else self.path.resolve().parent

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
            kill=model.kill,
            wake_timeout=_own(model.wake_timeout_secs, self.bounds.wake_timeout_secs),
            sleep_timeout=_own(model.sleep_timeout_secs, self.bounds.sleep_timeout_secs),
            kill_timeout=_own(model.kill_timeout_secs, self.bounds.kill_timeout_secs),
            alive_timeout=_own(model.alive_timeout_secs, self.bounds.alive_timeout_secs),
            drain_timeout=_own(model.drain_timeout_secs, self.bounds.drain_timeout_secs),
            request_timeout=_own(model.request_timeout_secs, self.policy.request_timeout_secs),
            max_wait=_own(model.max_wait_secs, self.policy.max_wait_secs),
            first_byte_timeout=_own(
                model.first_byte_timeout_secs, self.bounds.first_byte_timeout_secs
            ),
            stream_idle_timeout=_own(
                model.stream_idle_timeout_secs, self.bounds.stream_idle_timeout_secs
            ),
            max_queue=_own(model.max_queue, self.bounds.max_queue),
            max_in_flight=model.max_in_flight,
            priority=model.priority,
            min_active=_own(model.min_active_secs, self.policy.min_active_secs),
            drain_before_switch=_own(model.drain_before_switch, self.policy.drain_before_switch),
        )

    def _wished(self, name: str) -> bool:
        """Whether a limit that one may wish for holds for all models."""
        return any(getattr(one, name, None) is not None for one in (self.policy, self.bounds))

    def lifted_bounds(self) -> list[str]:
        """The names of the bounds that are null, in the order of the reference.

        A limit that one may wish for (`max_wait_secs`, `max_in_flight`) is lifted only where a
        model takes back what holds for all.
        """
        sections: list[tuple[str, object]] = [("policy", self.policy), ("bounds", self.bounds)]
        sections += [(f"models.{name}", model) for name, model in self.models.items()]
        return [
            f"{prefix}.{name}"
            for prefix, section in sections
            for name, rule, _ in rules(type(section))
            if rule.kind in ("seconds", "count") and getattr(section, name) is None
            if not rule.wish or self._wished(name)
        ]


def _own(own: _T | Inherit, above: _T) -> _T:
    return above if isinstance(own, Inherit) else own


SECTIONS: Final[Mapping[str, type[Any]]] = {
    "policy": PolicyConfig,
    "bounds": BoundsConfig,
    "health": HealthConfig,
    "hooks": HooksConfig,
    "auth": AuthConfig,
    "tls": TlsConfig,
    "log": LogConfig,
}
"""The sections of fixed keys, by name; `models` has names that its author chooses."""
