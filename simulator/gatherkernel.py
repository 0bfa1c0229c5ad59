# mypy: disable-error-code="no-untyped-def"
"""Miss shares of a look-up gather at every cache level, compiled: for each row of parameters, what a core's own caches and what
shared ones see (`gathernest`), judged reuse by reuse (`rowkernel`, `nearkernel`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from simulator import gathernest, nearkernel, rowkernel, setkernel
from simulator import gatherstate as g
from simulator.compiled import OPTIONS, digest, kernel
from simulator.gathernest import loops, view
from simulator.nearkernel import code_hits, sizes_of, sum_hits
from simulator.rowkernel import describe, distinct, row_hits

CLASSES = 4
"""Ages of a row, in order: touched before within a pass, in a call by its core, first in a call by its core but brought by a
sibling, first in a call."""

M_SUMS, M_CODES, M_SUMS_AWAY, M_CODES_AWAY, OUT = range(CLASSES, CLASSES + 5)
"""Columns of what is known of a level: miss shares of rows by age, of sums, of codes; bytes between reuses of sums, of codes."""

_KNOWN = 4
"""Judged loops that are remembered."""

O_MARKS, O_ROWS, O_SUMS, O_CODES, O_LEVELS = 0, CLASSES, CLASSES + 1, CLASSES + 2, CLASSES + 3
"""Columns of a result: shares of row accesses by age, bytes of rows, of sums, of codes; from O_LEVELS on OUT for each level."""


@kernel
def _caches(s, shared, levels):
    """The caches of one view; whether there are any."""
    c = g.CACHES
    for k in range(levels):
        at = g.LEVELS + g.LEVEL_FIELDS * k
        if (s[at + g.SHARED] > 0.0) == shared:
            s[c + g.C_CAPACITY], s[c + g.C_WAYS], s[c + g.C_ADDED] = s[at + g.CAPACITY], s[at + g.WAYS], s[at + g.ADDED]
            s[c + g.C_CURVE], s[c + g.C_POINTS], s[c + g.C_INDEX] = s[at + g.CURVE], s[at + g.POINTS], k
            s[c + g.C_RANDOM], s[c + g.C_RANDOM_POINTS] = s[at + g.RANDOM], s[at + g.RANDOM_POINTS]
            c += g.CACHE
    s[g.V_CACHES_END] = c
    return c > g.CACHES


@kernel
def _firsts(s, t, tokens):
    """Share of accesses that are the first to their row in so many tokens."""
    return min(distinct(s, t, tokens) / tokens, 1.0)


@kernel
def _judge(s, t, levels, out):
    """Fills the result of the parameters and loops in the state."""
    sizes_of(s)
    tile, call = _firsts(s, t, s[g.N_INNER]), _firsts(s, t, s[g.N_TOKENS])
    together = call
    for k in range(g.HITS, g.STATE):
        s[k] = 0.0
    for shared in (False, True):
        if not _caches(s, shared, levels):
            continue
        cores = s[g.N_NEAR] if shared else 1.0
        encoders = 1.0 if not shared else cores if s[g.N_TOKENWISE] > 0.0 else min(s[g.SHARERS], s[g.THREADS])
        view(s, cores, encoders)
        describe(s)
        row_hits(s, t)
        sum_hits(s, t, shared)
        code_hits(s, t, shared)
        seen_tile, seen_call = _firsts(s, t, s[g.V_INNER]), _firsts(s, t, s[g.V_TOKENS])
        if shared:
            together = min(seen_call, together)
        for c in range(g.CACHES, int(s[g.V_CACHES_END]), g.CACHE):
            level = int(s[c + g.C_INDEX])
            hits, o = g.HITS + g.HIT_COLUMNS * level, O_LEVELS + OUT * level
            _settle(s, hits, seen_tile - seen_call, seen_call)
            _lay(s, hits, tile, call, together, seen_tile, seen_call, out, o)
            out[o + M_SUMS] = min(max(1.0 - s[hits + g.SUMS], 0.0), 1.0)
            out[o + M_CODES] = min(max(1.0 - s[hits + g.CODES], 0.0), 1.0)
            if not shared:  # what a sibling brought is new to a core's own caches
                out[o + 2] = out[o + 3]
            out[o + M_SUMS_AWAY], out[o + M_CODES_AWAY] = s[g.DISTANCES + 2 * level], s[g.DISTANCES + 2 * level + 1]
    out[O_MARKS], out[O_MARKS + 1] = 1.0 - tile, tile - call
    out[O_MARKS + 2], out[O_MARKS + 3] = call - together, together
    out[O_ROWS], out[O_SUMS], out[O_CODES] = s[g.ALL_ROWS], s[g.ALL_SUMS], s[g.FIRST_CODES] + s[g.AGAIN_CODES]


@kernel
def _settle(s, hits, tiles, calls):
    """Moves hits between two ages of rows, within a call and across calls, where one has more than its accesses: reuses that are
    taken together (`rowkernel`) may be split between them in another proportion than all are."""
    over = max(s[hits + g.TILES] - tiles, 0.0) - max(s[hits + g.CALLS] - calls, 0.0)
    s[hits + g.TILES] -= over
    s[hits + g.CALLS] += over


@kernel
def _lay(s, hits, tile, call, together, seen_tile, seen_call, out, o):
    """Miss shares of rows by a core's ages out of hits by the ages of a view: the oldest of the one are the oldest of the
    other."""
    low = 0.0
    for c in range(CLASSES):
        high = 1.0 - tile if c == 0 else 1.0 - call if c == 1 else 1.0 - together if c == 2 else 1.0
        size = max(high - low, 0.0)
        start, last, total = 0.0, 0.0, 0.0
        for k in range(3):
            age = 1.0 - seen_tile if k == 0 else max(seen_tile - seen_call, 0.0) if k == 1 else seen_call
            if age > 1e-12:
                last = min(max(1.0 - s[hits + k] / age, 0.0), 1.0)
            total += max(min(start + age, high) - max(start, low), 0.0) * last
            start += age
        out[o + c] = min(total / size, 1.0) if size > 1e-12 else last
        low = high


@kernel
def _alike(s, known, row, columns):
    """Whether loops and the parameters beside those that only make the loops are the same."""
    for k in range(g.LOOPS_BEGIN, g.LOOPS_END):  # most differ here
        if s[k] != known[row, k]:
            return False
    for k in range(columns):  # noqa: SIM110 - compiled
        if s[k] != known[row, k] and k != g.TILE and k != g.GROUP and k != g.STRIPE:
            return False
    return True


def _gather_misses(sources: str) -> Any:
    """The entry; `sources`: see `compiled`."""

    @njit(cache=True, **OPTIONS)
    def gather_misses(parameters, levels, t, s, known, out):
        """Fills a row of `out` for each row of `parameters`; `t`: U and curves (`lookup_reuse`), `s`: room for the state,
        `known` [rows, LOOPS_END + 1]: room for loops that were judged last, and their rows of `out`."""
        if len(sources) == 0:
            return
        kept, columns = known.shape[0], parameters.shape[1]
        for k in range(kept):
            known[k, g.LOOPS_END] = -1.0
        turn = 0
        for row in range(parameters.shape[0]):
            for k in range(columns):
                s[k] = parameters[row, k]
            loops(s)
            # Schedules often come to the same loops: tiles that are larger than the batch, prefetch distances.
            same = -1
            for k in range(kept):
                if known[k, g.LOOPS_END] >= 0.0 and _alike(s, known, k, columns):
                    same = int(known[k, g.LOOPS_END])
                    break
            if same < 0:
                _judge(s, t, levels, out[row])
                for k in range(g.LOOPS_END):
                    known[turn, k] = s[k]
                known[turn, g.LOOPS_END] = row
                turn = (turn + 1) % kept
            else:
                for k in range(out.shape[1]):
                    out[row, k] = out[same, k]

    return gather_misses


gather_misses = _gather_misses(digest(setkernel, g, gathernest, rowkernel, nearkernel))


def misses_of(parameters: Any, levels: int, table: Any) -> Any:
    """Results for rows of parameters: [rows, O_LEVELS + OUT x levels]."""
    out = np.empty((len(parameters), O_LEVELS + OUT * levels))
    gather_misses(parameters, levels, table, np.empty(g.STATE), np.empty((_KNOWN, g.LOOPS_END + 1)), out)
    return out
