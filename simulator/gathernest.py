# mypy: disable-error-code="no-untyped-def"
"""The loop nest of a look-up gather in numbers, compiled: sizes of one worker's loops, and bytes as one cache sees them.

The nest is that of the kernels (`addresses_lookup`): a worker encodes an outer tile of tokens in blocks, then gathers it: shards
of tables (split by tables), inner tiles, column stripes, groups of tables, tokens. Times are tokens, of all workers that draw
rows of the same tables.
"""

from __future__ import annotations

from math import ceil, floor

from simulator import gatherstate as g
from simulator.compiled import kernel

LINE = 64.0
"""Bytes of a line."""

BLOCK, REGISTERS = 48.0, 6.0
"""Tokens that are encoded together, tokens that share a load of weights (kernels/plan.py)."""

SHARDS = 8.0
"""Least number of shards into which tables are split (V5)."""

COLUMNS = 256.0
"""Most columns that are summed in registers."""

BESIDE = 24.0
"""Tokens of a group whose repeats are encoded beside each other, where block and width allow it
(kernels/include/bh4_beside.hpp)."""


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
    batch, threads, element = s[g.BATCH], s[g.THREADS], s[g.ELEMENT]
    tables = ceil(s[g.TABLES] / s[g.TOGETHER]) * s[g.TOGETHER]
    by_tokens, by_columns = s[g.SPLIT] == 0.0, s[g.SPLIT] == 1.0
    share = ceil(batch / threads)
    block = min(ceil(share / (REGISTERS * ceil(share / BLOCK))) * REGISTERS, BLOCK, batch)
    blocks = ceil(batch / block)
    fewest, most = (1.0, ceil(blocks / threads)) if by_tokens else (threads, blocks)
    outer = min(min(max(floor(s[g.TILE] / block), fewest), most) * block, batch)
    columns = max(s[g.OUTPUT] / threads, LINE / element) if by_columns else s[g.OUTPUT]
    unit, mine, tokens, shards = tables, tables, batch, 1.0
    if by_tokens:
        workers = min(threads, ceil(batch / outer - 1e-9))
        tokens = batch / workers
    elif by_columns:
        workers = s[g.OUTPUT] / columns
    else:
        parts = max(SHARDS, threads)
        whole = 4.0 if parts == SHARDS or s[g.TOGETHER] > 1.0 else 1.0
        unit = min(ceil(ceil(tables / parts) / whole) * whole, tables)
        shards = ceil(tables / unit)
        workers = min(shards, threads)
        mine = tables / workers
        unit = min(unit, mine)
    s[g.N_WORKERS], s[g.N_NEAR], s[g.N_SHARDS] = workers, min(s[g.SHARERS], workers), shards
    s[g.N_TOKENS] = max(tokens, outer)  # most tokens lie in whole tiles
    s[g.N_OUTER], s[g.N_INNER] = outer, min(s[g.TILE], outer)
    s[g.N_BLOCK], s[g.N_UNIT], s[g.N_TABLES] = block, unit, mine
    s[g.N_STRIPE], s[g.N_COLUMNS] = min(s[g.STRIPE], columns), columns
    s[g.N_GROUP] = min(ceil(s[g.GROUP] / s[g.TOGETHER]) * s[g.TOGETHER], unit)
    s[g.N_TOKENWISE] = 1.0 if by_tokens else 0.0
    s[g.N_PADDED] = ceil(s[g.TABLES] / 16.0) * 16.0
    _encoding(s)


@kernel
def _encoding(s):
    """What one core does of encoding an outer tile."""
    s[g.N_ENCODE], s[g.N_INPUTS], s[g.N_WIDE], s[g.N_BUFFERS] = 1.0, 1.0, 1.0, 1.0
    if s[g.N_TOKENWISE] > 0.0:
        return
    threads, repeats = s[g.THREADS], s[g.REPEATS]
    blocks = ceil(s[g.N_OUTER] / s[g.N_BLOCK])
    few = ceil(s[g.BATCH] / s[g.N_BLOCK]) < 4.0 * threads and repeats > 1.0 and s[g.BH4] > 0.0 and threads > 1.0
    items = blocks * (repeats if few else 1.0) / threads
    s[g.N_BUFFERS] = min(items, 1.0)
    s[g.N_INPUTS] = min(items, blocks) / blocks
    s[g.N_ENCODE] = min(items, 1.0)
    if few:  # repeats apart; a core takes every threads-th
        a, b = threads, repeats
        while b > 0.0:
            a, b = b, a % b
        s[g.N_WIDE] = min(ceil(items), repeats / a) / repeats
        s[g.N_ENCODE] *= s[g.N_WIDE]


