"""Shapes that real memories show, and what the model makes of the machines' parameters: `make bench-memory`.

Nothing is fitted to a row of this table. The Zen 5 host is described by what `lookupsim spec detect` writes for it, once as
it is and once with its idle memory latency in 2 MiB pages as measured; the Emerald Rapids VM by what detection wrote there, and
with the clock that it measured; EPYC 9354P by its spec; the machine that meets the condition for a reversal by
tests/data/near-rich.yaml.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from kernels.host import observe
from kernels.hostspec import detect_spec
from simulator.analytic import phase_time
from simulator.machine import Machine
from simulator.microbench import Probe, bytes_per_second, nanoseconds_a_line, probe_phase
from simulator.phases import Phase
from simulator.predict import predict
from simulator.resources import Resources, broadcastable, resolve
from simulator.specdump import values
from simulator.specfile import load_machine, load_machine_text
from tests.accuracy import HERE, HOST, Point, points, workload

Engine = Callable[[Phase, Resources], Any]
"""Seconds of one phase, one layer, one call; the closed forms unless another engine is given."""

KIB, MIB, GIB = 2.0**10, 2.0**20, 2.0**30
NEAR_RICH = HERE / "data" / "near-rich.yaml"
HOST_SOURCE = "2-core Zen 5 virtual machine, 2026-11-23"
IDLE_LATENCY = "152 ns"
"""Pointer chase in 2 MiB pages on that machine: 139-165 ns; the middle."""

CCD_SOURCE = "'Local vs interleaved bandwidth scaling - AMD EPYC 9354P', NPS4, random 64 B at the memory controllers"
CCDS = 8.0

GEMM_BYTES, ROW_BYTES = 8 * MIB, 256 * KIB
"""Dense fp32 weights of a layer and rows of one token; the projection's 1 MiB is near as well, so (8 - 1) / 0.25 = 28."""

PARAMETERS = ("clock.", "core.demand", "core.vector_window", "caches.", "tlb.", "prefetcher.", "memory.")


@dataclass(frozen=True)
class Shape:
    """One figure: what was measured (a range), what the model says, and what it says of the spec as detected (None: the same).

    `events`: by the event engine. `error`: 0 inside the measured range, else the relative distance to its nearer end.
    """

    machine: str
    name: str
    unit: str
    measured: tuple[float, float]
    predicted: float
    source: str
    as_detected: float | None = None
    events: float | None = None

    @property
    def error(self) -> float:
        """Predicted against the nearer end of the measured range."""
        low, high = self.measured
        return self.predicted / low - 1.0 if self.predicted < low else max(self.predicted / high - 1.0, 0.0)


def closed_forms(phase: Phase, r: Resources) -> Any:
    """The analytic engine."""
    return phase_time(phase, r).total


def host(idle_latency: str | None = IDLE_LATENCY) -> Machine:
    """The recorded Zen 5 host, with its measured idle latency or as detected."""
    settings = None if idle_latency is None else {"memory.latency": idle_latency}
    return load_machine_text(detect_spec(observe(HOST)), "zen5-host.yaml", settings)


def parameters(machine: Machine) -> dict[str, str]:
    """Spec values that the probes depend on."""
    return {v.path: v.text for v in values(machine) if v.path.startswith(PARAMETERS)}


def _run(machine: Machine, probe: Probe, threads: float, engine: Engine) -> tuple[float, float]:
    """(nanoseconds a line of one thread, GB/s of all)."""
    r = broadcastable(resolve(machine, threads))
    seconds = engine(probe_phase(probe, r), r)
    return float(nanoseconds_a_line(probe, seconds)), float(bytes_per_second(probe, r, seconds)) / 1e9


