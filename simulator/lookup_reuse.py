"""How the arrays of a look-up gather come back: table rows, sums, codes and scores of one worker and of those on a shared cache.

The nest is that of the kernels (`addresses_lookup`): a worker encodes an outer tile of tokens in blocks, then gathers it: shards
of tables (split by tables), inner tiles, column stripes, groups of tables, tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.lowering import FAR, Context
from simulator.phases import Access
from simulator.resources import Resources
from simulator.rowreuse import Draws, RowNest
from simulator.schedule import LookupSchedule
from simulator.workload import (
    ELEMENT_BYTES,
    LookupFfn,
    hash_bits,
    padded_hidden,
    projection_outputs,
    projection_parameters,
    repeats,
)

BLOCK_TOKENS, REGISTER_TOKENS = 48.0, 6.0
"""Tokens encoded together (kernels/plan.py), in whole groups of those that share a load of weights."""

REGISTER_COLUMNS, LINE = 256.0, 64.0
SHARDS = 8.0


@dataclass(frozen=True)
class Loops:
    """Sizes of one worker's loops. `unit`: tables walked before an inner tile ends; `inner`, `outer`: tokens of a pass and of what is
    encoded together; `tokens`: of a call; `piece`: bytes of a row in one stripe; `near`: workers on one shared cache."""

    workers: Any
    near: Any
    tokens: Any
    outer: Any
    inner: Any
    block: Any
    group: Any
    unit: Any
    tables: Any
    stripe: Any
    columns: Any
    piece: Any
    row: Any
    by_tokens: Any
    total_columns: Any


def loops(op: LookupFfn, schedule: LookupSchedule, threads: Any, sharers: Any, context: Context, d: Any) -> Loops:
    """Loops of a worker; d: the division of the work (tables, columns, stripe, flags)."""
    batch = context.batch
    share = np.ceil(batch / threads)
    block = np.minimum(np.minimum(BLOCK_TOKENS, np.ceil(share / REGISTER_TOKENS) * REGISTER_TOKENS), batch)
    blocks = np.ceil(batch / block)
    fair = np.ceil(blocks / threads)
    fewest, most = np.where(d.by_tokens, 1.0, threads), np.where(d.by_tokens, fair, blocks)
    outer = np.minimum(np.maximum(np.floor(schedule.token_tile / block), fewest), most) * block
    shards = np.maximum(SHARDS, threads)
    fours = np.where(shards > SHARDS, 4.0 if op.table_dtype == "int8" else 1.0, 4.0)
    shard = np.minimum(np.ceil(np.ceil(op.tables / shards) / fours) * fours, op.tables)
    unit = np.where(d.by_tables, shard, d.tables)
    parts = np.minimum(np.ceil(op.tables / shard), threads)
    tables = np.where(d.by_tables, op.tables / parts, d.tables)
    workers = np.where(d.by_tokens, np.minimum(threads, np.ceil(batch / outer)), np.where(d.by_tables, parts, d.workers))
    tokens = np.where(d.by_tokens, batch / workers, batch)
    outer = np.minimum(outer, tokens)
    single = np.asarray(schedule.token_tile) <= 1.0
    inner = np.where(single, outer, np.minimum(schedule.token_tile, outer))
    together = 4.0 if op.table_dtype == "int8" else 1.0
    group = np.where(single, unit, np.minimum(np.ceil(schedule.table_group / together) * together, unit))
    element = ELEMENT_BYTES[op.table_dtype]
    stripe = np.where(single, d.columns, d.stripe)
    return Loops(workers=workers, near=np.minimum(sharers, workers), tokens=tokens, outer=outer, inner=inner, block=block,
                 group=group, unit=unit, tables=tables, stripe=stripe, columns=d.columns, piece=stripe * element,
                 row=d.columns * element, by_tokens=d.by_tokens, total_columns=op.output)  # fmt: skip


def _encode_bytes(op: LookupFfn, n: Loops, threads: Any) -> tuple[Any, Any]:
    """(weights of the projection, buffers of one core between LayerNorm and codes)."""
    operand = ELEMENT_BYTES[op.projection_dtype]
    outputs = projection_outputs(op)
    weights = (projection_parameters(op) - outputs) * operand + outputs * 4.0
    width = padded_hidden(op) if op.projection == "bh4" else op.hidden
    wide = repeats(op) * width if op.projection == "bh4" else outputs
    copies = np.where((hash_bits(op) == 8.0) & (op.projection == "bh4"), 2.0, 1.0)
    buffers = n.block * (width * (4.0 * copies + 2.0 * operand) + wide * 4.0) + np.maximum(n.block, 24.0) * width * 4.0
    return weights, buffers


def _codes_line(op: LookupFfn, group: Any) -> Any:
    """Bytes of codes and scores of one token that a pass over a group of tables brings near."""
    wide = _padded(op)
    return np.minimum(np.maximum(group * 2.0, LINE), wide * 2.0) + np.minimum(np.maximum(group * 4.0, LINE), wide * 4.0)


def _padded(op: LookupFfn) -> Any:
    """Tables with those that fill a token's codes up to 16."""
    return np.ceil(op.tables / 16.0) * 16.0


