# mypy: disable-error-code="no-untyped-def"
"""Where sums, codes and scores of a look-up gather hit, compiled; the terms are those of `rowkernel`."""

from __future__ import annotations

from math import ceil, floor

from numba import njit

from simulator.gathernest import (
    BATCH,
    COLUMNS,
    ELEMENT,
    EVICTED,
    HIDDEN,
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
    ROWS,
    SPLIT,
    TABLES,
    THREADS,
    TOGETHER,
    V_ALL,
    V_APART,
    V_BOTH,
    V_BUFFERS,
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
    code_lines,
)
from simulator.rowkernel import (
    ARRAYS,
    C_INDEX,
    C_SUM_SETS,
    R_BESIDE,
    R_CROWD,
    R_EVEN,
    R_OWN,
    R_PACKED,
    R_POSSIBLE,
    R_ROWS,
    distinct,
    edges,
    found,
)

SUMS, CODES = 3, 4
"""Columns of hits after the ages of rows."""

FIRST_SUMS, SHARD_SUMS, AGAIN_SUMS, ALL_SUMS, FIRST_CODES, AGAIN_CODES, ALL_ROWS, SIZES = range(8)
"""Bytes over all threads: sums written first, of shards beyond the first, read again by later groups, all ways in and out; codes and
scores read first, again; rows."""

_NODES = 2
_PLACES = (0.5 - 0.5 / 3.0**0.5, 0.5 + 0.5 / 3.0**0.5)
"""Places in a call or tile at which a distance is taken (Gauss and Legendre's two)."""


@njit(nogil=True, _nrt=False, error_model="numpy")
def sizes_of(p, n, sizes):
    """Bytes of the accesses, over all threads."""
    size = p[BATCH] * p[OUTPUT] * 4.0
    groups = ceil(n[N_UNIT] / n[N_GROUP] - 1e-9)
    sizes[FIRST_SUMS], sizes[SHARD_SUMS] = size, size * (n[N_SHARDS] - 1.0)
    sizes[AGAIN_SUMS] = size * n[N_SHARDS] * (groups - 1.0)
    exact = 2.0 if p[TOGETHER] > 1.0 else 1.0  # exact sums become fp32 at the end
    sizes[ALL_SUMS] = size * n[N_SHARDS] * exact + 2.0 * sizes[AGAIN_SUMS]
    sizes[ALL_ROWS] = p[BATCH] * p[TABLES] * p[OUTPUT] * p[ELEMENT]
    readers = 1.0 if n[N_TOKENWISE] > 0.0 else n[N_WORKERS]
    small, large = code_lines(n[N_TABLES], n[N_PADDED])
    sizes[FIRST_CODES] = p[BATCH] * (small + large) * readers
    small, large = code_lines(n[N_GROUP], n[N_PADDED])
    passes = groups * max(n[N_TABLES] / n[N_UNIT], 1.0) * max(n[N_COLUMNS] / n[N_STRIPE], 1.0)
    sizes[AGAIN_CODES] = max(p[BATCH] * (small + large) * passes * readers - sizes[FIRST_CODES], 0.0)


@njit(nogil=True, _nrt=False, error_model="numpy")
def _judge(v, rows, weight, crowded, inside, caches, curves, points, reuse, arrays, kinds, hits, distances, column):
    """Adds what the caches keep of a reuse of sums or codes. `crowded`: bytes of sums of one stripe beside R_EVEN, which lie in some
    of the sets: in those of the line itself if it is `inside`."""
    reuse[R_CROWD], reuse[R_BESIDE] = v[V_PIECES], 1.0
    even, own = reuse[R_EVEN], reuse[R_OWN]
    for k in range(len(caches)):
        cache, level = caches[k], int(caches[k, C_INDEX])
        share = cache[C_SUM_SETS]
        reuse[R_EVEN] = even + crowded / share
        reuse[R_OWN] = max(own / share if inside else own, 1.0)
        hit = found(cache, rows, reuse, arrays, kinds, curves[level], points[level])
        if not inside and share < 1.0 and crowded > 0.0:
            reuse[R_EVEN] = even
            plain = found(cache, rows, reuse, arrays, kinds, curves[level], points[level])
            hit = share * hit + (1.0 - share) * plain
        hits[level, column] += weight * hit
        distances[level, column - SUMS] += weight * (reuse[R_ROWS] + even + crowded)
    reuse[R_EVEN], reuse[R_OWN] = even, own


