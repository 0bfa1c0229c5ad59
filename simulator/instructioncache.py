# mypy: disable-error-code="no-untyped-def,assignment"
"""An LRU instruction cache beside the first level: fetches that hit it go no further, its misses begin at the second level.

One cache a core, read only. What the levels outside evict stays in it (it is inclusive of nothing), and stores do not reach it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from simulator.cachegeometry import CacheGeometry
from simulator.tracechunk import FETCH


@njit(cache=True, nogil=True)
def _look_up(tags, sets, core, line):
    """Whether a core's cache has a line, which it has afterwards, in front of its set."""
    ways = tags.shape[2]
    row = tags[core, line % sets]
    way = 0
    while way < ways - 1 and row[way] != line:
        way += 1
    found = row[way] == line
    for k in range(way, 0, -1):
        row[k] = row[k - 1]
    row[0] = line
    return found


@njit(cache=True, nogil=True)
def _keep(tags, last, shift, addresses, sizes, kinds, cores, kept, counts):
    """Indices of what goes on into `kept`, a fetch over several lines there cut to those from the first to
    the last that it missed; returns how many."""
    n, sets = 0, tags.shape[1]
    for i in range(len(addresses)):
        if kinds[i] != FETCH:
            kept[n] = i
            n += 1
            continue
        core = cores[i if len(cores) > 1 else 0]
        first = np.int64(addresses[i] >> shift)
        final = np.int64((addresses[i] + np.uint64(sizes[i] - 1)) >> shift)
        counts[core, 0] += final - first + 1
        if first == final and last[core] == first:
            continue
        low = high = -1
        for line in range(first, final + 1):
            if not _look_up(tags, sets, core, line):
                counts[core, 1] += 1
                high = line
                if low < 0:
                    low = line
        last[core] = final
        if low >= 0:
            counts[core, 2] += 1
            kept[n] = i
            n += 1
            if final > first:
                addresses[i], sizes[i] = np.uint64(low) << shift, (high - low + 1) << np.int64(shift)
    return n


class InstructionCache:
    """Filters fetches out of chunks of accesses."""

    def __init__(self, geometry: CacheGeometry, cores: int = 1) -> None:
        if geometry.policy != "lru" or geometry.slices != 1:
            raise ValueError("an instruction cache is LRU and has one slice")
        self.geometry = geometry
        self._tags = np.full((cores, geometry.sets, geometry.ways), -1, dtype=np.int64)
        self._last = np.full(cores, -1, dtype=np.int64)
        self._shift = np.uint64(geometry.line_bytes.bit_length() - 1)
        self.reset()

    def reset(self) -> None:
        """Counts from zero; the contents stay."""
        self._counts = np.zeros((len(self._tags), 3), dtype=np.int64)

    @property
    def accesses(self) -> int:
        """Lines that were fetched."""
        return int(self._counts[:, 0].sum())

    @property
    def misses(self) -> int:
        """Lines that it did not have."""
        return int(self._counts[:, 1].sum())

    @property
    def missed_fetches(self) -> int:
        """Fetches of which it did not have all lines."""
        return int(self._counts[:, 2].sum())

    def filter(self, addresses: Any, sizes: Any, kinds: Any, cores: Any) -> tuple[Any, Any, Any]:
        """(indices of the accesses that go on, all addresses, all sizes); fetches that go on are cut to what missed."""
        addresses, sizes = addresses.copy(), sizes.copy()
        kept = np.empty(len(addresses), dtype=np.int64)
        where = np.atleast_1d(np.asarray(cores, dtype=np.int64))
        count = _keep(self._tags, self._last, self._shift, addresses, sizes, kinds, where, kept, self._counts)
        return kept[:count], addresses, sizes
