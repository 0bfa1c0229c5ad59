# mypy: disable-error-code="no-untyped-def,var-annotated,call-arg,unreachable"
"""The short path of `tracesim`: one core, up to three non-inclusive LRU levels and nothing else. The same rules as
`cachekernel`, several times faster: geometry in registers, sets as vectors, counts added at the end, and accesses to the line
of the access before skipped sixteen at a time.

Rows are padded to 8 or 16 words; `to_rows` and `from_rows` go between them and the slots of `cachekernel`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from simulator import tagrow
from simulator.compiled import digest
from simulator.tagrow import (
    fetch,
    lowest_bit,
    outside,
    pointer_to,
    promote_8,
    promote_16,
    push_8,
    push_16,
    search_8,
    search_16,
)

BASES, SETS, WAYS, WIDTHS = range(4)
"""Rows of the shape of a plain hierarchy: first word, sets, ways, words a set; a column a level, three of them. No ways: no such
level."""

HITS, EVICTIONS, WRITEBACKS, SPANS = range(4)
"""Rows of the counts, a column a level, the last one: memory. SPANS turns lines into accesses, by their outermost line."""

AHEAD = 24
"""Accesses between asking for a set and using it."""

DIRTY = 1


def _compiled(sources: str) -> Any:
    """The entry; `sources`: see `compiled`."""
    options: Any = {"error_model": "numpy", "_nrt": False}  # nothing is allocated: no reference counts
    inlined: Any = njit(forceinline=True, **options)
    jit: Any = njit(cache=True, nogil=True, **options)

    @inlined
    def find(tags, row, narrow, mask, key):
        return (search_8(tags, row, key) if narrow else search_16(tags, row, key)) & mask

    @inlined
    def front(tags, row, narrow, way, word):
        if narrow:
            promote_8(tags, row, way, word)
        else:
            promote_16(tags, row, way, word)

    @inlined
    def put(tags, row, narrow, word):
        if narrow:
            push_8(tags, row, word)
        else:
            push_16(tags, row, word)

    @njit(**options)
    def write_back(tags, shape, counts, level, line):
        """A dirty victim arrives at `level`: marked there, or allocated with all that follows. Returns lines that memory gets."""
        while level < 3 and shape[2 * 3 + level] > 0:
            ways, narrow = shape[2 * 3 + level], shape[3 * 3 + level] == 8
            row = shape[level] + (line & (shape[3 + level] - 1)) * shape[3 * 3 + level]
            found = find(tags, row, narrow, (np.int64(1) << ways) - 1, line << 2)
            if found:
                tags[row + lowest_bit(found)] |= DIRTY
                return 0
            victim = tags[row + ways - 1]
            put(tags, row, narrow, line << 2 | DIRTY)
            if victim < 0:
                return 0
            counts[3 + 1 + level] += 1
            if not victim & DIRTY:
                return 0
            counts[2 * 4 + level] += 1
            line = victim >> 2
            level += 1
        return 1

    @jit
    def run_plain(addresses, sizes, kinds, shift, tag_array, shape_array, count_array, last):
        """All accesses of one call (READ or WRITE); returns lines written to memory. `sizes`, `kinds`: one, or one an access.
        last: (line, kind) of the access before."""
        if len(sources) == 0:
            return -1
        tags, a, shape, counts = (
            pointer_to(tag_array),
            pointer_to(addresses),
            pointer_to(shape_array),
            pointer_to(count_array),
        )
        one_size, one_kind = len(sizes) == 1, len(kinds) == 1
        end = np.int64(len(addresses))
        line_bytes = np.uint64(1) << shift
        base0, base1, base2 = shape[0], shape[1], shape[2]
        sets0, sets1, sets2 = shape[3] - 1, shape[4] - 1, shape[5] - 1
        last0, last1, last2 = shape[6] - 1, shape[7] - 1, shape[8] - 1
        width0, width1, width2 = shape[9], shape[10], shape[11]
        narrow0, narrow1, narrow2 = width0 == 8, width1 == 8, width2 == 8
        mask0 = (np.int64(2) << last0) - 1
        mask1, mask2 = (np.int64(2) << max(last1, 0)) - 1, (np.int64(2) << max(last2, 0)) - 1
        second, third = last1 >= 0, last2 >= 0
        uniform = one_size and one_kind and np.uint64(sizes[0]) <= line_bytes
        size, kind = sizes[0], kinds[0]
        hits0, hits1, hits2, missed, written = 0, 0, 0, 0, 0
        empty0, empty1, empty2, back0, back1, back2 = 0, 0, 0, 0, 0, 0
        last_line, last_kind = last[0], last[1]
        i = np.int64(0)
        while i < end:
            if not one_size:
                size = sizes[i]
            if not one_kind:
                kind = kinds[i]
            first = np.int64(a[i] >> shift)
            final = np.int64((a[i] + np.uint64(size - 1)) >> shift)
            i += 1
            if first == last_line and final == first and kind <= last_kind:
                hits0 += 1
            else:
                if i + AHEAD < end:
                    coming = np.int64(a[i + AHEAD] >> shift)
                    if coming - first > 64 or first - coming > 64:
                        if third:
                            fetch(tags, base2 + (coming & sets2) * width2)
                            fetch(tags, base2 + (coming & sets2) * width2 + width2 - 8)
                        if second:
                            fetch(tags, base1 + (coming & sets1) * width1)
                            fetch(tags, base1 + (coming & sets1) * width1 + width1 - 8)
                outermost = np.int64(0)
                for line in range(first, final + 1):
                    source = np.int64(0)
                    key = line << 2
                    row0 = base0 + (line & sets0) * width0
                    found = find(tags, row0, narrow0, mask0, key)
                    if found:
                        hits0 += 1
                        way = lowest_bit(found)
                        front(tags, row0, narrow0, way, tags[row0 + way] | kind)
                    elif not second:
                        missed += 1
                        source = np.int64(3)
                    else:
                        row1 = base1 + (line & sets1) * width1
                        found = find(tags, row1, narrow1, mask1, key)
                        if found:
                            hits1 += 1
                            source = np.int64(1)
                            way = lowest_bit(found)
                            front(tags, row1, narrow1, way, tags[row1 + way])
                        else:
                            if not third:
                                missed += 1
                                source = np.int64(3)
                            else:
                                row2 = base2 + (line & sets2) * width2
                                found = find(tags, row2, narrow2, mask2, key)
                                if found:
                                    hits2 += 1
                                    source = np.int64(2)
                                    way = lowest_bit(found)
                                    front(tags, row2, narrow2, way, tags[row2 + way])
                                else:
                                    missed += 1
                                    source = np.int64(3)
                                    victim2 = tags[row2 + last2]
                                    put(tags, row2, narrow2, key)
                                    if victim2 < 0:
                                        empty2 += 1
                                    elif victim2 & DIRTY:
                                        back2 += 1
                                        written += 1
                            victim1 = tags[row1 + last1]
                            put(tags, row1, narrow1, key)
                            if victim1 < 0:
                                empty1 += 1
                            elif victim1 & DIRTY:
                                back1 += 1
                                written += write_back(tags, shape, counts, 2, victim1 >> 2)
                    if source:
                        victim0 = tags[row0 + last0]
                        put(tags, row0, narrow0, key | kind)
                        if victim0 < 0:
                            empty0 += 1
                        elif victim0 & DIRTY:
                            back0 += 1
                            written += write_back(tags, shape, counts, 1, victim0 >> 2)
                    if final > first:
                        counts[12 + source] -= 1
                        outermost = max(outermost, source)
                        if line == final:
                            counts[12 + outermost] += 1
                last_line, last_kind = final, kind
            if uniform:
                base = np.uint64(last_line) << shift
                limit = line_bytes - np.uint64(size)
                if kind <= last_kind:
                    start = i
                    while i + 16 <= end:
                        far = outside(a, i, base, limit)
                        if far:
                            i += lowest_bit(far)
                            break
                        i += 16
                    else:
                        while i < end and a[i] - base <= limit:
                            i += 1
                    hits0 += i - start
        last[0], last[1] = last_line, last_kind
        counts[0] += hits0
        counts[1] += hits1
        counts[2] += hits2
        counts[3] += missed
        # Every fill gave something up but those that found an empty way.
        counts[4] += hits1 + hits2 + missed - empty0
        counts[5] += (hits2 + missed - empty1) * second
        counts[6] += (missed - empty2) * third
        counts[8 + 0] += back0
        counts[8 + 1] += back1
        counts[8 + 2] += back2
        return written

    return run_plain


run_plain: Any = _compiled(digest(tagrow))


def plain_shape(levels: list[tuple[int, int]]) -> Any:
    """Shape of a hierarchy of (sets, ways), innermost first; None where the short path does not serve it."""
    if not 1 <= len(levels) <= 3 or any(ways > 16 or sets & (sets - 1) for sets, ways in levels):
        return None
    shape = np.zeros((4, 3), dtype=np.int64)
    base = 0
    for k, (sets, ways) in enumerate(levels):
        shape[:, k] = base, sets, ways, 8 if ways <= 8 else 16
        base += sets * int(shape[WIDTHS, k])
    return shape


def _blocks(shape: Any, rows: Any, slots: Any) -> Any:
    """(words of the rows, slots) of every level, both by set and way."""
    start = 0
    for k in range(3):
        sets, ways, width = (int(shape[n, k]) for n in (SETS, WAYS, WIDTHS))
        base = int(shape[BASES, k])
        if ways:
            words = rows[base : base + sets * width].reshape(sets, width)[:, :ways]
            yield words, slots[start : start + sets * ways].reshape(sets, ways)
        start += sets * ways


def to_rows(shape: Any, slots: Any) -> Any:
    """Padded rows with the words that the slots of `cachekernel` hold."""
    size = int((shape[SETS] * shape[WIDTHS]).sum())
    spare = np.full(size + 8, -1, dtype=np.int64)
    begin = -spare.ctypes.data % 64 // 8  # no row lies across two lines more than it must
    rows = spare[begin : begin + size]
    for words, held in _blocks(shape, rows, slots):
        words[:] = held
    return rows


def from_rows(shape: Any, rows: Any, slots: Any) -> None:
    """Writes the rows back into the slots."""
    for words, held in _blocks(shape, rows, slots):
        held[:] = words
