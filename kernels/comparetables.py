"""A comparison as rich tables that read at 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from kernels.probetables import plain_table
from simulator.tables import number

SHORT = {"fp32": "f32", "bf16": "b16", "int16": "i16", "int8": "i8"}


def form_name(first: str, second: str) -> str:
    """'int16/int8' for a look-up form, 'oneDNN int8' for a GEMM."""
    return {"onednn": f"oneDNN {second}", "openblas": f"OpenBLAS {second}"}.get(first, f"{first}/{second}")


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
    for first, second in dict.fromkeys((r["first"], r["second"]) for r in rows if r["form"] != "published"):
        at = {r["batch"]: r for r in rows if (r["first"], r["second"]) == (first, second) and r["form"] != "published"}
        table.add_row(form_name(first, second), *(_us(at.get(b)) for b in batches))
    if published := {r["batch"]: r for r in rows if r["form"] == "published"}:
        table.add_row("published fp32", *(_us(published.get(b)) for b in batches))
    return table


def _us(row: Mapping[str, Any] | None) -> str:
    return "-" if row is None else number(row["microseconds_per_token"])


def _ratios(mode: str, threads: int, batches: list[int], rows: list[Mapping[str, Any]]) -> Table:
    table = plain_table(
        f"\nGEMM time / look-up time, {_title(mode, threads)}", "look-up", "against", *(f"B={b}" for b in batches)
    )
    pairs = dict.fromkeys(
        (r["projection_dtype"], r["table_dtype"], r["gemm_library"], r["gemm_dtype"])
        for r in rows
        if r["variant"] != "published"
    )
    for pair in pairs:
        at = {
            r["batch"]: r["speedup"]
            for r in rows
            if (r["projection_dtype"], r["table_dtype"], r["gemm_library"], r["gemm_dtype"]) == pair
            and r["variant"] != "published"
        }
        table.add_row(
            f"{pair[0]}/{pair[1]}", form_name(*pair[2:]), *(f"{at[b]:.2f}" if b in at else "-" for b in batches)
        )
    return table


def _accuracy(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = plain_table(
        "\nAccuracy against float64 (512 tokens, random weights)", "form", "output error", "flipped codes"
    )
    seen = set()
    for r in rows:
        name = "published fp32" if r["form"] == "published" else form_name(r["first"], r["second"])
        if name in seen:
            continue
        seen.add(name)
        flipped = "-" if r["flipped_codes"] is None else f"{r['flipped_codes']:.2%}"
        table.add_row(name, f"{r['output_error']:.1e}", flipped)
    return table
