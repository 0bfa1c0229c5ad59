# mypy: disable-error-code="no-untyped-def"
"""Where sums, codes and scores of a look-up gather hit, compiled; the terms are those of `rowkernel`."""

from __future__ import annotations

from math import ceil, floor

from simulator.compiled import kernel
from simulator.gathernest import COLUMNS, code_lines
from simulator.gatherstate import (
    AGAIN_CODES,
    AGAIN_SUMS,
    ALL_ROWS,
    ALL_SUMS,
    BATCH,
    C_INDEX,
    C_SUM_SETS,
    CACHE,
    CACHES,
    CODES,
    DISTANCES,
    EDGES,
    ELEMENT,
    EVICTED,
    FIRST_CODES,
    FIRST_SUMS,
    HIDDEN,
    HIT_COLUMNS,
    HITS,
    KINDS,
    LAYERS,
    N_BLOCK,
    N_COLUMNS,
    N_ENCODE,
    N_GROUP,
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
    R_BESIDE,
    R_CROWD,
    R_EVEN,
    R_OWN,
    R_PACKED,
    R_POSSIBLE,
    R_ROWS,
    ROWS,
    SHARD_SUMS,
    SPLIT,
    SUMS,
    TABLES,
    THREADS,
    TOGETHER,
    V_ALL,
    V_APART,
    V_BOTH,
    V_BUFFERS,
    V_CACHES_END,
    V_ENCODE,
    V_INNER,
    V_LINEAR,
    V_OUTER,
    V_OWN,
    V_PACKED,
    V_PARTIAL,
    V_PASS,
    V_PIECE,
    V_PIECES,
    V_TOGETHER,
    V_TOKENS,
    V_UNIT,
    V_WEIGHTS,
    WEIGHTS,
    WIDE,
)
from simulator.rowkernel import distinct, edges, found

_NODES = 2
_PLACES = (0.5 - 0.5 / 3.0**0.5, 0.5 + 0.5 / 3.0**0.5)
"""Places in a call or tile at which a distance is taken (Gauss and Legendre's two)."""


@kernel
def sizes_of(s):
    """Bytes of the accesses, over all threads."""
    size = s[BATCH] * s[OUTPUT] * 4.0
    groups = ceil(s[N_UNIT] / s[N_GROUP] - 1e-9)
    s[FIRST_SUMS], s[SHARD_SUMS] = size, size * (s[N_SHARDS] - 1.0)
    s[AGAIN_SUMS] = size * s[N_SHARDS] * (groups - 1.0)
    exact = 2.0 if s[TOGETHER] > 1.0 else 1.0  # exact sums become fp32 at the end
    s[ALL_SUMS] = size * s[N_SHARDS] * exact + 2.0 * s[AGAIN_SUMS]
    s[ALL_ROWS] = s[BATCH] * s[TABLES] * s[OUTPUT] * s[ELEMENT]
    readers = 1.0 if s[N_TOKENWISE] > 0.0 else s[N_WORKERS]
    small, large = code_lines(s[N_TABLES], s[N_PADDED])
    s[FIRST_CODES] = s[BATCH] * (small + large) * readers
    small, large = code_lines(s[N_GROUP], s[N_PADDED])
    passes = groups * max(s[N_TABLES] / s[N_UNIT], 1.0) * max(s[N_COLUMNS] / s[N_STRIPE], 1.0)
    s[AGAIN_CODES] = max(s[BATCH] * (small + large) * passes * readers - s[FIRST_CODES], 0.0)


@kernel
def _judge(s, t, weight, crowded, inside, kinds, column):
    """Adds what the caches keep of a reuse of sums or codes. `crowded`: bytes of sums of one stripe beside R_EVEN, which lie
    in some of the sets: in those of the line itself if it is `inside`."""
    s[R_CROWD], s[R_BESIDE] = s[V_PIECES], 1.0
    even, own = s[R_EVEN], s[R_OWN]
    for c in range(CACHES, int(s[V_CACHES_END]), CACHE):
        level = int(s[c + C_INDEX])
        share = s[c + C_SUM_SETS]
        s[R_EVEN] = even + crowded / share
        s[R_OWN] = max(own / share if inside else own, 1.0)
        hit = found(s, t, c, kinds, True)
        if not inside and share < 1.0 and crowded > 0.0:
            s[R_EVEN] = even
            plain = found(s, t, c, kinds, True)
            hit = share * hit + (1.0 - share) * plain
        s[HITS + HIT_COLUMNS * level + column] += weight * hit
        s[DISTANCES + 2 * level + column - SUMS] += weight * (s[R_ROWS] + even + crowded)
    s[R_EVEN], s[R_OWN] = even, own


@kernel
def _since(s, rows, possible, even, own, packed):
    s[R_ROWS], s[R_POSSIBLE], s[R_EVEN], s[R_OWN], s[R_PACKED] = rows, possible, even, own, packed


