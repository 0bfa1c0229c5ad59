"""A comparison as rich tables that read at 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from kernels.probetables import plain_table
from simulator.tables import number

LIBRARY_NAMES = {"onednn": "oneDNN", "openblas": "OpenBLAS"}


def form_name(row: Mapping[str, Any]) -> str:
    """'int16/int8' for a look-up form, 'oneDNN int8' for a GEMM, 'published fp32' for the published loops."""
    if row["form"] == "published":
        return f"published {row['table_dtype']}"
    return gemm_name(row) if row["form"] == "gemm" else f"{row['projection_dtype']}/{row['table_dtype']}"


def gemm_name(row: Mapping[str, Any]) -> str:
    """'oneDNN int8'."""
    return f"{LIBRARY_NAMES[row['gemm_library']]} {row['gemm_dtype']}"


def comparison_tables(record: Mapping[str, Any]) -> list[Table]:
    """Times of every form, then the matrix of ratios, for each mode and number of threads; accuracy last."""
    batches = record["settings"]["batches"]
    tables: list[Table] = []
    for mode, threads in _kinds(record["times"]):
        times = [t for t in record["times"] if (t["mode"], t["threads"]) == (mode, threads)]
        ratios = [r for r in record["ratios"] if (r["mode"], r["threads"]) == (mode, threads)]
        tables += [_times(mode, threads, batches, times), _ratios(mode, threads, batches, ratios)]
    return [*tables, _accuracy(record["times"])]


def _kinds(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((row["mode"], row["threads"]) for row in rows))


def _title(mode: str, threads: int) -> str:
    layers = "all layers cycled" if mode == "model" else "one layer repeated"
    return f"{layers}, {threads} thread{'s' if threads > 1 else ''}"


def _times(mode: str, threads: int, batches: list[int], rows: list[Mapping[str, Any]]) -> Table:
    table = plain_table(
        f"\nMicroseconds a token and layer, {_title(mode, threads)}", "form", *(f"B={b}" for b in batches)
    )
    for name in dict.fromkeys(form_name(r) for r in rows):
        at = {r["batch"]: number(r["microseconds_per_token"]) for r in rows if form_name(r) == name}
        table.add_row(name, *(at.get(b, "-") for b in batches))
    return table


def _ratios(mode: str, threads: int, batches: list[int], rows: list[Mapping[str, Any]]) -> Table:
    """Of the published loops, too: B from which they make sense."""
    table = plain_table(
        f"\nGEMM time / look-up time, {_title(mode, threads)}", "look-up", "against", *(f"B={b}" for b in batches)
    )
    found: dict[tuple[str, str], dict[int, float]] = {}
    for r in rows:
        ours = "published" if r["variant"] == "published" else f"{r['projection_dtype']}/{r['table_dtype']}"
        found.setdefault((ours, gemm_name(r)), {})[r["batch"]] = r["speedup"]
    for (ours, theirs), at in found.items():
        table.add_row(ours, theirs, *(f"{at[b]:.2f}" if b in at else "-" for b in batches))
    return table


def _accuracy(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = plain_table(
        "\nAccuracy against float64 (512 tokens, random weights)", "form", "output error", "flipped codes"
    )
    for name, r in {form_name(r): r for r in rows}.items():
        flipped = "-" if r["flipped_codes"] is None else f"{r['flipped_codes']:.2%}"
        table.add_row(name, f"{r['output_error']:.1e}", flipped)
    return table
