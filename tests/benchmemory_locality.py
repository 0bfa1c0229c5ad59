"""The closed forms of locality against the trace simulator: `python -m tests.benchmemory_locality [--json FILE]`.

500 seeded cases (tests/localitycases.py) and 40 of TLB reach: points of hit rate, predicted less simulated, where a level's hit
rate is the share of all accesses found there or further in. 150 cases of prefetch cover (tests/prefetchcases.py): points of the
lines that would miss. Nothing is stored between runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from simulator.cli_common import console, write_json
from simulator.lookup_reuse import gather_accesses
from simulator.lowering import Context
from simulator.mapper import lookup_candidates
from simulator.resources import broadcastable, resolve
from simulator.workload import LookupFfn
from tests.localitycases import (
    Outcome,
    cases,
    outcome,
    page_cases,
    page_outcome,
    predicted_phases,
    small_machine,
    stream_misses,
)
from tests.prefetchcases import PrefetchOutcome, prefetch_cases, prefetch_outcome

CASES, PAGE_CASES, PREFETCH_CASES = 500, 40, 150
GOAL_MEAN, GOAL_P95 = 1.2, 3.0
"""Points of hit rate per level."""

COVER_GOAL_MEAN, COVER_GOAL_P95 = 1.0, 3.0
"""Points of prefetch cover."""


def summary(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """One record a kind and level, and all kinds together: cases, mean, P95, largest error and its case, mean signed error."""
    groups: dict[str, list[Outcome]] = {}
    for found in outcomes:
        groups.setdefault(found.case.kind, []).append(found)
    caches = [found for kind, several in groups.items() if kind != "pages" for found in several]
    records = []
    for kind, several in [*sorted(groups.items()), *([("all caches", caches)] if caches else [])]:
        errors = np.array([found.errors for found in several])
        for level in range(errors.shape[1]):
            sizes = np.abs(errors[:, level])
            worst = int(np.argmax(sizes))
            records.append({
                "kind": kind, "level": ("TLB " if kind == "pages" else "") + f"L{level + 1}", "cases": len(several),
                "mean_points": float(sizes.mean()), "p95_points": float(np.percentile(sizes, 95)),
                "max_points": float(sizes[worst]), "bias_points": float(errors[:, level].mean()),
                "worst": several[worst].case.name,
            })  # fmt: skip
    return records


def cover_summary(outcomes: Iterable[PrefetchOutcome]) -> list[dict[str, Any]]:
    """One record a kind of prefetcher and figure (lines covered, lines fetched in vain), and all kinds together."""
    found = list(outcomes)
    records = []
    for kind in (*sorted({o.case.prefetcher.kind for o in found}), "all prefetchers"):
        several = [o for o in found if kind in (o.case.prefetcher.kind, "all prefetchers")]
        for figure in ("covered", "unused"):
            errors = np.array([100.0 * (getattr(o.predicted, figure) - getattr(o.simulated, figure)) for o in several])
            sizes = np.abs(errors)
            worst = int(np.argmax(sizes))
            records.append({
                "kind": kind, "figure": figure, "cases": len(several), "mean_points": float(sizes.mean()),
                "p95_points": float(np.percentile(sizes, 95)), "max_points": float(sizes[worst]),
                "bias_points": float(errors.mean()), "worst": several[worst].case.name,
            })  # fmt: skip
    return records


def query_seconds(count: int = 40) -> float:
    """Median seconds in which one case's phases are lowered and their miss shares known."""
    taken = []
    for case in cases(count, kinds=("gather",)):
        start = time.perf_counter()
        phases, r = predicted_phases(case)
        for phase in phases:
            for stream in phase.streams:
                stream_misses(stream, r)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def nest_seconds(points: int = 256, repeats: int = 5) -> float:
    """Median seconds for each of the mapper's schedules and each of so many batches, judged in one pass."""
    op = LookupFfn(512.0, 512.0, 128.0, 256.0, block=64.0, stages=2.0)
    schedules = lookup_candidates()
    context = Context(np.geomspace(1.0, 32768.0, points)[:, None], 12.0, 0.0)
    r = broadcastable(resolve(small_machine((48 << 10, 1 << 20, 32 << 20), (12, 16, 16), 8), 8.0))
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        gather_accesses(op, schedules, r, context)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) / (points * np.size(schedules.token_tile))


def collect() -> dict[str, Any]:
    """All cases: the records of `summary` and every case's figures."""
    drawn = cases(CASES)
    outcomes = []
    for index, case in enumerate(drawn):
        if index % 100 == 0:
            print(f"locality: {index} of {len(drawn)} cases", file=sys.stderr, flush=True)
        outcomes.append(outcome(case))
    outcomes += [page_outcome(case) for case in page_cases(PAGE_CASES)]
    covers = [prefetch_outcome(case) for case in prefetch_cases(PREFETCH_CASES)]
    return {
        "prefetch_cover": {
            "goal": {"mean_points": COVER_GOAL_MEAN, "p95_points": COVER_GOAL_P95},
            "kinds": cover_summary(covers),
            "cases": [
                {"name": o.case.name, "simulated": asdict(o.simulated), "predicted": asdict(o.predicted)}
                for o in covers
            ],
        },
        "goal": {"mean_points": GOAL_MEAN, "p95_points": GOAL_P95},
        "levels": summary(outcomes),
        "query_microseconds": query_seconds() * 1e6,
        "nest_microseconds": nest_seconds() * 1e6,
        "cases": [
            {"name": o.case.name, "kind": o.case.kind, "simulated": o.simulated, "predicted": o.predicted}
            for o in outcomes
        ],
    }


def _errors(records: Iterable[dict[str, Any]], group: str) -> Any:
    """A table of records by kind and `group`."""
    from rich.table import Table

    result = Table(box=None, pad_edge=False)
    for column in ("kind", group, "cases", "mean", "P95", "max", "bias", "worst case"):
        result.add_column(
            column, no_wrap=column != "worst case", justify="left" if column in ("kind", "worst case") else "right"
        )
    for record in records:
        figures = (f"{record[f'{name}_points']:.2f}" for name in ("mean", "p95", "max", "bias"))
        result.add_row(record["kind"], record[group], str(record["cases"]), *figures, record["worst"])
    return result


def tables(found: dict[str, Any]) -> list[Any]:
    """The records for a terminal: hit rates, prefetch cover."""
    result, covers = _errors(found["levels"], "level"), _errors(found["prefetch_cover"]["kinds"], "figure")
    covers.caption = f"points of lines that would miss; goal: mean {COVER_GOAL_MEAN}, P95 {COVER_GOAL_P95}"
    result.caption = (
        f"points of hit rate; goal: mean {GOAL_MEAN}, P95 {GOAL_P95}; a case lowered with all its miss shares in "
        f"{found['query_microseconds']:.0f} microseconds, "
        f"many batches and schedules at once in {found['nest_microseconds']:.1f} each"
    )
    return [result, covers]


@click.command()
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
def main(json_file: Path | None) -> None:
    """Closed forms of locality against the trace simulator."""
    found = collect()
    screen = console()
    screen.width = max(screen.width, 150)
    for table in tables(found):
        screen.print(table)
    if json_file is not None:
        write_json(json_file, found)


if __name__ == "__main__":
    main()