@njit(nogil=True, _nrt=False, error_model="numpy")
def _since(reuse, rows, possible, even, own, packed):
    reuse[R_ROWS], reuse[R_POSSIBLE], reuse[R_EVEN], reuse[R_OWN], reuse[R_PACKED] = rows, possible, even, own, packed


@njit(nogil=True, _nrt=False, error_model="numpy")
def sum_hits(p, n, v, decay, u, h, shared, caches, curves, points, reuse, arrays, sizes, hits, distances):
    """Sums: first in a call or tile, by later groups, the way back after the rows of a group, exact ones to fp32. Shares of all."""
    rows = p[ROWS]
    first, shards = sizes[FIRST_SUMS] / sizes[ALL_SUMS], sizes[SHARD_SUMS] / sizes[ALL_SUMS]
    again = sizes[AGAIN_SUMS] / sizes[ALL_SUMS]
    line = n[N_COLUMNS] * 4.0 * v[V_APART]
    own = first
    if shards > 0.0:
        _shards(p, n, v, decay, u, h, shared, shards, caches, curves, points, reuse, arrays, hits, distances)
        if not shared:  # all cores reduce columns of the outputs
            own -= _lost(caches, first * (1.0 - 1.0 / n[N_WORKERS]), distances, SUMS)
    _outputs(p, n, v, decay, u, h, own, line, caches, curves, points, reuse, arrays, hits, distances)
    if again > 0.0:
        _next_pass(p, n, v, decay, u, h, again, True, caches, curves, points, reuse, arrays, hits, distances)
        workers = v[V_TOGETHER] * v[V_APART]
        near = n[N_GROUP] * min(v[V_PIECE], COLUMNS * p[ELEMENT]) * workers
        small, large = code_lines(n[N_GROUP], n[N_PADDED])
        _since(reuse, near, near * rows, (n[N_STRIPE] * 4.0 + small + large) * workers, 64.0, 0.0)
        _judge(v, rows, again, 0.0, True, caches, curves, points, reuse, arrays, 0, hits, distances, SUMS)
    if p[TOGETHER] > 1.0:
        held = v[V_UNIT] * distinct(0.5 * v[V_OUTER], rows, decay, u, h)
        small, large = code_lines(n[N_UNIT], n[N_PADDED])
        _since(reuse, held, v[V_UNIT] * rows, (line + small + large) * v[V_OUTER], line, 0.0)
        _judge(v, rows, first + shards, 0.0, True, caches, curves, points, reuse, arrays, 0, hits, distances, SUMS)


@njit(nogil=True, _nrt=False, error_model="numpy")
def _outputs(p, n, v, decay, u, h, weight, line, caches, curves, points, reuse, arrays, hits, distances):
    """First writes of a call to its outputs."""
    rows, layers, tokens = p[ROWS], p[LAYERS], v[V_TOKENS]
    possible, full = v[V_ALL] * rows, v[V_ALL] * distinct(tokens, rows, decay, u, h)
    even, own = v[V_BOTH] * tokens + v[V_ENCODE], line * tokens
    edges(p, v, tokens, min(layers, 2.0), min(layers, 2.0), 1.0, arrays)
    if layers <= 1.0:
        _since(reuse, full, possible, even + p[EVICTED], own, 0.0)
        _judge(v, rows, weight, 0.0, True, caches, curves, points, reuse, arrays, ARRAYS, hits, distances, SUMS)
        return
    # Outputs of a layer lie where its predecessor read its inputs, as far as those reach; the rest was written two layers ago.
    read = min(p[HIDDEN] / p[OUTPUT], 1.0)
    for node in range(_NODES):
        at = _PLACES[node]
        rest = distinct((1.0 - at) * tokens, rows, decay, u, h)
        encoded = v[V_WEIGHTS] if at < 1.0 - n[N_OUTER] / n[N_TOKENS] else 0.0  # tiles of the layer before were still to come
        held = v[V_ALL] * (rest + distinct(at * read * tokens, rows, decay, u, h))
        _since(reuse, held, 2.0 * possible, even + encoded + p[EVICTED], own, 0.0)
        _judge(v, rows, weight * read / _NODES, 0.0, True, caches, curves, points, reuse, arrays, ARRAYS, hits, distances, SUMS)
        if read < 1.0:
            place = read + at * (1.0 - read)
            held = 2.0 * full
            if layers > 2.0:
                ends = distinct((1.0 - place) * tokens, rows, decay, u, h) + distinct(place * tokens, rows, decay, u, h)
                held = full + v[V_ALL] * ends
            others = min(layers, 3.0)
            _since(reuse, held, others * possible, even + (others - 1.0) * v[V_WEIGHTS] + 2.0 * p[EVICTED], own, 0.0)
            _judge(v, rows, weight * (1.0 - read) / _NODES, 0.0, True, caches, curves, points, reuse, arrays, ARRAYS, hits, distances, SUMS)


