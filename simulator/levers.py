"""What would change an answer: one knob of the machine at a time, the mapper free to choose again."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from simulator.machine import Duration, Machine, Rate
from simulator.predict import predict_points
from simulator.workload import Workload

FACTORS = tuple(2.0 ** (i / 4.0) for i in range(-12, 13))
"""1/8 to 8 in steps of a fourth of an octave."""

KNOBS = (
    ("L2 size", ("caches.L2.size_bytes",)),
    ("L2 bandwidth", ("caches.L2.bandwidth",)),
    ("L3 size", ("caches.L3.size_bytes",)),
    ("L3 bandwidth", ("caches.L3.bandwidth", "caches.L3.shared_bandwidth")),
    ("memory bandwidth", (
        "memory.bandwidth_bytes_per_second",
        "memory.read_bandwidth_bytes_per_second",
        "memory.link_bandwidth_bytes_per_second",
    )),
    ("memory bandwidth of one core", ("memory.core_bandwidth_bytes_per_second", "prefetcher.stream_lines_in_flight")),
    ("misses in flight", (
        "core.demand_lines_in_flight",
        "core.vector_window_uops",
        "prefetcher.row_lines_in_flight",
        "prefetcher.software_lines_in_flight",
    )),
    ("memory latency", ("memory.latency_seconds",)),
    ("multiply-adds per cycle", (
        "core.vector.fma_per_cycle",
        "core.vector.dot_bf16_per_cycle",
        "core.vector.dot_int16_per_cycle",
        "core.vector.dot_int8_per_cycle",
    )),
    ("exponentials per cycle", ("core.vector.exp_cycles_per_vector",)),
)  # fmt: skip
"""Name -> the fields that are scaled together. Latencies and cycle costs are better when smaller."""


@dataclass(frozen=True)
class Lever:
    """Speed-up (GEMM time / look-up time) with one knob at half and at twice its value, and the factor that flips the winner.

    `flips_at`: the factor nearest to 1 at which the winner changes, None if none within 1/8 to 8 does.
    """

    knob: str
    speedup_at_half: float
    speedup_at_double: float
    flips_at: float | None


def scaled(machine: Machine, paths: tuple[str, ...], factor: Any) -> Machine:
    """`machine` with the fields at `paths` multiplied by `factor` (a number or an array of points)."""
    for path in paths:
        machine = _scale(machine, path.split("."), factor)
    return machine


def _scale(node: Any, path: list[str], factor: Any) -> Any:
    name, rest = path[0], path[1:]
    value = getattr(node, name)
    if value is None:
        return node
    if rest:
        return replace(node, **{name: _scale(value, rest, factor)})
    if isinstance(value, (Duration, Rate)):
        parts = {f.name: getattr(value, f.name) * factor for f in fields(value)}
        return replace(node, **{name: replace(value, **parts)})
    return replace(node, **{name: value * factor})


def levers(machine: Machine, gemm: Workload, lookup: Workload) -> list[Lever]:
    """Every knob's effect on the speed-up of `lookup` over `gemm`, the strongest first."""
    factors = np.array(FACTORS)
    one = FACTORS.index(1.0)
    found = []
    for knob, paths in KNOBS:
        if paths[0].startswith("caches.L3") and machine.caches.L3 is None:
            continue
        points = scaled(machine, paths, factors)
        ratio = predict_points(points, gemm)[0] / predict_points(points, lookup)[0]
        ratio = np.broadcast_to(ratio, factors.shape)
        flips = [i for i in range(len(factors)) if (ratio[i] > 1.0) != (ratio[one] > 1.0)]
        nearest = min(flips, key=lambda i: abs(i - one)) if flips else None
        found.append(
            Lever(
                knob=knob,
                speedup_at_half=float(ratio[one - 4]),
                speedup_at_double=float(ratio[one + 4]),
                flips_at=None if nearest is None else float(factors[nearest]),
            )
        )
    return sorted(found, key=_strength, reverse=True)


def _strength(lever: Lever) -> float:
    return abs(float(np.log(lever.speedup_at_double / lever.speedup_at_half)))
