# mypy: disable-error-code="no-untyped-def"
"""The loop nest of a look-up gather in numbers, compiled: sizes of one worker's loops, and bytes as one cache sees them.

The nest is that of the kernels (`addresses_lookup`): a worker encodes an outer tile of tokens in blocks, then gathers it: shards
of tables (split by tables), inner tiles, column stripes, groups of tables, tokens. Times are tokens, of all workers that draw
rows of the same tables.
"""

from __future__ import annotations

from math import ceil, floor

from numba import njit

BLOCK, REGISTERS, LINE, SHARDS, COLUMNS = 48.0, 6.0, 64.0, 8.0, 256.0
"""Tokens encoded together, tokens that share a load of weights (kernels/plan.py), bytes of a line, shards of V5, columns that are
summed in registers."""

(BATCH, THREADS, SHARERS, LAYERS, EVICTED, TABLES, ROWS, DECAY, OUTPUT, ELEMENT, HIDDEN, WEIGHTS, WIDTH, WIDE, BUFFERS, REPEATS,
 BH4, BLOCK_ROWS, TOGETHER, TILE, GROUP, STRIPE, SPLIT, LEVELS) = range(24)  # fmt: skip
"""Columns of the parameters, in bytes, tokens or counts. DECAY: log of the share of rows that one draw leaves. WEIGHTS: of the
projection, WIDTH: floats of a normalised token, WIDE: of a projected one, BUFFERS: other bytes a token between LayerNorm and
projection, BLOCK_ROWS: of a weight block, TOGETHER: tables that are summed at once. From LEVELS on LEVEL_FIELDS for each
cache level."""

CAPACITY, WAYS, SHARED, ADDED = range(4)
LEVEL_FIELDS = 4
"""Of one level: bytes, ways, whether cores share it, ways among them that the level inside adds to it."""

(N_WORKERS, N_NEAR, N_TOKENS, N_OUTER, N_INNER, N_BLOCK, N_GROUP, N_UNIT, N_TABLES, N_STRIPE, N_COLUMNS, N_TOKENWISE,
 N_ENCODE, N_PADDED, N_SHARDS, N_BUFFERS, N_WIDE, N_INPUTS, LOOPS) = range(19)  # fmt: skip
"""Sizes of one worker's loops. NEAR: workers on one shared cache. OUTER, INNER: tokens encoded and tokens gathered together. UNIT:
tables walked before an inner tile ends. ENCODE, INPUTS, WIDE: shares of the weights, inputs and projected floats that a core
touches for a tile; BUFFERS: of the cores, those that encode at all."""

(V_TOGETHER, V_APART, V_ALL, V_UNIT, V_OWN, V_PIECE, V_PIECES, V_PIECES_APART, V_LINEAR, V_BOTH, V_PASS, V_SUMS, V_ENCODE,
 V_WEIGHTS, V_PARTIAL, V_INNER, V_OUTER, V_TOKENS, V_READ, V_CODES, V_STRIPES, V_SUM_WIDTH, V_SUM_APART, V_BUFFERS, V_ENCODERS,
 V_PACKED, VIEW) = range(27)  # fmt: skip
"""What one cache sees. ALL, UNIT, OWN: bytes of one row index over all tables, a unit, a pass. PIECE: contiguous bytes of a row,
PIECES of them PIECES_APART bytes from each other. A token's bytes: LINEAR (inputs and outputs of a layer), BOTH (of two layers), PASS
(codes of a pass), READ (codes of a tile), SUMS. Bytes of a tile: ENCODE (all that is kept between outer tiles), WEIGHTS, PARTIAL (sums of
shards), CODES, BUFFERS. Sums of a pass lie in runs of SUM_WIDTH that begin SUM_APART bytes from each other. PACKED: see `kept`."""


@njit(nogil=True, _nrt=False, error_model="numpy")
def power_of_two(x):
    """The largest power of two that divides a whole number."""
    whole = int(x)
    return float(max(whole & -whole, 1))


@njit(nogil=True, _nrt=False, error_model="numpy")
def code_lines(tables, padded):
    """Bytes of (codes, scores) of one token that a pass over so many tables brings near."""
    return min(max(tables * 2.0, LINE), padded * 2.0), min(max(tables * 4.0, LINE), padded * 4.0)


