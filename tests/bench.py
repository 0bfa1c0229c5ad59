"""`make bench`: the model's own speed, held to its figures. Exit 1 if one is missed; nothing here is a test.

Each figure is the median of several runs, with the fastest and slowest beside it, on one pinned core.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from simulator.cli_common import console, write_json
from simulator.machine import Machine
from simulator.predict import predict, predict_points
from simulator.specfile import load_machine
from simulator.workload import Workload
from simulator.workloadfile import load_workload

ROOT = Path(__file__).resolve().parent.parent
POINTS = 4096
REPEATS = 9


@dataclass(frozen=True)
class Figure:
    """One measured figure against its bound; `at_least` tells in which direction it must lie."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    bound: float
    at_least: bool
    repeats: int

    @property
    def reached(self) -> bool:
        """Whether the median keeps the bound."""
        return self.median >= self.bound if self.at_least else self.median <= self.bound


def timed(action: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each run of `action`, after one that does not count."""
    action()
    runs = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        runs.append(time.perf_counter() - start)
    return runs


def figure(name: str, unit: str, values: list[float], bound: float, at_least: bool = False) -> Figure:
    """Median and spread of `values` against a bound."""
    return Figure(name, unit, median(values), min(values), max(values), bound, at_least, len(values))


def machines(cpu: Machine, count: int) -> Machine:
    """`count` variants of a machine that differ in eight values, as in a design-space study."""
    draw = np.random.default_rng(1)

    def around(value: float) -> Any:
        return value * draw.uniform(0.5, 2.0, count)

    caches, memory, core = cpu.caches, cpu.memory, cpu.core
    assert caches.L3 is not None
    return replace(
        cpu,
        caches=replace(
            caches,
            L1=replace(caches.L1, size_bytes=around(caches.L1.size_bytes)),
            L2=replace(caches.L2, size_bytes=around(caches.L2.size_bytes)),
            L3=replace(caches.L3, size_bytes=around(caches.L3.size_bytes)),
        ),
        memory=replace(
            memory,
            latency_seconds=around(memory.latency_seconds),
            read_bandwidth_bytes_per_second=around(memory.read_bandwidth_bytes_per_second),
        ),
        core=replace(
            core,
            demand_lines_in_flight=around(core.demand_lines_in_flight),
            load_bytes_per_cycle=around(core.load_bytes_per_cycle),
            vector=replace(core.vector, fma_per_cycle=around(core.vector.fma_per_cycle)),
        ),
    )


def model_figures() -> list[Figure]:
    """Points a second of the vectorised call and seconds of a single prediction, for both forms."""
    cpu = load_machine("amd-epyc-9755")
    lookup = load_workload("lookupffn-t128-s8-bh4")
    gemm = load_workload("roberta-small")
    many = machines(cpu, POINTS)
    batch = 2.0 ** np.random.default_rng(2).integers(0, 16, POINTS)
    threads = 2.0 ** np.random.default_rng(3).integers(0, 8, POINTS)

    def points(workload: Workload) -> Callable[[], Any]:
        return lambda: predict_points(many, replace(workload, batch=batch, threads=threads))

    def one(workload: Workload) -> Callable[[], Any]:
        return lambda: [predict(cpu, workload) for _ in range(20)]

    found = []
    for name, workload in (("GEMM", gemm), ("look-up", lookup)):
        rates = [POINTS / run for run in timed(points(workload), REPEATS)]
        found.append(figure(f"{name}, vectorised with mapper", "/s", rates, 10_000.0, at_least=True))
    rates = [POINTS / run for run in timed(lambda: (points(gemm)(), points(lookup)()), REPEATS)]
    found.append(figure("points: both forms, with mapper", "/s", rates, 10_000.0, at_least=True))
    for name, workload in (("GEMM", gemm), ("look-up", lookup)):
        single = [run / 20 * 1e3 for run in timed(one(workload), REPEATS)]
        found.append(figure(f"one predict, {name}", "ms", single, 1.0))
    return found


def command_figures(with_tests: bool) -> list[Figure]:
    """Seconds of whole commands."""
    program = [sys.executable, "-m", "simulator.cli"]

    def run(*command: str) -> Callable[[], Any]:
        return lambda: subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    found = [figure("lookupsim --help", "s", timed(run(*program, "--help"), REPEATS), 0.3)]
    found.append(figure("make run", "s", timed(run(*program, "compare", "--summary"), 3), 60.0))
    if with_tests:
        start = time.perf_counter()
        run(sys.executable, "-m", "pytest", "-q", "-n", "2")()
        found.append(figure("make test, 2 workers", "s", [time.perf_counter() - start], 300.0))
    return found


def table(figures: list[Figure]) -> Any:
    """The figures at 80 columns."""
    from rich.table import Table

    result = Table(box=None, pad_edge=False)
    for column in ("figure", "median", "best to worst", "must be", ""):
        result.add_column(column, justify="left" if column in ("figure", "") else "right", no_wrap=True)
    for f in figures:
        low, high = (f.high, f.low) if f.at_least else (f.low, f.high)
        result.add_row(f.name, f"{_digits(f.median)} {f.unit}", f"{_digits(low)} to {_digits(high)}",
                       f"{'>=' if f.at_least else '<='} {f.bound:,g}", "ok" if f.reached else "MISSED")  # fmt: skip
    return result


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000.0 else f"{value:.3g}"


@click.command()
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option("--tests/--no-tests", default=True, help="Whether the test suite is timed too.")
def main(json_file: Path | None, tests: bool) -> None:
    """Measures the model's speed and holds it to its figures."""
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, available[:1])
    figures = model_figures()
    os.sched_setaffinity(0, available)
    figures += command_figures(tests)
    console().print(table(figures))
    if json_file is not None:
        records = [{**asdict(f), "reached": f.reached} for f in figures]
        write_json(json_file, {"figures": records})
    sys.exit(0 if all(f.reached for f in figures) else 1)


if __name__ == "__main__":
    main()
