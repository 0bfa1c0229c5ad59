"""How often a table row comes back while a cache still has it: random rows in a nest of tiles and calls under LRU.

Working-set theory (Denning 1968; Che, Tung and Wang 2002; footprints add up over streams, Xiang et al. 2013): a row that comes
back after a gap of n tokens is found if what was touched in between fits. Over n tokens a table of R rows has
U(n) = sum 1 - (1 - p)^n distinct ones; whatever streams past adds in proportion to n, what is kept near adds a constant. Gaps of
independent draws are geometric, whatever lies between two visits to the table, so each of three scales has its own window:

- within a pass (a group of tables, one column stripe, one tile of tokens): own U(n) + linear n;
- across tiles of a call: all rows of a worker and what its tiles write and encode;
- across calls: the same for every layer of the model, and what others evict.

Crossings of one tile or one call have nearly one distance, whatever the gap; their step is as wide as the spread of lines over
the sets of a cache makes it (Smith 1978; Hill and Smith 1989): a level of W ways keeps a line if fewer than W others fell
into its set, a binomial number with relative variance (1 - row / way bytes) / W.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from simulator.locality import Levels, abreast, smooth_step
from simulator.workload import IndexDistribution, effective_rows, row_probabilities

Number = Any
_STEPS, _EXACT_STEPS = 2, 8
"""Of Newton's method for many windows at once, and for one."""

_EDGES = (0.3, 0.9)
"""Between gaps that are taken together, in units of the typical gap."""

UNEVEN = 0.4
"""Lines by which the arrays of a layer, each a whole number of pages, fill one set more than another."""

_GRID = np.concatenate([[0.0], np.geomspace(0.25, 1e9, 240)])


class Draws:
    """Statistics of independent draws of rows from one table; tokens may be fractions."""

    def __init__(self, distribution: IndexDistribution, rows: Any) -> None:
        self.table = None
        self.rows = rows
        plain = distribution.kind == "uniform" or (distribution.kind == "zipf" and not np.any(distribution.skew))
        if not plain and np.ndim(rows) == 0 and np.ndim(distribution.skew) == 0:
            self.table = _draws_table(distribution.kind, float(distribution.skew), distribution.histogram, float(rows))
        else:  # Several distributions at once: as many equally likely rows as have the entropy of each.
            self.rows = rows if plain else effective_rows(distribution, rows)
            self.decay = np.log1p(-np.minimum(np.divide(1.0, self.rows), 1.0 - 2.0**-53))

    def both(self, tokens: Any) -> tuple[Any, Any]:
        """(distinct rows U(n), probability that the next token's row is none of them)."""
        if self.table is not None:
            return np.interp(tokens, _GRID, self.table[0]), np.interp(tokens, _GRID, self.table[1])
        fresh = np.exp(tokens * self.decay)
        return self.rows - self.rows * fresh, fresh

    def distinct(self, tokens: Any) -> Any:
        """U(n)."""
        return self.both(tokens)[0] if self.table is None else np.interp(tokens, _GRID, self.table[0])

    def missing(self, kept_rows: Any) -> Any:
        """Miss share where the `kept_rows` rows that were used last are kept (Che's approximation)."""
        return self.both(self.window(1.0, 0.0, kept_rows, _EXACT_STEPS))[1]

    def window(self, row_bytes: Any, linear_bytes: Any, room: Any, steps: int = _STEPS) -> Any:
        """Tokens n after which row_bytes U(n) + linear_bytes n fill `room` (0 where there is none).

        Newton's method from below on a concave function: it never overshoots.
        """
        room = np.maximum(room, 0.0)
        n = room / (row_bytes + linear_bytes)
        slope = np.maximum(linear_bytes, row_bytes * 1e-6)
        n = np.maximum(n, (room - row_bytes * self.rows) / slope)
        for _ in range(steps):
            touched, fresh = self.both(n)
            n = n + np.maximum(room - row_bytes * touched - linear_bytes * n, 0.0) / (row_bytes * fresh + slope)
        return n


