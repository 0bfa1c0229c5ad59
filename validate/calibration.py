"""A campaign's microbenchmarks made into a machine: the detected spec, then everything that probes tell of it.

Pure: the same lines give the same machine on every host. No held-out point has a say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from simulator.calibrate import Calibration, calibrate, with_core
from simulator.machine import Machine
from simulator.specfile import load_machine_text
from validate.fitgemm import Curves, GemmFit, fit_gemm, with_library
from validate.points import Point
from validate.probes import core_probes, gemm_probes, memory_probes, resampled

Line = dict[str, Any]

DRAWS = 12
"""Bootstrap samples of the passes."""


@dataclass(frozen=True)
class Calibrated:
    """`before`: the spec as detected, with the measured clock alone. `machine`: calibrated. `draws`: by other samples of the
    passes. `others`: curves of GEMM libraries that the spec does not describe."""

    before: Machine
    machine: Machine
    draws: tuple[Machine, ...]
    others: Curves
    memory: Calibration
    gemm: GemmFit

    def of(self, point: Point) -> Machine:
        """The machine as the point's library uses it."""
        return with_library(self.machine, point.library, self.others)

    def draws_of(self, point: Point) -> tuple[Machine, ...]:
        """The same by other samples."""
        return tuple(with_library(machine, point.library, self.others) for machine in self.draws)


def passes_of(lines: Sequence[Line]) -> list[Line]:
    """The passes of the microbenchmarks."""
    return [line for line in lines if line["record"] == "pass"]


def calibrated(lines: Sequence[Line]) -> Calibrated:
    """The machine of a campaign. Raises ValueError where its passes cannot tell a clock or the memory."""
    passes = passes_of(lines)
    if not passes:
        raise ValueError("no pass of the microbenchmarks was finished")
    spec = load_machine_text(lines[0]["spec"], f"{lines[0]['host_id']}.yaml")
    core = core_probes(passes)
    probes = memory_probes(passes)
    samples = [[p.seconds_a_line for p in memory_probes(resampled(passes, draw))] for draw in range(DRAWS)]
    memory = calibrate(spec, core, probes, samples)
    gemm = fit_gemm(memory.machine, gemm_probes(passes))
    software = gemm.machine.software
    draws = tuple(replace(machine, software=_drawn(software, machine)) for machine in memory.draws)
    before = with_core(spec, replace(core, per_cycle={}, barrier_seconds=()))
    return Calibrated(before, gemm.machine, draws, gemm.others, memory, gemm)


def _drawn(software: Any, machine: Machine) -> Any:
    """The library's curves with what memory probes of the draw say of kernels."""
    own = machine.software
    return replace(
        software,
        kernel_efficiency=own.kernel_efficiency,
        row_overlap_cache=own.row_overlap_cache,
        row_overlap_memory=own.row_overlap_memory,
    )
