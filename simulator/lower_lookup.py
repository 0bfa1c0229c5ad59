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

BUTTERFLY_CYCLES = 3.0
"""Loop, shuffle and address overhead of a butterfly + requantisation, per vector and stage, beyond its port bound."""

ROW_GROUP_CYCLES = 7.0
"""Loop and code -> address overhead of one group of rows (measured with a gather kernel on 16 KiB tables)."""

CHAINS_IN_WINDOW = 2.0
"""Row groups of different tokens whose accumulator chains the out-of-order window holds side by side."""

INT8_ALU = 1.25
"""fp32-lane ALU operations an int8 element of the dot-product gather, five a vector: two blends of four tables' rows, and what
broadcasts of scores, register copies and pipes that do not pair up cost (13.4 cycles for 4 vectors measured on Zen 4 all told,
6.9 on Zen 5)."""


def lower_lookup(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context) -> tuple[Phase, ...]:
    """Phases of one call of one layer."""
    by_tokens = schedule.split == SPLIT_TOKENS
    projection = _bh4 if op.projection == "bh4" else _dense_projection
    return (
        layer_norm(op.hidden, r, context),
        *projection(op, schedule, r, context, by_tokens),
        _code_score(op, schedule, r, context),
        _gather(op, schedule, r, context),
        _reduction(op, schedule, r, context),
    )


def _projection_weights(op: LookupFfn, size: Any, tile: Any, r: Resources, context: Context, by_tokens: Any) -> Stream:
    """Weights of the projection: each thread reads all of them (tokens split) or its share (blocks split)."""
    batch, threads, sharers = context.batch, r.threads, sharing(r)
    copies = np.where(by_tokens, np.minimum(threads, np.maximum(batch, 1.0)), 1.0)
    tokens = np.where(by_tokens, np.maximum(batch / threads, 1.0), batch)
    passes = np.ceil(tokens / tile)
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


