"""Seeded cases that hold the closed forms of locality to the exact simulator: what is run, and what either side says.

A case is a real thing on a small hierarchy: a look-up gather under one of its schedules with accumulators, codes and projection
weights that compete, a GEMM, a sweep, random rows. Both sides give line misses beyond each level as a share of the *simulated*
accesses, so that an error in volumes counts like one in reuse; a level's hit rate is what was found there or further in.
The model's side is what the engines read: lowering, then `miss_shares`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simulator.addresses import gather_streams
from simulator.addresses_lookup import lookup_layers
from simulator.addressmap import AddressMap
from simulator.addresstasks import STREAMS, Program
from simulator.cachegeometry import Hierarchy, hierarchy_of
from simulator.locality import miss_shares, translation_misses
from simulator.lowering import Context
from simulator.machine import CacheLevel, Machine
from simulator.microbench import Probe, probe_phase
from simulator.phases import Phase
from simulator.predict import lower
from simulator.resources import broadcastable, resolve
from simulator.schedule import NAMED, GemmSchedule
from simulator.tracesim import TraceSimulator
from simulator.workload import GemmFfn, IndexDistribution, LookupFfn
from tests.example import machine

KIB = 1024
LINE = 64
QUANTUM = 8
"""Accesses that one core makes before the next one's turn."""

MOST_ACCESSES = 1_600_000
"""Of one case, warm-up included; cases that would need more are drawn again."""


@dataclass(frozen=True)
class Case:
    """One comparison. `phases` maps compared phases to their arrays (model stream -> simulated arrays)."""

    name: str
    kind: str
    cpu: Machine
    threads: int
    operator: Any = None
    schedule: Any = None
    batch: int = 1
    layers: int = 1
    evicted: float = 0.0
    probe: Probe | None = None
    shares: tuple[float, ...] = ()
    recorded: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """Share of accesses found in each level or further in, simulated and predicted; by stream: (accesses, misses)."""

    case: Case
    simulated: tuple[float, ...]
    predicted: tuple[float, ...]
    streams: dict[str, tuple[float, tuple[float, ...], tuple[float, ...]]]

    @property
    def errors(self) -> tuple[float, ...]:
        """Points of hit rate, predicted less simulated, by level."""
        return tuple(100.0 * (p - s) for p, s in zip(self.predicted, self.simulated, strict=True))


COMPARED: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "gather": {
        "table_rows": (("gather", "table_rows"),),
        "accumulators": (("gather", "accumulators"),),
        "codes": (("gather", "codes"), ("gather", "scores")),
    },
    "gemm_up": {"weights": (("gemm_up", "weights"),)},
    "gemm_down": {"weights": (("gemm_down", "weights"),)},
}


# --- machines -------------------------------------------------------------------------------------------------------


def small_machine(
    sizes: tuple[int, int, int], ways: tuple[int, int, int], cores: int, inclusion: str = "non-inclusive"
) -> Machine:
    """The example machine with other caches; the L3 is shared by all cores."""
    base = machine()
    caches = base.caches
    assert caches.L3 is not None
    levels: list[CacheLevel] = []
    for level, size, way, shared in zip(caches.levels(), sizes, ways, (1, 1, cores), strict=True):
        outer = inclusion if level is caches.L3 else "non-inclusive"
        levels.append(replace(level, size_bytes=float(size), ways=float(way), cores_per_instance=float(shared),
                              inclusion=outer))  # type: ignore[arg-type]  # fmt: skip
    return replace(base, cores_per_socket=float(cores), caches=type(caches)(*levels))


# --- the referee ----------------------------------------------------------------------------------------------------


