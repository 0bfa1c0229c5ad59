"""Phases and Resources into an EventProgram: what every core fetches from where, in packets. Floats end here.

Without contention a core's packets add up to the closed form of `analytic`: a packet of n lines of a stream with C lines in
flight takes n / C of its lane, for its response R overlapped with its share a of the arithmetic, N_e(a, max(R, C x line / bandwidth)).
With contention R grows by itself. Long phases are sampled: every core gets the same number of packets for the same time, and
the phase is extended by one factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simulator.analytic import overlap, row_lines_in_flight, translation_seconds
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
    Station,
    Stop,
    hold,
)
from simulator.incore import core_cycles
from simulator.locality import miss_shares
from simulator.phases import Phase, Stream
from simulator.resources import Resources, hand_over_seconds

Placement = Literal["local", "interleaved", "first-touch"]
Dram = Literal["auto", "banks", "curve", "queue"]

PICO = 1e12
WRITE_COST = 0.35
"""Time that writing adds to a line from memory, as in the closed form."""
ONE = 1 << 60
"""A divisor that makes every choice 0: a group of one station."""
LEAST_PACKETS, MOST_PACKETS, WINDOWS = 200, 2000, 8
"""Packets of one core in one phase: at least so many and so many windows, at most so many."""
CURVE_POINTS = 64
CURVE_WINDOW = 4
"""Window over which the load of the memory is taken, in idle latencies."""


@dataclass(frozen=True)
class EventOptions:
    """How a run is made and which mechanisms count.

    `packet_lines`: lines of a packet, about. `packets`: of all cores and phases together, about. `placement` of arrays over
    sockets: every socket its own copy, lines over all sockets, or all on the first. `dram`: banks and row cycles, the
    loaded-latency curve, or plain channels; 'auto': the curve where the spec has one, else banks where it has a row cycle.
    `slice_weights`, `channel_weights`: unequal use of last-level slices and memory channels (empty: equal).
    """

    packet_lines: float = 4.0
    packets: int = 160_000
    placement: Placement = "local"
    dram: Dram = "auto"
    slice_weights: tuple[float, ...] = ()
    channel_weights: tuple[float, ...] = ()
    seed: int = 0


def _ps(seconds: Any) -> int:
    return int(np.rint(float(seconds) * PICO))


@dataclass(frozen=True)
class Topology:
    """Where cores, caches, channels and sockets stand, and the stations between them."""

    cores: int
    sockets: int
    channels: int
    banks: int
    stations: tuple[Station, ...]
    groups: tuple[tuple[int, ...], ...]
    index: dict[str, int]
    slices: dict[int, int]

    def socket(self, core: int) -> int:
        """Socket of a core."""
        return core * self.sockets // self.cores


def _dram_mode(r: Resources, options: EventOptions) -> Dram:
    if options.dram != "auto":
        return options.dram
    return "curve" if r.loaded_latency else "banks" if r.dram_row_cycle_seconds > 0.0 else "queue"


def topology(r: Resources, options: EventOptions) -> Topology:
    """Stations of `r` that can be waited for: those with a finite rate."""
    cores, sockets = int(r.threads), int(r.sockets)
    channels = int(r.memory_channels)
    banks = int(r.dram_banks) if _dram_mode(r, options) == "banks" else 1
    stations: list[Station] = []
    groups: list[list[int]] = [[] for _ in range(cores)]
    index: dict[str, int] = {}
    slices: dict[int, int] = {}

    def place(name: str, resource: str, count: int, owner: list[int], each: int = 1) -> None:
        """`count` owners with `each` stations; `owner` of every core."""
        index[name] = len(index)
        for core in range(cores):
            groups[core].append(len(stations) + owner[core] * each)
        stations.extend(
            Station(f"{name} {i}" if each == 1 else f"{name} {i}.{j}", resource)
            for i in range(count)
            for j in range(each)
        )

    socket = [core * sockets // cores for core in range(cores)]
    for level in range(1, len(r.levels)):
        sharers = max(int(r.levels[level].sharers), 1)
        owner = _instances(socket, sharers)
        outermost = level == len(r.levels) - 1
        if np.isfinite(r.levels[level].instance_bytes_per_second) or (
            outermost and np.isfinite(r.slice_bytes_per_second)
        ):
            slices[level] = int(r.last_level_slices) if outermost else 1
            place(f"L{level + 1}", f"L{level + 1}", max(owner) + 1, owner, slices[level])
        if outermost and np.isfinite(r.link_bytes_per_second):
            place("link", "memory bandwidth", max(owner) + 1, owner)
    zero = [0] * cores
    if sockets > 1 and np.isfinite(r.numa_bytes_per_second):
        place("socket link", "memory bandwidth", sockets, socket, sockets)
    if np.isfinite(r.mesh_bytes_per_second):
        place("mesh", "memory bandwidth", 1, zero, sockets)
    if banks > 1:
        place("banks", "memory bandwidth", 1, zero, sockets * channels * banks)
    place("channel", "memory bandwidth", 1, zero, sockets * channels)
    return Topology(cores, sockets, channels, banks, tuple(stations), tuple(map(tuple, groups)), index, slices)


def _instances(socket: list[int], sharers: int) -> list[int]:
    """Instance of every core: `sharers` neighbours of one socket each."""
    owner: list[int] = []
    first = inside = 0
    for core, place in enumerate(socket):
        if core and place != socket[core - 1]:
            first, inside = owner[-1] + 1, 0
        owner.append(first + inside // sharers)
        inside += 1
    return owner


@dataclass(frozen=True)
class _Class:
    """Lines of a stream in flight in one lane, out of `whole` in all its lanes."""

    lane: int
    lines: float
    whole: float
    ordered: bool

    def window(self, packet_lines: float) -> int:
        """Packets that fill the lane."""
        return max(1, round(self.lines / packet_lines))


def _classes(stream: Stream, r: Resources) -> tuple[_Class, ...]:
    if stream.pattern == "chain":
        return (_Class(0, 1.0, 1.0, False),)
    if stream.pattern == "rows":
        lines, prefetched = (float(x) for x in row_lines_in_flight(stream, r))
        return (_Class(1 if prefetched else 0, lines, lines, not prefetched),)
    whole = float(r.demand_lines + r.stream_lines)
    parts = ((0, float(r.demand_lines)), (1, float(r.stream_lines)))
    return tuple(_Class(lane, lines, whole, False) for lane, lines in parts if lines > 0.0)


@dataclass(frozen=True)
class _Source:
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


def _sources(stream: Stream, share: float, r: Resources) -> list[_Source]:
    count = len(r.levels)
    lines = [0.0] * count
    for access in stream.accesses:
        shares = [float(x) for x in miss_shares(access, r)]
        for index in range(count):
            beyond = shares[index + 1] if index + 1 < count else 0.0
            lines[index] += float(access.bytes) * share * (shares[index] - beyond) / r.line_bytes
    found = []
    for index, level in enumerate(r.levels[1:]):
        rate = level.write_bytes_per_second if stream.writes else level.core_bytes_per_second
        found.append(_Source(stream, index, lines[index], level.latency_seconds, r.line_bytes / rate, 1.0))
    cost = 1.0 + float(stream.writes) * WRITE_COST
    found.append(
        _Source(
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
class _Alone:
    """One core's phase in closed form, nobody else on the machine, no stalls behind sparse misses."""

    core: float
    on_chip: float
    memory: float
    tlb: float
    total: float
    exponents: tuple[Any, Any]


