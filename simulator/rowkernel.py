# mypy: disable-error-code="no-untyped-def"
"""Where table rows hit, compiled: reuse by reuse along the loop nest.

U(n) is the number of distinct rows of one table among n draws (Denning 1968). Draws are independent, so of the accesses of tiles of
T tokens the share whose row was touched q tiles before, and not since, is

    a(q) = (2 U(qT) - U((q - 1) T) - U((q + 1) T)) / T,    a(0) = 1 - U(T) / T,

and the share with a gap of at most n tokens within a tile is (n - U(n) + (T - n) (1 - h(n))) / T, h(n) = U(n + 1) - U(n). Crossing q
tiles of a call of n tiles crosses floor(q / n) calls, or one more for a share q / n - floor(q / n) of them. What lies in between
is the union of what each array brings (footprints add up, Xiang et al. 2013): rows x U, bytes that stream past, arrays that
come round. `setkernel.kept` judges whether the line outlives it.
"""

from __future__ import annotations

from math import exp, floor, log

from numba import njit

from simulator.gathernest import (
    EVICTED,
    LAYERS,
    N_GROUP,
    N_STRIPE,
    N_TABLES,
    N_UNIT,
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
    V_PASS,
    V_PIECE,
    V_PIECES,
    V_PIECES_APART,
    V_READ,
    V_STRIPES,
    V_SUM_APART,
    V_SUM_WIDTH,
    V_SUMS,
    V_TOKENS,
    V_UNIT,
    V_WEIGHTS,
    WEIGHTS,
)
from simulator.setkernel import kept

WITHIN, TILES, CALLS = range(3)
"""Ages of a row: touched before in this pass, in this call, in an earlier call."""

GRID_FIRST, GRID_LAST = 0.25, 1e9
"""Tokens between which U is tabulated for rows that are not alike, evenly in log n, after a 0."""

_RATIO = 1.4
"""Between reuses that are taken together."""

_EDGE = 0.5 - (1.0 / 12.0) ** 0.5
"""Ways of an array beyond which its edge counts as anywhere in a way: variance 1 / 6."""

_NEAR, _FAR = 0.15, 4.0
"""Shares of a capacity below which a line is found and beyond which it is not, whatever the sets."""

C_CAPACITY, C_WAYS, C_ADDED, C_INDEX, C_PER_WAY, C_LINES, C_ALIGNED, C_SAME, C_SUM_SETS, C_ALIVE, CACHE = range(11)
"""Of the caches of one view: bytes, ways, ways added by the level inside, level, 1 / bytes of a way. LINES: of one piece of a row in a
set, ALIGNED: share of its pieces that fall into the same sets, SAME: other rows of one table in a set, SUM_SETS: share of the sets
that sums of a pass fall into. ALIVE: whether it keeps anything at the distances that were reached."""

R_ROWS, R_POSSIBLE, R_EVEN, R_OWN, R_PACKED, R_CROWD, R_BESIDE, REUSE = range(8)
"""A reuse: bytes of rows touched since, of rows that might have been, of other arrays; of the latter the line's own array (0: the
line is a row's); PACKED: see `lines_spread`; pieces of a row in one set, of other rows and of its own."""

ARRAYS = 5
"""Kinds of contiguous arrays whose edges matter, (bytes, how many)."""


@njit(nogil=True, _nrt=False, error_model="numpy")
def distinct(n, rows, decay, u, h):
    """U(n): of alike likely rows, or by cubic interpolation in the table u with slopes h."""
    if len(u) == 0:
        return rows * (1.0 - exp(n * decay))
    if n < GRID_FIRST:
        return n / GRID_FIRST * u[1]
    step = log(GRID_LAST / GRID_FIRST) / (len(u) - 2)
    k = min(int(log(n / GRID_FIRST) / step), len(u) - 3)
    low, high = GRID_FIRST * exp(k * step), GRID_FIRST * exp((k + 1) * step)
    width = high - low
    t = min((n - low) / width, 1.0)
    a, b, start, end = u[k + 1], u[k + 2], h[k + 1] * width, h[k + 2] * width
    return a + t * (start + t * (3.0 * (b - a) - 2.0 * start - end + t * (start + end - 2.0 * (b - a))))


