"""Seeded cases that hold the cover of prefetchers in closed form to the exact simulator: rows at random places, aligned and not,
long sweeps, strided walks, random lines, under each kind of prefetcher at each level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.cachegeometry import CacheGeometry, Hierarchy, PrefetcherGeometry
from simulator.prefetchcover import Cover, runs_cover, walk_cover
from simulator.tracesim import TraceSimulator

LINE, PAGE = 64, 4096
SIZES, WAYS = (16 << 10, 128 << 10, 1 << 20), (8, 8, 16)
ACCESSES = 200_000
"""Line accesses of a case, half of them a warm-up where rows come back."""

SHAPES = ("aligned rows", "other rows", "sweep", "walk", "random lines")


@dataclass(frozen=True)
class PrefetchCase:
    """One comparison: rows of `size` bytes, `stride` from each other, of a table of so many; or a walk over `stride`."""

    shape: str
    prefetcher: PrefetcherGeometry
    size: int
    stride: int
    rows: int
    seed: int

    @property
    def name(self) -> str:
        """What it is."""
        p = self.prefetcher
        what = f"{self.shape}, {self.rows} of {self.size} B every {self.stride} B"
        return f"{p.kind} L{p.level + 1}, degree {p.degree}, distance {p.distance}, {p.entries} entries: {what}"


@dataclass(frozen=True)
class PrefetchOutcome:
    """The cover of a case by either side."""

    case: PrefetchCase
    simulated: Cover
    predicted: Cover


def prefetch_cases(count: int, seed: int = 3) -> list[PrefetchCase]:
    """`count` cases, shapes and kinds of prefetcher in turn."""
    draw = np.random.default_rng(seed)
    found = []
    for index in range(count):
        kind = ("stream", "stride", "adjacent")[index % 3]
        prefetcher = PrefetcherGeometry(kind, int(draw.integers(0, 3)), int(draw.integers(1, 5)), int(draw.integers(1, 17)),
                                        int(draw.choice([16, 32, 64])))  # type: ignore[arg-type]  # fmt: skip
        shape = SHAPES[index // 3 % len(SHAPES)]
        size, stride, rows = LINE, LINE, ACCESSES
        capacity = SIZES[prefetcher.level] * 10.0 ** draw.uniform(0.5, 1.5)
        if shape == "aligned rows":
            size = stride = 2 ** int(draw.integers(6, 13))
            rows = int(capacity / size)
        elif shape == "other rows":
            size = 8 * int(draw.integers(8, 513))
            stride = size + int(draw.choice([0, 0, 8, 64]))
            rows = int(capacity / size)
        elif shape == "random lines":
            rows = int(capacity / size)
        elif shape == "walk":
            stride = int(draw.choice([8 * draw.integers(9, 64), 64 * draw.integers(2, 64)]))
            rows = 20_000
        found.append(PrefetchCase(shape, prefetcher, size, stride, rows, index))
    return found


def _addresses(case: PrefetchCase) -> Any:
    draw = np.random.default_rng(case.seed)
    if case.shape in ("sweep", "walk"):
        return np.arange(case.rows, dtype=np.uint64) * np.uint64(case.stride)
    lines = max(case.size // LINE, 1)
    order = draw.integers(0, case.rows, size=ACCESSES // lines).astype(np.uint64) * np.uint64(case.stride)
    touches = np.arange(-(-case.size // LINE) + 1, dtype=np.uint64) * np.uint64(LINE)
    begin = order // np.uint64(LINE) * np.uint64(LINE)
    each = begin[:, None] + touches
    return each[each < (order + np.uint64(case.size))[:, None]]


def prefetch_outcome(case: PrefetchCase) -> PrefetchOutcome:
    """Runs a case and asks the closed form."""
    levels = tuple(CacheGeometry(size, ways) for size, ways in zip(SIZES, WAYS, strict=True))
    simulator = TraceSimulator(Hierarchy(levels, prefetchers=(case.prefetcher,)))
    addresses = _addresses(case)
    rows = case.shape not in ("sweep", "walk")
    if rows:
        simulator.run(addresses[: len(addresses) // 2])
        simulator.reset_statistics()
        addresses = addresses[len(addresses) // 2 :]
    simulator.run(addresses)
    level = simulator.statistics().levels[case.prefetcher.level]
    demanded = level.misses + level.useful_prefetches
    simulated = Cover(level.useful_prefetches / demanded, (level.prefetches - level.useful_prefetches) / demanded)
    if rows:
        predicted = runs_cover(
            case.prefetcher, case.size, case.stride, case.rows * case.stride, SIZES[case.prefetcher.level]
        )
    else:
        predicted = walk_cover(case.prefetcher, case.stride, case.rows)
    return PrefetchOutcome(case, simulated, predicted)
