"""How the arrays of a look-up gather come back: table rows, sums, codes and scores of one worker and of those on a shared cache.

The nest is that of the kernels (`addresses_lookup`): a worker encodes an outer tile of tokens in blocks, then gathers it: shards
of tables (split by tables), inner tiles, column stripes, groups of tables, tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.locality import Levels, abreast, stacked
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
    """Sizes of one worker's loops.

    `unit`: tables walked before an inner tile ends; `inner`, `outer`: tokens of a pass and of what is encoded together; `tokens`:
    of a call; `piece`: bytes of a row in one stripe; `row`: in all stripes of the worker; `near`: workers on one shared cache;
    `single`: token by token (V2); `encode_share`: of the projection's weights that a core reads for a shared tile.
    """

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
    workers = np.where(
        d.by_tokens, np.minimum(threads, np.ceil(batch / outer)), np.where(d.by_tables, parts, d.workers)
    )
    tokens = np.where(d.by_tokens, batch / workers, batch)
    outer = np.minimum(outer, np.where(d.by_tokens, batch, tokens))
    tokens = np.maximum(tokens, outer)  # most tokens lie in whole tiles
    single = np.asarray(schedule.token_tile) <= 1.0
    inner = np.where(single, outer, np.minimum(schedule.token_tile, outer))
    together = 4.0 if op.table_dtype == "int8" else 1.0
    group = np.where(single, unit, np.minimum(np.ceil(schedule.table_group / together) * together, unit))
    element = ELEMENT_BYTES[op.table_dtype]
    stripe = d.stripe
    return Loops(workers=workers, near=np.minimum(sharers, workers), tokens=tokens, outer=outer, inner=inner, block=block,
                 group=group, unit=unit, tables=tables, stripe=stripe, columns=d.columns, piece=stripe * element,
                 row=d.columns * element, by_tokens=d.by_tokens, single=single,
                 encode_share=_encode_share(op, batch, outer, block, threads))  # fmt: skip


def _encode_share(op: LookupFfn, batch: Any, outer: Any, block: Any, threads: Any) -> Any:
    """Share of the projection's weights that one of several cores reads for one shared tile: repeats apart if blocks are few."""
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
    beside = np.where(n.columns < op.output, apart, 1.0)  # workers with other columns of the same rows
    pieces = np.maximum(n.columns / n.stripe, 1.0)
    return RowNest(
        draws=draws,
        own_bytes=n.group * n.piece * np.where(n.single, pieces, 1.0) * apart,
        unit_bytes=n.unit * n.row * apart,
        all_bytes=n.tables * n.row * apart,
        pass_linear=_codes_line(op, n.group) * apart,
        tile_linear=sums
        + op.hidden * 4.0 * np.where(n.by_tokens, 1.0, np.minimum(n.encode_share * cores * repeats(op), 1.0)),
        inner=n.inner * together,
        outer=n.outer * together,
        tokens=n.tokens * together,
        encode_weights=own_weights,
        encode_bytes=own_weights + buffers * cores + codes,
        layers=context.layers,
        between_bytes=(context.layers - 1.0) * own_weights + context.evicted_bytes * context.layers,
        piece_bytes=n.piece,
        pieces=pieces * beside,
        pass_pieces=np.where(n.single, pieces, 1.0),
        pieces_apart=_power_of_two(op.tables * op.rows * n.piece),
        sum_linear=n.stripe * 4.0 * np.where(n.single, pieces, 1.0) * apart,
        sum_width=n.stripe * 4.0 * np.where(n.single, pieces, 1.0) * beside,
        sum_apart=_power_of_two(op.output * 4.0),
        apart=apart,
    )


@dataclass(frozen=True)
class Gather:
    """The gather of one worker against the levels of a machine: the nest as each level sees it.

    `shared`, `cores`, `on_shared`: whether a level is shared, and the workers on one instance, by level. `axes`: of the numbers
    that came in; all others have (levels, points, schedules).
    """

    op: LookupFfn
    n: Loops
    context: Context
    threads: Any
    nest: RowNest
    levels: Levels
    shared: tuple[Any, ...]
    cores: Any
    on_shared: Any
    axes: int

    def apart(self, stack: Any) -> tuple[Any, ...]:
        """Values of the levels, with as many axes as came in."""
        found = tuple(stack) if self.axes == 2 else tuple(stack[:, 0] if self.axes else stack[:, 0, 0].tolist())
        return found if len(found) == len(self.shared) else found * len(self.shared)


