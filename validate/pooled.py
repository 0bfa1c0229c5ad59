"""Several campaigns together: statistics over all their points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from validate import errors, winners
from validate.check import Check, point_record
from validate.results import Result

Line = dict[str, Any]

GROUPS = 10_000
"""More than a campaign has: groups of different campaigns are not compared."""


def results_of(checks: Sequence[Check]) -> list[Result]:
    """The points of all campaigns, their groups told apart."""
    return [
        replace(r, measured=replace(r.measured, group=r.measured.group + number * GROUPS))
        for number, check in enumerate(checks)
        for r in check.results
    ]


def pooled(checks: Sequence[Check]) -> Line:
    """What all campaigns come to, in the words of `check.record`."""
    found = results_of(checks)
    pairs = list(winners.pairs(found))
    statistics = errors.report(found)
    return {
        "campaigns": [
            {"host_id": c.first["host_id"], "seed": c.first["seed"], "mode": c.first["mode"], "started": c.first["started"],
             "frozen": c.frozen, **errors.of(c.results), "whole_ffn": errors.of(errors.whole(c.results))}
            for c in checks
        ],
        "errors": statistics,
        "winner_agreement": winners.agreement(pairs),
        "ratio_error": winners.ratio_errors(pairs),
        "crossover_error": winners.crossovers(pairs),
        "interval_coverage": {"nominal": 0.9, "points": len(found), "share": statistics.get("interval_coverage")},
        "points": [point_record(r) for r in found],
    }  # fmt: skip
