"""How far simulator/incore.py is from stages measured on a host, from published instruction throughputs, and from llvm-mca
where that is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from kernels.incore_items import ITEMS, Item, loop_cycles, predicted_cycles
from kernels.incore_targets import TARGETS, TWO_PASSES, narrow
from kernels.incore_trust import Throughputs
from simulator.incore import core_cycles
from simulator.machine import Machine
from simulator.phases import Work
from simulator.resources import broadcastable, resolve
from simulator.specfile import load_machine

WORK_OF_KIND: dict[str, Work] = {
    "vfmadd231ps zmm": Work(macs_fp32=16.0),
    "vdpbf16ps zmm": Work(macs_bf16=32.0),
    "vpdpwssd zmm": Work(macs_int16=32.0),
    "vpdpbusd zmm": Work(macs_int8=64.0),
    "fmla 128": Work(macs_fp32=4.0),
    "tdpbf16ps tmm": Work(macs_tile=16.0 * 16 * 32, tile_element_bytes=2.0),
    "tdpbusd tmm": Work(macs_tile=16.0 * 16 * 64, tile_element_bytes=1.0),
}
"""One instruction as the model counts work."""


@dataclass(frozen=True)
class Comparison:
    """`against`: 'stage' or 'instruction' (measured), 'published', 'llvm-mca'; cycles a token or an instruction."""

    against: str
    where: str
    what: str
    predicted: float
    found: float

    @property
    def error(self) -> float:
        """Relative error of the model."""
        return self.predicted / self.found - 1.0


@cache
def _machine(spec: str, narrowed: bool) -> Machine:
    machine = load_machine(spec)
    return narrow(machine) if narrowed else machine


def _comparable(item: Item, spec: str) -> bool:
    """Whether the spec says what the item needs: rates of 512-bit vectors, or of 256-bit ones by halving."""
    return bool(spec) and (not item.narrow or spec in TWO_PASSES)


def against_stages(measured: Mapping[str, Any]) -> list[Comparison]:
    """Stages measured on a host whose design a shipped spec describes."""
    if not measured["target"]:
        return []
    spec = measured["spec"]
    return [
        Comparison("stage", measured["target"], item.name, predicted_cycles(item, _machine(spec, item.narrow)),
                   measured["cycles_per_token"][item.name]["median"])
        for item in ITEMS
        if item.name in measured["cycles_per_token"] and _comparable(item, spec)
    ]  # fmt: skip


def _instruction(against: str, where: str, kind: str, spec: str, cycles: float) -> Comparison:
    predicted = float(core_cycles(WORK_OF_KIND[kind], broadcastable(resolve(_machine(spec, False), 1.0))).total)
    return Comparison(against, where, kind, predicted, cycles)


def against_instructions(data: Throughputs, measured: Mapping[str, Any] | None) -> list[Comparison]:
    """Instructions, published or measured, that the model counts by themselves."""
    found = [
        _instruction("published", entry.name, kind, entry.spec, cycles)
        for entry in data.published
        for kind, cycles in entry.cycles.items()
        if entry.spec and kind in WORK_OF_KIND
    ]
    if measured is not None and measured["target"]:
        found += [
            _instruction("instruction", measured["target"], kind, measured["spec"], value["median"])
            for kind, value in measured["instruction_cycles"].items()
            if kind in WORK_OF_KIND
        ]
    return found


def trusted_cycles(record: Mapping[str, Any], target: str, compiler: str) -> dict[tuple[str, str], float]:
    """(source, mark) -> cycles an iteration, of the loops that llvm-mca is a referee for."""
    return {
        (loop["source"], loop["loop"]): loop["targets"][target]["cycles"]
        for loop in record["loops"]
        if loop["compiler"] == compiler and target in loop["targets"] and not loop["targets"][target]["excluded"]
    }


def against_mca(record: Mapping[str, Any]) -> list[Comparison]:
    """Stages whose loops are all trusted, on targets that a shipped spec describes."""
    found = []
    for target in TARGETS:
        for compiler in sorted({loop["compiler"] for loop in record["loops"]}):
            cycles = trusted_cycles(record, target.name, compiler)
            for item in ITEMS:
                total = loop_cycles(item, cycles)
                if total is None or not _comparable(item, target.spec):
                    continue
                predicted = predicted_cycles(item, _machine(target.spec, item.narrow))
                found.append(Comparison("llvm-mca", target.name, f"{item.name}, {compiler}", predicted, total))
    return found


def every_comparison(
    record: Mapping[str, Any], data: Throughputs, measured: Mapping[str, Any] | None
) -> list[Comparison]:
    """All that the model is held to."""
    stages = [] if measured is None else against_stages(measured)
    return [*stages, *against_instructions(data, measured), *against_mca(record)]


def summary(chosen: Iterable[Comparison]) -> dict[str, float]:
    """Median, 95th percentile and worst of the absolute relative errors, and their number."""
    errors = [abs(c.error) for c in chosen]
    if not errors:
        return {"items": 0}
    return {
        "items": len(errors),
        "median": float(np.median(errors)),
        "p95": float(np.quantile(errors, 0.95)),
        "worst": max(errors),
    }