def _alone(phase: Phase, share: float, sources: list[tuple[_Source, float]], r: Resources) -> _Alone:
    hz = r.vector_hz + phase.tile_clock * (r.tile_hz - r.vector_hz)
    core = float(core_cycles(phase.work, r).total * share / hz)
    on_chip = sum(s.lines * s.seconds(whole) for s, whole in sources if s.level >= 0)
    memory = sum(s.lines * s.seconds(whole) for s, whole in sources if s.level < 0)
    tlb = 0.0
    for stream in phase.streams:
        if stream.pattern in ("rows", "chain"):
            size = sum(float(access.bytes) for access in stream.accesses)
            tlb += float(size * share / stream.row_bytes * translation_seconds(stream, r))
    exponents = r.library_overlap if phase.library else r.kernel_overlap
    total = float(overlap(core, on_chip + tlb, memory, exponents))
    return _Alone(core, on_chip, memory, tlb, total, exponents)


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
        self.r, self.options = r, options
        self.place = topology(r, options)
        self.mode = _dram_mode(r, options)
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
        used = np.linspace(0.0, 1.0, CURVE_POINTS + 1)
        added = (np.interp(used, shares, multiples) - 1.0) * r.memory_latency_seconds
        window = _ps(CURVE_WINDOW * r.memory_latency_seconds)
        return LoadCurve(window, self.place.channels, tuple(_ps(x) for x in added))

    def _route(self, source: _Source, lines: float, remote: bool) -> tuple[Stop, ...]:
        """Stations of a packet of `lines` lines."""
        r, index = self.r, self.place.index
        size = lines * r.line_bytes
        if source.level >= 0:
            level = source.level + 1
            if level not in self.place.slices:
                return ()
            sliced = self.place.slices[level] > 1
            rate = r.slice_bytes_per_second if sliced else r.levels[level].instance_bytes_per_second
            return (Stop(index[f"L{level + 1}"], _ps(size / rate), 1 if sliced else ONE),)
        size *= source.traffic
        home = self.place.channels * self.place.banks
        stops = []
        if "link" in index:
            stops.append(Stop(index["link"], _ps(size / r.link_bytes_per_second), ONE))
        if remote and "socket link" in index:
            stops.append(Stop(index["socket link"], _ps(size / r.numa_bytes_per_second), home))
        if "mesh" in index:
            stops.append(Stop(index["mesh"], _ps(size / r.mesh_bytes_per_second), home))
        if "banks" in index:
            opened = size / r.dram_row_bytes if source.stream.pattern == "sequential" else 1.0
            stops.append(Stop(index["banks"], _ps(r.dram_row_cycle_seconds * min(opened, 1.0))))
        channel = r.memory_bytes_per_second / self.place.sockets / self.place.channels
        stops.append(Stop(index["channel"], _ps(size / channel), self.place.banks))
        return tuple(stops)

    def _kind(self, source: _Source, part: _Class, alone: _Alone, remote: bool) -> tuple[Kind, float, int]:
        """(kind, lines of a packet, packets of a row)."""
        wanted = self.options.packet_lines
        if source.stream.pattern in ("rows", "chain"):
            row_lines = max(float(np.ceil(source.stream.row_bytes / self.r.line_bytes)), 1.0)
            wanted = min(wanted, row_lines)
        window = part.window(wanted)
        lines = part.lines / window
        run = max(1, round(row_lines / lines)) if source.stream.pattern == "rows" else 1
        transfers = alone.on_chip + alone.memory
        seconds = source.seconds(part.whole)
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
            latency_ps=_ps(source.latency + far),
            route=self._route(source, lines, remote),
            floor_ps=_ps(source.least * part.whole),
            arithmetic_ps=_ps(part.whole * alone.core * seconds / everything),
            norm=self.norm(exponent),
            extra_ps=_ps(extra),
            order=order,
            load_divisor=self.place.channels * self.place.banks if source.level < 0 and self.mode == "curve" else 0,
        )
        return kind, lines, run

    def _items(self, sources: list[_Source], alone: _Alone) -> tuple[list[Kind], list[_Item]]:
        kinds, items = [], []
        for source in sources:
            for part in _classes(source.stream, self.r):
                for remote in (False, True) if source.level < 0 and self._may_be_remote() else (False,):
                    kind, lines, run = self._kind(source, part, alone, remote)
                    where = "" if not kind.route else "slice" if source.level >= 0 else "remote" if remote else "local"
                    packets = source.lines * part.lines / part.whole / lines
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
        sources = [source for stream in fetched for source in _sources(stream, share, r)]
        pairs = [(source, sum(c.lines for c in _classes(source.stream, r))) for source in sources]
        alone = _alone(phase, share, pairs, r)
        handed = sum(
            float(access.bytes) / r.line_bytes * share * float(hand_over_seconds(r, stream.writers))
            for stream in phase.streams
            if stream.pattern == "transfer"
            for access in stream.accesses
        )
        kinds, items = self._items(sources, alone) if sources else ([], [])
        parts = _core_parts(float(phase.imbalance), self.place.cores)
        works, extend = self._works(items, kinds, parts, number, phases, alone, handed)
        return ProgramPhase(
            name=phase.name,
            kinds=tuple(kinds),
            works=works,
            extend=extend,
            shares=_shares(phase, share, alone, pairs, r),
            barrier_ps=_ps(phase.barriers * r.barrier_seconds),
            calls_ps=_ps(phase.library_calls * r.library_call_seconds),
        )

    def _works(self, items: list[_Item], kinds: list[Kind], parts: list[float], number: int, phases: int,
               alone: _Alone, handed: float) -> tuple[tuple[CoreWork, ...], tuple[int, int]]:  # fmt: skip
        busy = [(core, part) for core, part in enumerate(parts) if part > 0.0]
        if not items:
            return tuple(
                CoreWork(core, (), plain_ps=_ps(part * alone.total), least_ps=_ps(part * handed)) for core, part in busy
            ), (1, 1)
        real = sum(item.packets for item in items if item.where != "remote")
        window = sum(
            max((CREDITS // kinds[i.kind].charge for i in items if i.lane == lane), default=0) for lane in (0, 1)
        )
        budget = min(max(self.options.packets // (len(busy) * phases), LEAST_PACKETS, WINDOWS * window), MOST_PACKETS)
        sample = max(1, min(int(np.ceil(real)), budget))
        draw = _Draw(self.options.seed, number)
        works = []
        for core, part in busy:
            away = self._remote_share(core)
            mine = [
                i.packets * (1.0 if i.where in ("", "slice") else away if i.where == "remote" else 1.0 - away)
                for i in items
            ]
            counts = _counts(mine, max(1, round(sample * part)))
            lanes = tuple(
                self._lane(
                    core,
                    [(item, n) for item, n in zip(items, counts, strict=True) if n and item.lane == lane],
                    kinds,
                    draw,
                )
                for lane in (0, 1)
            )
            lanes = tuple(lane for lane in lanes if lane.kinds)
            step = max((lane.ramp_ps // lane.ramp_steps for lane in lanes), default=0)
            offset = draw.below(step, 1)[0] if step and len(busy) > 1 else 0
            works.append(CoreWork(core, lanes, int(offset), least_ps=_ps(part * handed)))
        return tuple(works), self._extend(items, kinds, sample)

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


def _core_parts(imbalance: float, cores: int) -> list[float]:
    """Work of every core in that of the slowest: as many full shares as there are, one rest, nothing."""
    left = cores / imbalance
    parts = []
    for _ in range(cores):
        parts.append(float(min(1.0, max(left, 0.0))))
        left -= 1.0
    return [part if part > 1e-9 else 0.0 for part in parts]


def _shares(
    phase: Phase, share: float, alone: _Alone, pairs: list[tuple[_Source, float]], r: Resources
) -> tuple[tuple[str, int], ...]:
    """Time of the slowest core alone by resource, as the closed form's time stack divides it: core time counts as far as
    transfers do not hide it, inner levels first; memory time up to latency / lines in flight is concurrency, beyond it bandwidth."""
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
    whole_numbers = [(name, _ps(seconds)) for name, seconds in parts.items()]
    return tuple((name, time) for name, time in whole_numbers if time > 0)


def make_program(phases: tuple[Phase, ...], r: Resources, options: EventOptions = EventOptions()) -> EventProgram:
    """The event program of one layer and call: `phases` with plain numbers, on one machine."""
    return _Planner(r, options).program(tuple(phase for phase in phases))