def _bh4(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context, by_tokens: Any) -> tuple[Phase, ...]:
    """stages x (block-diagonal product, Walsh-Hadamard), repeated; Z = 0.7 BH4(x) + 0.3 x."""
    batch, width, rep = context.batch, padded_hidden(op), repeats(op)
    operand = ELEMENT_BYTES[op.projection_dtype]
    elements = batch * rep * width * op.stages
    macs = elements * op.block
    levels = np.where(schedule.folded > 0.0, np.log2(width / op.block), np.log2(width))
    requantise = 0.0 if op.projection_dtype == "fp32" else 1.0
    scaled = 1.0 if op.projection_dtype in ("int16", "int8") else 0.0  # by the token's largest magnitude: one more pass
    mixed = batch * rep * width
    tile = np.minimum(np.maximum(schedule.token_tile, PROJECTION_TILE), 512.0)
    tokens = np.where(by_tokens, np.maximum(batch / r.threads, 1.0), batch)
    reuse = np.minimum(tokens, REGISTER_TOKENS)
    size = rep * op.stages * width * op.block * operand + projection_outputs(op) * 4.0
    units = np.where(by_tokens, batch, rep * width / op.block)
    buffers = np.minimum(tokens, tile) * width * 8.0
    outputs = batch * projection_outputs(op) * 4.0
    blocks = Phase(
        name="block_gemm",
        work=Work(
            **_projection_kind(op, macs),
            load_bytes=macs * operand * (1.0 / reuse + 1.0 / REGISTER_TOKENS),
            store_bytes=elements * 4.0,
            efficiency=r.kernel_efficiency,
        ),
        streams=(_projection_weights(op, size, tile, r, context, by_tokens),),
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
            chain_cycles=elements / r.lanes * BUTTERFLY_CYCLES
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
    reuse = np.minimum(tokens, REGISTER_TOKENS)
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
            _projection_weights(op, op.hidden * outputs * operand + outputs * 4.0, tile, r, context, by_tokens),
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
        per_vector = np.where(dot, 8.0, 13.0)
    registers = stripe / r.lanes
    stripes = op.output / stripe
    groups = np.maximum(op.tables / np.minimum(schedule.table_group, op.tables), 1.0)
    spilled = np.where(registers > r.registers - 4.0, 1.0, 0.0)
    round_trips = np.where(spilled > 0.0, op.tables, groups)
    accumulator_bytes = context.batch * op.output * 4.0 * round_trips
    vector_bytes = 4.0 * r.lanes
    # An accumulator's way in and out of its registers.
    around = vector_bytes / r.load_bytes_per_cycle + vector_bytes / r.store_bytes_per_cycle
    chain = context.batch * groups * stripes * (ROW_GROUP_CYCLES + around * np.minimum(registers, r.registers))
    lines = elements * element / r.line_bytes
    return (
        Work(
            **macs,
            alu=alu,
            convert=convert,
            load_bytes=elements * element + accumulator_bytes,
            store_bytes=accumulator_bytes,
            scalar_uops=rows * stripes * 4.0 + np.where(schedule.prefetch_bytes > 0.0, lines, 0.0),
            chain_cycles=chain,
            latency_cycles=rows * stripes * r.fma_latency_cycles / CHAINS_IN_WINDOW,
            efficiency=r.kernel_efficiency,
        ),
        per_vector * vectors_per_line,
    )


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
    stripe = np.minimum(schedule.column_stripe, columns)
    return _Division(
        by_tokens=by_tokens,
        by_tables=by_tables,
        workers=np.where(
            by_tokens, np.minimum(threads, batch), np.where(by_columns, op.output / columns, op.tables / tables)
        ),
        stripe=stripe,
        piece_bytes=stripe * element,
    )


def _from_l2(access: Access, bulk: Any) -> tuple[Any, ...]:
    """Miss shares of rows whose table was fetched into the L2 beforehand."""
    assert access.misses is not None
    return tuple(np.where(bulk & (level > 0), 0.0, share) for level, share in enumerate(access.misses))


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
    batch, threads = context.batch, r.threads
    d = _divide(op, schedule, r, context)
    work, uops_per_line = _gather_work(op, schedule, r, context, d.stripe)
    rows, sums, codes = gather_accesses(op, schedule, r, context)
    bulk = np.asarray(schedule.bulk) > 0.0
    if np.any(bulk):
        rows = tuple(replace(access, misses=_from_l2(access, bulk)) for access in rows)
    rows_stream = Stream(
        "table_rows",
        "rows",
        rows,
        row_bytes=d.piece_bytes,
        uops_per_line=uops_per_line,
        prefetch_bytes=schedule.prefetch_bytes,
        array_bytes=op.tables * op.rows * op.output * ELEMENT_BYTES[op.table_dtype],
        page_2m=context.page_2m,
    )
    return Phase(
        name="gather",
        work=work,
        streams=(
            rows_stream,
            Stream("accumulators", "sequential", (sums,), writes=1.0),
            Stream("codes", "sequential", (codes,)),
            *((_groups(op, schedule, r, context, d),) if np.any(bulk) else ()),
        ),
        imbalance=np.where(
            d.by_tokens,
            imbalance(batch, threads),
            threads / d.workers * np.where(d.by_tables, imbalance(op.tables, d.workers), 1.0),
        ),
        workers=d.workers,
        pieces=np.where(
            d.by_tokens, np.ceil(batch / threads), np.where(d.by_tables, np.ceil(op.tables / d.workers), 1.0)
        ),
        barriers=np.where(schedule.token_tile >= UNBOUNDED, np.where(d.by_tokens, op.tables, 1.0), 1.0),
    )


def _reduction(op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context) -> Phase:
    """Sum of the partial outputs of V5; no work for the other variants."""
    sharded = np.where(schedule.split == SPLIT_TABLES, 1.0, 0.0) * np.where(np.asarray(r.threads) > 1.0, 1.0, 0.0)
    parts = np.minimum(r.threads, op.tables)
    elements = sharded * context.batch * op.output * parts
    units = np.maximum(context.batch * op.output / r.lanes, 1.0)
    return Phase(
        name="reduction",
        work=Work(alu=elements, load_bytes=4.0 * elements, efficiency=r.kernel_efficiency),
        streams=(sequential("partial_outputs", 4.0 * elements, FAR, context.batch * op.output * 4.0 * parts),),
        **dealt(units, r.threads),
        barriers=sharded,
    )


__all__ = ["hash_bits", "lower_lookup"]
