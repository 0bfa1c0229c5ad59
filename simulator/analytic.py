"""Phases in closed form: core time, time per cache level, memory time, and how they overlap.

One call evaluates machines x schedules at once: every number may be an array. Rules, with their sources:

- A level's time for one core is bytes / rate, where the rate is the lower of its bandwidth and lines in flight x line /
  latency (Little's law). Sequential streams have demand and stream-prefetch lines in flight; random rows have the demand
  lines, some more inside a long row, at most what the out-of-order window holds (window / (1 + operations a line)), or the
  software-prefetch distance.
- What all sharers of a cache, a chiplet link or the memory read together is bounded by its own bandwidth. It idles only while
  all of its cores compute, so the more they are the less their arithmetic adds to it (`_together`). Cores that have no work
  bring no link (`dealing`).
- A rare miss to memory stalls a window, not a line: with n = latency / time-per-row rows in the window and miss share m, a
  window begins with a miss, so of 1 + (n - 1) m rows n m pass as if every row came from memory, the others as if none did.
  Software prefetch removes the stall.
- A line that several cores write in turn costs its writer the way from core to core. Stores leave the core in order, so
  hand-overs of one core add up; they wait in the store buffer, so the rest of the phase goes on beside them, and the longer
  counts. (Codes dealt out one by one to two cores of a Zen 4 chiplet, 2026-11-26: 24-27 ns a line with next to no work, where
  a ping-pong takes 28-42 ns one way; with the exponentials of a score, 29 ns of one core an element, at most 12 % more.)
- Core time overlaps with transfers as p-norms whose exponents are data of the spec; transfers add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.dealing import Deal, deal, even
from simulator.incore import core_cycles
from simulator.locality import miss_shares, translation_misses
from simulator.phases import Phase, Stream
from simulator.prefetchcover import share_after
from simulator.resources import LevelResources, Resources, hand_over_seconds

RESOURCES = (
    "imbalance",
    "compute",
    "L1",
    "L2",
    "L3",
    "L4",
    "memory concurrency",
    "memory bandwidth",
    "TLB",
    "line transfers",
    "synchronisation",
)
"""Time-stack entries, from the innermost outwards, in the order in which they are made ideal."""

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PhaseTime:
    """Seconds of one phase (one layer, one call) and the bytes that came from each level over all threads.

    `total` is what counts; `core`, `levels` (L2 outwards) and `memory` are the terms before overlap, for one core.
    `memory_bytes` includes write-backs. `transfers`: hand-overs of lines that several cores write.
    """

    name: str
    total: Any
    core: Any
    levels: tuple[Any, ...]
    memory: Any
    tlb: Any
    synchronisation: Any
    level_bytes: tuple[Any, ...]
    memory_bytes: Any
    transfers: Any = 0.0


def overlap(core: Any, on_chip: Any, memory: Any, exponents: tuple[Any, Any]) -> Any:
    """(on_chip N_p + memory N_q) / s with s = on_chip + memory, N_e = (core^e + s^e)^(1/e), exponents (p, q).

    Transfers from caches and from memory share one core's miss buffers and follow each other; arithmetic overlaps with
    each by the exponent of where the data come from. The result is at least each term and at most their sum, never falls
    when one of them rises, and with q <= p never falls when time moves from on_chip to memory.
    """
    transfers = on_chip + memory
    far = memory / np.maximum(transfers, 1e-300)
    high = np.maximum(core, transfers)
    ratio = np.minimum(core, transfers) / np.maximum(high, 1e-300)
    near = _unit_norm(ratio, exponents[0])
    return high * (near + far * (_unit_norm(ratio, exponents[1]) - near))


def _unit_norm(ratio: Any, exponent: Any) -> Any:
    """(1 + ratio^exponent)^(1/exponent)."""
    if isinstance(exponent, float):
        if exponent == 2.0:
            return np.sqrt(1.0 + ratio * ratio)
        if exponent == 1.0:
            return 1.0 + ratio
    return (1.0 + ratio**exponent) ** (1.0 / exponent)


def exponents_of(phase: Phase, r: Resources) -> tuple[Any, Any]:
    """Exponents of overlap (caches, memory): a library's, of rows at random addresses, or of a kernel that streams."""
    if phase.library:
        return r.library_overlap
    return r.row_overlap if any(stream.pattern == "rows" for stream in phase.streams) else r.kernel_overlap