_LARGE = 4096
"""Points x schedules from which levels that see the same are worth a pass of their own: their streams are counted once."""


def gathers_of(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context, n: Loops) -> tuple[Gather, ...]:
    """The gather under a schedule, the levels from the core outwards in one group or in two: a private cache sees one worker, a
    shared one all workers on it."""
    draws = Draws(op.indices, op.rows)
    numbers = (schedule.token_tile, context.batch, context.layers, context.evicted_bytes, r.threads, op.tables, op.rows,
               *(level.capacity_bytes for level in r.levels))  # fmt: skip
    axes = max(np.ndim(x) for x in numbers)
    flags = tuple(level.shared for level in r.levels)
    private = sum(flag is False for flag in flags)
    parts = [r.levels]
    if np.size(n.tokens) >= _LARGE and 0 < private < len(flags) and all(flag is True for flag in flags[private:]):
        parts = [r.levels[:private], r.levels[private:]]
    found = []
    for levels in parts:
        shared = tuple(level.shared for level in levels)
        if len(parts) > 1:
            cores = np.ones((1, 1, 1)) if shared[0] is False else np.atleast_2d(n.near)[None]
        else:
            cores = stacked([np.where(s, n.near, 1.0) for s in shared])
        nest = _nest(op, n, context, draws, r.threads, cores)
        on_shared = stacked(list(shared)) > 0.0
        found.append(Gather(op, n, context, r.threads, nest, Levels.of(levels), shared, cores, on_shared, axes))
    return tuple(found)


def row_accesses(gathers: tuple[Gather, ...]) -> tuple[Access, ...]:
    """Accesses to table rows by age: within a pass, across tiles, first in a call by a core of rows that a sibling brought,
    first in a call on a shared cache."""
    g = gathers[0]
    op, n, draws = g.op, g.n, g.nest.draws
    mine = tuple(np.minimum(draws.distinct(k) / k, 1.0) for k in (n.inner, n.outer, n.tokens))
    middle = (mine[0] - mine[1]) / np.maximum(mine[0] - mine[2], 1e-12)
    ends: list[tuple[Any, ...]] = []
    misses: list[tuple[Any, ...]] = []
    for group in gathers:
        ends += zip(*(group.apart(share) for share in group.nest.ends()), strict=True)
        misses += zip(*(group.apart(share) for share in group.nest.misses(group.levels)), strict=True)
    flags = tuple(flag for group in gathers for flag in group.shared)
    together: Any = mine[2]
    for flag, theirs in zip(flags, ends, strict=True):
        if flag is not False:
            together = np.where(flag, np.minimum(theirs[2], together), together)
    total = g.context.batch * op.tables * op.output * ELEMENT_BYTES[op.table_dtype]
    marks = (0.0, 1.0 - mine[0], 1.0 - mine[2], 1.0 - together, 1.0)
    levels: list[tuple[Any, ...]] = []
    for flag, theirs, own in zip(flags, ends, misses, strict=True):
        found: tuple[Any, ...] = (own[0], own[2] + middle * (own[1] - own[2]), own[3], own[3])
        if flag is not False:
            laid = _laid_over(marks, (0.0, *(1.0 - share for share in theirs), 1.0), own)
            found = laid if flag is True else tuple(np.where(flag, a, b) for a, b in zip(laid, found, strict=True))
        levels.append(found)
    far = g.context.layers * n.tables * n.row + g.context.evicted_bytes
    return tuple(
        Access(total * (high - low), far, far, misses=tuple(level[part] for level in levels))
        for part, (low, high) in enumerate(zip(marks, marks[1:], strict=False))
    )


