"""The lines of a campaign between its microbenchmarks and its held-out rounds: the calibration, and predictions made from it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from simulator.machine import Machine
from simulator.specdump import dump_machine
from validate.calibration import Calibrated, calibrated
from validate.campaign import points_of
from validate.forecast import forecast

Line = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (
    "simulator/*.py",
    "kernels/plan.py",
    *(
        f"validate/{name}.py"
        for name in ("calibration", "discrepancy", "draw", "expected", "fitgemm", "forecast", "points", "probes")
    ),
    "validate/discrepancy.json",
)

MOST_INTERVAL = 1.0
"""Spec files take no interval above the value itself; samples of a noisy host may lie farther apart."""


@lru_cache(maxsize=1)
def model_digest() -> str:
    """Tells one version of the model from another: of everything that a prediction is computed with."""
    found = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            if not path.name.startswith("cli"):
                found.update(path.read_bytes())
    return found.hexdigest()[:16]


def frozen(lines: Sequence[Line]) -> list[Line]:
    """Calibration and predictions as lines; nothing of the held-out rounds is known. Raises ValueError."""
    start = time.monotonic()
    found = calibrated(lines)
    libraries = lines[0]["host"]["libraries"]
    points = [p for group in points_of(lines[0]) for p in group if not p.library or p.library in libraries]
    predictions = [forecast(p, found) for p in dict.fromkeys(points)]
    return [
        {
            "record": "calibrated", "model": model_digest(), "parameters": parameters(found),
            "refused": [*found.memory.refused, *found.gemm.refused], "spec": spec_text(found, lines),
            "others": {name: [list(point) for point in curve] for name, curve in found.others.items()},
            "mean_residual": found.memory.mean_residual, "seconds": time.monotonic() - start,
        },
        {"record": "predicted", "model": model_digest(), "points": predictions},
    ]  # fmt: skip


def parameters(found: Calibrated) -> list[Line]:
    """Every fitted parameter by its path in the spec."""
    return [{**asdict(p), "at_bound": p.at_bound} for p in found.memory.fitted]


def named(machine: Machine, first: Line) -> Machine:
    """The calibrated machine under the host's name, with what it comes from."""
    host = first["host"]
    notes = (
        f"Calibrated on {first['started']} from microbenchmarks of this host (seed {first['seed']}, {first['mode']}); parent: "
        f"its detected spec. {host['processor']}, {host['usable_cpus']} cores, lookupsim {host['lookupsim_version']}."
    )
    provenance = {path: replace(p, interval=min(p.interval, MOST_INTERVAL)) for path, p in machine.provenance.items()}
    return replace(machine, notes=notes, status="calibrated", id=first["host_id"], provenance=provenance)


def spec_text(found: Calibrated, lines: Sequence[Line]) -> str:
    """The calibrated spec as YAML, with its parent, data, date and residuals at the top."""
    first = lines[0]
    residuals = [abs(r) for _, r in found.memory.residuals]
    passes = sum(line["record"] == "pass" for line in lines)
    data = f"{len(found.memory.residuals)} memory probes and {len(found.gemm.residuals)} GEMM layers, {passes} passes"
    mean, worst = sum(residuals) / len(residuals), max(residuals)
    head = [
        f"Calibrated spec of {first['host']['processor']} ({first['host_id']}), written by 'python -m validate'.",
        f"Parent: the host's detected spec. Data: {data}, begun {first['started']}.",
        f"Residuals of the memory probes: mean {mean:.1%}, worst {worst:.0%} (natural logarithms).",
        *(f"Not told by any probe: {reason}." for reason in (*found.memory.refused, *found.gemm.refused)),
    ]
    return "".join(f"# {line}\n" for line in head) + dump_machine(named(found.machine, first))