@kernel
def sum_hits(s, t, shared):
    """Sums: first in a call or tile, by later groups, the way back after the rows of a group, exact ones to fp32. Shares of
    all."""
    rows = s[ROWS]
    first, shards = s[FIRST_SUMS] / s[ALL_SUMS], s[SHARD_SUMS] / s[ALL_SUMS]
    again = s[AGAIN_SUMS] / s[ALL_SUMS]
    line = s[N_COLUMNS] * 4.0 * s[V_APART]
    own = first
    if shards > 0.0:
        _shards(s, t, shared, shards)
        if not shared:  # all cores reduce columns of the outputs
            own -= _lost(s, first * (1.0 - 1.0 / s[N_WORKERS]), SUMS)
    _outputs(s, t, own, line)
    if again > 0.0:
        _next_pass(s, t, again, True)
        workers = s[V_TOGETHER] * s[V_APART]
        near = s[N_GROUP] * min(s[V_PIECE], COLUMNS * s[ELEMENT]) * workers
        small, large = code_lines(s[N_GROUP], s[N_PADDED])
        _since(s, near, near * rows, (s[N_STRIPE] * 4.0 + small + large) * workers, 64.0, 0.0)
        _judge(s, t, again, 0.0, True, 0, SUMS)
    if s[TOGETHER] > 1.0:
        held = s[V_UNIT] * distinct(s, t, 0.5 * s[V_OUTER])
        small, large = code_lines(s[N_UNIT], s[N_PADDED])
        _since(s, held, s[V_UNIT] * rows, (line + small + large) * s[V_OUTER], line, 0.0)
        _judge(s, t, first + shards, 0.0, True, 0, SUMS)


@kernel
def _outputs(s, t, weight, line):
    """First writes of a call to its outputs."""
    rows, layers, tokens = s[ROWS], s[LAYERS], s[V_TOKENS]
    possible, full = s[V_ALL] * rows, s[V_ALL] * distinct(s, t, tokens)
    even, own = s[V_BOTH] * tokens + s[V_ENCODE], line * tokens
    edges(s, tokens, min(layers, 2.0), min(layers, 2.0), 1.0)
    if layers <= 1.0:
        _since(s, full, possible, even + s[EVICTED], own, 0.0)
        _judge(s, t, weight, 0.0, True, KINDS, SUMS)
        return
    # Outputs of a layer lie where its predecessor read its inputs, as far as those reach; the rest was written two layers ago.
    read = min(s[HIDDEN] / s[OUTPUT], 1.0)
    for node in range(_NODES):
        at = _PLACES[node]
        rest = distinct(s, t, (1.0 - at) * tokens)
        encoded = (
            s[V_WEIGHTS] if at < 1.0 - s[N_OUTER] / s[N_TOKENS] else 0.0
        )  # tiles of the layer before were still to come
        held = s[V_ALL] * (rest + distinct(s, t, at * read * tokens))
        _since(s, held, 2.0 * possible, even + encoded + s[EVICTED], own, 0.0)
        _judge(s, t, weight * read / _NODES, 0.0, True, KINDS, SUMS)
        if read < 1.0:
            place = read + at * (1.0 - read)
            held = 2.0 * full
            if layers > 2.0:
                ends = distinct(s, t, (1.0 - place) * tokens) + distinct(s, t, place * tokens)
                held = full + s[V_ALL] * ends
            others = min(layers, 3.0)
            _since(s, held, others * possible, even + (others - 1.0) * s[V_WEIGHTS] + 2.0 * s[EVICTED], own, 0.0)
            _judge(s, t, weight * (1.0 - read) / _NODES, 0.0, True, KINDS, SUMS)


@kernel
def _shards(s, t, shared, weight):
    """First writes of a tile to the sums of all shards but the first, which are the outputs: since the tile before was
    reduced, its successor was encoded, and gathered as far as this shard."""
    rows, tile, workers = s[ROWS], s[V_OUTER], s[N_WORKERS]
    calls = min(s[N_OUTER] / s[N_TOKENS], 1.0)  # of the tiles are the first in a call
    if not shared and workers > 1.0:
        # Half of the cores had their sums updated by others, all columns but their own; one of them has the outputs.
        lost = max(0.5 * workers - 1.0, 0.0) * (1.0 - 1.0 / workers) / (s[N_SHARDS] - 1.0)
        weight -= _lost(s, weight * lost, SUMS)
    # Of a core's k shards every second is added to its neighbour at once, half of the others after two, and so on; the first
    # at the end: from there on k - 1, k - 2, k - 4 ... 0 others are gathered before a shard's next turn, and this one up to
    # the token.
    several = max(1.0, floor(s[N_TABLES] / s[N_UNIT] + 0.5))
    full = s[V_ALL] * distinct(s, t, tile)
    even = s[V_LINEAR] * tile + s[V_ENCODE]
    nodes = _NODES if several <= 1.0 else 1
    edges(s, tile, 1.0, calls, 1.0)
    outputs = 1.0 / s[N_SHARDS]
    joined, left = 1.0, 1.0 - outputs
    while left > 1e-9:
        part = left if joined >= several else 0.5 * (left + outputs)
        for node in range(nodes):
            at = _PLACES[node] if nodes > 1 else 0.5
            held = full * (max(several - joined, 0.0) + at) / several
            if several <= 1.0:
                held = s[V_ALL] * distinct(s, t, at * tile)
            for new in range(2):
                share = weight * part / (1.0 - outputs) / nodes * (calls if new else 1.0 - calls)
                if share > 0.0:
                    _since(s, held, s[V_ALL] * rows, even + new * s[EVICTED], s[V_PARTIAL] + 64.0, 0.0)
                    _judge(s, t, share, 0.0, True, KINDS, SUMS)
        left -= part
        joined *= 2.0


