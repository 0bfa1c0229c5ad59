# mypy: disable-error-code="no-untyped-def"
"""The loop nest of a look-up gather in numbers, compiled: sizes of one worker's loops, and bytes as one cache sees them.

The nest is that of the kernels (`addresses_lookup`): a worker encodes an outer tile of tokens in blocks, then gathers it: shards
of tables (split by tables), inner tiles, column stripes, groups of tables, tokens. Times are tokens, of all workers that draw
rows of the same tables.
"""

from __future__ import annotations

from math import ceil, floor

from simulator.compiled import kernel
from simulator.gatherstate import (
    BATCH,
    BH4,
    BLOCK_ROWS,
    BUFFERS,
    ELEMENT,
    GROUP,
    HIDDEN,
    LAYERS,
    N_BLOCK,
    N_BUFFERS,
    N_COLUMNS,
    N_ENCODE,
    N_GROUP,
    N_INNER,
    N_INPUTS,
    N_NEAR,
    N_OUTER,
    N_PADDED,
    N_SHARDS,
    N_STRIPE,
    N_TABLES,
    N_TOKENS,
    N_TOKENWISE,
    N_UNIT,
    N_WIDE,
    N_WORKERS,
    OUTPUT,
    REPEATS,
    ROWS,
    SHARERS,
    SPLIT,
    STRIPE,
    TABLES,
    THREADS,
    TILE,
    TOGETHER,
    V_ALL,
    V_APART,
    V_BOTH,
    V_BUFFERS,
    V_CODES,
    V_ENCODE,
    V_ENCODERS,
    V_INNER,
    V_LINEAR,
    V_OUTER,
    V_OWN,
    V_PACKED,
    V_PARTIAL,
    V_PASS,
    V_PIECE,
    V_PIECES,
    V_PIECES_APART,
    V_READ,
    V_STRIPES,
    V_SUM_APART,
    V_SUM_WIDTH,
    V_SUMS,
    V_TOGETHER,
    V_TOKENS,
    V_UNIT,
    V_WEIGHTS,
    WEIGHTS,
    WIDE,
    WIDTH,
)

BLOCK, REGISTERS, LINE, SHARDS, COLUMNS = 48.0, 6.0, 64.0, 8.0, 256.0
"""Tokens encoded together, tokens that share a load of weights (kernels/plan.py), bytes of a line, shards of V5, columns that are
summed in registers."""


@kernel
def power_of_two(x):
    """The largest power of two that divides a whole number."""
    whole = int(x)
    return float(max(whole & -whole, 1))


@kernel
def code_lines(tables, padded):
    """Bytes of (codes, scores) of one token that a pass over so many tables brings near."""
    return min(max(tables * 2.0, LINE), padded * 2.0), min(max(tables * 4.0, LINE), padded * 4.0)


@kernel
def loops(s):
    """Sizes of one worker's loops (kernels/plan.py)."""
    batch, threads, element = s[BATCH], s[THREADS], s[ELEMENT]
    tables = ceil(s[TABLES] / s[TOGETHER]) * s[TOGETHER]
    by_tokens, by_columns = s[SPLIT] == 0.0, s[SPLIT] == 1.0
    share = ceil(batch / threads)
    block = min(ceil(share / (REGISTERS * ceil(share / BLOCK))) * REGISTERS, BLOCK, batch)
    blocks = ceil(batch / block)
    fewest, most = (1.0, ceil(blocks / threads)) if by_tokens else (threads, blocks)
    outer = min(min(max(floor(s[TILE] / block), fewest), most) * block, batch)
    columns = max(s[OUTPUT] / threads, LINE / element) if by_columns else s[OUTPUT]
    unit, mine, tokens, shards = tables, tables, batch, 1.0
    if by_tokens:
        workers = min(threads, ceil(batch / outer - 1e-9))
        tokens = batch / workers
    elif by_columns:
        workers = s[OUTPUT] / columns
    else:
        parts = max(SHARDS, threads)
        whole = 4.0 if parts == SHARDS or s[TOGETHER] > 1.0 else 1.0
        unit = min(ceil(ceil(tables / parts) / whole) * whole, tables)
        shards = ceil(tables / unit)
        workers = min(shards, threads)
        mine = tables / workers
        unit = min(unit, mine)
    s[N_WORKERS], s[N_NEAR], s[N_SHARDS] = workers, min(s[SHARERS], workers), shards
    s[N_TOKENS], s[N_OUTER], s[N_INNER] = (
        max(tokens, outer),
        outer,
        min(s[TILE], outer),
    )  # most tokens lie in whole tiles
    s[N_BLOCK], s[N_UNIT], s[N_TABLES] = block, unit, mine
    s[N_STRIPE], s[N_COLUMNS] = min(s[STRIPE], columns), columns
    s[N_GROUP] = min(ceil(s[GROUP] / s[TOGETHER]) * s[TOGETHER], unit)
    s[N_TOKENWISE] = 1.0 if by_tokens else 0.0
    s[N_PADDED] = ceil(s[TABLES] / 16.0) * 16.0
    _encoding(s)


