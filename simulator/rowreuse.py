"""How often a table row comes back while a cache still has it: random rows in a nest of tiles and calls under LRU.

Working-set theory (Denning 1968; Che, Tung and Wang 2002; footprints add up over streams, Xiang et al. 2013): a row that comes back
after a gap of n tokens is found if what was touched in between fits. Over n tokens a table of R rows has U(n) = sum 1 - (1 - p)^n
distinct ones; whatever streams past adds in proportion to n, what is kept near adds a constant. Gaps of independent draws are
geometric, whatever lies between two visits to the table, so each of three scales has its own window:

- within a pass (a group of tables, one column stripe, one tile of tokens): own U(n) + linear n;
- across tiles of a call: all rows of a worker and what its tiles write and encode;
- across calls: the same for every layer of the model, and what others evict.

Crossings of one tile or one call have nearly one distance, whatever the gap; their step is as wide as the spread of lines over
the sets of a cache makes it (Smith 1978; Hill and Smith 1989): a level of W ways keeps a line if fewer than W others fell into its
set, a binomial number with relative variance (1 - row / way bytes) / W.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from simulator.locality import step
from simulator.resources import LevelResources
from simulator.workload import IndexDistribution, effective_rows, row_probabilities

Number = Any
_STEPS = 4
_GRID = np.concatenate([[0.0], np.geomspace(0.25, 1e9, 240)])


class Draws:
    """Statistics of independent draws of rows from one table; tokens may be fractions."""

    def __init__(self, distribution: IndexDistribution, rows: Any) -> None:
        self.table = None
        if distribution.kind != "uniform" and np.ndim(rows) == 0 and np.ndim(distribution.skew) == 0:
            self.table = _draws_table(distribution.kind, float(distribution.skew), distribution.histogram, float(rows))
        else:  # Several distributions at once: as many equally likely rows as have the entropy of each.
            self.rows = effective_rows(distribution, rows)
            self.decay = np.log1p(-np.minimum(np.divide(1.0, self.rows), 1.0 - 2.0**-53))

    def both(self, tokens: Any) -> tuple[Any, Any]:
        """(distinct rows U(n), probability that the next token's row is none of them)."""
        if self.table is not None:
            return np.interp(tokens, _GRID, self.table[0]), np.interp(tokens, _GRID, self.table[1])
        fresh = np.exp(tokens * self.decay)
        return self.rows * (1.0 - fresh), fresh

    def distinct(self, tokens: Any) -> Any:
        """U(n)."""
        return self.both(tokens)[0] if self.table is None else np.interp(tokens, _GRID, self.table[0])

    def window(self, row_bytes: Any, linear_bytes: Any, room: Any) -> Any:
        """Tokens n after which row_bytes U(n) + linear_bytes n fill `room` (0 where there is none).

        Newton's method from below on a concave function: it never overshoots.
        """
        room = np.maximum(room, 0.0)
        n = room / (row_bytes + linear_bytes)
        slope = np.maximum(linear_bytes, row_bytes * 1e-6)
        most = self.rows if self.table is None else self.table[0][-1]
        n = np.maximum(n, (room - row_bytes * most) / slope)
        for _ in range(_STEPS):
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
    """One table stream as one core or one shared cache sees it.

    `own_bytes`: bytes of one row index within a pass; `all_bytes`: over all tables of the worker; `pass_linear`, `tile_linear`: other
    bytes a token in a pass, and in a tile; `tile`, `tokens`: tokens of a tile and of a call; `encode_bytes`: kept and
    touched once between tiles; `layers`, `between_bytes`: what passes between two calls of one layer beside rows (other layers'
    weights, evicted bytes); `piece_bytes`: contiguous bytes of a row.
    """

    draws: Draws
    own_bytes: Number
    all_bytes: Number
    pass_linear: Number
    tile_linear: Number
    tile: Number
    tokens: Number
    encode_bytes: Number
    layers: Number
    between_bytes: Number
    piece_bytes: Number

    def parts(self) -> tuple[Any, Any]:
        """Shares of accesses that are the first to their row in a tile, and in a call."""
        return self.draws.distinct(self.tile) / self.tile, self.draws.distinct(self.tokens) / self.tokens

    def misses(self, level: LevelResources) -> tuple[Any, Any, Any]:
        """Miss shares (within a pass, across tiles, across calls) in a level."""
        capacity = level.capacity_bytes
        even = np.minimum(self.piece_bytes * level.ways / capacity, 1.0)
        deviation = np.sqrt((1.0 - even) / level.ways)
        window = self.draws.window(self.all_bytes, self.tile_linear, capacity - self.encode_bytes)
        return (
            self._within(capacity),
            self._across(level, deviation, window),
            self._calls(level, deviation, window),
        )

    def _within(self, capacity: Any) -> Any:
        t, d = self.tile, self.draws
        n = np.minimum(d.window(self.own_bytes, self.pass_linear, capacity), t)
        touched, fresh = d.both(n)
        found = n - touched + (t - n) * (1.0 - fresh)
        return 1.0 - np.clip(found / np.maximum(t - d.distinct(t), 1e-12), 0.0, 1.0)

    def _across(self, level: LevelResources, deviation: Any, window: Any) -> Any:
        t, d = self.tile, self.draws
        here, two = d.distinct(t), d.distinct(2.0 * t)
        near = 2.0 * here - two
        once = step(self.all_bytes * here + self.tile_linear * t + self.encode_bytes, level, deviation)
        n = np.maximum(window - 0.5 * t, t)
        later = _span(d, t, n) - near
        most = _span(d, t, np.maximum(self.tokens - t, t)) - near
        far = 1.0 - np.clip(later / np.maximum(most, 1e-12), 0.0, 1.0)
        return (near * once + most * far) / np.maximum(near + most, 1e-12)

    def _calls(self, level: LevelResources, deviation: Any, window: Any) -> Any:
        b, d = self.tokens, self.draws
        here, two = d.distinct(b), d.distinct(2.0 * b)
        near = 2.0 * here - two
        kept = self.tile_linear * b + self.encode_bytes + self.between_bytes
        size = self.layers * self.all_bytes
        distance = size * here + kept
        several = 1.0 - self.tile / b  # calls of one tile visit their tables at one distance
        spread = 0.4 * several * self.all_bytes * here / distance
        once = step(distance, level, np.sqrt(deviation * deviation + spread * spread))
        n = d.window(size, 0.0, level.capacity_bytes - kept)
        later = np.clip((_span(d, b, np.maximum(n - 0.5 * b, b)) - near) / np.maximum(here - near, 1e-12), 0.0, 1.0)
        hot = np.where(self.layers <= 1.0, several, 0.0)
        smooth = 1.0 - np.clip(_span(d, b, np.maximum(n, window)) / here, 0.0, 1.0)
        stepped = (near * once + (here - near) * (1.0 - later)) / here
        return hot * smooth + (1.0 - hot) * stepped


def _span(d: Draws, t: Any, n: Any) -> Any:
    """Distinct rows of t tokens that were touched in the n tokens before as well."""
    return d.distinct(t) + d.distinct(n) - d.distinct(n + t)
