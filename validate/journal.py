"""A campaign's file: one JSON object a line, appended and never changed; a line knows its place and its checksum.

What a kill or a full disk leaves of the last line is cut off when the campaign goes on; anything else that does not fit is an
error that names the line.
"""

from __future__ import annotations

import errno
import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORMAT = "lookupsim-campaign 1"
Line = dict[str, Any]


class JournalError(Exception):
    """A file that cannot be used; the message names file, line and rule."""


def _text(content: Line) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def _sealed(number: int, content: Line) -> str:
    """The line as it is written: its number first, the checksum of all before it last."""
    text = _text({"line": number, **content})[:-1]
    return f'{text},"crc":{zlib.crc32(text.encode())}}}\n'


def _opened(path: Path, number: int, text: str) -> Line:
    """The content of one line. Raises JournalError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise JournalError(f"{path}:{number}: not JSON; was the file truncated or edited?") from None
    if not isinstance(content, dict) or not {"line", "record", "crc"} <= content.keys():
        raise JournalError(f"{path}:{number}: no line of a campaign: it needs line, record and crc")
    del content["crc"]
    sealed = text.rpartition(',"crc":')[0]
    if content["line"] != number:
        raise JournalError(
            f"{path}:{number}: line: must be {number}, got {content['line']}; was a line removed or doubled?"
        )
    if text != f'{sealed},"crc":{zlib.crc32(sealed.encode())}}}':  # nothing may follow the checksum either
        raise JournalError(f"{path}:{number}: crc: does not fit the line; measurements are not edited")
    return content


def _lines(path: Path, text: str) -> Iterator[Line]:
    for number, line in enumerate(text.splitlines(), 1):
        yield _opened(path, number, line)


def _whole(path: Path) -> tuple[str, str]:
    """(finished lines, what follows the last line end)."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise JournalError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise JournalError(f"{path}: not a text file (byte {error.start})") from None
    finished, end, rest = text.rpartition("\n")
    return finished + end, rest


def read(path: Path, *, unfinished: bool = False) -> list[Line]:
    """All lines of a campaign. Raises JournalError, also where it did not come to its end (unless that is `unfinished`)."""
    text, rest = _whole(path)
    if rest and not unfinished:
        number = text.count("\n") + 1
        raise JournalError(f"{path}:{number}: the line has no end: the file is truncated")
    found = list(_lines(path, text))
    if not found:
        raise JournalError(f"{path}:1: empty; a campaign begins with its settings")
    if found[0].get("format") != FORMAT:
        raise JournalError(f"{path}:1: format: must be '{FORMAT}', got {found[0].get('format')!r}")
    if not unfinished and found[-1]["record"] != "end":
        raise JournalError(
            f"{path}:{len(found)}: the campaign did not come to its end; 'python -m validate measure' goes on with it"
        )
    return found


def is_unfinished(path: Path) -> bool:
    """Whether a campaign can go on. Raises JournalError for a file that is none."""
    return bool(read(path, unfinished=True)[-1]["record"] != "end")


def _own(path: Path, handle: int) -> None:
    """Keeps other runs from adding to a file until it is closed. Raises JournalError where one already does."""
    try:
        import fcntl  # not everywhere, where only recorded campaigns are read

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return
    except BlockingIOError:
        raise JournalError(f"{path}: another run is adding to it; wait for its end, or take another --output") from None
    except OSError:
        return  # a file system without locks


def _appear(temporary: Path, path: Path) -> None:
    """Gives a file its name, which nothing may have. Raises OSError."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.rename(temporary, path)  # a file system without links; that nothing is there was seen a moment ago


class Journal:
    """An open campaign; `lines` is what it holds."""

    def __init__(self, path: Path, lines: list[Line], handle: int) -> None:
        self.path, self.lines, self._handle = path, lines, handle

    @classmethod
    def new(cls, path: Path, first: Line) -> Journal:
        """A file that did not exist, with its first line: it appears with that or not at all. Raises JournalError."""
        taken = JournalError(f"{path}: exists; measurements are never overwritten")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                raise taken
            temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.{time.time_ns()}")
            handle = os.open(temporary, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise JournalError(f"{path}: cannot be written: {error.strerror}") from None
        journal = cls(path, [], handle)
        try:
            _own(path, handle)
            journal.add({"record": "campaign", "format": FORMAT, **first})
            _appear(temporary, path)
        except FileExistsError:
            raise taken from None
        except OSError as error:
            raise JournalError(f"{path}: cannot be written: {error.strerror}") from None
        finally:
            temporary.unlink(missing_ok=True)
        return journal

    @classmethod
    def resumed(cls, path: Path) -> Journal:
        """An unfinished campaign, less a line that was being written when it ended. Raises JournalError."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise JournalError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            _own(path, handle)  # before it is read: another run may be adding to it
            lines = read(path, unfinished=True)
            text, rest = _whole(path)
            if rest:
                os.ftruncate(handle, len(text.encode()))
        except JournalError:
            os.close(handle)
            raise
        except OSError as error:
            os.close(handle)
            raise JournalError(f"{path}: cannot be written: {error.strerror}") from None
        return cls(path, lines, handle)

    def add(self, content: Line) -> None:
        """Appends a line, on disk when this returns. Raises JournalError; then the file is as before."""
        data = _sealed(len(self.lines) + 1, content).encode()
        size = os.fstat(self._handle).st_size
        try:
            written = os.write(self._handle, data)
            if written != len(data):
                raise OSError(28, os.strerror(28))
            os.fsync(self._handle)
        except OSError as error:
            os.ftruncate(self._handle, size)
            raise JournalError(f"{self.path}: cannot be written: {error.strerror}") from None
        self.lines.append(json.loads(_text({"line": len(self.lines) + 1, **content})))

    def of(self, record: str) -> list[Line]:
        """Its lines of one kind."""
        return [line for line in self.lines if line["record"] == record]

    def close(self) -> None:
        """Gives the file back."""
        os.close(self._handle)
