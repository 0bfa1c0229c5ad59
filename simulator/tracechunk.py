"""What every trace reader yields, what they refuse with, and the bytes that they read: plain, gzip or xz."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOAD, STORE, FETCH = 0, 1, 2
"""Kinds of access; a fetch is that of an instruction."""

MAX_SIZE_BYTES = 1 << 16
MAX_CORES = 4096
BLOCK_BYTES = 1 << 22
CHUNK_ACCESSES = 1 << 20
"""Bytes read, and accesses handed on, at once."""

GZIP_MAGIC, XZ_MAGIC = b"\x1f\x8b", b"\xfd7zXZ\x00"


@dataclass(frozen=True)
class TraceChunk:
    """Consecutive accesses of a trace. `sizes` are bytes; `kinds` LOAD, STORE or FETCH; `cores` and `streams` None: all 0.

    `modifies`: loads of this chunk that its source writes as one record with the store behind them.
    """

    addresses: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    cores: NDArray[np.int64] | None = None
    streams: NDArray[np.int64] | None = None
    modifies: int = 0

    def __len__(self) -> int:
        return len(self.addresses)


class TraceFileError(Exception):
    """A trace that cannot be read: file, line or record, rule."""

    def __init__(self, path: Path | str, rule: str, line: int = 0, record: int = -1) -> None:
        place = f"{path}:{line}" if line else f"{path}: record {record}" if record >= 0 else f"{path}"
        super().__init__(f"{place}: {rule}")


@contextmanager
def open_bytes(path: Path) -> Iterator[Any]:
    """The decompressed bytes of a file (or pipe), readable and peekable. Raises TraceFileError."""
    raw: Any
    try:
        raw = open(path, "rb", buffering=1 << 20)  # noqa: SIM115 (closed below)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        rule = "no such file" if missing else f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise TraceFileError(path, rule) from None
    with raw:
        head = guarded(path, lambda: raw.peek(6))
        if head.startswith(GZIP_MAGIC):
            with gzip.GzipFile(fileobj=raw) as plain:
                yield io.BufferedReader(plain, 1 << 20)
        elif head.startswith(XZ_MAGIC):
            with lzma.LZMAFile(raw) as plain:
                yield io.BufferedReader(plain, 1 << 20)
        else:
            yield raw


def guarded(path: Path, read: Callable[[], bytes]) -> bytes:
    """What `read` returns; its failures become a TraceFileError."""
    try:
        return read()
    except EOFError:
        raise TraceFileError(path, "the compressed data end early: the file is truncated") from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise TraceFileError(path, f"the compressed data are damaged: {error}") from None
    except OSError as error:
        raise TraceFileError(path, f"cannot be read: {error.strerror}") from None


def blocks(path: Path, stream: Any, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Blocks of at most `size` bytes until the end."""
    while block := guarded(path, lambda: bytes(stream.read(size))):
        yield block
