"""In-core time of a Phase: how many cycles its instructions need when every operand is in L1.

The bound of each port group is counted on its own; the slowest one rules (they run side by side in an out-of-order
core), divided by the efficiency that tuned code reaches, plus what nothing overlaps (dependency chains).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.phases import Work
from simulator.resources import Resources

MULTIPLIES_INT8 = 2.0  # vpmaddubsw + vpmaddwd where vpdpbusd is missing, and a vpaddd on any pipe
MULTIPLIES_INT16 = 1.0  # vpmaddwd where vpdpwssd is missing, and a vpaddd on any pipe
WIDEN_INSTRUCTIONS_BF16 = 1.0  # a shift per half vector where vdpbf16ps is missing


@dataclass(frozen=True)
class CoreCycles:
    """Cycles of one core's share of a phase, by what bounds them. `total` is what the core needs."""

    total: Any
    arithmetic: Any
    l1: Any
    """Cycles that loads and stores add beyond the arithmetic."""


def _per(work: Any, rate: Any) -> Any:
    """work / rate, with 0 for no work and infinity for work that no unit can do."""
    if isinstance(work, float) and work == 0.0:
        return 0.0
    if isinstance(rate, float):
        if rate > 0.0:
            return work / rate
        return np.where(np.asarray(work) > 0.0, np.inf, 0.0)
    positive = rate > 0.0
    return np.where(positive, work / np.where(positive, rate, 1.0), np.where(np.asarray(work) > 0.0, np.inf, 0.0))


def _select(condition: Any, yes: Any, no: Any) -> Any:
    if isinstance(condition, (bool, np.bool_)):
        return yes if condition else no
    return np.where(condition, yes, no)


@dataclass(frozen=True)
class Multiplies:
    """Multiply-adds of a Work: cycles on the multiply pipes, instructions issued, places that they take in the vector pipes
    (one an instruction, less where a spec counts one instruction as several), ALU element operations of emulation."""

    cycles: Any
    instructions: Any
    places: Any
    alu: Any


def _is_zero(work: Any) -> bool:
    return isinstance(work, float) and work == 0.0


def vector_pipes(r: Resources) -> Any:
    """Vector instructions a cycle of all kinds together."""
    return np.maximum(r.alu_per_cycle, r.fma_per_cycle)


def multiplies(work: Work, r: Resources) -> Multiplies:
    """Native dot products where the machine has them, their emulation with plain multiplies elsewhere."""
    instructions: Any = work.macs_fp32 / r.lanes
    cycles: Any = instructions / r.fma_per_cycle
    places: Any = instructions
    pipes = vector_pipes(r)
    alu: Any = 0.0
    for macs, per_lane, rate, emulation, additions in (
        (work.macs_bf16, 2.0, r.dot_bf16_per_cycle, 2.0, 0.0),  # two fp32 multiply-adds after widening
        (work.macs_int16, 2.0, r.dot_int16_per_cycle, MULTIPLIES_INT16, 1.0),
        (work.macs_int8, 4.0, r.dot_int8_per_cycle, MULTIPLIES_INT8, 1.0),
    ):
        if _is_zero(macs):
            continue
        has = rate > 0.0
        native = macs / (r.lanes * per_lane)
        emulated = native * emulation
        instructions = instructions + _select(has, native, emulated)
        alone = _per(native, rate) if np.any(has) else 0.0
        cycles = cycles + _select(has, alone, emulated / r.fma_per_cycle)
        places = places + _select(has, np.minimum(native, alone * pipes), emulated)
        if additions:
            alu = alu + _select(has, 0.0, native * r.lanes * additions)
    if not _is_zero(work.macs_bf16):
        widening = work.macs_bf16 * WIDEN_INSTRUCTIONS_BF16 / 6.0  # shared by the 6 rows of a register block
        alu = alu + _select(r.dot_bf16_per_cycle > 0.0, 0.0, widening)
    return Multiplies(cycles, instructions, places, alu)


def core_cycles(work: Work, r: Resources) -> CoreCycles:
    """Cycles that the whole of `work` would take on one core."""
    multiply = multiplies(work, r)
    # Multiplies and conversions take pipes that ALU operations could have: all of them together fill the vector pipes.
    alu = (multiply.places + (work.alu + multiply.alu + work.convert) / r.lanes) / vector_pipes(r)
    alu = np.maximum(alu, (work.alu + multiply.alu) / (r.lanes * r.alu_per_cycle))
    convert = work.convert / (r.lanes * r.convert_per_cycle)
    memory_uops = (work.load_bytes + work.store_bytes) / (4.0 * r.lanes)
    uops = multiply.instructions + (work.alu + multiply.alu + work.convert) / r.lanes + memory_uops + work.scalar_uops
    arithmetic = np.maximum(np.maximum(multiply.cycles, alu), np.maximum(convert, uops / r.issue_width))
    arithmetic = arithmetic + work.exp / r.lanes * r.exp_cycles_per_vector
    tiles = work.macs_tile
    if not (isinstance(tiles, float) and tiles == 0.0):
        # tile_bytes_per_cycle counts operand bytes: MACs per cycle = that / bytes per element
        arithmetic = arithmetic + np.where(
            tiles > 0.0, _per(tiles * work.tile_element_bytes, r.tile_bytes_per_cycle), 0.0
        )
    l1 = np.maximum(work.load_bytes / r.load_bytes_per_cycle, work.store_bytes / r.store_bytes_per_cycle)
    arithmetic = np.maximum(arithmetic / work.efficiency, work.latency_cycles)
    beyond = np.maximum(l1 / work.efficiency - arithmetic, 0.0)
    arithmetic = arithmetic + work.chain_cycles
    return CoreCycles(total=arithmetic + beyond, arithmetic=arithmetic, l1=beyond)
