"""`python -m tests.validationdocs`: the recorded campaigns held against the model as it is, into tests/data/validation.json, and
from there into docs/validation.md and the README."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from validate.check import check
from validate.journal import read
from validate.pooled import pooled
from validate.tables import GOALS, error_rows, percent, winner_lines, worst

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "validate" / "measurements"
DATA = ROOT / "tests" / "data" / "validation.json"
PAGES = (ROOT / "README.md", ROOT / "docs" / "validation.md")
PART = re.compile(r"(<!-- (validated[a-z ]*) -->\n).*?(<!-- end -->)", re.DOTALL)

Line = dict[str, Any]


def goal(name: str) -> str:
    """'6 / 20' of a kind that has goals."""
    mean, p95 = GOALS.get(name, (None, None))
    return " / ".join(percent(v, 0) for v in (mean, p95) if v is not None) or "-"


def accuracy(found: Line) -> str:
    """Errors by kind beside their goals."""
    lines = [
        "| held-out, \\|error\\| in % | n | mean | goal (P95) | median | P95 | worst | bias | noise | in 90 % interval |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, e in error_rows(found["errors"]):
        cells = [
            name, str(e["points"]), percent(e["mean_abs_error"]), goal(name), percent(e["median_abs_error"]),
            percent(e["p95_abs_error"], 0), percent(e["worst"], 0), f"{100 * e['bias']:+.0f}", percent(e["mean_noise"]),
            percent(e["interval_coverage"], 0),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def short(found: Line) -> str:
    """The README's table."""
    e = found["errors"]
    rows = [
        ("GEMM FFN through oneDNN, fp32, bf16, int8", e["by_kind"]["GEMM FFN, onednn"]),
        ("BH4 projection", e["by_kind"]["BH4"]),
        ("code + score", e["by_kind"]["code+score"]),
        ("gather, tables outside 6-48 MiB", e["by_kind"]["gather, elsewhere"]),
        ("gather, tables around the last-level cache", e["by_kind"]["gather, around the last level"]),
        ("whole FFN (fused LookupFFN, GEMM FFN)", e["whole_ffn"]),
        ("everything", e),
    ]
    lines = ["| held-out points | n | mean | median | P95 | worst |", "|---|---|---|---|---|---|"]
    for name, s in rows:
        values = " | ".join(
            percent(s[k], 0) + " %" for k in ("mean_abs_error", "median_abs_error", "p95_abs_error", "worst")
        )
        lines.append(f"| {name} | {s['points']} | {values} |")
    w, before = found["winner_agreement"], e["before_calibration"]
    dates = sorted(c["started"][:10] for c in found["campaigns"])
    hosts = ", ".join(sorted({c["host_id"] for c in found["campaigns"]}))
    seeds = ", ".join(str(c["seed"]) for c in found["campaigns"])
    told, covered = w["pairs"] - w["ties_within_noise"], found["interval_coverage"]["share"]
    lines.append(
        f"\nHost {hosts}, {dates[0]}, seeds {seeds}; predictions frozen before the kernels were measured. Winner of look-up and "
        f"of GEMM named right in {percent(w['agreement'])} % of {told} pairs ({percent(w['close_agreement'], 0)} % of those "
        f"within 1.5x); 90 % intervals hold {percent(covered, 0)} % of the points. Before calibration: mean "
        f"{percent(before['mean_abs_error'], 0)} %."
    )
    return "\n".join(lines)


def campaigns(found: Line) -> str:
    """One row a campaign."""
    lines = [
        "| host | seed | measured | n | mean | P95 | worst | whole FFN | in 90 % interval |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for c in found["campaigns"]:
        lines.append(
            f"| {c['host_id']} | {c['seed']} | {c['started'][:16].replace('T', ' ')} UTC | {c['points']} | "
            f"{percent(c['mean_abs_error'])} | {percent(c['p95_abs_error'], 0)} | {percent(c['worst'], 0)} | "
            f"{percent(c['whole_ffn']['mean_abs_error'])} | {percent(c['interval_coverage'], 0)} |"
        )
    return "\n".join(lines)


def regimes(found: Line) -> str:
    """Kind x regime x threads, data type and batch."""
    lines = ["| points | n | mean | median | P95 | bias | noise |", "|---|---|---|---|---|---|---|"]
    for part in ("by_regime", "by_dtype", "by_batch", "by_residency"):
        for name, e in found["errors"][part].items():
            lines.append(
                f"| {name} | {e['points']} | {percent(e['mean_abs_error'])} | {percent(e['median_abs_error'])} | "
                f"{percent(e['p95_abs_error'], 0)} | {100 * e['bias']:+.0f} | {percent(e['mean_noise'])} |"
            )
    return "\n".join(lines)


def failures(found: Line) -> str:
    """The ten worst points."""
    lines = [
        "| error | noise | point | measured us | predicted us | what the model holds it to be |",
        "|---|---|---|---|---|---|",
    ]
    for p in worst(found, 10):
        lines.append(
            f"| {100 * p['error']:+.0f} % | {percent(p['noise_floor'])} % | {p['label']} {p['variant']} | "
            f"{p['measured_seconds'] * 1e6:.4g} | {p['predicted_seconds'] * 1e6:.4g} | {p['explanation']} |"
        )
    return "\n".join(lines)


def answers(found: Line) -> str:
    """Winner, ratio, crossovers, coverage."""
    return "\n".join(f"- {line}" for line in winner_lines(found))


PARTS = {
    "validated": short,
    "validated accuracy": accuracy,
    "validated campaigns": campaigns,
    "validated regimes": regimes,
    "validated failures": failures,
    "validated answers": answers,
}


def refreshed(text: str, found: Line) -> str:
    """`text` with every generated part made anew."""
    return PART.sub(lambda m: f"{m[1]}{PARTS[m[2]](found)}\n{m[3]}", text)


def main() -> None:
    """Measurements to JSON, JSON to the pages."""
    found = pooled([check(read(path)) for path in sorted(RECORDED.glob("*/*.jsonl"))])
    for p in found["points"]:
        del p["phases_seconds"], p["shape"]
    DATA.write_text(json.dumps(found, separators=(",", ":")).replace('},{"operator"', '},\n{"operator"') + "\n")
    for page in PAGES:
        if page.exists():
            page.write_text(refreshed(page.read_text(), found))


if __name__ == "__main__":
    main()
