"""Rounds of a compiled probe on pinned threads, and their spread. Cycles come from a chain of dependent additions,
never from the time-stamp counter."""

from __future__ import annotations

import ctypes
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kernels.host import HostError, observe
from kernels.library import I64, POINTER, KernelError, address, function

CLOCK_ITERATIONS = 20_000


class MemoryTask(ctypes.Structure):
    """`struct MemoryTask` of include/probe.hpp."""

    _fields_ = (
        ("data", POINTER),
        ("bytes", I64),
        ("lines", POINTER),
        *((name, I64) for name in ("length", "cursor", "count", "row_bytes", "prefetch_bytes", "fmas_per_line")),
    )


class PeakTask(ctypes.Structure):
    """`struct PeakTask` of include/probe.hpp."""

    _fields_ = (("iterations", I64),)


@dataclass(frozen=True)
class Spread:
    """Repeats of one number; `iqr` is the distance between the quartiles."""

    median: float
    minimum: float
    iqr: float
    repeats: int


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one number."""
    if len(values) < 2:
        return Spread(values[0], values[0], 0.0, 1)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, min(values), high - low, len(values))


def usable_cpus() -> tuple[int, ...]:
    """One logical CPU of each physical core that this process may use, no more than its CPU quota pays for."""
    allowed = sorted(os.sched_getaffinity(0))
    try:
        host = observe()
    except HostError:
        return tuple(allowed)
    firsts = [min(set(core) & set(allowed)) for core in host.usable_cores if set(core) & set(allowed)]
    quota = max(1, int(host.cpu_quota)) if host.cpu_quota else len(firsts)
    return tuple(sorted(firsts)[:quota]) or tuple(allowed)


def rounds(
    probe: Any, tasks: Sequence[ctypes.Structure], cpus: Sequence[int], count: int
) -> tuple[list[float], list[int]]:
    """Seconds of each round, and how much its threads did together. One task a thread, the i-th on cpus[i]."""
    threads = len(tasks)
    if threads > len(cpus):
        raise ValueError(f"{threads} tasks for {len(cpus)} CPUs")
    seconds, done = (ctypes.c_double * count)(), (I64 * count)()
    run = function("timer", "time_rounds")
    status = run(
        POINTER(address(probe)),
        (POINTER * threads)(*(ctypes.addressof(task) for task in tasks)),
        (I64 * threads)(*cpus[:threads]),
        I64(threads),
        I64(count),
        seconds,
        done,
    )
    if status:
        raise KernelError(f"{threads} threads cannot be started")
    return list(seconds), list(done)


def clock_hertz(cpu: int, repeats: int = 5, symbol: str = "peak_clock") -> Spread:
    """Clock of a core: one dependent addition a cycle."""
    task = PeakTask(CLOCK_ITERATIONS)
    probe = function("peak", symbol)
    rounds(probe, [task], [cpu], 1)
    seconds, done = rounds(probe, [task], [cpu], repeats)
    return spread([additions / time for additions, time in zip(done, seconds, strict=True)])
