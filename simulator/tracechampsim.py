"""ChampSim's binary traces: records of 64 bytes (`input_instr` of ChampSim's inc/trace_instruction.h), one an instruction.

    ip                     uint64         its address: the fetch
    is_branch, branch_taken   2 x uint8   0 or 1
    destination_registers  2 x uint8
    source_registers       4 x uint8
    destination_memory     2 x uint64     stores, 0: none
    source_memory          4 x uint64     loads, 0: none

An instruction becomes its fetch, its loads, its stores, in this order. The format has no sizes: every access has one byte, so
that it touches the line of its address, as in ChampSim. Left out: the longer records of its CloudSuite traces.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simulator.tracechunk import CHUNK_ACCESSES, FETCH, LOAD, STORE, TraceChunk, TraceFileError, blocks

RECORD = np.dtype([("ip", "<u8"), ("is_branch", "u1"), ("branch_taken", "u1"), ("destination_registers", "u1", 2),
                   ("source_registers", "u1", 4), ("destination_memory", "<u8", 2), ("source_memory", "<u8", 4)])  # fmt: skip

_KINDS = np.array([FETCH, LOAD, LOAD, LOAD, LOAD, STORE, STORE], dtype=np.uint8)
_RECORDS_AT_ONCE = CHUNK_ACCESSES // len(_KINDS)


def read_champsim(path: Path, stream: Any) -> Iterator[TraceChunk]:
    """Chunks of a ChampSim trace out of its decompressed bytes. Raises TraceFileError with the number of the record, from 0."""
    rest, done = b"", 0
    for block in blocks(path, stream, _RECORDS_AT_ONCE * RECORD.itemsize):
        data = rest + block
        count = len(data) // RECORD.itemsize
        rest = data[count * RECORD.itemsize :]
        if count:
            records = np.frombuffer(data, dtype=RECORD, count=count)
            _check(path, records, done)
            yield _accesses(records)
            done += count
    if rest:
        rule = f"it has {len(rest)} of {RECORD.itemsize} bytes: the file is truncated, or no ChampSim trace"
        raise TraceFileError(path, rule, record=done)


def _check(path: Path, records: Any, done: int) -> None:
    for name in ("is_branch", "branch_taken"):
        wrong = np.flatnonzero(records[name] > 1)
        if len(wrong):
            rule = f"{name} must be 0 or 1, got {records[name][wrong[0]]}: no ChampSim trace, or a damaged one"
            raise TraceFileError(path, rule, record=done + int(wrong[0]))


def _accesses(records: Any) -> TraceChunk:
    fields = (records["ip"][:, None], records["source_memory"], records["destination_memory"])
    table = np.concatenate(fields, axis=1)
    there = table != 0
    there[:, 0] = True
    addresses = table[there].astype(np.uint64, copy=False)
    kinds = np.broadcast_to(_KINDS, table.shape)[there]
    return TraceChunk(addresses, np.ones(len(addresses), dtype=np.int64), kinds)
