"""What hardware prefetchers cover, in closed form: the share of demanded lines that were fetched before they were asked for, and
the lines that were fetched in vain.

The prefetchers are those of `cachegeometry.PrefetcherGeometry`; time plays no part (a prefetched line is there at once). Three
facts decide:

- Training. Of a run of n lines the first t are not covered (`share_after`): stream prefetchers want two neighbouring lines
  of a 4 KiB page, in every page anew; stride prefetchers the same distance twice, three accesses. Adjacent-line prefetchers want
  none and cover the other line of a pair.
- Overshoot. At the end of a run lie lines that were fetched for an end that did not come: as far as the stream had got ahead, at
  most to the end of the page; `degree` strides; the other line of a pair that the run only touches.
- Luck. Where a level holds a part of the table, an overshoot into the next row may lie there still when that row is drawn. With
  draws at random and LRU, what is read or fetched stays for tau draws of a row (the characteristic time of Che, Tung and Wang
  2002). The place of a line in its page decides about its set: lines of those places into which rows overshoot crowd each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, gcd, inf
from typing import Any

import numpy as np

from simulator.cachegeometry import PrefetcherGeometry

LINE_BYTES = 64
PAGE_LINES = 64
"""Lines of a page, which stream prefetchers do not leave."""

PAGE_BYTES = PAGE_LINES * LINE_BYTES

STREAM_TRAINING, STRIDE_TRAINING = 2, 3
"""Accesses that are not covered at the beginning of a run, in a page."""


@dataclass(frozen=True)
class Cover:
    """`covered`: prefetched lines that were used, `unused`: those that never were; both over the lines that would miss without a
    prefetcher. Misses that are left: 1 - covered. Lines read in all: 1 + unused."""

    covered: float
    unused: float


def share_after(lines: Any, training: Any) -> Any:
    """Share of a run's lines that come after the first `training` of them; arrays allowed."""
    return 1.0 - np.minimum(training / lines, 1.0)


def runs_cover(
    prefetcher: PrefetcherGeometry,
    run_bytes: int,
    apart_bytes: int,
    table_bytes: float = inf,
    capacity_bytes: float = 0.0,
) -> Cover:
    """Cover of rows that are drawn at random from a table and read from end to end.

    `run_bytes` of a row, the next row `apart_bytes` on (at least run_bytes); rows begin at a page. `capacity_bytes`: of the
    prefetcher's level, below `table_bytes`.
    """
    rule = _RULES[prefetcher.kind]
    begin = np.arange(0, PAGE_BYTES, gcd(apart_bytes, PAGE_BYTES))  # of rows in their page
    (before, lines_before), (first, lines), (after, lines_after) = (
        _places(begin + on * apart_bytes, run_bytes) for on in (-1, 0, 1)
    )
    index = np.arange(int(lines.max()))[None, :]
    there = index < lines[:, None]
    run = rule(prefetcher, first, lines, index)
    # Lines into which the row before overshoots, or the row after reaches back.
    gap = (first - before - lines_before)[:, None]
    ahead = rule(prefetcher, before % PAGE_LINES, lines_before, index).beyond[:, None]
    back = rule(prefetcher, after % PAGE_LINES, lines_after, index).behind[:, None]
    reached = (index >= -gap) & (index < ahead - gap)
    reached |= (index == lines[:, None] - 1) & (back > 0) & (after - first - lines == 0)[:, None]
    if prefetcher.kind == "stream":
        run = _resumed(prefetcher, run, begin, run_bytes, apart_bytes, table_bytes)
    overshoot = float(run.beyond.sum() + run.behind.sum())
    place = (first[:, None] + index) % PAGE_LINES
    return _drawn(there, run.covered, reached & there, overshoot, place, capacity_bytes / table_bytes)


def _places(begin: Any, run_bytes: int) -> tuple[Any, Any]:
    """First lines, and numbers of lines, of rows that begin so far in a page."""
    first = begin // LINE_BYTES
    return first, (begin + run_bytes - 1) // LINE_BYTES - first + 1


