"""How the arrays of a look-up gather come back: table rows, sums, codes and scores as accesses with known miss shares.

Parameters of machines x schedules are laid side by side and judged in one compiled pass (`gatherkernel`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator import gathernest as g
from simulator.gatherkernel import CLASSES, MISSES, gather_misses, scratch_of
from simulator.lowering import Context, sharing
from simulator.machine import Curve
from simulator.nearkernel import AGAIN_CODES, ALL_ROWS, ALL_SUMS, FIRST_CODES, SIZES
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
    fields = _parameters(op, draws, schedule, r, context)
    shape = np.broadcast_shapes(*(np.shape(value) for value in fields))
    parameters = np.empty((*shape, len(fields)))
    for index, value in enumerate(fields):
        parameters[..., index] = value
    count, levels = int(np.prod(shape)), len(r.levels)
    curves, points = _curves(tuple(level.cyclic_miss_curve for level in r.levels))
    sizes, marks = np.empty((count, SIZES)), np.empty((count, CLASSES))
    misses, distances = np.empty((count, levels, MISSES)), np.empty((count, levels, 2))
    gather_misses(parameters.reshape(count, -1), *draws.table, curves, points, sizes, marks, misses, distances,
                  *scratch_of(levels))  # fmt: skip

    def out(values: Any) -> Any:
        return float(values[0]) if shape == () else values.reshape(shape)

    total = sizes[:, ALL_ROWS]
    far = context.layers * op.tables * op.output * ELEMENT_BYTES[op.table_dtype] + context.evicted_bytes
    rows = tuple(
        Access(out(total * marks[:, c]), far, far, misses=tuple(out(misses[:, k, c]) for k in range(levels)))
        for c in range(CLASSES)
    )
    near = []
    for part, size in enumerate((sizes[:, ALL_SUMS], sizes[:, FIRST_CODES] + sizes[:, AGAIN_CODES])):
        shares = tuple(out(misses[:, k, CLASSES + part]) for k in range(levels))
        near.append(Access(out(size), out(distances[:, 0, part]), out(distances[:, -1, part]), misses=shares))
    return rows, near[0], near[1]


def _parameters(
    op: LookupFfn, draws: Draws, schedule: LookupSchedule, r: Resources, context: Context
) -> list[Any]:
    """Columns of the parameters, in the order of `gathernest`."""
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
    for level in r.levels:
        start = len(values)
        values[start + g.CAPACITY], values[start + g.WAYS] = level.capacity_bytes, level.ways
        values[start + g.SHARED], values[start + g.ADDED] = level.shared, level.added_ways
    return [values[index] for index in range(len(values))]


@lru_cache(maxsize=64)
def _curves(curves: tuple[Curve, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(miss curves [levels, points, 2], points of each)."""
    found = np.zeros((len(curves), max(1, *(len(curve) for curve in curves)), 2))
    for index, curve in enumerate(curves):
        if curve:
            found[index, : len(curve)] = curve
    return found, np.array([len(curve) for curve in curves])
