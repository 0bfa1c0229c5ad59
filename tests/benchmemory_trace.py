"""Accesses a second of the trace simulator: one core, three LRU levels (32 KiB, 1 MiB, 16 MiB), and sixteen cores.

Rounds of all streams in turn; medians, spread and the best round of each, because the machine has other work.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from simulator.cachegeometry import CacheGeometry, Hierarchy
from simulator.tracesim import TraceSimulator

KIB = 1024
ROUNDS = 5
ACCESSES = 1 << 22
GOALS = {
    "8-byte loads in sequence": 400.0,
    "lines in sequence": 60.0,
    "random rows of 512 B": 25.0,
    "random lines": 25.0,
}
"""Million accesses (lines where rows are read) a second that the first four are to reach."""


def hierarchy(cores: int = 1) -> Hierarchy:
    """Private L1 and L2, one L3."""
    private = CacheGeometry(32 * KIB, 8), CacheGeometry(1024 * KIB, 8)
    return Hierarchy((*private, CacheGeometry(16 * 1024 * KIB, 16, cores_per_instance=cores)), cores)


def streams() -> dict[str, tuple[Hierarchy, Any, Any]]:
    """(hierarchy, addresses, cores) by name."""
    rng = np.random.default_rng(1)
    place = np.arange(ACCESSES, dtype=np.uint64)
    rows = rng.integers(0, 1 << 20, ACCESSES >> 3, dtype=np.uint64)[:, None] * np.uint64(512)
    lines = rng.integers(0, 1 << 22, ACCESSES, dtype=np.uint64) * np.uint64(64)
    short = ACCESSES >> 3
    one = hierarchy()
    return {
        "8-byte loads in sequence": (one, place * np.uint64(8), 0),
        "lines in sequence": (one, place * np.uint64(64), 0),
        "random rows of 512 B": (one, (rows + np.arange(8, dtype=np.uint64) * np.uint64(64)).ravel(), 0),
        "random lines": (one, lines, 0),
        "random lines, 16 cores in turn": (hierarchy(16), lines[:short], np.arange(short) % 16),
    }


def collect() -> dict[str, Any]:
    """Million accesses a second by stream, and what the first call costs to compile or load."""
    work = {name: (TraceSimulator(h), a, c) for name, (h, a, c) in streams().items()}
    found: dict[str, list[float]] = {name: [] for name in work}
    start = time.perf_counter()
    for simulator, addresses, cores in work.values():
        simulator.run(addresses[:64], core=cores if np.ndim(cores) == 0 else cores[:64])
    first = time.perf_counter() - start
    for _ in range(ROUNDS):
        for name, (simulator, addresses, cores) in work.items():
            start = time.perf_counter()
            simulator.run(addresses, core=cores)
            found[name].append(len(addresses) / (time.perf_counter() - start) / 1e6)
    rows = [
        {
            "stream": name,
            "million_accesses_per_second_median": round(float(np.median(rates)), 1),
            "million_accesses_per_second_best": round(max(rates), 1),
            "million_accesses_per_second_iqr": round(float(np.subtract(*np.quantile(rates, (0.75, 0.25)))), 1),
            "goal": GOALS.get(name),
        }
        for name, rates in found.items()
    ]
    return {"rows": rows, "rounds": ROUNDS, "first_call_seconds": round(first, 2)}


def tables(found: dict[str, Any]) -> list[Any]:
    """For a terminal."""
    from rich.table import Table

    result = Table(box=None, pad_edge=False)
    for column in ("stream", "median M/s", "best", "IQR", "goal"):
        result.add_column(column, no_wrap=True, justify="left" if column == "stream" else "right")
    for row in found["rows"]:
        values = (row[f"million_accesses_per_second_{key}"] for key in ("median", "best", "iqr"))
        result.add_row(row["stream"], *(f"{v:.1f}" for v in values), f"{row['goal']:.0f}" if row["goal"] else "")
    return [result, f"first call of each path, compiling or loading: {found['first_call_seconds']} s"]
