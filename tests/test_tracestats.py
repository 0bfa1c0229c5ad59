"""Footprints, strides, reuse distances of traces; warm-up, streams and instruction fetches of runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.addresses import Segment
from simulator.cachegeometry import CacheGeometry, Hierarchy
from simulator.instructioncache import InstructionCache
from simulator.reusedistance import ReuseDistances
from simulator.tracechunk import FETCH, LOAD, STORE, TraceChunk
from simulator.tracerun import TraceRun
from simulator.tracestats import TraceCounter
from simulator.workloadtrace import interleaved

SMALL = CacheGeometry(4 * 64 * 2, 2)
SHARED = CacheGeometry(64 * 64 * 4, 4)


def chunk(addresses: Any, sizes: Any = 8, kinds: Any = LOAD, **rest: Any) -> TraceChunk:
    """A chunk of accesses; one size or kind for all, or one each."""
    where = np.asarray(addresses, dtype=np.uint64)
    whole = np.broadcast_to(np.asarray(sizes, dtype=np.int64), where.shape)
    return TraceChunk(where, whole, np.broadcast_to(np.asarray(kinds, dtype=np.uint8), where.shape), **rest)


def plain_distances(lines: list[int]) -> tuple[list[int], int]:
    """(distances of all but first touches, first touches) by looking back."""
    found, first, stack = [], 0, []  # type: ignore[var-annotated]
    for line in lines:
        if line in stack:
            found.append(stack.index(line))
            stack.remove(line)
        else:
            first += 1
        stack.insert(0, line)
    return found, first


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 25), max_size=300), st.integers(26, 40), st.integers(1, 50))
def test_reuse_distances_equal_looking_back(lines: list[int], limit: int, cut: int) -> None:
    watched = ReuseDistances(limit)  # time is renumbered every 2 x limit accesses
    for at in range(0, len(lines), cut):
        part = np.array(lines[at : at + cut], dtype=np.int64)
        watched.feed(part, part)
    found, (distances, first) = watched.histogram(), plain_distances(lines)
    assert (found.accesses, found.first_touches, found.lines) == (len(lines), first, len(set(lines)))
    assert found.sampled_share == 1.0
    bins = np.bincount([d.bit_length() for d in distances], minlength=len(found.counts))
    assert np.array_equal(found.counts, bins)
    for lines_held in (1, 2, 8, 32):
        assert found.lru_hits(lines_held) == sum(d < lines_held for d in distances)


def test_a_cyclic_sweep_has_one_distance() -> None:
    watched = ReuseDistances()
    sweep = np.tile(np.arange(1000, dtype=np.int64), 5)
    watched.feed(sweep, sweep)
    found = watched.histogram()
    assert found.counts[10] == 4000  # 999: between 512 and 1023
    assert (found.lru_hits(512), found.lru_hits(1024)) == (0, 4000)


def test_more_lines_than_fit_are_sampled() -> None:
    generator = np.random.Generator(np.random.PCG64(3))
    lines = (generator.pareto(0.6, 400_000) * 50).astype(np.int64) % 200_000
    exact, sampled = ReuseDistances(1 << 18), ReuseDistances(4096)
    for watched in (exact, sampled):
        watched.feed(lines, lines)
    a, b = exact.histogram(), sampled.histogram()
    assert a.sampled_share == 1.0
    assert b.sampled_share <= 1 / 8
    assert b.lines == pytest.approx(a.lines, rel=0.05)
    for k in range(10, 18):  # below some tens of lines over the sampled share a sample cannot tell distances apart
        assert b.lru_hits(1 << k) / b.accesses == pytest.approx(a.lru_hits(1 << k) / a.accesses, abs=0.02)


def test_footprint_and_strides() -> None:
    counter = TraceCounter()
    counter.feed(chunk([0, 8, 60, 64, 4096, 64], kinds=[LOAD, STORE, LOAD, LOAD, LOAD, STORE]))
    counter.feed(chunk([128, 0, 4090, 10_000], [4, 4, 10, 2], [FETCH, LOAD, FETCH, FETCH], modifies=1))
    found = counter.statistics()
    assert (found.loads, found.stores, found.fetches, found.modifies, found.straddling) == (5, 2, 3, 1, 1)
    assert (found.data_lines, found.data_pages, found.code_lines, found.code_pages) == (3, 2, 4, 3)
    assert (found.lowest_address, found.highest_address) == (0, 10_001)
    # steps: 0, 0, +1 (from line 0, that the access to 60 begins in), +63, -63, -1 (across chunks)
    assert (found.forward[0], found.forward[1], found.forward[6], found.forward.sum()) == (2, 1, 1, 4)
    assert (found.backward[1], found.backward[6], found.backward.sum()) == (1, 1, 2)
    two = TraceCounter()
    two.feed(chunk([0, 1 << 20, 64, (1 << 20) + 64], cores=np.array([0, 1, 0, 1])))
    assert (two.statistics().cores, two.statistics().forward[1], two.statistics().forward.sum()) == (2, 2, 2)
    wide = TraceCounter()
    wide.feed(chunk(np.arange(100) * 8192, 5000))
    assert (wide.statistics().data_pages, wide.statistics().data_lines) == (200, 100 * 79)


def test_warm_up_ends_inside_a_chunk() -> None:
    lines = np.arange(8, dtype=np.uint64) * np.uint64(64)
    for size in (1, 3, 16):
        run = TraceRun(Hierarchy((SMALL,)), warmup=8)
        both = np.concatenate([lines, lines])
        for at in range(0, 16, size):
            run.feed(chunk(both[at : at + size]))
        found = run.counts()
        assert (found.warmup, found.accesses) == (8, 8)
        assert (found.statistics.levels[0].hits, found.statistics.levels[0].misses) == (8, 0)
    short = TraceRun(Hierarchy((SMALL,)), warmup=100)
    short.feed(chunk(lines))
    assert short.warming
    short.end_warmup()
    assert (short.counts().warmup, short.counts().accesses) == (8, 0)


def test_streams_are_those_of_the_trace_or_the_kinds() -> None:
    run = TraceRun(Hierarchy((SMALL, SHARED)))
    run.feed(chunk([0, 0, 64], kinds=[LOAD, STORE, STORE]))
    assert run.counts().statistics.stream_hits[:2].sum(axis=1).tolist() == [1, 2]
    assert not run.names_streams
    run.feed(chunk([0, 0], streams=np.array([7, 7])))
    assert run.names_streams
    assert run.counts().statistics.stream_hits[7].sum() == 2


def test_fetches_are_counted_only_unless_there_is_an_instruction_cache() -> None:
    fetches = chunk([0, 4, 60, 64, 4096], 8, FETCH)
    plain = TraceRun(Hierarchy((SMALL, SHARED)))
    plain.feed(fetches)
    assert (plain.counts().fetches, plain.counts().statistics.accesses) == (5, 0)
    split = TraceRun(Hierarchy((SMALL, SHARED)), CacheGeometry(64 * 2, 2))
    split.feed(fetches)
    found = split.counts()
    assert (found.fetch_lines, found.fetch_misses, found.missed_fetches) == (6, 3, 3)
    assert found.statistics.levels[0].accesses == 0
    assert (found.statistics.levels[1].accesses, found.statistics.levels[1].misses) == (3, 3)
    split.feed(chunk([4096, 0], 4, [LOAD, STORE]))  # the fetched lines are in the second level, not in the first
    found = split.counts()
    assert (found.statistics.levels[0].misses, found.statistics.levels[1].hits) == (2, 2)
    with pytest.raises(ValueError, match="line size of the other levels"):
        TraceRun(Hierarchy((SMALL,)), CacheGeometry(32 * 4, 4, 32))


def test_an_access_over_two_lines_counts_once_by_its_outermost_line() -> None:
    run = TraceRun(Hierarchy((SMALL, SHARED)))
    run.feed(chunk([0, 60, 60, 124, 300], [8, 8, 8, 8, 200], [LOAD, LOAD, STORE, LOAD, LOAD]))
    found = run.counts().statistics
    # line 0; lines 0, 1; again; lines 1, 2; lines 4 to 7, of which SMALL's four sets keep two lines each
    assert found.stream_hits[:2].tolist() == [[2, 0, 7], [2, 0, 0]]
    assert found.reference_hits[:2].tolist() == [[0, 0, 4], [1, 0, 0]]
    run.feed(chunk([60, 188], [8, 8]))  # in the first level: lines 0 to 2; line 3 is new
    assert run.counts().statistics.reference_hits[0].tolist() == [1, 0, 5]


def test_fetches_go_past_the_first_level_and_are_lost_to_an_inclusive_second() -> None:
    inclusive = CacheGeometry(64 * 2, 2, inclusion="inclusive")
    run = TraceRun(Hierarchy((CacheGeometry(64 * 2, 2), inclusive)), CacheGeometry(64, 1))
    run.feed(chunk([0, 64, 128, 0], 8, [LOAD, FETCH, FETCH, LOAD]))  # two fetches push line 0 out of both
    found = run.counts().statistics
    assert (found.levels[0].hits, found.levels[0].misses, found.levels[0].invalidations) == (0, 2, 1)
    assert (found.levels[1].accesses, found.levels[1].misses) == (4, 4)
    with pytest.raises(ValueError, match="only reads can pass the first level by"):
        run.simulator.run([0], writes=[True], second_level=[True])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40 * 64), st.integers(1, 130)), min_size=1, max_size=120))
def test_an_instruction_cache_equals_lists_of_lines(fetches: list[tuple[int, int, int]]) -> None:
    cache, sets = InstructionCache(CacheGeometry(4 * 64 * 2, 2), 2), {}  # type: ignore[var-annotated]
    passed, missed, misses = [], 0, 0
    for number, (core, address, size) in enumerate(fetches):
        absent = []
        for line in range(address // 64, (address + size - 1) // 64 + 1):
            ways = sets.setdefault((core, line % 4), [])
            if line in ways:
                ways.remove(line)
            else:
                absent.append(line)
            ways.insert(0, line)
            del ways[2:]
        misses += len(absent)
        if absent:
            missed += 1
            passed.append((number, absent[0], absent[-1]))
    columns = list(zip(*fetches, strict=True))
    given_ = chunk(columns[1], columns[2], FETCH)
    kept, addresses, sizes = cache.filter(given_.addresses, given_.sizes, given_.kinds, np.array(columns[0]))
    assert (cache.misses, cache.missed_fetches) == (misses, missed)
    ends = addresses.astype(np.int64) + sizes - 1
    assert [(k, addresses[k] // 64, ends[k] // 64) for k in kept.tolist()] == passed


def test_cores_take_turns_in_a_round_and_keep_their_order() -> None:
    def part(core: int, number: int, count: int, start: int) -> Segment:
        names, flags = np.full(count, core, dtype=np.uint8), np.arange(count) % 2 == 0
        return Segment(core, number, number // 2, 0, np.arange(start, start + count, dtype=np.uint64), names, flags, 64)

    segments = [part(0, 0, 5, 0), part(1, 0, 3, 100), part(0, 0, 2, 5), part(1, 1, 3, 103)]
    rounds = list(interleaved(segments, quantum=2))
    assert [call for call, _ in rounds] == [0, 0]
    first = rounds[0][1]
    assert first.addresses.tolist() == [0, 1, 100, 101, 2, 3, 102, 4, 5, 6]
    assert first.cores.tolist() == [0, 0, 1, 1, 0, 0, 1, 0, 0, 0]  # type: ignore[union-attr]
    assert first.kinds.tolist() == [1, 0, 1, 0, 1, 0, 1, 1, 1, 0]
    assert rounds[1][1].addresses.tolist() == [103, 104, 105]


def test_a_core_that_the_hierarchy_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="the trace uses core 2, the hierarchy has 2"):
        TraceRun(Hierarchy((SMALL,), cores=2)).feed(chunk([0], cores=np.array([2])))
