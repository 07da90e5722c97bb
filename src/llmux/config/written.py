"""The keys that stand in a config file as texts, for a command that has to show one at the door.

A `Config` holds their digests only, so the file is read once more, when somebody asks. It refuses
to know what a key opens.
"""

from __future__ import annotations

from pathlib import Path

from llmux.config.json_reader import read_json
from llmux.config.nodes import ListNode, MappingNode, Node, Scalar, UnreadableError
from llmux.config.yaml_reader import read_yaml


def written_keys(path: Path, section: str) -> list[str]:
    """Return the texts under `auth.SECTION` (`keys` or `admin_keys`), in their order.

    Keys that are read from elsewhere are not among them; what cannot be read has none.
    """
    try:
        text = path.read_text("utf-8-sig")
        root, _ = read_yaml(text) if path.suffix in (".yaml", ".yml") else read_json(text)
    except (OSError, UnicodeDecodeError, UnreadableError):
        return []
    items = _entry(_entry(root, "auth"), section)
    if not isinstance(items, ListNode):
        return []
    found = [one if isinstance(one, Scalar) else _entry(one, "text") for one in items.items]
    return [one.value for one in found if isinstance(one, Scalar)]


def _entry(node: Node | None, name: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for key, value in node.entries if key.value == name), None)
