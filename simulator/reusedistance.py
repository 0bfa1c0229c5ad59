# mypy: disable-error-code="no-untyped-def"
"""Reuse distances of lines in bounded memory: exact up to MAX_LINES distinct lines, sampled beyond.

The distance of an access is the number of other lines touched since the last access to its line (Mattson et al. 1970), so a
fully associative LRU cache of C lines has it exactly if the distance is below C. Marks of last accesses lie in a Fenwick tree
over time (Bennett and Kruskal 1975); time is renumbered when it runs out. When more lines are alive than fit, half of them,
chosen by a hash, are dropped and no longer watched; from then on a watched access stands for two (four, ...) and so does
every line in a distance: fixed-size SHARDS with its correction of the first bin (Waldspurger et al., FAST 2015). A sample does
not tell apart distances below some tens of lines over the sampled share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

MAX_LINES = 1 << 20
BINS = 64
"""Bin 0: distance 0; bin k: 2**(k-1) to 2**k - 1."""

_NOW, _ALIVE, _HALVINGS, _LAST, _TOTAL, _FIRST, _WEIGHT = range(7)
_FIELDS = 7
_HASH_BITS = 40


@njit(cache=True, nogil=True)
def _mixed(line):
    """The finalizer of SplitMix64."""
    z = np.uint64(line) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def _watched(mixed, halvings):
    """Whether a line is among the share 2**-halvings that is watched."""
    return mixed >> np.uint64(64 - _HASH_BITS) < np.uint64(1) << np.uint64(_HASH_BITS - halvings)


@njit(cache=True, nogil=True)
def _slot(lines, mixed, line):
    """Where a line is, or would be, in the open-addressed table."""
    mask = len(lines) - 1
    slot = np.int64(mixed & np.uint64(mask))
    while lines[slot] != -1 and lines[slot] != line:
        slot = slot + 1 & mask
    return slot


@njit(cache=True, nogil=True)
def _add(tree, time, value):
    k = time + 1
    while k < len(tree):
        tree[k] += value
        k += k & -k


@njit(cache=True, nogil=True)
def _up_to(tree, time):
    """Marks at times 0 to `time`."""
    k, total = time + 1, 0
    while k > 0:
        total += tree[k]
        k -= k & -k
    return total


@njit(cache=True, nogil=True)
def _renumber(lines, times, tree, order, state):
    """Packs the times of last accesses; drops what is no longer watched."""
    order[: state[_NOW]] = -1
    for slot in range(len(lines)):
        if lines[slot] != -1:
            order[times[slot]] = lines[slot]
            lines[slot] = -1
    n = 0
    for time in range(state[_NOW]):
        line = order[time]
        if line == -1 or not _watched(_mixed(line), state[_HALVINGS]):
            continue
        slot = _slot(lines, _mixed(line), line)
        lines[slot], times[slot] = line, n
        n += 1
    tree[:] = 0
    for k in range(1, len(tree)):
        tree[k] += 1 if k <= n else 0
        if k + (k & -k) < len(tree):
            tree[k + (k & -k)] += tree[k]
    state[_NOW] = state[_ALIVE] = n


@njit(cache=True, nogil=True)
def _walk(first, final, lines, times, tree, order, state, bins):
    """All lines of all accesses."""
    limit = (len(tree) - 1) // 2
    for i in range(len(first)):
        for line in range(first[i], final[i] + 1):
            state[_TOTAL] += 1
            mixed = _mixed(line)
            if not _watched(mixed, state[_HALVINGS]):
                state[_LAST] = -1
                continue
            weight = np.int64(1) << state[_HALVINGS]
            state[_WEIGHT] += weight
            if line == state[_LAST]:
                bins[0] += weight
                continue
            state[_LAST] = line
            slot = _slot(lines, mixed, line)
            now = state[_NOW]
            if lines[slot] == line:
                distance = (state[_ALIVE] - _up_to(tree, times[slot])) << state[_HALVINGS]
                k = 0
                while distance >> k:
                    k += 1
                bins[k] += weight
                _add(tree, times[slot], -1)
            else:
                lines[slot] = line
                state[_ALIVE] += 1
                state[_FIRST] += weight
            times[slot] = now
            _add(tree, now, 1)
            state[_NOW] = now + 1
            while state[_ALIVE] > limit:
                state[_HALVINGS] += 1
                _renumber(lines, times, tree, order, state)
            if state[_NOW] == len(tree) - 1:
                _renumber(lines, times, tree, order, state)


@dataclass(frozen=True)
class ReuseHistogram:
    """`counts[k]`: accesses of bin k; `first_touches`: accesses that had none before. Exact if `sampled_share` is 1."""

    accesses: int
    first_touches: int
    lines: int
    sampled_share: float
    counts: NDArray[np.int64]

    def lru_hits(self, lines: int) -> int:
        """Hits of a fully associative LRU cache of `lines` lines, a power of two."""
        if lines < 1 or lines & (lines - 1):
            raise ValueError(f"lines must be a power of two, got {lines}")
        return int(self.counts[: lines.bit_length()].sum())


class ReuseDistances:
    """Watches line accesses. `max_lines` bounds the memory: about 60 bytes a line."""

    def __init__(self, max_lines: int = MAX_LINES) -> None:
        times = 2 * max_lines
        slots = 1 << (2 * max_lines).bit_length()
        self._lines, self._times = np.full(slots, -1, dtype=np.int64), np.zeros(slots, dtype=np.int64)
        self._tree, self._order = np.zeros(times + 1, dtype=np.int32), np.zeros(times, dtype=np.int64)
        self._state, self._bins = np.zeros(_FIELDS, dtype=np.int64), np.zeros(BINS, dtype=np.int64)
        self._state[_LAST] = -1

    def feed(self, first: Any, final: Any) -> None:
        """Accesses to lines `first` to `final`, one pair an access, int64."""
        _walk(first, final, self._lines, self._times, self._tree, self._order, self._state, self._bins)

    def histogram(self) -> ReuseHistogram:
        """What was found so far."""
        counts, state = self._bins.copy(), self._state
        counts[0] = max(counts[0] + state[_TOTAL] - state[_WEIGHT], 0)
        scale = 1 << int(state[_HALVINGS])
        return ReuseHistogram(int(state[_TOTAL]), int(state[_FIRST]), int(state[_ALIVE]) * scale, 1.0 / scale, counts)