def row_lines_in_flight(stream: Stream, r: Resources) -> tuple[Any, Any]:
    """(lines in flight, share of prefetched rows) of a stream of random rows. Hardware prefetchers add `row_lines` where they
    run: to the share of a row's lines that comes after its first one."""
    lines = np.maximum(np.ceil(stream.row_bytes / r.line_bytes), 1.0)
    demand = np.minimum(
        r.demand_lines + r.row_lines * share_after(lines, 1.0), r.window_uops / (1.0 + stream.uops_per_line)
    )
    demand = np.maximum(demand, 1.0)
    ahead = stream.prefetch_bytes / r.line_bytes
    prefetched = np.maximum(demand, np.minimum(ahead, r.software_lines))
    uses = np.where(np.asarray(ahead) > 0.0, 1.0, 0.0)
    return np.where(uses > 0.0, prefetched, demand), uses


def level_rate(stream: Stream, level: LevelResources, r: Resources) -> Any:
    """Bytes a second that one core reads or writes in a cache level: its bandwidth, less what the start of a random row takes."""
    bandwidth = level.write_bytes_per_second if stream.writes else level.core_bytes_per_second
    if stream.pattern != "rows":
        return bandwidth
    return bandwidth / (1.0 + bandwidth * r.row_start_seconds / stream.row_bytes)


def _memory_rate(in_flight: Any, r: Resources, ideal: frozenset[str]) -> Any:
    if "memory bandwidth" in ideal:
        return np.inf if "memory concurrency" in ideal else in_flight * r.line_bytes / r.memory_latency_seconds
    if "memory concurrency" in ideal:
        return r.memory_core_bytes_per_second
    return np.minimum(in_flight * r.line_bytes / r.memory_latency_seconds, r.memory_core_bytes_per_second)


@dataclass
class _Totals:
    """Running sums over the streams of one phase."""

    level_seconds: list[Any]
    level_bytes: list[Any]
    memory_seconds: Any = 0.0
    memory_bytes: Any = 0.0
    tlb_seconds: Any = 0.0
    transfer_seconds: Any = 0.0
    demand_rows: bool = False  # random rows without software prefetch; the fields below are theirs, for one core
    row_bytes: Any = 0.0
    row_on_chip_seconds: Any = 0.0  # their part of level_seconds
    row_hit_seconds: Any = 0.0  # the same if every miss were a hit in the outermost level
    row_linear_seconds: Any = 0.0  # their part of memory_seconds
    row_missed_seconds: Any = 0.0  # if every row came from memory
    row_missed_bytes: Any = 0.0  # from memory
    window_rows: Any = 1.0  # in flight while one of them comes from memory