PROBES: tuple[tuple[str, str, tuple[float, float], Probe], ...] = (
    ("chase L1, 32 KiB, 4 KiB pages", "ns", (1.02, 1.05), Probe("chase", 32 * KIB, page_2m=0.0)),
    ("chase L2, 256 KiB, 4 KiB pages", "ns", (3.6, 4.0), Probe("chase", 256 * KIB, page_2m=0.0)),
    ("chase L3, 2 MiB, 4 KiB pages", "ns", (11.9, 17.0), Probe("chase", 2 * MIB, page_2m=0.0)),
    ("chase L3, 8 MiB, 4 KiB pages", "ns", (11.9, 17.0), Probe("chase", 8 * MIB, page_2m=0.0)),
    ("chase DRAM, 256 MiB, 4 KiB pages", "ns", (156.0, 172.0), Probe("chase", 256 * MIB, page_2m=0.0)),
    ("sweep L3, 8 MiB", "GB/s", (95.0, 109.0), Probe("sweep", 8 * MIB)),
    ("sweep DRAM, 256 MiB", "GB/s", (41.0, 49.0), Probe("sweep", 256 * MIB)),
    ("random 64 B, DRAM, 4 KiB pages", "GB/s", (8.4, 9.4), Probe("rows", 256 * MIB, page_2m=0.0)),
    ("random 64 B, DRAM, 2 MiB pages", "GB/s", (12.8, 12.8), Probe("rows", 256 * MIB)),
    ("random 2 KiB rows, DRAM, 4 KiB pages", "GB/s", (16.0, 25.0), Probe("rows", 256 * MIB, 2048.0, page_2m=0.0)),
    ("random 64 B, L3, 2 MiB", "GB/s", (73.0, 77.0), Probe("rows", 2 * MIB)),
    ("random 2 KiB rows, L3, 2 MiB", "GB/s", (92.0, 108.0), Probe("rows", 2 * MIB, 2048.0)),
)  # fmt: skip
"""One thread on the Zen 5 host."""

PAGES: tuple[tuple[str, tuple[float, float], Probe], ...] = (
    ("chase, 64 MiB: time in 4 KiB over 2 MiB pages", (1.0, 1.12), Probe("chase", 64 * MIB)),
    ("random 64 B, 64 MiB: time in 4 KiB over 2 MiB pages", (1.0, 1.10), Probe("rows", 64 * MIB)),
    ("random 2 KiB rows, 64 MiB: time in 4 KiB over 2 MiB pages", (1.0, 1.10), Probe("rows", 64 * MIB, 2048.0)),
)
"""156-172 against 139-165 ns beyond 64 MiB; at most 10 % on every row size."""


def host_shapes(engine: Engine = closed_forms) -> list[Shape]:
    """Plateaus, bandwidths and pages of the Zen 5 host."""
    cpu, detected = host(), host(None)
    found = []
    for name, unit, measured, probe in PROBES:
        index = 0 if unit == "ns" else 1
        now, plain = (_run(machine, probe, 1.0, engine)[index] for machine in (cpu, detected))
        found.append(Shape("Zen 5 host", name, unit, measured, now, HOST_SOURCE, plain))
    for name, measured, probe in PAGES:
        now, plain = (
            _run(m, replace(probe, page_2m=0.0), 1.0, engine)[0] / _run(m, probe, 1.0, engine)[0]
            for m in (cpu, detected)
        )
        found.append(Shape("Zen 5 host", name, "ratio", measured, now, HOST_SOURCE, plain))
    return found


EMERALD = HERE / "data" / "emerald-rapids-vm"
EMERALD_SOURCE = "tests/data/emerald-rapids-vm"
EMERALD_CLOCK = "2.35 GHz"
"""By a chain of dependent additions, between the probes."""

EMERALD_POINTS: tuple[tuple[str, str, float, float, float, float], ...] = (
    ("chase L1, 16 KiB", "chase", 16 * KIB, 1.0, 0.0, 1.0),
    ("chase L2, 1 MiB", "chase", 1 * MIB, 1.0, 0.0, 1.0),
    ("chase L3, 16 MiB", "chase", 16 * MIB, 1.0, 0.0, 1.0),
    ("chase DRAM, 256 MiB", "chase", 256 * MIB, 1.0, 0.0, 1.0),
    ("sweep L2, 512 KiB", "read", 512 * KIB, 1.0, 0.0, 1.0),
    ("sweep L3, 16 MiB", "read", 16 * MIB, 1.0, 0.0, 1.0),
    ("sweep DRAM, 256 MiB", "read", 256 * MIB, 1.0, 0.0, 1.0),
    ("random 64 B, DRAM", "rows", 256 * MIB, 1.0, 64.0, 1.0),
    ("random 2 KiB rows, DRAM", "rows", 256 * MIB, 1.0, 2048.0, 1.0),
    ("chase DRAM, 256 MiB, 4 KiB pages", "chase", 256 * MIB, 1.0, 0.0, 0.0),
    ("random 64 B, DRAM, 4 KiB pages", "rows", 256 * MIB, 1.0, 64.0, 0.0),
    ("sweep L3, 16 MiB a core, 16 cores", "read", 16 * MIB, 16.0, 0.0, 1.0),
)
"""Name, kind, bytes a thread, threads, row bytes, 2 MiB pages."""


