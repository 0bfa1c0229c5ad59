"""Look-up tables as the gather kernels read them: column stripes, bf16 pairs, rotated int8 quadruples.

Columns are padded to whole stripes and laid out as [stripe][table][row][column in stripe], so that a group of tables over one
stripe is one run of memory. bf16: in every 32 columns, dword i holds column i below column 16 + i. int8: in every 64
columns, byte 4 g + p of table k holds column 16 ((p - k) mod 4) + g, so that blends alone bring four tables together
(gather/avx512_vnni.cpp); tables are padded to a multiple of four; a scale for a table, a group of its rows, or each row.
"""

from __future__ import annotations

import contextlib
import mmap
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kernels.packing import to_bf16

TableDtype = Literal["fp32", "bf16", "int8"]
Scales = Literal["table", "row"] | int
"""Rows of an int8 table that share a scale: all, one, or a power of two of them."""
ELEMENT: dict[str, Any] = {"fp32": np.float32, "bf16": np.uint16, "int8": np.int8}
STRIPE_STEP = 64
HUGE_PAGE_BYTES = 1 << 21


@dataclass(frozen=True)
class PackedTables:
    """What `struct Tables` (include/lookup.hpp) points at; `bias` is padded like the columns.

    scales: [tables, rows / scale_group] of int8 tables.
    """

    dtype: TableDtype
    data: NDArray[Any]
    scales: NDArray[np.float32] | None
    bias: NDArray[np.float32]
    tables: int
    stripe: int
    scale_group: int

    @property
    def padded_columns(self) -> int:
        """Columns in whole stripes."""
        return int(self.bias.shape[0])


def pack_tables(
    tables: NDArray[np.float32],
    bias: NDArray[np.float32],
    dtype: TableDtype,
    stripe: int,
    *,
    page_2m: bool = True,
    table_scales: Scales = "table",
) -> PackedTables:
    """`tables` [T, R, dout] in stripes of `stripe` columns (a multiple of 64). Raises ValueError."""
    if stripe < STRIPE_STEP or stripe % STRIPE_STEP:
        raise ValueError(f"a stripe is a multiple of {STRIPE_STEP} columns, got {stripe}")
    count, rows, columns = tables.shape
    group = scale_rows(table_scales, rows)
    padded = -(-columns // stripe) * stripe
    more = -count % 4 if dtype == "int8" else 0
    wide = np.zeros((count + more, rows, padded), dtype=np.float32)
    wide[:count, :, :columns] = tables
    wide_bias = np.zeros(padded, dtype=np.float32)
    wide_bias[:columns] = bias
    scales = None
    if dtype == "fp32":
        stored: NDArray[Any] = wide
    elif dtype == "bf16":
        stored = _pairs(wide)
    else:
        stored, scales = _quadruples(wide, group)
    striped = stored.reshape(count + more, rows, padded // stripe, stripe).transpose(2, 0, 1, 3)
    return PackedTables(dtype, aligned(striped, page_2m=page_2m), scales, wide_bias, count + more, stripe, group)


def scale_rows(table_scales: Scales, rows: int) -> int:
    """Rows a scale: of "table", "row" or a number of rows. Raises ValueError."""
    if table_scales == "table":
        return rows
    if table_scales == "row":
        return 1
    whole = isinstance(table_scales, int) and not isinstance(table_scales, bool)
    if not whole or not 1 <= table_scales <= rows or table_scales & (table_scales - 1):
        raise ValueError(
            f'table_scales: "table", "row" or a power of two up to the {rows} rows of a table, got {table_scales!r}'
        )
    return table_scales


def _pairs(wide: NDArray[np.float32]) -> NDArray[np.uint16]:
    """bf16 in pairs. The kernel reads the upper element with the lower one's bits behind it: round to the nearest such number."""
    blocks = wide.reshape(*wide.shape[:2], -1, 2, 16)
    low = to_bf16(blocks[..., 0, :])
    bits = np.ascontiguousarray(blocks[..., 1, :]).view(np.uint32).astype(np.int64)
    magnitude = (bits & 0x7FFFFFFF) - low + 0x8000
    high = (np.clip(magnitude, 0, 0x7F7FFFFF) >> 16) | ((bits >> 16) & 0x8000)
    pairs = np.stack([low, high.astype(np.uint16)], axis=-1)
    return pairs.reshape(wide.shape)


def _quadruples(wide: NDArray[np.float32], group: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    grouped = wide.reshape(len(wide), -1, group * wide.shape[2])
    largest = np.abs(grouped).max(axis=2)
    scales = np.where(largest > 0.0, largest / 127.0, 1.0).astype(np.float32)
    whole = np.rint(grouped / scales[:, :, None]).astype(np.int8).reshape(wide.shape)
    blocks = whole.reshape(*wide.shape[:2], -1, 4, 16)  # [..., j, g] is column 16 j + g
    stored = np.empty_like(blocks)
    for k in range(4):
        for p in range(4):
            stored[k::4, :, :, p, :] = blocks[k::4, :, :, (p - k) % 4, :]
    return stored.swapaxes(-1, -2).reshape(wide.shape), scales


def aligned(array: NDArray[Any], *, page_2m: bool = True) -> NDArray[Any]:
    """A contiguous copy on a 64-byte boundary; from 2 MiB on in memory of its own, in 2 MiB pages if Linux grants them."""
    if array.nbytes < HUGE_PAGE_BYTES:
        raw = np.empty(array.nbytes + 64, dtype=np.uint8)
        start = -raw.ctypes.data % 64
    else:
        memory = mmap.mmap(-1, array.nbytes + HUGE_PAGE_BYTES)
        advice = getattr(mmap, "MADV_HUGEPAGE" if page_2m else "MADV_NOHUGEPAGE", None)
        if advice is not None:
            with contextlib.suppress(OSError):  # a kernel without huge pages: ordinary ones serve
                memory.madvise(advice)
        raw = np.frombuffer(memory, dtype=np.uint8)
        start = -raw.ctypes.data % HUGE_PAGE_BYTES
    result = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    result[...] = array
    return result
