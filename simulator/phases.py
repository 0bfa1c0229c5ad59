"""A Phase: one stretch of an operator's execution as work and traffic, the only language the engines speak.

Quantities are totals over all threads for one call of one layer. Any number may be an array (points x schedules).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

Number = Any
"""A float, or an array that broadcasts (points x schedules)."""

Pattern = Literal["sequential", "rows", "chain", "transfer"]


@dataclass(frozen=True)
class Work:
    """Instruction-level work of a phase, in element operations and bytes: the vector width is the machine's.

    `macs_*`: multiply-adds by instruction kind (`tile` = matrix unit). `alu`: fp32/int32 element operations that are
    not multiply-adds. `convert`: element conversions or shuffles. `exp`: exponentials. `loads`, `stores`: bytes moved
    between registers and L1. `scalar_uops`: address and loop overhead. `chain_cycles`: overhead that nothing
    hides. `latency_cycles`: length of the dependency chains, a floor under everything else. `efficiency`: share of the
    port bound that tuned code reaches.
    """

    macs_fp32: Number = 0.0
    macs_bf16: Number = 0.0
    macs_int16: Number = 0.0
    macs_int8: Number = 0.0
    macs_tile: Number = 0.0
    tile_element_bytes: Number = 2.0
    alu: Number = 0.0
    convert: Number = 0.0
    exp: Number = 0.0
    load_bytes: Number = 0.0
    store_bytes: Number = 0.0
    scalar_uops: Number = 0.0
    chain_cycles: Number = 0.0
    latency_cycles: Number = 0.0
    efficiency: Number = 1.0


@dataclass(frozen=True)
class Access:
    """A share of a stream's accesses with one reuse distance.

    `bytes`: moved in total, over all threads. `core_distance_bytes`: distinct bytes that one core touched since it last
    used the same data (judged against caches that belong to a core). `shared_distance_bytes`: the same as a shared
    cache instance sees it, over all its sharers. `misses`: where given, the miss share of each level, known to the lowering
    from more than one distance; else the access is judged as a sweep that comes round.
    """

    bytes: Number
    core_distance_bytes: Number
    shared_distance_bytes: Number
    misses: tuple[Number, ...] | None = None


@dataclass(frozen=True)
class Stream:
    """Accesses to one array. `row_bytes` is the contiguous run at a data-dependent address (pattern 'rows').

    Pattern 'transfer': lines that `writers` cores write in turn; `bytes` counts a line once a hand-over, and each costs the way
    from one core to another.

    `writes`: 0 read, 1 written (read for ownership and write-back), in shares of the bytes. `uops_per_line`: vector
    operations per line, which take room in the out-of-order window. `prefetch_bytes`: software-prefetch distance.
    `array_bytes`, `page_2m`: size of the array and its page size, for the TLB.
    """

    name: str
    pattern: Pattern
    accesses: tuple[Access, ...]
    row_bytes: Number = 64.0
    writes: Number = 0.0
    uops_per_line: Number = 2.0
    prefetch_bytes: Number = 0.0
    array_bytes: Number = 0.0
    page_2m: Number = 1.0
    writers: Number = 1.0


@dataclass(frozen=True)
class Phase:
    """One stretch of execution between two barriers or hand-overs.

    `imbalance`: the slowest thread's share over the mean one, >= 1. `workers`: threads that have work at all (all, where there
    are fewer). `pieces`: equal pieces of the slowest one; the others have as many or one less. `tile_clock`: 1 where the matrix
    unit sets the clock. `library`: a GEMM library's loop (it overlaps worse than a hand-written stream).
    """

    name: str
    work: Work
    streams: tuple[Stream, ...]
    imbalance: Number = 1.0
    workers: Number = math.inf
    pieces: Number = 1.0
    tile_clock: Number = 0.0
    barriers: Number = 0.0
    library_calls: Number = 0.0
    library: bool = False