def _laid_over(marks: Any, edges: Any, misses: Any) -> tuple[Any, ...]:
    """Mean miss shares between marks on the axis of ages (0 to 1), out of those between edges."""
    stacks = [abreast(*values) for values in (edges[:-1], edges[1:], misses, marks[1:-1])]
    axes = max(x.ndim for x in stacks)
    low, high, miss, inner = (x.reshape(len(x), *(1,) * (axes - x.ndim), *x.shape[1:]) for x in stacks)
    below = (np.minimum(np.maximum(inner[:, None] - low, 0.0), high - low) * miss).sum(axis=1)
    sums = (0.0, *below, (miss * (high - low)).sum(axis=0))
    return tuple(
        np.minimum(np.maximum((after - before) / np.maximum(to - start, 1e-12), 0.0), 1.0)
        for before, after, start, to in zip(sums, sums[1:], marks, marks[1:], strict=False)
    )


@dataclass(frozen=True)
class _Part:
    """Accesses with one distance: `rows` bytes of random rows and `others` that fill sets evenly pass in between, and `sums`
    bytes of sums that fall into some sets only: into those of the accesses themselves if they `are_sums`. `spread`: deviation
    beyond that of rows over the sets."""

    size: Any
    rows: Any
    others: Any
    sums: Any = 0.0
    are_sums: bool = True
    spread: float = 0.05


def _shares(g: Gather, parts: list[_Part]) -> tuple[Any, Any]:
    """(distances, miss shares), the parts along a new first axis."""
    way = g.levels.capacity_bytes / g.levels.ways
    loose = (1.0 - np.minimum(g.nest.piece_bytes / way, 1.0)) / g.levels.ways
    sets = g.nest.sum_sets(way)
    rows = abreast(*(part.rows for part in parts))
    near = rows + abreast(*(part.others for part in parts))
    crowded = abreast(*(part.sums for part in parts)) / sets
    spread = np.array([part.spread for part in parts])[:, None, None, None]
    total = near + crowded
    shares = g.levels.step(total, np.sqrt(loose * rows / np.maximum(total, 1.0)) + spread)
    for index, part in enumerate(parts):
        if not part.are_sums:
            alone = np.sqrt(loose * rows[index] / np.maximum(near[index], 1.0)) + part.spread
            shares[index] = shares[index] * sets + (1.0 - sets) * g.levels.step(near[index], alone)
    return near, shares


def _next_group(g: Gather) -> tuple[Any, Any, Any]:
    """(rows, other bytes, sums) between a token's visits in two passes: later tokens of the one, earlier ones of the other."""
    nest = g.nest
    tokens = nest.inner * (1.0 - 1.0 / np.maximum(g.n.inner, 1.0))
    rows = 2.0 * nest.own_bytes * nest.draws.distinct(0.5 * tokens)
    # Token by token, the next pass is the next stripe of the same token.
    stripe = g.n.group * g.n.piece * nest.apart
    return (
        np.where(g.n.single, stripe, rows),
        np.where(g.n.single, nest.pass_linear, nest.pass_linear * tokens),
        np.where(g.n.single, g.n.stripe * 4.0 * nest.apart, nest.sum_linear * tokens),
    )


def near_accesses(gathers: tuple[Gather, ...]) -> tuple[Access, Access]:
    """Accesses to sums, and to codes and scores: several distances each, which add up in the engines: they are read in order."""
    sizes: list[Any] = [0.0, 0.0]
    distances: tuple[list[Any], list[Any]] = ([], [])
    misses: tuple[list[Any], list[Any]] = ([], [])
    for group in gathers:
        between = _next_group(group)
        sums, codes = _sum_parts(group, between), _code_parts(group, between)
        together = [sums + codes] if len(gathers) == 1 else [[part] for part in sums + codes]
        found = [_shares(group, parts) for parts in together]
        near, shares = ([row for pair in found for row in pair[k]] for k in (0, 1))
        for k, (parts, start) in enumerate(((sums, 0), (codes, len(sums)))):
            sizes[k] = sum(part.size for part in parts)
            whole = np.maximum(sizes[k], 1e-300)
            weights = [part.size / whole for part in parts]
            misses[k].extend(group.apart(sum(w * shares[start + i] for i, w in enumerate(weights))))
            distances[k].extend(group.apart(sum(w * near[start + i] for i, w in enumerate(weights))))
    made = (Access(sizes[k], distances[k][0], distances[k][-1], misses=tuple(misses[k])) for k in (0, 1))
    return tuple(made)  # type: ignore[return-value]