def _add_stream(stream: Stream, share: Any, r: Resources, ideal: frozenset[str], totals: _Totals) -> None:
    """Adds one core's time and all threads' bytes of `stream`; `share` = imbalance / threads."""
    if stream.pattern == "transfer":
        if "line transfers" not in ideal:
            hand_overs = sum(access.bytes for access in stream.accesses) / r.line_bytes
            totals.transfer_seconds = totals.transfer_seconds + hand_overs * share * hand_over_seconds(
                r, stream.writers
            )
        return
    rows = stream.pattern == "rows"
    in_flight: Any
    if rows:
        in_flight, prefetched = row_lines_in_flight(stream, r)
    elif stream.pattern == "chain":
        in_flight, prefetched = 1.0, 0.0
    else:
        in_flight, prefetched = r.demand_lines + r.stream_lines, 1.0
    rates = []
    for index, level in enumerate(r.levels):
        if index == 0:
            continue
        rate = np.minimum(
            level_rate(stream, level, r), in_flight * r.line_bytes / np.maximum(level.latency_seconds, 1e-15)
        )
        rates.append(rate)
    memory_rate = _memory_rate(in_flight, r, ideal)
    write_cost = 1.0 + stream.writes * 0.35
    for access in stream.accesses:
        shares = miss_shares(access, r)
        core_bytes = access.bytes * share
        on_chip: Any = 0.0
        for index, rate in enumerate(rates):
            portion = shares[index] - shares[index + 1]
            totals.level_bytes[index] = totals.level_bytes[index] + access.bytes * portion
            if f"L{index + 2}" not in ideal:
                seconds = core_bytes * portion / rate
                totals.level_seconds[index] = totals.level_seconds[index] + seconds
                on_chip = on_chip + seconds
        miss = shares[-1]
        totals.memory_bytes = totals.memory_bytes + access.bytes * miss * (1.0 + stream.writes)
        if "memory concurrency" in ideal and "memory bandwidth" in ideal:
            continue
        all_missed = core_bytes / memory_rate * write_cost
        linear = miss * all_missed
        totals.memory_seconds = totals.memory_seconds + linear
        if not rows or "memory concurrency" in ideal:
            continue
        demand_rows = 1.0 - np.asarray(prefetched)
        totals.demand_rows = True
        totals.window_rows = np.maximum(r.memory_latency_seconds * memory_rate / stream.row_bytes, 1.0)
        totals.row_bytes = totals.row_bytes + demand_rows * core_bytes
        outermost = miss * core_bytes / rates[-1] if rates and f"L{len(r.levels)}" not in ideal else 0.0
        totals.row_on_chip_seconds = totals.row_on_chip_seconds + demand_rows * on_chip
        totals.row_hit_seconds = totals.row_hit_seconds + demand_rows * (on_chip + outermost)
        totals.row_missed_bytes = totals.row_missed_bytes + demand_rows * core_bytes * miss
        totals.row_linear_seconds = totals.row_linear_seconds + demand_rows * linear
        totals.row_missed_seconds = totals.row_missed_seconds + demand_rows * all_missed
    if stream.pattern != "sequential" and "TLB" not in ideal:
        total = sum(access.bytes for access in stream.accesses)
        totals.tlb_seconds = totals.tlb_seconds + total * share / stream.row_bytes * translation_seconds(stream, r)


def translation_seconds(stream: Stream, r: Resources) -> Any:
    """What translating the address of one row adds: page walks side by side, or in a chain one after another."""
    huge = np.asarray(stream.page_2m) > 0.0
    first = np.where(huge, r.tlb_near_2m_bytes, r.tlb_near_4k_bytes)
    reach = np.where(huge, r.tlb_reach_2m_bytes, r.tlb_reach_4k_bytes)
    beyond_first, miss = translation_misses(stream.array_bytes, first, reach)
    if stream.pattern != "chain":
        return miss * r.tlb_miss_seconds
    return miss * r.tlb_walk_seconds + (beyond_first - miss) * r.tlb_second_seconds


def _stalled(total: Any, core: Any, on_chip: Any, totals: _Totals, exponents: tuple[Any, Any]) -> tuple[Any, Any]:
    """(total, memory time) of one core whose demand-loaded rows miss now and then: windows with a miss pass as if all their
    rows came from memory, the others as if what misses had been in the outermost cache."""
    miss = totals.row_missed_bytes / np.maximum(totals.row_bytes, 1e-300)
    stalled_share = totals.window_rows * miss / (1.0 + (totals.window_rows - 1.0) * miss)
    other_memory = totals.memory_seconds - totals.row_linear_seconds
    other_on_chip = np.maximum(on_chip - totals.row_on_chip_seconds, 0.0)
    all_missed = other_memory + totals.row_missed_seconds
    stalled = overlap(core, other_on_chip, all_missed, exponents)
    smooth = overlap(core, other_on_chip + totals.row_hit_seconds, other_memory, exponents)
    memory = totals.memory_seconds + stalled_share * (all_missed - totals.memory_seconds)
    return np.maximum(total, smooth + stalled_share * np.maximum(stalled - smooth, 0.0)), memory


def _together(common: Any, slow: Any, cores: Any) -> Any:
    """Seconds of a phase whose `cores` share a part that is busy for `common` seconds; `slow`: what one core would take if it
    had to wait for all of that by itself.

    Alone it would leave the part idle for a share z = 1 - common / slow of the time. Cores out of step leave it idle only when
    all of them compute, for a share z^cores. One core: `slow`; many: `common`.
    """
    idle = 1.0 - common / np.maximum(slow, 1e-300)
    return common / np.maximum(1.0 - idle**cores, 1e-300)


