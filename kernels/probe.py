"""Memory microbenchmarks: what this host's caches and memory give, as curves over the footprint.

Every number is a rate or a latency that a program saw. A footprint belongs to one thread; threads share no data. Random
rows are drawn independently (some come again early, some never), sweeps and chases go round. Rates count the bytes that
the program loads and stores, not what the caches move to do so.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kernels.library import I64, POINTER, KernelError, function, runnable
from kernels.peak import Instruction, Rate, rate
from kernels.timing import MemoryTask, Spread, clock_hertz, rounds, spread, usable_cpus

KIB, MIB = 1 << 10, 1 << 20
LINE = 64
SMALL_PAGE, HUGE_PAGE = mmap.PAGESIZE, 2 * MIB
LIST_PADDING = 1 << 14
"""Entries behind an index list that repeat its start, so that prefetch never runs out of it."""

MAX_LIST = 1 << 21
CHASE_VISITS, REFILL_SWEEPS = 3, 12
"""A chase near the capacity of a shared cache has two states, depending on the neighbours; one visit sees one of them."""

MAX_WARM_BYTES, WARM_ROUNDS = 32 * MIB, 3
"""Caches settle only after several rounds: what comes once may be put where it is evicted first; a chase is too slow for that."""

FULL_BUDGET_SECONDS, QUICK_BUDGET_SECONDS = 55.0, 9.0
PORT_BOUND_SHARE = 0.8
"""Of what independent loads reach, a sequential read from L1 must reach so much before the other probes are believed."""


@dataclass(frozen=True)
class Region:
    """Touched anonymous memory. `huge_bytes` lie in 2 MiB pages according to /proc/self/smaps."""

    requested_page_bytes: int
    region_bytes: int
    huge_bytes: int
    address: int = field(repr=False)
    owner: mmap.mmap = field(repr=False)

    @property
    def page_bytes(self) -> int:
        """The page size that was obtained; 0 for a mixture."""
        if self.huge_bytes >= 0.95 * self.region_bytes:
            return HUGE_PAGE
        return SMALL_PAGE if self.huge_bytes == 0 else 0

    @property
    def verified(self) -> bool:
        """Whether the pages are those that were asked for."""
        return self.page_bytes == self.requested_page_bytes

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "requested_page_bytes": self.requested_page_bytes,
            "region_bytes": self.region_bytes,
            "huge_bytes": self.huge_bytes,
            "verified": self.verified,
        }


@dataclass(frozen=True)
class Shape:
    """One point to measure. `prefetch_bytes` 0 is demand only; `row_bytes` 0 means sweeps and chases."""

    kind: str
    footprint_bytes: int
    threads: int = 1
    row_bytes: int = 0
    prefetch_bytes: int = 0
    fmas_per_line: int = 0


@dataclass(frozen=True)
class MemoryPoint:
    """One measured point: rates of all threads together, or the latency of a step of a chase."""

    kind: str
    page_bytes: int
    footprint_bytes: int
    threads: int
    row_bytes: int
    prefetch_bytes: int
    fmas_per_line: int
    round_seconds: Spread
    bytes_per_second: Spread | None = None
    latency_seconds: Spread | None = None


@dataclass(frozen=True)
class Effort:
    """How much is measured, and for how long at most."""

    footprints: tuple[int, ...]
    round_seconds: float
    repeats: int
    budget_seconds: float
    rows: tuple[int, ...]
    distances: tuple[int, ...]


FULL = Effort(
    footprints=tuple(16 * KIB << i for i in range(15)),
    round_seconds=1.5e-3,
    repeats=5,
    budget_seconds=FULL_BUDGET_SECONDS,
    rows=tuple(64 << i for i in range(8)),
    distances=tuple(512 << i for i in range(7)),
)
QUICK = Effort(
    footprints=tuple(n * KIB for n in (16, 32, 256, 512, 2048, 8192, 16384, 65536, 131072)),
    round_seconds=1e-3,
    repeats=3,
    budget_seconds=QUICK_BUDGET_SECONDS,
    rows=(64, 512, 2048),
    distances=(1024, 4096, 16384),
)
SYMBOLS = {
    "chase": "memory_chase",
    "read": "memory_read",
    "write": "memory_write",
    "write_streaming": "memory_write_streaming",
    "update": "memory_update",
    "copy": "memory_copy",
    "rows": "memory_rows",
    "rows_work": "memory_rows_work",
}


def allocate(region_bytes: int, page_bytes: int) -> Region:
    """Zeroed memory in pages of (if Linux agrees) 4 KiB or 2 MiB, all of it touched by a write."""
    owner = mmap.mmap(-1, region_bytes + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(owner))
    start = -base % HUGE_PAGE
    wanted = mmap.MADV_HUGEPAGE if page_bytes == HUGE_PAGE else mmap.MADV_NOHUGEPAGE
    with contextlib.suppress(OSError):  # a kernel without transparent huge pages; what came of it is read below
        owner.madvise(wanted, start, region_bytes)
    ctypes.memset(base + start, 0, region_bytes)
    return Region(page_bytes, region_bytes, huge_bytes(base + start, region_bytes), base + start, owner)


def huge_bytes(address: int, size: int) -> int:
    """Bytes of [address, address + size) in transparent huge pages, from /proc/self/smaps; 0 if that cannot be read."""
    total, share = 0, 0.0
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            low, high = int(match[1], 16), int(match[2], 16)
            inside = max(0, min(high, address + size) - max(low, address))
            share = inside / (high - low)
        elif share and line.startswith("AnonHugePages:"):
            total += min(int(line.split()[1]) * KIB, size) if share == 1 else int(int(line.split()[1]) * KIB * share)
    return total


def index_list(shape: Shape, seed: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Starts of random rows in lines, enough to touch nearly all of them, then its own beginning again."""
    there = shape.footprint_bytes // shape.row_bytes
    length = min(max(4 * there, 64), MAX_LIST)
    drawn = np.random.default_rng(seed).integers(0, there, length, dtype=np.uint32) * np.uint32(shape.row_bytes // LINE)
    return np.concatenate((drawn, np.resize(drawn, LIST_PADDING)))


def _task(shape: Shape, region: Region, thread: int, lines: Any) -> MemoryTask:
    """A thread's task on a part of the region of its own, warm if that is soon done."""
    task = MemoryTask(data=region.address + thread * shape.footprint_bytes, bytes=shape.footprint_bytes, count=1)
    if shape.kind == "chase":
        link = function("memory", "memory_link")
        if link(POINTER(task.data), I64(shape.footprint_bytes), I64(thread)):
            raise KernelError(f"no memory for a chase through {shape.footprint_bytes} bytes")
        task.count = min(shape.footprint_bytes // LINE, 4096)
    if shape.row_bytes:
        task.lines, task.length = lines.ctypes.data, len(lines) - LIST_PADDING
        task.row_bytes, task.prefetch_bytes = shape.row_bytes, shape.prefetch_bytes
        task.fmas_per_line, task.count = shape.fmas_per_line, min(task.length, MAX_WARM_BYTES // shape.row_bytes)
    return task


def measure(shape: Shape, region: Region, effort: Effort, cpus: Sequence[int], isa: str | None = None) -> MemoryPoint:
    """One point: a warm round, a second one to choose how long a round is, then the rounds that count."""
    if shape.threads * shape.footprint_bytes > region.region_bytes:
        raise ValueError(f"{shape.threads} x {shape.footprint_bytes} bytes do not fit {region.region_bytes}")
    probe = function("memory", SYMBOLS[shape.kind], isa)
    lists = [index_list(shape, thread) if shape.row_bytes else None for thread in range(shape.threads)]
    tasks = [_task(shape, region, thread, lines) for thread, lines in enumerate(lists)]
    warm = WARM_ROUNDS if shape.footprint_bytes <= MAX_WARM_BYTES else 1
    _, amounts = rounds(probe, tasks, cpus, warm)
    if amounts[0] < 0:
        raise KernelError(
            f"{SYMBOLS[shape.kind]} has no rows of {shape.row_bytes} bytes, {shape.fmas_per_line} FMAs a line"
        )
    for task in tasks:
        task.count = {"chase": min(task.count, 4096), "rows": min(task.count, 4096)}.get(shape.kind, task.count)
    if shape.kind == "chase" and warm > 1:
        refill(tasks, cpus)
    for _ in range(2):  # the first estimate has cold pages and page walks in it
        (seconds,), _ = rounds(probe, tasks, cpus, 1)
        for task in tasks:
            task.count = max(1, round(task.count * min(effort.round_seconds / seconds, 1000)))
    chase = shape.kind == "chase"
    times, amounts = ([], []) if chase and warm > 1 else rounds(probe, tasks, cpus, effort.repeats)
    if chase and warm > 1:
        for _ in range(CHASE_VISITS):
            refill(tasks, cpus)
            more = rounds(probe, tasks, cpus, effort.repeats)
            times, amounts = times + more[0], amounts + more[1]
    return MemoryPoint(
        page_bytes=region.page_bytes,
        round_seconds=spread(times),
        latency_seconds=spread([t * shape.threads / n for t, n in zip(times, amounts, strict=True)]) if chase else None,
        bytes_per_second=None if chase else spread([n / t for t, n in zip(times, amounts, strict=True)]),
        **asdict(shape),
    )


def refill(tasks: Sequence[MemoryTask], cpus: Sequence[int]) -> None:
    """Sweeps the footprint back into the caches: neighbours on a shared cache take it from a chase, which is slow."""
    sweeps = [MemoryTask(data=task.data, bytes=task.bytes, count=REFILL_SWEEPS) for task in tasks]
    rounds(function("memory", "memory_read"), sweeps, cpus, 1)


def plan(effort: Effort, threads: Sequence[int], largest: int) -> Iterator[Shape]:
    """The points on the preferred page size, most wanted first; `largest` bytes is all that there is for a point."""
    for n in threads:
        for footprint in fitting(effort, n, largest):
            yield from (Shape(kind, footprint, n) for kind in ("read", "update"))
    for n in threads:
        for row in effort.rows:
            for footprint in fitting(effort, n, largest, row):
                distances = (0, effort.distances[len(effort.distances) // 2])
                yield from (Shape("rows", footprint, n, row, distance) for distance in distances)
    top = fitting(effort, 1, largest)[-1]
    for work in (1, 2, 4, 8, 16):
        yield from (Shape("rows_work", top, 1, 512, distance, work) for distance in (0, 4 * KIB))
    for row in effort.rows:
        yield from (Shape("rows", top, 1, row, distance) for distance in effort.distances)
    for kind in ("write", "write_streaming", "copy"):
        yield from (Shape(kind, footprint) for footprint in fitting(effort, 1, largest))
    yield from chases(effort, threads, largest)


def chases(effort: Effort, threads: Sequence[int], largest: int) -> Iterator[Shape]:
    """Chases come last on a region: their links are no numbers that one should multiply."""
    for n in (threads[0], threads[-1]) if len(threads) > 1 else threads:
        yield from (Shape("chase", footprint, n) for footprint in fitting(effort, n, largest))


def plan_small_pages(effort: Effort, largest: int) -> Iterator[Shape]:
    """What is repeated on the other page size: enough to see whether pages matter."""
    for footprint in fitting(effort, 1, largest)[::2]:
        yield Shape("read", footprint)
        yield from (Shape("rows", footprint, 1, row) for row in effort.rows[::3] if row * 16 <= footprint)
    yield from chases(effort, (1,), largest)


def fitting(effort: Effort, threads: int, largest: int, row: int = LINE) -> tuple[int, ...]:
    """Footprints of a thread that fit, with at least 16 rows in them."""
    return tuple(f for f in effort.footprints if f * threads <= largest and f >= 16 * row)


def thread_counts(cores: int) -> tuple[int, ...]:
    """1, 2, half and all."""
    return tuple(sorted({1, min(2, cores), max(1, cores // 2), cores}))


def port_bound(points: Sequence[MemoryPoint], clock: Spread, loads: Rate, vector_bytes: int) -> dict[str, Any]:
    """Whether the sequential read from L1 comes near what the load ports give to `loads`, independent loads of one vector."""
    needed = PORT_BOUND_SHARE * loads.per_cycle.median * vector_bytes
    rates = [p.bytes_per_second.median for p in points if p.kind == "read" and p.threads == 1 and p.bytes_per_second]
    reached = max(rates, default=0.0) / clock.median
    return {
        "bytes_per_cycle": reached,
        "needed_bytes_per_cycle": needed,
        "loads_per_cycle": loads.per_cycle.median,
        "port_bound_reached": reached >= needed,
    }


def memory_probes(quick: bool = False, isa: str | None = None) -> dict[str, Any]:
    """Every memory probe within the budget of time, as plain records. Raises KernelError or BuildError."""
    effort = QUICK if quick else FULL
    vector = next((v.isa_name for v in runnable("memory", isa) if v.isa_name != "scalar"), None)
    if vector is None:
        raise KernelError("memory probes need AVX2 or AVX-512, which this CPU does not have")
    for symbol in SYMBOLS.values():
        function("memory", symbol, isa)  # compiled before the clock of the budget starts
    cpus = usable_cpus()
    threads = thread_counts(len(cpus))
    before = clock_hertz(cpus[0])
    start = time.monotonic()
    points: list[MemoryPoint] = []
    pages: list[dict[str, Any]] = []
    left_out = 0
    for page, share in ((HUGE_PAGE, 0.85), (SMALL_PAGE, 1.0)):
        region = allocate(region_bytes(effort, len(cpus)) if page == HUGE_PAGE else effort.footprints[-1], page)
        pages.append(region.record())
        first = not any(p["verified"] for p in pages[:-1])
        if page == HUGE_PAGE and not region.verified:
            continue
        shapes = plan(effort, threads, region.region_bytes) if first else plan_small_pages(effort, region.region_bytes)
        for shape in shapes:
            if time.monotonic() - start > share * effort.budget_seconds:
                left_out += 1
            else:
                points.append(measure(shape, region, effort, cpus, isa))
    after = clock_hertz(cpus[0])
    vector_bytes = 64 if vector == "avx512" else 32 if vector == "avx2" else 16
    symbol = {64: "peak_load", 32: "peak_load_256", 16: "peak_load_128"}[vector_bytes]
    loads = rate(Instruction("load", symbol), cpus[0])
    return {
        "probe": "memory",
        "quick": quick,
        "instruction_set": vector,
        "cpus": list(cpus),
        "clock_hertz_before": asdict(before),
        "clock_hertz_after": asdict(after),
        **port_bound(points, max(before, after, key=lambda c: c.median), loads, vector_bytes),
        "pages": pages,
        "points": [asdict(point) for point in points],
        "points_left_out": left_out,
        "elapsed_seconds": time.monotonic() - start,
    }


def region_bytes(effort: Effort, cores: int) -> int:
    """The largest footprint, or 64 MiB a core; no more than a quarter of the memory that is free."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    wanted = max(effort.footprints[-1], cores * 64 * MIB)
    return max(effort.footprints[0] * cores, min(wanted, free // 4)) // HUGE_PAGE * HUGE_PAGE
