"""A user's own workload as points: measured on this host now, predicted by a campaign's calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernels.gemmlibrary import LIBRARIES, load_library
from kernels.measure import pinned
from simulator.workload import PAGE_2M_BYTES, GemmFfn, LookupFfn, Workload
from simulator.workloadfile import load_workload
from validate import hold
from validate.calibration import calibrated
from validate.calls import Calls
from validate.check import Check
from validate.draw import gemm_point, lookup_point
from validate.forecast import forecast
from validate.hostfacts import host_facts, usable_cpus, why_another
from validate.points import Point, PointError
from validate.results import Result, measured_points

Line = dict[str, Any]

MOST_LAYERS = 8
"""More of them than this are larger than any cache that one thread sees, and only take memory."""

PROJECTIONS = {"fp32": "fp32", "bf16": "bf16", "int8": "int16"}


def points_of(workload: Workload, threads: Sequence[int]) -> list[Point]:
    """The workload on one thread and on all, at its own batch. Raises PointError for what no kernel here runs."""
    op, found = workload.operator, []
    for n in threads if workload.threads is None else (int(workload.threads),):
        model = workload.residency == "model" and workload.layers > 1
        around = {
            "threads": n,
            "residency": "model" if model else "hot",
            "layers": min(int(workload.layers), MOST_LAYERS) if model else 1,
        }
        if isinstance(op, GemmFfn):
            if op.gated or op.dtype not in ("fp32", "bf16", "int8") or op.activation != "gelu":
                raise PointError(f"{workload.name}: the compiled dense layer has GELU, no gate, and fp32, bf16 or int8")
            found.append(
                gemm_point("onednn", op.dtype, int(workload.batch), (int(op.hidden), int(op.intermediate)), around)
            )
        else:
            found.append(_lookup(workload, op, around))
    pages = "2MiB" if workload.page_bytes == PAGE_2M_BYTES else "4KiB"
    return [Point(**{**vars(p), "page": pages}) for p in found]


def _lookup(workload: Workload, op: LookupFfn, around: dict[str, Any]) -> Point:
    if op.projection != "bh4" or op.hidden != op.output or op.block != 64 or op.stages != 4:
        raise PointError(
            f"{workload.name}: compiled layers have a BH4 of 4 stages and blocks of 64, and as many outputs as inputs"
        )
    projection = op.projection_dtype if op.projection_dtype != "fp32" else PROJECTIONS[op.table_dtype]
    shape = int(op.tables), int(op.rows), int(op.hidden)
    return lookup_point(projection, op.table_dtype, int(workload.batch), shape, around)


def own_check(path: Path, lines: Sequence[Line]) -> Check:
    """Measures a workload file and holds it against the calibration of a campaign of this host. Raises ValueError."""
    first = lines[0]
    cpus = usable_cpus()
    if other := why_another(host_facts(cpus), first["host"]):
        raise ValueError(f"the campaign was measured on another machine: {other}; run python -m validate here first")
    points = points_of(load_workload(str(path)), tuple(first["threads"]))
    for p in points:
        if p.library and p.library not in first["host"]["libraries"]:
            raise ValueError(f"{p.library} is not here: its GEMM cannot be measured")
        if p.threads > len(cpus):
            raise ValueError(f"threads: the workload wants {p.threads}, this host has {len(cpus)} cores to pin them to")
    for name in LIBRARIES:
        if name in first["host"]["libraries"]:
            load_library(name)
    calibration = calibrated(lines)
    predictions = [forecast(p, calibration) for p in points]  # before anything is measured
    rounds: list[Line] = [{"record": "group", "group": 0, "points": [f["point"] for f in predictions]}]
    with pinned():
        made = hold.prepare(points, Calls(cpus), hold.FULL.seconds_a_round)
        hold.measure_group(
            made,
            hold.FULL,
            hold.Reference(cpus),
            lambda line: rounds.append({"record": "round", "group": 0, **line}),
        )
    results = tuple(
        Result(m, f["seconds"], f["low_seconds"], f["high_seconds"], f["phases"], f["before_seconds"], f["explanation"])
        for m, f in zip(measured_points(rounds), predictions, strict=True)
    )
    return Check((first, *rounds), results, frozen=False)
