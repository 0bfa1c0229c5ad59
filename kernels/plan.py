"""Loop nests of a look-up FFN: which tokens, tables and columns go together, and what threads share.

Named variants (the words of simulator/schedule.py): V1 table-outer, V2 token-outer, V3 tiles of tokens; V4 columns over
threads; V5 tables over threads with a reduction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

PROJECT_TILE = 48
"""Tokens a block between LayerNorm and code+score: a multiple of the six that a block product takes at once."""

FEW_TOKENS = 128
"""Below it most rows of a table are not touched, and prefetching whole groups fetches more than is read."""

GROUP_BYTES = 1 << 19

BULK_NONE, BULK_BY_CODE, BULK_LINEAR = 0, 1, 2
SPLIT_TOKENS, SPLIT_COLUMNS, SPLIT_TABLES = 0, 1, 2
VARIANTS = ("v1", "v2", "v3", "v4", "v5")


@dataclass(frozen=True)
class Plan:
    """Loop nest of one call.

    `project_tile`: tokens a block of the projection; `token_tile`: tokens that stay together while tables are walked;
    `table_group`: tables summed in registers at a time; `near_tokens`: rows of the token so many tokens ahead go into L1;
    `bulk`: how the next group goes into L2; `split`: what threads share out (tokens, columns or tables).
    """

    project_tile: int
    token_tile: int
    table_group: int
    near_tokens: int
    bulk: int = BULK_NONE
    split: int = SPLIT_TOKENS


def project_tile(batch: int, threads: int) -> int:
    """At most PROJECT_TILE, and small enough that every thread has a block of about the same size; a multiple of six."""
    share = -(-batch // threads)
    blocks = -(-share // PROJECT_TILE)
    return min(PROJECT_TILE, -(-share // (6 * blocks)) * 6)


def default_plan(batch: int, tables: int, threads: int = 1, stripes: int = 4, table_bytes: int = 1 << 15) -> Plan:
    """The plan of a call on `threads` threads; a table over one of `stripes` column stripes has `table_bytes`.

    Measured on Zen 4 (1 MiB of L2), 4 layers cycled, fresh tokens. Few tokens: rows of the next tables are fetched by code while
    those of the last ones are summed; several threads share the columns (V4) while there are stripes for all of them, else
    the tables (V5). Many: tokens over threads, and groups of half the L2 are fetched in order while the group before is used.
    """
    block = project_tile(batch, threads)
    if batch < FEW_TOKENS * max(1, threads // 2):
        split = SPLIT_TOKENS if threads == 1 else SPLIT_COLUMNS if threads <= stripes else SPLIT_TABLES
        group = min(tables, 32 if batch < 32 else 16)
        return Plan(block, max(2 * PROJECT_TILE, batch), group, 0, BULK_BY_CODE, split)
    group = min(max(4, GROUP_BYTES // table_bytes), tables)
    return Plan(block, (20 if batch < 2048 else 43) * PROJECT_TILE, group, 0, BULK_LINEAR)


def variant_plan(
    variant: str | None, batch: int, tables: int, threads: int = 1, stripes: int = 4, table_bytes: int = 1 << 15
) -> Plan:
    """The plan of a named variant; None: the library's choice."""
    chosen = default_plan(batch, tables, threads, stripes, table_bytes)
    if variant is None:
        return chosen
    if variant == "v1":
        return replace(chosen, token_tile=batch, table_group=min(32, tables), near_tokens=1, bulk=0, split=SPLIT_TOKENS)
    if variant == "v2":
        return replace(chosen, token_tile=1, table_group=tables, near_tokens=1, bulk=0, split=SPLIT_TOKENS)
    if variant == "v3":
        return replace(chosen, token_tile=10 * PROJECT_TILE, split=SPLIT_TOKENS)
    if variant == "v4":
        return replace(chosen, split=SPLIT_COLUMNS)
    if variant == "v5":
        # Partial sums of all shards stay in the L2 for few tokens only, and these touch few rows: nothing in order.
        return replace(chosen, token_tile=PROJECT_TILE, table_group=tables, near_tokens=1, bulk=0, split=SPLIT_TABLES)
    raise ValueError(f"variant: one of {', '.join(VARIANTS)}, got {variant!r}")


def candidate_plans(
    batch: int, tables: int, threads: int = 1, stripes: int = 4, table_bytes: int = 1 << 15
) -> tuple[Plan, ...]:
    """Schedules worth trying on a machine that nobody has tuned for, the library's own choice first; arguments as there.

    Few tokens touch few rows of a table, so the next group is fetched by code; many touch most, and it is fetched in order.
    """
    block = project_tile(batch, threads)
    groups = sorted({min(tables, max(4, size // table_bytes)) for size in (GROUP_BYTES // 2, GROUP_BYTES)})
    nests = [(group, 0, BULK_LINEAR) for group in groups] if batch >= 128 else []
    if batch < 1024:
        nests += [(min(group, tables), 0, BULK_BY_CODE) for group in (8, 16, 32)]
    nests.append((tables, 1, BULK_NONE))
    tiles = (96,) if batch < 128 else sorted({min(tile, batch + block) for tile in (480, 1024, 2048, 4096)})
    splits = (SPLIT_TOKENS, SPLIT_COLUMNS) if 1 < threads <= stripes else (SPLIT_TOKENS,)
    offers = [
        Plan(block, tile, group, near, bulk, split) for tile in tiles for group, near, bulk in nests for split in splits
    ]
    if threads > 1 and batch < 64:
        offers.append(Plan(block, PROJECT_TILE, tables, 1, BULK_NONE, SPLIT_TABLES))
    return tuple(dict.fromkeys((default_plan(batch, tables, threads, stripes, table_bytes), *offers)))


def variant_of(plan: Plan, batch: int) -> str:
    """The name of the loop nest that a plan is."""
    if plan.split != SPLIT_TOKENS:
        return "v4" if plan.split == SPLIT_COLUMNS else "v5"
    if plan.token_tile <= 1 or batch == 1:
        return "v2"
    return "v1" if plan.token_tile >= batch else "v3"