def emerald(clock: str | None = EMERALD_CLOCK) -> Machine:
    """The Emerald Rapids VM as detected, or with its measured clock."""
    settings = None if clock is None else {f"clock.{kind}": clock for kind in ("scalar", "avx512", "amx")}
    return load_machine_text((EMERALD / "detected.yaml").read_text(), "detected.yaml", settings)


def emerald_shapes(engine: Engine = closed_forms) -> list[Shape]:
    """A machine of another vendor that nothing was tuned on: other guests hold most of its last level and its memory."""
    record = json.loads((EMERALD / "memory.json").read_text())
    key = [record["columns"].index(name) for name in ("kind", "footprint_bytes", "threads", "row_bytes", "page_bytes")]
    middle, spread = record["columns"].index("median"), record["columns"].index("iqr")
    plain = {tuple(p[k] for k in key): p for p in record["points"] if not (p[5] or p[6])}
    found = []
    for name, kind, size, threads, row, page_2m in EMERALD_POINTS:
        point = plain[kind, size, threads, row, 2**21 if page_2m else 4096]
        index, scale = (0, 1e9) if kind == "chase" else (1, 1e-9)
        low, high = ((point[middle] + sign * point[spread] / 2) * scale for sign in (-1, 1))
        program: Any = {"read": "sweep"}.get(kind, kind)
        probe = Probe(program, size, row or 64.0, page_2m=page_2m)
        now, detected = (_run(cpu, probe, threads, engine)[index] for cpu in (emerald(), emerald(None)))
        unit = "ns" if index == 0 else "GB/s"
        found.append(Shape("Emerald Rapids VM", name, unit, (low, high), now, record["date"], detected))
    return found


CCD_THREADS = ((1.0, 100.4), (2.0, 180.8), (3.0, 199.3), (4.0, 199.9))
"""Threads on one CCD of each of four NUMA nodes, GB/s of the four."""


def chiplet_shapes(engine: Engine = closed_forms, siblings: Engine = closed_forms) -> list[Shape]:
    """EPYC 9354P: one chiplet's link, then all memory channels; a NUMA node has two CCDs, filled one after the other.
    `siblings`: the engine with two hardware threads on each core, which closed forms do not tell from one."""
    cpu, probe = load_machine("amd-epyc-9354p"), Probe("rows", 4 * GIB)
    memory = cpu.memory.read_bandwidth_bytes_per_second / 1e9
    of_ccd = {n: _run(cpu, probe, n, engine)[1] for n in (1.0, 2.0, 3.0, 4.0)}
    found = [Shape("EPYC 9354P", "one chiplet link, 4 cores", "GB/s", (49.9, 49.9), of_ccd[4.0], CCD_SOURCE)]
    for n, measured in CCD_THREADS:
        name = f"{n:g} thread{'s' * (n > 1)} on one CCD of each node"
        found.append(Shape("EPYC 9354P", name, "GB/s", (measured, measured), 4.0 * of_ccd[n], CCD_SOURCE))
    for n, measured in ((5.0, 266.0), (6.0, 299.0)):
        predicted = min(4.0 * (of_ccd[4.0] + of_ccd[n - 4.0]), memory)
        found.append(Shape("EPYC 9354P", f"{n:g} threads a node", "GB/s", (measured, measured), predicted, CCD_SOURCE))
    for name, measured_range, which in (
        ("all cores, one thread each", (326.0, 326.0), engine),
        ("all cores, SMT", (363.0, 367.0), siblings),
    ):
        everything = _run(cpu, probe, CCDS * 4.0, which)[1]
        found.append(Shape("EPYC 9354P", name, "GB/s", measured_range, everything, CCD_SOURCE))
    return found


PAIRS = (("fp32", "fp32/fp32"), ("bf16", "bf16/bf16"), ("int8", "int16/int8"))


