"""Hypothesis strategies: valid machines, for tests that hold for every machine."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from simulator.machine import (
    CacheLevel,
    Caches,
    Clock,
    Core,
    Curve,
    Duration,
    Interconnect,
    Machine,
    MatrixUnit,
    Memory,
    Prefetcher,
    Provenance,
    Rate,
    Software,
    Tlb,
    VectorUnit,
)
from simulator.specdump import values

KIB = 1024.0
printable = st.characters(exclude_categories=["C", "Z"])  # Unicode's categories of what str.isprintable() refuses
texts = st.text(printable, min_size=1, max_size=30) | st.sampled_from(
    ["no", "010", "1e9", "12:30", "2026-11-23", "a: b", "# c", "'", "null", "é ∞", "- x", "{a}"]
)
ISAS: tuple[tuple[str, ...], ...] = (
    ("avx2",),
    ("avx2", "avx_vnni"),
    ("avx2", "avx512"),
    ("avx2", "avx512", "avx512_vnni"),
    ("avx2", "avx512", "avx512_bf16", "avx512_vnni"),
    ("avx2", "avx512", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"),
    ("neon",),
    ("neon", "bf16", "i8mm"),
    ("neon", "sve", "bf16", "i8mm"),
)


def counts(low: int, high: int) -> st.SearchStrategy[float]:
    """Whole numbers as floats."""
    return st.integers(low, high).map(float)


@st.composite
def rising(draw: Any, x_max: float, values: st.SearchStrategy[float]) -> Curve:
    """A curve of one to three points with x in [1, x_max]."""
    xs = draw(st.lists(counts(1, int(x_max)), min_size=1, max_size=3, unique=True).map(sorted))
    return tuple((x, draw(values)) for x in xs)


@st.composite
def miss_curves(draw: Any) -> Curve:
    """No curve, or miss shares that never fall."""
    size = draw(st.integers(0, 3))
    xs = sorted(draw(st.lists(st.floats(0.1, 10.0), min_size=size, max_size=size, unique=True)))
    ys = sorted(draw(st.lists(st.floats(0.0, 1.0), min_size=size, max_size=size)))
    return tuple(zip(xs, ys, strict=True))


@st.composite
def rates(draw: Any) -> Rate:
    """Per cycle, per second, or both."""
    cycle, second = draw(st.floats(1.0, 256.0)), draw(st.floats(1e9, 2e11))
    return draw(st.sampled_from([Rate(cycle), Rate(0.0, second), Rate(cycle, second)]))


@st.composite
def machines(draw: Any) -> Machine:
    """A machine that the spec reader accepts: any instruction set, two to four cache levels, awkward numbers and texts."""
    isa = draw(st.sampled_from(ISAS))
    cores = draw(counts(1, 256))
    hertz = st.floats(1e9, 6e9)
    tiles = "amx_bf16" in isa
    clocks = (
        ["neon"] if "neon" in isa else ["avx2", *(["avx512"] if "avx512" in isa else []), *(["amx"] if tiles else [])]
    )
    clock = Clock(
        scalar=draw(rising(cores, hertz)),
        base_hz=draw(st.none() | hertz),
        **{name: draw(rising(cores, hertz)) for name in clocks if draw(st.booleans())},
    )
    caches = draw(_caches(cores, clock.scalar[0][1]))
    machine = Machine(
        name=draw(texts),
        vendor=draw(texts),
        microarchitecture=draw(texts),
        cores_per_socket=cores,
        isa=isa,  # type: ignore[arg-type]
        clock=clock,
        core=draw(_cores(isa)),
        caches=caches,
        tlb=Tlb(
            *(draw(counts(1, 8192)) for _ in range(4)),
            l2_latency_cycles=draw(st.floats(0.0, 20.0)),
            walk=draw(st.sampled_from([Duration(30.0), Duration(0.0, 2.5e-8), Duration(1 / 3, 1e-9 / 7)])),
            page_walkers=draw(counts(1, 8)),
        ),
        prefetcher=Prefetcher(*(draw(st.floats(0.0, 200.0)) for _ in range(3))),
        memory=draw(_memories(caches.levels()[-1].latency.at(clock.scalar[0][1]))),
        software=draw(_software()),
        interconnect=draw(st.just(Interconnect()) | _interconnects()),
        sockets=draw(counts(1, 4)),
        threads_per_core=draw(counts(1, 4)),
        status=draw(st.sampled_from(["shipping", "announced", "hypothetical", "detected", "calibrated"])),
        year=draw(st.none() | counts(2000, 2040)),
        tdp_watts=draw(st.none() | st.floats(1e-3, 2e3)),
        notes=draw(st.just("") | texts),
        id="example",
    )
    return draw(_sourced(machine))


@st.composite
def _cores(draw: Any, isa: tuple[str, ...]) -> Core:
    positive = st.floats(0.1, 300.0)
    bf16, int8 = {"avx512_bf16", "bf16"} & set(isa), {"avx512_vnni", "avx_vnni", "i8mm"} & set(isa)
    vector = VectorUnit(
        width_bits=512.0 if "avx512" in isa else 256.0 if "avx2" in isa else 128.0,
        fma_per_cycle=draw(st.floats(0.25, 8.0)),
        alu_per_cycle=draw(st.floats(0.25, 8.0)),
        convert_per_cycle=draw(st.floats(0.25, 8.0)),
        dot_bf16_per_cycle=draw(st.floats(0.25, 8.0)) if bf16 else 0.0,
        dot_int16_per_cycle=draw(st.floats(0.0, 8.0)),
        dot_int8_per_cycle=draw(st.floats(0.25, 8.0)) if int8 else 0.0,
        fma_latency_cycles=draw(st.floats(1.0, 9.0)),
        exp_cycles_per_vector=draw(st.floats(1.0, 40.0)),
        registers=draw(counts(8, 64)),
    )
    matrix = MatrixUnit(draw(counts(1, 32)), draw(counts(1, 32)), 64.0, draw(counts(1, 16)), draw(st.floats(1.0, 64.0)))
    unit = matrix if {"amx_bf16", "amx_int8"} & set(isa) else None
    ports = [draw(positive) for _ in range(4)]
    siblings = draw(st.none() | st.floats(1.0, 4.0).map(lambda more: more * ports[-1]))
    return Core(draw(counts(1, 16)), *ports, vector, unit, siblings)


@st.composite
def _caches(draw: Any, cores: float, hertz: float) -> Caches:
    line = draw(st.sampled_from([64.0, 128.0]))
    sharers = [1.0, cores]
    levels: list[CacheLevel] = []
    seconds, low = 0.0, 4
    for depth in range(draw(st.integers(2, 4))):
        ways = draw(counts(1, 20))
        sets = draw(counts(2**low, 2 ** (low + 3)))
        seconds += draw(st.floats(0.3e-9, 30e-9))
        share = draw(st.sampled_from([0.0, 0.3, 1.0]))
        shared = draw(st.sampled_from(sharers)) if depth > 1 else 1.0
        size = sets * ways * line
        if depth == 1 and size < levels[0].size_bytes:
            ways, sets = levels[0].ways, levels[0].size_bytes / levels[0].ways / line * 2.0
            size = sets * ways * line
        levels.append(
            CacheLevel(
                size_bytes=size,
                ways=ways,
                latency=Duration(seconds * hertz * share, seconds * (1.0 - share)),
                bandwidth=draw(rates()),
                line_bytes=line,
                sets=draw(st.sampled_from([None, sets])),
                cores_per_instance=shared,
                inclusion=draw(st.sampled_from(["inclusive", "exclusive", "non-inclusive"])),
                available_fraction=draw(st.floats(0.01, 1.0)),
                shared_bandwidth=draw(st.none() | rates()),
                write_bandwidth=draw(st.none() | rates()),
                cyclic_miss_curve=draw(miss_curves()),
                random_miss_curve=draw(miss_curves()),
                slices=draw(st.sampled_from([None, ways])),
            )
        )
        seconds *= 1.01
        low += 3
    return Caches(*levels)


@st.composite
def _memories(draw: Any, beyond_seconds: float) -> Memory:
    channels, transfers, width = (
        draw(counts(1, 24)),
        draw(st.floats(1e9, 2e10)),
        draw(st.sampled_from([4.0, 8.0, 16.0])),
    )
    peak = channels * transfers * width
    return Memory(
        kind=draw(st.sampled_from(["DDR4", "DDR5", "LPDDR5", "MRDIMM", "HBM2e", "HBM3", "other"])),
        channels=channels,
        transfers_per_second=transfers,
        bandwidth_bytes_per_second=peak,
        read_bandwidth_bytes_per_second=peak * draw(st.floats(0.1, 1.0)),
        latency_seconds=beyond_seconds * 1.01 + draw(st.floats(1e-9, 3e-7)),
        capacity_bytes=draw(counts(1, 4096)) * 2.0**30,
        channel_bytes=width,
        write_share_penalty=draw(st.floats(0.0, 0.9)),
        core_bandwidth_bytes_per_second=draw(st.none() | st.floats(0.01, 1.0).map(lambda share: share * peak)),
        link_bandwidth_bytes_per_second=draw(st.none() | st.floats(1e9, 1e12)),
        **draw(st.just({}) | _dram()),
    )


@st.composite
def _dram(draw: Any) -> dict[str, Any]:
    """Banks, rows and a loaded-latency curve that never falls."""
    xs = sorted(draw(st.lists(st.floats(0.01, 1.0), max_size=3, unique=True)))
    ys = sorted(draw(st.lists(st.floats(1.0, 9.0), min_size=len(xs), max_size=len(xs))))
    return {
        "banks_per_channel": draw(counts(1, 256)),
        "row_bytes": 2.0 ** draw(st.integers(7, 16)),
        "row_cycle_seconds": draw(st.none() | st.floats(1e-9, 1e-7)),
        "interleave_bytes": draw(st.none() | st.integers(7, 14).map(lambda power: 2.0**power)),
        "loaded_latency": tuple(zip(xs, ys, strict=True)),
    }


@st.composite
def _interconnects(draw: Any) -> Interconnect:
    """Nothing, or latencies that rise outwards and links."""
    near, far = (Duration(draw(st.floats(0.0, 100.0)), draw(st.floats(1e-9, 1e-7))) for _ in range(2))
    positive = st.floats(1e-9, 1e12)
    return Interconnect(
        core_to_core=near,
        core_to_core_far=draw(st.sampled_from([None, Duration(near.cycles + far.cycles, near.seconds + far.seconds)])),
        mesh_bandwidth_bytes_per_second=draw(st.none() | positive),
        socket_latency_seconds=draw(st.none() | st.floats(1e-9, 1e-6)),
        socket_bandwidth_bytes_per_second=draw(st.none() | positive),
    )


@st.composite
def _software(draw: Any) -> Software:
    efficiency = rising(512.0, st.floats(0.01, 1.0))
    overlaps = [sorted((draw(st.floats(1.0, 20.0)), draw(st.floats(1.0, 20.0))), reverse=True) for _ in range(2)]
    return Software(
        *(draw(efficiency) for _ in range(4)),
        draw(st.floats(0.01, 1.0)),
        *overlaps[0],
        *overlaps[1],
        *(Duration(draw(st.floats(0.0, 1e3)), draw(st.floats(0.0, 1e-6))) for _ in range(3)),
    )


@st.composite
def _sourced(draw: Any, machine: Machine) -> Machine:
    """Gives every value a provenance; a few differ, as in real specs."""
    kinds = st.sampled_from(["datasheet", "measured", "announced", "estimated"])
    pool = [
        Provenance(
            draw(kinds),
            draw(texts),
            draw(st.sampled_from([0.02, 0.05, 0.15, 0.25, 0.0, 0.123])),
            draw(st.just("") | texts),
        )
        for _ in range(4)
    ]
    paths = [value.path for value in values(machine)]
    machine.provenance.update({path: pool[hash_of(path) % 4] for path in paths})
    return machine


def hash_of(path: str) -> int:
    """A hash that is the same in every process."""
    return sum((index + 1) * ord(letter) for index, letter in enumerate(path))
