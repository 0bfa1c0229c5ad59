"""The measured tables of docs/kernels.md and README.md, from the stored runs in kernels/data.

`python -m tests.kerneldocs` rewrites them, a test holds the pages to the data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from kernels.comparetables import form_name, gemm_name

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "kernels" / "data"
PAGES = (ROOT / "docs" / "kernels.md", ROOT / "README.md")
GENERATED = re.compile(r"(<!-- kernels: ([a-z0-9 ]+) -->\n).*?(<!-- end -->)", re.DOTALL)

GOALS: dict[tuple[str, str], tuple[float, ...]] = {
    ("int16/int8", "oneDNN bf16"): (5.0, 3.0, 2.7, 2.8, 4.0),
    ("int16/int8", "oneDNN int8"): (3.0, 1.6, 1.5, 1.5, 2.3),
    ("bf16/bf16", "oneDNN bf16"): (5.0, 2.3, 2.0, 1.9, 3.3),
    ("fp32/fp32", "oneDNN fp32"): (5.0, 2.7, 1.8, 1.9, 4.0),
}
"""Ratios that the kernels were built to reach, at one thread, by batch; set on measurements of a Zen 5 prototype."""

NAMES = {
    "layer_norm": "LayerNorm", "block_products": "block products", "bh4": "BH4", "code_score": "code + score",
    "gather_l1": "gather, rows in L1", "gather_l2_tile": "gather, tile in L2",
}  # fmt: skip


def stored(name: str) -> dict[str, Any]:
    """A run in kernels/data."""
    found: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return found


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in (list(head), *map(list, rows))]
    return "\n".join([lines[0], "|" + "---|" * (lines[0].count("|") - 1), *lines[1:]])


def us(value: float) -> str:
    """Three digits at most."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def times(mode: str, threads: int) -> str:
    """Microseconds a token and layer, median and (interquartile range), by form and batch."""
    record = stored("compare")
    batches = record["settings"]["batches"]
    rows = [t for t in record["times"] if (t["mode"], t["threads"]) == (mode, threads)]
    lines = []
    for name in dict.fromkeys(form_name(r) for r in rows):
        at = {r["batch"]: r for r in rows if form_name(r) == name}
        cells = [
            f"{us(at[b]['microseconds_per_token'])} ({us(at[b]['seconds_iqr'] / b * 1e6)})" if b in at else ""
            for b in batches
        ]
        lines.append([name, *cells])
    return table(("form", *(f"B={b}" for b in batches)), lines)


def ratio(record: dict[str, Any], ours: str, theirs: str, batch: int, mode: str, threads: int) -> float:
    """GEMM time over look-up time."""
    (found,) = (
        r["speedup"]
        for r in record["ratios"]
        if (r["batch"], r["mode"], r["threads"]) == (batch, mode, threads)
        and r["variant"] != "published"
        and (f"{r['projection_dtype']}/{r['table_dtype']}", gemm_name(r)) == (ours, theirs)
    )
    return float(found)


def goals() -> str:
    """Ratios at one and two threads; in brackets the goal at one thread; bold where it is reached."""
    record = stored("compare")
    batches = record["settings"]["batches"]
    lines = []
    for (ours, theirs), wanted in GOALS.items():
        cells = []
        for batch, goal in zip(batches, wanted, strict=True):
            one, two = (ratio(record, ours, theirs, batch, "model", n) for n in (1, 2))
            text = f"**{one:.2f}**" if one >= goal else f"{one:.2f}"
            cells.append(f"{text} ({goal:g}); {two:.2f}")
        lines.append([f"{ours} against {theirs}", *cells])
    return table(("1 thread (goal); 2 threads", *(f"B={b}" for b in batches)), lines)


def matrix(mode: str, threads: int) -> str:
    """Every look-up precision against every GEMM."""
    record = stored("compare")
    batches = record["settings"]["batches"]
    rows = [r for r in record["ratios"] if (r["mode"], r["threads"]) == (mode, threads) and r["variant"] != "published"]
    found: dict[tuple[str, str], dict[int, float]] = {}
    for r in rows:
        found.setdefault((f"{r['projection_dtype']}/{r['table_dtype']}", gemm_name(r)), {})[r["batch"]] = r["speedup"]
    lines = [[ours, theirs, *(f"{at[b]:.2f}" for b in batches)] for (ours, theirs), at in found.items()]
    return table(("look-up", "against", *(f"B={b}" for b in batches)), lines)


def published() -> str:
    """The published loops against int16/int8, one layer repeated."""
    record = stored("compare")
    rows = {(form_name(t), t["batch"]): t for t in record["times"] if t["mode"] == "hot"}
    batches = [b for name, b in rows if name == "published fp32"]
    head = ("hot, 1 thread, us a token", *(f"B={b}" for b in batches))
    lines = [
        [name, *(us(rows[name, b]["microseconds_per_token"]) for b in batches)]
        for name in ("published fp32", "fp32/fp32", "int16/int8")
    ]
    quotients = (rows["published fp32", b]["seconds_median"] / rows["int16/int8", b]["seconds_median"] for b in batches)
    return table(head, [*lines, ["published over int16/int8", *(f"{q:.1f}" for q in quotients)]])


def accuracy() -> str:
    """Output error and flipped codes by precision."""
    rows = {form_name(t): t for t in stored("compare")["times"]}
    lines = [
        [name, f"{t['output_error']:.1e}", "" if t["flipped_codes"] is None else f"{t['flipped_codes']:.2%}"]
        for name, t in rows.items()
    ]
    return table(("form", "output error", "flipped codes"), lines)


def stages() -> str:
    """Stages against what bounds them."""
    lines = [
        [
            NAMES[s["stage"]], "/".join(p for p in (s["projection_dtype"], s["table_dtype"]) if p),
            f"{us(s['microseconds_per_token'])} ({s['microseconds_iqr']:.3f})", f"{s['bound_microseconds']:.3g}",
            f"{s['share_of_bound']:.0%}", s["bound"],
        ]
        for s in stored("stages")["stages"]
    ]  # fmt: skip
    return table(("stage", "dtype", "us a token (IQR)", "least", "share", "bound"), lines)


PARTS: dict[str, Callable[[], str]] = {
    "goals": goals,
    "times model 1": lambda: times("model", 1),
    "times model 2": lambda: times("model", 2),
    "times hot 1": lambda: times("hot", 1),
    "matrix model 1": lambda: matrix("model", 1),
    "published": published,
    "accuracy": accuracy,
    "stages": stages,
}


def refreshed(text: str) -> str:
    """`text` with every generated part made anew."""
    return GENERATED.sub(lambda m: f"{m[1]}{PARTS[m[2]]()}\n{m[3]}", text)


def main() -> None:
    """Rewrites the pages."""
    for page in PAGES:
        page.write_text(refreshed(page.read_text()))


if __name__ == "__main__":
    main()
