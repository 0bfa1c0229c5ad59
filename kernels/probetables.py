"""Records of the microbenchmarks as rich tables that read at 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from simulator.tables import number, size


def plain_table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def memory_tables(record: Mapping[str, Any]) -> list[Table]:
    """Latency by footprint, bandwidth by footprint, and rows by size and prefetch distance."""
    points = record["points"]
    chase = plain_table("Pointer chase", "footprint", "pages", "threads", "ns", "fastest", "IQR")
    for p in points:
        if p["latency_seconds"] is None:
            continue
        ns = {key: p["latency_seconds"][key] * 1e9 for key in ("median", "minimum", "iqr")}
        chase.add_row(size(p["footprint_bytes"]), size(p["page_bytes"]), f"{p['threads']}", number(ns["median"]),
                      number(ns["minimum"]), number(ns["iqr"]))  # fmt: skip
    sweep = plain_table("\nSequential, GB/s", "access", "footprint", "pages", "threads", "median", "IQR")
    rows = plain_table(
        "\nRandom rows, GB/s", "row", "footprint", "pages", "threads", "prefetch", "FMA/line", "median", "IQR"
    )
    for p in points:
        if p["bytes_per_second"] is None:
            continue
        rate = [number(p["bytes_per_second"][key] / 1e9) for key in ("median", "iqr")]
        if p["row_bytes"]:
            ahead = size(p["prefetch_bytes"]) if p["prefetch_bytes"] else "-"
            rows.add_row(size(p["row_bytes"]), size(p["footprint_bytes"]), size(p["page_bytes"]), f"{p['threads']}", ahead,
                         f"{p['fmas_per_line'] or '-'}", *rate)  # fmt: skip
        else:
            sweep.add_row(p["kind"], size(p["footprint_bytes"]), size(p["page_bytes"]), f"{p['threads']}", *rate)
    return [chase, sweep, rows]


def peak_tables(record: Mapping[str, Any]) -> list[Table]:
    """Instructions a cycle, latencies, and what threads cost."""
    rates = plain_table("Throughput (whole vectors)", "instruction", "a cycle", "IQR")
    for r in record["rates"]:
        rates.add_row(r["name"], *(f"{r['per_cycle'][key]:.2f}" for key in ("median", "iqr")))
    latencies = plain_table("\nLatency", "instruction", "cycles", "IQR")
    for r in record["latencies"]:
        latencies.add_row(r["name"], *(f"{r['latency_cycles'][key]:.2f}" for key in ("median", "iqr")))
    threads = plain_table("\nThreads", "threads", "barrier ns", "start us", "pool ns")
    for r in record["threads"]:
        threads.add_row(f"{r['threads']}", number(r["barrier_seconds"]["median"] * 1e9),
                        number(r["start_seconds"]["median"] * 1e6), number(r["pool_seconds"]["median"] * 1e9))  # fmt: skip
    return [rates, latencies, threads]


def sharing_tables(record: Mapping[str, Any]) -> list[Table]:
    """Hand-overs of a line by pair of CPUs, and increments of a line by number of cores."""
    pairs = plain_table("Line hand-over", "CPUs", "ns one way", "fastest", "IQR")
    for p in record["hand_overs"]:
        pairs.add_row("-".join(map(str, p["cpus"])), *_nanoseconds(p["seconds"]))
    counters = plain_table("\nA counter in one line", "cores", "work", "ns an increment", "fastest", "IQR")
    for c in record["counters"]:
        counters.add_row(f"{c['threads']}", f"{c['work_additions']}", *_nanoseconds(c["seconds"]))
    return [pairs, counters]


def _nanoseconds(seconds: Mapping[str, float]) -> list[str]:
    return [number(seconds[key] * 1e9) for key in ("median", "minimum", "iqr")]


def stage_tables(record: Mapping[str, Any]) -> list[Table]:
    """Stages of the layer, what bounds them, and how near they come."""
    table = plain_table("Stages, one thread, hot", "stage", "dtype", "us/token", "IQR", "least", "share", "bound")
    for s in record["stages"]:
        kind = "/".join(part for part in (s["projection_dtype"], s["table_dtype"]) if part)
        table.add_row(s["stage"], kind, number(s["microseconds_per_token"]), number(s["microseconds_iqr"]),
                      number(s["bound_microseconds"]), f"{s['share_of_bound']:.0%}", s["bound"])  # fmt: skip
    return [table]
