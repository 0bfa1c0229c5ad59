"""How unevenly hot table rows load the slices of a cache and the channels of a memory.

Lines lie on slices, pieces of `dram_interleave_bytes` on channels, by an address hash: a row starts anywhere and goes on round
robin. Slices carry every read of a row, channels the rows that a call touches at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simulator.eventplaces import EventOptions
from simulator.resources import Resources
from simulator.workload import LookupFfn, row_bytes, row_probabilities

_GAMMA, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


def skewed(options: EventOptions, op: Any, batch: float, r: Resources) -> EventOptions:
    """`options` with the weights of slices and channels that the indices of `op` imply; unchanged where rows are alike, the
    operator has none or weights are given."""
    if (
        not isinstance(op, LookupFfn)
        or op.indices.kind == "uniform"
        or options.slice_weights
        or options.channel_weights
    ):
        return options
    shares = np.asarray(row_probabilities(op.indices, float(op.rows)), dtype=float)
    touched = -np.expm1(batch * np.log1p(-np.minimum(shares, 1.0 - 1e-12)))
    size, tables = float(row_bytes(op)), int(op.tables)
    return replace(
        options,
        slice_weights=_weights(shares, tables, int(r.last_level_slices), size / float(r.line_bytes)),
        channel_weights=_weights(touched, tables, int(r.memory_channels), size / float(r.dram_interleave_bytes)),
    )


def _weights(shares: Any, tables: int, places: int, pieces: float) -> tuple[float, ...]:
    """Share of each place when the rows of all tables start at hashed places and cover `pieces` in a row."""
    numbers = np.arange(tables * len(shares), dtype=np.uint64)
    start = _hash(numbers) % np.uint64(places)
    loads = np.bincount(start.astype(np.int64), np.tile(shares, tables), places)
    whole, rest = divmod(max(pieces, 1.0), 1.0)
    covered = sum(np.roll(loads, piece) for piece in range(int(whole) % places))
    covered = covered + rest * np.roll(loads, int(whole) % places) + int(whole) // places * loads.sum()
    return tuple(float(x) for x in covered / covered.sum())


def _hash(numbers: Any) -> Any:
    """Words without pattern (the first steps of SplitMix64), alike on every host."""
    words = (numbers + np.uint64(1)) * _GAMMA
    words = (words ^ (words >> np.uint64(30))) * _MIX
    return words ^ (words >> np.uint64(31))