@kernel
def _lost(s, weight, column):
    """Accesses to lines that another core wrote; returns their weight."""
    for c in range(CACHES, int(s[V_CACHES_END]), CACHE):
        s[DISTANCES + 2 * int(s[c + C_INDEX]) + column - SUMS] += weight * 1e18
    return weight


@kernel
def _next_pass(s, t, weight, sums):
    """Reuses of sums, or of codes and scores, between two passes of the same tokens: later tokens of the one pass and earlier
    ones of the other lie in between."""
    rows, tile = s[ROWS], s[V_INNER]
    small, large = code_lines(s[N_GROUP], s[N_PADDED])
    crowded = s[N_STRIPE] * 4.0 * s[V_APART] * tile
    codes = s[V_PASS] * tile
    s[EDGES + 1] = s[EDGES + 3] = s[EDGES + 5] = 1.0
    s[EDGES], s[EDGES + 2], s[EDGES + 4] = crowded, codes * small / (small + large), codes * large / (small + large)
    at = _PLACES[0]  # the other place is its mirror image
    held = s[V_OWN] * (distinct(s, t, (1.0 - at) * (tile - 1.0)) + distinct(s, t, at * (tile - 1.0)))
    possible = 2.0 * s[V_OWN] * rows
    if sums:
        _since(s, held, possible, codes, crowded, s[V_PACKED] * tile * tile)
        _judge(s, t, weight, crowded, True, 3, SUMS)
        return
    for part in range(2):  # codes, scores: each crowded by its own kind
        line, whole = (small, s[N_PADDED] * 2.0) if part == 0 else (large, s[N_PADDED] * 4.0)
        other, wide = (large, s[N_PADDED] * 4.0) if part == 0 else (small, s[N_PADDED] * 2.0)
        dense = codes + codes / (small + large) * (whole - line)
        _since(s, held, possible, dense, whole * tile, other * (wide - other) * tile * tile)
        _judge(s, t, weight * line / (small + large), crowded, False, 3, CODES)


@kernel
def code_hits(s, t, shared):
    """Codes and scores: after they were written, block by block of an outer tile, and again by later groups, stripes, shards."""
    rows, tokenwise = s[ROWS], s[N_TOKENWISE] > 0.0
    total = s[FIRST_CODES] + s[AGAIN_CODES]
    first, again = s[FIRST_CODES] / total, s[AGAIN_CODES] / total
    workers = s[V_TOGETHER] * s[V_APART]
    if shared and s[SPLIT] == 1.0:  # all read the same codes side by side: the first of them brings them
        kept = first * (1.0 - 1.0 / workers)
        first -= kept
        for c in range(CACHES, int(s[V_CACHES_END]), CACHE):
            s[HITS + HIT_COLUMNS * int(s[c + C_INDEX]) + CODES] += kept
    elif not shared and not tokenwise and s[THREADS] > 1.0:  # another core wrote most of them
        first -= _lost(s, first * (1.0 - 1.0 / s[THREADS]), CODES)
    single = s[V_INNER] <= 1.0
    walked, span = (s[V_ALL], s[V_OUTER]) if single else (s[V_OWN], s[V_INNER])
    codes = s[N_PADDED] * 6.0
    block = s[N_BLOCK] * (s[WIDE] * 4.0 * s[N_WIDE] + codes) * workers
    blocks = max(s[N_OUTER] / s[N_BLOCK] / (1.0 if tokenwise else s[THREADS]), 1.0)
    inputs = s[N_OUTER] * (codes + s[HIDDEN] * 4.0) * (workers if tokenwise else 1.0)
    early = s[WEIGHTS] * (1.0 if tokenwise else s[N_ENCODE]) + s[V_BUFFERS] + inputs
    if blocks > 1.0:
        # Between all blocks of a tile but the last and the gather lies what encoding touches.
        _since(s, walked * distinct(s, t, 0.5 * span), walked * rows, early, 64.0, 0.0)
        _judge(s, t, first * (1.0 - 1.0 / blocks), 0.0, False, 0, CODES)
    for node in range(2):
        at = _PLACES[node]
        late = (1.0 - at) * block + at * span * s[N_STRIPE] * 4.0 * s[V_APART]
        _since(s, walked * distinct(s, t, at * span), walked * rows, late, 64.0, 0.0)
        _judge(s, t, 0.5 * first / blocks, 0.0, False, 0, CODES)
    if again > 0.0:
        _next_pass(s, t, again, False)
