"""Miss curves of the second and third cache level as a calibration fits them: points at fixed shares of a level's size.

Real caches do not keep everything up to their size and nothing beyond: they are hashed, replaced by rules of their own, and
shared with neighbours. A curve says what share of a sweep that comes round misses, another one that of rows drawn at random.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simulator.machine import Machine
from simulator.resources import resolve

KNOTS = {
    "L2": (0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0),
    "L3": (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.5, 2.0, 4.0),
}
"""Sizes of what is read again, as shares of a level's own size. The ends are not fitted: nothing misses at the first one, and
what misses at the last one cannot be told from what a miss costs."""

_GUESS = {
    "L2": (0.0, 0.005, 0.02, 0.08, 0.15, 0.25, 0.45, 0.6, 0.75, 0.9, 1.0),
    "L3": (0.0, 0.001, 0.003, 0.01, 0.03, 0.06, 0.15, 0.45, 0.65, 1.0),
}
_LAST_RANDOM = {"L2": 1.0, "L3": 0.9}


def with_curves(machine: Machine) -> Machine:
    """The machine with a first guess of the curves; the whole last level, since they tell what neighbours take of it."""
    if machine.caches.L3 is not None:
        last = replace(machine.caches.L3, available_fraction=1.0)
        machine = replace(machine, caches=replace(machine.caches, L3=last))
    levels = resolve(machine, 1.0).levels
    for index, (name, knots) in enumerate(KNOTS.items(), 1):
        cache = getattr(machine.caches, name)
        if cache is None:
            continue
        capacity = float(np.asarray(levels[index].capacity_bytes))
        curve = tuple((k * cache.size_bytes / capacity, y) for k, y in zip(knots, _GUESS[name], strict=True))
        random = (*curve[:-1], (curve[-1][0], _LAST_RANDOM[name]))
        changes: dict[str, Any] = {name: replace(cache, cyclic_miss_curve=curve, random_miss_curve=random)}
        machine = replace(machine, caches=replace(machine.caches, **changes))
    return machine


def rising(machine: Machine) -> Machine:
    """Curves that never fall, each point at least what is before it; rows alike likely miss what cannot fit."""
    for name in KNOTS:
        cache = getattr(machine.caches, name)
        if cache is None or not cache.random_miss_curve:
            continue
        changes: dict[str, Any] = {}
        for field, bounded in (("cyclic_miss_curve", False), ("random_miss_curve", True)):
            points = getattr(cache, field)
            values = [max(y, 1.0 - 1.0 / x if bounded and x > 1.0 else 0.0) for x, y in points]
            highest = np.minimum(np.maximum.accumulate(values), 1.0)
            changes[field] = tuple((x, float(y)) for (x, _), y in zip(points, highest, strict=True))
        kept: dict[str, Any] = {name: replace(cache, **changes)}
        machine = replace(machine, caches=replace(machine.caches, **kept))
    return machine
