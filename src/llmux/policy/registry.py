"""Finds the policy that a config names, and builds it.

Ours enter by the same door as everybody's: a name (built in, or an entry point of the group
`llmux.policies`), `package.module:Class`, or a `.py` file. Other people's code runs here, so
whatever it raises becomes one `PolicyError` that says where it broke. This file refuses to know
what a policy decides.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

from llmux.errors import PolicyError
from llmux.policy.base import PolicySettings, SwitchPolicy

_T = TypeVar("_T")
_GROUP: Final = "llmux.policies"
_BUILT_IN: Final = {
    "fifo": "llmux.policy.fifo:FifoPolicy",
    "balance": "llmux.policy.balance:BalancePolicy",
}


def names_code(name: str) -> bool:
    """Whether a policy's name says where its code is, so that no list has to know it."""
    return ":" in name or name.endswith(".py")


def policy_names() -> list[str]:
    """The names that a config may use: the built-in policies and every entry point, sorted."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=_GROUP))})


def load_policy(
    name: str,
    config: object,
    options: Mapping[str, Any],
    settings: PolicySettings,
    base_dir: Path | None,
) -> SwitchPolicy:
    """Find the policy, build it with `from_config(config, options)`, and give it its settings.

    `base_dir` is where a relative `.py` path begins (None: the process's directory). Raises
    `PolicyError` with one sentence for whatever goes wrong, the author's own errors included.
    """
    policy_class = _find(name, base_dir)
    try:
        policy = policy_class.from_config(config, options)
    except PolicyError:
        raise
    except (Exception, SystemExit) as error:
        given = f" with the options {', '.join(sorted(options))}" if options else ""
        raise PolicyError(f"the policy {name} could not be built{given}: {_told(error)}") from error
    if not isinstance(policy, SwitchPolicy):
        raise PolicyError(
            f"the policy {name}: from_config gave a {type(policy).__name__}, not a SwitchPolicy"
        )
    try:
        policy.settings = settings
    except Exception as error:
        raise PolicyError(f"the policy {name} does not take settings: {_told(error)}") from error
    return policy


def _find(name: str, base_dir: Path | None) -> type[SwitchPolicy]:
    if name.endswith(".py"):
        return _from_file(name, (base_dir or Path()) / name)
    if name in _BUILT_IN:
        return _from_reference(name, _BUILT_IN[name])
    if ":" in name:
        return _from_reference(name, name)
    points = [point for point in entry_points(group=_GROUP) if point.name == name]
    if not points:
        raise PolicyError(
            f"there is no policy {name}: there are {', '.join(policy_names())}, "
            "package.module:Class and ./file.py"
        )
    return _from_entry_point(points[0])


def _from_entry_point(point: EntryPoint) -> type[SwitchPolicy]:
    return _checked(point.name, _run(point.name, point.load))


def _from_reference(name: str, reference: str) -> type[SwitchPolicy]:
    module_name, _, attribute = reference.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        raise PolicyError(f"the policy {name} is not of the form package.module:Class")
    found: Any = _run(name, lambda: importlib.import_module(module_name))
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise PolicyError(f"the policy {name}: {module_name} has no {attribute}")
        found = getattr(found, part)
    return _checked(name, found)


def _from_file(name: str, path: Path) -> type[SwitchPolicy]:
    if not path.is_file():
        raise PolicyError(f"the policy {name}: there is no file {path}")
    module_name = f"llmux_policy_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PolicyError(f"the policy {name}: {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    sys.modules[module_name] = module  # dataclasses and pickling look a class's module up here

    def execute() -> ModuleType:
        loader.exec_module(module)
        return module

    try:
        _run(name, execute)
    except PolicyError:
        del sys.modules[module_name]
        raise
    defined = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, SwitchPolicy)
        and value.__module__ == module_name
    ]
    classes = list(dict.fromkeys(defined))
    if len(classes) == 1:
        return classes[0]
    if not classes:
        raise PolicyError(f"the policy {name}: {path} defines no subclass of SwitchPolicy")
    names = ", ".join(sorted(each.__name__ for each in classes))
    raise PolicyError(
        f"the policy {name}: {path} defines {names}, and there must be one: "
        "name the class with package.module:Class"
    )


def _run(name: str, load: Callable[[], _T]) -> _T:
    """Run other people's code; its failure is a sentence with the place where it broke."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise PolicyError(f"the policy {name} cannot be loaded: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """Say an error and the last place in it that is not ours nor the import machinery's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.msg} ({error.filename}:{error.lineno})"
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    return f"{said} ({frames[-1].filename}:{frames[-1].lineno})" if frames else said


def _checked(name: str, found: object) -> type[SwitchPolicy]:
    if not isinstance(found, type) or not issubclass(found, SwitchPolicy):
        raise PolicyError(
            f"the policy {name} is a {type(found).__name__}, not a SwitchPolicy class"
        )
    return found