@kernel
def _encoding(s):
    """What one core does of encoding an outer tile."""
    s[N_ENCODE], s[N_INPUTS], s[N_WIDE], s[N_BUFFERS] = 1.0, 1.0, 1.0, 1.0
    if s[N_TOKENWISE] > 0.0:
        return
    threads, repeats = s[THREADS], s[REPEATS]
    blocks = ceil(s[N_OUTER] / s[N_BLOCK])
    few = ceil(s[BATCH] / s[N_BLOCK]) < 4.0 * threads and repeats > 1.0 and s[BH4] > 0.0 and threads > 1.0
    items = blocks * (repeats if few else 1.0) / threads
    s[N_BUFFERS] = min(items, 1.0)
    s[N_INPUTS] = min(items, blocks) / blocks
    s[N_ENCODE] = min(items, 1.0)
    if few:  # repeats apart; a core takes every threads-th
        a, b = threads, repeats
        while b > 0.0:
            a, b = b, a % b
        s[N_WIDE] = min(ceil(items), repeats / a) / repeats
        s[N_ENCODE] *= s[N_WIDE]


@kernel
def view(s, cores, encoders):
    """Bytes of the nest as `cores` workers and `encoders` of tiles see it together."""
    tokenwise = s[N_TOKENWISE] > 0.0
    together = cores if tokenwise else 1.0  # workers that draw rows of the same tables
    apart = cores / together  # workers that have tables or columns of their own
    lists = 1.0 if s[SPLIT] == 1.0 else apart  # of codes: split by columns all read the same
    row, piece = s[N_COLUMNS] * s[ELEMENT], s[N_STRIPE] * s[ELEMENT]
    beside = apart if s[N_COLUMNS] < s[OUTPUT] else 1.0  # workers with other columns of the same rows
    s[V_TOGETHER], s[V_APART], s[V_ENCODERS] = together, apart, encoders
    s[V_ALL], s[V_UNIT], s[V_OWN] = s[N_TABLES] * row * apart, s[N_UNIT] * row * apart, s[N_GROUP] * piece * apart
    s[V_STRIPES] = max(s[N_COLUMNS] / s[N_STRIPE], 1.0)
    s[V_PIECE], s[V_PIECES] = piece, s[V_STRIPES] * beside
    s[V_PIECES_APART] = power_of_two(s[TABLES] * s[ROWS] * piece)
    s[V_SUM_WIDTH], s[V_SUM_APART] = s[N_STRIPE] * 4.0 * beside, power_of_two(s[OUTPUT] * 4.0)
    s[V_SUMS] = s[N_COLUMNS] * 4.0 * apart
    inputs = s[HIDDEN] * 4.0 * (1.0 if tokenwise else min(s[N_INPUTS] * encoders, 1.0))
    outputs = s[V_SUMS] if s[N_SHARDS] <= 1.0 else s[OUTPUT] * 4.0 * cores / s[N_WORKERS]
    s[V_LINEAR] = inputs + outputs
    # Inputs and outputs of layers take turns in two arrays.
    s[V_BOTH] = s[V_LINEAR] if s[LAYERS] <= 1.0 else 2.0 * max(outputs, inputs)
    small, large = code_lines(s[N_GROUP], s[N_PADDED])
    s[V_PASS] = (small + large) * lists
    # A pass reads a line or some of a token's codes and scores, always the same ones.
    s[V_PACKED] = small * (s[N_PADDED] * 2.0 - small) + large * (s[N_PADDED] * 4.0 - large)
    codes = s[N_PADDED] * 6.0
    small, large = code_lines(s[N_TABLES], s[N_PADDED])
    s[V_READ] = min((small + large) * lists, codes)
    turns = min(max(s[N_TOKENS] / s[N_OUTER], 1.0), 2.0)  # shared codes lie in two places in turn
    s[V_CODES] = s[N_OUTER] * (codes * cores if tokenwise else s[V_READ] * turns)
    s[V_WEIGHTS] = s[WEIGHTS] * (1.0 if tokenwise else min(s[N_ENCODE] * encoders, 1.0))
    pipelined = s[N_BLOCK] >= 24.0 and s[BLOCK_ROWS] % 64.0 == 0.0 and s[WIDTH] / s[BLOCK_ROWS] in (2.0, 4.0, 8.0)
    staged = 24.0 if pipelined and s[BH4] > 0.0 else s[N_BLOCK]
    token = s[BUFFERS] + s[WIDE] * 4.0 * s[N_WIDE]
    s[V_BUFFERS] = (s[N_BLOCK] * token + staged * s[WIDTH] * 4.0) * s[N_BUFFERS] * encoders
    s[V_PARTIAL] = 0.0
    if s[N_SHARDS] > 1.0:
        # Partial sums lie in the same place for every tile: those of the worker's shards, and its columns of other workers'.
        own, part = s[N_SHARDS] * cores / s[N_WORKERS], cores / s[N_WORKERS]
        kinds = min(own - part + (s[N_WORKERS] - cores) * part, s[N_SHARDS] - 1.0)
        s[V_PARTIAL] = s[N_OUTER] * s[OUTPUT] * 4.0 * kinds
    s[V_ENCODE] = s[V_WEIGHTS] + s[V_BUFFERS] + s[V_CODES] + s[V_PARTIAL]
    s[V_TOKENS] = s[N_TOKENS]
    if tokenwise:
        s[V_TOKENS] = min(s[N_TOKENS] * together, max(s[BATCH] * cores / s[N_WORKERS], s[N_TOKENS]))
    s[V_OUTER] = min(s[N_OUTER] * together, s[V_TOKENS])
    s[V_INNER] = min(s[N_INNER] * together, s[V_OUTER])