@njit(nogil=True, _nrt=False, error_model="numpy")
def _on_curve(x, curve, points):
    if x <= curve[0, 0]:
        return curve[0, 1]
    for k in range(1, points):
        if x <= curve[k, 0]:
            return curve[k - 1, 1] + (x - curve[k - 1, 0]) / (curve[k, 0] - curve[k - 1, 0]) * (curve[k, 1] - curve[k - 1, 1])
    return curve[points - 1, 1]


@njit(nogil=True, _nrt=False, error_model="numpy")
def found(cache, rows, reuse, arrays, kinds, curve, points):
    """Share of a reuse that one cache keeps; `arrays`: the first `kinds` count. `points` of a curve of the spec are taken instead."""
    capacity, ways = cache[C_CAPACITY], cache[C_WAYS]
    total = reuse[R_ROWS] + reuse[R_EVEN]
    if points > 0:
        return 1.0 - _on_curve(total / capacity, curve, points)
    if total > _FAR * capacity:
        return 0.0
    lines = cache[C_LINES]
    crowd = max(reuse[R_CROWD] * cache[C_ALIGNED], 1.0) * lines
    if crowd * 4.0 < ways and total < _NEAR * capacity:
        return 1.0
    per_way = cache[C_PER_WAY]
    scale = per_way / crowd
    mean = reuse[R_ROWS] * scale
    possible = max(reuse[R_POSSIBLE] * scale, mean + 1e-9)
    touched = mean / possible
    even = reuse[R_EVEN] * per_way
    beside = 0.0
    if reuse[R_OWN] > 0.0:
        even = max(even - min(reuse[R_OWN] * per_way, 1.0), 0.0)
    else:
        mean *= 1.0 - 1.0 / max(possible, 1.0)  # of others
        beside = max(reuse[R_BESIDE] * cache[C_ALIGNED], 1.0) * lines - 1.0
    # Rows are touched or not; those of one table that share a set are drawn instead of each other.
    variance = 1.0 - touched
    same = cache[C_SAME]
    if same > 0.0 and 1e-9 < touched < 1.0 - 1e-9:
        left = 1.0 - touched
        variance = max(variance + same / rows * log(left) * left * left / touched, 0.0)
    # Lines of the level inside are spread over the sets by chance; packed arrays lie in some of the sets; each contiguous array has
    # an edge, where sets have one line more.
    spread = cache[C_ADDED] * (1.0 - cache[C_ADDED] / ways) + reuse[R_PACKED] * per_way * per_way
    for k in range(kinds):
        part = arrays[k, 0] * per_way
        spread += arrays[k, 1] * (part * (1.0 - part) if part < _EDGE else 1.0 / 6.0)
    return kept(ways, crowd, beside, mean, variance, even, spread)


@njit(nogil=True, _nrt=False, error_model="numpy")
def describe(v, rows, caches):
    """Fills what follows of a cache from its size and the view."""
    for k in range(len(caches)):
        per_way = caches[k, C_WAYS] / caches[k, C_CAPACITY]
        caches[k, C_PER_WAY] = per_way
        caches[k, C_LINES] = max(v[V_PIECE] * per_way, 1.0)
        # Pieces of a row lie whole ways apart where that is a multiple of a way: all in the same sets.
        caches[k, C_ALIGNED] = min(v[V_PIECES_APART] * per_way, 1.0)
        caches[k, C_SAME] = rows * v[V_PIECE] * per_way - 1.0
        caches[k, C_SUM_SETS] = min(v[V_SUM_WIDTH] / min(v[V_SUM_APART], 1.0 / per_way), 1.0)


@njit(nogil=True, _nrt=False, error_model="numpy")
def row_hits(p, n, v, rows, decay, u, h, caches, curves, points, reuse, arrays, hits):
    """Adds the shares of row accesses that the caches of a view keep to hits[level, age]."""
    if v[V_INNER] > 1.0:
        _within(n, v, rows, decay, u, h, caches, curves, points, reuse, arrays, hits)
    sharded = n[N_UNIT] < n[N_TABLES]  # a shard's inner tiles come before the next shard
    if sharded and v[V_OUTER] > v[V_INNER]:
        _across(p, n, v, rows, decay, u, h, caches, curves, points, reuse, arrays, hits, v[V_INNER], v[V_OUTER], v[V_UNIT], True)
    step = v[V_OUTER] if sharded else v[V_INNER]
    _across(p, n, v, rows, decay, u, h, caches, curves, points, reuse, arrays, hits, step, v[V_TOKENS], v[V_ALL], False)