def _any_longer(a: Any, b: Any) -> bool:
    """Whether some machine waits for a common part; true for many machines, whose results keep their shape."""
    return np.ndim(a) > 1 or bool(np.any(a > b))


def _common_parts(totals: _Totals, d: Deal, r: Resources, ideal: frozenset[str]) -> list[tuple[Any, Any]]:
    """(busy seconds, cores that share it) of the busiest instance of each level from L2 outwards, of the busiest chiplet link and
    of the memory bus."""
    parts: list[tuple[Any, Any]] = []
    for index, level in enumerate(r.levels[1:]):
        seconds: Any = 0.0
        if level.shared is not False and f"L{index + 2}" not in ideal:
            seconds = totals.level_bytes[index] * d.together(level.sharers) / level.instance_bytes_per_second
        parts.append((seconds, np.minimum(level.sharers, d.workers)))
    if "memory bandwidth" in ideal:
        return [*parts, (0.0, 1.0), (0.0, 1.0)]
    sharers = r.levels[-1].sharers
    link = totals.memory_bytes * d.together(sharers) / r.link_bytes_per_second
    bus = totals.memory_bytes / r.memory_bytes_per_second
    return [*parts, (link, np.minimum(sharers, d.workers)), (bus, d.workers)]


def phase_time(phase: Phase, r: Resources, ideal: frozenset[str] = NOTHING) -> PhaseTime:
    """Seconds of one phase; `ideal` names the resources that cost nothing (time stack)."""
    if "imbalance" in ideal:
        share, d = 1.0 / r.threads, even(r.threads)
    else:
        share, d = phase.imbalance / r.threads, deal(phase, r.threads)
    hz = r.vector_hz + phase.tile_clock * (r.tile_hz - r.vector_hz)
    cycles = core_cycles(phase.work, r)
    if "compute" in ideal:
        core: Any = 0.0 if "L1" in ideal else phase.work.load_bytes / r.load_bytes_per_cycle * share / hz
    else:
        core = (cycles.arithmetic if "L1" in ideal else cycles.total) * share / hz
    count = len(r.levels) - 1
    totals = _Totals([0.0] * count, [0.0] * count)
    for stream in phase.streams:
        _add_stream(stream, share, r, ideal, totals)
    on_chip: Any = totals.tlb_seconds
    for seconds in totals.level_seconds:
        on_chip = on_chip + seconds
    exponents = exponents_of(phase, r)
    total = overlap(core, on_chip, totals.memory_seconds, exponents)
    memory = totals.memory_seconds
    if totals.demand_rows:
        total, memory = _stalled(total, core, on_chip, totals, exponents)
    parts = _common_parts(totals, d, r, ideal)
    levels = [np.maximum(own, busy) for own, (busy, _) in zip(totals.level_seconds, parts[:count], strict=True)]
    common = np.maximum(parts[-2][0], parts[-1][0])
    if _any_longer(common, totals.memory_seconds) or any(map(_any_longer, levels, totals.level_seconds)):
        slow_memory = np.maximum(totals.memory_seconds, common)
        slow = overlap(core, totals.tlb_seconds + sum(levels), slow_memory, exponents)
        for busy, cores in parts:
            if np.any(busy):
                total = np.maximum(total, _together(busy, slow, cores))
    memory = np.maximum(memory, common)
    if any(stream.pattern == "transfer" for stream in phase.streams):
        total = np.maximum(total, totals.transfer_seconds)
    synchronisation: Any = 0.0
    if "synchronisation" not in ideal:
        barrier = r.library_barrier_seconds if phase.library else r.barrier_seconds
        synchronisation = phase.barriers * barrier + phase.library_calls * r.library_call_seconds
    return PhaseTime(
        name=phase.name,
        total=total + synchronisation,
        core=core,
        levels=tuple(levels),
        memory=memory,
        tlb=totals.tlb_seconds,
        synchronisation=synchronisation,
        level_bytes=tuple(totals.level_bytes),
        memory_bytes=totals.memory_bytes,
        transfers=totals.transfer_seconds,
    )


def layer_seconds(phases: tuple[Phase, ...], r: Resources, ideal: frozenset[str] = NOTHING) -> Any:
    """Seconds of one layer of one call: the phases one after another."""
    total: Any = 0.0
    for phase in phases:
        total = total + phase_time(phase, r, ideal).total
    return total
