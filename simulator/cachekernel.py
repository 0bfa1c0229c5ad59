# mypy: disable-error-code="no-untyped-def"
"""Set-associative caches as arrays and loops that numba compiles: the inside of `tracesim`.

A slot holds line << 2 | prefetched << 1 | dirty, or -1. Under LRU the slots of a set lie in order of recency, so that a hit
moves to the front and the victim is the last one; the other policies keep slots in place and their state beside them: tree
bits a set (PLRU) or a re-reference value a slot (SRRIP).

Rules: write-back, write-allocate. A miss fills from the level that has the line inwards, outermost first. What an inclusive
level evicts leaves the levels inside it. A dirty victim is written to the next level (allocated there if absent, without
touching its recency if present); an exclusive level takes clean victims too and gives its copy away on a hit. A write takes
the line from every other instance; a read that misses its own caches first makes others write a dirty copy back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

EMPTY = -1
DIRTY, PREFETCHED = 1, 2

BASE, SETS, WAYS, SHARERS, POLICY, INCLUSION, MASK, SLICES, INSTANCES, SET_BASE = range(10)
"""Columns of the geometry array, one row a level: first slot, sets, ways, cores an instance, policy, inclusion, set mask
(-1: no power of two),
slices, instances, first set."""

LRU, PLRU, SRRIP, RANDOM = range(4)
NON_INCLUSIVE, INCLUSIVE, EXCLUSIVE = range(3)

ACCESSES, HITS, MISSES, EVICTIONS, WRITEBACKS, INVALIDATIONS, PREFETCHES, USEFUL = range(8)
"""Columns of the counters of a level and core. `INVALIDATIONS`: lines taken away by an inclusive level outside or by
another core."""
COUNTERS = 8

READS, WRITES, TRANSFERS = range(3)
"""Columns of the memory counters of a core: lines read, lines written, dirty lines taken over from another core."""

TLB_LOOKUPS, TLB_MISSES, TLB_WALKS = range(3)
READ, WRITE, STREAMED, BEYOND = range(4)
"""Kinds of access; streamed: a non-temporal store; beyond: a read that begins at the second level."""

SRRIP_NEW, SRRIP_OLD = 2, 3
PAGE_SHIFT = 12
"""Stream prefetchers stay within 4 KiB."""

# Everything compiled stands in this one file: numba's cache does not notice changes of a callee in another. No allocation
# happens, and without
# reference counting a call costs a fifth.
_options: Any = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
_jit = njit(**_options)
_inline = njit(forceinline=True, **_options)
"""For small functions on the hot path: a call costs more than their body."""


@_jit
def next_word(state):
    """The next word of SplitMix64 (Steele, Lea and Flood 2014); state: uint64[1]."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@_jit
def slice_of(line, slices):
    """The slice of a line: a multiplicative hash, so that every stride spreads."""
    return (np.uint64(line) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)) % np.uint64(slices)


@_inline
def set_of(g, level, instance, line):
    """Number of the set within the level."""
    sets = g[level, SETS]
    if g[level, MASK] >= 0:
        index = line & g[level, MASK]
    elif g[level, SLICES] > 1:
        each = sets // g[level, SLICES]
        index = np.int64(slice_of(line, g[level, SLICES])) * each + line % each
    else:
        index = line % sets
    return instance * sets + index


@_inline
def find(tags, start, ways, line):
    """Way of a line in the set that starts at slot `start`, or -1."""
    for way in range(ways):
        if tags[start + way] >> 2 == line:
            return way
    return -1


@_inline
def touch(tags, state, policy, start, ways, number, way):
    """A hit in `way`: returns the way where the line lies afterwards."""
    if policy == LRU:
        tag = tags[start + way]
        for k in range(way, 0, -1):
            tags[start + k] = tags[start + k - 1]
        tags[start] = tag
        return 0
    if policy == PLRU:
        point_away(state, number, ways, way)
    elif policy == SRRIP:
        state[start + way] = 0
    return way


