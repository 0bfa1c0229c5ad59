"""Phases and Resources into an EventProgram: every core's packets, where they go and in which order. Floats end here.

Without contention a core's packets add up to the closed form of `analytic`: a packet of n lines of a stream with C lines in
flight takes n / C of its lane for its response R overlapped with its share a of the arithmetic, N_e(a, max(R, C x line /
bandwidth)). With contention R grows by itself. Long phases are sampled: every core gets the same number of packets for the
same time, and the phase is extended by one factor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simulator.analytic import overlap
from simulator.dealing import ALIKE, Deal, deal
from simulator.eventplaces import ONE, EventOptions, dram_mode, picoseconds, topology
from simulator.eventprogram import (
    BLOCKS,
    CREDITS,
    FREE,
    NORM_UNIT,
    STEPS,
    WAITS,
    CoreWork,
    EventProgram,
    Kind,
    Lane,
    LoadCurve,
    ProgramPhase,
    Stop,
    Units,
    hold,
)
from simulator.eventsources import Alone, LaneClass, Source, alone_of, classes, shares_of, sources_of
from simulator.phases import Phase
from simulator.resources import Resources, hand_over_seconds

LEAST_PACKETS, MOST_PACKETS, WINDOWS = 200, 2000, 8
"""Packets of one core in one phase: at least so many and so many windows, at most so many."""
UNITS_A_CORE, UNIT_PACKETS = 8, 4
"""Pieces of dynamic scheduling a core, and the least packets of one in a sample."""
CURVE_POINTS = 64
CURVE_WINDOW = 4
"""Window over which the load of the memory is taken, in idle latencies."""


@dataclass(frozen=True)
class _Item:
    """Packets of one kind that the slowest core has. `run`: packets of a row, which come from one source together. `where`:
    'slice', 'local' or 'remote' memory, or '' where nothing is chosen."""

    kind: int
    lane: int
    packets: float
    run: int
    where: str
    level: int


def _counts(packets: list[float], total: int) -> list[int]:
    """`total` in proportion to `packets`, largest remainders, ties to the first."""
    everything = sum(packets)
    exact = [p * total / everything for p in packets]
    counts = [int(x) for x in exact]
    order = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


class _Planner:
    """Makes one program: kinds, samples and places of all phases."""

    def __init__(self, r: Resources, options: EventOptions) -> None:
        self.r = r if options.smt == 1 else replace(r, demand_lines=r.smt_demand_lines)
        self.options = options
        self.place = topology(r, options)
        self.mode = dram_mode(r, options)
        self.exponents: dict[float, int] = {}
        self.norms: list[tuple[int, ...]] = []
        self.tables: list[tuple[float, ...]] = []

    def norm(self, exponent: float) -> int:
        """Number of the table of an exponent."""
        if exponent not in self.exponents:
            self.exponents[exponent] = len(self.exponents)
            self.norms.append(_norm_table(exponent))
            self.tables.append(tuple(u / NORM_UNIT for u in self.norms[-1]))
        return self.exponents[exponent]

    def idle(self, kind: Kind) -> int:
        """How long an idle machine holds a packet."""
        return hold(kind.latency_ps, kind.floor_ps, kind.arithmetic_ps, self.tables[kind.norm], kind.extra_ps)

    def program(self, phases: tuple[Phase, ...]) -> EventProgram:
        """The program of `phases`."""
        planned = tuple(self._phase(phase, number, len(phases)) for number, phase in enumerate(phases))
        curves = tuple(self._curve() for _ in range(self.place.sockets)) if self.mode == "curve" else ()
        place = self.place
        return EventProgram(place.cores, place.stations, place.groups, tuple(self.norms), planned, curves)

    def _curve(self) -> LoadCurve:
        r = self.r
        shares, multiples = zip(*r.loaded_latency, strict=True)
        used = np.linspace(
            0.0, float(r.memory_channel_headroom), CURVE_POINTS + 1
        )  # stations are busy at their own rate
        added = (np.interp(used, shares, multiples) - 1.0) * r.memory_latency_seconds
        window = picoseconds(CURVE_WINDOW * r.memory_latency_seconds)
        return LoadCurve(window, self.place.channels, tuple(picoseconds(x) for x in added))

    def _route(self, source: Source, lines: float, remote: bool) -> tuple[Stop, ...]:
        """Stations of a packet of `lines` lines."""
        r, index = self.r, self.place.index
        size = lines * r.line_bytes
        if source.level >= 0:
            level = source.level + 1
            if level not in self.place.slices:
                return ()
            sliced = self.place.slices[level] > 1
            rate = r.slice_bytes_per_second if sliced else r.levels[level].instance_bytes_per_second
            spread = min(max(round(lines), 1), self.place.slices[level])
            if not sliced:
                return (Stop(index[f"L{level + 1}"], picoseconds(size / rate), ONE),)
            return (
                Stop(index[f"L{level + 1}"], picoseconds(size / rate / spread), 1, spread, self.place.slices[level]),
            )
        size *= source.traffic
        home = self.place.channels * self.place.banks
        stops = []
        if "link" in index:
            stops.append(Stop(index["link"], picoseconds(size / r.link_bytes_per_second), ONE))
        if remote and "socket link" in index:
            stops.append(Stop(index["socket link"], picoseconds(size / r.numa_bytes_per_second), home))
        if "mesh" in index:
            stops.append(Stop(index["mesh"], picoseconds(size / r.mesh_bytes_per_second), home))
        if "banks" in index:
            opened = size / r.dram_row_bytes if source.stream.pattern == "sequential" else 1.0
            stops.append(Stop(index["banks"], picoseconds(r.dram_row_cycle_seconds * min(opened, 1.0))))
        channel = r.memory_bytes_per_second * r.memory_channel_headroom / self.place.sockets / self.place.channels
        stops.append(Stop(index["channel"], picoseconds(size / channel), self.place.banks))
        return tuple(stops)

    def _own_route(self, lines: float, source: Source, arithmetic: float) -> tuple[Stop, ...]:
        """What hardware threads of one core queue for: its arithmetic and its way to the caches."""
        if self.options.smt == 1:
            return ()
        issue, port = self.place.index["core issue"], self.place.index["core port"]
        return (
            Stop(issue, picoseconds(lines * arithmetic), ONE),
            Stop(port, picoseconds(lines * source.least), ONE),
        )

    def _kind(self, source: Source, part: LaneClass, alone: Alone, remote: bool) -> tuple[Kind, float, int]:
        """(kind, lines of a packet, packets of a row)."""
        wanted = self.options.packet_lines
        if source.stream.pattern in ("rows", "chain"):
            row_lines = max(float(np.ceil(source.stream.row_bytes / self.r.line_bytes)), 1.0)
            wanted = min(wanted, row_lines)
        window = part.window(wanted)
        lines = part.lines / window
        run = max(1, round(row_lines / lines)) if source.stream.pattern == "rows" else 1
        transfers = alone.on_chip + alone.memory
        seconds = source.seconds(part.whole * self.options.smt)  # of the whole core
        everything = transfers + alone.tlb
        exponent = float(alone.exponents[1 if source.level < 0 else 0])
        extra = 0.0
        if alone.tlb:
            beside = overlap(alone.core, everything, 0.0, (float(alone.exponents[0]), 1.0))
            extra = alone.tlb * beside / everything * part.whole * seconds / transfers
        order = FREE if not part.ordered else BLOCKS if source.level < 0 else WAITS
        far = self.r.numa_latency_seconds if remote else 0.0
        kind = Kind(
            name=f"{source.stream.name}:{'memory' if source.level < 0 else f'L{source.level + 2}'}{' remote' * remote}",
            lane=part.lane,
            charge=CREDITS // window,
            latency_ps=picoseconds(source.latency + far),
            route=self._own_route(lines, source, alone.core * seconds / everything)
            + self._route(source, lines, remote),
            floor_ps=picoseconds(source.least * part.whole),
            arithmetic_ps=picoseconds(part.whole * alone.core * seconds / everything),
            norm=self.norm(exponent),
            extra_ps=picoseconds(extra),
            order=order,
            load_divisor=self.place.channels * self.place.banks if source.level < 0 and self.mode == "curve" else 0,
        )
        return kind, lines, run

    def _items(self, sources: list[Source], alone: Alone) -> tuple[list[Kind], list[_Item]]:
        kinds: list[Kind] = []
        items: list[_Item] = []
        for source in sources:
            for part in classes(source.stream, self.r, self.options.smt):
                for remote in (False, True) if source.level < 0 and self._may_be_remote() else (False,):
                    kind, lines, run = self._kind(source, part, alone, remote)
                    sliced = source.level + 1 in self.place.slices
                    on_chip = "slice" if sliced and kind.route else ""
                    where = on_chip if source.level >= 0 else "remote" if remote else "local" if kind.route else ""
                    packets = source.lines * part.lines / part.whole / lines / self.options.smt
                    items.append(_Item(len(kinds), part.lane, packets, run, where, source.level))
                    kinds.append(kind)
        return kinds, items

    def _may_be_remote(self) -> bool:
        return self.place.sockets > 1 and self.options.placement != "local"

    def _remote_share(self, core: int) -> float:
        """Share of a core's memory accesses that go to another socket."""
        if not self._may_be_remote():
            return 0.0
        if self.options.placement == "interleaved":
            return 1.0 - 1.0 / self.place.sockets
        return 0.0 if self.place.socket(core) == 0 else 1.0

    def _phase(self, phase: Phase, number: int, phases: int) -> ProgramPhase:
        r = self.r
        share = float(phase.imbalance) / r.threads
        fetched = [stream for stream in phase.streams if stream.pattern != "transfer"]
        sources = [source for stream in fetched for source in sources_of(stream, share, r)]
        pairs = [(source, sum(c.lines for c in classes(source.stream, r))) for source in sources]
        alone = alone_of(phase, share, pairs, r)
        handed = sum(
            float(access.bytes) / r.line_bytes * share * float(hand_over_seconds(r, stream.writers))
            for stream in phase.streams
            if stream.pattern == "transfer"
            for access in stream.accesses
        )
        kinds, items = self._items(sources, alone)
        parts = [p for p in core_parts(deal(phase, r.threads), int(r.threads)) for _ in range(self.options.smt)]
        handed /= self.options.smt
        if not items:
            whole = [(core, part) for core, part in enumerate(parts) if part > 0.0]
            works = tuple(
                CoreWork(core, (), plain_ps=picoseconds(p * alone.total), least_ps=picoseconds(p * handed))
                for core, p in whole
            )
            extend, units = (1, 1), None
        else:
            works, extend, units = self._works(items, kinds, parts, _Draw(self.options.seed, number), phases, handed)
        return ProgramPhase(
            name=phase.name,
            kinds=tuple(kinds),
            works=works,
            extend=extend,
            shares=shares_of(phase, share, alone, pairs, r),
            barrier_ps=picoseconds(
                phase.barriers * (r.library_barrier_seconds if phase.library else r.barrier_seconds)
            ),
            calls_ps=picoseconds(phase.library_calls * r.library_call_seconds),
            dynamic=units,
        )

    def _sample(self, items: list[_Item], kinds: list[Kind], busy: int, phases: int) -> int:
        """Packets of the slowest core that are simulated."""
        real = sum(item.packets for item in items if item.where != "remote")
        windows = [
            max((CREDITS // kinds[i.kind].charge for i in items if i.lane == lane), default=0) for lane in (0, 1)
        ]
        budget = max(self.options.packets // (busy * phases), LEAST_PACKETS, WINDOWS * sum(windows))
        return max(1, min(int(np.ceil(real)), budget, MOST_PACKETS))

    def _works(self, items: list[_Item], kinds: list[Kind], parts: list[float], draw: _Draw, phases: int,
               handed: float) -> tuple[tuple[CoreWork, ...], tuple[int, int], Units | None]:  # fmt: skip
        busy = [(core, part) for core, part in enumerate(parts) if part > 0.0]
        sample = self._sample(items, kinds, len(busy), phases)
        extend = self._extend(items, kinds, sample)
        lonely = self._lonely(items, kinds, sample)
        works = []
        for core, part in busy:
            lanes = self._lanes(core, items, kinds, max(1, round(sample * part)), draw)
            step = max(lane.ramp_ps // lane.ramp_steps for lane in lanes)
            offset = int(draw.below(step, 1)[0]) if step and len(busy) > 1 else 0
            works.append(CoreWork(core, lanes, offset, picoseconds(part * lonely), picoseconds(part * handed)))
        if self.options.scheduling == "static" or len(parts) == 1:
            return tuple(works), extend, None
        return self._dynamic(items, kinds, parts, sample, extend, draw)

    def _dynamic(self, items: list[_Item], kinds: list[Kind], parts: list[float], sample: int, extend: tuple[int, int],
                 draw: _Draw) -> tuple[tuple[CoreWork, ...], tuple[int, int], Units]:  # fmt: skip
        """All packets in pieces; as many as there are, or fewer with the cost of a grab in proportion."""
        r, everything = self.r, sum(parts)
        wanted = self.options.units or UNITS_A_CORE * len(parts)
        if everything < len(parts):  # an imbalance c / (c - 1) or more comes of at most c pieces a core
            wanted = min(wanted, int(everything * (1.0 / (1.0 - everything / len(parts)))))
        total = max(1, round(sample * everything))
        count = max(1, min(wanted, total // UNIT_PACKETS))
        sides = sorted({self.place.socket(core) for core in range(len(parts))})
        first = {side: next(core for core in range(len(parts)) if self.place.socket(core) == side) for side in sides}
        both = [self._both_lanes(first[side], items, kinds, total, draw) for side in sides]
        used = [lane for lane in (0, 1) if any(whole[lane].kinds for whole in both)]
        pieces = tuple(
            tuple(tuple(_slice(whole[lane], i, count) for lane in used) for i in range(count)) for whole in both
        )
        empty = tuple(replace(both[0][lane], kinds=(), choices=()) for lane in used)
        up, down = extend
        hand_over = float(hand_over_seconds(r, float(len(parts)))) * (wanted / count) * (down / max(up, 1))
        ready = tuple(
            CoreWork(core, empty, int(draw.below(max(empty[0].ramp_ps // empty[0].ramp_steps, 1), 1)[0]))
            for core in range(len(parts))
        )
        which = tuple(sides.index(self.place.socket(core)) for core in range(len(parts)))
        return ready, extend, Units(self.place.first["counter"], picoseconds(hand_over), which, pieces)

    def _lonely(self, items: list[_Item], kinds: list[Kind], sample: int) -> float:
        """Seconds that misses too rare for the sample stall: each alone for its whole latency."""
        counts = _counts([item.packets if item.where != "remote" else 0.0 for item in items], sample)
        stall = 0.0
        for item, count in zip(items, counts, strict=True):
            kind = kinds[item.kind]
            if count == 0 and kind.order == BLOCKS and item.where != "remote":
                counted = item.run * kind.charge / CREDITS * self.idle(kind)
                stall += item.packets / item.run * max(kind.latency_ps - counted, 0.0) * 1e-12
        return stall

    def _lanes(self, core: int, items: list[_Item], kinds: list[Kind], packets: int, draw: _Draw) -> tuple[Lane, ...]:
        """The lanes of one core that carry something."""
        return tuple(lane for lane in self._both_lanes(core, items, kinds, packets, draw) if lane.kinds)

    def _both_lanes(
        self, core: int, items: list[_Item], kinds: list[Kind], packets: int, draw: _Draw
    ) -> tuple[Lane, Lane]:
        """`packets` packets of one core in both lanes, in the proportions of `items`."""
        away = self._remote_share(core)
        part = {"remote": away, "local": 1.0 - away}
        counts = _counts([item.packets * part.get(item.where, 1.0) for item in items], packets)
        chosen = [(item, n) for item, n in zip(items, counts, strict=True) if n]
        demand, prefetch = (
            self._lane(core, [(i, n) for i, n in chosen if i.lane == lane], kinds, draw) for lane in (0, 1)
        )
        return demand, prefetch

    def _extend(self, items: list[_Item], kinds: list[Kind], sample: int) -> tuple[int, int]:
        """Real over sampled time of the slowest core, nobody else on the machine and all memory near."""
        near = [item for item in items if item.where != "remote"]
        counts = _counts([item.packets for item in near], sample)
        real, simulated = [0.0, 0.0], [0, 0]
        for item, count in zip(near, counts, strict=True):
            kind = kinds[item.kind]
            cost = kind.charge * self.idle(kind)
            real[item.lane] += item.packets * cost
            simulated[item.lane] += count * cost
        return int(np.rint(max(real) / CREDITS)), max(max(simulated) // CREDITS, 1)

    def _lane(self, core: int, chosen: list[tuple[_Item, int]], kinds: list[Kind], draw: _Draw) -> Lane:
        """Packets in an order without pattern, rows together; each with its place."""
        if not chosen:
            return Lane((), ())
        runs: list[tuple[int, int]] = []
        for item, count in chosen:
            whole, rest = divmod(count, item.run)
            runs += [(item.kind, item.run)] * whole + ([(item.kind, rest)] if rest else [])
        order = np.argsort(draw.words(len(runs)), kind="stable")
        table = np.array(runs, dtype=np.int64)[order]
        sequence = np.repeat(table[:, 0], table[:, 1])
        choices = np.zeros(len(sequence), dtype=np.int64)
        for item, count in chosen:
            if item.where:
                choices[sequence == item.kind] = self._choices(core, item, count, draw)
        charges = sum(count * kinds[item.kind].charge for item, count in chosen)
        held = sum(count * kinds[item.kind].charge * self.idle(kinds[item.kind]) for item, count in chosen)
        total = sum(count for _, count in chosen)
        steps = max(1, round(CREDITS * total / charges))
        return Lane(tuple(sequence.tolist()), tuple(choices.tolist()), held // charges, steps)

    def _choices(self, core: int, item: _Item, count: int, draw: _Draw) -> Any:
        place = self.place
        if item.where == "slice":
            return draw.among(place.slices[item.level + 1], count, self.options.slice_weights)
        channel = draw.among(place.channels, count, self.options.channel_weights)
        bank = draw.below(place.banks, count) if place.banks > 1 else 0
        home = np.full(count, place.socket(core) if self.options.placement != "first-touch" else 0)
        if item.where == "remote" and self.options.placement == "interleaved":
            home = (home + 1 + draw.below(place.sockets - 1, count)) % place.sockets
        return (home * place.channels + channel) * place.banks + bank


def _slice(lane: Lane, piece: int, count: int) -> Lane:
    """Piece `piece` of `count` equal ones of a lane."""
    first, end = (len(lane.kinds) * i // count for i in (piece, piece + 1))
    return Lane(lane.kinds[first:end], lane.choices[first:end])


class _Draw:
    """Raw PCG64 words of one phase."""

    def __init__(self, seed: int, number: int) -> None:
        self.source = np.random.PCG64([seed, number])

    def words(self, count: int) -> Any:
        """64-bit words."""
        return np.atleast_1d(self.source.random_raw(count)).astype(np.uint64)

    def below(self, bound: int, count: int) -> Any:
        """Whole numbers below `bound`."""
        return ((self.words(count) >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)

    def among(self, bound: int, count: int, weights: tuple[float, ...]) -> Any:
        """The same with unequal shares."""
        if not weights:
            return self.below(bound, count)
        ends = np.cumsum(np.asarray(weights, dtype=float)) / sum(weights)
        return np.minimum(np.searchsorted(ends, self.words(count) / 2.0**64, side="right"), bound - 1)


def _norm_table(exponent: float) -> tuple[int, ...]:
    """(1 + x^e)^(1/e) at x = 0, 1/STEPS, ..., 1 in units of 1 / NORM_UNIT."""
    x = np.arange(STEPS + 1) / STEPS
    return tuple(int(v) for v in np.rint((1.0 + x**exponent) ** (1.0 / exponent) * NORM_UNIT))


def core_parts(d: Deal, cores: int) -> list[float]:
    """Work of every core in that of the slowest: full shares first, then smaller ones, then nothing; one core between each takes
    what makes the sum right."""
    full, workers, rest = int(float(d.full) + ALIKE), int(np.ceil(float(d.workers) - ALIKE)), float(d.rest)
    parts = [1.0] * full + [rest] * (workers - full) + [0.0] * (cores - workers)
    if full < workers:
        parts[full] = min(max(float(d.total) - full - (workers - full - 1) * rest, 0.0), 1.0)
    return parts


def make_program(phases: tuple[Phase, ...], r: Resources, options: EventOptions) -> EventProgram:
    """The event program of one layer and call: `phases` with plain numbers, on one machine."""
    return _Planner(r, options).program(phases)


__all__ = ["EventOptions", "core_parts", "make_program"]
