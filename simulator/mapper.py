"""The best schedule for a machine, out of a candidate set that does not depend on the machine.

The candidates are arrays inside one schedule, so a set is lowered and timed in one pass; the best is an argmin. Ties (to
1e-9 relative) go to the first candidate, so that every host chooses the same.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from simulator.schedule import (
    NAMED,
    SPLIT_COLUMNS,
    SPLIT_TABLES,
    SPLIT_TOKENS,
    UNBOUNDED,
    GemmSchedule,
    LookupSchedule,
)
from simulator.workload import GemmFfn, LookupFfn

TIE = 1e-9


@lru_cache(maxsize=4)
def gemm_candidates() -> GemmSchedule:
    """Token blocks x thread grids, on vectors and on tiles."""
    rows = [
        (block, splits, tiles)
        for tiles, splits, block in product((0.0, 1.0), (1.0, 4.0, 16.0, UNBOUNDED), (UNBOUNDED, 1024.0, 128.0))
    ]
    return GemmSchedule(*_columns(rows))


@lru_cache(maxsize=4)
def lookup_candidates() -> LookupSchedule:
    """V1 to V5 with their tiles, groups, stripes and prefetch distances; Hadamard folded except in the published V1."""
    rows: list[tuple[float, ...]] = [(UNBOUNDED, 1.0, UNBOUNDED, SPLIT_TOKENS, 0.0, 0.0)]
    for stripe, ahead in product((64.0, 128.0, 256.0), (0.0, 8192.0)):
        rows.append((1.0, UNBOUNDED, stripe, SPLIT_TOKENS, ahead, 1.0))
    for tile, group, ahead in product((16.0, 64.0, 256.0, 1024.0), (4.0, 16.0), (0.0, 8192.0)):
        rows.append((tile, group, 256.0, SPLIT_TOKENS, ahead, 1.0))
    for group, ahead in product((4.0, 16.0), (0.0, 8192.0)):
        rows.append((256.0, group, 128.0, SPLIT_TOKENS, ahead, 1.0))
    for split, (tile, group) in product((SPLIT_COLUMNS, SPLIT_TABLES), ((1.0, UNBOUNDED), (64.0, 16.0))):
        rows.append((tile, group, 256.0, split, 8192.0, 1.0))
    return LookupSchedule(*_columns(rows))


def _columns(rows: Any) -> Any:
    return np.array(rows, dtype=float).T.copy()


def candidates(operator: GemmFfn | LookupFfn) -> GemmSchedule | LookupSchedule:
    """The candidate set of an operator's form."""
    return gemm_candidates() if isinstance(operator, GemmFfn) else lookup_candidates()


def named_schedule(name: str, operator: GemmFfn | LookupFfn) -> LookupSchedule:
    """The schedule of a name in `simulator.schedule.NAMED`. Raises ValueError for another name or a GEMM."""
    if isinstance(operator, GemmFfn):
        raise ValueError(f"schedule {name}: named schedules are those of a look-up FFN, this workload is a GEMM")
    if name not in NAMED:
        raise ValueError(f"schedule {name}: one of {', '.join(NAMED)}")
    return NAMED[name]


def first_best(seconds: Any) -> Any:
    """Index of the first candidate (last axis) within a relative 1e-9 of the fastest."""
    return np.argmax(seconds <= np.min(seconds, axis=-1, keepdims=True) * (1.0 + TIE), axis=-1)
