# mypy: disable-error-code="no-untyped-def"
"""Where sums, codes and scores of a look-up gather hit, compiled; the terms are those of `rowkernel`."""

from __future__ import annotations

from math import ceil, floor

from simulator import gatherstate as g
from simulator.compiled import kernel
from simulator.gathernest import COLUMNS, code_lines
from simulator.rowkernel import distinct, edges, found

_NODES = 2
_PLACES = (0.5 - 0.5 / 3.0**0.5, 0.5 + 0.5 / 3.0**0.5)
"""Places in a call or tile at which a distance is taken (Gauss and Legendre's two)."""


@kernel
def sizes_of(s):
    """Bytes of the accesses, over all threads."""
    size = s[g.BATCH] * s[g.OUTPUT] * 4.0
    groups = ceil(s[g.N_UNIT] / s[g.N_GROUP] - 1e-9)
    s[g.FIRST_SUMS], s[g.SHARD_SUMS] = size, size * (s[g.N_SHARDS] - 1.0)
    s[g.AGAIN_SUMS] = size * s[g.N_SHARDS] * (groups - 1.0)
    exact = 2.0 if s[g.TOGETHER] > 1.0 else 1.0  # exact sums become fp32 at the end
    s[g.ALL_SUMS] = size * s[g.N_SHARDS] * exact + 2.0 * s[g.AGAIN_SUMS]
    s[g.ALL_ROWS] = s[g.BATCH] * s[g.TABLES] * s[g.OUTPUT] * s[g.ELEMENT]
    readers = 1.0 if s[g.N_TOKENWISE] > 0.0 else s[g.N_WORKERS]
    small, large = code_lines(s[g.N_TABLES], s[g.N_PADDED])
    s[g.FIRST_CODES] = s[g.BATCH] * (small + large) * readers
    small, large = code_lines(s[g.N_GROUP], s[g.N_PADDED])
    passes = groups * max(s[g.N_TABLES] / s[g.N_UNIT], 1.0) * max(s[g.N_COLUMNS] / s[g.N_STRIPE], 1.0)
    s[g.AGAIN_CODES] = max(s[g.BATCH] * (small + large) * passes * readers - s[g.FIRST_CODES], 0.0)


@kernel
def _judge(s, t, weight, crowded, inside, kinds, column):
    """Adds what the caches keep of a reuse of sums or codes. `crowded`: bytes of sums of one stripe beside R_EVEN, which lie
    in some of the sets: in those of the line itself if it is `inside`."""
    s[g.R_CROWD], s[g.R_BESIDE] = s[g.V_PIECES], 1.0
    even, own = s[g.R_EVEN], s[g.R_OWN]
    for c in range(g.CACHES, int(s[g.V_CACHES_END]), g.CACHE):
        level = int(s[c + g.C_INDEX])
        share = s[c + g.C_SUM_SETS]
        s[g.R_EVEN] = even + crowded / share
        s[g.R_OWN] = max(own / share if inside else own, 1.0)
        hit = found(s, t, c, kinds, True)
        if not inside and share < 1.0 and crowded > 0.0:
            s[g.R_EVEN] = even
            plain = found(s, t, c, kinds, True)
            hit = share * hit + (1.0 - share) * plain
        s[g.HITS + g.HIT_COLUMNS * level + column] += weight * hit
        s[g.DISTANCES + 2 * level + column - g.SUMS] += weight * (s[g.R_ROWS] + even + crowded)
    s[g.R_EVEN], s[g.R_OWN] = even, own


@kernel
def _since(s, rows, possible, even, own, packed):
    s[g.R_ROWS], s[g.R_POSSIBLE], s[g.R_EVEN], s[g.R_OWN], s[g.R_PACKED] = rows, possible, even, own, packed


@kernel
def sum_hits(s, t, shared):
    """Sums: first in a call or tile, by later groups, the way back after the rows of a group, exact ones to fp32. Shares of
    all."""
    rows = s[g.ROWS]
    first, shards = s[g.FIRST_SUMS] / s[g.ALL_SUMS], s[g.SHARD_SUMS] / s[g.ALL_SUMS]
    again = s[g.AGAIN_SUMS] / s[g.ALL_SUMS]
    line = s[g.N_COLUMNS] * 4.0 * s[g.V_APART]
    own = first
    if shards > 0.0:
        _shards(s, t, shared, shards)
        if not shared:  # all cores reduce columns of the outputs
            own -= _lost(s, first * (1.0 - 1.0 / s[g.N_WORKERS]), g.SUMS)
    _outputs(s, t, own, line)
    if again > 0.0:
        _next_pass(s, t, again, True)
        workers = s[g.V_TOGETHER] * s[g.V_APART]
        near = s[g.N_GROUP] * min(s[g.V_PIECE], COLUMNS * s[g.ELEMENT]) * workers
        small, large = code_lines(s[g.N_GROUP], s[g.N_PADDED])
        _since(s, near, near * rows, (s[g.N_STRIPE] * 4.0 + small + large) * workers, 64.0, 0.0)
        _judge(s, t, again, 0.0, True, 0, g.SUMS)
    if s[g.TOGETHER] > 1.0:
        held = s[g.V_UNIT] * distinct(s, t, 0.5 * s[g.V_OUTER])
        small, large = code_lines(s[g.N_UNIT], s[g.N_PADDED])
        _since(s, held, s[g.V_UNIT] * rows, (line + small + large) * s[g.V_OUTER], line, 0.0)
        _judge(s, t, first + shards, 0.0, True, 0, g.SUMS)