@njit(nogil=True, _nrt=False, error_model="numpy")
def _within(n, v, rows, decay, u, h, caches, curves, points, reuse, arrays, hits):
    """Reuses within a pass, by their gaps; sums of the pass fall into some of the sets."""
    tile = v[V_INNER]
    whole = 1.0 - distinct(tile, rows, decay, u, h) / tile
    last, before, gap = 0.0, 0.0, 1.0
    reuse[R_POSSIBLE], reuse[R_OWN] = v[V_OWN] * rows, 0.0
    reuse[R_CROWD] = reuse[R_BESIDE] = v[V_PIECES] / v[V_STRIPES]
    caches[:, C_ALIVE] = 1.0
    alive = True
    while alive and before < whole and last < tile:
        end = min(max(floor(gap), last + 1.0), tile)
        if end > 30.0 * rows:
            end = tile
        share = whole
        if end < tile:
            touched = distinct(end, rows, decay, u, h)
            fresh = distinct(end + 1.0, rows, decay, u, h) - touched
            share = (end - touched + (tile - end) * (1.0 - fresh)) / tile
            share = share if share < whole - 1e-6 else whole
        middle = 0.5 * (last + 1.0 + min(end, last + 1.0 + 2.0 * rows))
        reuse[R_ROWS] = v[V_OWN] * distinct(middle, rows, decay, u, h)
        reuse[R_PACKED] = v[V_PACKED] * middle * middle
        codes, sums = v[V_PASS] * middle, n[N_STRIPE] * 4.0 * v[V_APART] * middle
        alive = False
        for k in range(len(caches)):
            if caches[k, C_ALIVE] == 0.0:
                continue
            cache, level = caches[k], int(caches[k, C_INDEX])
            crowded = cache[C_SUM_SETS]
            reuse[R_EVEN] = codes + sums / crowded
            hit = crowded * found(cache, rows, reuse, arrays, 0, curves[level], 0)
            if crowded < 1.0:
                reuse[R_EVEN] = codes
                hit += (1.0 - crowded) * found(cache, rows, reuse, arrays, 0, curves[level], 0)
            hits[level, WITHIN] += (share - before) * hit
            if hit > 1e-6:
                alive = True
            else:
                caches[k, C_ALIVE] = 0.0
        last, before = end, share
        gap = max(gap * _RATIO, gap + 1.0)


@njit(nogil=True, _nrt=False, error_model="numpy")
def _across(
    p, n, v, rows, decay, u, h, caches, curves, points, reuse, arrays, hits, step, until, walked, inside
):
    """Reuses q tiles of `step` tokens later, `until` tokens being a call or, `inside` it, an outer tile: rows of `walked` bytes."""
    per_outer, per_call = v[V_OUTER] / step, until / step
    left = distinct(step, rows, decay, u, h) / step  # reuses from an earlier tile
    previous = left * step  # U(q step) - U((q - 1) step)
    reuse[R_OWN] = reuse[R_PACKED] = 0.0
    reuse[R_CROWD] = reuse[R_BESIDE] = v[V_PIECES]
    caches[:, C_ALIVE] = 1.0
    q, alive = 1.0, True
    while alive and left > 0.0:
        if inside and q >= per_call:
            break
        end = max(floor(q * _RATIO), q)
        after = distinct((end + 1.0) * step, rows, decay, u, h) - distinct(end * step, rows, decay, u, h)
        mass = max((previous - after) / step, 0.0)
        if end * step > 0.5 * GRID_LAST or (len(u) == 0 and end * step > 40.0 * rows):
            mass = left
        mass = mass if mass < left - 1e-6 else left
        middle = 0.5 * (q + end)
        gap = middle * step
        touched = distinct(gap, rows, decay, u, h)
        crossed = middle / per_call
        calls = floor(crossed + 1e-9)
        more = max(crossed - calls, 0.0)
        if inside:
            calls, more = 0.0, min(crossed, 1.0)
        for k in range(len(caches)):
            caches[k, C_ALIVE] *= 0.5  # whoever keeps something is set to 1 again
        if calls < 1.0 and more < 1.0:
            # Of those that stay in the call, some stay in the outer tile.
            encoded = 0.0 if inside else 1.0 - max(1.0 - middle / per_outer, 0.0) / (1.0 - more)
            for outer in range(2):
                share = mass * (1.0 - more) * (encoded if outer else 1.0 - encoded)
                if share > 0.0:
                    _between_tiles(p, n, v, rows, gap, touched, walked, step, outer, reuse, arrays)
                    _add(rows, caches, curves, points, reuse, arrays, hits, TILES, share, q == 1.0)
        for part in range(2):
            several = calls + part
            share = mass * (more if part else 1.0 - more)
            if several < 1.0 or share <= 0.0 or inside:
                continue
            other = distinct(several * v[V_TOKENS], rows, decay, u, h)
            _between_calls(p, v, rows, touched, other, walked, reuse, arrays)
            swept = several == 1.0 and (p[LAYERS] > 1.0 or q == 1.0)
            _add(rows, caches, curves, points, reuse, arrays, hits, CALLS, share, swept)
        alive = False
        for k in range(len(caches)):
            caches[k, C_ALIVE] = 1.0 if caches[k, C_ALIVE] == 1.0 else 0.0
            alive = alive or caches[k, C_ALIVE] == 1.0
        left -= mass
        previous = after
        q = end + 1.0


