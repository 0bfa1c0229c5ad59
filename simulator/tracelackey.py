# mypy: disable-error-code="no-untyped-def,assignment"
"""Traces of Valgrind's lackey, `--trace-mem=yes`: text, a line an access.

    I  04001000,3        instruction fetch: address in hexadecimal, size in bytes
     L 1ffeffe7e0,8      load
     S 1ffeffe7d8,8      store
     M 0421c7cc,4        modify: read here as a load followed by a store

Valgrind's own messages (`==pid==`, `--pid--`, `**pid**`) and empty lines are passed over; anything else is refused, because
a line of another program's output could hide accesses. Source: lackey/lk_main.c of Valgrind.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from simulator.tracechunk import BLOCK_BYTES, CHUNK_ACCESSES, MAX_SIZE_BYTES, TraceChunk, TraceFileError, blocks

_RULES = (
    "",
    "a line begins with 'I  ', ' L ', ' S ' or ' M ' (or ==pid==); record with --log-file to keep the program's output apart",
    "an address of 1 to 16 hexadecimal digits is needed",
    "a comma and a size in bytes are needed after the address",
    f"a size must lie between 1 and {MAX_SIZE_BYTES} bytes",
    "the access runs beyond the last address",
    "nothing may follow the size",
)
_MODIFY = 3


@njit(cache=True, nogil=True)
def _is_note(text, p):
    """Whether a line is empty or one of Valgrind's own: a number between doubled =, - or *."""
    first = text[p]
    if first == 10 or (first == 13 and text[p + 1] == 10):
        return True
    if not (first == 61 or first == 45 or first == 42) or text[p + 1] != first or not 48 <= text[p + 2] <= 57:
        return False
    p += 3
    while 48 <= text[p] <= 57:
        p += 1
    return text[p] == first and text[p + 1] == first


@njit(cache=True, nogil=True)
def parse(text, position, end, addresses, sizes, kinds, found):
    """Whole lines of text[position:end] into the arrays until one is full or a line is wrong.

    Returns (position after the last good line, number of the broken rule or 0); found becomes (accesses, lines, modifies).
    """
    n = lines = modifies = 0
    room = len(addresses) - 1
    while position < end and n < room:
        p = position
        first = text[p]
        kind = -1
        if first == 73:  # I
            if text[p + 1] == 32:
                kind = 2
        elif first == 32:
            mark = text[p + 1]
            kind = 0 if mark == 76 else 1 if mark == 83 else 3 if mark == 77 else -1
        elif _is_note(text, p):
            while text[p] != 10:
                p += 1
            lines += 1
            position = p + 1
            continue
        if kind < 0 or text[p + 2] != 32:
            return _end(found, n, lines, modifies, position, 1)
        p += 3
        address, digits = np.uint64(0), 0
        while True:
            c = text[p]
            if 48 <= c <= 57:
                c -= 48
            elif 97 <= c <= 102:
                c -= 87
            elif 65 <= c <= 70:
                c -= 55
            else:
                break
            address = address << np.uint64(4) | np.uint64(c)
            digits += 1
            p += 1
        if digits < 1 or digits > 16:
            return _end(found, n, lines, modifies, position, 2)
        if text[p] != 44 or not 48 <= text[p + 1] <= 57:
            return _end(found, n, lines, modifies, position, 3)
        p += 1
        size = 0
        while 48 <= text[p] <= 57:
            size = size * 10 + np.int64(text[p]) - 48 if size <= MAX_SIZE_BYTES else size
            p += 1
        if size < 1 or size > MAX_SIZE_BYTES:
            return _end(found, n, lines, modifies, position, 4)
        if address + np.uint64(size - 1) < address:
            return _end(found, n, lines, modifies, position, 5)
        if text[p] == 13:
            p += 1
        if text[p] != 10:
            return _end(found, n, lines, modifies, position, 6)
        addresses[n], sizes[n], kinds[n] = address, size, kind
        if kind == _MODIFY:
            kinds[n] = 0
            n += 1
            addresses[n], sizes[n], kinds[n] = address, size, 1
            modifies += 1
        n += 1
        lines += 1
        position = p + 1
    return _end(found, n, lines, modifies, position, 0)


@njit(cache=True, nogil=True)
def _end(found, n, lines, modifies, position, rule):
    found[0], found[1], found[2] = n, lines, modifies
    return position, rule


def read_lackey(path: Path, stream: Any) -> Iterator[TraceChunk]:
    """Chunks of a lackey trace out of its decompressed bytes. Raises TraceFileError with the number of the line."""
    rest, lines, found = b"", 0, np.zeros(3, dtype=np.int64)
    for block in blocks(path, stream):
        data = rest + block
        end = data.rfind(b"\n") + 1
        if end == 0 and len(data) > BLOCK_BYTES:
            raise TraceFileError(path, f"a line of more than {BLOCK_BYTES} bytes", line=lines + 1)
        text, position = np.frombuffer(data, dtype=np.uint8), 0
        while position < end:
            room = min(CHUNK_ACCESSES, (end - position) // 3 + 2)
            addresses, sizes = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.int64)
            kinds = np.empty(room, dtype=np.uint8)
            position, rule = parse(text, position, end, addresses, sizes, kinds, found)
            count, passed, modifies = (int(value) for value in found)
            lines += passed
            if count:
                yield TraceChunk(addresses[:count], sizes[:count], kinds[:count], modifies=modifies)
            if rule:
                line = data[position : data.index(b"\n", position)][:60].decode("ascii", "replace")
                raise TraceFileError(path, f"{_RULES[rule]}, got {line!r}", line=lines + 1)
        rest = data[end:]
    if rest:
        raise TraceFileError(path, "the last line has no end: the file is truncated", line=lines + 1)
