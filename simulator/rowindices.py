"""Which table rows the tokens of one call read: raw PCG64 words through a bounded inverse CDF, alike on every host.

A word's upper 32 bits u name the row i with threshold[i - 1] <= u < threshold[i], where threshold[i] is the cumulative share
of rows 0..i in units of 2^-32 and the last one is 2^32: no row beyond the table can come out, for any skew. (NumPy's own
Generator.zipf is unbounded and refuses exponents of at most 1.) Of equal shares the thresholds are exact for a power of two rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulator.workload import IndexDistribution, LookupFfn, row_probabilities

_ROWS_STREAM, _ORDER_STREAM = 1, 2
_SLAB = 1 << 20


def thresholds(distribution: IndexDistribution, rows: int) -> NDArray[np.uint64]:
    """Upper ends of the rows' shares of [0, 2^32)."""
    shares = np.cumsum(row_probabilities(distribution, float(rows)))
    ends = np.rint(shares * 2.0**32).astype(np.uint64)
    ends[-1] = np.uint64(1 << 32)
    return ends


@njit(cache=True, nogil=True)
def rows_of(words: Any, ends: Any, first: int, tables: int, factors: Any, offsets: Any, out: Any) -> None:
    """Row of each word, the i-th being that of table (first + i) mod tables: rank -> (factor rank + offset) mod rows."""
    rows, flat = len(ends), out.ravel()
    uniform = rows & (rows - 1) == 0
    for i in range(1, rows):
        uniform = uniform and ends[i] - ends[i - 1] == ends[0]
    for i in range(len(words)):
        word = words[i] >> np.uint64(32)
        if uniform:
            rank: Any = np.int64((word * np.uint64(rows)) >> np.uint64(32))
        else:
            low, high = 0, rows - 1
            while low < high:
                middle = (low + high) >> 1
                if word < ends[middle]:
                    high = middle
                else:
                    low = middle + 1
            rank = low
        table = (first + i) % tables
        flat[first + i] = (rank * factors[table] + offsets[table]) % rows


def draw_rows(op: LookupFfn, tokens: int, seed: int, layer: int = 0, call: int = 0) -> NDArray[np.uint32]:
    """[tokens, tables] rows of one call of one layer.

    Zipf gives ranks; which row has which rank differs from table to table (an odd factor and an offset, modulo the rows),
    as it does in trained layers: rows of the same number in all tables would fall into the same cache sets. A histogram
    names the rows themselves.
    """
    tables, rows = int(op.tables), int(op.rows)
    ends = thresholds(op.indices, rows)
    factors, offsets = np.ones(tables, dtype=np.int64), np.zeros(tables, dtype=np.int64)
    if op.indices.kind == "zipf":
        order = np.random.PCG64([seed, layer, _ORDER_STREAM]).random_raw(2 * tables).astype(np.uint64) >> np.uint64(40)
        factors = order[:tables].astype(np.int64) * 2 + 1  # prime to the rows, a power of two
        offsets = order[tables:].astype(np.int64) % rows
    source = np.random.PCG64([seed, layer, call, _ROWS_STREAM])
    out = np.empty((tokens, tables), dtype=np.uint32)
    for first in range(0, tokens * tables, _SLAB):
        words = source.random_raw(min(_SLAB, tokens * tables - first)).astype(np.uint64, copy=False)
        rows_of(words, ends, first, tables, factors, offsets, out)
    return out


def recorded_rows(op: LookupFfn, recorded: Any, tokens: int, layer: int = 0, call: int = 0) -> NDArray[np.uint32]:
    """[tokens, tables] rows out of a recording: [tokens, tables] or [layers, tokens, tables], taken cyclically.

    Raises ValueError where the recording does not fit the operator.
    """
    array = np.asarray(recorded)
    if array.dtype.kind not in "ui" or array.ndim not in (2, 3) or array.shape[-1] != int(op.tables) or not array.size:
        raise ValueError(
            f"recorded rows must be whole numbers [tokens, {op.tables:g} tables] or [layers, tokens, {op.tables:g} tables],"
            f" not {array.dtype} {list(array.shape)}"
        )
    of_layer = array[layer % len(array)] if array.ndim == 3 else array
    chosen = of_layer[(np.arange(tokens) + call * tokens) % len(of_layer)]
    if chosen.min() < 0 or chosen.max() >= op.rows:
        raise ValueError(f"recorded rows must be from 0 to {op.rows - 1:g}, found {chosen.min()} to {chosen.max()}")
    return chosen.astype(np.uint32)
