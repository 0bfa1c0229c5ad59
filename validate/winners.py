"""Look-up against GEMM: the ratio of their times, which is faster, and at which batch that changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from validate.results import Result

Line = dict[str, Any]

CLOSE = 1.5
"""A measured ratio within this factor of 1 is a close call."""


@dataclass(frozen=True)
class Pair:
    """One look-up layer and one dense layer under the same conditions."""

    lookup: Result
    gemm: Result

    @property
    def measured(self) -> float:
        """GEMM's time over look-up's: above 1 where look-up is faster."""
        return self.gemm.measured.seconds / self.lookup.measured.seconds

    @property
    def predicted(self) -> float:
        """The same as predicted."""
        return self.gemm.predicted_seconds / self.lookup.predicted_seconds

    @property
    def is_tie(self) -> bool:
        """Whether the noise of both measurements could turn the result."""
        noise = math.hypot(self.lookup.measured.noise, self.gemm.measured.noise)
        return abs(math.log(self.measured)) < noise

    @property
    def is_open(self) -> bool:
        """Whether the model itself leaves the winner open: 1 lies in the interval of its ratio."""
        width = math.hypot(*(math.log(r.high_seconds / r.low_seconds) / 2.0 for r in (self.lookup, self.gemm)))
        return abs(math.log(self.predicted)) < width

    @property
    def agrees(self) -> bool:
        """Whether the model names the winner."""
        return (self.measured > 1.0) == (self.predicted > 1.0)


def pairs(results: Sequence[Result]) -> Iterator[Pair]:
    """Every look-up layer with every dense one of its group and batch."""
    groups: dict[tuple[int, int], list[Result]] = {}
    for r in results:
        if r.point.operator in ("lookup_ffn", "gemm_ffn"):
            groups.setdefault((r.measured.group, r.point.batch), []).append(r)
    for found in groups.values():
        for a in found:
            for b in found:
                if a.point.operator == "lookup_ffn" and b.point.operator == "gemm_ffn":
                    yield Pair(a, b)


def _share(found: Sequence[Pair]) -> float | None:
    return sum(p.agrees for p in found) / len(found) if found else None


def agreement(all_pairs: Sequence[Pair]) -> Line:
    """How often the model names the winner; ties within noise do not count."""
    told = [p for p in all_pairs if not p.is_tie]
    close = [p for p in told if abs(math.log(p.measured)) < math.log(CLOSE)]
    sure, sure_close = ([p for p in found if not p.is_open] for found in (told, close))
    return {
        "pairs": len(all_pairs),
        "ties_within_noise": len(all_pairs) - len(told),
        "agreement": _share(told),
        "close_pairs": len(close),
        "close_agreement": _share(close),
        "told_by_interval": len(sure),
        "told_agreement": _share(sure),
        "close_told_by_interval": len(sure_close),
        "close_told_agreement": _share(sure_close),
    }


def ratio_errors(all_pairs: Sequence[Pair]) -> Line:
    """Relative error of the predicted ratio."""
    if not all_pairs:
        return {"pairs": 0}
    sizes = np.array([abs(p.predicted / p.measured - 1.0) for p in all_pairs])
    return {
        "pairs": len(all_pairs),
        "mean_abs_error": float(sizes.mean()),
        "median_abs_error": float(np.median(sizes)),
        "p95_abs_error": float(np.quantile(sizes, 0.95)),
    }


def crossovers(all_pairs: Sequence[Pair]) -> list[Line]:
    """For each series of batches of one layer in both forms: where the measured ratio passes 1, what the model says there, and
    where it passes 1 itself. `batch`: None where the same form is always faster."""
    series: dict[int, list[Pair]] = {}
    for p in all_pairs:
        series.setdefault(p.lookup.measured.group, []).append(p)
    found = []
    for group, own in series.items():
        own = sorted(own, key=lambda p: p.lookup.point.batch)
        if len({p.lookup.point.batch for p in own}) < 3:
            continue
        batches = np.log([p.lookup.point.batch for p in own])
        measured, predicted = (np.log([getattr(p, name) for p in own]) for name in ("measured", "predicted"))
        first = own[0]
        base = {
            "group": group,
            "lookup": first.lookup.point.dtype,
            "gemm": f"{first.gemm.point.library} {first.gemm.point.dtype}",
            "threads": first.lookup.point.threads,
            "residency": first.lookup.point.residency,
        }
        crossed = _crossings(batches, measured)
        own_crossed = [float(np.exp(b)) for b in _crossings(batches, predicted)]
        if not crossed:
            found.append({**base, "batch": None, "predicted_batches": own_crossed, "speedup_error": None})
        for b in crossed:
            speedup = float(np.exp(np.interp(b, batches, predicted)))
            found.append({
                **base, "batch": float(np.exp(b)), "predicted_batches": own_crossed, "speedup_error": abs(speedup - 1.0),
            })  # fmt: skip
    return found


def _crossings(x: Any, y: Any) -> list[float]:
    """Where the polygon passes 0."""
    found = []
    for i in range(len(x) - 1):
        if (y[i] < 0.0) != (y[i + 1] < 0.0):
            found.append(float(x[i] + (x[i + 1] - x[i]) * y[i] / (y[i] - y[i + 1])))
    return found