def _nest(op: LookupFfn, n: Loops, context: Context, draws: Draws, threads: Any, cores: Any) -> RowNest:
    """The nest as `cores` workers see it together (1: one core)."""
    weights, buffers = _encode_bytes(op, n, threads)
    together = np.where(n.by_tokens, cores, 1.0)  # workers that draw rows of the same tables
    apart = cores / together  # workers that have tables or columns of their own
    shards = np.maximum(n.tables / n.unit, 1.0)
    inner, outer, tokens = n.inner * together, n.outer * together, n.tokens * together
    sums = n.columns * 4.0 * apart * shards
    codes = _padded(op) * 6.0
    inputs = op.hidden * 4.0 / np.where(n.by_tokens, 1.0, np.maximum(threads / cores, 1.0))
    encode = weights + buffers * cores + codes * outer * np.where(n.by_tokens, 1.0, 2.0)
    own, everything = n.group * n.piece * apart, n.tables * n.row * apart
    unit = n.unit * n.row * apart
    crossing = n.inner / n.outer
    others = (everything - unit) * draws.distinct(outer) * np.where(crossing < 1.0, 1.0, 0.0)
    normal = weights + everything * draws.distinct(tokens)
    swept = context.evicted_bytes * context.layers
    return RowNest(
        draws=draws,
        own_bytes=own,
        all_bytes=everything,
        pass_linear=n.stripe * 4.0 * apart + _codes_line(op, n.group),
        tile_linear=sums + inputs,
        tile=inner,
        tokens=tokens,
        encode_bytes=encode * crossing + others * 0.0,
        layers=context.layers,
        between_bytes=(context.layers - 1.0) * weights + swept + normal * 0.0,
        piece_bytes=n.piece,
    )


def row_accesses(op: LookupFfn, n: Loops, context: Context, r: Resources, draws: Draws) -> tuple[Access, ...]:
    """Accesses to table rows by age: within a pass, across tiles, first in a call by a core of rows that a sibling brought, first in
    a call on a shared cache."""
    core, shared = (_nest(op, n, context, draws, r.threads, cores) for cores in (1.0, n.near))
    tile_c, call_c = core.parts()
    tile_s, call_s = shared.parts()
    call_s = np.minimum(call_s, call_c)
    total = context.batch * op.tables * op.output * ELEMENT_BYTES[op.table_dtype]
    shares = (1.0 - tile_c, tile_c - call_c, call_c - call_s, call_s)
    levels: list[tuple[Any, ...]] = []
    for level in r.levels:
        found = None if level.shared is True else core.misses(level)
        if level.shared is False:
            assert found is not None
            levels.append((*found, found[2]))
            continue
        within, across, first = shared.misses(level)
        ends = (0.0, 1.0 - tile_c, 1.0 - call_c, 1.0 - call_s, 1.0)
        spans = ((0.0, 1.0 - tile_s, within), (1.0 - tile_s, 1.0 - call_s, across), (1.0 - call_s, 1.0, first))
        parts = [_over(low, high, spans) for low, high in zip(ends, ends[1:], strict=False)]
        if found is not None:
            parts = [np.where(level.shared, p, f) for p, f in zip(parts, (*found, found[2]), strict=True)]
        levels.append(tuple(parts))
    far = core.between_bytes + context.layers * core.all_bytes
    return tuple(
        Access(total * share, far, far, misses=tuple(level[part] for level in levels)) for part, share in enumerate(shares)
    )


