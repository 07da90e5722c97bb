"""`llmux schema`: writes the JSON Schema of the config, for editors.

It reads no config and needs none. It refuses to know which editor asks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from llmux.cli.options import EXIT_FAILED, EXIT_USAGE, say, shared
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
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        say(f"llmux schema: {output} cannot be written: {_wrong_with(output, error)}", err=True)
        sys.exit(EXIT_USAGE)
    except OSError as error:
        say(f"llmux schema: {output} cannot be written: {error.strerror or error}", err=True)
        sys.exit(EXIT_FAILED)


def _wrong_with(output: Path, error: OSError) -> str:
    """Say why no file can be there, and what would do."""
    if isinstance(error, IsADirectoryError):
        return f"it is a folder; name a file in it: {output / 'llmux.schema.json'}"
    folder = output.parent
    if folder.is_dir():  # a link that leads nowhere
        return error.strerror or str(error)
    if isinstance(error, NotADirectoryError):
        return f"{folder} is no folder; name a file in another place"
    return f"the folder {folder} is not there; make it first, or name a file in another place"


def schema_text() -> str:
    """Return the schema as a file holds it, with a line end."""
    return json.dumps(json_schema(), indent=2) + "\n"
