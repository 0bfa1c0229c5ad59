"""What the model says of a point: its operator, schedule and phases, and their time on a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.plan import project_tile
from simulator.analytic import phase_time
from simulator.lower_gemm import lower_gemm
from simulator.lower_lookup import lower_lookup
from simulator.lowering import Context, dealt, dealt_pieces, sequential
from simulator.machine import Machine
from simulator.phases import Phase, Work
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

FUSED_EFFICIENCY = 0.88
"""Of stages that follow each other in one layer, against each by itself again and again: chosen on development points."""

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
    """The kernels' loop nest in the model's words. Rows that are fetched by code come one pass of a tile over a group of tables
    ahead, or those of the same group so many tokens ahead; the first group of a stripe and the first tokens of a tile have no
    prefetch."""
    nest = p.nest or Nest(48, 1, p.tables, 0, 0, 0)
    piece = p.stripe * ELEMENT_BYTES[p.table_dtype or "int8"]
    split = SPLITS[nest.split]
    group, mine = min(nest.table_group, p.tables), p.tables
    if split == SPLIT_TABLES:
        mine = -(-p.tables // (4 * SHARDS)) * 4  # shards of whole fours, however many threads there are
        group = min(group, mine)
    share = -(-p.batch // p.threads) if split == SPLIT_TOKENS else p.batch
    tile = max(1, min(nest.token_tile, share))
    ahead, prefetched = 0.0, 1.0
    if nest.near_tokens and nest.near_tokens < tile:
        ahead, prefetched = float(nest.near_tokens * group * piece), 1.0 - nest.near_tokens / tile
    elif nest.bulk == BULK_BY_CODE and group < mine:
        ahead, prefetched = float(tile * group * piece), 1.0 - group / mine  # all tokens of the tile come in between
    block = nest.project_tile
    if p.operator == "gather" and split == SPLIT_TOKENS:
        block = tile  # there is nothing to encode: a tile a turn
    return LookupSchedule(
        token_tile=float(nest.token_tile),
        table_group=float(group),
        column_stripe=float(p.stripe or 64),
        split=split,
        prefetch_bytes=ahead,
        folded=1.0,
        bulk=1.0 if nest.bulk == BULK_LINEAR else 0.0,
        prefetched=prefetched,
        block_tokens=float(block),
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
        return tuple(_fused(phase) for phase in (*phases, *_copied(p, r)))
    alone = [replace(phase, library_calls=0.0) for phase in phases if phase.name in STAGES[p.operator]]
    if p.operator != "gather":
        block = dealt_pieces(float(p.batch), float(project_tile(p.batch, p.threads)), float(p.threads))
        alone = [replace(phase, barriers=0.0, **block) for phase in alone]
    return (replace(alone[0], barriers=alone[0].barriers + 1.0), *alone[1:])  # workers start and end together


def _fused(phase: Phase) -> Phase:
    return replace(phase, work=replace(phase.work, efficiency=phase.work.efficiency * FUSED_EFFICIENCY))


def _copied(p: Point, r: Resources) -> tuple[Phase, ...]:
    """Outputs that do not fill whole stripes are summed elsewhere and copied, tile by tile."""
    if p.columns % p.stripe == 0:
        return ()
    nest = p.nest or Nest(48, 1, p.tables, 0, 0, 0)
    tokens = min(nest.token_tile, max(1, p.batch // p.threads))
    size = 4.0 * p.batch * p.columns
    work = Work(load_bytes=size, store_bytes=size, chain_cycles=size / 4.0 / r.lanes, efficiency=r.kernel_efficiency)
    near, far = 4.0 * tokens * p.columns, 8.0 * p.batch * p.columns
    streams = (
        sequential("sums", size, near, near * p.threads),
        sequential("outputs", size, far / p.threads, far, writes=1.0),
    )
    return (Phase("copy", work, streams, **dealt(float(p.batch), r.threads)),)


def resources_of(machine: Machine, threads: int) -> Resources:
    """What so many threads have."""
    return broadcastable(resolve(machine, float(threads)))


def gemm_seconds(points: Sequence[Point], machine: Machine) -> NDArray[np.float64]:
    """Seconds of a layer and call of dense layers of one data type and number of threads, all at once."""

    def column(name: str) -> NDArray[np.float64]:
        return np.array([float(getattr(p, name)) for p in points])

    first = points[0]
    r = resources_of(machine, first.threads)
    tiles = 1.0 if float(r.tile_bytes_per_cycle) > 0.0 and first.gemm_dtype != "fp32" else 0.0
    op = GemmFfn(hidden=column("hidden"), intermediate=column("intermediate"), dtype=first.gemm_dtype)  # type: ignore[arg-type]
    context = Context(batch=column("batch"), layers=column("layers"), evicted_bytes=0.0, page_2m=1.0)
    total = np.zeros(len(points))
    for phase in lower_gemm(op, GemmSchedule(GEMM_TOKEN_TILE, 1.0, tiles), r, context):
        total = total + phase_time(phase, r).total
    return total


def predicted(p: Point, machine: Machine) -> dict[str, float]:
    """Seconds of one layer and call by phase."""
    r = resources_of(machine, p.threads)
    return {phase.name: _number(phase_time(phase, r).total) for phase in phases_of(p, r)}


def _number(value: Any) -> float:
    return float(value.flat[0]) if hasattr(value, "flat") else float(value)
