"""How the work of a phase is dealt to cores: full shares first, then smaller ones, then none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.phases import Phase

ALIKE = 1e-9
"""Relative differences below this are rounding."""


@dataclass(frozen=True)
class Deal:
    """Shares of the cores, in that of the slowest: `full` cores have 1, the other ones of `workers` have `rest`.

    `total`: their sum. Numbers may be arrays.
    """

    workers: Any
    full: Any
    rest: Any
    total: Any

    def together(self, cores: Any) -> Any:
        """Share of all work that `cores` neighbours do, where they have most."""
        inside = np.minimum(cores, self.workers)
        full = np.minimum(inside, self.full)
        return (full + (inside - full) * self.rest) / self.total


def even(threads: Any) -> Deal:
    """All cores alike."""
    return Deal(threads, threads, 1.0, threads)


def deal(phase: Phase, threads: Any) -> Deal:
    """Equal pieces dealt to `threads` cores, as the phase says: w workers, c pieces for the slowest, c - 1 for the others.

    The mean over all threads gives the sum in the share of the slowest, so w - full = c (w - total).
    """
    if isinstance(threads, float) and threads == 1.0:
        return even(threads)
    total = threads / phase.imbalance
    workers = np.maximum(np.minimum(phase.workers, threads), total)
    missing = workers - total
    some = missing > ALIKE * workers
    full = np.maximum(workers - np.where(some, phase.pieces, 0.0) * missing, 1.0)
    others = workers - full
    rest = np.where(others > ALIKE * workers, (total - full) / np.where(others > 0.0, others, 1.0), 0.0)
    return Deal(workers, full, np.maximum(rest, 0.0), total)
