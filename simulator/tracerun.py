"""A trace through a simulated hierarchy: warm-up, instruction fetches, streams, and what was counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.cachegeometry import CacheGeometry, Hierarchy
from simulator.instructioncache import InstructionCache
from simulator.tracechunk import FETCH, STORE, TraceChunk
from simulator.tracesim import Statistics, TraceSimulator

KIND_NAMES = ("loads", "stores", "fetches")
"""Streams of a trace that names none: the kinds of access."""


@dataclass(frozen=True)
class RunCounts:
    """What a trace did, warm-up left out. `straddling`: loads and stores that touched more than one line, each of which
    counts as one access a line. `fetch_lines`, `fetch_misses`: of the instruction cache."""

    loads: int
    stores: int
    fetches: int
    straddling: int
    warmup: int
    fetch_lines: int
    fetch_misses: int
    missed_fetches: int
    statistics: Statistics

    @property
    def accesses(self) -> int:
        """Accesses of the trace that were counted."""
        return self.loads + self.stores + self.fetches


class TraceRun:
    """Feeds chunks to a TraceSimulator.

    Fetches go through `instruction_cache` (one a core) and on to the second level; without one they are counted but not
    simulated. The first `warmup` accesses fill the caches and are not counted. Where a chunk names no streams, they are the
    kinds of access. Raises ValueError for cores that the hierarchy has not.
    """

    def __init__(self, hierarchy: Hierarchy, instruction_cache: CacheGeometry | None = None, warmup: int = 0) -> None:
        if instruction_cache is not None and instruction_cache.line_bytes != hierarchy.levels[0].line_bytes:
            raise ValueError("the instruction cache must have the line size of the other levels")
        self.hierarchy, self.warmup = hierarchy, warmup
        self.names_streams = False
        self.simulator = TraceSimulator(hierarchy)
        self.instructions = None if instruction_cache is None else InstructionCache(instruction_cache, hierarchy.cores)
        self.fed = 0
        self._shift = np.uint64(hierarchy.levels[0].line_bytes.bit_length() - 1)
        self._counts = np.zeros(4, dtype=np.int64)

    @property
    def warming(self) -> bool:
        """Whether nothing is counted for good yet."""
        return self.fed < self.warmup

    def feed(self, chunk: TraceChunk) -> None:
        """Simulates a chunk; warm-up ends inside it where it must."""
        left = self.warmup - self.fed
        if 0 < left < len(chunk):
            self._simulate(_part(chunk, 0, left))
            self.end_warmup()
            self._simulate(_part(chunk, left, len(chunk)))
            return
        self._simulate(chunk)
        if left == len(chunk):
            self.end_warmup()

    def end_warmup(self) -> None:
        """Counts from zero from here on; contents stay."""
        self.warmup = self.fed
        self.simulator.reset_statistics()
        self._counts[:] = 0
        if self.instructions is not None:
            self.instructions.reset()

    def _simulate(self, chunk: TraceChunk) -> None:
        cores: Any = 0 if chunk.cores is None else chunk.cores
        if chunk.cores is not None and len(chunk) and chunk.cores.max() >= self.hierarchy.cores:
            raise ValueError(f"the trace uses core {chunk.cores.max()}, the hierarchy has {self.hierarchy.cores}")
        addresses, sizes, kinds = chunk.addresses, chunk.sizes, chunk.kinds
        streams: Any = kinds if chunk.streams is None else chunk.streams
        self.names_streams |= chunk.streams is not None
        is_fetch = kinds == FETCH
        self._count(chunk, is_fetch)
        self.fed += len(chunk)
        keep: Any = None
        if self.instructions is not None:
            keep, addresses, sizes = self.instructions.filter(addresses, sizes, kinds, cores)
        elif is_fetch.any():
            keep = np.flatnonzero(~is_fetch)
        if keep is not None:
            addresses, sizes, kinds, is_fetch = addresses[keep], sizes[keep], kinds[keep], is_fetch[keep]
            cores, streams = (value[keep] if np.ndim(value) else value for value in (cores, streams))
        beyond = is_fetch if self.instructions is not None else False
        self.simulator.run(addresses, cores, kinds == STORE, sizes, stream=streams, second_level=beyond)

    def _count(self, chunk: TraceChunk, is_fetch: Any) -> None:
        kinds = np.bincount(chunk.kinds, minlength=3)
        lines = (chunk.addresses + (chunk.sizes - 1).astype(np.uint64)) >> self._shift
        straddling = np.count_nonzero((lines != chunk.addresses >> self._shift) & ~is_fetch)
        self._counts += [*kinds, straddling]

    def counts(self) -> RunCounts:
        """What was counted so far."""
        loads, stores, fetches, straddling = (int(value) for value in self._counts)
        i = self.instructions
        of_fetches = (0, 0, 0) if i is None else (i.accesses, i.misses, i.missed_fetches)
        return RunCounts(loads, stores, fetches, straddling, min(self.warmup, self.fed), *of_fetches,
                         self.simulator.statistics())  # fmt: skip


def _part(chunk: TraceChunk, begin: int, end: int) -> TraceChunk:
    """Accesses [begin, end)."""
    cut = slice(begin, end)
    cores, streams = (None if value is None else value[cut] for value in (chunk.cores, chunk.streams))
    return TraceChunk(chunk.addresses[cut], chunk.sizes[cut], chunk.kinds[cut], cores, streams)
