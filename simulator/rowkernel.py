# mypy: disable-error-code="no-untyped-def"
"""Where table rows hit, compiled: reuse by reuse along the loop nest.

U(n) is the number of distinct rows of one table among n draws (Denning 1968). Draws are independent, so of the accesses of
tiles of T tokens the share whose row was touched q tiles before, and not since, is

    a(q) = (2 U(qT) - U((q - 1) T) - U((q + 1) T)) / T,    a(0) = 1 - U(T) / T,

and the share with a gap of at most n tokens within a tile is (n - U(n) + (T - n) (1 - h(n))) / T, h(n) = U(n + 1) - U(n).
Crossing q tiles of a call of n tiles crosses floor(q / n) calls, or one more for a share q / n - floor(q / n) of them. What
lies in between is the union of what each array brings (footprints add up, Xiang et al. 2013): rows x U, bytes that stream
past, arrays that come round. `setkernel.kept` judges whether the line outlives it.
"""

from __future__ import annotations

from math import exp, floor, log

from simulator import gatherstate as g
from simulator.compiled import kernel
from simulator.setkernel import kept

GRID_FIRST, GRID_LAST = 0.25, 1e9
"""Tokens between which U is tabulated for rows that are not alike, evenly in log n, after a 0."""

_RATIO, _RATIO_NEAR = 1.5, 2.0
"""Between reuses that are taken together; between those that every cache is certain to keep."""

_EDGE = 0.5 - (1.0 / 12.0) ** 0.5
"""Ways of an array beyond which its edge counts as anywhere in a way: variance 1 / 6."""

_CLOSE, _NEAR, _FAR = 0.08, 0.15, 4.0
"""Shares of a capacity below which a line is found and beyond which it is not, whatever the sets; after a reuse at less than
_CLOSE the next are taken in larger steps."""


_ALL_SEEN, _ALL_BACK = 30.0, 40.0
"""Draws for each row of a table, after which its alike likely rows have all come (within a tile; from tile to tile): shares of
exp(-30), exp(-40) have not."""

_NEGLIGIBLE = 1e-6
"""Shares of accesses, and of hits, that are not followed further."""


@kernel
def distinct(s, t, n):
    """U(n): of alike likely rows, or by cubic interpolation in the table: its points g, U at them, its slopes."""
    points = int(t[0])
    if points == 0:
        return s[g.ROWS] * (1.0 - exp(n * s[g.DECAY]))
    if n < GRID_FIRST:
        return n / GRID_FIRST * t[2]
    spacing = log(GRID_LAST / GRID_FIRST) / (points - 2)
    k = min(int(log(n / GRID_FIRST) / spacing), points - 3)
    low, high = GRID_FIRST * exp(k * spacing), GRID_FIRST * exp((k + 1) * spacing)
    width = high - low
    x = min((n - low) / width, 1.0)
    at = 2 + k
    a, b, start, end = t[at], t[at + 1], t[at + points] * width, t[at + points + 1] * width
    return a + x * (start + x * (3.0 * (b - a) - 2.0 * start - end + x * (start + end - 2.0 * (b - a))))


@kernel
def _on_curve(x, t, first, points):
    """Interpolated in (x, y) pairs of the table."""
    if x <= t[first]:
        return t[first + 1]
    for k in range(first + 2, first + 2 * points, 2):
        if x <= t[k]:
            return t[k - 1] + (x - t[k - 2]) / (t[k] - t[k - 2]) * (t[k + 1] - t[k - 1])
    return t[first + 2 * points - 1]


