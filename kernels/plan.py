"""Loop nests of a look-up FFN: which tokens, tables and columns go together, and what threads share.

Named variants (the words of simulator/schedule.py): V1 table-outer, V2 token-outer, V3 tiles of tokens; V4 columns over
threads; V5 tables over threads with a reduction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

PROJECT_TILE = 48
"""Tokens a block between LayerNorm and code+score: a multiple of the six that a block product takes at once."""

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


def default_plan(batch: int, tables: int, threads: int = 1) -> Plan:
    """Measured on Zen 5, int8 tables, 4 layers cycled: all tables at a time for few and for very many tokens, groups between."""
    if batch < 128:
        return Plan(PROJECT_TILE, 2 * PROJECT_TILE, tables, 1)
    if batch < 2048:
        return Plan(PROJECT_TILE, 10 * PROJECT_TILE, min(32, tables), 2)
    return Plan(PROJECT_TILE, 80 * PROJECT_TILE, tables, 1)


def variant_plan(variant: str | None, batch: int, tables: int, threads: int = 1) -> Plan:
    """The plan of a named variant; None: the library's choice."""
    chosen = default_plan(batch, tables, threads)
    if variant is None:
        return chosen
    if variant == "v1":
        return replace(chosen, token_tile=batch, table_group=min(32, tables), near_tokens=1, bulk=0, split=SPLIT_TOKENS)
    if variant == "v2":
        return replace(chosen, token_tile=1, table_group=tables, near_tokens=1, bulk=0, split=SPLIT_TOKENS)
    if variant == "v3":
        return replace(chosen, token_tile=10 * PROJECT_TILE, table_group=min(32, tables), near_tokens=1, bulk=0,
                       split=SPLIT_TOKENS)  # fmt: skip
    if variant == "v4":
        return replace(chosen, split=SPLIT_COLUMNS)
    if variant == "v5":
        return replace(chosen, token_tile=min(chosen.token_tile, PROJECT_TILE), split=SPLIT_TABLES)
    raise ValueError(f"variant: one of {', '.join(VARIANTS)}, got {variant!r}")


def candidate_plans(batch: int, tables: int, threads: int = 1) -> tuple[Plan, ...]:
    """Schedules worth trying on a machine that nobody has tuned for, the library's own choice first."""
    block = project_tile(batch, threads)
    tiles = sorted({min(tile, batch + block) for tile in ((96,) if batch < 128 else (240, 960, 3840))})
    nests = (
        *((group, near, BULK_BY_CODE) for group in (16, 32) for near in (0, 1)),
        *((group, near, BULK_LINEAR) for group in (16, 32) for near in (0, 2) if batch >= 64),
        (tables, 1, BULK_NONE),
    )
    splits = (SPLIT_TOKENS, SPLIT_COLUMNS) if threads > 1 else (SPLIT_TOKENS,)
    offers = [
        Plan(block, tile, min(group, tables), near, bulk, split)
        for tile in tiles for group, near, bulk in nests for split in splits
    ]  # fmt: skip
    if threads > 1 and batch < 64:
        offers.append(Plan(block, PROJECT_TILE, tables, 1, BULK_NONE, SPLIT_TABLES))
    return tuple(dict.fromkeys((default_plan(batch, tables, threads), *offers)))


def variant_of(plan: Plan, batch: int) -> str:
    """The name of the loop nest that a plan is."""
    if plan.split != SPLIT_TOKENS:
        return "v4" if plan.split == SPLIT_COLUMNS else "v5"
    if plan.token_tile <= 1 or batch == 1:
        return "v2"
    return "v1" if plan.token_tile >= batch else "v3"
