"""From the passes of a campaign to what the calibration takes: medians over passes, and draws of them for its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simulator.calibrate import CoreProbes, MemoryProbe
from validate.points import Point, point_of

Line = dict[str, Any]

KINDS = {"chase": "chase", "read": "sweep", "rows": "rows", "rows_work": "rows"}
"""Probes that the closed forms know, by their names in a campaign."""


def core_probes(passes: Sequence[Line]) -> CoreProbes:
    """Medians over passes of everything in the core; a barrier is an empty task of the kernels' own pool."""
    names = passes[0]["per_cycle"].keys()
    return CoreProbes(
        clock_hz=tuple(_curve(passes, "clock_hz")),
        per_cycle={name: float(np.median([p["per_cycle"][name] for p in passes])) for name in names},
        vector_bytes=64.0 if "load" in names else 32.0,
        barrier_seconds=tuple(_curve(passes, "pool_seconds")),
    )


def _curve(passes: Sequence[Line], name: str) -> list[tuple[float, float]]:
    counts = [float(n) for n, _ in passes[0][name]]
    return [(n, float(np.median([p[name][i][1] for p in passes]))) for i, n in enumerate(counts)]


def memory_probes(passes: Sequence[Line]) -> list[MemoryProbe]:
    """One probe each, its time the median over passes."""
    found = []
    for index, probe in enumerate(passes[0]["memory"]):
        kind = KINDS.get(probe["kind"])
        if kind is None:
            continue
        times = [p["memory"][index]["seconds_a_line"] for p in passes]
        low, middle, high = np.quantile(times, (0.25, 0.5, 0.75))
        found.append(
            MemoryProbe(
                kind,  # type: ignore[arg-type]
                float(probe["footprint_bytes"]), probe["threads"], float(middle), float((high - low) / middle),
                float(probe["row_bytes"] or 64), float(probe["prefetch_bytes"]), float(probe["fmas_per_line"]),
                1.0 if probe["page_bytes"] > 4096 else 0.0,
            )
        )  # fmt: skip
    return found


def gemm_probes(passes: Sequence[Line]) -> list[tuple[Point, float]]:
    """(layer, seconds a call) of the GEMM shapes that are never held out."""
    return [
        (point_of(record["point"]), float(np.median([p["gemm"][index]["seconds"] for p in passes])))
        for index, record in enumerate(passes[0]["gemm"])
    ]


def resampled(passes: Sequence[Line], draw: int) -> list[Line]:
    """The passes drawn with replacement: one bootstrap sample."""
    random = np.random.default_rng([draw, 271828])
    return [passes[i] for i in random.integers(0, len(passes), len(passes))]
