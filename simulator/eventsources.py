"""What one core of a phase takes from where, and what that costs with nobody else on the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulator.analytic import exponents_of, level_rate, overlap, row_lines_in_flight, translation_seconds
from simulator.eventplaces import picoseconds
from simulator.incore import core_cycles
from simulator.locality import miss_shares
from simulator.phases import Phase, Stream
from simulator.resources import Resources

WRITE_COST = 0.35
"""Time that writing adds to a line from memory, as in the closed form."""


@dataclass(frozen=True)
class LaneClass:
    """Lines of a stream in flight in one lane, out of `whole` in all its lanes."""

    lane: int
    lines: float
    whole: float
    ordered: bool

    def window(self, packet_lines: float) -> int:
        """Packets that fill the lane."""
        return max(1, round(self.lines / packet_lines))


def classes(stream: Stream, r: Resources, threads: int = 1) -> tuple[LaneClass, ...]:
    """Lanes that carry a stream; hardware `threads` of a core share its lines in flight evenly."""
    if stream.pattern == "chain":
        return (LaneClass(0, 1.0, 1.0, False),)
    if stream.pattern == "rows":
        lines, prefetched = (float(x) for x in row_lines_in_flight(stream, r))
        lines = max(lines / threads, 1.0)
        return (LaneClass(1 if prefetched else 0, lines, lines, not prefetched),)
    parts = ((0, float(r.demand_lines) / threads), (1, float(r.stream_lines) / threads))
    whole = parts[0][1] + parts[1][1]
    return tuple(LaneClass(lane, lines, whole, False) for lane, lines in parts if lines > 0.0)


@dataclass(frozen=True)
class Source:
    """What one core takes of one stream from one level (0: L2, ...) or memory (-1): lines, seconds a line alone."""

    stream: Stream
    level: int
    lines: float
    latency: float
    least: float
    """Seconds a line at the core's own bandwidth."""
    traffic: float

    def seconds(self, whole: float) -> float:
        """A line with `whole` lines in flight."""
        return max(self.least, self.latency / whole)


def sources_of(stream: Stream, share: float, r: Resources) -> list[Source]:
    count = len(r.levels)
    lines = [0.0] * count
    for access in stream.accesses:
        shares = [float(x) for x in miss_shares(access, r)]
        for index in range(count):
            beyond = shares[index + 1] if index + 1 < count else 0.0
            lines[index] += float(access.bytes) * share * (shares[index] - beyond) / r.line_bytes
    found = []
    for index, level in enumerate(r.levels[1:]):
        least = float(r.line_bytes / level_rate(stream, level, r))
        found.append(Source(stream, index, lines[index], level.latency_seconds, least, 1.0))
    cost = 1.0 + float(stream.writes) * WRITE_COST
    found.append(
        Source(
            stream,
            -1,
            lines[-1],
            r.memory_latency_seconds * cost,
            r.line_bytes / r.memory_core_bytes_per_second * cost,
            1.0 + float(stream.writes),
        )
    )
    return [source for source in found if source.lines > 0.0]


@dataclass(frozen=True)
class Alone:
    """One core's phase in closed form, nobody else on the machine, no stalls behind sparse misses."""

    core: float
    on_chip: float
    memory: float
    tlb: float
    total: float
    exponents: tuple[Any, Any]


def alone_of(phase: Phase, share: float, sources: list[tuple[Source, float]], r: Resources) -> Alone:
    hz = r.vector_hz + phase.tile_clock * (r.tile_hz - r.vector_hz)
    core = float(core_cycles(phase.work, r).total * share / hz)
    on_chip = sum(s.lines * s.seconds(whole) for s, whole in sources if s.level >= 0)
    memory = sum(s.lines * s.seconds(whole) for s, whole in sources if s.level < 0)
    tlb = 0.0
    for stream in phase.streams:
        if stream.pattern in ("rows", "chain"):
            size = sum(float(access.bytes) for access in stream.accesses)
            tlb += float(size * share / stream.row_bytes * translation_seconds(stream, r))
    exponents = exponents_of(phase, r)
    total = float(overlap(core, on_chip + tlb, memory, exponents))
    return Alone(core, on_chip, memory, tlb, total, exponents)


def shares_of(
    phase: Phase, share: float, alone: Alone, pairs: list[tuple[Source, float]], r: Resources
) -> tuple[tuple[str, int], ...]:
    """Time of the slowest core alone by resource: core time as far as transfers do not hide it; memory time up to
    latency / lines in flight is concurrency, beyond it bandwidth."""
    cycles = core_cycles(phase.work, r)
    exposed = max(alone.total - alone.on_chip - alone.memory - alone.tlb, 0.0)
    near = float(cycles.l1) / max(float(cycles.total), 1e-300)
    parts = {"compute": exposed * (1.0 - near), "L1": exposed * near, "TLB": alone.tlb}
    for source, whole in pairs:
        time = source.lines * source.seconds(whole)
        if source.level >= 0:
            name = f"L{source.level + 2}"
            parts[name] = parts.get(name, 0.0) + time
        else:
            waiting = source.lines * source.latency / whole
            parts["memory concurrency"] = parts.get("memory concurrency", 0.0) + waiting
            parts["memory bandwidth"] = parts.get("memory bandwidth", 0.0) + time - waiting
    whole_numbers = [(name, picoseconds(seconds)) for name, seconds in parts.items()]
    return tuple((name, time) for name, time in whole_numbers if time > 0)
