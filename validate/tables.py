"""Checks as rich tables that read at 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from kernels.probetables import plain_table
from simulator.tables import number

Line = dict[str, Any]

GOALS = {
    "GEMM FFN, onednn": (0.06, 0.20),
    "BH4": (0.05, 0.15),
    "code+score": (0.05, 0.15),
    "gather, elsewhere": (0.12, 0.30),
    "gather, around the last level": (0.18, None),
    "whole FFN": (0.07, 0.20),
}
"""Mean and P95 that the project holds itself to, by kind."""

_SHORT = {"gather, around the last level": "gather, last level"}
_UNITS = {
    "latency": (1e9, "ns"),
    "bandwidth": (1e-9, "GB/s"),
    "lines_in_flight": (1.0, "lines"),
    "row_start": (1.0, "cycles"),
    "uops": (1.0, "uops"),
}


def percent(value: float | None, digits: int = 1) -> str:
    """A share in per cent, '-' for none."""
    return "-" if value is None else f"{100.0 * value:.{digits}f}"


def error_rows(errors: Mapping[str, Any]) -> list[tuple[str, Line]]:
    """The rows of the table of accuracy: kinds, whole FFNs, everything."""
    rows = list(errors["by_kind"].items())
    return [*rows, ("whole FFN", errors["whole_ffn"]), ("everything", errors)]


def goal(value: float, most: float | None) -> str:
    """How a value stands to its goal, in words that read after it: '<= 6' or '> 6', '' without a goal."""
    return "" if most is None else f"{'<=' if value <= most else '>'} {percent(most, 0)}"


def error_table(check: Mapping[str, Any]) -> Table:
    """Absolute relative errors by kind; what has a goal says beside it on which side of the goal it is."""
    table = plain_table("|error| of held-out points in per cent; goal: '<=' met, '>' missed", "what", "n", "mean",
                        "goal", "median", "P95", "goal", "worst", "bias", "noise", "in 90 %")  # fmt: skip
    table.collapse_padding = True
    for column in (table.columns[3], table.columns[6]):
        column.justify = "left"
    for name, e in error_rows(check["errors"]):
        if not e["points"]:
            continue
        mean, p95 = GOALS.get(name, (None, None))
        table.add_row(
            _SHORT.get(name, name), str(e["points"]), percent(e["mean_abs_error"]), goal(e["mean_abs_error"], mean),
            percent(e["median_abs_error"]), percent(e["p95_abs_error"], 0), goal(e["p95_abs_error"], p95),
            percent(e["worst"], 0), f"{100 * e['bias']:+.0f}", percent(e["mean_noise"]), percent(e["interval_coverage"], 0),
        )  # fmt: skip
    return table


def goal_line(check: Mapping[str, Any]) -> str:
    """How many goals are met, and which are not; '' where nothing that has one was measured."""
    told, missed = 0, []
    for name, e in error_rows(check["errors"]):
        for what, key, most in zip(
            ("mean", "P95"), ("mean_abs_error", "p95_abs_error"), GOALS.get(name, ()), strict=False
        ):
            if e["points"] and most is not None:
                told += 1
                missed += [f"{name} {what}"] if not e[key] <= most else []
    if not told:
        return ""
    return f"{told - len(missed)} of {told} goals met" + (f"; missed: {'; '.join(missed)}" if missed else "")


def before_table(check: Mapping[str, Any]) -> Table:
    """Before calibration, which is the detected spec with the measured clock, and after it."""
    errors = check["errors"]
    before = errors["before_calibration"]
    table = plain_table("\nBefore and after calibration", "what", "detected: mean", "P95", "calibrated: mean", "P95")
    for name, old, new in (
        ("everything", before, errors),
        ("whole FFN", before["whole_ffn"], errors["whole_ffn"]),
    ):
        if new["points"]:
            table.add_row(name, percent(old["mean_abs_error"]), percent(old["p95_abs_error"], 0),
                          percent(new["mean_abs_error"]), percent(new["p95_abs_error"], 0))  # fmt: skip
    return table


def worst(check: Mapping[str, Any], count: int = 5) -> list[Line]:
    """The points with the largest errors."""
    return sorted(check["points"], key=lambda p: -abs(p["error"]))[:count]


def worst_lines(check: Mapping[str, Any]) -> list[str]:
    """The worst points in words, with what the model held them to be made of."""
    lines = []
    for p in worst(check):
        lines.append(
            f"{100 * p['error']:+.0f} % (noise {percent(p['noise_floor'])} %) {p['label']}: {p['measured_seconds'] * 1e6:.4g} us "
            f"measured, {p['predicted_seconds'] * 1e6:.4g} predicted; model: {p['explanation']}"
        )
    return lines


def winner_lines(check: Mapping[str, Any]) -> list[str]:
    """Winner, ratio, crossover and coverage in words."""
    w, ratio = check["winner_agreement"], check["ratio_error"]
    lines = []
    if w["pairs"]:
        lines.append(
            f"winner named right: {_share(w['agreement'], w['pairs'] - w['ties_within_noise'])} pairs, "
            f"{_share(w['close_agreement'], w['close_pairs'])} within 1.5x; where the interval of the ratio leaves no tie: "
            f"{_share(w['told_agreement'], w['told_by_interval'])}, "
            f"{_share(w['close_told_agreement'], w['close_told_by_interval'])} within 1.5x"
        )
    if ratio["pairs"]:
        lines.append(
            f"ratio look-up : GEMM: |error| mean {percent(ratio['mean_abs_error'])} %, median "
            f"{percent(ratio['median_abs_error'])} %, P95 {percent(ratio['p95_abs_error'], 0)} %"
        )
    for c in check["crossover_error"]:
        what = f"{c['lookup']} against {c['gemm']}, {c['threads']} thread(s), {c['residency']}"
        if c["batch"] is None:
            lines.append(f"crossover of {what}: none measured; predicted {_batches(c['predicted_batches'])}")
        else:
            lines.append(
                f"crossover of {what}: measured at B = {c['batch']:.0f}, predicted {_batches(c['predicted_batches'])}; "
                f"|predicted speed-up - 1| there {percent(c['speedup_error'])} %"
            )
    coverage = check["interval_coverage"]
    if coverage["points"]:
        lines.append(f"90 % intervals hold {percent(coverage['share'])} % of {coverage['points']} points")
    return lines


def _share(value: float | None, count: int) -> str:
    return f"{percent(value)} % of {count}" if count else "none of 0"


def _batches(found: Sequence[float]) -> str:
    return "at B = " + ", ".join(f"{b:.0f}" for b in found) if found else "none"


def unit(path: str) -> tuple[float, str]:
    """A parameter's unit by its path, and the factor from base units to it."""
    return next((found for end, found in _UNITS.items() if path.endswith(end)), (1.0, ""))


def before_value(parameter: Mapping[str, Any]) -> str:
    """What a parameter was, in its unit; '-' for points of a miss curve, which no detected spec has (old campaigns say what they
    became)."""
    if parameter["before"] is None or "miss_curve" in parameter["name"]:
        return "-"
    return number(parameter["before"] * unit(parameter["name"])[0])


def parameter_table(parameters: Sequence[Mapping[str, Any]]) -> Table:
    """Fitted parameters by probe: before, after, 90 % interval."""
    table = plain_table(
        "Parameters, '!' where a bound holds one", "path", "before", "after", "", "90 % interval", "unit"
    )
    table.columns[-1].justify = "left"
    for probe in dict.fromkeys(p["probe"] for p in parameters):
        table.add_row(f"by {probe}:", style="bold")
        for p in (p for p in parameters if p["probe"] == probe):
            factor, name = unit(p["name"])
            table.add_row(p["name"], before_value(p), number(p["after"] * factor), "!" if p["at_bound"] else "",
                          f"{number(p['low_90'] * factor)} to {number(p['high_90'] * factor)}", name)  # fmt: skip
    table.collapse_padding = True
    return table
