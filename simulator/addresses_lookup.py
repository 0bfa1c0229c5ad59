"""Addresses of a look-up FFN, in the order of the compiled kernels (kernels/lookup_ffn, kernels/include/gather*.hpp).

V1 to V3: a core takes tiles of tokens from LayerNorm to the sums; tiles go round the cores. V4 (columns) and V5 (tables): all
cores encode the blocks of a tile, meet, and gather it together; V5 sums shards of tables (8, or one a core beyond that) along
a binary tree. Tables lie in column stripes, [stripe][table][row][column]; codes have 2 bytes, scores 4; outputs are padded to
whole lines, and a stripe is the widest that divides them and is no wider than the schedule's (V4: than a core's share). Kernels
differ in the width of their vectors; this is AVX-512's order (256 columns in registers, int8 tables in fours).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator import touches as t
from simulator.addresses_places import (
    BESIDE_GROUP,
    Core,
    Layer,
    Places,
    Shape,
    place_arrays,
    round_up,
    shape_of,
    shard_sizes,
)
from simulator.addressmap import AddressMap
from simulator.addresstasks import NUMBER, Gather, Program, Runs, Stage, Task, layer_norm, number, runs, shares, sweep
from simulator.rowindices import draw_rows, recorded_rows
from simulator.schedule import SPLIT_COLUMNS, SPLIT_TOKENS, LookupSchedule
from simulator.workload import LookupFfn

_CODES_AT_ONCE = 32

# --- LayerNorm to codes ---------------------------------------------------------------------------------------------


def _encode(s: Shape, core: Core, layer: Layer, x: int, begin: int, end: int, codes: int, scores: int, first: int,
            part: int) -> Iterator[Task]:  # fmt: skip
    """Tokens [begin, end) of one block; their codes and scores go to rows that begin with token `first`. `part`: one
    repeat of BH4 with its tables, -1: all."""
    copies = (core.x1, core.planes) if s.planes else (core.x1,)
    yield layer_norm(x, int(s.op.hidden), layer.norm, copies, s.width * 4, begin, begin, end)
    count = end - begin
    own = number("projection", "activations")[0]
    tokens = np.arange(count)[:, None]
    yield runs(
        np.concatenate([core.x1 + tokens * s.width * 4, core.first + tokens * s.width * s.operand], axis=1),
        [s.width * 4, s.width * s.operand],
        own,
        [t.READ, t.WRITE],
    )
    if s.op.projection == "bh4":
        for repeat in range(s.repeats) if part < 0 else (part,):
            for stage in range(int(s.op.stages)):
                yield _bh4(s, core, layer, count, repeat, stage)
    else:
        yield from _dense(s, core, layer, count)
    tables = range(int(s.op.tables))
    if part >= 0:
        each = s.width // s.bits
        tables = tables[part * each : (part + 1) * each]
    yield _code_score(s, core.z, codes, scores, begin - first, count, tables)


def _bh4(s: Shape, core: Core, layer: Layer, tokens: int, repeat: int, stage: int) -> Runs:
    block = int(s.op.block)
    blocks = s.width // block
    beside = tokens >= 2 * BESIDE_GROUP and block % 64 == 0 and blocks in (2, 4, 8)
    group, width = (BESIDE_GROUP, 4) if beside else (tokens, 6)
    shape = np.array(
        [s.width, block, s.operand, s.op.stages, group, width, s.width * (2 if beside else 1)], dtype=np.int64
    )
    mix = core.planes if s.planes else core.x1
    places = np.array(
        [layer.weights, core.first, core.later, core.y, mix, layer.bias, core.z, s.z_bytes], dtype=np.int64
    )
    names = number("projection", "projection_weights", "activations", "stage_buffers", "bias", "projected")
    panels = blocks * -(-block // min(block, 64)) * -(-block * s.operand // 64)
    groups = -(-tokens // group) * -(-group // width)
    most = panels * groups * (width + 1) + tokens * (panels + 20)
    rows = np.empty((most, 4), dtype=np.int64)
    return Runs(rows, t.bh4_stage(rows, shape, places, names, tokens, repeat, stage))


def _dense(s: Shape, core: Core, layer: Layer, tokens: int) -> Iterator[Task]:
    """Panels of 64 outputs over all tokens of the block: sums, then added to the bias (in one pass over the inputs)."""
    depth = round_up(s.op.hidden, 64 // s.operand) * s.operand
    names = number("projection", "projection_weights", "activations", "stage_buffers")
    buffer, bias, projected = number("projection", "stage_buffers", "bias", "projected")
    rows = np.arange(tokens)[:, None]
    for panel in range(s.z_bytes // 256):
        made = np.empty((-(-tokens // 6) * -(-depth // 64) * 7 + tokens, 4), dtype=np.int64)
        size = 64 * int(s.op.hidden) * s.operand
        n = t.product(made, 0, layer.weights + panel * size, size, core.first, s.width * s.operand, depth, tokens, 6,
                      core.y, 256, 256, names)  # fmt: skip
        yield Runs(made, n)
        at = panel * 256
        yield runs(
            np.concatenate(
                [core.y + rows * 256, np.full_like(rows, layer.bias + at), core.z + rows * s.z_bytes + at], axis=1
            ),
            256,
            [buffer, bias, projected],
            [t.READ, t.READ, t.WRITE],
        )


def _code_score(s: Shape, z: int, codes: int, scores: int, first: int, count: int, tables: range) -> Runs:
    """Z of 32 tables at a time to their codes and scores."""
    group = np.arange(tables.start, tables.stop, _CODES_AT_ONCE)[None, :, None]
    many = np.minimum(_CODES_AT_ONCE, tables.stop - group)
    token = np.arange(count)[:, None, None]
    starts = [z + token * s.z_bytes + group * s.bits * 4, codes + (first + token) * s.code_bytes + group * 2,
              scores + (first + token) * s.code_bytes * 2 + group * 4]  # fmt: skip
    return runs(
        np.concatenate(starts, axis=2),
        np.concatenate([many * s.bits * 4, many * 2, many * 4], axis=2),
        number("code_score", "projected", "codes", "scores"),
        [t.READ, t.WRITE, t.WRITE],
    )


# --- gather ---------------------------------------------------------------------------------------------------------


def _gather(s: Shape, layer: Layer, rows: Any, tokens: tuple[int, int], stripes: tuple[int, int], tables: tuple[int, int],
            near: tuple[int, int, int], sums: tuple[int, int]) -> Iterator[Task]:  # fmt: skip
    """near: codes, scores and the token that they begin with; sums: their array and the token that it begins with."""
    p = np.zeros(t.GATHER_PARAMETERS, dtype=np.int64)
    p[[t.TOKENS_BEGIN, t.TOKENS_END, t.STRIPE_BEGIN, t.STRIPE_END, t.TABLE_BEGIN, t.TABLE_END]] = [
        *tokens,
        *stripes,
        *tables,
    ]
    p[[t.CODES, t.SCORES, t.NEAR_FIRST, t.SUMS, t.SUM_FIRST]] = [*near, *sums]
    together = 4 if s.op.table_dtype == "int8" else 1
    group = round_up(min(max(s.schedule.table_group, 1), s.tables), together)
    p[[t.TOKEN_TILE, t.GROUP, t.TABLES]] = max(1, min(s.schedule.token_tile, s.program.batch)), group, s.tables
    p[[t.ROWS, t.PIECE_ROW, t.STRIPE, t.ELEMENT]] = s.op.rows, s.stripe * s.element, s.stripe, s.element
    p[[t.TOGETHER, t.DATA, t.CODE_STRIDE, t.SCORE_STRIDE]] = together, layer.tables, s.code_bytes, s.code_bytes * 2
    p[[t.SUM_STRIDE, t.BIAS, t.FIRST_STREAM]] = s.columns * 4, layer.output_bias, NUMBER["gather", "codes"]
    yield Gather(p, rows, np.array([tokens[0], stripes[0], tables[0], tokens[0]], dtype=np.int64))
    if together > 1:  # exact sums leave as fp32, the bias joins
        begin, size = stripes[0] * s.stripe * 4, (stripes[1] - stripes[0]) * s.stripe * 4
        at = sums[0] + (np.arange(*tokens)[:, None] - sums[1]) * s.columns * 4 + begin
        if tables[0] == 0:
            names, kinds = number("gather", "bias", "accumulators"), [t.READ, t.UPDATE]
            at = np.concatenate([np.full_like(at, layer.output_bias + begin), at], axis=1)
        else:
            names, kinds = number("gather", "accumulators"), [t.UPDATE]
        yield runs(at, size, names, kinds)


def _by_tokens(s: Shape, places: Places, layer: Layer, x: int, y: int, rows: Any, thread: int) -> Iterator[Task]:
    core, batch = places.cores[thread], s.program.batch
    for begin in range(thread * s.tile, batch, s.tile * s.program.threads):
        end = min(begin + s.tile, batch)
        for at in range(begin, end, s.block):
            yield from _encode(s, core, layer, x, at, min(at + s.block, end), core.codes, core.scores, begin, -1)
        near = core.codes, core.scores, begin
        yield from _gather(s, layer, rows, (begin, end), (0, s.columns // s.stripe), (0, s.tables), near, (y, 0))


def _encode_share(s: Shape, places: Places, layer: Layer, x: int, begin: int, end: int, near: tuple[int, int, int],
                  thread: int) -> Iterator[Task]:  # fmt: skip
    """Blocks of one tile that one core encodes; repeats of BH4 apart where blocks are few."""
    few = s.program.threads > 1 and -(-s.program.batch // s.block) < 4 * s.program.threads
    parts = range(s.repeats) if few and s.repeats > 1 and s.width % s.bits == 0 else (-1,)
    items = [(at, part) for at in range(begin, end, s.block) for part in parts]
    for at, part in items[thread :: s.program.threads]:
        core = places.cores[thread]
        yield from _encode(s, core, layer, x, at, min(at + s.block, end), near[0], near[1], near[2], part)


def _shard_sums(s: Shape, places: Places, layer: Layer, y: int, rows: Any, tokens: tuple[int, int],
                near: tuple[int, int, int], thread: int) -> Iterator[Task]:  # fmt: skip
    """Shards of one core, each added to its neighbours as soon as a subtree of its own is whole."""
    count, size = shard_sizes(s)
    mine = shares(count, s.program.threads, thread)
    for shard in mine:
        tables = shard * size, min((shard + 1) * size, s.tables)
        sums = _shard(s, places, y, tokens, shard)
        yield from _gather(s, layer, rows, tokens, (0, s.columns // s.stripe), tables, near, sums)
        step = 1
        while step < count:
            left = shard // (2 * step) * (2 * step)
            whole = shard + 1 in (left + 2 * step, count)
            if mine.start <= left and left + step <= shard and whole:
                yield _add(s, places, y, tokens, left, step, range(s.columns))
            step *= 2


def _shard(s: Shape, places: Places, y: int, tokens: tuple[int, int], shard: int) -> tuple[int, int]:
    """(array, first token) of a shard's sums: the first shard's are the outputs themselves."""
    tile = min(s.tile, s.program.batch)
    return (places.partial + (shard - 1) * tile * s.columns * 4, tokens[0]) if shard else (y, 0)


def _add(s: Shape, places: Places, y: int, tokens: tuple[int, int], left: int, step: int, columns: range) -> Runs:
    """sums[left] += sums[left + step] over columns."""
    token = np.arange(*tokens)[:, None]
    pairs = [(_shard(s, places, y, tokens, shard)) for shard in (left + step, left)]
    starts = [array + (token - first) * s.columns * 4 + columns.start * 4 for array, first in pairs]
    read, written = number("reduction", "partial_outputs", "outputs")
    names = [read, read if left else written]
    return runs(np.concatenate(starts, axis=1), len(columns) * 4, names, [t.READ, t.UPDATE])


def _reduction(s: Shape, places: Places, y: int, tokens: tuple[int, int], thread: int) -> Iterator[Task]:
    """Pairs of shards that no single core had, columns over cores."""
    count = shard_sizes(s)[0]
    owner = [
        next(c for c in range(s.program.threads) if shard in shares(count, s.program.threads, c))
        for shard in range(count)
    ]
    mine = shares(s.columns // 16, s.program.threads, thread)
    columns = range(mine.start * 16, mine.stop * 16)
    step = 1
    while step < count:
        for left in range(0, count - step, 2 * step):
            apart = owner[left] != owner[min(left + 2 * step, count) - 1]
            if apart and columns:
                yield _add(s, places, y, tokens, left, step, columns)
        step *= 2


def _together(s: Shape, places: Places, call: int, index: int, x: int, y: int, rows: Any) -> Iterator[Stage]:
    """V4 and V5: stages of one layer."""
    layer, threads, batch = places.layers[index], range(s.program.threads), s.program.batch
    spare = _spare(s)
    stripes = s.columns // s.stripe
    for turn, begin in enumerate(range(0, batch, s.tile)):
        end, at = min(begin + s.tile, batch), turn % 2 * min(s.tile, batch) * s.code_bytes
        near = places.codes + at, places.scores + 2 * at, begin
        encode = tuple(_encode_share(s, places, layer, x, begin, end, near, i) for i in threads)
        yield Stage(call, index, encode, spare)
        tokens = begin, end
        if s.schedule.split == SPLIT_COLUMNS:
            own = [shares(stripes, s.program.threads, i) for i in threads]
            parts = tuple(
                _gather(s, layer, rows, tokens, (part.start, part.stop), (0, s.tables), near, (y, 0))
                if part
                else iter(())
                for part in own
            )
            yield Stage(call, index, parts, spare)
        else:
            yield Stage(
                call, index, tuple(_shard_sums(s, places, layer, y, rows, tokens, near, i) for i in threads), spare
            )
            yield Stage(call, index, tuple(_reduction(s, places, y, tokens, i) for i in threads), spare)


def _spare(s: Shape) -> int:
    """Lines of one token and group of tables, at most: what a gather writes beyond its stop."""
    row = s.stripe * s.element // 64 + 1
    pieces = -(-s.stripe // t.REGISTER_COLUMNS)
    return s.tables * (row + pieces * 2) + s.stripe * 12 // 64 + 8 * pieces


def lookup_layers(
    op: LookupFfn, schedule: LookupSchedule, program: Program, space: AddressMap | None = None
) -> Iterator[Stage]:
    """Stages of all calls and layers; `space` receives the memory map."""
    s = shape_of(op, schedule, program)
    places = place_arrays(s, AddressMap() if space is None else space)
    for call in range(program.calls):
        for index, layer in enumerate(places.layers):
            x, y = places.inputs[index % 2], places.inputs[1 - index % 2]
            rows = _rows(op, program, index, call)
            if schedule.split == SPLIT_TOKENS:
                tasks = tuple(_by_tokens(s, places, layer, x, y, rows, i) for i in range(program.threads))
                yield Stage(call, index, tasks, _spare(s))
            else:
                yield from _together(s, places, call, index, x, y, rows)
            if program.evicted_bytes >= 1:
                swept = tuple(iter([sweep(layer.evicted, program.evicted_bytes)]) for _ in range(program.threads))
                yield Stage(call, index, swept)


def _rows(op: LookupFfn, program: Program, layer: int, call: int) -> NDArray[np.uint32]:
    if program.recorded is None:
        return draw_rows(op, program.batch, program.seed, layer, call)
    return recorded_rows(op, program.recorded, program.batch, layer, call)
