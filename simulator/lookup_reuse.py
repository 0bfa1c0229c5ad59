"""How the arrays of a look-up gather come back: table rows, sums, codes and scores of one worker and of those on a shared cache.

The nest is that of the kernels (`addresses_lookup`): a worker encodes an outer tile of tokens in blocks, then gathers it: shards
of tables (split by tables), inner tiles, column stripes, groups of tables, tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.lowering import FAR, Context
from simulator.locality import step
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
    single: Any
    encode_share: Any


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
    stripe = d.stripe
    return Loops(workers=workers, near=np.minimum(sharers, workers), tokens=tokens, outer=outer, inner=inner, block=block,
                 group=group, unit=unit, tables=tables, stripe=stripe, columns=d.columns, piece=stripe * element,
                 row=d.columns * element, by_tokens=d.by_tokens, single=single, encode_share=_encode_share(op, batch, outer, block, threads))  # fmt: skip


def _encode_share(op: LookupFfn, batch: Any, outer: Any, block: Any, threads: Any) -> Any:
    """Share of the projection's weights that one of several cores reads for one shared tile: repeats apart where blocks are few."""
    blocks = np.ceil(outer / block)
    few = (np.ceil(batch / block) < 4.0 * threads) & (repeats(op) > 1.0) & (op.projection == "bh4")
    items = blocks * np.where(few, repeats(op), 1.0) / threads
    return np.minimum(np.where(few, np.maximum(1.0 / threads, 1.0 / repeats(op)) * np.minimum(items, 1.0), items), 1.0)


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
    encoding = np.where(n.by_tokens, 1.0, np.minimum(n.encode_share * cores, 1.0))
    own_weights = weights * encoding
    sums = n.columns * 4.0 * apart * np.maximum(n.tables / n.unit, 1.0)
    turns = np.minimum(np.maximum(n.tokens / n.outer, 1.0), 2.0)  # shared codes lie in two places in turn
    read = np.minimum(_codes_line(op, n.tables) * apart, _padded(op) * 6.0)
    codes = n.outer * np.where(n.by_tokens, _padded(op) * 6.0 * cores, read * turns)
    pieces = np.maximum(n.columns / n.stripe, 1.0)
    return RowNest(
        draws=draws,
        own_bytes=n.group * n.piece * np.where(n.single, pieces, 1.0) * apart,
        unit_bytes=n.unit * n.row * apart,
        all_bytes=n.tables * n.row * apart,
        pass_linear=_codes_line(op, n.group) * apart,
        tile_linear=sums + op.hidden * 4.0 * np.where(n.by_tokens, 1.0, np.minimum(n.encode_share * cores * repeats(op), 1.0)),
        inner=n.inner * together,
        outer=n.outer * together,
        tokens=n.tokens * together,
        encode_weights=own_weights,
        encode_bytes=own_weights + buffers * cores + codes,
        layers=context.layers,
        between_bytes=(context.layers - 1.0) * own_weights + context.evicted_bytes * context.layers,
        piece_bytes=n.piece,
        pieces=pieces,
        pass_pieces=np.where(n.single, pieces, 1.0),
        pieces_apart=_power_of_two(op.tables * op.rows * n.piece),
        sum_linear=n.stripe * 4.0 * np.where(n.single, pieces, 1.0) * apart,
        sum_width=n.stripe * 4.0 * np.where(n.single, pieces, 1.0),
        sum_apart=_power_of_two(op.output * 4.0),
        apart=apart,
    )


def nests(op: LookupFfn, n: Loops, context: Context, r: Resources) -> tuple[RowNest, RowNest]:
    """As one core and as one shared cache see it."""
    draws = Draws(op.indices, op.rows)
    core = _nest(op, n, context, draws, r.threads, 1.0)
    return core, _nest(op, n, context, draws, r.threads, n.near)


