"""Independent draws of rows from a table: n of them touch U(n) = sum 1 - (1 - p)^n distinct rows (Denning 1968)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.rowkernel import GRID_FIRST, GRID_LAST
from simulator.workload import IndexDistribution, effective_rows, row_probabilities

_GRID = np.concatenate([[0.0], np.geomspace(GRID_FIRST, GRID_LAST, 240)])
_NOTHING: NDArray[np.float64] = np.empty(0)


class Draws:
    """Independent draws of rows from one table.

    `rows`: of the table, or as many alike likely ones as have its entropy where several distributions come at once. `decay`:
    log of the share of rows that one draw leaves. `table`: U and its slope at a grid of draws (`rowkernel.distinct`), empty
    where rows are alike likely. `probabilities`: of the rows, None where they are alike.
    """

    def __init__(self, distribution: IndexDistribution, rows: Any) -> None:
        self.rows, self.table, self.probabilities = rows, (_NOTHING, _NOTHING), None
        plain = distribution.kind == "uniform" or (distribution.kind == "zipf" and not np.any(distribution.skew))
        if not plain:
            if np.ndim(rows) == 0 and np.ndim(distribution.skew) == 0:
                key = (distribution.kind, float(distribution.skew), distribution.histogram, float(rows))
                self.probabilities, *self.table = _draws_table(*key)  # type: ignore[assignment]
            else:
                self.rows = effective_rows(distribution, rows)
        self.decay = np.log1p(-np.minimum(np.divide(1.0, self.rows), 1.0 - 2.0**-53))


@lru_cache(maxsize=64)
def _draws_table(kind: Any, skew: float, histogram: tuple[float, ...], rows: float) -> tuple[Any, Any, Any]:
    p = row_probabilities(IndexDistribution(kind, skew, histogram), rows)
    never = np.log1p(-np.minimum(p, 1.0 - 2.0**-53))
    missing = np.exp(_GRID[:, None] * never)
    return p, (1.0 - missing).sum(axis=1), -(missing * never).sum(axis=1)
