"""Cachegrind's own rules in plain Python, to tell what remains between its counts and those of the trace simulator.

cachegrind/cg_sim.c and cg_main.c of Valgrind 3.19: LRU sets; a reference that touches two lines is one reference, a miss if
either line misses, and both lines then go to the LL cache; LL sees only references that missed I1 or D1; no write-backs; a
modify is one read; a reference is at most one line long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from simulator.tracechunk import FETCH, STORE, TraceChunk

Shape = tuple[int, int, int]
"""Size in bytes, ways, bytes a line."""


class _Cache:
    def __init__(self, shape: Shape) -> None:
        size, self.ways, line = shape
        self.sets: list[list[int]] = [[] for _ in range(size // self.ways // line)]
        self.dirty: set[int] = set()

    def misses(self, line: int) -> bool:
        """Whether a line is absent; it is most recent afterwards."""
        ways = self.sets[line % len(self.sets)]
        missed = line not in ways
        if missed:
            del ways[self.ways - 1 :]
        else:
            ways.remove(line)
        ways.insert(0, line)
        return missed

    def reference(self, first: int, final: int) -> bool:
        """One reference to one line or two."""
        missed = self.misses(first)
        return (self.misses(final) or missed) if final > first else missed

    def last_of_full_set(self, line: int) -> int | None:
        """The line that goes if `line` comes."""
        ways = self.sets[line % len(self.sets)]
        return ways[-1] if len(ways) == self.ways and line not in ways else None


def _lines(trace: Iterable[TraceChunk], line_bytes: int, cut: bool) -> Iterator[tuple[int, int, int]]:
    """(kind, first line, last line) of every access; `cut`: none is longer than a line."""
    shift = np.uint64(line_bytes.bit_length() - 1)
    for chunk in trace:
        sizes = np.minimum(chunk.sizes, line_bytes) if cut else chunk.sizes
        end = (chunk.addresses + (sizes - 1).astype(np.uint64)) >> shift
        yield from zip(chunk.kinds.tolist(), (chunk.addresses >> shift).tolist(), end.tolist(), strict=True)


def cachegrind_counts(chunks: Iterable[TraceChunk], first: Shape, data: Shape, last: Shape) -> dict[str, int]:
    """Counts of a lackey trace under the names of Cachegrind's events; a modify counts as its load and its store."""
    caches, outer = {True: _Cache(first), False: _Cache(data)}, _Cache(last)
    names = {0: ("Dr", "D1mr", "DLmr"), 1: ("Dw", "D1mw", "DLmw"), 2: ("Ir", "I1mr", "ILmr")}
    found: dict[str, int] = {name: 0 for group in names.values() for name in group}
    for kind, low, high in _lines(chunks, last[2], True):
        total, inner, outermost = names[kind]
        found[total] += 1
        if caches[kind == FETCH].reference(low, high):
            found[inner] += 1
            found[outermost] += outer.reference(low, high)
    return found


def last_level_misses(chunks: Iterable[TraceChunk], first: Shape, data: Shape, last: Shape) -> int:
    """References that miss LL if LL sees only the lines that missed, and the dirty lines that D1 evicts.

    A dirty line that LL still has stays where it is in its set; one that it has not becomes its most recent line.
    """
    fetched, inner, outer, count = _Cache(first), _Cache(data), _Cache(last), 0
    for kind, low, high in _lines(chunks, last[2], False):
        missed = False
        for line in range(low, high + 1):
            if kind == FETCH:
                missed |= fetched.misses(line) and outer.misses(line)
                continue
            victim = inner.last_of_full_set(line)
            if inner.misses(line):
                missed |= outer.misses(line)
                if victim in inner.dirty:
                    inner.dirty.discard(victim)
                    if victim not in outer.sets[victim % len(outer.sets)]:
                        outer.misses(victim)
            if kind == STORE:
                inner.dirty.add(line)
        count += missed
    return count


def merged(found: dict[str, int], modifies: int) -> dict[str, Any]:
    """The same with a modify as one read."""
    return {**found, "Dw": found["Dw"] - modifies}
