"""Memory traces from files, in chunks: the project's NPZ, ChampSim's binary records, text of Valgrind's lackey.

ChampSim and lackey traces may be compressed with gzip or xz, and may come through a pipe; nothing is ever held as a whole.
The format is told by the content: a zip archive is NPZ, bytes of 0 near the beginning mean ChampSim, anything else is text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from simulator.tracechampsim import read_champsim
from simulator.tracechunk import TraceChunk, TraceFileError, guarded, open_bytes
from simulator.tracelackey import read_lackey
from simulator.tracenpz import read_npz

Format = Literal["npz", "champsim", "lackey"]
FORMATS: tuple[Format, ...] = ("npz", "champsim", "lackey")


def detect_format(path: Path) -> Format:
    """The format of a file by its first bytes. Raises TraceFileError where there are none. It consumes the head of a pipe."""
    with open_bytes(path) as stream:
        return _told(path, guarded(path, lambda: stream.peek(64)))


def _told(path: Path, head: bytes) -> Format:
    if not head:
        raise TraceFileError(path, "the file is empty")
    if head.startswith(b"PK\x03\x04"):
        return "npz"
    return "champsim" if b"\x00" in head[:64] else "lackey"


def read_trace(path: Path, form: Format | None = None) -> Iterator[TraceChunk]:
    """Chunks of accesses in their order; `form` None: as the content tells.

    Raises TraceFileError for what cannot be opened, is empty, truncated or breaks a rule of its format, once the chunks
    before it have been handed on.
    """
    count = 0
    with open_bytes(path) as stream:
        head = guarded(path, lambda: bytes(stream.peek(64)))
        found = _told(path, head)
        chosen = found if form is None else form
        readers = {"champsim": read_champsim, "lackey": read_lackey}
        if chosen == "npz" or found == "npz":
            if chosen != found:
                raise TraceFileError(path, f"a {found} trace, not {chosen}, by its first bytes")
            chunks = read_npz(path)
        else:
            chunks = readers[chosen](path, stream)
        for chunk in chunks:
            count += len(chunk)
            yield chunk
    if not count:
        raise TraceFileError(path, "no access in it")
