"""What a trace consists of: kinds of access, footprint, strides, reuse distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.reusedistance import MAX_LINES, ReuseDistances, ReuseHistogram
from simulator.tracechunk import FETCH, LOAD, STORE, TraceChunk

PAGE_BYTES = 4096
STRIDE_BINS = 60
"""Bin 0: the same line; bin k: 2**(k-1) to 2**k - 1 lines on."""


@dataclass(frozen=True)
class TraceStatistics:
    """`modifies` are loads and stores that one record stood for. Footprints: distinct lines and 4 KiB pages, of data
    (loads and stores) and of code (fetches). `data_lines` is an estimate where `reuse` is sampled.
    `forward`, `backward`: distances in lines between successive loads and stores of one core."""

    accesses: int
    loads: int
    stores: int
    fetches: int
    modifies: int
    straddling: int
    cores: int
    line_bytes: int
    lowest_address: int
    highest_address: int
    data_lines: int
    data_pages: int
    code_lines: int
    code_pages: int
    forward: NDArray[np.int64]
    backward: NDArray[np.int64]
    reuse: ReuseHistogram


class TraceCounter:
    """Counts chunks. Memory: that of ReuseDistances, 8 bytes a distinct page, 8 bytes a distinct line of code."""

    def __init__(self, line_bytes: int = 64, max_lines: int = MAX_LINES) -> None:
        if line_bytes < 1 or line_bytes & (line_bytes - 1):
            raise ValueError(f"line_bytes must be a power of two, got {line_bytes}")
        self.line_bytes = line_bytes
        self._shift = np.uint64(line_bytes.bit_length() - 1)
        self._page_shift = np.uint64(PAGE_BYTES.bit_length() - 1)
        self._kinds, self._modifies, self._straddling, self._cores = np.zeros(3, dtype=np.int64), 0, 0, 0
        self._range = (2**64, -1)
        self._pages = {name: np.zeros(0, dtype=np.uint64) for name in ("data", "code", "code lines")}
        self._strides = np.zeros((2, STRIDE_BINS), dtype=np.int64)
        self._last: dict[int, int] = {}
        self._reuse = ReuseDistances(max_lines)

    def feed(self, chunk: TraceChunk) -> None:
        """Counts a chunk."""
        if not len(chunk):
            return
        data = chunk.kinds != FETCH
        final = chunk.addresses + (chunk.sizes - 1).astype(np.uint64)
        self._kinds += np.bincount(chunk.kinds, minlength=3)
        self._modifies += chunk.modifies
        self._range = min(self._range[0], int(chunk.addresses.min())), max(self._range[1], int(final.max()))
        self._cores = max(self._cores, 1 if chunk.cores is None else int(chunk.cores.max()) + 1)
        self._touch("code", chunk.addresses[~data], final[~data], self._page_shift)
        self._touch("code lines", chunk.addresses[~data], final[~data], self._shift)
        begin, end = chunk.addresses[data], final[data]
        self._touch("data", begin, end, self._page_shift)
        first, last = (begin >> self._shift).astype(np.int64), (end >> self._shift).astype(np.int64)
        self._straddling += int(np.count_nonzero(first != last))
        self._reuse.feed(first, last)
        if chunk.cores is None:
            self._stride(0, first)
            return
        cores = chunk.cores[data]
        for core in np.unique(cores):
            self._stride(int(core), first[cores == core])

    def _touch(self, name: str, begin: Any, end: Any, shift: np.uint64) -> None:
        if not len(begin):
            return
        first, last = begin >> shift, end >> shift
        changed = np.flatnonzero(np.diff(first)) + 1  # few distinct runs: sorting all would cost most of the time
        runs = first[np.concatenate([[0], changed])]
        wide = np.flatnonzero(last != first)
        more = [np.arange(first[i], last[i] + np.uint64(1), dtype=np.uint64) for i in wide] if len(wide) < 64 else [
            np.concatenate([first[wide] + np.uint64(k) for k in range(int((last - first).max()) + 1)])]  # fmt: skip
        self._pages[name] = np.unique(np.concatenate([self._pages[name], runs, *more]))

    def _stride(self, core: int, lines: Any) -> None:
        if not len(lines):
            return
        steps = np.diff(lines, prepend=self._last.get(core, int(lines[0])))
        if core not in self._last:
            steps = steps[1:]
        self._last[core] = int(lines[-1])
        bins = np.frexp(np.abs(steps).astype(np.float64))[1]
        self._strides[0] += np.bincount(bins[steps >= 0], minlength=STRIDE_BINS)
        self._strides[1] += np.bincount(bins[steps < 0], minlength=STRIDE_BINS)

    def statistics(self) -> TraceStatistics:
        """What was counted so far."""
        reuse = self._reuse.histogram()
        loads, stores, fetches = (int(self._kinds[kind]) for kind in (LOAD, STORE, FETCH))
        return TraceStatistics(
            accesses=loads + stores + fetches, loads=loads, stores=stores, fetches=fetches, modifies=self._modifies,
            straddling=self._straddling, cores=self._cores, line_bytes=self.line_bytes,
            lowest_address=self._range[0] if self._range[1] >= 0 else 0, highest_address=max(self._range[1], 0),
            data_lines=reuse.lines, data_pages=len(self._pages["data"]), code_lines=len(self._pages["code lines"]),
            code_pages=len(self._pages["code"]), forward=self._strides[0].copy(), backward=self._strides[1].copy(),
            reuse=reuse,
        )  # fmt: skip