def row_accesses(op: LookupFfn, context: Context, r: Resources, core: RowNest, shared: RowNest) -> tuple[Access, ...]:
    """Accesses to table rows by age: within a pass, across inner and outer tiles, first in a call by a core of rows that a sibling
    brought, first in a call on a shared cache."""
    mine, theirs = core.ends(), shared.ends()
    together = np.minimum(theirs[2], mine[2])
    total = context.batch * op.tables * op.output * ELEMENT_BYTES[op.table_dtype]
    marks = (0.0, 1.0 - mine[0], 1.0 - mine[1], 1.0 - mine[2], 1.0 - together, 1.0)
    edges = (0.0, 1.0 - theirs[0], 1.0 - theirs[1], 1.0 - theirs[2], 1.0)
    levels: list[tuple[Any, ...]] = []
    for level in r.levels:
        found: tuple[Any, ...] = ()
        if level.shared is not True:
            found = core.misses(level)
            found = (*found, found[3])
        if level.shared is not False:
            spans = tuple(zip(edges, edges[1:], shared.misses(level), strict=False))
            parts = tuple(_over(low, high, spans) for low, high in zip(marks, marks[1:], strict=False))
            found = tuple(np.where(level.shared, p, f) for p, f in zip(parts, found, strict=True)) if found else parts
        levels.append(found)
    far = core.between_bytes + context.layers * core.all_bytes
    return tuple(
        Access(total * (high - low), far, far, misses=tuple(level[part] for level in levels))
        for part, (low, high) in enumerate(zip(marks, marks[1:], strict=False))
    )


def _over(low: Any, high: Any, spans: Any) -> Any:
    """Mean miss share of ages [low, high) out of spans of ages with their shares."""
    total: Any = 0.0
    for start, end, miss in spans:
        total = total + np.maximum(np.minimum(high, end) - np.maximum(low, start), 0.0) * miss
    return np.clip(total / np.maximum(high - low, 1e-12), 0.0, 1.0)


def _stepped(size: Any, rows: tuple[Any, Any], others: tuple[Any, Any], r: Resources, nests: tuple[RowNest, RowNest],
             sums: tuple[Any, Any] | None = None, are_sums: bool = False, spread: Any = 0.05) -> Access:  # fmt: skip
    """Accesses with one distance: `rows` bytes of random rows and `others` that fill sets evenly pass in between, to a core and to a
    shared cache, and `sums` bytes of sums that fall into some sets only: into those of the accesses themselves if they `are_sums`."""
    shares: list[Any] = []
    for level in r.levels:
        way = level.capacity_bytes / level.ways
        even = np.minimum(nests[0].piece_bytes / way, 1.0)
        both = []
        for nest, row, other, packed in zip(nests, rows, others, sums or (0.0, 0.0), strict=True):
            sets = nest.sum_sets(way)
            near = row + other
            total = near + packed / sets
            deviation = np.sqrt((1.0 - even) / level.ways * row / np.maximum(total, 1.0)) + spread
            share = step(total, level, deviation)
            if sums is not None and not are_sums:
                share = share * sets + (1.0 - sets) * step(near, level, deviation)
            both.append(share)
        shares.append(both[level.shared] if isinstance(level.shared, bool) else np.where(level.shared, both[1], both[0]))
    return Access(size, rows[0] + others[0], rows[1] + others[1], misses=tuple(shares))


def _next_group(core: RowNest, shared: RowNest) -> tuple[Any, Any, Any]:
    """(rows, other bytes, sums) between a token's visits in two passes: later tokens of the one, earlier ones of the other."""
    both = core, shared
    less = tuple(np.maximum(nest.inner - nest.inner / np.maximum(core.inner, 1.0), 0.0) for nest in both)
    rows = tuple(2.0 * nest.own_bytes * nest.draws.distinct(0.5 * n) for nest, n in zip(both, less, strict=True))
    others = tuple(nest.pass_linear * n for nest, n in zip(both, less, strict=True))
    return rows, others, tuple(nest.sum_linear * n for nest, n in zip(both, less, strict=True))


