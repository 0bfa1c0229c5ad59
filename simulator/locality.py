"""Where accesses hit: miss shares per cache level from reuse distances, in closed form.

An access that comes back after D distinct bytes finds its line in a level of capacity C with a probability that depends
on x = D / C: a cyclic sweep under LRU keeps everything (x < 1) or nothing (x > 1). A spec may give the curve as data, because
real last-level caches are hashed, partitioned and shared with others. Accesses that come back at random bring their miss shares
(`lookup_reuse`, `randomrows`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from simulator.machine import Curve
from simulator.phases import Access
from simulator.resources import LevelResources, Resources

HIT_QUANTUM = 1e-9
"""Miss shares are rounded to this, so that they are the same on every host."""


@lru_cache(maxsize=64)
def _columns(curve: Curve) -> tuple[Any, Any]:
    return np.array([x for x, _ in curve]), np.array([y for _, y in curve])


def on_curve(curve: Curve, x: Any) -> Any:
    """The curve at x: linear between its points, level beyond them."""
    if isinstance(x, float):
        if x <= curve[0][0]:
            return curve[0][1]
        previous = curve[0]
        for point in curve[1:]:
            if x <= point[0]:
                return previous[1] + (x - previous[0]) / (point[0] - previous[0]) * (point[1] - previous[1])
            previous = point
        return previous[1]
    if len(curve) == 2:
        (x0, y0), (x1, y1) = curve
        return y0 + np.clip((x - x0) / (x1 - x0), 0.0, 1.0) * (y1 - y0)
    return np.interp(x, *_columns(curve))


@lru_cache(maxsize=64)
def by_distance(curve: Curve) -> Curve:
    """Miss share by bytes touched in between, out of the one by the size of what is drawn from at random.

    Of alike likely rows the bytes touched between two uses are spread evenly from none to all of them, so the share m(x) of all
    is the mean of the wanted one up to x: that is d(x m) / dx, here between every two points.
    """
    if not curve:
        return ()
    first, highest = curve[0]
    found = [(0.0, highest)] + ([(first, highest)] if first > 0.0 else [])
    for (x0, y0), (x1, y1) in zip(curve, curve[1:], strict=False):
        highest = max(highest, min((x1 * y1 - x0 * y0) / (x1 - x0), 1.0))
        found.append((0.5 * (x0 + x1), highest))
    last = curve[-1][0]
    return (*found, (2.0 * last, max(highest, min(2.0 * curve[-1][1], 1.0))))


def cyclic_miss_share(x: Any, curve: Curve = (), ways: Any = 8.0, added_ways: Any = 0.0) -> Any:
    """Share of a cyclic sweep's accesses that miss; x = reuse distance / capacity.

    Consecutive lines fill sets evenly: a little beyond the capacity some sets have one line too many, and miss all of them.
    Of the ways that the level inside adds, whole ones count: a line that lies there for a part of the round helps no set.
    """
    if curve:
        return on_curve(curve, x)
    if added_ways if isinstance(added_ways, float) else np.any(added_ways):
        whole = ways - added_ways + np.floor(added_ways + 1e-9)
        x, ways = x * ways / whole, whole
    if isinstance(x, float) and isinstance(ways, float):  # NumPy takes several times as long for one number
        return min(max((x - 1.0) * (ways + 1.0) / max(x, 1.0), 0.0), 1.0)
    return np.minimum(np.maximum((x - 1.0) * (ways + 1.0) / np.maximum(x, 1.0), 0.0), 1.0)


def level_miss_share(access: Access, level: LevelResources) -> Any:
    """Miss share in one level of an access that comes round after its reuse distance."""
    distance: Any
    if level.shared is True:
        distance = access.shared_distance_bytes
    elif level.shared is False:
        distance = access.core_distance_bytes
    else:
        distance = np.where(level.shared, access.shared_distance_bytes, access.core_distance_bytes)
    return cyclic_miss_share(distance / level.capacity_bytes, level.cyclic_miss_curve, level.ways, level.added_ways)


def miss_shares(access: Access, r: Resources) -> list[Any]:
    """Share of the access's bytes that go beyond each level, innermost first; never rises outwards."""
    shares: list[Any] = []
    for index, level in enumerate(r.levels):
        share = level_miss_share(access, level) if access.misses is None else access.misses[index]
        inner = shares[-1] if shares else 1.0
        if isinstance(share, float) and isinstance(inner, float):
            shares.append(round(min(share, inner) / HIT_QUANTUM) * HIT_QUANTUM)
        else:
            shares.append(np.rint(np.minimum(share, inner) / HIT_QUANTUM) * HIT_QUANTUM)
    return shares


def translation_misses(array_bytes: Any, first_reach_bytes: Any, second_reach_bytes: Any) -> tuple[Any, Any]:
    """Shares of random accesses to an array whose page is not in the first-level TLB, and in neither (pages are lines of a cache
    that reaches so many bytes, alike likely: all but what fits)."""
    array = np.maximum(array_bytes, 1.0)
    walks = np.maximum(0.0, 1.0 - second_reach_bytes / array)
    return np.maximum(walks, np.maximum(0.0, 1.0 - first_reach_bytes / array)), walks
