"""Sharing microbenchmarks: what it takes to hand one cache line from core to core, and to count in it from several cores.

The hand-over is the time of the false sharing that the published code kernel suffers, and of a barrier's arrivals; the counter
is that of a dynamic schedule. Both are what a program sees: the line's way, and the load and store that ask for it.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kernels.library import I64, POINTER, function
from kernels.timing import Spread, clock_hertz, rounds, spread, usable_cpus

TURNS, INCREMENTS = 4000, 4000
WORK = (0, 1000)
"""Dependent additions before an increment: none, and what a small piece of a dynamic schedule takes."""

REPEATS, QUICK_REPEATS = 9, 3
LINE = 64


class SharingTask(ctypes.Structure):
    """`struct SharingTask` of sharing/scalar.cpp."""

    _fields_ = (("line", POINTER), ("thread", I64), ("threads", I64), ("count", I64), ("work", I64))


@dataclass(frozen=True)
class HandOver:
    """Seconds until a core has a line that the other one of a pair wrote: half a round trip."""

    cpus: tuple[int, int]
    seconds: Spread


@dataclass(frozen=True)
class Counter:
    """Seconds between two increments of one line by any of `threads` cores, each after `work_additions` of its own."""

    threads: int
    work_additions: int
    seconds: Spread


def shared_line() -> tuple[Any, int]:
    """(owner, address) of one zeroed line that shares its neighbour line with nobody: adjacent-line prefetchers fetch both."""
    owner = np.zeros(6 * LINE, dtype=np.uint8)
    return owner, -(-owner.ctypes.data // (2 * LINE)) * 2 * LINE


def _seconds_each(symbol: str, cpus: Sequence[int], count: int, repeats: int, work: int = 0) -> Spread:
    owner, address = shared_line()
    tasks = [SharingTask(address, thread, len(cpus), count, work) for thread in range(len(cpus))]
    probe = function("sharing", symbol)
    rounds(probe, tasks, cpus, 1)
    seconds, done = rounds(probe, tasks, cpus, repeats)
    del owner  # not before the rounds are over
    return spread([time / events for time, events in zip(seconds, done, strict=True)])


def hand_over(cpus: tuple[int, int], repeats: int = REPEATS) -> HandOver:
    """One pair of CPUs passes a token to and fro. Raises KernelError or BuildError."""
    return HandOver(cpus, _seconds_each("sharing_token", cpus, TURNS, repeats))


def counter(cpus: Sequence[int], work: int, repeats: int = REPEATS) -> Counter:
    """All `cpus` increment one line, each after `work` additions. Raises KernelError or BuildError."""
    return Counter(len(cpus), work, _seconds_each("sharing_count", cpus, INCREMENTS, repeats, work))


def sharing_probes(quick: bool = False) -> dict[str, Any]:
    """The first CPU against every other one, every CPU with the next, and the counter on 1, 2, 4, ... cores, as plain records."""
    cpus, repeats, start = usable_cpus(), QUICK_REPEATS if quick else REPEATS, time.monotonic()
    clock = clock_hertz(cpus[0])
    pairs = {(cpus[0], other) for other in cpus[1:]} | set(zip(cpus, cpus[1:], strict=False))
    found = [hand_over(pair, repeats) for pair in sorted(pairs)]
    counts = sorted({min(1 << k, len(cpus)) for k in range(len(cpus).bit_length() + 1)})
    medians = [pair.seconds.median for pair in found]
    return {
        "probe": "sharing",
        "quick": quick,
        "cpus": list(cpus),
        "clock_hertz": asdict(clock),
        "hand_over_seconds_median": statistics.median(medians) if medians else None,
        "hand_overs": [asdict(pair) for pair in found],
        "counters": [asdict(counter(cpus[:n], work, repeats)) for work in WORK for n in counts],
        "elapsed_seconds": time.monotonic() - start,
    }