@njit(nogil=True, _nrt=False, error_model="numpy")
def _shards(p, n, v, decay, u, h, shared, weight, caches, curves, points, reuse, arrays, hits, distances):
    """First writes of a tile to the sums of all shards but the first, which are the outputs: since the tile before was reduced, its successor was encoded, and gathered
    as far as this shard."""
    rows, tile, workers = p[ROWS], v[V_OUTER], n[N_WORKERS]
    calls = min(n[N_OUTER] / n[N_TOKENS], 1.0)  # of the tiles are the first in a call
    if not shared and workers > 1.0:
        # Half of the cores had their sums updated by others, all columns but their own; one of them has the outputs.
        lost = max(0.5 * workers - 1.0, 0.0) * (1.0 - 1.0 / workers) / (n[N_SHARDS] - 1.0)
        weight -= _lost(caches, weight * lost, distances, SUMS)
    # Of a core's k shards every second is added to its neighbour at once, half of the others after two, and so on; the first at the
    # end: from there on k - 1, k - 2, k - 4 ... 0 others are gathered before a shard's next turn, and this one up to the token.
    several = max(1.0, floor(n[N_TABLES] / n[N_UNIT] + 0.5))
    full = v[V_ALL] * distinct(tile, rows, decay, u, h)
    even = v[V_LINEAR] * tile + v[V_ENCODE]
    nodes = _NODES if several <= 1.0 else 1
    edges(p, v, tile, 1.0, calls, 1.0, arrays)
    outputs = 1.0 / n[N_SHARDS]
    joined, left = 1.0, 1.0 - outputs
    while left > 1e-9:
        part = left if joined >= several else 0.5 * (left + outputs)
        for node in range(nodes):
            at = _PLACES[node] if nodes > 1 else 0.5
            held = full * (max(several - joined, 0.0) + at) / several
            if several <= 1.0:
                held = v[V_ALL] * distinct(at * tile, rows, decay, u, h)
            for new in range(2):
                share = weight * part / (1.0 - outputs) / nodes * (calls if new else 1.0 - calls)
                if share > 0.0:
                    _since(reuse, held, v[V_ALL] * rows, even + new * p[EVICTED], v[V_PARTIAL] + 64.0, 0.0)
                    _judge(v, rows, share, 0.0, True, caches, curves, points, reuse, arrays, ARRAYS, hits, distances, SUMS)
        left -= part
        joined *= 2.0


@njit(nogil=True, _nrt=False, error_model="numpy")
def _lost(caches, weight, distances, column):
    """Accesses to lines that another core wrote; returns their weight."""
    for k in range(len(caches)):
        distances[int(caches[k, C_INDEX]), column - SUMS] += weight * 1e18
    return weight


