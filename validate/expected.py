"""What the model says of a point: its operator, schedule and phases, and their time on a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simulator.analytic import phase_time
from simulator.lower_gemm import lower_gemm
from simulator.lower_lookup import lower_lookup
from simulator.lowering import Context
from simulator.machine import Machine
from simulator.phases import Phase
from simulator.resources import Resources, broadcastable, resolve
from simulator.schedule import SPLIT_COLUMNS, SPLIT_TABLES, SPLIT_TOKENS, GemmSchedule, LookupSchedule
from simulator.workload import GemmFfn, IndexDistribution, LookupFfn
from validate.points import ELEMENT_BYTES, Nest, Point

STAGES: Mapping[str, tuple[str, ...]] = {
    "bh4": ("block_gemm", "hadamard"),
    "code_score": ("code_score",),
    "gather": ("gather", "reduction"),
}
"""Phases of a look-up layer that an operator alone is."""

SPLITS = (SPLIT_TOKENS, SPLIT_COLUMNS, SPLIT_TABLES)
BULK_BY_CODE, BULK_LINEAR = 1, 2
SHARDS = 8
"""Of the tables where threads share them out (kernels/include/gather_threads.hpp)."""

GEMM_TOKEN_TILE = 512.0
"""Tokens a pass of `kernels.gemm`."""


def lookup_operator(p: Point) -> LookupFfn:
    """The look-up layer of a point as the kernels lay it out: columns in whole stripes, int8 tables in fours. What a stage
    alone does not use is at its least."""
    stripe, together = p.stripe or 64, 4 if p.table_dtype == "int8" else 1
    return LookupFfn(
        hidden=float(p.hidden or 64),
        output=float(-(-(p.columns or 64) // stripe) * stripe),
        tables=float(-(-p.tables // together) * together),
        rows=float(p.rows),
        table_dtype=p.table_dtype or "int8",  # type: ignore[arg-type]
        projection_dtype=p.projection_dtype or "fp32",  # type: ignore[arg-type]
        indices=IndexDistribution("zipf", p.skew) if p.skew else IndexDistribution(),
    )


def gemm_operator(p: Point) -> GemmFfn:
    """The dense layer of a point."""
    return GemmFfn(hidden=float(p.hidden), intermediate=float(p.intermediate), dtype=p.gemm_dtype)  # type: ignore[arg-type]


def lookup_schedule(p: Point) -> LookupSchedule:
    """The kernels' loop nest in the model's words. Rows that are fetched by code come one group of tables ahead, or those of the
    same group so many tokens ahead."""
    nest = p.nest or Nest(48, 1, p.tables, 0, 0, 0)
    piece = p.stripe * ELEMENT_BYTES[p.table_dtype or "int8"]
    group = min(nest.table_group, p.tables)
    if SPLITS[nest.split] == SPLIT_TABLES:
        group = min(group, -(-p.tables // (4 * SHARDS)) * 4)  # shards of whole fours, however many threads there are
    ahead = 0.0
    if nest.near_tokens:
        ahead = float(nest.near_tokens * group * piece)
    elif nest.bulk == BULK_BY_CODE and group < p.tables:
        ahead = float(group * piece)
    return LookupSchedule(
        token_tile=float(nest.token_tile),
        table_group=float(group),
        column_stripe=float(p.stripe or 64),
        split=SPLITS[nest.split],
        prefetch_bytes=ahead,
        folded=1.0,
        bulk=1.0 if nest.bulk == BULK_LINEAR else 0.0,
    )


def context_of(p: Point) -> Context:
    """Batch, layers that compete for the caches, page size."""
    layers = float(p.layers) if p.residency == "model" else 1.0
    return Context(batch=float(p.batch), layers=layers, evicted_bytes=0.0, page_2m=1.0 if p.page == "2MiB" else 0.0)


def phases_of(p: Point, r: Resources) -> tuple[Phase, ...]:
    """What one call of one layer runs."""
    if p.operator == "gemm_ffn":
        tiles = 1.0 if float(r.tile_bytes_per_cycle) > 0.0 and p.gemm_dtype != "fp32" else 0.0
        return lower_gemm(gemm_operator(p), GemmSchedule(GEMM_TOKEN_TILE, 1.0, tiles), r, context_of(p))
    phases = lower_lookup(lookup_operator(p), lookup_schedule(p), r, context_of(p))
    if p.operator == "lookup_ffn":
        return phases
    alone = [replace(phase, library_calls=0.0) for phase in phases if phase.name in STAGES[p.operator]]
    return (replace(alone[0], barriers=alone[0].barriers + 1.0), *alone[1:])  # workers start and end together


def resources_of(machine: Machine, threads: int) -> Resources:
    """What so many threads have."""
    return broadcastable(resolve(machine, float(threads)))


def predicted(p: Point, machine: Machine) -> dict[str, float]:
    """Seconds of one layer and call by phase."""
    r = resources_of(machine, p.threads)
    return {phase.name: _number(phase_time(phase, r).total) for phase in phases_of(p, r)}


def _number(value: Any) -> float:
    return float(value.flat[0]) if hasattr(value, "flat") else float(value)
