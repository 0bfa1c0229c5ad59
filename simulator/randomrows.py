"""Where independently drawn rows of one array hit: what LRU caches one outside the other keep of them.

- Alike likely rows keep the fitting share (independent reference model).
- Skewed rows follow Che's approximation (Che, Tung and Wang 2002): a cache has what was drawn in the last n draws, n being those
  whose distinct rows fill it. A cache behind another sees that one's misses only, so what hits there does not stay recent
  here: of the rows that miss inside, those that did so at least once between the inner and the outer window are found
  (Martina, Garetto and Leonardi 2014).
- A victim cache gives a line away when it is found, and has its way free until a victim of the set comes: `holes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.locality import on_curve
from simulator.resources import LevelResources, Resources

_ROUNDS = 8
"""Of the fixed point between hits and free ways."""


def holes(found: Any, added_ways: Any) -> Any:
    """Free ways of a set of a victim cache.

    `found`: share of the inner level's misses that are found here, `added_ways`: lines of a set that lie in the inner level.
    Few of them: as many ways are free as lines were found, found x added_ways. Many: a queue that grows in the share `found`
    of turns and shrinks in all, found / (1 - found). The harmonic sum of both.
    """
    return found / (1.0 / np.maximum(added_ways, 1e-12) + 1.0 - found)


def _window(rates: NDArray[np.float64], rows: float) -> float:
    """Draws after which `rows` of the rows were drawn; infinite where they never are so many."""
    if rows >= np.count_nonzero(rates > 0.0):
        return float("inf")
    low, high = 0.0, max(rows, 1.0)
    while float(-np.expm1(-rates * high).sum()) < rows:
        low, high = high, 2.0 * high
    for _ in range(50):
        middle = 0.5 * (low + high)
        if float(-np.expm1(-rates * middle).sum()) < rows:
            low = middle
        else:
            high = middle
    return high


def _skewed(p: NDArray[np.float64], room: float, inner: NDArray[np.float64], last: float, filtered: bool) -> Any:
    """(miss probability of every row, window) of a cache with `room` rows behind one with `inner` and window `last`."""
    if not filtered:
        window = _window(p, room)
        return (np.zeros_like(p) if np.isinf(window) else np.exp(-p * window)), window
    rates = p * inner
    window = _window(rates, room)
    if np.isinf(window):
        return np.zeros_like(p), last
    return inner * np.exp(-rates * max(window - last, 0.0)), window


def skewed_misses(p: NDArray[np.float64], row_bytes: float, copies: Any, r: Resources) -> tuple[float, ...]:
    """Miss shares in every level of rows of `row_bytes` with probabilities `p`; `copies` of the array on a shared level."""
    inner, last = np.ones_like(p), 0.0
    found: list[float] = []
    for index, level in enumerate(r.levels):
        each = row_bytes * (float(np.asarray(copies)) if level.shared else 1.0)
        room, added = _of(level.capacity_bytes) / each, _of(level.added_ways)
        misses, window = _skewed(p, room, inner, last, index > 0 and added <= 0.0)
        if added > 0.0 and found[-1] > 0.0:
            share = 0.0
            for _ in range(_ROUNDS):
                left = room * (1.0 - float(holes(share, added)) / _of(level.ways))
                misses, window = _skewed(p, left, inner, last, False)
                share = 0.5 * (share + 1.0 - min(float(p @ misses) / found[-1], 1.0))
        inner, last = misses, last if np.isinf(window) else window
        found.append(float(p @ misses))
    return tuple(found)


def _of(value: Any) -> float:
    return float(np.asarray(value).ravel()[0])


def alike_misses(footprint_bytes: Any, copies: Any, r: Resources) -> tuple[Any, ...]:
    """Miss shares in every level of alike likely rows, or what a spec's `random_miss_curve` says of it; numbers may be arrays."""
    found: list[Any] = []
    for level in r.levels:
        size = footprint_bytes * np.where(level.shared, copies, 1.0)
        if level.random_miss_curve:
            found.append(on_curve(level.random_miss_curve, size / level.capacity_bytes))
        else:
            found.append(_alike(size, level, found[-1] if found else 1.0))
    return tuple(found)


def _alike(size: Any, level: LevelResources, inner: Any) -> Any:
    """Miss share in one level of `size` bytes of rows, `inner` of which miss the level inside."""
    share: Any = 0.0
    misses = 1.0 - np.minimum(level.capacity_bytes / size, 1.0)
    if not np.any(level.added_ways):
        return misses
    for _ in range(_ROUNDS):
        left = level.capacity_bytes * (1.0 - holes(share, level.added_ways) / level.ways)
        misses = 1.0 - np.minimum(left / size, 1.0)
        share = 0.5 * (share + 1.0 - np.minimum(misses / np.maximum(inner, 1e-12), 1.0))
    return misses