@kernel
def _outputs(s, t, weight, line):
    """First writes of a call to its outputs."""
    rows, layers, tokens = s[g.ROWS], s[g.LAYERS], s[g.V_TOKENS]
    possible, full = s[g.V_ALL] * rows, s[g.V_ALL] * distinct(s, t, tokens)
    even, own = s[g.V_BOTH] * tokens + s[g.V_ENCODE], line * tokens
    edges(s, tokens, min(layers, 2.0), min(layers, 2.0), 1.0)
    if layers <= 1.0:
        _since(s, full, possible, even + s[g.EVICTED], own, 0.0)
        _judge(s, t, weight, 0.0, True, g.KINDS, g.SUMS)
        return
    # Outputs of a layer lie where its predecessor read its inputs, as far as those reach; the rest was written two layers ago.
    read = min(s[g.HIDDEN] / s[g.OUTPUT], 1.0)
    for node in range(_NODES):
        at = _PLACES[node]
        rest = distinct(s, t, (1.0 - at) * tokens)
        # Weights of the layer before came again unless its last tile was under way.
        encoded = s[g.V_WEIGHTS] if at < 1.0 - s[g.N_OUTER] / s[g.N_TOKENS] else 0.0
        held = s[g.V_ALL] * (rest + distinct(s, t, at * read * tokens))
        _since(s, held, 2.0 * possible, even + encoded + s[g.EVICTED], own, 0.0)
        _judge(s, t, weight * read / _NODES, 0.0, True, g.KINDS, g.SUMS)
        if read < 1.0:
            place = read + at * (1.0 - read)
            held = 2.0 * full
            if layers > 2.0:
                ends = distinct(s, t, (1.0 - place) * tokens) + distinct(s, t, place * tokens)
                held = full + s[g.V_ALL] * ends
            others = min(layers, 3.0)
            _since(s, held, others * possible, even + (others - 1.0) * s[g.V_WEIGHTS] + 2.0 * s[g.EVICTED], own, 0.0)
            _judge(s, t, weight * (1.0 - read) / _NODES, 0.0, True, g.KINDS, g.SUMS)


@kernel
def _shards(s, t, shared, weight):
    """First writes of a tile to the sums of all shards but the first, which are the outputs: since the tile before was
    reduced, its successor was encoded, and gathered as far as this shard."""
    rows, tile, workers = s[g.ROWS], s[g.V_OUTER], s[g.N_WORKERS]
    calls = min(s[g.N_OUTER] / s[g.N_TOKENS], 1.0)  # of the tiles are the first in a call
    if not shared and workers > 1.0:
        # Half of the cores had their sums updated by others, all columns but their own; one of them has the outputs.
        lost = max(0.5 * workers - 1.0, 0.0) * (1.0 - 1.0 / workers) / (s[g.N_SHARDS] - 1.0)
        weight -= _lost(s, weight * lost, g.SUMS)
    # Of a core's k shards every second is added to its neighbour at once, half of the others after two, and so on; the first
    # at the end: from there on k - 1, k - 2, k - 4 ... 0 others are gathered before a shard's next turn, and this one up to
    # the token.
    several = max(1.0, floor(s[g.N_TABLES] / s[g.N_UNIT] + 0.5))
    full = s[g.V_ALL] * distinct(s, t, tile)
    even = s[g.V_LINEAR] * tile + s[g.V_ENCODE]
    nodes = _NODES if several <= 1.0 else 1
    edges(s, tile, 1.0, calls, 1.0)
    outputs = 1.0 / s[g.N_SHARDS]
    joined, left = 1.0, 1.0 - outputs
    while left > 1e-9:
        part = left if joined >= several else 0.5 * (left + outputs)
        for node in range(nodes):
            at = _PLACES[node] if nodes > 1 else 0.5
            held = full * (max(several - joined, 0.0) + at) / several
            if several <= 1.0:
                held = s[g.V_ALL] * distinct(s, t, at * tile)
            for new in range(2):
                share = weight * part / (1.0 - outputs) / nodes * (calls if new else 1.0 - calls)
                if share > 0.0:
                    _since(s, held, s[g.V_ALL] * rows, even + new * s[g.EVICTED], s[g.V_PARTIAL] + 64.0, 0.0)
                    _judge(s, t, share, 0.0, True, g.KINDS, g.SUMS)
        left -= part
        joined *= 2.0