def _over(low: Any, high: Any, spans: Any) -> Any:
    """Mean miss share of ages [low, high) out of spans of ages with their shares."""
    total: Any = 0.0
    for start, end, miss in spans:
        total = total + np.maximum(np.minimum(high, end) - np.maximum(low, start), 0.0) * miss
    return np.clip(total / np.maximum(high - low, 1e-12), 0.0, 1.0)


def sum_accesses(op: LookupFfn, n: Loops, context: Context, r: Resources, draws: Draws) -> tuple[Access, ...]:
    """Accesses to the sums: first in a tile, later groups, and the way back after the rows of a group."""
    core, shared = (_nest(op, n, context, draws, r.threads, cores) for cores in (1.0, n.near))
    shards = np.where(n.unit < op.tables, np.ceil(op.tables / n.unit), 1.0)
    size = context.batch * op.output * 4.0 * shards
    groups = np.ceil(n.unit / n.group)
    packed = n.stripe * 4.0 * (np.maximum(_power_of_two(n.total_columns * 4.0) / (n.stripe * 4.0), 1.0) - 1.0)
    exact = 1.0 if op.table_dtype == "int8" else 0.0
    first = tuple(nest.all_bytes * draws.distinct(nest.tokens) + nest.tile_linear * nest.tokens + nest.encode_bytes + context.evicted_bytes
                  for nest in (core, shared))
    later = tuple(nest.own_bytes * draws.distinct(nest.tile) + (nest.pass_linear + sums) * nest.tile
                  for nest, sums in ((core, packed), (shared, 0.0)))  # fmt: skip
    back = tuple(n.group * np.minimum(n.piece, REGISTER_COLUMNS * n.piece / n.stripe) * np.minimum(k, k) for k in (1.0, n.near))
    whole = tuple(nest.all_bytes * draws.distinct(nest.tile) + nest.tile_linear * nest.tile for nest in (core, shared))
    deviation = 0.15
    return (
        Access(size, *first, deviation=deviation),
        Access(size * (groups - 1.0), *later, deviation=deviation),
        Access(size * (groups - 1.0), *back, deviation=deviation),
        *((Access(size, *whole, deviation=deviation),) if exact else ()),
    )


def _power_of_two(size: Any) -> Any:
    """The largest power of two that divides a whole number."""
    whole = np.asarray(size).astype(np.int64)
    return (whole & -whole) * 1.0


def code_accesses(op: LookupFfn, n: Loops, context: Context, r: Resources, draws: Draws) -> tuple[Access, ...]:
    """Accesses to codes and scores: after they were written, and again by later groups and stripes."""
    core, shared = (_nest(op, n, context, draws, r.threads, cores) for cores in (1.0, n.near))
    readers = np.where(n.by_tokens, 1.0, n.workers)
    size = context.batch * _padded(op) * 6.0 * readers
    passes = np.ceil(n.unit / n.group) * np.maximum(n.tables / n.unit, 1.0) * np.maximum(n.columns / n.stripe, 1.0)
    again = context.batch * _codes_line(op, n.group) * passes * np.where(n.by_tokens, 1.0, n.workers)
    weights, buffers = _encode_bytes(op, n, r.threads)
    # Written block by block of the outer tile, read in the same order.
    written = weights + buffers + n.outer * _padded(op) * 6.0
    far = np.where(n.by_tokens | (n.workers <= 1.0), written, FAR)
    later = tuple(nest.own_bytes * draws.distinct(nest.tile) + nest.pass_linear * nest.tile for nest in (core, shared))
    return (
        Access(size, far, written * n.near, deviation=0.15),
        Access(np.maximum(again - size, 0.0), *later, deviation=0.15),
    )
