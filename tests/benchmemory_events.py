"""The event engine against queueing theory, itself and the closed forms: `python -m tests.benchmemory_events`."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from simulator.analytic import layer_seconds
from simulator.cli_common import console, write_json
from simulator.events import EventOptions, EventRun, run_phases
from simulator.phases import Phase
from simulator.predict import context_of, lower, predict, thread_count
from simulator.resources import Resources, broadcastable, resolve
from simulator.specfile import SPEC_FOLDER, load_machine
from simulator.workload import Workload, with_dtype
from simulator.workloadfile import load_workload
from tests.eventqueues import queues

MACHINE, WORKLOAD, BATCH = "amd-epyc-9755", "lookupffn-t128-s8-bh4", 32768.0
FORMS = (
    ("lookupffn-t128-s8-bh4", ("fp32", "bf16", "int8")),
    ("lookupffn-t64-s8-dense", ("fp32",)),
    ("hypo-llama32-1b-t512", ("int8",)),
    ("roberta-small", ("fp32", "bf16", "int8")),
    ("llama-3.2-1b", ("bf16",)),
)
BATCHES = (1.0, 16.0, 512.0, 4096.0)


def prepared(machine_id: str, workload: Workload) -> tuple[tuple[Phase, ...], Resources]:
    """Phases of the schedule that the mapper chooses with the closed forms, and the resources they run on."""
    machine = load_machine(machine_id)
    r = broadcastable(resolve(machine, thread_count(machine, workload)))
    return lower(workload.operator, predict(machine, workload).schedule, r, context_of(workload)), r


def large(threads: float) -> tuple[tuple[Phase, ...], Resources]:
    """The figure's workload on 128 cores or fewer."""
    return prepared(MACHINE, replace(load_workload(WORKLOAD), batch=BATCH, threads=threads))


def timed(threads: float) -> tuple[float, EventRun]:
    """(seconds of one run with its plan, the run)."""
    phases, r = large(threads)
    start = time.perf_counter()
    run = run_phases(phases, r)
    return time.perf_counter() - start, run


_MEMORY = """
import resource, sys
from tests.benchmemory_events import timed
timed(float(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_megabytes(threads: float) -> float:
    """Largest resident set of a fresh process that makes one run, interpreter and imports included."""
    command = [sys.executable, "-c", _MEMORY, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024.0


def figures(rounds: int = 3) -> list[dict[str, Any]]:
    """Seconds and memory of one run."""
    goals = {128.0: (2.0, 500.0), 2.0: (0.5, 500.0)}
    rows = []
    for threads, (seconds, megabytes) in goals.items():
        runs = [timed(threads) for _ in range(rounds)]
        rows.append(
            {
                "cores": threads,
                "seconds": round(float(np.median([t for t, _ in runs])), 3),
                "goal_seconds": seconds,
                "megabytes": round(peak_megabytes(threads)),
                "goal_megabytes": megabytes,
                "events": sum(phase.events for phase in runs[0][1].phases),
            }
        )
    return rows


def granularity() -> list[dict[str, Any]]:
    """How much finer packets, more packets and other draws move the result."""
    rows = []
    for threads in (2.0, 128.0):
        phases, r = large(threads)
        base = run_phases(phases, r).seconds
        default = EventOptions()
        variants = {
            "packets of half the lines": replace(default, packet_lines=default.packet_lines / 2),
            "twice the packets": replace(default, packets=default.packets * 2),
            "other draws": replace(default, seed=1),
        }
        for name, options in variants.items():
            change = run_phases(phases, r, options).seconds / base - 1.0
            rows.append({"cores": threads, "change": name, "moves": change})
    return rows


def agreement(
    threads: float | None, machines: list[str] | None = None, options: EventOptions | None = None
) -> list[dict[str, Any]]:
    """Events over closed forms for machines x workloads x dtypes x batches; `threads` None: a whole socket."""
    names = machines or sorted(path.stem for path in SPEC_FOLDER.glob("*.yaml"))
    rows = []
    for machine in names:
        for name, dtypes in FORMS:
            for dtype in dtypes:
                for batch in BATCHES:
                    workload = replace(with_dtype(load_workload(name), dtype), batch=batch, threads=threads)
                    phases, r = prepared(machine, workload)
                    run = run_phases(phases, r, options)
                    ratio = run.seconds / float(layer_seconds(phases, r)) - 1.0
                    case = {"machine": machine, "workload": name, "dtype": dtype, "batch": batch}
                    waits = max(run.stations, key=lambda s: s.mean_wait_ps * s.packets)
                    rows.append({**case, "difference": ratio, "station": waits.name, "use": waits.utilisation})
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Number, mean, 95th percentile and worst case of absolute differences."""
    sizes = np.array([abs(row["difference"]) for row in rows])
    worst = rows[int(np.argmax(sizes))]
    return {
        "cases": len(rows),
        "mean": float(sizes.mean()),
        "p95": float(np.quantile(sizes, 0.95)),
        "within_5_percent": int((sizes <= 0.05).sum()),
        "worst": worst,
    }


def collect() -> dict[str, Any]:
    """All tables."""
    checks = [
        {"check": q.name, "unit": q.unit, "measured": q.measured, "theory": q.theory, "error": q.error}
        for q in queues()
    ]
    alone, socket = agreement(1.0), agreement(None)
    return {
        "queues": checks,
        "figures": figures(),
        "granularity": granularity(),
        "agreement": {"one thread": summary(alone), "a whole socket": summary(socket)},
        "cases": {"one thread": alone, "a whole socket": socket},
    }


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Any:
    from rich.table import Table

    result = Table(box=None, pad_edge=False)
    for i, column in enumerate(columns):
        result.add_column(column, no_wrap=True, justify="right" if i else "left")
    for row in rows:
        result.add_row(*row)
    return result


def tables(found: dict[str, Any]) -> list[Any]:
    """For a terminal."""
    checks = [
        (q["check"], f"{q['measured']:.6g} {q['unit']}", f"{q['theory']:.6g}", f"{q['error']:+.2%}")
        for q in found["queues"]
    ]
    costs = [
        (
            f"t128-s8-bh4, B=32768, {f['cores']:g} cores",
            f"{f['seconds']:.2f} s (goal {f['goal_seconds']:g})",
            f"{f['megabytes']} MB (goal {f['goal_megabytes']:g})",
            str(f["events"]),
        )
        for f in found["figures"]
    ]
    moved = [(f"{g['cores']:g} cores", g["change"], f"{g['moves']:+.2%}") for g in found["granularity"]]
    agreed = []
    for where, s in found["agreement"].items():
        w = s["worst"]
        worst = f"{w['difference']:+.1%} {w['machine']} {w['workload']} {w['dtype']} B={w['batch']:g} ({w['station']})"
        agreed.append(
            (where, str(s["cases"]), str(s["within_5_percent"]), f"{s['mean']:.2%}", f"{s['p95']:.2%}", worst)
        )
    return [
        _table(("queue", "measured", "theory", "error"), checks),
        _table(("one run", "time", "memory", "events"), costs),
        _table(("granularity", "change", "moves"), moved),
        _table(("engines", "cases", "within 5 %", "mean", "P95", "worst"), agreed),
    ]


@click.command()
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
def main(json_file: Path | None) -> None:
    """Queues, figures, granularity and agreement of the engines."""
    found = collect()
    screen = console()
    screen.width = max(screen.width, 130)
    for table in tables(found):
        screen.print(table)
    if json_file is not None:
        write_json(json_file, found)


if __name__ == "__main__":
    main()
