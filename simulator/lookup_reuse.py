"""How the arrays of a look-up gather come back: table rows, sums, codes and scores as accesses with known miss shares.

Parameters of machines x schedules are laid side by side and judged in one compiled pass (`gatherkernel`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator import gatherkernel as k
from simulator import gatherstate as g
from simulator.locality import by_distance
from simulator.lowering import Context, sharing
from simulator.machine import Curve
from simulator.phases import Access
from simulator.resources import Resources
from simulator.rowreuse import Draws
from simulator.schedule import LookupSchedule
from simulator.workload import (
    ELEMENT_BYTES,
    LookupFfn,
    hash_bits,
    padded_hidden,
    projection_outputs,
    projection_parameters,
    repeats,
)


def gather_accesses(
    op: LookupFfn, schedule: LookupSchedule, r: Resources, context: Context
) -> tuple[tuple[Access, ...], Access, Access]:
    """(accesses to table rows by age, to sums, to codes and scores) of the gather of one call of one layer."""
    draws = Draws(op.indices, op.rows)
    curves = [(level.cyclic_miss_curve, by_distance(level.random_miss_curve)) for level in r.levels]
    table, places = _table(draws.table, tuple(curve for both in curves for curve in both))
    fields = _parameters(op, draws, schedule, r, context, places)
    shape = np.broadcast_shapes(*{np.shape(value) for value in fields})
    parameters = np.empty((*shape, len(fields)))
    for index, value in enumerate(fields):
        parameters[..., index] = value
    levels = len(r.levels)
    found = k.misses_of(parameters.reshape(-1, len(fields)), levels, table)

    def column(index: int) -> Any:
        return float(found[0, index]) if shape == () else found[:, index].reshape(shape)

    def shares(part: int) -> tuple[Any, ...]:
        return tuple(column(k.O_LEVELS + k.OUT * level + part) for level in range(levels))

    size = column(k.O_ROWS)
    far = context.layers * op.tables * op.output * ELEMENT_BYTES[op.table_dtype] + context.evicted_bytes
    rows = tuple(Access(size * column(k.O_MARKS + c), far, far, misses=shares(c)) for c in range(k.CLASSES))
    near = []
    for size_column, part, away in ((k.O_SUMS, k.M_SUMS, k.M_SUMS_AWAY), (k.O_CODES, k.M_CODES, k.M_CODES_AWAY)):
        distances = shares(away)
        near.append(Access(column(size_column), distances[0], distances[-1], misses=shares(part)))
    return rows, near[0], near[1]


def _parameters(
    op: LookupFfn,
    draws: Draws,
    schedule: LookupSchedule,
    r: Resources,
    context: Context,
    curves: Sequence[tuple[int, int]],
) -> list[Any]:
    """Columns of the parameters, in the order of `gatherstate`."""
    operand, outputs, bh4 = ELEMENT_BYTES[op.projection_dtype], projection_outputs(op), op.projection == "bh4"
    width = padded_hidden(op) if bh4 else op.hidden
    copies = np.where(bh4 & (np.asarray(hash_bits(op)) == 8.0), 2.0, 1.0)  # normalised tokens in a second order
    values: dict[int, Any] = {
        g.BATCH: context.batch, g.THREADS: r.threads, g.SHARERS: sharing(r), g.LAYERS: context.layers,
        g.EVICTED: context.evicted_bytes, g.TABLES: op.tables, g.ROWS: draws.rows, g.DECAY: draws.decay, g.OUTPUT: op.output,
        g.ELEMENT: ELEMENT_BYTES[op.table_dtype], g.HIDDEN: op.hidden,
        g.WEIGHTS: (projection_parameters(op) - outputs) * operand + outputs * 4.0, g.WIDTH: width,
        g.WIDE: repeats(op) * width if bh4 else outputs, g.BUFFERS: width * (4.0 * copies + 2.0 * operand),
        g.REPEATS: repeats(op) if bh4 else 1.0, g.BH4: float(bh4), g.BLOCK_ROWS: op.block,
        g.TOGETHER: 4.0 if op.table_dtype == "int8" else 1.0, g.TILE: schedule.token_tile, g.GROUP: schedule.table_group,
        g.STRIPE: schedule.column_stripe, g.SPLIT: schedule.split,
    }  # fmt: skip
    for level, (first, points), random in zip(r.levels, curves[::2], curves[1::2], strict=True):
        start = len(values)
        values[start + g.CAPACITY], values[start + g.WAYS] = level.capacity_bytes, level.ways
        values[start + g.SHARED], values[start + g.ADDED] = level.shared, level.added_ways
        values[start + g.CURVE], values[start + g.POINTS] = first, points
        values[start + g.RANDOM], values[start + g.RANDOM_POINTS] = random
    return [values[index] for index in range(len(values))]


def _table(
    draws: tuple[NDArray[np.float64], NDArray[np.float64]], curves: tuple[Curve, ...]
) -> tuple[NDArray[np.float64], list[tuple[int, int]]]:
    """(points of U, U, its slopes, then (x, y) of the curves; where each curve begins, and its points)."""
    parts: list[Any] = [[float(len(draws[0]))], *draws]
    places, end = [], 1 + 2 * len(draws[0])
    for curve in curves:
        places.append((end, len(curve)))
        parts.append(np.array(curve).ravel())
        end += 2 * len(curve)
    return np.concatenate(parts), places
