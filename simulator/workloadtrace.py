"""The address streams of a real schedule as a trace: the segments of `addresses`, cores in turn.

Segments of one round run side by side: here they take turns of QUANTUM accesses, so that cores meet in shared caches as they
would at equal speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np

from simulator.addresses import Segment
from simulator.tracechunk import LOAD, STORE, TraceChunk

QUANTUM = 32


def interleaved(segments: Iterable[Segment], quantum: int = QUANTUM) -> Iterator[tuple[int, TraceChunk]]:
    """(number of the call, chunk) of every round."""
    for (call, _), group in groupby(segments, key=lambda s: (s.call, s.round)):
        yield call, _merged(list(group), quantum)


def _merged(parts: list[Segment], quantum: int) -> TraceChunk:
    addresses = np.concatenate([s.addresses for s in parts])
    streams = np.concatenate([s.streams for s in parts]).astype(np.int64)
    kinds = np.where(np.concatenate([s.writes for s in parts]), STORE, LOAD).astype(np.uint8)
    sizes = np.concatenate([np.full(len(s.addresses), s.size_bytes, dtype=np.int64) for s in parts])
    cores = np.concatenate([np.full(len(s.addresses), s.core, dtype=np.int64) for s in parts])
    if len({s.core for s in parts}) == 1:
        return TraceChunk(addresses, sizes, kinds, cores, streams)
    count = int(cores.max()) + 1
    place: dict[int, int] = {}
    turns = np.empty(len(addresses), dtype=np.int64)
    at = 0
    for s in parts:  # a core may have several segments in a round: its turns go on
        begin, n = place.get(s.core, 0), len(s.addresses)
        turns[at : at + n] = np.arange(begin, begin + n) // quantum * count + s.core
        place[s.core], at = begin + n, at + n
    order = np.argsort(turns, kind="stable")
    return TraceChunk(addresses[order], sizes[order], kinds[order], cores[order], streams[order])
