"""LookupFFN as phases: LayerNorm, projection, code + score, gather (and a reduction where tables are sharded).

The gather is one loop nest whose numbers make all variants V1-V5: token tiles over table groups over tokens over tables,
column stripes inside, and threads along tokens, columns or tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simulator.lookup_reuse import gather_accesses
from simulator.lowering import (
    FAR,
    LONG_LATENCY,
    Context,
    across_lanes,
    dealt,
    dealt_pieces,
    imbalance,
    layer_norm,
    sequential,
    sharing,
)
from simulator.machine import interpolate_log
from simulator.phases import Access, Phase, Stream, Work
from simulator.resources import Resources
from simulator.schedule import SPLIT_COLUMNS, SPLIT_TABLES, SPLIT_TOKENS, UNBOUNDED, LookupSchedule
from simulator.workload import (
    ELEMENT_BYTES,
    LookupFfn,
    hash_bits,
    padded_hidden,
    projection_outputs,
    repeats,
)

PROJECTION_TILE = 64.0
"""Tokens of one pass over the projection weights: their activations fit L1 or L2 beside the weights."""

REGISTER_TOKENS = 6.0
"""Tokens that share one load of a weight vector in the block product."""

NORM_CYCLES, PLANES_CYCLES = 1.5, 3.0
"""Of a vector of LayerNorm beyond its port bounds, and of its copy in the order of planes (Zen 5, 2026-11-30: 200 cycles a token
of 448, 385 of 576, 90 to 120 more with planes)."""

STEP_CYCLES = 1.5
"""What a step of the sums of one or two tokens waits for its weights beyond the latency of the multiply-add (Zen 5, 2026-11-30:
5.8 cycles in fp32, 6.5 in bf16, 6.3 in int16, 7.3 in int8)."""

INT8_BUTTERFLY_CYCLES = 1.0
"""More of a vector and stage in int8: four vectors become one."""

BUTTERFLY_CYCLES, BUTTERFLY_PASS_CYCLES = 0.5, 2.5
"""Of a vector and stage beyond the port bounds: what goes round it, and each pass of at most three levels of the butterfly (Zen
5, 2026-11-30: 4.0, 4.9 and 7.9 cycles all told for widths of 256, 512 and 1024 in bf16)."""

ROW_GROUP_CYCLES = 12.0
"""Loop, code -> address and refilling of the pipes of one group of rows of one token (tables of 16 KiB, groups of 4, 8 and 16
tables, Zen 5, 2026-11-30: 20, 28 and 52 cycles for 4, 8 and 16 sums of a stripe, the sums' way in and out included)."""

LOADS_A_ROW = 2.0
"""Beside its lines: code and score."""

INT8_ALU = 0.85
"""fp32-lane ALU operations an int8 element of the dot-product gather: two blends of four tables' rows are 0.5; the rest is what
broadcasts, register copies and pipes that do not pair up cost (18.9 cycles for 16 vectors on Zen 5; fewer vectors are bound by
loads: 13.4 cycles for 4 of them on Zen 4, 7.5 on Zen 5)."""

BF16_EFFICIENCY = 0.8
"""Of the multiply-adds of bf16 rows against fp32 ones: the shift that widens shares their pipes (10.8 cycles for 16 on Zen 5)."""

INT8_TOKEN_CYCLES = 35.0
"""Quantising the scores of one token, for every pass of a thread over its tables: a maximum over lanes, a division."""

CHECK_CYCLES = 8.0
"""Checking the codes of one token against the number of rows."""

PREFETCH_LINE_CYCLES, PREFETCH_ROW_CYCLES = 1.0, 0.8
"""Of the loop that prefetches the rows of codes: a taken branch a line, and its start (rows of 1 to 16 lines in the L1, Zen 5,
2026-11-30). Whole tables in order cost nothing that their transfer does not hide."""

TILE_CYCLES = 40.0
"""Start of a pass over a tile of tokens."""

GROUP_UOPS = 50.0
"""Room in the out-of-order window that a group of rows of one token takes beside its lines (rows from memory, groups of 4 to 64,
Zen 5, 2026-11-30)."""

KEPT_ALL, KEPT_BY_CODE, KEPT_IN_ORDER = 1.22, 2.5, 0.6
"""Share of prefetched bytes that the L2 keeps until they are used, falling with their share of it: rows that codes name, and
whole tables in order (the same measurements)."""

SHARDS = 8.0
"""Into which tables are split at least (kernels/include/gather_threads.hpp)."""

SUM_CYCLES = 0.3
"""Adding one partial sum to another: the compiler's vectors of four, a loop of one taken branch each."""


def lower_lookup(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context) -> tuple[Phase, ...]:
    """Phases of one call of one layer."""
    by_tokens = schedule.split == SPLIT_TOKENS
    projection = _bh4 if op.projection == "bh4" else _dense_projection
    encoding = (
        _layer_norm(op, r, context),
        *projection(op, schedule, r, context, by_tokens),
        _code_score(op, schedule, r, context),
    )
    if np.any(np.asarray(schedule.block_tokens) > 0.0):
        encoding = _in_blocks(encoding, op, schedule, r, context)
    return (*encoding, _gather(op, schedule, r, context), _reduction(op, schedule, r, context))


def _layer_norm(op: LookupFfn, r: Resources, context: Context) -> Phase:
    """As part of one call of the whole layer; where codes have 8 bits, inputs are laid down in a second order too."""
    phase = layer_norm(op.hidden, r, context)
    planes = np.where((op.projection == "bh4") & (np.asarray(hash_bits(op)) == 8.0), PLANES_CYCLES, 0.0)
    width = padded_hidden(op) if op.projection == "bh4" else op.hidden
    extra = context.batch / r.lanes * (NORM_CYCLES * op.hidden + planes * width)
    work = replace(phase.work, chain_cycles=phase.work.chain_cycles + extra)
    return replace(phase, work=work, library_calls=0.0)


def _tile_of(schedule: LookupSchedule, r: Resources, context: Context) -> Any:
    """Tokens that a thread takes from end to end, in whole blocks."""
    blocks = np.ceil(context.batch / schedule.block_tokens)
    most = np.ceil(blocks / r.threads)
    return np.clip(np.floor(schedule.token_tile / schedule.block_tokens), 1.0, most) * schedule.block_tokens


def _in_blocks(
    phases: tuple[Phase, ...], op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context
) -> tuple[Phase, ...]:
    """Encoding in whole blocks of tokens. Threads that share a gather share the blocks too, and where these are few the
    repeats of the projection, each of which normalises the tokens again; they meet once, before the gather."""
    by_tokens = schedule.split == SPLIT_TOKENS
    blocks = np.ceil(context.batch / schedule.block_tokens)
    apart = (op.projection == "bh4") & (np.asarray(padded_hidden(op)) % hash_bits(op) == 0.0)
    parts = np.where(apart & (np.asarray(r.threads) > 1.0) & (blocks < 4.0 * r.threads), repeats(op), 1.0)
    own = dealt_pieces(context.batch, _tile_of(schedule, r, context), r.threads)
    shared = dealt_pieces(context.batch * parts, schedule.block_tokens, r.threads)
    given = {name: np.where(by_tokens, own[name], shared[name]) for name in own}
    again = np.where(by_tokens, 1.0, parts)
    found = [replace(phase, **given, barriers=0.0) for phase in phases]
    found[0] = replace(found[0], imbalance=found[0].imbalance * again)
    found[-1] = replace(found[-1], barriers=np.where(by_tokens, 0.0, 1.0))
    return tuple(found)


def _projection_weights(
    op: LookupFfn, schedule: LookupSchedule, size: Any, tile: Any, r: Resources, context: Context, by_tokens: Any
) -> Stream:
    """Weights of the projection: each thread reads all of them (tokens split) or its share (blocks split); in whole blocks of
    tokens every block reads all of them."""
    batch, threads, sharers = context.batch, r.threads, sharing(r)
    whole = np.asarray(schedule.block_tokens) > 0.0
    blocks = np.ceil(batch / np.where(whole, schedule.block_tokens, 1.0))
    copies = np.where(by_tokens, np.minimum(threads, np.maximum(batch, 1.0)), 1.0)
    copies = np.where(whole, np.minimum(threads, blocks), copies)
    tokens = np.where(by_tokens | whole, np.maximum(batch / threads, 1.0), batch)
    by_tokens = by_tokens | whole
    passes = np.where(whole, blocks / copies, np.ceil(tokens / tile))
    fetching = np.minimum(copies, np.maximum(threads / sharers, 1.0))
    tables_touched = np.minimum(tokens, op.rows) * op.tables * op.output * ELEMENT_BYTES[op.table_dtype]
    everything = context.layers * (size + tables_touched + context.evicted_bytes)
    core_far = np.where(by_tokens, everything, everything / threads)
    near = np.where(by_tokens, size, size / threads) + tile * (op.hidden + projection_outputs(op)) * 4.0
    return Stream(
        "projection_weights",
        "sequential",
        (
            Access(size * fetching, core_far, everything),
            Access(size * (copies - fetching), core_far, size),
            Access(size * copies * (passes - 1.0), near, np.maximum(size, near)),
        ),
    )


def _projection_kind(op: LookupFfn, macs: Any) -> dict[str, Any]:
    return {f"macs_{op.projection_dtype}": macs}


def _together(schedule: LookupSchedule, context: Context, tokens: Any) -> Any:
    """Tokens that pass the weights together: a thread's, or a whole block of them."""
    block = np.minimum(schedule.block_tokens, context.batch)
    return np.where(np.asarray(schedule.block_tokens) > 0.0, block, tokens)


def _bh4(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context, by_tokens: Any) -> tuple[Phase, ...]:
    """stages x (block-diagonal product, Walsh-Hadamard), repeated; Z = 0.7 BH4(x) + 0.3 x."""
    batch, width, rep = context.batch, padded_hidden(op), repeats(op)
    operand = ELEMENT_BYTES[op.projection_dtype]
    elements = batch * rep * width * op.stages
    macs = elements * op.block
    levels = np.where(schedule.folded > 0.0, np.log2(width / op.block), np.log2(width))
    beside = BUTTERFLY_CYCLES + (INT8_BUTTERFLY_CYCLES if op.projection_dtype == "int8" else 0.0)
    passes = np.maximum(np.ceil(np.log2(width / op.block) / 3.0), 1.0)
    requantise = 0.0 if op.projection_dtype == "fp32" else 1.0
    scaled = 1.0 if op.projection_dtype in ("int16", "int8") else 0.0  # by the token's largest magnitude: one more pass
    mixed = batch * rep * width
    tile = np.minimum(np.maximum(schedule.token_tile, PROJECTION_TILE), 512.0)
    tokens = np.where(by_tokens, np.maximum(batch / r.threads, 1.0), batch)
    reuse = np.minimum(_together(schedule, context, tokens), REGISTER_TOKENS)
    size = rep * op.stages * width * op.block * operand + projection_outputs(op) * 4.0
    units = np.where(by_tokens, batch, rep * width / op.block)
    # Sums of one block column of up to six tokens wait for each other: few tokens do not fill the pipes.
    wide = 4.0 / operand if operand < 4.0 else 1.0
    latency = r.fma_latency_cycles if op.projection_dtype == "fp32" else r.dot_latency_cycles
    buffers = np.minimum(tokens, tile) * width * 8.0
    outputs = batch * projection_outputs(op) * 4.0
    blocks = Phase(
        name="block_gemm",
        work=Work(
            **_projection_kind(op, macs),
            load_bytes=macs * operand * (1.0 / reuse + 1.0 / REGISTER_TOKENS),
            store_bytes=elements * 4.0,
            latency_cycles=macs / (op.block * wide * reuse) * (latency + STEP_CYCLES),
            efficiency=r.kernel_efficiency,
        ),
        streams=(_projection_weights(op, schedule, size, tile, r, context, by_tokens),),
        **dealt(units, r.threads),
        barriers=np.where(by_tokens, 0.0, op.stages),
    )
    butterfly = Phase(
        name="hadamard",
        work=Work(
            macs_fp32=2.0 * mixed,
            alu=elements * (levels + 2.0 * requantise),
            convert=elements * requantise,
            # Butterfly in place, back to activations, and once at the end the mix of sums, input and bias.
            load_bytes=elements * (8.0 + 4.0 * scaled) + mixed * 12.0,
            store_bytes=elements * (4.0 + operand) + mixed * 4.0,
            chain_cycles=elements / r.lanes * (beside + passes * BUTTERFLY_PASS_CYCLES)
            + batch * rep * op.stages * scaled * (across_lanes(r) + LONG_LATENCY * r.fma_latency_cycles),
            efficiency=r.kernel_efficiency,
        ),
        streams=(
            sequential("stage_buffers", elements * 4.0, buffers, buffers * sharing(r), writes=1.0),
            sequential("projected", outputs, outputs / r.threads, outputs / r.threads * sharing(r), writes=1.0),
        ),
        **dealt(units, r.threads),
    )
    return blocks, butterfly


def _dense_projection(
    op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context, by_tokens: Any
) -> tuple[Phase, ...]:
    """One hidden x (tables * bits) GEMM."""
    batch, outputs = context.batch, projection_outputs(op)
    operand = ELEMENT_BYTES[op.projection_dtype]
    macs = batch * op.hidden * outputs
    tokens = np.where(by_tokens, np.maximum(batch / r.threads, 1.0), batch)
    tile = np.minimum(np.maximum(schedule.token_tile, PROJECTION_TILE), 512.0)
    kind = {"fp32": "fp32", "bf16": "bf16"}.get(op.projection_dtype, "int8")
    efficiency = interpolate_log(r.gemm_efficiency[kind], np.maximum(np.minimum(tokens, tile), 1.0))
    reuse = np.minimum(_together(schedule, context, tokens), REGISTER_TOKENS)
    written = batch * outputs * 4.0
    units = np.where(by_tokens, batch, outputs / r.lanes)
    phase = Phase(
        name="dense_projection",
        work=Work(
            **_projection_kind(op, macs),
            load_bytes=macs * operand * (1.0 / reuse + 1.0 / REGISTER_TOKENS),
            store_bytes=written,
            efficiency=efficiency,
        ),
        streams=(
            _projection_weights(
                op, schedule, op.hidden * outputs * operand + outputs * 4.0, tile, r, context, by_tokens
            ),
            sequential("projected", written, written / r.threads, written / r.threads * sharing(r), writes=1.0),
        ),
        **dealt(units, r.threads),
        barriers=np.where(by_tokens, 0.0, 1.0),
    )
    return (phase,)


def _shared_outputs(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context) -> Stream:
    """Lines of codes and of scores where neighbouring elements come from different threads: each owner of an element fetches
    the line from the owner before it (the first from whoever read it last)."""
    elements = r.line_bytes / 4.0
    owners = np.minimum(r.threads, elements)
    lines = 2.0 * context.batch * op.tables / elements
    several = np.where(np.asarray(r.threads) > 1.0, schedule.interleaved_codes, 0.0)
    hand_overs = several * lines * owners
    return Stream(
        "shared_outputs", "transfer", (Access(hand_overs * r.line_bytes, 0.0, 0.0),), writes=1.0, writers=owners
    )


def _code_score(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context) -> Phase:
    """Sign bits to codes, sum |z| / prod (1 + exp(-2|z|)) to scores; Z is read once, vectorised over tables."""
    batch, outputs = context.batch, projection_outputs(op)
    elements = batch * outputs
    per_core = elements * 4.0 / r.threads
    interleaved = np.asarray(schedule.interleaved_codes) > 0.0
    units = np.where(interleaved, batch * op.tables, batch)
    # Projections lay coordinates of codes of 8 bits in planes; others lie side by side and are gathered one by one.
    scattered = np.where(np.asarray(hash_bits(op)) == 8.0, 0.0, elements)
    return Phase(
        name="code_score",
        work=Work(
            alu=3.0 * elements,
            macs_fp32=elements,
            exp=elements,
            convert=batch * op.tables,
            load_bytes=4.0 * elements,
            store_bytes=8.0 * batch * op.tables,
            chain_cycles=scattered / r.gather_per_cycle,
            efficiency=r.kernel_efficiency,
        ),
        streams=(
            sequential("projected", 4.0 * elements, per_core, per_core * sharing(r)),
            *((_shared_outputs(op, schedule, r, context),) if np.any(interleaved) else ()),
        ),
        **dealt(units, r.threads),
        barriers=0.0,
    )


def _gather_work(
    op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context, stripe: Any
) -> tuple[Work, Any]:
    """(instruction work, vector operations per table line) of the weighted gather."""
    rows = context.batch * op.tables
    elements = rows * op.output
    element = ELEMENT_BYTES[op.table_dtype]
    vectors_per_line = r.line_bytes / (4.0 * r.lanes)
    together = 4.0 if op.table_dtype == "int8" else 1.0  # rows that one step of the sums' chain takes
    if op.table_dtype == "fp32":
        macs: dict[str, Any] = {"macs_fp32": elements}
        alu: Any = 0.0
        convert: Any = 0.0
        per_vector: Any = 1.0
    elif op.table_dtype == "bf16":
        macs, alu, convert, per_vector = {"macs_fp32": elements}, 0.5 * elements, 0.0, 3.0
    else:
        dot = np.asarray(r.dot_int8_per_cycle) > 0.0
        macs = {"macs_int8": np.where(dot, elements, 0.0), "macs_fp32": np.where(dot, 0.0, elements)}
        alu = np.where(dot, INT8_ALU * elements, 0.0)
        convert = np.where(dot, 0.0, 2.0 * elements)
        per_vector = np.where(dot, 5.0, 13.0)
    registers = stripe / r.lanes
    stripes = op.output / stripe
    by_tables = schedule.split == SPLIT_TABLES
    shards = np.where(by_tables, _shards(op, r), 1.0)
    groups = np.maximum(op.tables / np.minimum(schedule.table_group, op.tables), shards)
    spilled = np.where(registers > r.registers - 4.0, 1.0, 0.0)
    round_trips = np.where(spilled > 0.0, op.tables, groups)
    accumulator_bytes = context.batch * op.output * 4.0 * round_trips
    vector_bytes = 4.0 * r.lanes
    # An accumulator's way in and out of its registers.
    around = (vector_bytes / r.load_bytes_per_cycle + vector_bytes / r.store_bytes_per_cycle) / r.row_load_share
    chain = context.batch * groups * stripes * (ROW_GROUP_CYCLES + around * np.minimum(registers, r.registers))
    lines = elements * element / r.line_bytes
    # Every thread of a split by columns checks and quantises all tokens, every shard does.
    copies = np.where(schedule.split == SPLIT_COLUMNS, np.minimum(r.threads, stripes), shards)
    token_cycles = CHECK_CYCLES + (INT8_TOKEN_CYCLES if op.table_dtype == "int8" else 0.0)
    tiles = np.ceil(context.batch / np.minimum(schedule.token_tile, context.batch))
    chain = chain + copies * (context.batch * token_cycles + tiles * TILE_CYCLES)
    by_row = np.where(schedule.prefetch_bytes > 0.0, schedule.prefetched, 0.0)
    chain = chain + by_row * (lines * PREFETCH_LINE_CYCLES + rows * stripes * PREFETCH_ROW_CYCLES)
    exact = context.batch * op.output * shards if op.table_dtype == "int8" else 0.0  # sums that become fp32
    row_loads = (elements * element + rows * stripes * LOADS_A_ROW * vector_bytes) / r.row_load_share
    return (
        Work(
            **macs,
            alu=alu,
            convert=convert + exact,
            load_bytes=row_loads + accumulator_bytes + 4.0 * exact,
            store_bytes=accumulator_bytes + 4.0 * exact,
            scalar_uops=rows * stripes * 4.0,
            chain_cycles=chain,
            latency_cycles=rows * stripes * r.fma_latency_cycles / together,
            efficiency=r.kernel_efficiency * (BF16_EFFICIENCY if op.table_dtype == "bf16" else 1.0),
        ),
        per_vector * vectors_per_line,
    )


def _shards(op: LookupFfn, r: Resources) -> Any:
    """Parts into which tables are split, whole fours each while there are eight."""
    wanted = np.maximum(SHARDS, r.threads)
    size = np.ceil(op.tables / wanted)
    size = np.where(wanted == SHARDS, np.ceil(size / 4.0) * 4.0, size)
    return np.ceil(op.tables / size)


@dataclass(frozen=True)
class _Division:
    """Who works on what in one gather: flags of the split, workers, columns of a stripe, contiguous bytes of a row."""

    by_tokens: Any
    by_tables: Any
    workers: Any
    stripe: Any
    piece_bytes: Any


def _divide(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context) -> _Division:
    batch, threads = context.batch, r.threads
    by_tokens, by_tables = schedule.split == SPLIT_TOKENS, schedule.split == SPLIT_TABLES
    by_columns = schedule.split == SPLIT_COLUMNS
    element = ELEMENT_BYTES[op.table_dtype]
    columns = np.where(by_columns, np.maximum(op.output / threads, r.line_bytes / element), op.output)
    tables = np.where(by_tables, np.maximum(op.tables / threads, 1.0), op.tables)
    whole = np.asarray(schedule.block_tokens) > 0.0
    stripe = np.minimum(schedule.column_stripe, np.where(whole, op.output, columns))
    columns = np.where(whole & by_columns, np.maximum(columns, stripe), columns)
    return _Division(
        by_tokens=by_tokens,
        by_tables=by_tables,
        workers=np.where(
            by_tokens, np.minimum(threads, batch), np.where(by_columns, op.output / columns, op.tables / tables)
        ),
        stripe=stripe,
        piece_bytes=stripe * element,
    )


def _from_l2(access: Access, bulk: Any, kept: Any) -> tuple[Any, ...]:
    """Miss shares of rows whose table was fetched into the L2 beforehand: what it did not keep is in the next level."""
    assert access.misses is not None
    found = []
    for level, share in enumerate(access.misses):
        left = share if level == 0 else share * (1.0 - kept) if level == 1 else 0.0
        found.append(np.where(bulk, left, share))
    return tuple(found)


def _kept(size: Any, r: Resources, slope: float) -> Any:
    """Share of `size` bytes that the L2 still has when they are used: it holds the sums and what was used before, too."""
    return np.clip(KEPT_ALL - slope * size / r.levels[1].capacity_bytes, 0.0, 1.0)


def _groups(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context, d: _Division) -> Stream:
    """Whole tables in order, once a tile of tokens (`bulk`): all by each thread if tokens are shared out, else its part."""
    size = op.tables * op.rows * op.output * ELEMENT_BYTES[op.table_dtype]
    tokens = np.where(d.by_tokens, np.maximum(context.batch / r.threads, 1.0), context.batch)
    passes = np.ceil(tokens / schedule.token_tile)
    copies = np.where(d.by_tokens, d.workers, 1.0)
    fetching = np.where(d.by_tokens, np.minimum(copies, np.maximum(r.threads / sharing(r), 1.0)), 1.0)
    everything = context.layers * (size + context.evicted_bytes)
    part = np.where(d.by_tokens, 1.0, 1.0 / d.workers)
    group = size / op.tables / op.output * d.stripe * np.minimum(schedule.table_group, op.tables)
    used = schedule.bulk
    return Stream(
        "table_groups",
        "sequential",
        (
            Access(used * size * fetching, everything * part, everything),
            Access(used * size * (copies - fetching), everything * part, np.minimum(group, everything)),
            Access(used * size * copies * (passes - 1.0), size * part, size),
        ),
    )


def _gather(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context) -> Phase:
    d = _divide(op, schedule, r, context)
    work, uops_per_line = _gather_work(op, schedule, r, context, d.stripe)
    rows, sums, codes = gather_accesses(op, schedule, r, context)
    bulk = np.asarray(schedule.bulk) > 0.0
    if np.any(bulk):
        whole = op.rows * d.piece_bytes * np.minimum(schedule.table_group, op.tables)
        kept = _kept(whole, r, KEPT_IN_ORDER)
        rows = tuple(replace(access, misses=_from_l2(access, bulk, kept)) for access in rows)
    group_lines = d.piece_bytes * np.minimum(schedule.table_group, op.tables) / r.line_bytes
    rows_stream = Stream(
        "table_rows",
        "rows",
        rows,
        row_bytes=d.piece_bytes,
        uops_per_line=uops_per_line + GROUP_UOPS / np.maximum(group_lines, 1.0),
        prefetch_bytes=schedule.prefetch_bytes,
        array_bytes=op.tables * op.rows * op.output * ELEMENT_BYTES[op.table_dtype],
        page_2m=context.page_2m,
    )
    return Phase(
        name="gather",
        work=work,
        streams=(
            *_by_prefetch(rows_stream, schedule.prefetched, _kept(schedule.prefetch_bytes, r, KEPT_BY_CODE)),
            Stream("accumulators", "sequential", (sums,), writes=1.0),
            Stream("codes", "sequential", (codes,)),
            *((_groups(op, schedule, r, context, d),) if np.any(bulk) else ()),
        ),
        **_gather_dealt(op, schedule, r, context, d),
        barriers=np.where(schedule.token_tile >= UNBOUNDED, np.where(d.by_tokens, op.tables, 1.0), 1.0),
    )


def _by_prefetch(stream: Stream, prefetched: Any, kept: Any) -> tuple[Stream, ...]:
    """The stream in two where the prefetch of some rows does not come in time; nor does it for those that the L2 loses again."""
    if not np.any(np.asarray(prefetched) < 1.0):
        return (stream,)
    prefetched = prefetched * kept

    def part(share: Any) -> tuple[Access, ...]:
        return tuple(replace(access, bytes=access.bytes * share) for access in stream.accesses)

    late = replace(stream, name="late_rows", accesses=part(1.0 - prefetched), prefetch_bytes=0.0)
    return replace(stream, accesses=part(prefetched)), late


def _gather_dealt(
    op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context, d: _Division
) -> dict[str, Any]:
    """`imbalance`, `workers` and `pieces` of the gather."""
    batch, threads = context.batch, r.threads
    even = {
        "imbalance": np.where(
            d.by_tokens,
            imbalance(batch, threads),
            threads / d.workers * np.where(d.by_tables, imbalance(op.tables, d.workers), 1.0),
        ),
        "workers": d.workers,
        "pieces": np.where(
            d.by_tokens, np.ceil(batch / threads), np.where(d.by_tables, np.ceil(op.tables / d.workers), 1.0)
        ),
    }
    blocks = np.asarray(schedule.block_tokens) > 0.0
    if not np.any(blocks):
        return even
    tiles = dealt_pieces(batch, _tile_of(schedule, r, context), threads)
    stripes = dealt_pieces(op.output / d.stripe, 1.0, threads)
    shards = dealt_pieces(_shards(op, r), 1.0, threads)
    return {
        name: np.where(
            blocks, np.where(d.by_tokens, tiles[name], np.where(d.by_tables, shards[name], stripes[name])), even[name]
        )
        for name in even
    }


def _reduction(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context) -> Phase:
    """Sum of the partial outputs of V5; no work for the other variants. Shards of one thread are added while they are near."""
    parts = np.where(schedule.split == SPLIT_TABLES, _shards(op, r), 1.0)
    several = np.asarray(r.threads) > 1.0
    elements = context.batch * op.output * (parts - 1.0)
    units = np.maximum(context.batch * op.output / r.lanes, 1.0)
    near = np.minimum(schedule.token_tile, context.batch) * op.output * 4.0 * parts
    return Phase(
        name="reduction",
        work=Work(
            alu=elements, load_bytes=8.0 * elements, store_bytes=4.0 * elements, chain_cycles=SUM_CYCLES * elements,
            efficiency=r.kernel_efficiency,
        ),
        streams=(sequential("partial_outputs", 4.0 * elements, np.where(several, FAR, near), near),),
        **dealt(units, r.threads),
        barriers=np.where((parts > 1.0) & several, 1.0, 0.0),
    )  # fmt: skip


__all__ = ["hash_bits", "lower_lookup"]
