"""The address streams of the real schedules, generated in chunks and never stored.

`gather_streams` gives the accesses of every core for calls of a look-up or GEMM FFN over L layers, in the order in which the
compiled kernels make them (`addresses_lookup`, `addresses_gemm`; loops in `touches`). A `Segment` is one chunk of one core with a
stream number an access. Segments of one `round` run side by side: the next round starts when all are done; barriers fall between
rounds. `access_bytes` is the grain: an access for every aligned piece of so many bytes that an instruction or a run of them
touches (64: lines; 8: elements, for exact counts of accesses).

Left out: software prefetches (they fetch the same lines earlier), stacks, instruction fetches, attention itself: what other
operators evict is a sweep over `evicted_bytes` by every core after each layer, another array for each layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.addresses_gemm import gemm_layers
from simulator.addresses_lookup import lookup_layers
from simulator.addresstasks import STREAMS, Program, Stage
from simulator.schedule import GemmSchedule, LookupSchedule
from simulator.workload import GemmFfn, LookupFfn

CHUNK_ACCESSES = 1 << 16
ROUND_ACCESSES = 1 << 19
"""Accesses of a chunk, and of a round over all cores (at most, if that leaves a core 2048)."""


@dataclass(frozen=True)
class Segment:
    """A chunk of consecutive accesses of one core.

    `streams`: the place in STREAMS of each access; `writes`: whether it is a store; all have `size_bytes`. Rounds are numbered
    through a run. The arrays are the receiver's to keep.
    """

    core: int
    round: int
    call: int
    layer: int
    addresses: NDArray[np.uint64]
    streams: NDArray[np.uint8]
    writes: NDArray[np.bool_]
    size_bytes: int


def gather_streams(
    op: LookupFfn | GemmFfn,
    schedule: LookupSchedule | GemmSchedule,
    batch: int,
    threads: int = 1,
    layers: int = 1,
    seed: int = 0,
    *,
    calls: int = 1,
    evicted_bytes: float = 0.0,
    access_bytes: int = 64,
    recorded: Any = None,
) -> Iterator[Segment]:
    """Segments of `calls` calls (each with fresh tokens) of `batch` tokens through `layers` layers on `threads` cores.

    `recorded`: rows of a look-up instead of draws from its distribution, [tokens, tables] or [layers, tokens, tables].
    The schedule is one candidate (`schedule.take`). Raises ValueError for what cannot be generated.
    """
    for name, value in (("batch", batch), ("threads", threads), ("layers", layers), ("calls", calls)):
        if value != int(value) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value}")
    if access_bytes not in (1, 2, 4, 8, 16, 32, 64):
        raise ValueError(f"access_bytes must be a power of two up to 64, got {access_bytes}")
    program = Program(int(batch), int(threads), int(layers), int(seed), int(calls), float(evicted_bytes), recorded)
    if isinstance(op, LookupFfn) and isinstance(schedule, LookupSchedule):
        stages = lookup_layers(op, schedule, program)
    elif isinstance(op, GemmFfn) and isinstance(schedule, GemmSchedule):
        stages = gemm_layers(op, schedule, program)
    else:
        raise ValueError(f"a {type(schedule).__name__} does not execute a {type(op).__name__}")
    return _segments(stages, int(threads), access_bytes)


def stream_name(stream: int) -> str:
    """'gather table_rows': phase and array of a stream number."""
    return " ".join(STREAMS[stream])


def _segments(stages: Iterator[Stage], threads: int, piece: int) -> Iterator[Segment]:
    chunk = min(CHUNK_ACCESSES, max(2048, ROUND_ACCESSES // threads))
    number = 0
    for stage in stages:
        tasks = [iter(core) for core in stage.cores]
        current = [next(core, None) for core in tasks]
        while any(task is not None for task in current):
            for core, task in enumerate(current):
                if task is None:
                    continue
                room = chunk
                addresses = np.empty(room + stage.spare * (64 // piece), dtype=np.uint64)
                streams, writes = np.empty(len(addresses), dtype=np.uint8), np.empty(len(addresses), dtype=np.bool_)
                n = 0
                while task is not None and n < room:
                    n = task.fill(addresses, streams, writes, n, room, piece)
                    if task.done:
                        task = next(tasks[core], None)
                current[core] = task
                if n:
                    yield Segment(core, number, stage.call, stage.layer, addresses[:n], streams[:n], writes[:n], piece)
            number += 1
