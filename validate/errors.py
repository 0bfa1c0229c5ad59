"""Statistics of relative errors: mean, median, P95 and worst of their magnitudes, by kind of point, and coverage of intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from validate.results import Result, regime

Line = dict[str, Any]

FFNS = ("lookup_ffn", "gemm_ffn")


def of(results: Sequence[Result], error: Callable[[Result], float] = lambda r: r.error) -> Line:
    """Statistics of the errors of these points; 'points': 0 alone where there is none."""
    if not results:
        return {"points": 0}
    errors = np.array([error(r) for r in results])
    sizes = np.abs(errors)
    return {
        "points": len(results),
        "mean_abs_error": float(sizes.mean()),
        "median_abs_error": float(np.median(sizes)),
        "p95_abs_error": float(np.quantile(sizes, 0.95)),
        "worst": float(sizes.max()),
        "bias": float(errors.mean()),
        "mean_noise": float(np.mean([r.measured.noise for r in results])),
        "interval_coverage": float(np.mean([r.covered for r in results])),
    }


def batch_class(batch: int) -> str:
    """Tokens a call in words."""
    for most in (8, 64, 512):
        if batch <= most:
            return f"B <= {most}"
    return "B > 512"


def kind(r: Result) -> str:
    """The rows of the table of accuracy."""
    p = r.point
    if p.operator == "gemm_ffn":
        return f"GEMM FFN, {p.library}"
    if p.operator == "gather":
        return f"gather, {regime(p)}"
    return {"bh4": "BH4", "code_score": "code+score", "lookup_ffn": "LookupFFN"}[p.operator]


def grouped(results: Sequence[Result], key: Callable[[Result], str]) -> dict[str, Line]:
    """Statistics for each value of `key`."""
    found: dict[str, list[Result]] = {}
    for r in results:
        found.setdefault(key(r), []).append(r)
    return {name: of(found[name]) for name in sorted(found)}


def whole(results: Sequence[Result]) -> list[Result]:
    """Whole FFNs: LookupFFN, and GEMM through the library that the spec describes."""
    return [r for r in results if r.point.operator in FFNS and r.point.library in ("", "onednn")]


def report(results: Sequence[Result]) -> Line:
    """Every statistic that a check states."""
    return {
        **of(results),
        "whole_ffn": of(whole(results)),
        "by_kind": grouped(results, kind),
        "by_operator": grouped(results, lambda r: r.point.operator),
        "by_dtype": grouped(results, lambda r: f"{r.point.operator} {r.point.dtype}"),
        "by_threads": grouped(results, lambda r: f"{r.point.threads} thread{'s' if r.point.threads > 1 else ''}"),
        "by_batch": grouped(results, lambda r: f"{r.point.operator} {batch_class(r.point.batch)}"),
        "by_residency": grouped(results, lambda r: f"{r.point.operator} {r.point.residency}"),
        "by_regime": grouped(results, lambda r: f"{r.point.operator}, {regime(r.point)}, {r.point.threads} thread(s)"),
        "before_calibration": {
            **of(results, lambda r: r.before_error),
            "whole_ffn": of(whole(results), lambda r: r.before_error),
        },
    }
