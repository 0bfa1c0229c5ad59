"""The project's own trace format: an uncompressed or compressed NPZ file (NumPy arrays in a zip archive).

    format      int, scalar            1
    addresses   uint64[n]              bytes
    writes      bool[n], optional      whether it is a store; absent: all are loads
    fetches     bool[n], optional      whether it is an instruction fetch
    sizes       integer[n] or scalar   bytes; absent: 8
    cores       integer[n] or scalar   absent: 0
    streams     integer[n] or scalar   a number of the writer's choice, 0 to 63; absent: 0

Accesses stand in the order in which they happen. Arrays are read in step, a chunk of each at a time.
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from simulator.tracechunk import CHUNK_ACCESSES, FETCH, MAX_CORES, MAX_SIZE_BYTES, STORE, TraceChunk, TraceFileError

FORMAT = 1
MAX_STREAMS = 64
DEFAULT_SIZE_BYTES = 8

_KINDS = {
    "format": "iu",
    "addresses": "u",
    "writes": "b",
    "fetches": "b",
    "sizes": "iu",
    "cores": "iu",
    "streams": "iu",
}
_RANGES = {"sizes": (1, MAX_SIZE_BYTES), "cores": (0, MAX_CORES - 1), "streams": (0, MAX_STREAMS - 1)}
_DEFAULTS = {"sizes": DEFAULT_SIZE_BYTES, "cores": 0, "streams": 0}
_WRITTEN = {"addresses": np.uint64, "writes": np.bool_, "fetches": np.bool_, "sizes": np.uint32, "cores": np.uint16,
            "streams": np.uint8}  # fmt: skip


class _Column:
    """One array of the archive, read from its beginning."""

    def __init__(self, path: Path, name: str, stream: Any) -> None:
        self.path, self.name, self.stream = path, name, stream
        try:
            version = npy.read_magic(stream)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            self.shape, _, self.dtype = header(stream)
        except (ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
            raise TraceFileError(path, f"{name}: no NumPy array: {error}") from None
        if self.dtype.kind not in _KINDS[name] or (name == "addresses" and self.dtype.itemsize != 8):
            wanted = {"u": "uint64", "b": "bool", "iu": "integers"}[_KINDS[name]]
            raise TraceFileError(path, f"{name}: {wanted} are needed, got {self.dtype}")

    def take(self, count: int) -> Any:
        """The next `count` values."""
        wanted = count * self.dtype.itemsize
        try:
            data = self.stream.read(wanted)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise TraceFileError(self.path, f"{self.name}: the archive is damaged: {error}") from None
        if len(data) < wanted:
            raise TraceFileError(self.path, f"{self.name}: fewer values than its header says: the file is truncated")
        return np.frombuffer(data, dtype=self.dtype)


def read_npz(path: Path) -> Iterator[TraceChunk]:
    """Chunks of a trace in NPZ. Raises TraceFileError with the array and the rule."""
    with ExitStack() as held:
        try:
            archive = held.enter_context(zipfile.ZipFile(path))
        except (zipfile.BadZipFile, OSError) as error:
            raise TraceFileError(path, f"no NPZ archive, or a truncated one: {error}") from None
        columns = _columns(path, archive, held)
        count = columns["addresses"].shape[0]
        scalars = {name: _scalar(path, column) for name, column in columns.items() if column.shape == ()}
        done = 0
        while done < count:
            many = min(CHUNK_ACCESSES, count - done)
            parts = {name: column.take(many) for name, column in columns.items() if column.shape}
            for name in _RANGES:
                if name in parts:
                    _check(path, name, parts[name], done)
            yield _chunk(path, parts, scalars, many, done)
            done += many


def _columns(path: Path, archive: zipfile.ZipFile, held: ExitStack) -> dict[str, _Column]:
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    for needed in ("format", "addresses"):
        if needed not in names:
            raise TraceFileError(path, f"array '{needed}' is missing")
    for name in names:
        if name not in _KINDS:
            raise TraceFileError(path, f"{name}: unknown array; a trace has {', '.join(_KINDS)}")
    columns = {name: _Column(path, name, held.enter_context(archive.open(f"{name}.npy"))) for name in names}
    stated = columns.pop("format")
    if stated.shape != () or int(stated.take(1)[0]) != FORMAT:
        raise TraceFileError(path, f"format: must be the number {FORMAT}")
    shape = columns["addresses"].shape
    if len(shape) != 1:
        raise TraceFileError(path, f"addresses: one dimension is needed, got {len(shape)}")
    for name, column in columns.items():
        if column.shape != shape and not (column.shape == () and name in _RANGES):
            raise TraceFileError(path, f"{name}: shape {column.shape}, but there are {shape[0]} addresses")
    return columns


def _scalar(path: Path, column: _Column) -> int:
    values = column.take(1)
    _check(path, column.name, values, -1)
    return int(values[0])


def _check(path: Path, name: str, values: Any, done: int) -> None:
    low, high = _RANGES[name]
    wrong = np.flatnonzero((values < low) | (values > high))
    if len(wrong):
        rule = f"{name} must lie between {low} and {high}, got {values[wrong[0]]}"
        raise TraceFileError(path, rule, record=done + int(wrong[0]) if done >= 0 else -1)


def _chunk(path: Path, parts: dict[str, Any], scalars: dict[str, int], count: int, done: int) -> TraceChunk:
    sizes = parts["sizes"].astype(np.int64) if "sizes" in parts else (
        np.full(count, scalars.get("sizes", DEFAULT_SIZE_BYTES), dtype=np.int64))  # fmt: skip
    addresses = parts["addresses"].astype(np.uint64)
    beyond = np.flatnonzero(addresses + (sizes - 1).astype(np.uint64) < addresses)
    if len(beyond):
        raise TraceFileError(path, "the access runs beyond the last address", record=done + int(beyond[0]))
    kinds = np.zeros(count, dtype=np.uint8)
    if "writes" in parts:
        kinds[parts["writes"]] = STORE
    if "fetches" in parts:
        if "writes" in parts and np.any(both := parts["fetches"] & parts["writes"]):
            raise TraceFileError(
                path, "an access cannot be store and fetch at once", record=done + int(np.argmax(both))
            )
        kinds[parts["fetches"]] = FETCH
    rest: dict[str, Any] = {}
    for name in ("cores", "streams"):
        if name in parts:
            rest[name] = parts[name].astype(np.int64)
        elif scalars.get(name):
            rest[name] = np.full(count, scalars[name], dtype=np.int64)
    return TraceChunk(addresses, sizes, kinds, **rest)


def write_npz(target: Any, chunks: Iterable[TraceChunk]) -> int:
    """Writes a trace to a path or binary file object and returns its accesses; arrays that hold only defaults are left out.

    Columns wait in temporary files, because an array's length stands before its values.
    """
    count, needed = 0, {"addresses"}
    with ExitStack() as held:
        spools = {name: held.enter_context(tempfile.TemporaryFile()) for name in _WRITTEN}
        for chunk in chunks:
            zeros = np.zeros(len(chunk), dtype=np.int64)
            cores = zeros if chunk.cores is None else chunk.cores
            streams = zeros if chunk.streams is None else chunk.streams
            values = {"addresses": chunk.addresses, "writes": chunk.kinds == STORE, "fetches": chunk.kinds == FETCH,
                      "sizes": chunk.sizes, "cores": cores, "streams": streams}  # fmt: skip
            needed |= {name for name in values if np.any(values[name] != _DEFAULTS.get(name, 0))}
            for name, dtype in _WRITTEN.items():
                spools[name].write(np.ascontiguousarray(values[name], dtype=dtype).tobytes())
            count += len(chunk)
        archive = held.enter_context(zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1))
        with archive.open("format.npy", "w") as member:
            npy.write_array(member, np.array(FORMAT, dtype=np.int64))
        for name, dtype in _WRITTEN.items():
            if name not in needed:
                continue
            spools[name].seek(0)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                head = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (count,)}
                npy.write_array_header_1_0(member, head)
                while data := spools[name].read(1 << 20):
                    member.write(data)
    return count