@kernel
def found(s, t, c, kinds, swept):
    """Share of the reuse that the cache at c keeps; the first `kinds` of edges count. A curve of the spec is taken instead: one
    for the reuse of a sweep, one for reuses at random."""
    capacity, ways = s[c + g.C_CAPACITY], s[c + g.C_WAYS]
    total = s[g.R_ROWS] + s[g.R_EVEN]
    if swept and s[c + g.C_POINTS] > 0.0:
        return 1.0 - _on_curve(total / capacity, t, int(s[c + g.C_CURVE]), int(s[c + g.C_POINTS]))
    if not swept and s[c + g.C_RANDOM_POINTS] > 0.0:
        return 1.0 - _on_curve(total / capacity, t, int(s[c + g.C_RANDOM]), int(s[c + g.C_RANDOM_POINTS]))
    if total > _FAR * capacity:
        return 0.0
    lines = s[c + g.C_LINES]
    crowd = max(s[g.R_CROWD] * s[c + g.C_ALIGNED], 1.0) * lines
    if crowd * 4.0 < ways and total < _NEAR * capacity:
        return 1.0
    per_way = s[c + g.C_PER_WAY]
    scale = per_way / crowd
    mean = s[g.R_ROWS] * scale
    possible = max(s[g.R_POSSIBLE] * scale, mean + 1e-9)
    touched = mean / possible
    even = s[g.R_EVEN] * per_way
    beside = 0.0
    if s[g.R_OWN] > 0.0:
        even = max(even - min(s[g.R_OWN] * per_way, 1.0), 0.0)
    else:
        mean *= 1.0 - 1.0 / max(possible, 1.0)  # of others
        beside = max(s[g.R_BESIDE] * s[c + g.C_ALIGNED], 1.0) * lines - 1.0
    # Rows are touched or not; those of one table that share a set are drawn instead of each other.
    variance = 1.0 - touched
    same = s[c + g.C_SAME]
    if same > 0.0 and 1e-9 < touched < 1.0 - 1e-9:
        left = 1.0 - touched
        variance = max(variance + same / s[g.ROWS] * log(left) * left * left / touched, 0.0)
    # Lines of the level inside are spread over the sets by chance; packed arrays lie in some of the sets; each contiguous
    # array has an edge, where sets have one line more.
    spread = s[c + g.C_ADDED] * (1.0 - s[c + g.C_ADDED] / ways) + s[g.R_PACKED] * per_way * per_way
    for k in range(kinds):
        part = s[g.EDGES + 2 * k] * per_way
        spread += s[g.EDGES + 2 * k + 1] * (part * (1.0 - part) if part < _EDGE else 1.0 / 6.0)
    return kept(ways, crowd, beside, mean, variance, even, spread)


@kernel
def describe(s):
    """Fills what follows of a cache from its size and the view."""
    for c in range(g.CACHES, int(s[g.V_CACHES_END]), g.CACHE):
        per_way = s[c + g.C_WAYS] / s[c + g.C_CAPACITY]
        s[c + g.C_PER_WAY] = per_way
        s[c + g.C_LINES] = max(s[g.V_PIECE] * per_way, 1.0)
        # Pieces of a row lie whole ways apart where that is a multiple of a way: all in the same sets.
        s[c + g.C_ALIGNED] = min(s[g.V_PIECES_APART] * per_way, 1.0)
        s[c + g.C_SAME] = s[g.ROWS] * s[g.V_PIECE] * per_way - 1.0
        s[c + g.C_SUM_SETS] = min(s[g.V_SUM_WIDTH] / min(s[g.V_SUM_APART], 1.0 / per_way), 1.0)


@kernel
def row_hits(s, t):
    """Adds the shares of row accesses that the caches of a view keep to its hits, by age."""
    if s[g.V_INNER] > 1.0:
        _within(s, t)
    sharded = s[g.N_UNIT] < s[g.N_TABLES]  # a shard's inner tiles come before the next shard
    if sharded and s[g.V_OUTER] > s[g.V_INNER]:
        _across(s, t, s[g.V_INNER], s[g.V_OUTER], s[g.V_UNIT], True)
    step = s[g.V_OUTER] if sharded else s[g.V_INNER]
    _across(s, t, step, s[g.V_TOKENS], s[g.V_ALL], False)