def _resumed(
    p: PrefetcherGeometry, run: _Run, begin: Any, run_bytes: int, apart_bytes: int, table_bytes: float
) -> _Run:
    """The run where a page's stream may not have been forgotten since a row of it was drawn, as one of `entries` among the
    table's pages. If that row lay before this one, the stream goes on at once, but does not bring again what it had
    brought: lines ahead of the row before, which the level has lost since."""
    first, lines = _places(begin, run_bytes)
    index = np.arange(run.covered.shape[1])[None, :]
    this_page = index < np.minimum(lines, PAGE_LINES - first)[:, None]
    lead = np.minimum(p.distance, p.degree + (lines - 1) * (p.degree - 1))
    longer = np.where(first + lines < PAGE_LINES, np.minimum(lead, PAGE_LINES - first - lines), run.beyond)
    each = min(p.entries * PAGE_BYTES / table_bytes, 1.0) * apart_bytes / PAGE_BYTES
    covered, beyond = run.covered * 1.0, run.beyond * 1.0
    for rows in range(1, PAGE_BYTES // apart_bytes + 1):
        earlier, length = _places(begin - rows * apart_bytes, run_bytes)
        inside = each * ((earlier >= 0) & (length >= STREAM_TRAINING))
        brought = (earlier + length - first + _stream(p, earlier % PAGE_LINES, length, index).beyond)[:, None]
        goes_on = (index >= np.maximum(brought, 1)) * 1.0
        covered += inside[:, None] * this_page * (goes_on - run.covered)
        beyond += inside * (longer - run.beyond)
    return _Run(covered, beyond, run.behind)


def _drawn(there: Any, covered: Any, reached: Any, overshoot: float, place: Any, held: float) -> Cover:
    """Cover of rows in a level that holds a share of their lines.

    By row and line: whether it is `there`, the share of its draws that prefetches of the row itself cover, whether a neighbour
    `reached` it, its `place` in a page; `overshoot`: lines fetched beyond the rows, over all of them.

    Of the lines at a place, a share q come in by draws of a neighbour as well. y = exp(tau) - 1 is the mean time, in draws of
    a row, that a line is there after its own draws; the sets are full where (1 - q) y / (1 + y) + 2 q y / (1 + 2 y) = held.
    """
    rows_at = np.bincount(place[there], minlength=PAGE_LINES)
    q = np.bincount(place[there], reached[there], PAGE_LINES) / np.maximum(rows_at, 1)
    half = 0.5 * (1.0 + q - 3.0 * held)
    y = ((np.sqrt(half * half + 2.0 * (1.0 - held) * held) - half) / (2.0 * (1.0 - held)))[place]
    tau = np.log1p(y)
    lucky = reached * tau / (1.0 + tau)  # of reached lines that were not drawn for so long
    missed = there / (1.0 + y)
    demanded = float(missed.sum())
    used = float((missed * np.maximum(covered, lucky)).sum())
    elsewhere = (overshoot - float(reached.sum())) * (1.0 - held)  # between rows
    vain = float((reached / (1.0 + 2.0 * y) - missed * lucky).sum()) + elsewhere
    return Cover(used / demanded, max(vain, 0.0) / demanded)


@dataclass(frozen=True)
class _Run:
    """Rows under one prefetcher: which lines it covers [rows, lines], how many it fetches beyond the end and before the
    beginning [rows]."""

    covered: Any
    beyond: Any
    behind: Any


def _stream(p: PrefetcherGeometry, first: Any, lines: Any, index: Any) -> _Run:
    new_page = PAGE_LINES - first[:, None]
    in_page = np.where(index < new_page, index, (index - new_page) % PAGE_LINES)
    last = np.where(lines <= PAGE_LINES - first, lines, (first + lines - 1) % PAGE_LINES + 1)
    lead = np.minimum(p.distance, p.degree + (last - STREAM_TRAINING) * (p.degree - 1))
    left = -(first + lines) % PAGE_LINES
    beyond = np.where(last >= STREAM_TRAINING, np.minimum(lead, left), 0)
    return _Run(in_page >= STREAM_TRAINING, beyond, np.zeros_like(beyond))


def _stride(p: PrefetcherGeometry, first: Any, lines: Any, index: Any) -> _Run:
    beyond = np.where(lines >= STRIDE_TRAINING, p.degree, 0)
    return _Run(index + 0 * first[:, None] >= STRIDE_TRAINING, beyond, np.zeros_like(beyond))


def _adjacent(p: PrefetcherGeometry, first: Any, lines: Any, index: Any) -> _Run:
    odd = first % 2
    return _Run((index > 0) & ((first[:, None] + index) % 2 == 1), (lines - odd) % 2, odd)


_RULES: dict[str, Callable[[PrefetcherGeometry, Any, Any, Any], _Run]] = {
    "stream": _stream,
    "stride": _stride,
    "adjacent": _adjacent,
}


def walk_cover(prefetcher: PrefetcherGeometry, stride_bytes: int, accesses: int) -> Cover:
    """Cover of a walk of so many accesses, each a line or less, that begins at a page and visits no line again later; strides of
    less than a line make it a sweep."""
    if stride_bytes <= LINE_BYTES:
        return _sweep(prefetcher, max(stride_bytes * (accesses - 1) // LINE_BYTES + 1, 1))
    step = stride_bytes / LINE_BYTES
    if prefetcher.kind == "stride":
        return _stride_walk(prefetcher, stride_bytes, accesses)
    near = max(2.0 - step, 0.0)  # share of the steps that lead to the next line
    if prefetcher.kind == "adjacent":
        return Cover(0.5 * near, 1.0 - near)
    return _stream_walk(prefetcher, step, near)


def _sweep(p: PrefetcherGeometry, lines: int) -> Cover:
    if p.kind == "adjacent":
        return Cover(lines // 2 / lines, lines % 2 / lines)
    if p.kind == "stride":
        return Cover(float(share_after(lines, STRIDE_TRAINING)), p.degree / lines)
    pages, tail = divmod(lines, PAGE_LINES)
    covered = pages * (PAGE_LINES - STREAM_TRAINING) + max(tail - STREAM_TRAINING, 0)
    return Cover(covered / lines, min(p.distance, PAGE_LINES - tail) / lines if tail else 0.0)


def _stride_walk(p: PrefetcherGeometry, stride_bytes: int, accesses: int) -> Cover:
    """Steps in lines repeat after a few accesses; the second of several such turns stands for all."""
    turn = LINE_BYTES // gcd(stride_bytes, LINE_BYTES)
    begin, end = turn + STRIDE_TRAINING, 2 * turn + STRIDE_TRAINING
    lines = [k * stride_bytes // LINE_BYTES for k in range(end + turn + p.degree * 2)]
    fetched: dict[int, int] = {}  # line: by which access
    for k in range(2, len(lines)):
        step = lines[k] - lines[k - 1]
        if step == lines[k - 1] - lines[k - 2]:
            for line in range(lines[k] + step, lines[k] + (p.degree + 1) * step, step):
                fetched.setdefault(line, k)
    covered = sum(fetched.get(lines[k], k) < k for k in range(begin, end)) / turn
    unused = sum(begin <= k < end for line, k in fetched.items() if line not in lines) / turn
    trained = float(share_after(accesses, STRIDE_TRAINING))
    return Cover(covered * trained, unused * trained + (p.degree / accesses if covered else 0.0))


def _stream_walk(p: PrefetcherGeometry, step: float, near: float) -> Cover:
    """Two neighbouring lines arm the stream, anew in each page. From then on it brings all lines, those that the walk leaves out
    as well, if it may bring two at a time, and else only what comes next."""
    if near <= 0.0:
        return Cover(0.0, 0.0)
    short = floor(1.0 / near)
    longer = 1.0 / near - short  # share of the gaps between neighbours that are short + 1
    wait = 0.5 * near * ((1.0 - longer) * short * (short + 1.0) + longer * (short + 1.0) * (short + 2.0))
    armed = float(share_after(PAGE_LINES / step, 1.0 + wait))
    if min(p.degree, p.distance) >= 2:
        return Cover(armed, armed * (step - 1.0))
    return Cover(armed * near, armed * (1.0 - near))
