"""Microbenchmarks of this host, pass by pass: instructions and clock, memory, library GEMMs of shapes that are never held out.

Every pass visits every probe once, so that a slow minute of the machine falls on all of them; a pass is one sample of each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kernels.host import observe
from kernels.library import KernelError, function
from kernels.peak import RATES, rate, thread_cost
from kernels.probe import HUGE_PAGE, KIB, MIB, SMALL_PAGE, Effort, Region, Shape, allocate, measure
from kernels.timing import CLOCK_ITERATIONS, PeakTask, rounds
from validate.calls import Calls
from validate.points import Point, record_of

Line = dict[str, Any]
Note = Callable[[str], None]

RATE_NAMES = (
    "fma_fp32", "dot_bf16", "dot_int16", "dot_int8", "add_int", "exp_vectors", "load", "store", "int_to_float", "prefetch",
    "fma_fp32_256", "add_int_256", "load_256", "store_256",
)  # fmt: skip
EFFORT = Effort(footprints=(16 * KIB,), round_seconds=1e-3, repeats=3, budget_seconds=60.0, rows=(), distances=())
NEAR = 16 * KIB
"""Within the first level of any server of the last ten years."""

AROUND_SECOND = (0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
AROUND_LAST = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.5, 2.0)
"""Footprints as shares of the second and the last level, where they end."""

LEAST_FAR, MOST_FAR = 128 * MIB, 1024 * MIB


@dataclass(frozen=True)
class Ladder:
    """Footprints of a host: well inside the second and third level, in memory, and around the ends of both levels."""

    second: int
    third: int
    far: int
    around_second: tuple[int, ...]
    around_last: tuple[int, ...]

    @classmethod
    def of(cls, second_bytes: int, last_bytes: int, free_bytes: int) -> Ladder:
        """From the sizes of the caches; `free_bytes`: of memory that one array may take."""
        far = LEAST_FAR
        while far < min(4 * last_bytes, MOST_FAR, free_bytes // 2):
            far *= 2
        return cls(
            second_bytes // 2, min(6 * second_bytes, max(last_bytes // 4, 3 * second_bytes)), far,
            _lines(AROUND_SECOND, second_bytes), _lines(AROUND_LAST, last_bytes),
        )  # fmt: skip


def _lines(shares: Sequence[float], size: int) -> tuple[int, ...]:
    return tuple(int(share * size) // 4096 * 4096 for share in shares)


def ladder() -> Ladder:
    """Of this host: 1 MiB and 32 MiB where Linux does not list its caches."""
    seen = observe()
    sizes = {c.level: c.size_bytes for c in seen.caches if c.kind != "Instruction" and c.size_bytes}
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Ladder.of(sizes.get(2) or MIB, sizes.get(3) or 32 * MIB, free // 4)


ROW_BYTES = (64, 128, 256, 512, 1024)
DISTANCES = (1 * KIB, 2 * KIB, 4 * KIB, 8 * KIB, 16 * KIB)
WORK = (1, 2, 4, 8, 16)


def clock(cpus: Sequence[int], fma: bool = True) -> float:
    """Hertz of these cores together, each with a chain of dependent additions (and one multiply-add each)."""
    symbol = "peak_clock_fma" if fma else "peak_clock"
    try:
        probe = function("peak", symbol)
    except KernelError:
        probe = function("peak", "peak_clock")
    tasks = [PeakTask(CLOCK_ITERATIONS) for _ in cpus]
    rounds(probe, tasks, cpus, 1)
    seconds, done = rounds(probe, tasks, cpus, 5)
    return max(n / t for n, t in zip(done, seconds, strict=True)) / len(cpus)


def core_pass(cpus: Sequence[int]) -> Line:
    """Clock by active cores, instructions a cycle, barrier and pool by threads."""
    found: dict[str, float] = {}
    known = {i.name: i for i in RATES}
    for name in RATE_NAMES:
        try:
            found[name] = rate(known[name], cpus[0]).per_cycle.median
        except KernelError:
            continue
    counts = sorted({1, len(cpus) // 2, len(cpus)} - {0})
    costs = [thread_cost(n, tuple(cpus)) for n in counts if n > 1]
    return {
        "per_cycle": found,
        "clock_hz": [[n, clock(cpus[:n])] for n in counts],
        "barrier_seconds": [[c.threads, c.barrier_seconds.median] for c in costs],
        "pool_seconds": [[c.threads, c.pool_seconds.median] for c in costs],
    }


def shapes(at: Ladder, threads: int, quick: bool) -> list[Shape]:
    """What a pass of the memory probes on large pages measures."""
    second, third, far = at.second, at.third, at.far
    ends = at.around_last[1::2] if quick else at.around_last
    edges = at.around_second[1::2] if quick else at.around_second
    rows = (64, 256, 1024) if quick else ROW_BYTES
    counts = (1, threads) if threads > 1 else (1,)
    found = [Shape("read", footprint, n) for n in counts for footprint in (NEAR, second, third, *ends[1:], far)]
    for n in counts:
        for row in rows:
            found += [Shape("rows", f, n, row, ahead) for f in (second, third, far) for ahead in (0, 4 * KIB)]
        found += [Shape("rows", f, n, row) for row in (64, 512) for f in ends]
    found += [Shape("rows", NEAR, 1, row) for row in rows] + [
        Shape("rows_work", NEAR, 1, 512, 0, work) for work in (4, 8)
    ]
    found += [Shape("read", f, 1) for f in edges] + [Shape("rows", f, 1, row) for row in (64, 512) for f in edges]
    found += [Shape("rows", far, 1, row, ahead) for row in rows for ahead in DISTANCES if ahead >= row]
    found += [Shape("rows_work", far, 1, 512, ahead, work) for work in WORK for ahead in (0, 4 * KIB)]
    found += [Shape("rows_work", third, 1, 512, 0, work) for work in WORK]
    found += [Shape("chase", f, 1) for f in (NEAR, second, *edges, *ends, far)]
    return list(dict.fromkeys(found))


def small_page_shapes(at: Ladder, quick: bool) -> list[Shape]:
    """What is repeated on 4 KiB pages."""
    rows = [
        Shape("rows", f, 1, row) for f in ((at.far,) if quick else (at.second, at.third, at.far)) for row in (64, 512)
    ]
    return [*rows, Shape("chase", at.third, 1), Shape("chase", at.far, 1)]


def huge_pages() -> bool:
    """Whether Linux gives transparent huge pages that are asked for."""
    return allocate(8 * MIB, HUGE_PAGE).verified


class Memory:
    """The memory probes with their regions: large pages where Linux gives them, small ones."""

    def __init__(self, cpus: Sequence[int], quick: bool) -> None:
        self.cpus = tuple(cpus)
        threads = len(self.cpus)
        at = ladder()
        self.large = allocate(at.far * max(1, min(threads, 2)), HUGE_PAGE)
        self.small = allocate(at.far, SMALL_PAGE)
        wanted = [(self.large, s) for s in shapes(at, threads, quick)]
        wanted += [(self.small, s) for s in small_page_shapes(at, quick)]
        self.wanted: list[tuple[Region, Shape]] = [(r, _fitted(s, r)) for r, s in wanted]

    @property
    def pages(self) -> list[Line]:
        """What pages were asked for, and what was obtained."""
        return [self.large.record(), self.small.record()]

    def one_pass(self, note: Note = lambda text: None) -> list[Line]:
        """Every probe once. Sweeps and rows come before chases, whose links are no numbers that one should multiply."""
        found = []
        for number, (region, shape) in enumerate(self.wanted):
            note(f"memory probe {number + 1} of {len(self.wanted)}")
            point = asdict(measure(shape, region, EFFORT, self.cpus))
            spent, latency = point["round_seconds"], point["latency_seconds"]
            if latency is not None:
                seconds = latency["median"]
            else:
                seconds = 64.0 * shape.threads / point["bytes_per_second"]["median"]
            found.append(
                {
                    "kind": shape.kind, "footprint_bytes": shape.footprint_bytes, "threads": shape.threads,
                    "row_bytes": shape.row_bytes, "prefetch_bytes": shape.prefetch_bytes,
                    "fmas_per_line": shape.fmas_per_line, "page_bytes": region.page_bytes, "seconds_a_line": seconds,
                    "rounds": spent["repeats"],
                }
            )  # fmt: skip
        return found


def _fitted(shape: Shape, region: Region) -> Shape:
    """With many threads the largest footprints are halved until all have room."""
    footprint = shape.footprint_bytes
    while footprint * shape.threads > region.region_bytes:
        footprint //= 2
    return replace(shape, footprint_bytes=footprint)


GEMM_TOKENS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024)
QUICK_TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
NEAR_SHAPE, FAR_SHAPE = (256, 256), (1024, 1024)
FAR_LAYERS = 8
"""Of 1024 x 1024 and back: 64 MiB of weights in fp32, 16 MiB in int8."""


def gemm_points(threads: int, libraries: Sequence[tuple[str, str]], quick: bool) -> list[Point]:
    """Square layers for the efficiency curves: near (weights in the second level) by tokens, farther ones for how a library
    overlaps. Held-out layers have d from 320 to 768 and h at least twice that."""
    found = []
    tokens = QUICK_TOKENS if quick else GEMM_TOKENS
    for library, dtype in libraries:
        near = {"hidden": NEAR_SHAPE[0], "intermediate": NEAR_SHAPE[1], "gemm_dtype": dtype, "library": library}
        far = {**near, "hidden": FAR_SHAPE[0], "intermediate": FAR_SHAPE[1]}
        found += [Point("gemm_ffn", batch=n, threads=1, **near) for n in tokens]  # type: ignore[arg-type]
        for n in (1, 4, 16, 64, 256):
            found.append(Point("gemm_ffn", batch=n, threads=1, **far))  # type: ignore[arg-type]
            if n <= 64:
                found.append(Point("gemm_ffn", batch=n, threads=1, residency="model", layers=FAR_LAYERS, **far))  # type: ignore[arg-type]
        if threads > 1:
            found += [Point("gemm_ffn", batch=n, threads=threads, **near) for n in (1, 8, 64, 512)]  # type: ignore[arg-type]
            found += [Point("gemm_ffn", batch=n, threads=threads, **far) for n in (1, 16, 256)]  # type: ignore[arg-type]
    return found


def gemm_pass(points: Sequence[Point], calls: Calls, series: dict[int, Any], seconds_a_round: float) -> list[Line]:
    """Every GEMM point once; `series` keeps the prepared calls from pass to pass."""
    found = []
    for index, point in enumerate(points):
        if index not in series:
            made = calls.of(point)
            made.seconds(1)
            series[index] = made, max(1, round(seconds_a_round / made.seconds(1)))
        made, repeats = series[index]
        made.seconds(1)
        found.append({"point": record_of(point), "seconds": made.seconds(repeats) / len(made.calls)})
    return found