@_jit
def point_away(state, number, ways, way):
    """Tree bits on the path to `way` point to the other half; bit n of a set's word is node n of the tree, the root 1."""
    bits = state[number]
    node = 1
    half = ways >> 1
    while half > 0:
        right = 1 if way & half else 0
        if right:
            bits &= ~(np.int64(1) << node)
        else:
            bits |= np.int64(1) << node
        node = 2 * node + right
        half >>= 1
    state[number] = bits


@_inline
def victim_way(tags, state, random, policy, start, ways, number):
    """The way to fill: an empty one, else the policy's choice (LRU always: the last)."""
    if policy == LRU:
        return ways - 1
    for way in range(ways):
        if tags[start + way] == EMPTY:
            return way
    if policy == PLRU:
        node = 1
        while node < ways:
            node = 2 * node + ((state[number] >> node) & 1)
        return node - ways
    if policy == SRRIP:
        while True:
            for way in range(ways):
                if state[start + way] >= SRRIP_OLD:
                    return way
            for way in range(ways):
                state[start + way] += 1
    return np.int64((next_word(random) >> np.uint64(32)) * np.uint64(ways) >> np.uint64(32))


@_inline
def insert(tags, state, random, policy, start, ways, number, tag):
    """Puts `tag` into the set and returns the tag that it displaced."""
    way = victim_way(tags, state, random, policy, start, ways, number)
    victim = tags[start + way]
    if policy == LRU:
        for k in range(way, 0, -1):
            tags[start + k] = tags[start + k - 1]
        tags[start] = tag
        return victim
    tags[start + way] = tag
    if policy == PLRU:
        point_away(state, number, ways, way)
    elif policy == SRRIP:
        state[start + way] = SRRIP_NEW
    return victim


@_jit
def remove(tags, policy, start, ways, way):
    """Takes a line out; under LRU the others close up."""
    if policy == LRU:
        for k in range(way, ways - 1):
            tags[start + k] = tags[start + k + 1]
        tags[start + ways - 1] = EMPTY
    else:
        tags[start + way] = EMPTY


