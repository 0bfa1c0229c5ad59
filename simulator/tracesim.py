"""Exact simulation of caches and TLBs on address streams: the referee of the closed forms in `locality`.

`TraceSimulator` takes the accesses of one core, or of several in turn, in chunks of any size, and counts where each line
was found. Everything is
exact and repeatable: random replacement draws from SplitMix64 words of the hierarchy's seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.cachegeometry import INCLUSIONS, POLICIES, Hierarchy
from simulator.cachekernel import (
    ACCESSES,
    BASE,
    BEYOND,
    COUNTERS,
    DIRTY,
    EVICTIONS,
    HITS,
    INCLUSION,
    INSTANCES,
    MASK,
    MISSES,
    POLICY,
    READ,
    READS,
    SET_BASE,
    SETS,
    SHARERS,
    SLICES,
    STREAMED,
    TLB_LOOKUPS,
    TLB_MISSES,
    TLB_WALKS,
    WAYS,
    WRITE,
    WRITEBACKS,
    WRITES,
    run,
)
from simulator.plainkernel import from_rows, plain_shape, run_plain, to_rows

STREAMS = 64
"""Streams that can be counted apart."""

_NO_LINE = -1
_KINDS = {"adjacent": 0, "stream": 1, "stride": 2}


@dataclass(frozen=True)
class LevelStatistics:
    """Counts of one cache level over all cores; `by_core` holds the same rows core by core (cores, 8)."""

    accesses: int
    hits: int
    misses: int
    evictions: int
    writebacks: int
    invalidations: int
    prefetches: int
    useful_prefetches: int
    by_core: NDArray[np.int64]

    @property
    def hit_share(self) -> float:
        """Hits over accesses, 0 without any."""
        return self.hits / self.accesses if self.accesses else 0.0


@dataclass(frozen=True)
class Statistics:
    """Everything that was counted. `accesses` are line accesses: one that covers two lines counts twice.

    `stream_hits[stream, level]`: line accesses of a stream that level had (the last column: memory). `reference_hits`: the same
    of whole accesses, one over several lines by the outermost level that one of them came from.
    """

    accesses: int
    levels: tuple[LevelStatistics, ...]
    memory_reads: int
    memory_writes: int
    transfers: int
    tlb_accesses: int
    tlb_l1_misses: int
    tlb_walks: int
    stream_hits: NDArray[np.int64]
    reference_hits: NDArray[np.int64]


class TraceSimulator:
    """A hierarchy with its contents. Not thread-safe; raises ValueError for accesses that do not fit it."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        self.hierarchy = hierarchy
        count = len(hierarchy.levels)
        self._geometry = _geometry(hierarchy)
        slots = int(sum(g[SETS] * g[WAYS] * g[INSTANCES] for g in self._geometry))
        sets = int(sum(g[SETS] * g[INSTANCES] for g in self._geometry))
        self._tags = np.full(slots, -1, dtype=np.int64)
        self._state = np.zeros(max(slots, sets), dtype=np.int64)
        self._random = np.array([hierarchy.seed & (2**64 - 1)], dtype=np.uint64)
        self._coherent = any(hierarchy.instances(k) > 1 for k in range(count))
        tlb = hierarchy.tlb
        self._tlb = np.zeros(5, dtype=np.int64)
        entries = 1
        if tlb is not None:
            first, second = tlb.l1_entries // tlb.l1_ways, tlb.l2_entries // tlb.l2_ways
            self._tlb[:] = (tlb.page_bytes.bit_length() - 1, first, tlb.l1_ways, second, tlb.l2_ways)
            entries = tlb.l1_entries + tlb.l2_entries
        self._entries = np.full((hierarchy.cores, entries), -1, dtype=np.int64)
        chosen = hierarchy.prefetchers
        self._prefetchers = np.array(
            [(_KINDS[q.kind], q.level, q.degree, q.distance, q.entries) for q in chosen], dtype=np.int64
        ).reshape(len(chosen), 5)
        most = max((q.entries for q in chosen), default=1)
        self._table = np.full((len(chosen), hierarchy.cores, most, 4), -1, dtype=np.int64)
        self._last = np.array([_NO_LINE, -1, -1, -1], dtype=np.int64)
        self._plain = _plain(hierarchy)
        self._rows: Any = None  # the same words in the short path's layout, while that one was the last to run
        self.reset_statistics()

    def reset_statistics(self) -> None:
        """Counts from zero; the contents stay (warm-up)."""
        cores, count = self.hierarchy.cores, len(self.hierarchy.levels)
        self._counters = np.zeros((count, cores, COUNTERS), dtype=np.int64)
        self._memory = np.zeros((cores, 3), dtype=np.int64)
        self._streams, self._spans = (np.zeros((STREAMS, count + 1), dtype=np.int64) for _ in range(2))
        self._tlb_counts = np.zeros((cores, 3), dtype=np.int64)

    def run(
        self,
        addresses: ArrayLike,
        core: int | ArrayLike = 0,
        writes: bool | ArrayLike = False,
        size_bytes: int | ArrayLike = 8,
        non_temporal: bool = False,
        stream: int | ArrayLike = 0,
        second_level: bool | ArrayLike = False,
    ) -> None:
        """Feeds accesses in order. `core`, `writes`, `size_bytes`, `stream` and `second_level` hold for all of them or are one
        an access; with `non_temporal` every
        access is a store of whole lines past the caches (stores that follow each other into one line are combined).
        `second_level`: reads that pass the first level by, as what an instruction cache beside it missed; TLBs and prefetchers do
        not see them."""
        where = np.ascontiguousarray(addresses, dtype=np.uint64)
        cores, sizes = np.atleast_1d(np.asarray(core, np.int64)), np.atleast_1d(np.asarray(size_bytes, np.int64))
        kinds = np.atleast_1d(np.asarray(writes)).astype(np.int64)
        if non_temporal:
            kinds = np.full(1, STREAMED, dtype=np.int64)
        names = np.atleast_1d(np.asarray(stream, np.int64))
        beyond = np.atleast_1d(np.asarray(second_level, dtype=bool))
        for name, values in (("core", cores), ("size_bytes", sizes), ("writes", kinds), ("stream", names),
                             ("second_level", beyond)):  # fmt: skip
            if len(values) not in (1, len(where)):
                raise ValueError(f"{name}: {len(values)} values for {len(where)} addresses")
        if cores.min(initial=0) < 0 or cores.max(initial=0) >= self.hierarchy.cores:
            raise ValueError(f"core must lie between 0 and {self.hierarchy.cores - 1}")
        if sizes.min(initial=1) < 1 or names.min(initial=0) < 0 or names.max(initial=0) >= STREAMS:
            raise ValueError(f"size_bytes must be at least 1, stream between 0 and {STREAMS - 1}")
        if np.any(beyond & (kinds != READ)):
            raise ValueError("second_level: only reads can pass the first level by")
        if beyond.any():
            kinds = np.where(beyond, BEYOND, kinds)
        if len(where) == 0:
            return
        shift = np.uint64(self.hierarchy.levels[0].line_bytes.bit_length() - 1)
        if self._plain is not None and len(names) == 1 and len(cores) == 1 and kinds.max(initial=READ) <= WRITE:
            self._run_plain(where, sizes, kinds, int(names[0]), shift)
            return
        self._to_slots()
        run(where, sizes, kinds, cores, names, shift, self._geometry, self._tags, self._state, self._random,
            self._counters, self._memory, self._streams, self._spans, self._tlb, self._entries, self._tlb_counts,
            self._prefetchers, self._table, self._last, self._coherent)  # fmt: skip

    def _run_plain(self, where: Any, sizes: Any, kinds: Any, stream: int, shift: Any) -> None:
        """The same accesses by the short path, whose counts are added to the others."""
        if self._rows is None:
            self._rows = to_rows(self._plain, self._tags)
        counts = np.zeros(16, dtype=np.int64)
        written = run_plain(where, sizes, kinds, shift, self._rows, self._plain.reshape(-1), counts, self._last)
        self._last[2] = 0
        hits, evictions, writebacks, spans = counts.reshape(4, 4)
        levels = len(self.hierarchy.levels)
        arriving = int(hits.sum())
        for k in range(levels):
            row = self._counters[k, 0]
            row[ACCESSES] += arriving
            row[HITS] += hits[k]
            arriving -= int(hits[k])
            row[MISSES] += arriving
            row[EVICTIONS] += evictions[k]
            row[WRITEBACKS] += writebacks[k]
        self._memory[0, READS] += arriving
        self._memory[0, WRITES] += written
        columns = [*range(levels), 3]
        self._streams[stream] += hits[columns]
        self._spans[stream] += spans[columns]

    def _to_slots(self) -> None:
        if self._rows is not None:
            from_rows(self._plain, self._rows, self._tags)
            self._rows = None

    def run_interleaved(
        self,
        addresses: list[Any],
        quantum: int = 1,
        writes: bool = False,
        size_bytes: int = 8,
        stream: int = 0,
    ) -> None:
        """Feeds one address array a core, `quantum` accesses of each in turn until all are done."""
        if len(addresses) > self.hierarchy.cores or quantum < 1:
            raise ValueError(f"{len(addresses)} arrays for {self.hierarchy.cores} cores, quantum {quantum}")
        arrays = [np.asarray(a, dtype=np.uint64) for a in addresses]
        turns = np.concatenate([np.arange(len(a)) // quantum for a in arrays])
        cores = np.concatenate([np.full(len(a), k, dtype=np.int64) for k, a in enumerate(arrays)])
        order = np.lexsort((cores, turns))
        self.run(np.concatenate(arrays)[order], cores[order], writes, size_bytes, stream=stream)

    def statistics(self) -> Statistics:
        """What was counted since the start or the last reset."""
        totals = self._counters.sum(axis=1)
        levels = tuple(_level(row, self._counters[k].copy()) for k, row in enumerate(totals))
        memory, tlb = self._memory.sum(axis=0), self._tlb_counts.sum(axis=0)
        return Statistics(
            accesses=levels[0].accesses,
            levels=levels,
            memory_reads=int(memory[0]),
            memory_writes=int(memory[1]),
            transfers=int(memory[2]),
            tlb_accesses=int(tlb[TLB_LOOKUPS]),
            tlb_l1_misses=int(tlb[TLB_MISSES]),
            tlb_walks=int(tlb[TLB_WALKS]),
            stream_hits=self._streams.copy(),
            reference_hits=self._streams + self._spans,
        )

    def holds(self, level: int, instance: int, address: int) -> tuple[bool, bool]:
        """(present, dirty) of the line of `address` in one instance of a level."""
        self._to_slots()
        g = self._geometry[level]
        line = address // self.hierarchy.levels[0].line_bytes
        first = int(g[BASE] + instance * g[SETS] * g[WAYS])
        tags = self._tags[first : first + int(g[SETS] * g[WAYS])]
        found = tags[(tags >= 0) & (tags >> 2 == line)]
        return bool(len(found)), bool(len(found) and found[0] & DIRTY)


def _plain(hierarchy: Hierarchy) -> Any:
    """Shape for the short path, or None: it serves one core, LRU, non-inclusive levels in one slice, no TLB, no prefetcher."""
    simple = all(
        level.policy == "lru" and level.inclusion == "non-inclusive" and level.slices == 1 for level in hierarchy.levels
    )
    if hierarchy.cores > 1 or hierarchy.tlb is not None or hierarchy.prefetchers or not simple:
        return None
    return plain_shape([(level.sets, level.ways) for level in hierarchy.levels])


def _level(row: NDArray[np.int64], by_core: NDArray[np.int64]) -> LevelStatistics:
    accesses, hits, misses, evictions, writebacks, invalidations, prefetches, useful = (int(value) for value in row)
    return LevelStatistics(accesses, hits, misses, evictions, writebacks, invalidations, prefetches, useful, by_core)


def _geometry(hierarchy: Hierarchy) -> NDArray[np.int64]:
    rows = np.zeros((len(hierarchy.levels), 10), dtype=np.int64)
    base = set_base = 0
    for index, level in enumerate(hierarchy.levels):
        row, instances = rows[index], hierarchy.instances(index)
        plain = level.slices == 1 and level.sets & (level.sets - 1) == 0
        row[BASE], row[SETS], row[WAYS], row[SHARERS] = base, level.sets, level.ways, level.cores_per_instance
        row[POLICY], row[INCLUSION] = POLICIES.index(level.policy), INCLUSIONS.index(level.inclusion)
        row[MASK], row[SLICES] = (level.sets - 1 if plain else -1), level.slices
        row[INSTANCES], row[SET_BASE] = instances, set_base
        base += level.sets * level.ways * instances
        set_base += level.sets * instances
    # SRRIP keeps a value a slot and PLRU a word a set in one array: each level's tree words lie at its first slots.
    rows[:, SET_BASE] = rows[:, BASE]
    return rows
