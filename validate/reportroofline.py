"""A roofline of the calibrated host: what a core can compute, what levels can bring to it, and where measured kernels lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.tables import number
from validate.points import ELEMENT_BYTES
from validate.reportgrid import NONE, Grid, Record, Section

PEAKS = {"fp32_flops": "fp32", "bf16_flops": "bf16", "int8_ops": "int8"}
"""Keys of `host_peaks` and their data types."""

LEVELS = {
    "L2": "caches.L2.bandwidth",
    "L3": "caches.L3.bandwidth",
    "memory": "memory.core_bandwidth",
}
SHARED = {"L3": "caches.L3.shared_bandwidth", "memory": "memory.read_bandwidth"}


@dataclass(frozen=True)
class Roof:
    """A bound of one thread: bytes a second from a level, or operations a second in a data type. `shared`: its part of what
    all cores have together."""

    name: str
    rate: float
    level: str = ""
    dtype: str = ""
    shared: bool = False


@dataclass(frozen=True)
class Operating:
    """A measured point: operations for each byte, and operations a second and thread."""

    label: str
    operator: str
    dtype: str
    threads: int
    intensity: float
    rate: float


def cores(found: Record) -> int:
    """Cores among which levels are shared."""
    return int(found["measured_host"].get("usable_cpus") or 1)


def roofs(found: Record) -> list[Roof]:
    """Bandwidths as calibrated, peaks where the record has them."""
    values = {p["name"]: p["after"] for p in found["parameters"]}
    alone = [Roof(f"{level}, one core", values[path], level) for level, path in LEVELS.items() if path in values]
    n = cores(found)
    part = [
        Roof(f"{level}, a core's part of {n}", values[path] / n, level, shared=True)
        for level, path in SHARED.items()
        if path in values and n > 1
    ]
    peaks = found.get("host_peaks") or {}
    compute = [Roof(f"{dtype} peak", peaks[key], dtype=dtype) for key, dtype in PEAKS.items() if peaks.get(key)]
    return [*alone, *part, *compute]


def operating(points: Sequence[Record]) -> list[Operating]:
    """Points whose operations are plain to count: GEMM FFNs and gathers."""
    found = []
    for p in points:
        counts = _counts(p)
        if counts is not None:
            operations, transferred = counts
            rate = operations / p["measured_seconds"] / p["threads"]
            found.append(Operating(p["label"], p["operator"], p["dtype"], p["threads"], operations / transferred, rate))
    return found


def _counts(p: Record) -> tuple[float, float] | None:
    """Operations and bytes of a call and layer. A GEMM reads its weights once, a gather a row for each token and table."""
    shape = p["shape"]
    if p["operator"] == "gemm_ffn":
        operations = 4.0 * p["batch"] * shape["hidden"] * shape["intermediate"]
        return operations, p["footprint_bytes"] / shape.get("layers", 1)
    if p["operator"] == "gather":
        additions = float(p["batch"] * shape["tables"] * shape["columns"])
        return additions, additions * ELEMENT_BYTES[p["dtype"]]
    return None


def roofline(found: Record) -> Section:
    """Roofs and operating points."""
    bounds, points = roofs(found), operating(found["points"])
    title = "Roofline of the host"
    if not bounds and not points:
        return Section(title, (NONE,))
    text = (
        "Rates of one thread. A GEMM FFN has 4 B d h operations and reads its weights once a call; a gather adds every element "
        "of a row once for each token and table and reads it as often, so that rows used again come from a nearer level. "
        "LookupFFN, BH4 and code+score are not drawn: their operations differ in kind."
    )  # fmt: skip
    sentences = [text]
    if not any(roof.dtype for roof in bounds):
        sentences.append("No peaks are drawn: the record has none.")
    if not any(roof.level for roof in bounds):
        sentences.append("No bandwidths are drawn: no probe has told any.")
    grids = []
    if bounds:
        rows = tuple((r.name, number(r.rate / 1e9), "GB/s" if r.level else "Gop/s") for r in bounds)
        grids.append(Grid(("roof", "a thread", "unit"), rows, ("roof", "unit")))
    if points:
        rows = tuple((o.label, number(o.intensity), number(o.rate / 1e9)) for o in points)
        grids.append(Grid(("point", "op/byte", "Gop/s a thread"), rows, ("point",), "Operating points", folded=True))
    caption = "Open markers: several threads, which share L3 and memory."
    return Section(title, tuple(sentences), ("roofline",), tuple(grids), caption)
