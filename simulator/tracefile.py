"""Memory traces from files, in chunks: the project's NPZ, ChampSim's binary records, text of Valgrind's lackey.

ChampSim and lackey traces may be compressed with gzip or xz, and may come through a pipe; nothing is ever held as a whole.
The format is told by the content: a zip archive is NPZ, a byte of 0 among the first 64 means ChampSim, anything else is text.
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

_HEAD_BYTES = 64


class TraceFile:
    """A trace on disk or in a pipe. `format` is the one given, or once `chunks` has begun, the one that the content tells."""

    def __init__(self, path: Path, form: Format | None = None) -> None:
        self.path, self.format = path, form

    def chunks(self) -> Iterator[TraceChunk]:
        """Accesses in their order.

        Raises TraceFileError for what cannot be opened, is empty, truncated or breaks a rule of its format, once the chunks
        before it have been handed on.
        """
        count = 0
        with open_bytes(self.path) as stream:
            told = _told(self.path, guarded(self.path, lambda: bytes(stream.peek(_HEAD_BYTES))))
            self.format = self.format or told
            if "npz" in (self.format, told) and self.format != told:
                raise TraceFileError(self.path, f"by its first bytes it is {told}, not {self.format}")
            if self.format == "npz":
                chunks = read_npz(self.path)
            else:
                chunks = (read_champsim if self.format == "champsim" else read_lackey)(self.path, stream)
            for chunk in chunks:
                count += len(chunk)
                yield chunk
        if not count:
            raise TraceFileError(self.path, "no access in it")


def read_trace(path: Path, form: Format | None = None) -> Iterator[TraceChunk]:
    """Chunks of the trace in a file; see TraceFile."""
    return TraceFile(path, form).chunks()


def _told(path: Path, head: bytes) -> Format:
    if not head:
        raise TraceFileError(path, "the file is empty")
    if head.startswith(b"PK\x03\x04"):
        return "npz"
    return "champsim" if b"\x00" in head[:_HEAD_BYTES] else "lackey"