@njit(nogil=True, _nrt=False, error_model="numpy")
def loops(p, n):
    """Sizes of one worker's loops (kernels/plan.py)."""
    batch, threads, element = p[BATCH], p[THREADS], p[ELEMENT]
    tables = ceil(p[TABLES] / p[TOGETHER]) * p[TOGETHER]
    by_tokens, by_columns = p[SPLIT] == 0.0, p[SPLIT] == 1.0
    share = ceil(batch / threads)
    block = min(ceil(share / (REGISTERS * ceil(share / BLOCK))) * REGISTERS, BLOCK, batch)
    blocks = ceil(batch / block)
    fewest, most = (1.0, ceil(blocks / threads)) if by_tokens else (threads, blocks)
    outer = min(min(max(floor(p[TILE] / block), fewest), most) * block, batch)
    columns = max(p[OUTPUT] / threads, LINE / element) if by_columns else p[OUTPUT]
    unit, mine, tokens, shards = tables, tables, batch, 1.0
    if by_tokens:
        workers = min(threads, ceil(batch / outer - 1e-9))
        tokens = batch / workers
    elif by_columns:
        workers = p[OUTPUT] / columns
    else:
        parts = max(SHARDS, threads)
        whole = 4.0 if parts == SHARDS or p[TOGETHER] > 1.0 else 1.0
        unit = min(ceil(ceil(tables / parts) / whole) * whole, tables)
        shards = ceil(tables / unit)
        workers = min(shards, threads)
        mine = tables / workers
        unit = min(unit, mine)
    n[N_WORKERS], n[N_NEAR], n[N_SHARDS] = workers, min(p[SHARERS], workers), shards
    n[N_TOKENS], n[N_OUTER], n[N_INNER] = max(tokens, outer), outer, min(p[TILE], outer)  # most tokens lie in whole tiles
    n[N_BLOCK], n[N_UNIT], n[N_TABLES] = block, unit, mine
    n[N_STRIPE], n[N_COLUMNS] = min(p[STRIPE], columns), columns
    n[N_GROUP] = min(ceil(p[GROUP] / p[TOGETHER]) * p[TOGETHER], unit)
    n[N_TOKENWISE] = 1.0 if by_tokens else 0.0
    n[N_PADDED] = ceil(p[TABLES] / 16.0) * 16.0
    _encoding(p, n)


@njit(nogil=True, _nrt=False, error_model="numpy")
def _encoding(p, n):
    """What one core does of encoding an outer tile."""
    n[N_ENCODE], n[N_INPUTS], n[N_WIDE], n[N_BUFFERS] = 1.0, 1.0, 1.0, 1.0
    if n[N_TOKENWISE] > 0.0:
        return
    threads, repeats = p[THREADS], p[REPEATS]
    blocks = ceil(n[N_OUTER] / n[N_BLOCK])
    few = ceil(p[BATCH] / n[N_BLOCK]) < 4.0 * threads and repeats > 1.0 and p[BH4] > 0.0 and threads > 1.0
    items = blocks * (repeats if few else 1.0) / threads
    n[N_BUFFERS] = min(items, 1.0)
    n[N_INPUTS] = min(items, blocks) / blocks
    n[N_ENCODE] = min(items, 1.0)
    if few:  # repeats apart; a core takes every threads-th
        a, b = threads, repeats
        while b > 0.0:
            a, b = b, a % b
        n[N_WIDE] = min(ceil(items), repeats / a) / repeats
        n[N_ENCODE] *= n[N_WIDE]


