"""Where accesses hit: miss shares per cache level from reuse distances, in closed form.

An access that comes back after D distinct bytes finds its line in a level of capacity C with a probability that depends
on x = D / C and on the kind of reuse: a cyclic sweep under LRU keeps everything (x < 1) or nothing (x > 1); uniformly
random reuse keeps the fitting share 1/x (independent reference model). A spec may give either curve as data, because real
last-level caches are hashed, partitioned and shared with others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.machine import Curve
from simulator.phases import Access
from simulator.resources import LevelResources, Resources

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


def cyclic_miss_share(x: Any, curve: Curve = (), ways: Any = 8.0) -> Any:
    """Share of a cyclic sweep's accesses that miss; x = reuse distance / capacity.

    Consecutive lines fill sets evenly: a little beyond the capacity some sets have one line too many, and miss all of them.
    """
    if curve:
        return _lookup(curve, x)
    return np.clip((x - 1.0) * (ways + 1.0) / np.maximum(x, 1.0), 0.0, 1.0)


SMOOTH = 5.0**0.5
"""Half width of `step` over its standard deviation."""


@dataclass(frozen=True)
class Levels:
    """All levels of some resources at once: a leading axis of levels, then points, then schedules (of length 1)."""

    capacity_bytes: Any
    ways: Any
    cyclic_curves: tuple[Curve, ...]

    @classmethod
    def of(cls, levels: Sequence[LevelResources]) -> Levels:
        """Of levels whose fields broadcast."""
        return cls(
            stacked([level.capacity_bytes for level in levels]),
            stacked([level.ways for level in levels]),
            tuple(level.cyclic_miss_curve for level in levels),
        )

    def step(self, distance: Any, deviation: Any) -> Any:
        """Miss share of accesses with nearly one distance, `deviation` being that of distance / capacity: 0 well below the
        capacity, 1 well above, smooth between; or what a level's curve says."""
        x = distance / self.capacity_bytes
        share = smooth_step(x / (1.0 + 0.5 / self.ways), deviation)  # a line has its own way beside W - 1 others
        for index, curve in enumerate(self.cyclic_curves):
            if curve:
                share[..., index, :, :] = _lookup(curve, x[..., index, :, :])
        return share


def abreast(*values: Any) -> Any:
    """Values along a new first axis, broadcast (as np.stack of np.broadcast_arrays, several times faster on small ones)."""
    shapes = {np.shape(value) for value in values}
    found = np.empty((len(values), *(shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes))))
    for index, value in enumerate(values):
        found[index] = value
    return found


def stacked(values: list[Any]) -> Any:
    """Values of the levels along a new first axis, then points and schedules (of length 1 where they do not depend on them)."""
    found = abreast(*values)
    return found.reshape(len(values), *(1,) * (3 - found.ndim), *found.shape[1:])


def smooth_step(x: Any, deviation: Any) -> Any:
    """A cubic from 0 to 1 around 1 with the slope and width of a normal distribution."""
    u = (x - 1.0) / (SMOOTH * deviation + 1e-3)
    u = np.minimum(np.maximum(u, -1.0), 1.0)
    share = u * u
    share *= -0.25
    share += 0.75
    share *= u
    share += 0.5
    return share


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
            return cyclic_miss_share(x, level.cyclic_miss_curve, level.ways)
        if cyclic == 0.0:
            return random_miss_share(x, level.random_miss_curve)
    return cyclic * cyclic_miss_share(x, level.cyclic_miss_curve, level.ways) + (1.0 - cyclic) * random_miss_share(
        x, level.random_miss_curve
    )


def miss_shares(access: Access, r: Resources) -> list[Any]:
    """Share of the access's bytes that go beyond each level, innermost first; never rises outwards."""
    shares: list[Any] = []
    for index, level in enumerate(r.levels):
        share = level_miss_share(access, level) if access.misses is None else access.misses[index]
        if shares:
            share = np.minimum(share, shares[-1])
        shares.append(np.rint(share / HIT_QUANTUM) * HIT_QUANTUM)
    return shares


def translation_misses(array_bytes: Any, first_reach_bytes: Any, second_reach_bytes: Any) -> tuple[Any, Any]:
    """Shares of random accesses to an array whose page is not in the first-level TLB, and in neither (pages are lines of a cache
    that reaches so many bytes, alike likely: all but what fits)."""
    array = np.maximum(array_bytes, 1.0)
    walks = np.maximum(0.0, 1.0 - second_reach_bytes / array)
    return np.maximum(walks, np.maximum(0.0, 1.0 - first_reach_bytes / array)), walks