@njit(nogil=True, _nrt=False, error_model="numpy")
def _between_tiles(p, n, v, rows, gap, touched, walked, step, encoded, reuse, arrays):
    """What lies in between within a call, without or with encoding of an outer tile."""
    span = min(gap, v[V_TOKENS])
    even = v[V_LINEAR] * span + v[V_ENCODE] if encoded else v[V_SUMS] * span + min(gap + step, v[V_OUTER]) * v[V_READ]
    if n[N_UNIT] > n[N_GROUP]:  # sums of the stripe were touched by later groups of the one and earlier ones of the other tile
        even += min(step, v[V_TOKENS] - span) * v[V_SUMS] / v[V_STRIPES]
    reuse[R_ROWS], reuse[R_POSSIBLE], reuse[R_EVEN] = walked * touched, walked * rows, even
    edges(p, v, span, encoded, 0.0, encoded, arrays)


@njit(nogil=True, _nrt=False, error_model="numpy")
def _between_calls(p, v, rows, touched, other, walked, reuse, arrays):
    """What lies in between across calls of a layer: all other layers, what others evict."""
    layers = p[LAYERS]
    reuse[R_ROWS] = walked * touched + (layers - 1.0) * v[V_ALL] * other
    reuse[R_POSSIBLE] = walked * rows + (layers - 1.0) * v[V_ALL] * rows
    reuse[R_EVEN] = v[V_BOTH] * v[V_TOKENS] + v[V_ENCODE] + (layers - 1.0) * v[V_WEIGHTS] + layers * p[EVICTED]
    edges(p, v, v[V_TOKENS], layers, layers, 1.0, arrays)


@njit(nogil=True, _nrt=False, error_model="numpy")
def edges(p, v, tokens, weights, evicted, encoded, arrays):
    """The contiguous arrays of what was encoded, and of so many tokens, weights and evictions."""
    arrays[0, 0], arrays[0, 1] = p[WEIGHTS], weights
    arrays[1, 0], arrays[1, 1] = p[EVICTED], evicted
    arrays[2, 0], arrays[2, 1] = 0.5 * v[V_LINEAR] * tokens, 2.0
    arrays[3, 0], arrays[3, 1] = 0.2 * v[V_BUFFERS] / v[V_ENCODERS], 5.0 * encoded * v[V_ENCODERS]
    arrays[4, 0], arrays[4, 1] = v[V_CODES] / 3.0, encoded


@njit(nogil=True, _nrt=False, error_model="numpy")
def _add(rows, caches, curves, points, reuse, arrays, hits, age, share, swept):
    """Adds what the caches keep. A spec's curve is that of a sweep: it holds for rows that all come back
    after one tile or call (`swept`); of rows that come back at random any replacement keeps what fits."""
    for k in range(len(caches)):
        if caches[k, C_ALIVE] == 0.0:
            continue
        level = int(caches[k, C_INDEX])
        hit = found(caches[k], rows, reuse, arrays, ARRAYS, curves[level], points[level] if swept else 0)
        hits[level, age] += share * hit
        if hit > 1e-6:
            caches[k, C_ALIVE] = 1.0