@njit(nogil=True, _nrt=False, error_model="numpy")
def view(p, n, cores, encoders, v):
    """Bytes of the nest as `cores` workers and `encoders` of tiles see it together."""
    tokenwise = n[N_TOKENWISE] > 0.0
    together = cores if tokenwise else 1.0  # workers that draw rows of the same tables
    apart = cores / together  # workers that have tables or columns of their own
    lists = 1.0 if p[SPLIT] == 1.0 else apart  # of codes: split by columns all read the same
    row, piece = n[N_COLUMNS] * p[ELEMENT], n[N_STRIPE] * p[ELEMENT]
    beside = apart if n[N_COLUMNS] < p[OUTPUT] else 1.0  # workers with other columns of the same rows
    v[V_TOGETHER], v[V_APART], v[V_ENCODERS] = together, apart, encoders
    v[V_ALL], v[V_UNIT], v[V_OWN] = n[N_TABLES] * row * apart, n[N_UNIT] * row * apart, n[N_GROUP] * piece * apart
    v[V_STRIPES] = max(n[N_COLUMNS] / n[N_STRIPE], 1.0)
    v[V_PIECE], v[V_PIECES] = piece, v[V_STRIPES] * beside
    v[V_PIECES_APART] = power_of_two(p[TABLES] * p[ROWS] * piece)
    v[V_SUM_WIDTH], v[V_SUM_APART] = n[N_STRIPE] * 4.0 * beside, power_of_two(p[OUTPUT] * 4.0)
    v[V_SUMS] = n[N_COLUMNS] * 4.0 * apart
    inputs = p[HIDDEN] * 4.0 * (1.0 if tokenwise else min(n[N_INPUTS] * encoders, 1.0))
    outputs = v[V_SUMS] if n[N_SHARDS] <= 1.0 else p[OUTPUT] * 4.0 * cores / n[N_WORKERS]
    v[V_LINEAR] = inputs + outputs
    # Inputs and outputs of layers take turns in two arrays.
    v[V_BOTH] = v[V_LINEAR] if p[LAYERS] <= 1.0 else 2.0 * max(outputs, inputs)
    small, large = code_lines(n[N_GROUP], n[N_PADDED])
    v[V_PASS] = (small + large) * lists
    # A pass reads a line or some of a token's codes and scores, always the same ones.
    v[V_PACKED] = small * (n[N_PADDED] * 2.0 - small) + large * (n[N_PADDED] * 4.0 - large)
    codes = n[N_PADDED] * 6.0
    small, large = code_lines(n[N_TABLES], n[N_PADDED])
    v[V_READ] = min((small + large) * lists, codes)
    turns = min(max(n[N_TOKENS] / n[N_OUTER], 1.0), 2.0)  # shared codes lie in two places in turn
    v[V_CODES] = n[N_OUTER] * (codes * cores if tokenwise else v[V_READ] * turns)
    v[V_WEIGHTS] = p[WEIGHTS] * (1.0 if tokenwise else min(n[N_ENCODE] * encoders, 1.0))
    pipelined = n[N_BLOCK] >= 24.0 and p[BLOCK_ROWS] % 64.0 == 0.0 and p[WIDTH] / p[BLOCK_ROWS] in (2.0, 4.0, 8.0)
    staged = 24.0 if pipelined and p[BH4] > 0.0 else n[N_BLOCK]
    token = p[BUFFERS] + p[WIDE] * 4.0 * n[N_WIDE]
    v[V_BUFFERS] = (n[N_BLOCK] * token + staged * p[WIDTH] * 4.0) * n[N_BUFFERS] * encoders
    v[V_PARTIAL] = 0.0
    if n[N_SHARDS] > 1.0:
        # Partial sums lie in the same place for every tile: those of the worker's shards, and its columns of other workers'.
        own, part = n[N_SHARDS] * cores / n[N_WORKERS], cores / n[N_WORKERS]
        kinds = min(own - part + (n[N_WORKERS] - cores) * part, n[N_SHARDS] - 1.0)
        v[V_PARTIAL] = n[N_OUTER] * p[OUTPUT] * 4.0 * kinds
    v[V_ENCODE] = v[V_WEIGHTS] + v[V_BUFFERS] + v[V_CODES] + v[V_PARTIAL]
    v[V_TOKENS] = n[N_TOKENS]
    if tokenwise:
        v[V_TOKENS] = min(n[N_TOKENS] * together, max(p[BATCH] * cores / n[N_WORKERS], n[N_TOKENS]))
    v[V_OUTER] = min(n[N_OUTER] * together, v[V_TOKENS])
    v[V_INNER] = min(n[N_INNER] * together, v[V_OUTER])
