"""Held-out points with what was measured and what was predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from validate.points import Point, point_of

Line = dict[str, Any]

NEAR_LAST = (6 << 20, 48 << 20)
"""Footprints around what a core has of a last level of 32 MiB: a few per cent of misses decide there."""

SMALL_BATCH = 8


@dataclass(frozen=True)
class Measured:
    """Seconds of a call and layer. `spread`: distance of the quartiles over the median; `noise`: 90 % half-width of the median
    over it, from rounds alone; `drifted`: rounds that count although the machine was in another state."""

    point: Point
    group: int
    seconds: float
    spread: float
    noise: float
    rounds: int
    drifted: int


@dataclass(frozen=True)
class Result:
    """A point with its prediction: seconds, a 90 % interval, phases, what the model without calibration says."""

    measured: Measured
    predicted_seconds: float
    low_seconds: float
    high_seconds: float
    phases: Mapping[str, float]
    before_seconds: float
    explanation: str

    @property
    def point(self) -> Point:
        """What it is about."""
        return self.measured.point

    @property
    def error(self) -> float:
        """Relative: above 0 where the model is too slow."""
        return self.predicted_seconds / self.measured.seconds - 1.0

    @property
    def before_error(self) -> float:
        """The same without calibration."""
        return self.before_seconds / self.measured.seconds - 1.0

    @property
    def covered(self) -> bool:
        """Whether the interval has what was measured."""
        return self.low_seconds <= self.measured.seconds <= self.high_seconds


def regime(p: Point) -> str:
    """Where errors are of a kind: few tokens of a GEMM, tables around the effective last level, everything else."""
    if p.operator == "gemm_ffn":
        return "few tokens" if p.batch <= SMALL_BATCH else "many tokens"
    if p.operator in ("gather", "lookup_ffn"):
        return "around the last level" if NEAR_LAST[0] <= p.footprint_bytes <= NEAR_LAST[1] else "elsewhere"
    return "all"


def measured_points(lines: Sequence[Line]) -> list[Measured]:
    """Every held-out point of a campaign: medians over the rounds that were not repeated."""
    found = []
    rounds: dict[int, list[Line]] = {}
    for line in lines:
        if line["record"] == "round" and not line["repeated"]:
            rounds.setdefault(line["group"], []).append(line)
    for line in lines:
        if line["record"] != "group":
            continue
        own = rounds.get(line["group"], [])
        if not own:
            continue
        samples = np.array([r["seconds"] for r in own])
        low, middle, high = np.quantile(samples, (0.25, 0.5, 0.75), axis=0)
        drifted = sum(bool(r["drifted"]) for r in own)
        for index, record in enumerate(line["points"]):
            spread = float((high[index] - low[index]) / middle[index])
            found.append(
                Measured(
                    point_of(record), line["group"], float(middle[index]), spread, _noise(spread, len(own)), len(own), drifted
                )
            )  # fmt: skip
    return found


def _noise(spread: float, rounds: int) -> float:
    """90 % half-width of a median of normal samples whose quartiles are `spread` apart."""
    return 1.645 * 1.2533 * spread / 1.349 / math.sqrt(rounds)
