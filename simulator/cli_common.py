"""What every command shares: the console, one-message failures, and output files that are whole or absent."""

from __future__ import annotations

import csv
import errno
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

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


_UNWRITABLE = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG, errno.EDQUOT)


def run_program(command: click.Command, name: str, interrupted: str = "interrupted") -> NoReturn:
    """A program's entry point: runs `command` and exits; every expected fault is one message and an exit code.

    `interrupted`: what Ctrl-C answers.
    """
    try:
        code = command(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo(interrupted, err=True)
        sys.exit(130)
    except BrokenPipeError:
        _drop_output()
        sys.exit(141)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _drop_output()
        click.echo(f"{name}: the output cannot be written: {error.strerror}", err=True)
        sys.exit(1)


def _drop_output() -> None:
    """What is still buffered for stdout cannot be written; the interpreter must not try again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def console() -> Any:
    """A rich console: the terminal's width, or 80 columns into a file or pipe."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False, markup=False)
    width = os.environ.get("COLUMNS", "")
    return Console(
        width=int(width) if width.isdigit() and 40 <= int(width) <= 500 else 80, highlight=False, markup=False
    )


def host_facts() -> dict[str, Any]:
    """Where a figure was computed: program version, Python, processor. Predictions do not depend on it."""
    import platform

    from kernels.host import HostError, observe
    from simulator import __version__

    facts: dict[str, Any] = {
        "lookupsim_version": __version__,
        "python_version": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    try:
        seen = observe()
    except HostError:
        return facts
    return facts | {"processor": seen.model_name, "logical_cpus": len(seen.cpus), "virtual_machine": seen.hypervisor}


def write_json(path: Path | None, payload: dict[str, Any]) -> None:
    """`payload` with host facts as JSON to stdout (path None) or to a file that appears whole or not at all."""
    text = json.dumps({"host": host_facts(), **payload}, indent=2, allow_nan=False) + "\n"
    if path is None:
        click.echo(text, nl=False)
    else:
        write_bytes(path, text.encode(), "--json")


def write_bytes(path: Path, content: bytes, option: str) -> None:
    """A file that appears whole or not at all; `option` names it in a message."""
    with written(path, option) as stream:
        stream.write(content)


@contextmanager
def written(path: Path, option: str) -> Iterator[IO[bytes]]:
    """A stream into a file that appears whole or not at all; `option` names it in a message."""
    try:
        target = path.resolve()  # a link stays a link: the file that it leads to is replaced
        if path.exists() and not path.is_file():
            with open(path, "wb") as stream:  # a device or pipe is written to, never replaced by a file
                yield stream
        else:
            with _replaced(target) as stream:
                yield stream
    except (OSError, RuntimeError) as error:  # RuntimeError: links that go round in a circle
        fail(f"{option} {path}: cannot be written: {getattr(error, 'strerror', None) or error}")


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """Writes beside `path` and renames, so that a full disk or an interruption leaves the old file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_csv(rows: list[dict[str, Any]]) -> None:
    """Flat records to stdout; columns in order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