def winner_shapes(found: list[Point] | None = None) -> list[Shape]:
    """GEMM time over look-up time at equal dtype, hot and whole model, one thread; the spec as detected."""
    measured = {(p.dtype, p.residency, p.batch): p for p in (points() if found is None else found)}
    shapes = []
    for gemm, lookup in PAIRS:
        for residency in ("hot", "model"):
            for batch in sorted({p.batch for p in measured.values()}):
                a, b = measured[gemm, residency, batch], measured[lookup, residency, batch]
                ratio = a.measured_us / b.measured_us
                name = f"GEMM {gemm} over look-up {lookup}, {residency}, B={batch:g}"
                predicted = a.predicted_us / b.predicted_us
                shapes.append(
                    Shape("Zen 5 host", name, "ratio", (ratio, ratio), predicted, "tests/data/zen5-vm-ffn.yaml")
                )
    agreed = sum((shape.predicted > 1.0) == (shape.measured[0] > 1.0) for shape in shapes)
    everyone = float(len(shapes))
    name = "winners that agree, hot and model, three precisions, five batches"
    return [
        Shape("Zen 5 host", name, "cases", (everyone, everyone), float(agreed), "tests/data/zen5-vm-ffn.yaml"),
        *shapes,
    ]


def emerald_winners() -> list[Shape]:
    """The same on the Emerald Rapids VM, whole model: this project's kernels against oneDNN, which has AMX there."""
    rows = json.loads((EMERALD / "compare.json").read_text())["times"]
    keys = ("projection_dtype", "table_dtype", "gemm_library", "gemm_dtype", "batch")
    measured = {tuple(row[key] for key in keys): row["seconds_median"] for row in rows}
    cpu, shapes = emerald(), []
    for gemm, lookup in PAIRS:
        for batch in sorted({row["batch"] for row in rows}):
            ratio = measured[None, None, "onednn", gemm, batch] / measured[*lookup.split("/"), None, None, batch]
            task = {"batch": float(batch), "threads": 1.0, "residency": "model"}
            a, b = (predict(cpu, replace(workload(*form), **task)) for form in (("gemm", gemm), ("lookup", lookup)))  # type: ignore[arg-type]
            name = f"GEMM {gemm} over look-up {lookup}, model, B={batch:g}"
            predicted = a.seconds_per_call / b.seconds_per_call
            shapes.append(Shape("Emerald Rapids VM", name, "ratio", (ratio, ratio), predicted, EMERALD_SOURCE))
    agreed = sum((shape.predicted > 1.0) == (shape.measured[0] > 1.0) for shape in shapes)
    everyone = float(len(shapes))
    name = "winners that agree, model, three precisions, four batches"
    return [Shape("Emerald Rapids VM", name, "cases", (everyone, everyone), float(agreed), EMERALD_SOURCE), *shapes]


@dataclass(frozen=True)
class Reversal:
    """One machine at one token, fp32: delivered bandwidths and who wins.

    `near`: dense weights over the GEMM's time; `row`: table rows over the gather's time. `speedup`: GEMM time over look-up time.
    """

    misses_in_flight: float
    near_bytes_per_second: float
    row_bytes_per_second: float
    speedup: float

    @property
    def ratio(self) -> float:
        """Near over row bandwidth; 28 is where the weights' bytes and the rows' take equally long."""
        return self.near_bytes_per_second / self.row_bytes_per_second


def reversal(misses_in_flight: float, engine: Any = "analytic") -> Reversal:
    """The near-rich machine with so many lines in flight to memory."""
    lines = f"{misses_in_flight:g}"
    settings = {"core.demand_lines_in_flight": lines, "prefetcher.software_lines_in_flight": lines}
    cpu = load_machine_text(NEAR_RICH.read_text(), "near-rich.yaml", settings)
    task = {"batch": 1.0, "threads": 1.0, "residency": "model"}
    gemm = predict(cpu, replace(workload("gemm", "fp32"), **task), engine)  # type: ignore[arg-type]
    lookup = predict(cpu, replace(workload("lookup", "fp32/fp32"), **task), engine)  # type: ignore[arg-type]
    gather = next(phase.seconds for phase in lookup.phases if phase.name == "gather")
    a, b = gemm.seconds_per_token_layer, lookup.seconds_per_token_layer
    return Reversal(misses_in_flight, GEMM_BYTES / a, ROW_BYTES / gather, a / b)