@njit(nogil=True, _nrt=False, error_model="numpy")
def _next_pass(p, n, v, decay, u, h, weight, sums, caches, curves, points, reuse, arrays, hits, distances):
    """Reuses of sums, or of codes and scores, between two passes of the same tokens: later tokens of the one pass and earlier ones of
    the other lie in between."""
    rows, tile = p[ROWS], v[V_INNER]
    small, large = code_lines(n[N_GROUP], n[N_PADDED])
    crowded = n[N_STRIPE] * 4.0 * v[V_APART] * tile
    codes = v[V_PASS] * tile
    arrays[:3, 1] = 1.0
    arrays[0, 0], arrays[1, 0], arrays[2, 0] = crowded, codes * small / (small + large), codes * large / (small + large)
    for node in range(_NODES):
        at = _PLACES[node]
        held = distinct((1.0 - at) * (tile - 1.0), rows, decay, u, h) + distinct(at * (tile - 1.0), rows, decay, u, h)
        held, possible = v[V_OWN] * held, 2.0 * v[V_OWN] * rows
        if sums:
            _since(reuse, held, possible, codes, crowded, v[V_PACKED] * tile * tile)
            _judge(v, rows, weight / _NODES, crowded, True, caches, curves, points, reuse, arrays, 3, hits, distances, SUMS)
            continue
        for part in range(2):  # codes, scores: each crowded by its own kind
            line, whole = (small, n[N_PADDED] * 2.0) if part == 0 else (large, n[N_PADDED] * 4.0)
            other, wide = (large, n[N_PADDED] * 4.0) if part == 0 else (small, n[N_PADDED] * 2.0)
            dense = codes + codes / (small + large) * (whole - line)
            _since(reuse, held, possible, dense, whole * tile, other * (wide - other) * tile * tile)
            share = weight / _NODES * line / (small + large)
            _judge(v, rows, share, crowded, False, caches, curves, points, reuse, arrays, 3, hits, distances, CODES)


@njit(nogil=True, _nrt=False, error_model="numpy")
def code_hits(p, n, v, decay, u, h, shared, caches, curves, points, reuse, arrays, sizes, hits, distances):
    """Codes and scores: after they were written, block by block of an outer tile, and again by later groups, stripes, shards."""
    rows, tokenwise = p[ROWS], n[N_TOKENWISE] > 0.0
    total = sizes[FIRST_CODES] + sizes[AGAIN_CODES]
    first, again = sizes[FIRST_CODES] / total, sizes[AGAIN_CODES] / total
    workers = v[V_TOGETHER] * v[V_APART]
    if shared and p[SPLIT] == 1.0:  # all read the same codes side by side: the first of them brings them
        kept = first * (1.0 - 1.0 / workers)
        first -= kept
        for k in range(len(caches)):
            hits[int(caches[k, C_INDEX]), CODES] += kept
    elif not shared and not tokenwise and p[THREADS] > 1.0:  # another core wrote most of them
        first -= _lost(caches, first * (1.0 - 1.0 / p[THREADS]), distances, CODES)
    single = v[V_INNER] <= 1.0
    walked, span = (v[V_ALL], v[V_OUTER]) if single else (v[V_OWN], v[V_INNER])
    codes = n[N_PADDED] * 6.0
    block = n[N_BLOCK] * (p[WIDE] * 4.0 * n[N_WIDE] + codes) * workers
    blocks = max(n[N_OUTER] / n[N_BLOCK] / (1.0 if tokenwise else p[THREADS]), 1.0)
    inputs = n[N_OUTER] * (codes + p[HIDDEN] * 4.0) * (workers if tokenwise else 1.0)
    early = p[WEIGHTS] * (1.0 if tokenwise else n[N_ENCODE]) + v[V_BUFFERS] + inputs
    for node in range(2):
        at = 0.25 + 0.5 * node
        held = walked * distinct(at * span, rows, decay, u, h)
        # The last block of a tile was encoded a moment ago; between those before and the gather lies what encoding touches.
        late = (1.0 - at) * block + at * span * n[N_STRIPE] * 4.0 * v[V_APART]
        _since(reuse, held, walked * rows, late, 64.0, 0.0)
        _judge(v, rows, 0.5 * first / blocks, 0.0, False, caches, curves, points, reuse, arrays, 0, hits, distances, CODES)
        if blocks > 1.0:
            _since(reuse, held, walked * rows, early, 64.0, 0.0)
            share = 0.5 * first * (1.0 - 1.0 / blocks)
            _judge(v, rows, share, 0.0, False, caches, curves, points, reuse, arrays, 0, hits, distances, CODES)
    if again > 0.0:
        _next_pass(p, n, v, decay, u, h, again, False, caches, curves, points, reuse, arrays, hits, distances)
