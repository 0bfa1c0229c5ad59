"""What every command shares: the console, one-message failures, and output files that are whole or absent."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import click


class Failure(click.ClickException):
    """One clear message on stderr and an exit code; never a traceback."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        """Prints the message as it is: it already names file, line and rule."""
        click.echo(self.message, err=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """Ends the command with one message; code 2 is a mistake on the command line."""
    raise Failure(message, code)


def console() -> Any:
    """A rich console: the terminal's width, or 80 columns into a file or pipe."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False, markup=False)
    width = os.environ.get("COLUMNS", "")
    return Console(
        width=int(width) if width.isdigit() and 40 <= int(width) <= 500 else 80, highlight=False, markup=False
    )


def write_json(path: Path | None, payload: Any) -> None:
    """`payload` as JSON to stdout (path None) or to a file that appears whole or not at all."""
    text = json.dumps(payload, indent=2, allow_nan=False) + "\n"
    if path is None:
        click.echo(text, nl=False)
        return
    handle = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if handle is not None:
            Path(temporary).unlink(missing_ok=True)
        fail(f"--json {path}: cannot be written: {error.strerror}")


def write_csv(rows: list[dict[str, Any]]) -> None:
    """Flat records to stdout; columns in order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
