"""What `serve` says when it has begun to listen: where, what, and what to think about.

The words are made here and nowhere else: for people as something that rich can print, for
machines as the fields of one log line. It refuses to print.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from llmux import __version__
from llmux.config import Alive, Config, Finding, HttpProbe, TcpProbe
from llmux.telemetry.lines import clean

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the operator should know; `loud` if it opens the door to others."""

    text: str
    loud: bool = False


def notices(config: Config, findings: Iterable[Finding], from_2_4: bool) -> list[Notice]:
    """Everything to think about before the first request, the loudest first."""
    told = []
    open_wide = not is_loopback(config.host)
    if open_wide and not config.auth.keys:
        told.append(
            Notice(
                f"whoever reaches {config.host}:{config.port} can use the models and make their "
                "hooks run: there are no keys. Set `auth.keys`, or `host: 127.0.0.1` to keep it to "
                "this machine",
                loud=True,
            )
        )
    elif open_wide and config.tls.cert is None:
        told.append(Notice("keys and answers travel in the clear: `tls`, or a proxy with TLS"))
    told += [Notice(str(finding)) for finding in findings]
    if from_2_4 and is_loopback(config.host):
        told.append(Notice(f"listens on {config.host} only; `host: 0.0.0.0` is llmux 2.4.0's way"))
    return told


def banner(config: Config, told: Sequence[Notice], port: int | None = None) -> Text:
    """The greeting for people; `port` is where it really listens if not at the config's."""
    text = Text(f"llmux {__version__}\n", style="bold", end="")
    text.append("  API     ", "dim not bold").append(api_url(config, port), "cyan not bold")
    if config.host in _ANY:
        text.append(" and every other address of this machine", "not bold")
    text.append("\n  policy  ", "dim not bold").append(config.policy.name, "not bold")
    names = [clean(name) for name in config.models]
    width = max(map(cell_len, names), default=0)
    for number, (name, model) in enumerate(zip(names, config.models.values(), strict=True)):
        text.append("\n  models  " if number == 0 else "\n          ", "dim not bold")
        padding = " " * (width - cell_len(name))
        text.append(f"{name}{padding}  port {model.port}, {witness(model.alive)}", "not bold")
    for number, bound in enumerate(config.lifted_bounds()):
        text.append("\n  lifted  " if number == 0 else "\n          ", "dim not bold")
        text.append(f"{bound} is null: no bound", "not bold")
    for notice in told:
        text.append("\n  !       ", "bold red" if notice.loud else "yellow not bold")
        text.append(notice.text, "bold red" if notice.loud else "yellow not bold")
    return text


def witness(alive: Alive | None) -> str:
    """Say how a model will be asked whether it lives; not what it would answer now."""
    match alive:
        case None:
            return "no alive: its port is asked"
        case HttpProbe(path):
            return f"alive: http {path}"
        case TcpProbe():
            return "alive: tcp"
        case _:
            return "alive: shell"


def started_fields(config: Config, port: int | None = None) -> dict[str, object]:
    """The same for machines: the fields of the log event `gateway_started`."""
    return {
        "url": api_url(config, port),
        "models": ", ".join(config.models),
        "policy": config.policy.name,
        "lifted_bounds": ", ".join(config.lifted_bounds()),
        "version": __version__,
    }


def api_url(config: Config, port: int | None = None) -> str:
    """The base URL that a client on this machine uses."""
    host = _ANY.get(config.host, config.host)
    scheme = "http" if config.tls.cert is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port or config.port}/v1"


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
