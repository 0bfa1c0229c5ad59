# mypy: disable-error-code="no-untyped-def"
"""Miss shares of a look-up gather at every cache level, compiled: for each row of parameters, what a core's own caches and what
shared ones see (`gathernest`), judged reuse by reuse (`rowkernel`, `nearkernel`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from simulator import gathernest, nearkernel, rowkernel, setkernel
from simulator.compiled import digest
from simulator.gathernest import (
    ADDED,
    CAPACITY,
    DECAY,
    LEVEL_FIELDS,
    LEVELS,
    LOOPS,
    N_INNER,
    N_NEAR,
    N_OUTER,
    N_TOKENS,
    N_TOKENWISE,
    ROWS,
    SHARED,
    SHARERS,
    THREADS,
    V_INNER,
    V_TOKENS,
    VIEW,
    WAYS,
    loops,
    view,
)
from simulator.nearkernel import CODES, SUMS, code_hits, sizes_of, sum_hits
from simulator.rowkernel import ARRAYS, C_ADDED, C_CAPACITY, C_INDEX, C_WAYS, CACHE, REUSE, describe, distinct, row_hits

CLASSES = 4
"""Ages of a row, in order: touched before within a pass, in a call by its core, first in a call by its core but brought by a
sibling, first in a call."""

MISSES = CLASSES + 2
"""Columns of miss shares: rows by age, sums, codes."""


@njit(nogil=True, _nrt=False, error_model="numpy")
def _views(p, n, v, u, h, caches, curves, points, reuse, arrays, hits, scratch, sizes, marks, misses,
           distances):  # fmt: skip
    """Both views of one row of parameters."""
    rows, decay, count = p[ROWS], p[DECAY], len(misses)
    first, ages = scratch[0], scratch[1]  # shares of accesses that are a core's first to a row in a pass, an outer tile, a call
    for k, tokens in enumerate((n[N_INNER], n[N_OUTER], n[N_TOKENS])):
        first[k] = min(distinct(tokens, rows, decay, u, h) / tokens, 1.0)
    together = first[2]
    for shared in (False, True):
        used = 0
        for k in range(count):
            if (p[LEVELS + LEVEL_FIELDS * k + SHARED] > 0.0) == shared:
                caches[used, C_CAPACITY] = p[LEVELS + LEVEL_FIELDS * k + CAPACITY]
                caches[used, C_WAYS] = p[LEVELS + LEVEL_FIELDS * k + WAYS]
                caches[used, C_ADDED] = p[LEVELS + LEVEL_FIELDS * k + ADDED]
                caches[used, C_INDEX] = k
                used += 1
        if not used:
            continue
        cores = n[N_NEAR] if shared else 1.0
        encoders = 1.0 if not shared else cores if n[N_TOKENWISE] > 0.0 else min(p[SHARERS], p[THREADS])
        view(p, n, cores, encoders, v)
        mine = caches[:used]
        describe(v, rows, mine)
        hits[:] = 0.0
        row_hits(p, n, v, rows, decay, u, h, mine, curves, points, reuse, arrays, hits)
        sum_hits(p, n, v, decay, u, h, shared, mine, curves, points, reuse, arrays, sizes, hits, distances)
        code_hits(p, n, v, decay, u, h, shared, mine, curves, points, reuse, arrays, sizes, hits, distances)
        tile = min(distinct(v[V_INNER], rows, decay, u, h) / v[V_INNER], 1.0)
        call = min(distinct(v[V_TOKENS], rows, decay, u, h) / v[V_TOKENS], 1.0)
        if shared:
            together = min(call, together)
        ages[0], ages[1], ages[2] = 1.0 - tile, max(tile - call, 0.0), call
        for k in range(used):
            level = int(mine[k, C_INDEX])
            _lay(first, together, ages, hits[level], misses[level])
            misses[level, CLASSES] = min(max(1.0 - hits[level, SUMS], 0.0), 1.0)
            misses[level, CLASSES + 1] = min(max(1.0 - hits[level, CODES], 0.0), 1.0)
    marks[0], marks[1], marks[2], marks[3] = 1.0 - first[0], first[0] - first[2], first[2] - together, together
    for k in range(count):  # what a sibling brought is new to a core's own caches
        if p[LEVELS + LEVEL_FIELDS * k + SHARED] <= 0.0:
            misses[k, 2] = misses[k, 3]


@njit(nogil=True, _nrt=False, error_model="numpy")
def _lay(first, together, ages, hits, misses):
    """Miss shares of rows by a core's ages out of hits by the ages of a view: the oldest of the one are the oldest of the other."""
    misses[:CLASSES] = 0.0
    low = 0.0
    for c in range(CLASSES):
        high = 1.0 - first[0] if c == 0 else 1.0 - first[2] if c == 1 else 1.0 - together if c == 2 else 1.0
        size = max(high - low, 0.0)
        start, last = 0.0, 0.0
        for k in range(3):
            last = min(max(1.0 - hits[k] / ages[k], 0.0), 1.0) if ages[k] > 1e-12 else last
            common = min(start + ages[k], high) - max(start, low)
            misses[c] += max(common, 0.0) * last
            start += ages[k]
        misses[c] = misses[c] / size if size > 1e-12 else last
        low = high


@njit(nogil=True, _nrt=False, error_model="numpy")
def _alike(a, b):
    for k in range(len(a)):
        if a[k] != b[k]:
            return False
    return True


@njit(nogil=True, _nrt=False, error_model="numpy")
def _copy(a, b):
    for k in range(a.shape[0]):
        for j in range(a.shape[1]):
            b[k, j] = a[k, j]


def scratch_of(levels: int) -> tuple[Any, ...]:
    """Room in which `gather_misses` works: nothing is allocated in compiled code."""
    return (np.empty(LOOPS), np.empty(VIEW), np.empty(REUSE), np.empty((ARRAYS, 2)), np.empty((levels, CACHE)),
            np.empty((levels, CODES + 1)), np.empty((2, 3)))  # fmt: skip


def _gather_misses(sources: str) -> Any:
    """The entry; `sources`: see `compiled`."""

    @njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
    def gather_misses(parameters, u, h, curves, points, sizes, marks, misses, distances, n, v, reuse, arrays, caches,
                      hits, scratch):  # fmt: skip
        """Fills, for each row of `parameters`, sizes [SIZES], marks [CLASSES] (shares of row accesses by age), misses [levels, MISSES] and
        distances [levels, 2] (of sums and codes, bytes). u, h: U(n) and its slope (`rowkernel.distinct`); curves [levels, points, 2]:
        the first `points` of each level are taken instead of sets. The rest: `scratch_of`."""
        if len(sources) == 0:
            return
        for row in range(len(parameters)):
            p = parameters[row]
            if row and _alike(p, parameters[row - 1]):
                _copy(sizes[row - 1 : row], sizes[row : row + 1])
                _copy(marks[row - 1 : row], marks[row : row + 1])
                _copy(misses[row - 1], misses[row])
                _copy(distances[row - 1], distances[row])
                continue
            loops(p, n)
            sizes_of(p, n, sizes[row])
            distances[row] = 0.0
            _views(p, n, v, u, h, caches, curves, points, reuse, arrays, hits, scratch, sizes[row], marks[row], misses[row],
                   distances[row])  # fmt: skip

    return gather_misses


gather_misses = _gather_misses(digest(setkernel, gathernest, rowkernel, nearkernel))