@_jit
def drop_inside(g, tags, counters, level, instance, line):
    """Back-invalidation: takes a line out of the levels inside one instance; returns whether a copy was dirty."""
    dirty = 0
    for inner in range(level):
        first = instance * g[level, SHARERS] // g[inner, SHARERS]
        last = min((instance + 1) * g[level, SHARERS] // g[inner, SHARERS], g[inner, INSTANCES])
        for other in range(first, last):
            dirty |= drop(g, tags, counters, inner, other, line)
    return dirty


@_jit
def drop(g, tags, counters, level, instance, line):
    """Takes a line out of one instance if it is there; returns whether it was dirty."""
    ways = g[level, WAYS]
    start = g[level, BASE] + set_of(g, level, instance, line) * ways
    way = find(tags, start, ways, line)
    if way < 0:
        return 0
    dirty = tags[start + way] & DIRTY
    remove(tags, g[level, POLICY], start, ways, way)
    counters[level, min(instance * g[level, SHARERS], counters.shape[1] - 1), INVALIDATIONS] += 1
    return dirty


@_inline
def fill(g, tags, state, random, counters, memory, level, core, line, flags):
    """Brings a line into a level and follows the victims outwards."""
    levels = g.shape[0]
    tag = line << 2 | flags
    while True:
        instance = core // g[level, SHARERS]
        number = set_of(g, level, instance, tag >> 2)
        ways = g[level, WAYS]
        start = g[level, BASE] + number * ways
        victim = insert(tags, state, random, g[level, POLICY], start, ways, number + g[level, SET_BASE], tag)
        if victim == EMPTY:
            return
        counters[level, core, EVICTIONS] += 1
        dirty = victim & DIRTY
        line = victim >> 2
        if g[level, INCLUSION] == INCLUSIVE:
            dirty |= drop_inside(g, tags, counters, level, instance, line)
        if dirty:
            counters[level, core, WRITEBACKS] += 1
        level += 1
        if level == levels:
            if dirty:
                memory[core, WRITES] += 1
            return
        if not dirty and g[level, INCLUSION] != EXCLUSIVE:
            return
        if mark(g, tags, level, core, line, dirty):
            return
        tag = line << 2 | dirty


@_inline
def mark(g, tags, level, core, line, dirty):
    """Whether the line is in the level already; it becomes dirty there if its new copy is."""
    ways = g[level, WAYS]
    start = g[level, BASE] + set_of(g, level, core // g[level, SHARERS], line) * ways
    way = find(tags, start, ways, line)
    if way < 0:
        return False
    tags[start + way] |= dirty
    return True


@_jit
def take_from_others(g, tags, state, random, counters, memory, core, line, write):
    """Coherence: a write takes the line from all other instances, a read makes them clean. A dirty copy goes to the
    first level that both cores share,
    or to memory; returns whether there was one."""
    found = 0
    levels = g.shape[0]
    for level in range(levels):
        mine = core // g[level, SHARERS]
        for other in range(g[level, INSTANCES]):
            if other == mine:
                continue
            ways = g[level, WAYS]
            start = g[level, BASE] + set_of(g, level, other, line) * ways
            way = find(tags, start, ways, line)
            if way < 0:
                continue
            dirty = tags[start + way] & DIRTY
            owner = other * g[level, SHARERS]
            if write:
                remove(tags, g[level, POLICY], start, ways, way)
                counters[level, owner, INVALIDATIONS] += 1
            else:
                tags[start + way] &= ~DIRTY
            if not dirty:
                continue
            found = 1
            if write:
                continue  # the writer's copy becomes the dirty one
            shared = level + 1
            while shared < levels and core // g[shared, SHARERS] != owner // g[shared, SHARERS]:
                shared += 1
            if shared == levels:
                memory[owner, WRITES] += 1
            elif not mark(g, tags, shared, core, line, DIRTY):
                fill(g, tags, state, random, counters, memory, shared, core, line, DIRTY)
    if found:
        memory[core, TRANSFERS] += 1
    return found


@_inline
def hit(g, tags, state, counters, level, core, line):
    """Looks a line up in one level as a demand access: the slot where it lies, or -1."""
    counters[level, core, ACCESSES] += 1
    ways = g[level, WAYS]
    number = set_of(g, level, core // g[level, SHARERS], line)
    start = g[level, BASE] + number * ways
    way = find(tags, start, ways, line)
    if way < 0:
        counters[level, core, MISSES] += 1
        return -1
    counters[level, core, HITS] += 1
    slot = start + touch(tags, state, g[level, POLICY], start, ways, number + g[level, SET_BASE], way)
    if tags[slot] & PREFETCHED:
        counters[level, core, USEFUL] += 1
        tags[slot] &= ~PREFETCHED
    return slot


@_inline
def demand(g, tags, state, random, counters, memory, core, line, write, coherent):
    """One demand access to a line; returns the level that had it (the number of levels: memory)."""
    slot = hit(g, tags, state, counters, 0, core, line)
    if slot >= 0:
        if write:
            if coherent and not tags[slot] & DIRTY:
                take_from_others(g, tags, state, random, counters, memory, core, line, True)
            tags[slot] |= DIRTY
        return 0
    return search(g, tags, state, random, counters, memory, core, line, write, coherent, 0)


@_inline
def search(g, tags, state, random, counters, memory, core, line, write, coherent, lowest):
    """Looks a line up from the second level on and fills inwards, down to level `lowest`; returns the level that had it."""
    levels = g.shape[0]
    flags = DIRTY if write else 0
    own = 1
    while own < levels and g[own, INSTANCES] > 1:
        own += 1
    source = 1
    asked = not coherent
    while source < levels:
        if not asked and source >= own:
            take_from_others(g, tags, state, random, counters, memory, core, line, write)
            asked = True
        slot = hit(g, tags, state, counters, source, core, line)
        if slot >= 0:
            if g[source, INCLUSION] == EXCLUSIVE:
                flags |= tags[slot] & DIRTY
                ways = g[source, WAYS]
                start = g[source, BASE] + (slot - g[source, BASE]) // ways * ways
                remove(tags, g[source, POLICY], start, ways, slot - start)
            break
        source += 1
    if not asked and (write or source == levels):
        take_from_others(g, tags, state, random, counters, memory, core, line, write)
    if source == levels:
        memory[core, READS] += 1
    for level in range(source - 1, 0, -1):
        if g[level, INCLUSION] != EXCLUSIVE:
            fill(g, tags, state, random, counters, memory, level, core, line, 0)
    if lowest == 0:
        fill(g, tags, state, random, counters, memory, 0, core, line, flags)
    return source


@_jit
def stream_past(g, tags, counters, memory, core, line):
    """A non-temporal store of a whole line: no cache keeps it, memory gets it."""
    for level in range(g.shape[0]):
        for instance in range(g[level, INSTANCES]):
            drop(g, tags, counters, level, instance, line)
    memory[core, WRITES] += 1


@_jit
def prefetch(g, tags, state, random, counters, memory, level, core, line):
    """Brings a line into `level` and the non-exclusive levels outside it, unless `level` has it."""
    levels = g.shape[0]
    source = level
    while source < levels:
        ways = g[source, WAYS]
        start = g[source, BASE] + set_of(g, source, core // g[source, SHARERS], line) * ways
        way = find(tags, start, ways, line)
        if way >= 0:
            break
        source += 1
    if source == level:
        return
    counters[level, core, PREFETCHES] += 1
    flags = PREFETCHED
    if source == levels:
        memory[core, READS] += 1
    elif g[source, INCLUSION] == EXCLUSIVE:
        flags |= tags[start + way] & DIRTY
        remove(tags, g[source, POLICY], start, ways, way)
    for outer in range(source - 1, level, -1):
        if g[outer, INCLUSION] != EXCLUSIVE:
            fill(g, tags, state, random, counters, memory, outer, core, line, 0)
    fill(g, tags, state, random, counters, memory, level, core, line, flags)


@_jit
def translate(entries, ways, sets, base, page):
    """Looks a page up in one LRU level of TLB and leaves it in front; returns whether it was there."""
    start = base + page % sets * ways
    way = 0
    while way < ways and entries[start + way] != page:
        way += 1
    found = way < ways
    for k in range(min(way, ways - 1), 0, -1):
        entries[start + k] = entries[start + k - 1]
    entries[start] = page
    return found


@_jit
def watch(p, table, g, tags, state, random, counters, memory, core, stream, line, source):
    """Shows a demand access that left the levels inside a prefetcher's to every prefetcher. p: (n, 5) kind, level,
    degree, distance, entries;
    table: (n, cores, entries, 4)."""
    for n in range(p.shape[0]):
        level = p[n, 1]
        if source < level:
            continue
        if p[n, 0] == 0:
            if source > level:
                prefetch(g, tags, state, random, counters, memory, level, core, line ^ 1)
            continue
        rows = table[n, core]
        if p[n, 0] == 1:
            lines = (1 << PAGE_SHIFT) // 64
            page = line // lines
            entry = page % p[n, 4]
            if rows[entry, 0] != page:
                rows[entry, 0], rows[entry, 1], rows[entry, 2], rows[entry, 3] = page, line, 0, line
                continue
            step = line - rows[entry, 1]
            if step == 0:
                continue
            direction = 1 if step > 0 else -1
            if abs(step) > 1 and rows[entry, 2] != direction:
                rows[entry, 1], rows[entry, 2], rows[entry, 3] = line, 0, line
                continue
            if rows[entry, 2] != direction:
                rows[entry, 2], rows[entry, 3] = direction, line
            rows[entry, 1] = line
            ahead = rows[entry, 3]
            if (ahead - line) * direction < 0:
                ahead = line
            for _ in range(p[n, 2]):
                following = ahead + direction
                if (following - line) * direction > p[n, 3] or following // lines != page:
                    break
                ahead = following
                prefetch(g, tags, state, random, counters, memory, level, core, ahead)
            rows[entry, 3] = ahead
            continue
        entry = stream % p[n, 4]
        if rows[entry, 0] != stream:
            rows[entry, 0], rows[entry, 1], rows[entry, 2], rows[entry, 3] = stream, line, 0, 0
            continue
        stride = line - rows[entry, 1]
        rows[entry, 3] = rows[entry, 3] + 1 if stride == rows[entry, 2] and stride != 0 else 0
        rows[entry, 1], rows[entry, 2] = line, stride
        if rows[entry, 3] >= 1:
            for k in range(1, p[n, 2] + 1):
                if line + k * stride >= 0:
                    prefetch(g, tags, state, random, counters, memory, level, core, line + k * stride)


@_inline
def enter_repeats(same, core, stream, counters, streams, tlb_counts, translated):
    """Accesses to the line just used: hits of the first level and of the TLB, entered at once."""
    counters[0, core, ACCESSES] += same
    counters[0, core, HITS] += same
    streams[stream, 0] += same
    if translated:
        tlb_counts[core, TLB_LOOKUPS] += same


@_jit
def run(addresses, sizes, kinds, cores, names, shift, g, tags, state, random, counters, memory, streams, spans,
         tlb, entries, tlb_counts, p, table, last, coherent):  # fmt: skip
    """All accesses of one call. `sizes`, `kinds`, `cores`, `names` (streams) have one element, or one an access. last: (line,
    slot kept dirty, core, page). `spans` turns `streams`, which counts lines, into accesses by their outermost line."""
    one_size, one_kind, one_core = len(sizes) == 1, len(kinds) == 1, len(cores) == 1
    size, kind, core = sizes[0], kinds[0], np.int64(cores[0])
    quiet = p.shape[0] == 0 and g[0, POLICY] != SRRIP
    one_name, stream = len(names) == 1, np.int64(names[0])
    single = one_core and one_name
    same, held_core, held_stream = 0, core, stream
    last_line, last_dirty, last_core, last_page = last[0], last[1], last[2], last[3]
    page_shift = tlb[0]
    for i in range(len(addresses)):
        address = addresses[i]
        if not one_size:
            size = sizes[i]
        if not one_kind:
            kind = kinds[i]
        if not one_core:
            core = np.int64(cores[i])
        if not one_name:
            stream = np.int64(names[i])
        if not single and (core != held_core or stream != held_stream):
            enter_repeats(same, held_core, held_stream, counters, streams, tlb_counts, page_shift > 0)
            same, held_core, held_stream = 0, core, stream
        first = np.int64(address >> shift)
        final = np.int64((address + np.uint64(size - 1)) >> shift)
        if first == last_line and final == first and core == last_core and kind <= last_dirty:
            same += 1
            continue
        if page_shift > 0 and kind != BEYOND:
            for page in range(np.int64(address >> np.uint64(page_shift)),
                              np.int64((address + np.uint64(size - 1)) >> np.uint64(page_shift)) + 1):  # fmt: skip
                tlb_counts[core, TLB_LOOKUPS] += 1
                if page == last_page and core == last_core:
                    continue
                last_page = page
                if not translate(entries[core], tlb[2], tlb[1], 0, page):
                    tlb_counts[core, TLB_MISSES] += 1
                    if not translate(entries[core], tlb[4], tlb[3], tlb[1] * tlb[2], page):
                        tlb_counts[core, TLB_WALKS] += 1
        outermost = np.int64(0)
        for line in range(first, final + 1):
            if kind == STREAMED:
                if line != last_line or last_core != core or last_dirty >= 0:
                    stream_past(g, tags, counters, memory, core, line)
                last_line, last_core, last_dirty = line, core, -1
                continue
            if kind == BEYOND:
                source = np.int64(search(g, tags, state, random, counters, memory, core, line, False, coherent, 1))
            else:
                source = np.int64(demand(g, tags, state, random, counters, memory, core, line, kind == WRITE, coherent))
            streams[stream, source] += 1
            if final > first:
                spans[stream, source] -= 1
                outermost = max(outermost, source)
                if line == final:
                    spans[stream, outermost] += 1
            if kind == BEYOND:
                last_line = -1
                continue
            if p.shape[0] > 0:
                watch(p, table, g, tags, state, random, counters, memory, core, stream, line, source)
            last_line, last_core, last_dirty = (line if quiet else -1), core, kind
    last[0], last[1], last[2], last[3] = last_line, last_dirty, last_core, last_page
    enter_repeats(same, held_core, held_stream, counters, streams, tlb_counts, page_shift > 0)