def _sum_parts(g: Gather, between: tuple[Any, Any, Any]) -> list[_Part]:
    """Sums: first in a call, by later groups, the way back after the rows of a group, and where exact sums become fp32."""
    op, n, nest, context = g.op, g.n, g.nest, g.context
    sharded = n.unit < op.tables
    size = context.batch * op.output * 4.0 * np.where(sharded, np.ceil(op.tables / n.unit), 1.0)
    again = size * (np.ceil(n.unit / n.group) - 1.0)
    # Partial sums lie in the same place for every tile, outputs come round once a call.
    shards = np.maximum(op.tables / n.unit, 1.0)
    call = np.where(sharded, 1.0 / shards + (1.0 - 1.0 / shards) * n.outer / n.tokens, 1.0)
    # An output of one layer is the input of the next, read before that one's projection.
    twice = np.minimum(context.layers - 1.0, 1.0) * nest.encode_weights * n.outer / n.tokens
    far = nest.tile_linear * nest.tokens + nest.encode_bytes + context.evicted_bytes
    tile = nest.tile_linear * nest.outer + nest.encode_bytes
    cores = g.cores
    near = n.group * np.minimum(n.piece, REGISTER_COLUMNS * n.piece / n.stripe) * cores
    beside = (n.stripe * 4.0 + _codes_line(op, n.group)) * cores
    parts = [
        _Part(size * call, nest.all_bytes * nest.draws.distinct(nest.tokens), far + twice),
        _Part(size * (1.0 - call), nest.all_bytes * nest.draws.distinct(nest.outer), tile),
        _Part(again, *between),
        _Part(again, near, beside),
    ]
    if op.table_dtype == "int8":
        written = (n.columns * 4.0 + _codes_line(op, n.unit)) * nest.outer * nest.apart
        parts.append(_Part(size, nest.unit_bytes * nest.draws.distinct(0.5 * nest.outer), written))
    return parts


def _code_parts(g: Gather, between: tuple[Any, Any, Any]) -> list[_Part]:
    """Codes and scores: after they were written, block by block of an outer tile, and again by later groups, stripes, shards."""
    op, n, nest, context = g.op, g.n, g.nest, g.context
    readers = np.where(n.by_tokens, 1.0, n.workers)
    size = context.batch * _codes_line(op, n.tables) * readers
    passes = np.ceil(n.unit / n.group) * np.maximum(n.tables / n.unit, 1.0) * np.maximum(n.columns / n.stripe, 1.0)
    again = context.batch * _codes_line(op, n.group) * passes * readers
    weights, buffers = _encode_bytes(op, n, g.threads)
    wide, codes = projection_outputs(op) * 4.0, _padded(op) * 6.0
    # The last block of a tile was encoded a moment ago; between those before and the gather lies what encoding touches.
    blocks = np.maximum(n.outer / n.block / np.where(n.by_tokens, 1.0, g.threads), 1.0)
    tile = n.outer * (codes + op.hidden * 4.0) * np.where(n.by_tokens, g.cores, 1.0)
    walked = np.where(n.single, nest.own_bytes * nest.draws.distinct(0.5 * nest.outer), 0.0)
    elsewhere = np.where(
        n.by_tokens | (np.asarray(g.threads) <= 1.0) | g.on_shared, 0.0, FAR
    )  # written by another core
    late = n.block * (wide + codes) * g.cores
    early = weights + buffers * g.cores + tile
    return [
        _Part(size / blocks, walked, late + elsewhere, spread=0.3),
        _Part(size - size / blocks, walked, early + elsewhere, spread=0.2),
        _Part(np.maximum(again - size, 0.0), *between, are_sums=False),
    ]


def _power_of_two(size: Any) -> Any:
    """The largest power of two that divides a whole number."""
    whole = np.asarray(size).astype(np.int64)
    return np.maximum(whole & -whole, 1) * 1.0
