"""Made-up results of a validation, and campaign files without a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from validate.journal import Journal
from validate.points import Point
from validate.results import Measured, Result

SHAPES: dict[str, dict[str, Any]] = {
    "lookup_ffn": {
        "hidden": 64, "tables": 8, "rows": 16, "columns": 64, "stripe": 64, "projection_dtype": "bf16", "table_dtype": "int8",
    },
    "gemm_ffn": {"hidden": 64, "intermediate": 256, "gemm_dtype": "bf16", "library": "onednn"},
    "gather": {"tables": 8, "rows": 16, "columns": 64, "stripe": 64, "table_dtype": "int8"},
    "bh4": {"hidden": 64, "tables": 8, "rows": 16, "projection_dtype": "fp32"},
    "code_score": {"hidden": 64, "tables": 8, "rows": 16, "projection_dtype": "fp32"},
}  # fmt: skip


def point(operator: str, batch: int = 8, threads: int = 1, **fields: Any) -> Point:
    """A small point of an operator."""
    return Point(operator, batch=batch, threads=threads, **{**SHAPES[operator], **fields})  # type: ignore[arg-type]


def result(
    p: Point,
    predicted: float,
    *,
    measured: float = 1.0,
    noise: float = 0.0,
    width: float = 1.1,
    before: float = 1.0,
    group: int = 0,
) -> Result:
    """A point that took `measured` seconds and should take `predicted`, give or take a factor of `width`."""
    return Result(
        Measured(p, group, measured, 0.0, noise, 7, 0), predicted, predicted / width, predicted * width, {}, before, ""
    )


HOST: dict[str, Any] = {
    "lookupsim_version": "0.1.0", "processor": "AMD EPYC", "vendor": "AuthenticAMD", "family": 26, "model": 2,
    "architecture": "x86_64", "virtual_machine": True, "logical_cpus": 2, "usable_cpus": 2,
    "caches": [{"level": 2, "size_bytes": 1048576, "cpus": 1}], "libraries": {},
}  # fmt: skip
FIRST: dict[str, Any] = {
    "seed": 1, "mode": "quick", "started": "2026-01-02T03:04:05+00:00", "huge_pages": True, "threads": [1, 2], "cpus": [0, 1],
    "host_id": "amd-epyc-f26m2-2c-vm", "host": HOST, "spec": "", "load": 0.0, "steal_seconds": 0.0,
}  # fmt: skip


def campaign(path: Path, lines: Sequence[dict[str, Any]] = ({"record": "row", "n": 0},), *, end: bool = True) -> Path:
    """A campaign's file of these lines after the first one."""
    journal = Journal.new(path, FIRST)
    for line in [*lines, *([{"record": "end"}] if end else [])]:
        journal.add(line)
    journal.close()
    return path
