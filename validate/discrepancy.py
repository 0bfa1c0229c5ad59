"""What the model itself is worth, apart from its parameters: how far it was off on development seeds, kind by kind.

Learned once on campaigns that no report counts (`python -m tests.discrepancy`), kept as data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from validate.points import Point
from validate.results import Result, regime

FILE = Path(__file__).with_name("discrepancy.json")
DEFAULT = 0.25
"""Of a kind that development seeds did not have."""

LEAST_POINTS = 12
NINETY = 0.9


def key(p: Point) -> str:
    """What points have errors alike."""
    threads = "one thread" if p.threads == 1 else "several threads"
    name = f"{p.operator} {p.library}".strip()
    if p.operator == "gather":
        return f"{name}, {regime(p)}"
    return f"{name}, {regime(p)}, {threads}" if p.operator in ("gemm_ffn", "lookup_ffn") else name


@lru_cache(maxsize=1)
def table() -> dict[str, float]:
    """90 % half-widths in natural logarithms, by kind."""
    return {name: float(entry["half_width"]) for name, entry in json.loads(FILE.read_text())["kinds"].items()}


def half_width(p: Point) -> float:
    """90 % half-width of the model's own error, in natural logarithms."""
    found = table()
    return found.get(key(p), found.get(p.operator, DEFAULT))


def learned(results: Sequence[Result]) -> dict[str, Any]:
    """The table from results on development seeds, noise and parameters of their own included."""
    kinds: dict[str, list[float]] = {}
    for r in results:
        size = abs(math.log(r.predicted_seconds / r.measured.seconds))
        for name in dict.fromkeys((key(r.point), r.point.operator)):
            kinds.setdefault(name, []).append(size)
    return {
        "quantile": NINETY,
        "points": len(results),
        "kinds": {
            name: {"points": len(sizes), "half_width": round(float(np.quantile(sizes, NINETY)), 4)}
            for name, sizes in sorted(kinds.items())
            if len(sizes) >= LEAST_POINTS or name in {r.point.operator for r in results}
        },
    }
