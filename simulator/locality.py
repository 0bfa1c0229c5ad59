"""Where accesses hit: miss shares per cache level from reuse distances, in closed form.

An access that comes back after D distinct bytes finds its line in a level of capacity C with a probability that depends
on x = D / C and on the kind of reuse: a cyclic sweep under LRU keeps everything (x < 1) or nothing (x > 1); uniformly
random reuse keeps the fitting share 1/x (independent reference model). A spec may give either curve as data, because real
last-level caches are hashed, partitioned and shared with others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.machine import Curve
from simulator.phases import Access
from simulator.resources import LevelResources, Resources

LRU_RAMP = ((0.9, 0.0), (1.1, 1.0))
"""Set-associative LRU loses a cyclic sweep over a small range around the capacity, not at one point."""

HIT_QUANTUM = 1e-9
"""Miss shares are rounded to this, so that they are the same on every host."""


def _lookup(curve: Curve, x: Any) -> Any:
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
    return np.interp(x, [p[0] for p in curve], [p[1] for p in curve])


def cyclic_miss_share(x: Any, curve: Curve = ()) -> Any:
    """Share of a cyclic sweep's accesses that miss; x = reuse distance / capacity."""
    return _lookup(curve or LRU_RAMP, x)


def random_miss_share(x: Any, curve: Curve = ()) -> Any:
    """Share of uniformly random re-accesses that miss; x = footprint / capacity."""
    if curve:
        return _lookup(curve, x)
    return np.maximum(1.0 - 1.0 / np.maximum(x, 1.0), 0.0)


def level_miss_share(access: Access, level: LevelResources) -> Any:
    """Miss share of `access` in one level."""
    distance: Any
    if level.shared is True:
        distance = access.shared_distance_bytes
    elif level.shared is False:
        distance = access.core_distance_bytes
    else:
        distance = np.where(level.shared, access.shared_distance_bytes, access.core_distance_bytes)
    x = distance / level.capacity_bytes
    cyclic = access.cyclic
    if isinstance(cyclic, float):
        if cyclic == 1.0:
            return cyclic_miss_share(x, level.cyclic_miss_curve)
        if cyclic == 0.0:
            return random_miss_share(x, level.random_miss_curve)
    return cyclic * cyclic_miss_share(x, level.cyclic_miss_curve) + (1.0 - cyclic) * random_miss_share(
        x, level.random_miss_curve
    )


def miss_shares(access: Access, r: Resources) -> list[Any]:
    """Share of the access's bytes that go beyond each level, innermost first; never rises outwards."""
    shares: list[Any] = []
    for level in r.levels:
        share = level_miss_share(access, level)
        if shares:
            share = np.minimum(share, shares[-1])
        shares.append(np.rint(share / HIT_QUANTUM) * HIT_QUANTUM)
    return shares
