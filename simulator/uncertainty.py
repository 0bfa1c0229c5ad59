"""Draws of a machine within the confidence of its values.

Each uncertain value is multiplied by exp(sigma z), z standard normal, with sigma such that 90 % of the draws lie within
the value's +- interval. Shapes that a datasheet fixes exactly (sizes, counts, ways) are not drawn.
"""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from simulator.machine import Duration, Machine, Provenance, Rate
from simulator.schema import schema
from simulator.units import Dimension

SEED = 20260723
_Z90 = 1.6448536269514722
_DRAWN = {
    Dimension.CYCLES,
    Dimension.TIME,
    Dimension.FREQUENCY,
    Dimension.BYTES_PER_CYCLE,
    Dimension.BANDWIDTH,
    Dimension.FRACTION,
}
_DRAWN_COUNTS = {
    "alu_per_cycle",
    "convert_per_cycle",
    "dot_bf16_per_cycle",
    "vector_window_uops",
    "demand_lines_in_flight",
    "stream_lines_in_flight",
    "row_lines_in_flight",
    "software_lines_in_flight",
}
"""Counts that are measured or guessed rather than designed facts."""


def normal_draws(count: int, stream: int) -> Any:
    """`count` standard normals from raw PCG64 words (Box-Muller), alike on every host."""
    words = np.random.PCG64([SEED, stream]).random_raw(2 * count).astype(np.uint64)
    uniform = ((words >> np.uint64(11)).astype(float) + 0.5) / 2.0**53
    return np.sqrt(-2.0 * np.log(uniform[:count])) * np.cos(2.0 * math.pi * uniform[count:])


def _scaled_curve(name: str, curve: Any, scale: Any) -> Any:
    """`curve` times `scale`; an efficiency stays below 1, and of a multiple of the idle latency only the excess is drawn."""
    if name == "loaded_latency":
        return tuple((x, 1.0 + (y - 1.0) * scale) for x, y in curve)
    top = 1.0 if "efficiency" in name else np.inf
    return tuple((x, np.minimum(y * scale, top)) for x, y in curve)


def perturbed(machine: Machine, samples: int) -> Machine:
    """`machine` with every uncertain number as an array of `samples` draws."""
    counter = iter(range(10_000))

    def factor(path: str) -> Any:
        given: Provenance | None = machine.provenance.get(path)
        index = next(counter)
        if given is None or given.interval <= 0.0:
            return None
        return np.exp(math.log1p(given.interval) / _Z90 * normal_draws(samples, index))

    def walk(value: Any, path: str) -> Any:
        changes: dict[str, Any] = {}
        for key, item in schema(type(value)).items():
            unit = item.unit
            inner, where = getattr(value, item.name), f"{path}.{key}" if path else key
            if isinstance(inner, (Duration, Rate)):
                scale = factor(where)
                if scale is not None:
                    changes[item.name] = type(inner)(*(getattr(inner, f.name) * scale for f in fields(inner)))
            elif is_dataclass(inner) and not isinstance(inner, type):
                changes[item.name] = walk(inner, where)
            elif isinstance(inner, tuple) and inner and isinstance(inner[0], tuple) and "miss" not in item.name:
                scale = factor(where)
                if scale is not None:
                    changes[item.name] = _scaled_curve(item.name, inner, scale)
            elif isinstance(inner, float) and unit and (unit.dimension in _DRAWN or item.name in _DRAWN_COUNTS):
                scale = factor(where)
                if scale is not None:
                    drawn = inner * scale
                    if item.name == "read_bandwidth_bytes_per_second":
                        drawn = np.minimum(drawn, machine.memory.bandwidth_bytes_per_second)
                    changes[item.name] = np.minimum(drawn, 1.0) if unit.dimension is Dimension.FRACTION else drawn
        return replace(value, **changes)

    drawn_machine: Machine = walk(machine, "")
    return drawn_machine