@kernel
def _within(s, t):
    """Reuses within a pass, by their gaps; sums of the pass fall into some of the sets."""
    tile, rows = s[g.V_INNER], s[g.ROWS]
    whole = 1.0 - distinct(s, t, tile) / tile
    last, before, gap = 0.0, 0.0, 1.0
    s[g.R_POSSIBLE], s[g.R_OWN] = s[g.V_OWN] * rows, 0.0
    s[g.R_CROWD] = s[g.R_BESIDE] = s[g.V_PIECES] / s[g.V_STRIPES]
    for c in range(g.CACHES, int(s[g.V_CACHES_END]), g.CACHE):
        s[c + g.C_ALIVE] = 1.0
    alive = True
    while alive and before < whole and last < tile:
        end = min(max(floor(gap), last + 1.0), tile)
        if end > _ALL_SEEN * rows:
            end = tile
        share = whole
        if end < tile:
            touched = distinct(s, t, end)
            fresh = distinct(s, t, end + 1.0) - touched
            share = (end - touched + (tile - end) * (1.0 - fresh)) / tile
            share = share if share < whole - _NEGLIGIBLE else whole
        middle = 0.5 * (last + 1.0 + min(end, last + 1.0 + 2.0 * rows))
        s[g.R_ROWS] = s[g.V_OWN] * distinct(s, t, middle)
        s[g.R_PACKED] = s[g.V_PACKED] * middle * middle
        codes, sums = s[g.V_PASS] * middle, s[g.N_STRIPE] * 4.0 * s[g.V_APART] * middle
        alive = False
        filled = 0.0
        for c in range(g.CACHES, int(s[g.V_CACHES_END]), g.CACHE):
            if s[c + g.C_ALIVE] == 0.0:
                continue
            filled = max(filled, (s[g.R_ROWS] + codes + sums) / s[c + g.C_CAPACITY])
            crowded = s[c + g.C_SUM_SETS]
            s[g.R_EVEN] = codes + sums / crowded
            hit = crowded * found(s, t, c, 0, False)
            if crowded < 1.0:
                s[g.R_EVEN] = codes
                hit += (1.0 - crowded) * found(s, t, c, 0, False)
            s[g.HITS + g.HIT_COLUMNS * int(s[c + g.C_INDEX]) + g.WITHIN] += (share - before) * hit
            if hit > _NEGLIGIBLE:
                alive = True
            else:
                s[c + g.C_ALIVE] = 0.0
        last, before = end, share
        gap = max(gap * (_RATIO_NEAR if filled < _CLOSE else _RATIO), gap + 1.0)


@kernel
def _across(s, t, step, until, walked, inside):
    """Reuses q tiles of `step` tokens later, `until` tokens being a call or, `inside` it, an outer tile: rows of `walked`
    bytes."""
    per_outer, per_call = s[g.V_OUTER] / step, until / step
    left = distinct(s, t, step) / step  # reuses from an earlier tile
    previous = left * step  # U(q step) - U((q - 1) step)
    s[g.R_OWN] = s[g.R_PACKED] = 0.0
    s[g.R_CROWD] = s[g.R_BESIDE] = s[g.V_PIECES]
    for c in range(g.CACHES, int(s[g.V_CACHES_END]), g.CACHE):
        s[c + g.C_ALIVE] = 1.0
    s[g.V_FILLED] = 1.0
    q, alive = 1.0, True
    while alive and left > 0.0:
        if inside and q >= per_call:
            break
        end = max(floor(q * (_RATIO_NEAR if s[g.V_FILLED] < _CLOSE else _RATIO)), q)
        s[g.V_FILLED] = 0.0
        after = distinct(s, t, (end + 1.0) * step) - distinct(s, t, end * step)
        mass = max((previous - after) / step, 0.0)
        if end * step > 0.5 * GRID_LAST or (t[0] == 0.0 and end * step > _ALL_BACK * s[g.ROWS]):
            mass = left
        mass = mass if mass < left - _NEGLIGIBLE else left
        middle = q + 0.4 * (end - q)  # earlier ones are more
        gap = middle * step
        touched = distinct(s, t, gap)
        crossed = middle / per_call
        calls = floor(crossed + 1e-9)
        more = max(crossed - calls, 0.0)
        if inside:
            calls, more = 0.0, min(crossed, 1.0)
        for c in range(g.CACHES, int(s[g.V_CACHES_END]), g.CACHE):
            s[c + g.C_ALIVE] *= 0.5  # whoever keeps something is set to 1 again
        if calls < 1.0 and more < 1.0:
            # Of those that stay in the call, some stay in the outer tile.
            encoded = 0.0 if inside else 1.0 - max(1.0 - middle / per_outer, 0.0) / (1.0 - more)
            for outer in range(2):
                share = mass * (1.0 - more) * (encoded if outer else 1.0 - encoded)
                if share > 0.0:
                    _between_tiles(s, gap, touched, walked, step, outer)
                    _add(s, t, g.TILES, share, q == 1.0)
        for part in range(2):
            several = calls + part
            share = mass * (more if part else 1.0 - more)
            if several < 1.0 or share <= 0.0 or inside:
                continue
            other = distinct(s, t, several * s[g.V_TOKENS])
            _between_calls(s, touched, other, walked)
            swept = several == 1.0 and (s[g.LAYERS] > 1.0 or q == 1.0)
            _add(s, t, g.CALLS, share, swept)
        alive = False
        for c in range(g.CACHES, int(s[g.V_CACHES_END]), g.CACHE):
            s[c + g.C_ALIVE] = 1.0 if s[c + g.C_ALIVE] == 1.0 else 0.0
            alive = alive or s[c + g.C_ALIVE] == 1.0
        left -= mass
        previous = after
        q = end + 1.0


