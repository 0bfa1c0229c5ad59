"""A finished campaign held against its predictions: every point with its error, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from validate import errors, winners
from validate.calibration import calibrated
from validate.forecast import forecast
from validate.freeze import model_digest
from validate.points import Point, point_of, record_of
from validate.results import Result, measured_points, regime

Line = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """A campaign's lines with their results. `frozen`: whether the predictions are those that were written down before the
    held-out rounds; else they were computed now, by the model as it is."""

    lines: tuple[Line, ...]
    results: tuple[Result, ...]
    frozen: bool

    @property
    def first(self) -> Line:
        """Settings and host."""
        return self.lines[0]


def _key(p: Point) -> str:
    return repr(sorted(record_of(p).items(), key=str))


def _of(lines: Sequence[Line], record: str) -> list[Line]:
    return [line for line in lines if line["record"] == record]


def check(lines: Sequence[Line], again: bool = False) -> Check:
    """Results of a campaign by its frozen predictions; by new ones where it holds none, or `again`. Raises ValueError."""
    measured = measured_points(lines)
    given = [line for line in _of(lines, "predicted") if line["points"]]
    kept = bool(given) and not again
    if kept:
        forecasts = {_key(point_of(p["point"])): p for p in given[-1]["points"]}
    else:
        calibration = calibrated(lines)
        forecasts = {_key(m.point): forecast(m.point, calibration) for m in measured}
    results = []
    for m in measured:
        f = forecasts.get(_key(m.point))
        if f is None:
            raise ValueError(f"no prediction was frozen for {m.point.label}")
        results.append(
            Result(m, f["seconds"], f["low_seconds"], f["high_seconds"], f["phases"], f["before_seconds"], f["explanation"])
        )  # fmt: skip
    return Check(tuple(lines), tuple(results), kept)


def point_record(r: Result) -> Line:
    """A point as JSON takes it."""
    p, m = r.point, r.measured
    return {
        "operator": p.operator, "label": p.label, "shape": record_of(p), "dtype": p.dtype, "variant": variant(p),
        "library": p.library, "threads": p.threads, "batch": p.batch, "residency": p.residency, "pages": p.page,
        "skew": p.skew, "footprint_bytes": p.footprint_bytes, "regime": regime(p), "group": m.group,
        "measured_seconds": m.seconds, "spread": m.spread, "noise_floor": m.noise, "rounds": m.rounds,
        "drifted_rounds": m.drifted, "predicted_seconds": r.predicted_seconds, "interval_low_seconds": r.low_seconds,
        "interval_high_seconds": r.high_seconds, "covered": r.covered, "error": r.error,
        "before_calibration_seconds": r.before_seconds, "phases_seconds": dict(r.phases), "explanation": r.explanation,
    }  # fmt: skip


def variant(p: Point) -> str:
    """V1 to V5 of a look-up's loop nest, '' elsewhere."""
    if p.nest is None:
        return ""
    from kernels.plan import variant_of
    from validate.calls import plan_of

    return variant_of(plan_of(p.nest), p.batch)


def record(c: Check, seconds: dict[str, float] | None = None) -> Line:
    """Everything that `--json` holds. `seconds`: what the steps took, where they ran now."""
    pairs = list(winners.pairs(c.results))
    lines, first = c.lines, c.first
    given = _of(lines, "calibrated")
    end = _of(lines, "end")
    rounds = _of(lines, "round")
    statistics = errors.report(c.results)
    clocks = [line["clock_hz"] for line in rounds]
    return {
        "format": "lookupsim-check 1",
        "host_id": first["host_id"],
        "measured_host": first["host"],
        "seed": first["seed"],
        "mode": first["mode"],
        "started": first["started"],
        "ended": end[-1]["time"] if end else None,
        "predictions_frozen": _of(lines, "predicted")[-1]["time"] if c.frozen else None,
        "model": _of(lines, "predicted")[-1]["model"] if c.frozen else model_digest(),
        "conditions": {
            "clock_hz_first": clocks[0] if clocks else None,
            "clock_hz_last": clocks[-1] if clocks else None,
            "clock_hz_range": [min(clocks), max(clocks)] if clocks else None,
            "load_before": first["load"],
            "load_after": end[-1]["load"] if end else None,
            "steal_seconds": end[-1]["steal_seconds"] - first["steal_seconds"] if end else None,
            "rounds": len(rounds),
            "drifted_rounds": sum(bool(line["drifted"]) for line in rounds),
            "repeated_rounds": sum(bool(line["repeated"]) for line in rounds),
            "resumed": [line["time"] for line in _of(lines, "resumed")],
            "pages": [region for line in _of(lines, "pages") for region in line["regions"]],
        },
        "errors": statistics,
        "winner_agreement": winners.agreement(pairs),
        "ratio_error": winners.ratio_errors(pairs),
        "crossover_error": winners.crossovers(pairs),
        "interval_coverage": {"nominal": 0.9, "points": len(c.results), "share": statistics.get("interval_coverage")},
        "parameters": given[-1]["parameters"] if given else [],
        "refused": given[-1]["refused"] if given else [],
        "points": [point_record(r) for r in c.results],
        "seconds": seconds or {},
    }
