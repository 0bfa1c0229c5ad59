"""How well a library's GEMM uses this host: efficiency by tokens, a call, a barrier, how arithmetic hides behind weights.

Fitted to square layers that are never held out (`probing.gemm_points`): near ones, whose weights lie in the second level, by
tokens; farther ones for the overlap; both on one thread and on all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.machine import Curve, Duration, Machine, Provenance
from validate.expected import gemm_seconds
from validate.points import Point
from validate.probing import NEAR_SHAPE

Probes = Sequence[tuple[Point, float]]
Curves = dict[str, Curve]

MAIN = "onednn"
"""The library that a spec's curves describe; others have theirs in the campaign's calibration alone."""

EFFICIENCY, CALL, BARRIER, EXPONENT = (0.005, 1.0), (1e-8, 5e-6), (1e-8, 2e-5), (1.0, 8.0)
"""Bounds: share of the peak, seconds, seconds, exponents of overlap."""

START = {"efficiency": 0.6, "call": 3e-7, "barrier": 5e-7, "near": 2.0, "far": 1.2}
SMOOTH = 0.01
"""How much a step of the curve between neighbouring token counts weighs against a probe's error, both in logarithms."""


@dataclass(frozen=True)
class GemmFit:
    """The machine with the main library's curves; curves of other libraries, by name; log ratios of predicted over measured."""

    machine: Machine
    others: Curves
    residuals: tuple[tuple[Point, float], ...]
    refused: tuple[str, ...]


def with_library(machine: Machine, library: str, others: Curves) -> Machine:
    """The machine as that library uses it."""
    if library not in others:
        return machine
    return replace(machine, software=replace(machine.software, gemm_efficiency_fp32=others[library]))


def _field(dtype: str, machine: Machine) -> str:
    return "gemm_efficiency_tile" if machine.core.matrix is not None and dtype == "int8" else f"gemm_efficiency_{dtype}"


class _Problem:
    """Probes of one library as a problem of least squares: the logarithms of a curve for each data type, then what is common."""

    def __init__(self, machine: Machine, probes: Probes, common: bool) -> None:
        self.machine, self.common = machine, common
        self.groups: dict[tuple[str, int], list[tuple[Point, float]]] = {}
        for point, seconds in probes:
            self.groups.setdefault((point.gemm_dtype, point.threads), []).append((point, seconds))
        self.tokens = {
            dtype: sorted({float(p.batch) for p, _ in probes if p.gemm_dtype == dtype and p.hidden == NEAR_SHAPE[0]})
            for dtype in dict.fromkeys(p.gemm_dtype for p, _ in probes)
        }
        size = sum(map(len, self.tokens.values()))
        bounds = [EFFICIENCY] * size + ([CALL, CALL, BARRIER, EXPONENT, EXPONENT] if common else [])
        first = [START["efficiency"]] * size
        first += [START[name] for name in ("call", "call", "barrier", "near", "far")] if common else []
        self.low, self.high = np.log(np.array(bounds)).T
        self.start = np.clip(np.log(first), self.low + 1e-6, self.high - 1e-6)

    def at(self, logs: NDArray[np.float64]) -> Machine:
        """The machine with these parameters."""
        values = [float(v) for v in np.exp(logs)]
        changes: dict[str, Any] = {}
        place = 0
        for dtype, tokens in self.tokens.items():
            curve = tuple(zip(tokens, values[place : place + len(tokens)], strict=True))
            changes[_field(dtype, self.machine)] = curve
            place += len(tokens)
        if self.common:
            call, int8, barrier, near, far = values[place:]
            changes |= {
                "library_call": Duration(seconds=call),
                "library_call_int8": Duration(seconds=int8),
                "library_barrier": Duration(seconds=barrier),
                "library_overlap_cache": near,
                "library_overlap_memory": min(near, far),
            }
        return replace(self.machine, software=replace(self.machine.software, **changes))

    def residuals(self, logs: NDArray[np.float64]) -> NDArray[np.float64]:
        machine = self.at(logs)
        found = [
            np.log(gemm_seconds([p for p, _ in group], machine) / [s for _, s in group])
            for group in self.groups.values()
        ]
        place = 0
        for tokens in self.tokens.values():
            found.append(SMOOTH * np.diff(logs[place : place + len(tokens)]))
            place += len(tokens)
        return np.concatenate(found)

    def solved(self) -> Machine:
        from scipy.optimize import least_squares

        found = least_squares(
            self.residuals, self.start, bounds=(self.low, self.high), loss="soft_l1", f_scale=0.05, diff_step=1e-3,
            max_nfev=30,
        )  # fmt: skip
        return self.at(found.x)


def fit_gemm(machine: Machine, probes: Probes) -> GemmFit:
    """Curves of every library and data type that was measured; what was not keeps the spec's, and is said."""
    main = [(p, s) for p, s in probes if p.library == MAIN]
    dtypes = {p.gemm_dtype for p, _ in main}
    refused = tuple(
        f"software.gemm_efficiency_{dtype}: {MAIN} is not here; kept"
        for dtype in ("fp32", "bf16", "int8")
        if dtype not in dtypes
    )
    if main:
        problem = _Problem(machine, main, common=True)
        machine = problem.solved()
        fields = [_field(dtype, machine) for dtype in problem.tokens]
        fields += [f"library_{name}" for name in ("call", "call_int8", "barrier", "overlap_cache", "overlap_memory")]
        source = {f"software.{name}": Provenance("measured", "fitted to square layers", 0.05) for name in fields}
        machine = replace(machine, provenance={**machine.provenance, **source})
    others: Curves = {}
    for library in dict.fromkeys(p.library for p, _ in probes if p.library != MAIN):
        own = [(p, s) for p, s in probes if p.library == library]
        others[library] = _Problem(machine, own, common=False).solved().software.gemm_efficiency_fp32
    residuals = []
    for point, seconds in probes:
        now = gemm_seconds([point], with_library(machine, point.library, others))[0]
        residuals.append((point, float(np.log(now / seconds))))
    return GemmFit(machine, others, tuple(residuals), refused)