@kernel
def _between_tiles(s, gap, touched, walked, step, encoded):
    """What lies in between within a call, without or with encoding of an outer tile."""
    span = min(gap, s[g.V_TOKENS])
    if encoded:
        even = s[g.V_LINEAR] * span + s[g.V_ENCODE]
    else:
        even = s[g.V_SUMS] * span + min(gap + step, s[g.V_OUTER]) * s[g.V_READ]
    if s[g.N_UNIT] > s[g.N_GROUP]:
        # Sums of the stripe were touched by later groups of the one and earlier ones of the other tile.
        even += min(step, s[g.V_TOKENS] - span) * s[g.V_SUMS] / s[g.V_STRIPES]
    s[g.R_ROWS], s[g.R_POSSIBLE], s[g.R_EVEN] = walked * touched, walked * s[g.ROWS], even
    edges(s, span, encoded, 0.0, encoded)


@kernel
def _between_calls(s, touched, other, walked):
    """What lies in between across calls of a layer: all other layers, what others evict."""
    layers = s[g.LAYERS]
    s[g.R_ROWS] = walked * touched + (layers - 1.0) * s[g.V_ALL] * other
    s[g.R_POSSIBLE] = (walked + (layers - 1.0) * s[g.V_ALL]) * s[g.ROWS]
    s[g.R_EVEN] = s[g.V_BOTH] * s[g.V_TOKENS] + s[g.V_ENCODE] + (layers - 1.0) * s[g.V_WEIGHTS] + layers * s[g.EVICTED]
    edges(s, s[g.V_TOKENS], layers, layers, 1.0)


@kernel
def edges(s, tokens, weights, evicted, encoded):
    """The contiguous arrays of what was encoded, and of so many tokens, weights and evictions."""
    s[g.EDGES], s[g.EDGES + 1] = s[g.WEIGHTS], weights
    s[g.EDGES + 2], s[g.EDGES + 3] = s[g.EVICTED], evicted
    s[g.EDGES + 4], s[g.EDGES + 5] = 0.5 * s[g.V_LINEAR] * tokens, 2.0
    s[g.EDGES + 6], s[g.EDGES + 7] = 0.2 * s[g.V_BUFFERS] / s[g.V_ENCODERS], 5.0 * encoded * s[g.V_ENCODERS]
    s[g.EDGES + 8], s[g.EDGES + 9] = s[g.V_CODES] / 3.0, encoded


@kernel
def _add(s, t, age, share, swept):
    """Adds what the caches keep. Rows that all come back after one tile or call are `swept`; of those that come back at random
    any replacement keeps what fits, unless a spec has a curve for them."""
    for c in range(g.CACHES, int(s[g.V_CACHES_END]), g.CACHE):
        if s[c + g.C_ALIVE] == 0.0:
            continue
        s[g.V_FILLED] = max(s[g.V_FILLED], (s[g.R_ROWS] + s[g.R_EVEN]) / s[c + g.C_CAPACITY])
        hit = found(s, t, c, g.KINDS, swept)
        s[g.HITS + g.HIT_COLUMNS * int(s[c + g.C_INDEX]) + age] += share * hit
        if hit > _NEGLIGIBLE:
            s[c + g.C_ALIVE] = 1.0