def _interleaved(parts: list[Any]) -> tuple[Any, Any, Any, Any]:
    """Accesses of one round: a quantum of each core in turn."""
    turns = np.concatenate([np.arange(len(p.addresses)) // QUANTUM for p in parts])
    cores = np.concatenate([np.full(len(p.addresses), p.core) for p in parts])
    order = np.lexsort((cores, turns)) if len(parts) > 1 else slice(None)
    return (np.concatenate([p.addresses for p in parts])[order], cores[order],
            np.concatenate([p.streams for p in parts])[order], np.concatenate([p.writes for p in parts])[order])  # fmt: skip


def _feed(simulator: TraceSimulator, parts: list[Any]) -> None:
    addresses, cores, streams, writes = _interleaved(parts)
    simulator.run(addresses, cores, writes, 64, stream=streams)


def _by_round(segments: Iterator[Any]) -> Iterator[list[Any]]:
    parts: list[Any] = []
    for segment in segments:
        if parts and segment.round != parts[0].round:
            yield parts
            parts = []
        parts.append(segment)
    if parts:
        yield parts


def _hierarchy(case: Case) -> Hierarchy:
    """The case's caches; a last level that adds no capacity to the second is simulated inclusive or filled beside it, in turn."""
    plain = hierarchy_of(case.cpu, case.threads, None)
    last = plain.levels[-1]
    if last.inclusion == "inclusive" and case.seed % 4:
        last = replace(last, inclusion="non-inclusive")
    return replace(plain, levels=(*plain.levels[:-1], last))


def calls_of(case: Case) -> tuple[int, int]:
    """(calls that warm the caches, calls that count): the last level is filled anew three times; enough accesses count."""
    op = case.operator
    last = case.cpu.caches.levels()[-1].size_bytes
    if isinstance(op, LookupFfn):
        touched = op.tables * op.output * {"fp32": 4, "bf16": 2, "int8": 1}[op.table_dtype] * case.batch * case.layers
        enough = 150_000 * LINE
    else:
        touched, enough = 1e9, 0.0
    warm = max(1, math.ceil(3.0 * last / touched))
    return warm, max(1, math.ceil(min(enough, 40 * touched) / touched))


def _recorded(case: Case) -> Any:
    """Tokens' rows where a histogram or a recording gives them: which row has which share differs from table to table, as in
    trained layers."""
    op = case.operator
    if not isinstance(op, LookupFfn) or op.indices.kind != "histogram":
        return None
    draw, rows, tables = np.random.default_rng(case.seed), int(op.rows), int(op.tables)
    chosen = draw.choice(rows, p=np.array(op.indices.histogram), size=(case.batch * sum(calls_of(case)), tables))
    order = np.stack([draw.permutation(rows) for _ in range(tables)])
    return order[np.arange(tables), chosen].astype(np.uint32)


def simulate(case: Case) -> Any:
    """Statistics of the counted calls."""
    simulator = TraceSimulator(_hierarchy(case))
    warm, counted = calls_of(case)
    if isinstance(case.operator, LookupFfn):
        space = AddressMap()
        program = Program(case.batch, case.threads, case.layers, case.seed, 1, case.evicted)
        next(iter(lookup_layers(case.operator, case.schedule, program, space)))
        for name, start, size in space.arrays:
            if name.startswith("tables"):
                last = int(case.cpu.caches.levels()[-1].size_bytes)
                simulator.run(np.arange(max(start, start + size - last), start + size, LINE, dtype=np.uint64))
    segments = gather_streams(case.operator, case.schedule, case.batch, case.threads, case.layers, case.seed,
                              calls=warm + counted, evicted_bytes=case.evicted, recorded=_recorded(case))  # fmt: skip
    started = False
    for parts in _by_round(segments):
        if not started and parts[0].call >= warm:
            simulator.reset_statistics()
            started = True
        _feed(simulator, parts)
    return simulator.statistics()


def simulate_probe(case: Case) -> Any:
    """A microbenchmark on arrays of their own, the first half of the accesses a warm-up."""
    probe, draw = case.probe, np.random.default_rng(case.seed)
    assert probe is not None
    simulator = TraceSimulator(_hierarchy(case))
    lines = int(probe.footprint_bytes) // LINE
    arrays = []
    each = int(probe.row_bytes) // LINE if probe.kind == "rows" else 1
    last = case.cpu.caches.levels()[-1].size_bytes / case.threads / LINE
    for core in range(case.threads):
        start = (core << 32) + core * 4096 * 37
        if probe.kind == "sweep":
            half = max(2 * lines, int(3 * last))
            half = -(-half // lines) * lines
            index = np.arange(2 * half) % lines
        else:
            half = min(max(3 * lines, 60_000), 500_000) // each * each
            chosen = draw.choice(lines // each, size=2 * half // each, p=np.array(case.shares) if case.shares else None)
            index = (chosen[:, None] * each + np.arange(each)).ravel()
        arrays.append((start + index * LINE).astype(np.uint64))
    if probe.kind == "rows":  # the arrays were written once: rare rows are old, not new
        every = [
            ((core << 32) + core * 4096 * 37 + np.arange(lines) * LINE).astype(np.uint64)
            for core in range(case.threads)
        ]
        simulator.run_interleaved(every, QUANTUM)
    simulator.run_interleaved([a[:half] for a in arrays], QUANTUM)
    simulator.reset_statistics()
    simulator.run_interleaved([a[half:] for a in arrays], QUANTUM)
    return simulator.statistics()


# --- the model ------------------------------------------------------------------------------------------------------


def predicted_phases(case: Case) -> tuple[tuple[Phase, ...], Any]:
    """Phases of the case and the resources that they run on."""
    r = broadcastable(resolve(case.cpu, float(case.threads)))
    if case.probe is not None:
        return (probe_phase(case.probe, r),), r
    context = Context(float(case.batch), float(case.layers), case.evicted)
    return lower(case.operator, case.schedule, r, context), r


def stream_misses(stream: Any, r: Any) -> list[float]:
    """Bytes of a stream that go beyond each level."""
    return [
        float(sum(np.asarray(a.bytes * miss_shares(a, r)[k]) for a in stream.accesses)) for k in range(len(r.levels))
    ]


def outcome(case: Case) -> Outcome:
    """Runs both sides."""
    phases, r = predicted_phases(case)
    depth = len(r.levels)
    found: dict[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = {}
    if case.probe is not None:
        hits = simulate_probe(case).stream_hits.sum(axis=0)
        stream = phases[0].streams[0]
        total, size = float(hits.sum()), sum(a.bytes for a in stream.accesses)
        found["array"] = (total, _misses(hits), tuple(m / size * total for m in stream_misses(stream, r)))
    else:
        hits = simulate(case).stream_hits
        calls = calls_of(case)[1] * case.layers
        for phase in phases:
            for stream in (s for s in phase.streams if s.name in COMPARED.get(phase.name, {})):
                numbers = [STREAMS.index(names) for names in COMPARED[phase.name][stream.name]]
                own = hits[numbers].sum(axis=0)
                misses = tuple(m / LINE * calls for m in stream_misses(stream, r))
                found[f"{phase.name} {stream.name}"] = (float(own.sum()), _misses(own), misses)
    accesses = sum(f[0] for f in found.values())
    simulated = tuple(1.0 - sum(f[1][k] for f in found.values()) / accesses for k in range(depth))
    predicted = tuple(1.0 - sum(f[2][k] for f in found.values()) / accesses for k in range(depth))
    return Outcome(case, simulated, predicted, found)


def _misses(hits: Any) -> tuple[float, ...]:
    return tuple(float(hits[k + 1 :].sum()) for k in range(len(hits) - 1))


# --- drawing cases --------------------------------------------------------------------------------------------------


def _power(draw: Any, low: int, high: int) -> int:
    return 1 << int(draw.integers(low, high + 1))


def _draw_machine(draw: Any, threads: int) -> Machine:
    """Sizes in the proportions of real machines: the private caches of all cores do not exceed half of the last level."""
    third = _power(draw, 18, 21)
    second = min(_power(draw, 15, 18), max(third // (2 * threads), 16 * KIB))
    first = min(_power(draw, 12, 15), second // 4)
    third = max(third, 2 * threads * second)
    ways = (int(draw.choice([4, 8])), int(draw.choice([8, 16])), int(draw.choice([8, 16])))
    inclusion = str(draw.choice(["inclusive", "exclusive"])) if threads == 1 else "inclusive"
    return small_machine((first, second, third), ways, threads, inclusion)


def _draw_sharers(draw: Any) -> int:
    return int(draw.choice([1, 1, 1, 2, 4, 8, 16]))


def _draw_indices(draw: Any, rows: int) -> tuple[IndexDistribution, bool]:
    kind = draw.choice(["uniform", "uniform", "zipf", "zipf", "histogram", "recorded"])
    if kind == "uniform":
        return IndexDistribution(), False
    if kind == "zipf":
        return IndexDistribution("zipf", float(round(draw.uniform(0.1, 1.2), 2))), False
    shares = draw.gamma(0.5, size=rows) + 1e-6
    return IndexDistribution("histogram", histogram=tuple((shares / shares.sum()).tolist())), kind == "recorded"


SCHEDULES = ("v1", "v2", "v3", "v4", "v5")


def _draw_gather(draw: Any, index: int) -> Case | None:
    threads = _draw_sharers(draw)
    dtype = str(draw.choice(["fp32", "fp32", "bf16", "int8"]))
    element = {"fp32": 4, "bf16": 2, "int8": 1}[dtype]
    row = _power(draw, 6, 12)
    tables, rows, output = _power(draw, 3, 6), _power(draw, 4, 8), row // element
    if output > 1024:
        return None
    indices, recorded = _draw_indices(draw, rows)
    hidden = int(draw.choice([64, 128]))
    op = LookupFfn(float(hidden), float(output), float(tables), float(rows), block=float(draw.choice([16, 32, 64])), stages=2.0,
                   table_dtype=dtype, projection_dtype={"fp32": "fp32", "bf16": "bf16", "int8": "int16"}[dtype],
                   indices=indices)  # type: ignore[arg-type]  # fmt: skip
    name = SCHEDULES[index % len(SCHEDULES)]
    schedule = replace(NAMED[name], column_stripe=float(draw.choice([64, 128, 256])), prefetch_bytes=0.0)
    if name in ("v3", "v4", "v5"):
        schedule = replace(
            schedule, token_tile=float(draw.choice([16, 48, 96, 240])), table_group=float(draw.choice([4, 8, 16]))
        )
    batch = int(2.0 ** draw.uniform(0.0, 12.0))
    layers = int(draw.choice([1, 1, 2, 4, 8]))
    evicted = 0.0 if layers == 1 or draw.random() < 0.5 else float(int(2.0 ** draw.uniform(12, 19)))
    case = Case("", "gather", _draw_machine(draw, threads), threads, op, schedule, batch, layers, evicted,
                recorded=recorded, seed=index)  # fmt: skip
    warm, counted = calls_of(case)
    last = case.cpu.caches.levels()[-1].size_bytes
    if not 0.1 <= layers * tables * rows * row / last <= 10.0 or (warm + counted) * layers * threads > 400:
        return None
    encode = tables * math.log2(rows) * float(op.block) * 2 * element / LINE / 6
    if (warm + counted) * layers * batch * (tables * row / LINE * 1.5 + encode) > MOST_ACCESSES:
        return None
    skew = indices.kind if indices.kind != "zipf" else f"zipf {indices.skew:g}"
    described = (f"{name} {tables}x{rows} rows of {row} B {dtype}, B={batch}, {layers} layers, evict {evicted:g}, "
                 f"{threads} cores, {'recorded' if recorded else skew}")  # fmt: skip
    return replace(case, name=described, kind=f"gather {name}")


def _draw_gemm(draw: Any, index: int) -> Case | None:
    threads = int(draw.choice([1, 1, 2, 4]))
    dtype = str(draw.choice(["fp32", "bf16", "int8"]))
    hidden, wide = 64 * threads * int(draw.integers(1, 3)), 64 * threads * int(draw.integers(1, 7))
    op = GemmFfn(float(hidden), float(wide), dtype=dtype)  # type: ignore[arg-type]
    schedule = GemmSchedule(float(draw.choice([32, 128, 1e9])), float(draw.choice([1, 4, 1e9])), 0.0)
    batch, layers = int(draw.integers(1, 7)), int(draw.choice([1, 2, 4]))
    if batch * hidden * wide * layers * 2 / 64 * 0.5 > 6e6:
        return None
    evicted = 0.0 if layers == 1 or draw.random() < 0.5 else float(int(2.0 ** draw.uniform(12, 19)))
    name = f"gemm {hidden}-{wide} {dtype}, B={batch}, {layers} layers, evict {evicted:g}, {threads} cores, {schedule}"
    return Case(name, "gemm", _draw_machine(draw, threads), threads, op, schedule, batch, layers, evicted, seed=index)


def _draw_probe(draw: Any, index: int, kind: str) -> Case | None:
    threads = _draw_sharers(draw)
    cpu = _draw_machine(draw, threads)
    last = cpu.caches.levels()[-1].size_bytes
    row = _power(draw, 6, 12)
    wanted = last * 10.0 ** draw.uniform(-1.0, 1.0) / threads
    count = max(4, int(wanted / row))
    if count * row * threads > 6_000_000 or count > 30_000:
        return None
    shares: tuple[float, ...] = ()
    indices = IndexDistribution()
    label = kind
    if kind == "zipf rows":
        skew = float(round(draw.uniform(0.1, 1.2), 2))
        weights = np.arange(1, count + 1) ** -skew
        indices, label = IndexDistribution("zipf", skew), f"zipf {skew:g}"
        shares = tuple(draw.permutation(weights / weights.sum()).tolist())
    elif kind == "histogram rows":
        weights = draw.gamma(0.3, size=count) + 1e-9
        shares = tuple((weights / weights.sum()).tolist())
        indices = IndexDistribution("histogram", histogram=shares)
    probe = Probe(
        "sweep" if kind == "sweep" else "rows",
        float(count * row),
        float(row),
        **({} if indices.kind == "uniform" else {"indices": indices}),
    )
    name = f"{label}, {count} rows of {row} B a core, {threads} cores, L3 {last / KIB:g} KiB"
    return Case(name, kind, cpu, threads, probe=probe, shares=shares, seed=index)


TLB_KIND = "pages"


def page_cases(count: int, seed: int = 2) -> list[Case]:
    """Random lines in 4 KiB pages, from a tenth to ten times what the second-level TLB reaches."""
    draw = np.random.default_rng(seed)
    found = []
    for index in range(count):
        first, second = int(draw.choice([16, 32, 64])), int(draw.choice([128, 256, 512]))
        base = small_machine((32 * KIB, 256 * KIB, 1024 * KIB), (8, 16, 16), 1)
        tlb = replace(base.tlb, l1_entries_4k=float(first), l2_entries_4k=float(second))
        pages = max(1, int(second * 10.0 ** draw.uniform(-1.0, 1.0)))
        row = _power(draw, 6, 11)
        probe = Probe("rows", float(pages * 4096), float(row), page_2m=0.0)
        name = f"{pages} pages, rows of {row} B, {first} and {second} entries"
        found.append(Case(name, TLB_KIND, replace(base, tlb=tlb), 1, probe=probe, seed=index))
    return found


def page_outcome(case: Case) -> Outcome:
    """Rows whose page is in the first-level TLB, and in either, simulated and predicted."""
    probe, draw = case.probe, np.random.default_rng(case.seed)
    assert probe is not None
    hierarchy = hierarchy_of(case.cpu, 1, 4096)
    simulator = TraceSimulator(hierarchy)
    row = int(probe.row_bytes)
    rows = draw.integers(0, int(probe.footprint_bytes) // row, size=60_000).astype(np.uint64) * np.uint64(row)
    simulator.run(rows[:30_000])
    simulator.reset_statistics()
    simulator.run(rows[30_000:])
    found = simulator.statistics()
    r = resolve(case.cpu, 1.0)
    missed = translation_misses(probe.footprint_bytes, r.tlb_near_4k_bytes, r.tlb_reach_4k_bytes)
    simulated = (1.0 - found.tlb_l1_misses / found.tlb_accesses, 1.0 - found.tlb_walks / found.tlb_accesses)
    return Outcome(case, simulated, tuple(1.0 - float(m) for m in missed), {})


KINDS = ("gather", "gather", "gather", "gather", "gather", "gemm", "rows", "zipf rows", "histogram rows", "sweep")


def cases(count: int, seed: int = 1, kinds: tuple[str, ...] = KINDS) -> list[Case]:
    """`count` cases, the kinds in turn."""
    draw = np.random.default_rng(seed)
    found: list[Case] = []
    gathers = 0
    while len(found) < count:
        kind = kinds[len(found) % len(kinds)]
        case = (_draw_gather(draw, gathers) if kind == "gather" else _draw_gemm(draw, len(found)) if kind == "gemm"
                else _draw_probe(draw, len(found), kind))  # fmt: skip
        if case is not None:
            gathers += kind == "gather"
            found.append(case)
    return found
