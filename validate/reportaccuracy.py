"""Sections of a report on how far off the model is: errors, winners, crossovers, intervals, and what calibration changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from validate.reportgrid import MET, MISSED, NONE, Grid, Line, Record, Section, interval, micros, plural, signed
from validate.tables import GOALS, error_rows, percent, worst

STATISTICS = ("mean", "median", "P95", "worst", "bias", "noise", "in 90 % interval")
GROUPINGS = {
    "by_batch": "operator and tokens a call (B)",
    "by_dtype": "operator and data type",
    "by_threads": "threads",
    "by_residency": "operator and residency",
    "by_regime": "operator, regime and threads",
}


def verdict(found: Record) -> str:
    """The result in a sentence."""
    e = found["errors"]
    if not e["points"]:
        return "No held-out point was measured, so nothing can be said of the model."
    return (
        f"Over {plural(e['points'], 'held-out point')} the model is off by {percent(e['mean_abs_error'])} % in the mean "
        f"(median {percent(e['median_abs_error'])} %, P95 {percent(e['p95_abs_error'])} %, worst {percent(e['worst'])} %), and "
        f"its 90 % intervals hold {percent(e['interval_coverage'])} % of the points."
    )


def _goal(value: float, most: float | None) -> str:
    return "" if most is None else f"≤ {percent(most, 0)} {MET if value <= most else MISSED}"


def _rows(found: Record) -> list[tuple[str, Line]]:
    return [(name, e) for name, e in error_rows(found["errors"]) if e["points"]]


def accuracy(found: Record) -> Section:
    """Errors by kind beside the goals."""
    rows, goals = [], []
    for name, e in _rows(found):
        mean, p95 = GOALS.get(name, (None, None))
        marks = (_goal(e["mean_abs_error"], mean), _goal(e["p95_abs_error"], p95))
        goals += [mark for mark in marks if mark]
        s = _statistics(e)
        rows.append((name, str(e["points"]), s[0], marks[0], s[1], s[2], marks[1], *s[3:]))
    columns = ("kind", "n", "mean", "goal of the mean", "median", "P95", "goal of P95", *STATISTICS[3:])
    met = sum(mark.endswith(MET) for mark in goals)
    grid = Grid(
        columns, tuple(rows), ("kind", "goal of the mean", "goal of P95"), "|error| in per cent of the measured time"
    )
    sentences = (
        f"{met} of {plural(len(goals), 'goal')} met. Bias is the mean of the signed errors: above 0, the model predicts too long "
        "a time. Noise is the mean 90 % half-width of a measured median, from its rounds alone.",
    )  # fmt: skip
    return Section("Accuracy by kind", sentences, (), (grid,)) if rows else Section("Accuracy by kind", (NONE,))


def _statistics(e: Line) -> tuple[str, ...]:
    sizes = ("mean_abs_error", "median_abs_error", "p95_abs_error", "worst")
    return (*(percent(e[size]) for size in sizes), signed(e["bias"]), percent(e["mean_noise"], 2),
            percent(e["interval_coverage"], 0))  # fmt: skip


def scatter(found: Record) -> Section:
    """Measured against predicted: a figure; the table of every point has its numbers."""
    text = (
        "Times of a call and layer. On the line prediction and measurement are the same; the band is 10 % to either side. "
        "Horizontal bars are the noise of the measurement. The numbers are in the table of every point below."
    )
    return Section("Measured against predicted", (), ("measured_predicted",), caption=text)


def groups(found: Record) -> Section:
    """Errors by kind, batch and data type."""
    grids = []
    for key, words in GROUPINGS.items():
        own = sorted(found["errors"].get(key, {}).items(), key=lambda item: _natural(item[0]))
        rows = [(name, str(e["points"]), *_statistics(e)) for name, e in own if e["points"]]
        if rows:
            caption = f"|error| in per cent by {words}"
            grids.append(Grid((words, "n", *STATISTICS), tuple(rows), (words,), caption, folded=True))
    text = (
        "Signed errors of single points: above 0, the model predicts too long a time. The band is 10 % to either side."
    )
    figures = ("errors_by_batch", "errors_by_kind", "errors_by_dtype")
    return Section("Errors by tokens a call, kind and data type", (), figures, tuple(grids), text)


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that has numbers in the order of their size: B <= 8 before B <= 64."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def worst_five(found: Record) -> Section:
    """The largest errors with what the model held the points to be made of."""
    rows = tuple(
        (p["label"], signed(p["error"]), percent(p["noise_floor"]), micros(p["measured_seconds"]), micros(p["predicted_seconds"]),
         interval(p), p["explanation"])
        for p in worst(found)
    )  # fmt: skip
    columns = (
        "point",
        "error %",
        "noise %",
        "measured µs",
        "predicted µs",
        "90 % interval µs",
        "the model's explanation",
    )
    grid = Grid(columns, rows, ("point", "the model's explanation"))
    return Section("The worst five", (), (), (grid,)) if rows else Section("The worst five", (NONE,))


def winners(found: Record) -> Section:
    """Which form is faster: named right how often."""
    w = found["winner_agreement"]
    if not w["pairs"]:
        return Section("Winner: look-up or GEMM", ("No look-up layer was measured beside a dense one.",))
    told = w["pairs"] - w["ties_within_noise"]
    rows = (
        ("all pairs", str(told), percent(w["agreement"]), str(w["told_by_interval"]), percent(w["told_agreement"])),
        ("measured ratio within 1.5x of a tie", str(w["close_pairs"]), percent(w["close_agreement"]),
         str(w["close_told_by_interval"]), percent(w["close_told_agreement"])),
    )  # fmt: skip
    columns = (
        "pairs",
        "n",
        "winner named right %",
        "n told by the interval",
        "named right there %",
    )
    text = (
        f"{plural(w['pairs'], 'pair')} of a look-up layer and a dense layer of one group and batch, over all pairs of data "
        f"types; {plural(w['ties_within_noise'], 'tie')} within noise not counted. Told by the interval: pairs where the 90 % "
        "interval of the predicted ratio excludes a tie."
    )
    return Section("Winner: look-up or GEMM", (text,), (), (Grid(columns, rows, ("pairs",)),))


def ratios(found: Record) -> Section:
    """Error of the predicted ratio of GEMM to look-up."""
    r = found["ratio_error"]
    if not r["pairs"]:
        return Section("Ratio of GEMM's time to look-up's", (NONE,))
    row = (str(r["pairs"]), *(percent(r[key]) for key in ("mean_abs_error", "median_abs_error", "p95_abs_error")))
    grid = Grid(("pairs", "mean |error| %", "median %", "P95 %"), (row,))
    return Section("Ratio of GEMM's time to look-up's", (), (), (grid,))


def crossovers(found: Record) -> Section:
    """Batches at which the winner changes."""
    rows = tuple(
        (c["lookup"], c["gemm"], str(c["threads"]), c["residency"], _batches([] if c["batch"] is None else [c["batch"]]),
         _batches(c["predicted_batches"]), NONE if c["speedup_error"] is None else percent(c["speedup_error"]))
        for c in found["crossover_error"]
    )  # fmt: skip
    if not rows:
        return Section("Crossovers", ("none: no layer was measured in both forms over three batches or more.",))
    columns = (
        "look-up",
        "GEMM",
        "threads",
        "residency",
        "measured at B",
        "predicted at B",
        "|predicted speed-up - 1| there %",
    )
    text = "Tokens a call (B) where the faster form changes; at a measured crossover the true speed-up is 1."
    return Section("Crossovers", (text,), (), (Grid(columns, rows, ("look-up", "GEMM", "residency")),))


def _batches(found: Sequence[float]) -> str:
    return ", ".join(f"{b:.0f}" for b in found) or NONE


def coverage(found: Record) -> Section:
    """How many points lie in their 90 % intervals."""
    rows = tuple((name, str(e["points"]), percent(e["interval_coverage"])) for name, e in _rows(found))
    if not rows:
        return Section("Coverage of the 90 % intervals", (NONE,))
    text = "Shares of points whose measured time lies in the interval of its prediction; 90 % would be exact."
    return Section("Coverage of the 90 % intervals", (text,), (), (Grid(("kind", "n", "covered %"), rows, ("kind",)),))


def _before_after(found: Record) -> Iterator[tuple[str, ...]]:
    after = found["errors"]
    before = after["before_calibration"]
    for name, old, new in (("everything", before, after), ("whole FFN", before["whole_ffn"], after["whole_ffn"])):
        if new["points"]:
            for when, e in (("before", old), ("after", new)):
                yield name, when, *_statistics(e)[:5]


def calibration(found: Record) -> Section:
    """What calibration changed."""
    rows = tuple(_before_after(found))
    if not rows:
        return Section("Before and after calibration", (NONE,))
    text = "Before: the spec as detected, with the measured clock. |error| in per cent."
    grid = Grid(("points", "calibration", *STATISTICS[:5]), rows, ("points", "calibration"))
    return Section("Before and after calibration", (text,), (), (grid,))