def turning_point(engine: Any = "analytic") -> Reversal:
    """Where neither form wins: bisection over the misses in flight."""
    low, high = 0.25, 64.0
    assert reversal(low, engine).speedup < 1.0 < reversal(high, engine).speedup
    for _ in range(30):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if reversal(middle, engine).speedup < 1.0 else (low, middle)
    return reversal(low, engine)


def reversal_shapes(engine: Any = "analytic") -> list[Shape]:
    """The condition under which the dense form wins at one token."""
    turn, few, base = turning_point(engine), reversal(2.0, engine), load_machine("amd-epyc-9755")
    task = {"batch": 1.0, "threads": 1.0, "residency": "model"}
    a, b = (
        predict(base, replace(workload(*form), **task)).seconds_per_call  # type: ignore[arg-type]
        for form in (("gemm", "fp32"), ("lookup", "fp32/fp32"))
    )
    source = "(8 MiB - 1 MiB) / 0.25 MiB: bytes that the two forms read at one token"
    return [
        Shape(
            "near-rich", "near over row bandwidth where the winner changes", "ratio", (28.0, 28.0), turn.ratio, source
        ),
        Shape(
            "near-rich", "GEMM over look-up, B=1, fp32: below 1, GEMM wins", "ratio", (0.0, 1.0), few.speedup, source
        ),
        Shape("EPYC 9755", "the same where the condition is not met", "ratio", (1.0, 99.0), a / b, source),
    ]


def event_engine(phase: Phase, r: Resources) -> Any:
    """Queues in place of closed forms."""
    from simulator.events import run_phases

    return run_phases((phase,), r).seconds


def event_engine_smt(phase: Phase, r: Resources) -> Any:
    """The same with two hardware threads a core."""
    from simulator.events import EventOptions, run_phases

    return run_phases((phase,), r, EventOptions(smt=2)).seconds


def shapes() -> list[Shape]:
    """Every row of the table; microbenchmarks and the reversal by both engines."""
    both: list[list[Shape]] = [
        [*host_shapes(engine), *emerald_shapes(engine), *chiplet_shapes(engine, siblings), *reversal_shapes(forms)]
        for engine, siblings, forms in (
            (closed_forms, closed_forms, "analytic"),
            (event_engine, event_engine_smt, "events"),
        )
    ]
    joined = [replace(shape, events=other.predicted) for shape, other in zip(*both, strict=True)]
    return [*joined, *winner_shapes(), *emerald_winners()]


def table(found: list[Shape]) -> Any:
    """The rows for a terminal."""
    from rich.table import Table

    result = Table(box=None, pad_edge=False)
    for column in ("machine", "shape", "measured", "predicted", "error", "events", "as detected"):
        result.add_column(column, no_wrap=True, justify="left" if column in ("machine", "shape") else "right")
    for shape in found:
        low, high = shape.measured
        measured = f"{low:.4g}" if low == high else f"{low:.4g}-{high:.4g}"
        plain = "" if shape.as_detected is None else f"{shape.as_detected:.3g}"
        cells = (
            f"{measured} {shape.unit}",
            f"{shape.predicted:.3g}",
            f"{shape.error:+.0%}" if shape.error else "inside",
            "" if shape.events is None else f"{shape.events:.3g}",
        )
        result.add_row(shape.machine, shape.name, *cells, plain)
    return result


def collect() -> dict[str, Any]:
    """Every row, and the parameters of the machines."""
    machines = {"Zen 5 host": host(), "Emerald Rapids VM": emerald(), "EPYC 9354P": load_machine("amd-epyc-9354p")}
    records = [{**asdict(shape), "error": shape.error} for shape in shapes()]
    return {"shapes": records, "parameters": {name: parameters(machine) for name, machine in machines.items()}}


def from_records(records: list[dict[str, Any]]) -> list[Shape]:
    """Rows as `collect` wrote them."""
    names = [field.name for field in fields(Shape)]
    return [Shape(**{k: tuple(r[k]) if k == "measured" else r[k] for k in names}) for r in records]


def tables(found: dict[str, Any]) -> list[Any]:
    """The rows, then what the machines were."""
    stated = [f"\n{name}: " + "; ".join(f"{k} {v}" for k, v in p.items()) for name, p in found["parameters"].items()]
    return [table(from_records(found["shapes"])), *stated]