def sum_accesses(op: LookupFfn, n: Loops, context: Context, r: Resources, core: RowNest, shared: RowNest) -> tuple[Access, ...]:
    """Accesses to the sums: first in a call, by later groups, the way back after the rows of a group, and where exact sums become
    fp32."""
    both = core, shared
    size = context.batch * op.output * 4.0 * np.where(n.unit < op.tables, np.ceil(op.tables / n.unit), 1.0)
    again = size * (np.ceil(n.unit / n.group) - 1.0)
    # Partial sums lie in the same place for every tile, outputs come round once a call.
    far = tuple(np.where(n.unit < op.tables, nest.outer, nest.tokens) for nest in both)
    swept = np.where((n.unit < op.tables) & (n.outer < n.tokens), 0.0, context.evicted_bytes)
    call = tuple(nest.all_bytes * nest.draws.distinct(k) for nest, k in zip(both, far, strict=True))
    around = tuple(nest.tile_linear * k + nest.encode_bytes + swept for nest, k in zip(both, far, strict=True))
    # An output of one layer is the input of the next, read before that one's projection.
    twice = np.minimum(context.layers - 1.0, 1.0) * core.encode_weights * n.outer / n.tokens
    around = tuple(a + twice for a in around)
    rows, others, sums = _next_group(core, shared)
    near = n.group * np.minimum(n.piece, REGISTER_COLUMNS * n.piece / n.stripe)
    beside = n.stripe * 4.0 + _codes_line(op, n.group)
    accesses = [
        _stepped(size, call, around, r, both),  # type: ignore[arg-type]
        _stepped(again, rows, others, r, both, sums, are_sums=True),
        _stepped(again, (near, near * n.near), (beside, beside * n.near), r, both),
    ]
    if op.table_dtype == "int8":
        walked = tuple(nest.unit_bytes * nest.draws.distinct(nest.outer) for nest in both)
        written = tuple((n.columns * 4.0 + _padded(op) * 6.0) * nest.outer * nest.apart for nest in both)
        accesses.append(_stepped(size, walked, written, r, both))  # type: ignore[arg-type]
    return tuple(accesses)


def code_accesses(op: LookupFfn, n: Loops, context: Context, r: Resources, core: RowNest, shared: RowNest) -> tuple[Access, ...]:
    """Accesses to codes and scores: after they were written, block by block of the outer tile, and again by later groups, stripes
    and shards."""
    readers = np.where(n.by_tokens, 1.0, n.workers)
    size = context.batch * _codes_line(op, n.tables) * readers
    passes = np.ceil(n.unit / n.group) * np.maximum(n.tables / n.unit, 1.0) * np.maximum(n.columns / n.stripe, 1.0)
    again = context.batch * _codes_line(op, n.group) * passes * readers
    weights, buffers = _encode_bytes(op, n, r.threads)
    wide = projection_outputs(op) * 4.0
    codes = _padded(op) * 6.0
    # The last block of a tile was encoded a moment ago; between those before and the gather lies what encoding touches.
    blocks = np.maximum(n.outer / n.block / np.where(n.by_tokens, 1.0, r.threads), 1.0)
    tile = n.outer * (codes + op.hidden * 4.0)
    walked = tuple(np.where(n.single, nest.own_bytes * nest.draws.distinct(0.5 * nest.outer), 0.0) for nest in (core, shared))
    mine = np.where(n.by_tokens | (np.asarray(r.threads) <= 1.0), 0.0, FAR)
    late = n.block * (wide + codes)
    early = weights + buffers + tile, weights + buffers * n.near + tile * np.where(n.by_tokens, n.near, 1.0)
    rows, others, sums = _next_group(core, shared)
    both = core, shared
    return (
        _stepped(size / blocks, walked, (late + mine, late * n.near), r, both, spread=0.3),  # type: ignore[arg-type]
        _stepped(size - size / blocks, walked, (early[0] + mine, early[1]), r, both, spread=0.2),  # type: ignore[arg-type]
        _stepped(np.maximum(again - size, 0.0), rows, others, r, both, sums),
    )


def _power_of_two(size: Any) -> Any:
    """The largest power of two that divides a whole number."""
    whole = np.asarray(size).astype(np.int64)
    return np.maximum(whole & -whole, 1) * 1.0
