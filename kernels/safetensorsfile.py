"""Reads a .safetensors file with NumPy alone: a JSON header of names, dtypes, shapes and byte ranges, then the bytes.

NumPy has no bfloat16, so that the format's own package gives such tensors only to frameworks that have it; here they come
as float32, which holds every bfloat16 exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100_000_000
"""As the format's own readers allow."""


class SafetensorsError(ValueError):
    """The file breaks the format; the message names the file and, where there is one, the tensor."""


@dataclass(frozen=True)
class _Entry:
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile(Mapping[str, NDArray[Any]]):
    """Name -> array, read when asked for. The header is checked at once. Raises SafetensorsError, OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if size < LENGTH_BYTES or length > min(size - LENGTH_BYTES, MOST_HEADER_BYTES):
                raise SafetensorsError(f"{path}: is no .safetensors file, or its header is cut off")
            header = file.read(length)
        self._start = LENGTH_BYTES + length
        self._entries = _entries(path, header, size - self._start)

    def __getitem__(self, name: str) -> NDArray[Any]:
        entry = self._entries[name]
        if entry.dtype not in DTYPES:
            raise SafetensorsError(
                f"{self._path}: {name}: dtype {entry.dtype} cannot be read, only {', '.join(DTYPES)}"
            )
        dtype = np.dtype(DTYPES[entry.dtype])
        count = math.prod(entry.shape)
        array = np.fromfile(self._path, dtype, count, offset=self._start + entry.begin)
        if len(array) != count:
            raise SafetensorsError(f"{self._path}: {name}: the file has become shorter")
        array = array.reshape(entry.shape)
        if entry.dtype == "BF16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _entries(path: Path, header: bytes, size: int) -> dict[str, _Entry]:
    try:
        content = json.loads(header, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise SafetensorsError(f"{path}: the header is no JSON object with unique names: {error}") from None
    if not isinstance(content, dict):
        raise SafetensorsError(f"{path}: the header must be a JSON object, got {type(content).__name__}")
    content.pop("__metadata__", None)
    return {name: _entry(f"{path}: {name}", value, size) for name, value in content.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands there twice")
    return result


def _entry(place: str, value: Any, size: int) -> _Entry:
    if not isinstance(value, dict) or not isinstance(dtype := value.get("dtype"), str):
        raise SafetensorsError(f"{place}: needs dtype, shape and data_offsets")
    shape, offsets = value.get("shape"), value.get("data_offsets")
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise SafetensorsError(
            f"{place}: shape and data_offsets must be whole numbers from 0 on, the offsets two in order"
        )
    begin, end = offsets
    if end > size:
        raise SafetensorsError(f"{place}: ends at byte {end} of {size}: the file is cut off")
    wanted = math.prod(shape) * np.dtype(DTYPES.get(dtype, "u1")).itemsize
    if dtype in DTYPES and end - begin != wanted:
        raise SafetensorsError(f"{place}: {dtype} of shape {shape} takes {wanted} bytes, but {end - begin} are given")
    return _Entry(dtype, tuple(shape), begin, end)


def _counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
