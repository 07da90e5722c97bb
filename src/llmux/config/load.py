"""From a file to a config: reads the bytes, finds every mistake at once, or hands out the config.

It knows what has to hold between keys (ports, policies) and where files stand. It refuses to
print, to start anything, and to hand out a config that has a mistake in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from llmux.config.check_doors import check_doors
from llmux.config.findings import (
    Finding,
    InvalidConfigError,
    Kind,
    closest,
    dotted,
    in_file_order,
)
from llmux.config.json_reader import read_json
from llmux.config.model import Config
from llmux.config.nodes import Mark, UnreadableError
from llmux.config.reader import SchemaReader
from llmux.config.yaml_reader import read_yaml
from llmux.policy.registry import names_code, policy_names

_LARGEST_FILE = 4_000_000
_PIECE = 65_536
_SCRIPT = re.compile(r"\s*(\.{1,2}/[^\s;|&<>()$`\"'*?]+)")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config that can be used, and what is odd about its file."""

    config: Config
    warnings: tuple[Finding, ...]
    """Unknown keys and the like, in the order of the file."""
    from_2_4: bool
    """Whether the file is one of llmux 2.4.0: its keys only, and each model has an `alive`."""
    places: Mapping[tuple[str, ...], Mark]
    """Where each key's value stands, for those who judge it later."""


def load_config(path: Path | str, *, host: str | None = None, port: int | None = None) -> Loaded:
    """Read a config file; `host` and `port` from the command line rule over the file's.

    Raises `InvalidConfigError` with every mistake, each with its place.
    """
    path = Path(path)
    return parse_config(_read(path), path, host=host, port=port)


def parse_config(
    text: str, path: Path | str, *, host: str | None = None, port: int | None = None
) -> Loaded:
    """Read a config from a text; the extension of `path` says whether it is YAML or JSON.

    Raises `InvalidConfigError` with every mistake, each with its place.
    """
    path = Path(path)
    yaml = path.suffix in (".yaml", ".yml")
    reader = SchemaReader(str(path))
    text = text.removeprefix("\ufeff")
    try:
        root, problems = read_yaml(text) if yaml else read_json(text)
    except UnreadableError as error:
        reader.report(*error.problem)
        raise InvalidConfigError(reader.findings) from None
    for problem in problems:
        reader.report(*problem)
    if root is None:
        raise _unusable(path, "the file is empty", "it needs at least `models`")
    config = replace(reader.config(root), path=path)
    from_2_4 = not reader.new_keys
    if host is not None:
        config = replace(config, host=host)
    if port is not None:
        config = replace(config, port=port)
    _check_ports(config, reader, "--port" if port is not None else "port")
    _check_policy(config, reader)
    _check_breaker(config, reader)
    check_doors(config, reader)
    if any(finding.kind is Kind.ERROR for finding in reader.findings):
        raise InvalidConfigError(reader.findings)
    return Loaded(config, in_file_order(reader.findings), from_2_4, reader.places)


def script_findings(loaded: Loaded, process_dir: Path) -> list[Finding]:
    """Warn of each `./script` that this config's hooks cannot run: it is not there, or no program.

    llmux 2.4.0 ran hooks in the directory of the process; `hooks.cwd: process` still does.
    """
    config = loaded.config
    beside = (config.path or Path()).parent
    homes = [(beside, "config"), (process_dir, "process")]
    (here, _), (there, way) = homes if config.hooks.cwd == "config" else homes[::-1]
    found: list[Finding] = []
    for name, model in config.models.items():
        for key in ("wake", "sleep", "alive", "kill"):
            line = getattr(model, key)
            script = _SCRIPT.match(line) if isinstance(line, str) else None
            if script is None or os.access(here / script[1], os.X_OK):
                continue
            message = f"{dotted(('models', name, key))} runs in {here.resolve()}, and the script "
            if _exists(here, script[1]):
                message += "there cannot be executed"
                hint = "`chmod +x` lets it"
            else:
                message += "is not there"
                hint = "write it, or say where it is"
                if _exists(there, script[1]):
                    hint = f"it stands in {there.resolve()}; `hooks: {{cwd: {way}}}` runs it there"
            mark = loaded.places[("models", name, key)]
            found.append(Finding(str(config.path), *mark, message, script[1], hint, Kind.WARNING))
    return found


