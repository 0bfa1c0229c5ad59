"""How an operator is executed: the choices a tuned kernel or library makes.

Every field is a number (or an array of them, one per candidate), so that a set of candidates is lowered and timed in one
pass. Flags are 0.0 or 1.0 for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

UNBOUNDED = 1e9
"""A tile or group that holds everything there is."""

SPLIT_TOKENS, SPLIT_COLUMNS, SPLIT_TABLES = 0.0, 1.0, 2.0


@dataclass(frozen=True)
class GemmSchedule:
    """Blocking of a packed-weight GEMM over a grid of threads.

    `token_block`: tokens per pass over the weights. `token_splits`: groups of threads along the tokens (each group reads
    all weights); the threads of a group split the output columns. `use_tiles`: the matrix unit instead of vectors.
    """

    token_block: float
    token_splits: float
    use_tiles: float


@dataclass(frozen=True)
class LookupSchedule:
    """Loop nest of a look-up FFN.

    `token_tile`: tokens that stay together while tables are walked (V2: 1; V3: 16-256; V1: all of them).
    `table_group`: tables accumulated in registers before the output tile is written back (V2: all tables).
    `column_stripe`: output columns that are accumulated at once (V2 holds them in registers).
    `split`: 0 tokens over threads (V1-V3), 1 columns (V4), 2 tables with a final reduction (V5).
    `prefetch_bytes`: software-prefetch distance (0: none).
    `folded`: 1 when the Hadamard factor inside a block is folded into the block weights offline.
    `interleaved_codes`: 1 when codes and scores are dealt to the threads one by one, as in the published code's
    `schedule(static,1)` over tokens x tables: neighbouring 4-byte outputs come from different threads, which share every
    line of them falsely.
    `bulk`: 1 when, instead of the rows that codes name, all of the next group of tables is fetched into the L2 in order while the
    rows of the group before are summed.
    `prefetched`: share of the rows whose prefetch comes in time; the first ones of a tile have none.
    `block_tokens`: tokens that a thread encodes at a time; whole blocks and stripes then go to threads, as in the kernels (0: as
    even as tokens and columns allow).
    """

    token_tile: float
    table_group: float
    column_stripe: float
    split: float
    prefetch_bytes: float
    folded: float
    interleaved_codes: float = 0.0
    bulk: float = 0.0
    prefetched: float = 1.0
    block_tokens: float = 0.0


def take(schedule: GemmSchedule | LookupSchedule, index: int) -> GemmSchedule | LookupSchedule:
    """Candidate `index` of a schedule whose fields are arrays."""
    columns = {f.name: np.atleast_1d(getattr(schedule, f.name)) for f in fields(schedule)}
    return type(schedule)(**{name: float(values[index if values.size > 1 else 0]) for name, values in columns.items()})


def describe(schedule: GemmSchedule | LookupSchedule) -> str:
    """One candidate in words, for tables."""
    if isinstance(schedule, GemmSchedule):
        block = "all tokens" if schedule.token_block >= UNBOUNDED else f"{schedule.token_block:g} tokens"
        split = "threads along tokens" if schedule.token_splits >= UNBOUNDED else (
            "threads along columns" if schedule.token_splits <= 1 else f"{schedule.token_splits:g} token groups")  # fmt: skip
        return f"{'tiles' if schedule.use_tiles else 'vectors'}, {block} a pass, {split}"
    parts = [variant(schedule)]
    if 1 < schedule.token_tile < UNBOUNDED:
        parts.append(f"{schedule.token_tile:g}-token tiles")
    if schedule.table_group < UNBOUNDED:
        parts.append(f"groups of {schedule.table_group:g} table{'s' if schedule.table_group > 1 else ''}")
    if schedule.column_stripe < UNBOUNDED:
        parts.append(f"{schedule.column_stripe:g}-column stripes")
    if schedule.bulk:
        parts.append("next group fetched in order")
    else:
        ahead = schedule.prefetch_bytes / 1024
        parts.append(f"prefetch {ahead:g} KiB ahead" if ahead else "no prefetch")
    if schedule.interleaved_codes:
        parts.append("codes dealt to threads one by one")
    return ", ".join(parts)


NAMED = {
    "v1": LookupSchedule(UNBOUNDED, 1.0, UNBOUNDED, SPLIT_TOKENS, 0.0, 0.0),
    "v2": LookupSchedule(1.0, UNBOUNDED, 128.0, SPLIT_TOKENS, 8192.0, 1.0),
    "v3": LookupSchedule(256.0, 16.0, 128.0, SPLIT_TOKENS, 8192.0, 1.0),
    "v4": LookupSchedule(64.0, 16.0, 256.0, SPLIT_COLUMNS, 8192.0, 1.0),
    "v5": LookupSchedule(64.0, 16.0, 256.0, SPLIT_TABLES, 8192.0, 1.0),
    "published": LookupSchedule(UNBOUNDED, 1.0, UNBOUNDED, SPLIT_TOKENS, 0.0, 0.0, 1.0),
}
"""Schedules that users can ask for by name: candidates of the mapper, and the published code's V1 with its code kernel."""


def variant(schedule: LookupSchedule) -> str:
    """V1 table-outer, V2 token-outer, V3 token tiles, V4 columns over threads, V5 tables over threads."""
    if schedule.split == SPLIT_COLUMNS:
        return "V4"
    if schedule.split == SPLIT_TABLES:
        return "V5"
    return "V2" if schedule.token_tile <= 1 else "V1" if schedule.token_tile >= UNBOUNDED else "V3"
