"""`llmux schema`: writes the JSON Schema of the config, for editors.

It reads no config and needs none. It refuses to know which editor asks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from llmux.cli.options import EXIT_FAILED, say, shared
from llmux.config.schema import json_schema


@click.command("schema", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write into this file instead of to standard output.",
)
@shared
def command(output: Path | None, **given: Any) -> None:
    """Write the JSON Schema of the config: editors complete, explain and check with it.

    A YAML config names it in its first line: `# yaml-language-server: $schema=FILE`.
    """
    del given
    text = schema_text()
    if output is None:
        say(text.removesuffix("\n"))
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        say(f"llmux schema: {output} cannot be written: {error.strerror or error}", err=True)
        sys.exit(EXIT_FAILED)


def schema_text() -> str:
    """Return the schema as a file holds it, with a line end."""
    return json.dumps(json_schema(), indent=2) + "\n"