def _exists(directory: Path, script: str) -> bool:
    with suppress(OSError):  # a name that is too long is nobody's
        return (directory / script).exists()
    return False


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = _up_to(file, _LARGEST_FILE + 1)
    except FileNotFoundError:
        hint = "name another with -c, or see one work with `llmux demo`"
        raise _unusable(path, "there is no such file", hint) from None
    except IsADirectoryError:
        raise _unusable(path, "this is a directory", "name the file in it") from None
    except OSError as error:
        raise _unusable(path, f"the file cannot be read: {error.strerror or error}") from None
    if len(content) > _LARGEST_FILE:
        raise _unusable(path, f"the file is larger than {_LARGEST_FILE} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
        found = f"byte 0x{content[error.start]:02X}"
        finding = Finding(
            str(path), line, column, "the file is not UTF-8", found, "save it as UTF-8"
        )
        raise InvalidConfigError([finding]) from None


def _up_to(file: BinaryIO, most: int) -> bytes:
    """Read at most so many bytes, of a pipe too; room is made for those alone that are there."""
    pieces: list[bytes] = []
    while most and (piece := file.read(min(most, _PIECE))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _unusable(path: Path, message: str, hint: str = "") -> InvalidConfigError:
    return InvalidConfigError([Finding(os.fspath(path), 0, 0, message, "", hint)])


def _check_ports(config: Config, reader: SchemaReader, source: str) -> None:
    first: dict[int, str] = {}
    for name, model in config.models.items():
        place = reader.places.get(("models", name, "port"))
        if place is None or not model.port:
            continue
        key = dotted(("models", name, "port"))
        if model.port == config.port:
            hint = "each needs a port of its own"
            message = f"{key} is the gateway's own ({source}), so it would ask itself"
            reader.report(place, message, str(model.port), hint)
        elif (other := first.setdefault(model.port, name)) != name:
            message = f"{key} is that of {dotted([other])} too"
            hint = "right only if one server answers for both"
            reader.report(place, message, str(model.port), hint, Kind.WARNING)


def check_own_port(loaded: Loaded, port: int) -> None:
    """Refuse models on the port on which the gateway listens until it is restarted."""
    found = []
    for name, model in loaded.config.models.items():
        if model.port == port:
            mark = loaded.places[("models", name, "port")]
            key = dotted(("models", name, "port"))
            message = f"{key} is the gateway's own until a restart, so it would ask itself"
            hint = "restart, or choose another"
            found.append(Finding(str(loaded.config.path), *mark, message, str(port), hint))
    if found:
        raise InvalidConfigError(found)


def _check_breaker(config: Config, reader: SchemaReader) -> None:
    least, most = config.health.breaker_min_secs, config.health.breaker_max_secs
    keys = [("health", "breaker_max_secs"), ("health", "breaker_min_secs")]
    place = next((reader.places[key] for key in keys if key in reader.places), None)
    if place is not None and least > most:
        message = f"{dotted(keys[0])} must not be below {dotted(keys[1])}"
        reader.report(place, message, f"{most:g} < {least:g}", "make one fit the other")


def _check_policy(config: Config, reader: SchemaReader) -> None:
    name = config.policy.name
    place = reader.places.get(("policy", "name"))
    if place is None or names_code(name) or name in (known := policy_names()):
        return
    guess = closest(name, known)
    hint = f"did you mean `{guess}`? " if guess else ""
    hint += f"there are {', '.join(known)}, `package.module:Class` and `./file.py`"
    reader.report(place, "there is no such policy", name, hint)