@lru_cache(maxsize=64)
def _draws_table(kind: Any, skew: float, histogram: tuple[float, ...], rows: float) -> tuple[Any, Any]:
    p = row_probabilities(IndexDistribution(kind, skew, histogram), rows)
    never = np.log1p(-np.minimum(p, 1.0 - 2.0**-53))
    missing = np.exp(_GRID[:, None] * never)
    return (1.0 - missing).sum(axis=1), (missing * p).sum(axis=1)


@dataclass(frozen=True)
class RowNest:
    """One stream of table rows as one core or one shared cache sees it; the fields broadcast against (levels, points, schedules).

    `own_bytes`, `unit_bytes`, `all_bytes`: bytes of one row index within a pass, over the tables that an inner tile walks, and
    over all tables of the worker. `pass_linear`, `tile_linear`: other bytes a token in a pass, and in a tile. `inner`, `outer`,
    `tokens`: tokens of a pass, of what is encoded together, of a call. `encode_bytes`: kept near and touched once between outer
    tiles, `encode_weights` of them weights. `layers`, `between_bytes`: what passes between two calls of a layer beside rows.
    `piece_bytes`: contiguous bytes of a row. `pieces`: of one row, `pieces_apart` bytes from each other: where that is a multiple
    of a way, all fall into the same sets. `pass_pieces`: those that a pass visits. `sum_linear`: bytes of sums a token of a pass,
    beside pass_linear, in runs of `sum_width` that begin `sum_apart` bytes from each other and so fall into some of the sets.
    `apart`: workers with tables or columns of their own.
    """

    draws: Draws
    own_bytes: Number
    unit_bytes: Number
    all_bytes: Number
    pass_linear: Number
    tile_linear: Number
    inner: Number
    outer: Number
    tokens: Number
    encode_weights: Number
    encode_bytes: Number
    layers: Number
    between_bytes: Number
    piece_bytes: Number
    pieces: Number
    pass_pieces: Number
    pieces_apart: Number
    sum_linear: Number
    sum_width: Number
    sum_apart: Number
    apart: Number

    def ends(self) -> tuple[Any, Any, Any]:
        """Shares of accesses that are the first to their row in a pass, in an outer tile, and in a call."""
        return tuple(self.draws.distinct(n) / n for n in (self.inner, self.outer, self.tokens))

    def misses(self, levels: Levels) -> tuple[Any, Any, Any, Any]:
        """Miss shares in the levels: within a pass, across inner tiles, across outer tiles, across calls."""
        capacity, ways, d = levels.capacity_bytes, levels.ways, self.draws
        way = capacity / ways
        crowd = np.maximum(self.pieces * np.minimum(self.pieces_apart / way, 1.0), 1.0)
        alone = np.minimum(crowd, self.pass_pieces)
        loose = 1.0 - np.minimum(self.piece_bytes / way, 1.0)
        # What fits of the tables leaves no room for chance: their rows cover all sets alike.
        tables = self.all_bytes * d.rows
        sparse = np.maximum(1.0 - capacity / tables, 0.0)
        far = self.layers * self.all_bytes
        less = (crowd - 1.0) * way * sparse
        kept = self.tile_linear * self.tokens + self.encode_bytes + self.between_bytes
        scarce = np.maximum(1.0 - capacity / (self.layers * tables), 0.0)
        apart = (crowd - 1.0) * way * scarce
        variance = loose * crowd / ways
        room = capacity - less
        windows = d.window(
            abreast(self.unit_bytes, self.all_bytes, far),
            abreast(self.tile_linear, self.tile_linear, 0.0),
            abreast(room, room - self.encode_bytes, capacity - kept - apart),
        )
        middle, outer = self._across(levels, variance * sparse, less, windows[:2])
        within = self._within(levels, np.sqrt(loose * alone / ways), (alone - 1.0) * way * sparse)
        return within, middle, outer, self._calls(levels, variance, windows[1], windows[2], less + kept)

    def _within(self, levels: Levels, deviation: Any, less: Any) -> Any:
        """Reuses within a pass by their gaps; sums of the pass fall into some of the sets."""
        t, d = self.inner, self.draws
        scale = t * d.rows / (t + d.rows)
        whole = np.maximum(t - d.distinct(t), 1e-12)
        share = self.sum_sets(levels.capacity_bytes / levels.ways)
        packed, room = self.sum_linear / share, 1.0 / levels.capacity_bytes
        crowded: Any = 0.0
        others: Any = 0.0
        before: Any = 0.0
        last: Any = 0.0
        for edge in (*_EDGES, None):
            n = t if edge is None else np.minimum(edge * scale, t)
            touched, fresh = d.both(n)
            found = (n - touched + (t - n) * (1.0 - fresh)) / whole
            middle = 0.5 * (last + np.minimum(n, last + 2.0 * scale))
            near = self.own_bytes * d.distinct(middle) + self.pass_linear * middle + less
            crowded = crowded + (found - before) * smooth_step((near + packed * middle) * room, deviation)
            others = others + (found - before) * smooth_step(near * room, deviation)
            before, last = found, n
        return np.minimum(np.maximum(share * crowded + (1.0 - share) * others, 0.0), 1.0)

    def sum_sets(self, way: Any) -> Any:
        """Share of the sets of a cache that sums of one pass fall into."""
        return np.minimum(self.sum_width / np.minimum(self.sum_apart, way), 1.0)

    def _across(self, levels: Levels, variance: Any, less: Any, windows: Any) -> Any:
        """Rows that an earlier tile touched (inner tiles within an outer one, outer ones within a call): the tile before at
        one distance, others by the window."""
        d = self.draws
        t, until = abreast(self.inner, self.outer), abreast(self.outer, self.tokens)
        here, two = d.distinct(t), d.distinct(2.0 * t)
        near = 2.0 * here - two
        size = abreast(self.unit_bytes, self.all_bytes)
        kept = abreast(less, less + self.encode_bytes)
        once = levels.step(size * here + self.tile_linear * t + kept, np.sqrt(variance + (UNEVEN / levels.ways) ** 2))
        n = np.maximum(windows - 0.5 * t, t)
        later = here + d.distinct(n) - d.distinct(n + t) - near
        rest = np.maximum(until - t, t)
        most = here + d.distinct(rest) - d.distinct(rest + t) - near
        far = 1.0 - np.minimum(np.maximum(later / np.maximum(most, 1e-12), 0.0), 1.0)
        return (near * once + most * far) / np.maximum(near + most, 1e-12)

    def _calls(self, levels: Levels, variance: Any, window: Any, n: Any, kept: Any) -> Any:
        b, d = self.tokens, self.draws
        here, two = d.distinct(b), d.distinct(2.0 * b)
        near = 2.0 * here - two
        own = self.all_bytes * here
        distance = self.layers * own + kept
        several = 1.0 - self.inner / b  # calls of one pass visit their tables at one distance
        spread = 0.4 * several * own / distance
        once = levels.step(
            distance, np.sqrt(variance * (1.0 - here / d.rows) + spread * spread + (UNEVEN / levels.ways) ** 2)
        )
        later = (_span(d, b, np.maximum(n - 0.5 * b, b)) - near) / np.maximum(here - near, 1e-12)
        stepped = near * once + (here - near) * (1.0 - np.minimum(np.maximum(later, 0.0), 1.0))
        hot = np.where(self.layers <= 1.0, several, 0.0)
        if not np.any(hot):
            return stepped / here
        smooth = 1.0 - np.minimum(np.maximum(_span(d, b, np.maximum(n, window)) / here, 0.0), 1.0)
        return hot * smooth + (1.0 - hot) * stepped / here


def _span(d: Draws, t: Any, n: Any) -> Any:
    """Distinct rows of t tokens that were touched in the n tokens before as well."""
    return d.distinct(t) + d.distinct(n) - d.distinct(n + t)