@kernel
def _lost(s, weight, column):
    """Accesses to lines that another core wrote; returns their weight."""
    for c in range(g.CACHES, int(s[g.V_CACHES_END]), g.CACHE):
        s[g.DISTANCES + 2 * int(s[c + g.C_INDEX]) + column - g.SUMS] += weight * 1e18
    return weight


@kernel
def _next_pass(s, t, weight, sums):
    """Reuses of sums, or of codes and scores, between two passes of the same tokens: later tokens of the one pass and earlier
    ones of the other lie in between."""
    rows, tile = s[g.ROWS], s[g.V_INNER]
    small, large = code_lines(s[g.N_GROUP], s[g.N_PADDED])
    crowded = s[g.N_STRIPE] * 4.0 * s[g.V_APART] * tile
    codes = s[g.V_PASS] * tile
    s[g.EDGES + 1] = s[g.EDGES + 3] = s[g.EDGES + 5] = 1.0
    s[g.EDGES] = crowded
    s[g.EDGES + 2], s[g.EDGES + 4] = codes * small / (small + large), codes * large / (small + large)
    at = _PLACES[0]  # the other place is its mirror image
    held = s[g.V_OWN] * (distinct(s, t, (1.0 - at) * (tile - 1.0)) + distinct(s, t, at * (tile - 1.0)))
    possible = 2.0 * s[g.V_OWN] * rows
    if sums:
        _since(s, held, possible, codes, crowded, s[g.V_PACKED] * tile * tile)
        _judge(s, t, weight, crowded, True, 3, g.SUMS)
        return
    for part in range(2):  # codes, scores: each crowded by its own kind
        line, whole = (small, s[g.N_PADDED] * 2.0) if part == 0 else (large, s[g.N_PADDED] * 4.0)
        other, wide = (large, s[g.N_PADDED] * 4.0) if part == 0 else (small, s[g.N_PADDED] * 2.0)
        dense = codes + codes / (small + large) * (whole - line)
        _since(s, held, possible, dense, whole * tile, other * (wide - other) * tile * tile)
        _judge(s, t, weight * line / (small + large), crowded, False, 3, g.CODES)


@kernel
def code_hits(s, t, shared):
    """Codes and scores: after they were written, block by block of an outer tile, and again by later groups, stripes, shards."""
    rows, tokenwise = s[g.ROWS], s[g.N_TOKENWISE] > 0.0
    total = s[g.FIRST_CODES] + s[g.AGAIN_CODES]
    first, again = s[g.FIRST_CODES] / total, s[g.AGAIN_CODES] / total
    workers = s[g.V_TOGETHER] * s[g.V_APART]
    if shared and s[g.SPLIT] == 1.0:  # all read the same codes side by side: the first of them brings them
        kept = first * (1.0 - 1.0 / workers)
        first -= kept
        for c in range(g.CACHES, int(s[g.V_CACHES_END]), g.CACHE):
            s[g.HITS + g.HIT_COLUMNS * int(s[c + g.C_INDEX]) + g.CODES] += kept
    elif not shared and not tokenwise and s[g.THREADS] > 1.0:  # another core wrote most of them
        first -= _lost(s, first * (1.0 - 1.0 / s[g.THREADS]), g.CODES)
    single = s[g.V_INNER] <= 1.0
    walked, span = (s[g.V_ALL], s[g.V_OUTER]) if single else (s[g.V_OWN], s[g.V_INNER])
    codes = s[g.N_PADDED] * 6.0
    block = s[g.N_BLOCK] * (s[g.WIDE] * 4.0 * s[g.N_WIDE] + codes) * workers
    blocks = max(s[g.N_OUTER] / s[g.N_BLOCK] / (1.0 if tokenwise else s[g.THREADS]), 1.0)
    inputs = s[g.N_OUTER] * (codes + s[g.HIDDEN] * 4.0) * (workers if tokenwise else 1.0)
    early = s[g.WEIGHTS] * (1.0 if tokenwise else s[g.N_ENCODE]) + s[g.V_BUFFERS] + inputs
    if blocks > 1.0:
        # Between all blocks of a tile but the last and the gather lies what encoding touches.
        _since(s, walked * distinct(s, t, 0.5 * span), walked * rows, early, 64.0, 0.0)
        _judge(s, t, first * (1.0 - 1.0 / blocks), 0.0, False, 0, g.CODES)
    for node in range(2):
        at = _PLACES[node]
        late = (1.0 - at) * block + at * span * s[g.N_STRIPE] * 4.0 * s[g.V_APART]
        _since(s, walked * distinct(s, t, at * span), walked * rows, late, 64.0, 0.0)
        _judge(s, t, 0.5 * first / blocks, 0.0, False, 0, g.CODES)
    if again > 0.0:
        _next_pass(s, t, again, False)
