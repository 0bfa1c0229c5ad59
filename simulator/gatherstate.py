"""Where everything stands in the state of the compiled locality model: one array of numbers.

Compiled functions call each other with the state and a few numbers: an array costs seven arguments a call, and a dozen of them
more than the arithmetic.
"""

from __future__ import annotations

MAX_LEVELS = 6

(BATCH, THREADS, SHARERS, LAYERS, EVICTED, TABLES, ROWS, DECAY, OUTPUT, ELEMENT, HIDDEN, WEIGHTS, WIDTH, WIDE, BUFFERS, REPEATS,
 BH4, BLOCK_ROWS, TOGETHER, TILE, GROUP, STRIPE, SPLIT, LEVELS) = range(24)  # fmt: skip
"""Parameters, in bytes, tokens or counts. DECAY: log of the share of rows that one draw leaves. WEIGHTS: of the projection,
WIDTH: floats of a normalised token, WIDE: of a projected one, BUFFERS: other bytes a token between LayerNorm and projection,
BLOCK_ROWS: of a weight block, TOGETHER: tables that are summed at once. From LEVELS on LEVEL_FIELDS for each cache level."""

CAPACITY, WAYS, SHARED, ADDED, CURVE, POINTS, RANDOM, RANDOM_POINTS, LEVEL_FIELDS = range(9)
"""Of one level: bytes, ways, whether cores share it, ways among them that the level inside adds to it; where its miss curve
stands in the table, and how many points it has; the same for reuses at random."""

LOOPS_BEGIN = LEVELS + LEVEL_FIELDS * MAX_LEVELS
(N_WORKERS, N_NEAR, N_TOKENS, N_OUTER, N_INNER, N_BLOCK, N_GROUP, N_UNIT, N_TABLES, N_STRIPE, N_COLUMNS, N_TOKENWISE,
 N_ENCODE, N_PADDED, N_SHARDS, N_BUFFERS, N_WIDE, N_INPUTS, LOOPS_END) = range(LOOPS_BEGIN, LOOPS_BEGIN + 19)  # fmt: skip
"""Sizes of one worker's loops. NEAR: workers on one shared cache. OUTER, INNER: tokens encoded and tokens gathered together.
UNIT: tables walked before an inner tile ends. ENCODE, INPUTS, WIDE: shares of the weights, inputs and projected floats that a
core touches for a tile; BUFFERS: of the cores, those that encode at all."""

(V_TOGETHER, V_APART, V_ALL, V_UNIT, V_OWN, V_PIECE, V_PIECES, V_PIECES_APART, V_LINEAR, V_BOTH, V_PASS, V_SUMS, V_ENCODE,
 V_WEIGHTS, V_PARTIAL, V_INNER, V_OUTER, V_TOKENS, V_READ, V_CODES, V_STRIPES, V_SUM_WIDTH, V_SUM_APART, V_BUFFERS, V_ENCODERS,
 V_PACKED, V_CACHES_END, V_FILLED, _R) = range(LOOPS_END, LOOPS_END + 29)  # fmt: skip
"""What one cache sees. ALL, UNIT, OWN: bytes of one row index over all tables, a unit, a pass. PIECE: contiguous bytes of a row,
PIECES of them PIECES_APART bytes from each other. A token's bytes: LINEAR (inputs and outputs of a layer), BOTH (of two
layers), PASS (codes of a pass), READ (codes of a tile), SUMS. Bytes of a tile: ENCODE (all that is kept between outer tiles),
WEIGHTS, PARTIAL (sums of shards), CODES, BUFFERS. Sums of a pass lie in runs of SUM_WIDTH that begin SUM_APART bytes from each
other. PACKED: of codes of a token, bytes x bytes x (1 / share of the sets that they lie in - 1). FILLED: largest share of a
cache that lay between the reuses judged last."""

R_ROWS, R_POSSIBLE, R_EVEN, R_OWN, R_PACKED, R_CROWD, R_BESIDE, EDGES = range(_R, _R + 8)
"""One reuse: bytes of rows touched since, of rows that might have been, of other arrays; of the latter the line's own array
(0: the line is a row's) and V_PACKED's of a pass; pieces of a row in one set, of other rows and of its own."""

KINDS = 5
"""Of contiguous arrays whose edges matter, (bytes, how many) each from EDGES on."""

FIRST_SUMS, SHARD_SUMS, AGAIN_SUMS, ALL_SUMS, FIRST_CODES, AGAIN_CODES, ALL_ROWS, CACHES = range(
    EDGES + 2 * KINDS, EDGES + 2 * KINDS + 8
)
"""Bytes over all threads: sums written first, of shards beyond the first, read again by later groups, all ways in and out;
codes and scores read first, again; rows."""

(C_CAPACITY, C_WAYS, C_ADDED, C_INDEX, C_CURVE, C_POINTS, C_RANDOM, C_RANDOM_POINTS, C_PER_WAY, C_LINES, C_ALIGNED, C_SAME,
 C_SUM_SETS, C_ALIVE, CACHE) = range(15)  # fmt: skip
"""Of one cache of a view, from CACHES on to V_CACHES_END: bytes, ways, ways added by the level inside, level, curves, 1 / bytes
of a way. LINES: of one piece of a row in a set, ALIGNED: share of its pieces that fall into the same sets, SAME: other rows of
one table in a set, SUM_SETS: share of the sets that sums of a pass fall into. ALIVE: whether it keeps anything at the
distances that were reached."""

HITS = CACHES + CACHE * MAX_LEVELS
WITHIN, TILES, CALLS, SUMS, CODES, HIT_COLUMNS = range(6)
"""Columns of hits of each level: rows by age (touched before in this pass, in this call, in an earlier call), sums, codes."""

DISTANCES = HITS + HIT_COLUMNS * MAX_LEVELS
STATE = DISTANCES + 2 * MAX_LEVELS
"""Bytes between reuses of sums and of codes, for each level; numbers in all."""