@kernel
def view(s, cores, encoders):
    """Bytes of the nest as `cores` workers and `encoders` of tiles see it together."""
    tokenwise = s[g.N_TOKENWISE] > 0.0
    together = cores if tokenwise else 1.0  # workers that draw rows of the same tables
    apart = cores / together  # workers that have tables or columns of their own
    lists = 1.0 if s[g.SPLIT] == 1.0 else apart  # of codes: split by columns all read the same
    row, piece = s[g.N_COLUMNS] * s[g.ELEMENT], s[g.N_STRIPE] * s[g.ELEMENT]
    beside = apart if s[g.N_COLUMNS] < s[g.OUTPUT] else 1.0  # workers with other columns of the same rows
    s[g.V_TOGETHER], s[g.V_APART], s[g.V_ENCODERS] = together, apart, encoders
    s[g.V_ALL], s[g.V_UNIT] = s[g.N_TABLES] * row * apart, s[g.N_UNIT] * row * apart
    s[g.V_OWN] = s[g.N_GROUP] * piece * apart
    s[g.V_STRIPES] = max(s[g.N_COLUMNS] / s[g.N_STRIPE], 1.0)
    s[g.V_PIECE], s[g.V_PIECES] = piece, s[g.V_STRIPES] * beside
    s[g.V_PIECES_APART] = power_of_two(s[g.TABLES] * s[g.ROWS] * piece)
    s[g.V_SUM_WIDTH], s[g.V_SUM_APART] = s[g.N_STRIPE] * 4.0 * beside, power_of_two(s[g.OUTPUT] * 4.0)
    s[g.V_SUMS] = s[g.N_COLUMNS] * 4.0 * apart
    inputs = s[g.HIDDEN] * 4.0 * (1.0 if tokenwise else min(s[g.N_INPUTS] * encoders, 1.0))
    outputs = s[g.V_SUMS] if s[g.N_SHARDS] <= 1.0 else s[g.OUTPUT] * 4.0 * cores / s[g.N_WORKERS]
    s[g.V_LINEAR] = inputs + outputs
    # Inputs and outputs of layers take turns in two arrays.
    s[g.V_BOTH] = s[g.V_LINEAR] if s[g.LAYERS] <= 1.0 else 2.0 * max(outputs, inputs)
    small, large = code_lines(s[g.N_GROUP], s[g.N_PADDED])
    s[g.V_PASS] = (small + large) * lists
    # A pass reads a line or some of a token's codes and scores, always the same ones.
    s[g.V_PACKED] = small * (s[g.N_PADDED] * 2.0 - small) + large * (s[g.N_PADDED] * 4.0 - large)
    codes = s[g.N_PADDED] * 6.0
    small, large = code_lines(s[g.N_TABLES], s[g.N_PADDED])
    s[g.V_READ] = min((small + large) * lists, codes)
    turns = min(max(s[g.N_TOKENS] / s[g.N_OUTER], 1.0), 2.0)  # shared codes lie in two places in turn
    s[g.V_CODES] = s[g.N_OUTER] * (codes * cores if tokenwise else s[g.V_READ] * turns)
    s[g.V_WEIGHTS] = s[g.WEIGHTS] * (1.0 if tokenwise else min(s[g.N_ENCODE] * encoders, 1.0))
    shaped = s[g.BH4] > 0.0 and s[g.BLOCK_ROWS] % 64.0 == 0.0 and s[g.WIDTH] / s[g.BLOCK_ROWS] in (2.0, 4.0, 8.0)
    staged = BESIDE if shaped and s[g.N_BLOCK] >= BESIDE else s[g.N_BLOCK]
    token = s[g.BUFFERS] + s[g.WIDE] * 4.0 * s[g.N_WIDE]
    s[g.V_BUFFERS] = (s[g.N_BLOCK] * token + staged * s[g.WIDTH] * 4.0) * s[g.N_BUFFERS] * encoders
    s[g.V_PARTIAL] = 0.0
    if s[g.N_SHARDS] > 1.0:
        # Partial sums lie in the same place for every tile: those of the worker's shards, and its columns of other workers'.
        own, part = s[g.N_SHARDS] * cores / s[g.N_WORKERS], cores / s[g.N_WORKERS]
        kinds = min(own - part + (s[g.N_WORKERS] - cores) * part, s[g.N_SHARDS] - 1.0)
        s[g.V_PARTIAL] = s[g.N_OUTER] * s[g.OUTPUT] * 4.0 * kinds
    s[g.V_ENCODE] = s[g.V_WEIGHTS] + s[g.V_BUFFERS] + s[g.V_CODES] + s[g.V_PARTIAL]
    s[g.V_TOKENS] = s[g.N_TOKENS]
    if tokenwise:
        s[g.V_TOKENS] = min(s[g.N_TOKENS] * together, max(s[g.BATCH] * cores / s[g.N_WORKERS], s[g.N_TOKENS]))
    s[g.V_OUTER] = min(s[g.N_OUTER] * together, s[g.V_TOKENS])
    s[g.V_INNER] = min(s[g.N_INNER] * together, s[g.V_OUTER])
